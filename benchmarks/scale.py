"""What size costs: joining, proposing and looking at large studies, and many workers at once.

Join: a forked process opens the database and the study, reads every record and makes its first proposal; plain Optuna:
RDBStorage, load_study, the first ask with every parameter suggested, on the same database. Both sides have everything
imported before, take turns, and are medians of wall time and CPU of this process. A proposal is what each further one
costs, drawn to filed. `status` and `top` are whole commands, imports included. Efficiency: workers that sleep 10 to 11
seconds a candidate (tests/simulated.py), the share of the workers' time that they slept for candidates.

    python -m benchmarks.scale [--quick] [--sizes 100 1000 10000] [--repeats 3] [--workers 1 2 4 16 64] [--seconds 60]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
import torch

from nasmod.search.context import bring_to_life
from nasmod.search.proposing import Proposer
from nasmod.study import Database, create_or_join, open_study, read, stored
from nasmod.study.records import RecordReader
from tests.many import fill
from tests.postgresql import server

STRATEGIES = ("random", "evolution", "tpe", "nsga2")
RIVALS: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
    "tpe": lambda: optuna.samplers.TPESampler(multivariate=True, constant_liar=True, seed=0),
    "nsga2": lambda: optuna.samplers.NSGAIISampler(population_size=24, seed=0),
}
PROPOSALS = 5
Times = dict[str, float]


class Watch:
    """Wall and CPU milliseconds since it was made, or since it was last read."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        now = time.perf_counter(), time.process_time()
        wall, cpu = (1000 * (after - before) for before, after in zip(self.began, now, strict=True))
        self.began = now
        return wall, cpu


def ours(url: str, strategy: str) -> Times:
    """Join a study with a strategy, and make further proposals."""
    watch = Watch()
    study = open_study(Database.open(url), "digits")
    definition = study.study.model_copy(update={"strategy": {"name": strategy}})
    context = bring_to_life(definition)
    stored.check_data(study, context.dataset.fingerprint)
    chosen = dataclasses.replace(study, study=definition)
    proposer = Proposer(context, chosen, RecordReader(chosen))
    proposer.file(proposer.reader.read(), 1)
    join = watch.read()
    walls, cpus = [], []
    for _ in range(PROPOSALS):
        before = stored.proposals(study)
        watch.read()
        proposer.file(proposer.reader.read(), 1)
        wall, cpu = watch.read()
        drawn = stored.proposals(study) - before  # some are duplicates or over the FLOPs budget, and drawn again
        walls.append(wall / drawn)
        cpus.append(cpu / drawn)
    return times(join, walls, cpus)


def plain_optuna(url: str, strategy: str) -> Times:
    """The same with Optuna alone."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = bring_to_life(read("digits")).space
    watch = Watch()
    study = optuna.load_study(study_name="digits", storage=optuna.storages.RDBStorage(url), sampler=RIVALS[strategy]())
    trial = study.ask()
    space.propose(trial)
    join = watch.read()
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    walls, cpus = [], []
    for _ in range(2):
        watch.read()
        trial = study.ask()
        space.propose(trial)
        wall, cpu = watch.read()
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        walls.append(wall)
        cpus.append(cpu)
    return times(join, walls, cpus)


def times(join: tuple[float, float], walls: list[float], cpus: list[float]) -> Times:
    """Milliseconds by name."""
    found = {"join": join[0], "join_cpu": join[1]}
    return {**found, "proposal": statistics.median(walls), "proposal_cpu": statistics.median(cpus)}


def in_a_fork(work: Callable[[str, str], Times], url: str, strategy: str) -> Times:
    """What `work` gives in a process that knows nothing of earlier runs, with everything imported."""
    fork = multiprocessing.get_context("fork")
    theirs, mine = fork.Pipe(duplex=False)
    child = fork.Process(target=lambda: mine.send(work(url, strategy)))
    child.start()
    mine.close()
    found: Times = theirs.recv()
    child.join()
    return found


def command(name: str, url: str) -> Times:
    """Milliseconds of a whole command."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    nasmod = [sys.executable, "-m", "nasmod.cli", name, "digits", "--storage", url]
    subprocess.run(nasmod, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": 1000 * (time.perf_counter() - began), "cpu": 1000 * cpu}


def median(runs: list[Times]) -> Times:
    """The median of each of several runs."""
    return {name: round(statistics.median(run[name] for run in runs), 1) for name in runs[0]}


def size(url: str, number: int, repeats: int) -> dict[str, Any]:
    """Everything about one study of so many finished candidates, in a database that is empty."""
    study = read("digits", trials=10 * number)
    context = bring_to_life(study)
    context.flops(context.space.random(random.Random(0))[0])  # what torch imports on first use
    database = Database.create(url)
    began = time.perf_counter()
    fill(
        create_or_join(database, study, context.dataset.fingerprint, {}),
        context.space,
        number,
        number // 10,
        number // 50,
    )
    database.close()
    found: dict[str, Any] = {"candidates": number, "filled_seconds": round(time.perf_counter() - began, 1)}
    runs: dict[str, list[Times]] = {}
    for _ in range(repeats):  # by turns: the machine is not the same all the time
        for strategy in STRATEGIES:
            runs.setdefault(f"nasmod {strategy}", []).append(in_a_fork(ours, url, strategy))
            if strategy in RIVALS:
                runs.setdefault(f"optuna {strategy}", []).append(in_a_fork(plain_optuna, url, strategy))
        for name in ("status", "top"):
            runs.setdefault(name, []).append(command(name, url))
    return {**found, **{name: median(measured) for name, measured in runs.items()}}


def new_database(server_url: str, name: str) -> str:
    """The URL of a new database of the server."""
    engine = sqlalchemy.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return sqlalchemy.make_url(server_url).set(database=name).render_as_string(hide_password=False)


def efficiency(url: str, workers: int, seconds: float, candidate_seconds: float) -> dict[str, Any]:
    """What so many sleeping workers do, in a process that forks them."""
    given = [url, str(workers), str(seconds), str(candidate_seconds)]
    out = subprocess.run([sys.executable, "-m", "tests.simulated", *given], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(out.stdout)
    return {**found, "load_average": round(os.getloadavg()[0], 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small studies, few workers, short candidates")
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1_000, 10_000])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=60.0)
    options = parser.parse_args()
    candidate_seconds = 10.0
    if options.quick:
        options.sizes, options.repeats, options.workers = [100, 1_000], 1, [1, 4]
        options.seconds, candidate_seconds = 10.0, 2.0
    torch.set_num_threads(1)
    found: dict[str, Any] = {"name": "scale", "sqlite": [], "postgresql": [], "efficiency": []}
    with server() as url, tempfile.TemporaryDirectory() as folder:
        for number in options.sizes:
            places = {"sqlite": f"sqlite:///{Path(folder, f'{number}.db')}"}
            places["postgresql"] = new_database(url, f"size_{number}")
            for storage, place in places.items():
                found[storage].append(size(place, number, options.repeats))
                print(storage, json.dumps(found[storage][-1]), flush=True)
        for workers in options.workers:
            place = new_database(url, f"workers_{workers}")
            found["efficiency"].append(efficiency(place, workers, options.seconds, candidate_seconds))
            print(json.dumps(found["efficiency"][-1]), flush=True)
    found["conditions"] = {
        "cores": len(os.sched_getaffinity(0)),
        "repeats": options.repeats,
        "parameters": 74,
        "optuna": optuna.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
