"""What the processes of a race do: real claims and real workers, forked from a server that has imported them."""

from __future__ import annotations

import logging
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch

from nasmod.errors import StudyError
from nasmod.search import proposing
from nasmod.search.asking import Asked
from nasmod.search.candidate import CandidateTraining
from nasmod.search.context import bring_to_life
from nasmod.search.controller import Controller
from nasmod.search.worker import Orders, Worker
from nasmod.study import Database, RungResult, StoredStudy, candidates, open_study
from nasmod.study import stored as storing
from nasmod.study.database import copy
from nasmod.study.processes import new_name
from nasmod.study.records import read_records

proposing.WAITED_SECONDS = 240.0  # a tick files what is wanted, however slow this machine is
RESULT = {"measures": {"flops": 100.0, "skill": 0.5, "accuracy": 0.6}, "standard_errors": {"skill": 0.1}, "score": 0.5}


def context() -> ForkServerContext:
    """Processes that start in milliseconds, from a server that holds no connection and no thread."""
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(["nasmod.search.worker", "sklearn.datasets", "psycopg", "tests.search.racing"])
    return chosen


def race(count: int, target: Callable[..., None], *arguments: Any) -> list[int]:
    """Run `count` processes that all begin at once; their exit codes. Each is told its number and the barrier."""
    chosen = context()
    barrier = chosen.Barrier(count)
    processes = [chosen.Process(target=target, args=(index, barrier, *arguments)) for index in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(240)
    for process in processes:
        if process.is_alive():
            process.kill()
    return [process.exitcode for process in processes]


def claim_all(index: int, barrier: Any, storage: str, found: Any) -> None:
    """Claim and finish until there is nothing to claim."""
    database = Database.open(storage)
    study = open_study(database, "small")
    distributions = bring_to_life(study.study).distributions
    barrier.wait()
    while (held := candidates.claim(database, study.id, f"w{index}", distributions)) is not None:
        found.put((held.id, held.token, index))
        candidates.report(database, held, [point(1)], 0.1, RungResult(1, 0.1))
        candidates.finish(database, held, RESULT, [0.5], weights=b"weights")
    database.close()


def raise_to(index: int, barrier: Any, storage: str, first: int) -> None:
    """Raise the budget to an amount of one's own; a larger one that was there before is a refusal in words."""
    database = Database.open(storage)
    study = open_study(database, "small")
    barrier.wait()
    try:
        storing.raise_budget(study, first + index, None)
    except StudyError as error:
        if "may only be raised" not in str(error):
            raise
    database.close()


def work(index: int, barrier: Any, storage: str, folder: str) -> None:
    """A worker, as `nasmod.search.worker` runs it, with a log of its own."""
    log = Path(folder) / f"{index}.log"
    sys.stderr = log.open("w")
    logging.basicConfig(level=logging.INFO, format="%(name)s %(message)s", stream=sys.stderr, force=True)
    torch.set_num_threads(1)
    database = Database.open(storage)
    study = open_study(database, "small")
    orders = Orders(new_name(), storage, "small", "cpu", threads=1, beat_seconds=1.0, log=str(log))
    worker = Worker(orders, study, bring_to_life(study.study))
    barrier.wait()
    worker.run()
    database.close()
    logging.shutdown()


def live(storage: str, before: int, copied: str, after: int, found: Any) -> None:
    """Steer and train alone for so many candidates, copy the database, and go on: proposals as they were filed."""
    database = Database.open(storage)
    study = open_study(database, "small")
    step = _steps(study, "first")
    for _ in range(before):
        step()
    copy(database, Path(copied))
    for _ in range(after):
        step()
    found.put(_filed(study))
    database.close()


def go_on(storage: str, after: int, found: Any) -> None:
    """A process that knows nothing but the database goes on for so many candidates."""
    database = Database.open(storage)
    study = open_study(database, "small")
    step = _steps(study, "second")
    for _ in range(after):
        step()
    found.put(_filed(study))
    database.close()


def _steps(study: StoredStudy, name: str) -> Callable[[], None]:
    """One candidate at a time: the controller fills the queue, then the oldest is trained."""
    torch.set_num_threads(1)
    context = bring_to_life(study.study)
    controller = Controller(context, study, name, workers=1, lease_seconds=0.5)

    def step() -> None:
        while not controller.holds_lease:
            controller.tick()
            time.sleep(0.05)
        filed = -1
        while filed != (filed := len(_filed(study))):  # nothing more is to be filed
            controller.tick()
        held = candidates.claim(study.database, study.id, name, context.distributions)
        assert held is not None
        CandidateTraining(context, study.database, held, "cpu", Asked()).run()

    return step


def _filed(study: StoredStudy) -> list[tuple[str, dict[str, Any]]]:
    return [(record.key, record.proposal.to_json()) for record in read_records(study)]


def point(epoch: int) -> dict[str, float]:
    """An epoch of a curve."""
    return {"epoch": float(epoch), "validation_accuracy": 0.1, "validation_loss": 1.0}
