"""Workers that sleep instead of training: the real loop, claims, reports, results and controller, many on few cores.

    python -m tests.simulated URL WORKERS SECONDS [CANDIDATE_SECONDS]

Processes are forked after everything is imported, so that they share its memory; each opens its own database. It prints
one line of JSON: how much of the time the workers slept for their candidates, as a share of all there was.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nasmod.search.candidate import CandidateTraining, HandBack
from nasmod.search.context import Context, bring_to_life
from nasmod.search.controller import TICK_SECONDS, Controller
from nasmod.search.worker import Orders, Worker
from nasmod.study import Database, RungResult, StoredStudy, Study, candidates, create_or_join, open_study, processes
from nasmod.study import read as read_study
from nasmod.study.candidates import ClaimLost
from nasmod.study.processes import Process
from nasmod.study.stored import status, stop
from nasmod.study.watch import LEASE_SECONDS

EPOCHS = 10
WEIGHTS = bytes(100_000)


class Sleeping(CandidateTraining):
    """Sleeps through its epochs, reports made-up results, and notes when it began to sleep and for how long."""

    candidate_seconds = 10.0
    slept: list[tuple[float, float]] = []  # noqa: RUF012  # of this process: (monotonic seconds, seconds)

    def _train(self) -> None:
        generator = random.Random(self.seed)
        pause = self.candidate_seconds * generator.uniform(1.0, 1.1) / EPOCHS
        modules = self.held.proposal.topology.module_count
        skill = min(0.95, 0.6 + 0.03 * modules + generator.uniform(-0.1, 0.1))
        measures = {"accuracy": skill, "skill": skill, "modularity": generator.random(), "flops": 1e4 * modules}
        score = self.context.objective.score(measures)
        curve: list[dict[str, float]] = []
        for epoch in range(1, EPOCHS + 1):
            self.interruptible = True
            self.slept.append((time.monotonic(), pause))
            time.sleep(pause)
            self.interruptible = False
            if self.lost.is_set():
                raise ClaimLost
            curve.append({"epoch": float(epoch), "train_loss": 1 / epoch, "validation_accuracy": skill})
            rung = RungResult(epoch, score, 0.01) if epoch in self.rungs else None
            others = candidates.report(self.database, self.held, curve, skill, rung)
            if rung is not None:
                self.rung_results.append(rung)
                assert self.rule.decide(self.rung_results, others) is None
            self.progressed_at = time.monotonic()
            if self.asked_to_end.is_set() and epoch < EPOCHS:
                raise HandBack
        result = {"measures": measures, "standard_errors": {"accuracy": 0.01}, "score": score}
        values = self.context.objective.values(measures)
        candidates.finish(self.database, self.held, result, values, weights=WEIGHTS)


def sleeping_study(trials: int, name: str = "sleeping") -> Study:
    """The packaged digits with a rung that lets everyone pass: all are compared there, and all sleep to their end."""
    study = read_study("digits", name=name, trials=trials)
    training = study.training.model_copy(update={"epochs": EPOCHS})
    stopping = {"name": "halving", "rungs": (3,), "first_share": 1.0}
    return study.model_copy(update={"training": training, "stopping": stopping, "references": False, "finalists": 0})


def simulate(
    url: str,
    study: Study,
    workers: int,
    seconds: float | None,
    candidate_seconds: float = 10.0,
    watch: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Search with sleeping workers for so long (to the end for None); call it in a process of one thread."""
    torch.set_num_threads(1)
    Sleeping.candidate_seconds = candidate_seconds
    context = bring_to_life(study)
    context.flops(context.space.random(random.Random(0))[0])  # what torch imports on first use is imported before
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fork = multiprocessing.get_context("fork")
        children = [
            fork.Process(target=_work, args=(url, study, context, Path(folder, str(index)))) for index in range(workers)
        ]
        database = Database.create(url)
        stored = create_or_join(database, study, context.dataset.fingerprint, {})
        database.close()  # a connection must not be shared with the children
        for child in children:
            child.start()
        until = _steer(stored, context, workers, seconds, watch)
        for child in children:
            child.join(60)
        codes = {child.exitcode for child in children}
        found = status(stored)
        database.close()
        slept = [intervals for file in Path(folder).iterdir() if (intervals := json.loads(file.read_text()))]
    assert codes == {0}, codes
    since = max(intervals[0][0] for intervals in slept)  # since then every worker has had a candidate
    busy = sum(
        max(0.0, min(start + pause, until) - max(start, since)) for intervals in slept for start, pause in intervals
    )
    own, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "workers": workers,
        "efficiency": round(busy / (workers * (until - since)), 4),
        "seconds": round(until - since, 1),
        "seconds_to_start": round(since - began, 1),
        "trained": found.trained,
        "candidate_seconds": [candidate_seconds, round(1.1 * candidate_seconds, 1)],
        "cpu_of_workers": round(theirs.ru_utime + theirs.ru_stime, 1),
        "cpu_of_controller": round(own.ru_utime + own.ru_stime, 1),
    }


def _steer(
    stored: StoredStudy, context: Context, workers: int, seconds: float | None, watch: Callable[[], None]
) -> float:
    """What `nasmod.search.run` does beside its workers; returns when the last whole moment of it was."""
    supervisor = Process.this("supervisor")
    controller = Controller(context, stored, supervisor.name, workers, LEASE_SECONDS)
    beaten, began = time.monotonic(), None
    processes.sign_of_life(stored.database, stored.id, supervisor)
    while (found := controller.tick()).state != "ended":
        now = time.monotonic()
        if began is None and found.running == workers:
            began = now  # from here on every worker has had a candidate
        if seconds is not None and began is not None and now - began >= seconds:
            stop(stored, now=True)
            break
        if now - beaten >= LEASE_SECONDS / 5:
            beaten = now
            processes.sign_of_life(stored.database, stored.id, supervisor)
        watch()
        time.sleep(TICK_SECONDS)
    until = time.monotonic()
    while controller.tick().state != "ended":
        time.sleep(TICK_SECONDS)
    controller.release()
    processes.leave(stored.database, stored.id, [supervisor.name])
    return until


def _work(url: str, study: Study, context: Context, file: Path) -> None:
    database = Database.open(url)
    stored = open_study(database, study.name)
    orders = Orders(processes.new_name(), url, study.name, "cpu", 1, LEASE_SECONDS / 5)
    worker = Worker(orders, stored, context, Sleeping)
    signal.signal(signal.SIGTERM, worker.ask_to_end)
    worker.run()
    database.close()
    file.write_text(json.dumps(Sleeping.slept))


if __name__ == "__main__":
    url, workers, seconds, *more = sys.argv[1:]
    given = [float(text) for text in more] or [10.0]
    found = simulate(url, sleeping_study(100_000), int(workers), float(seconds), *given)
    sys.stdout.write(json.dumps(found) + "\n")
