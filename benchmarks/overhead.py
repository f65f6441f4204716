"""CPU cost of a candidate that trains nothing, against a plain Optuna study doing the same with as many parameters.

Ours: propose, claim, 8 epoch reports with rungs and stopping decisions, finish, in one SQLite file, through the same
calls that the controller and the worker make. Optuna's: ask, suggest every parameter, 8 x report and should_prune, 5
user attributes, tell, on its RDBStorage. Both sides draw their parameters from one seeded generator, so that neither
pays for a sampler. User and system CPU of this process count, not wall time; the runs take turns.

    python benchmarks/overhead.py [--runs 5] [--candidates 60]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from optuna.samplers import RandomSampler

from nasmod.search.stopping import make as make_rule
from nasmod.space import Space, SpaceFile
from nasmod.study import Database, Proposal, RungResult, candidate_key, candidates, create_or_join, read, records
from nasmod.study.projection import to_optuna, with_json

EPOCHS = 8
RUNGS = range(1, EPOCHS + 1)  # every epoch is a rung: as often as Optuna is asked should_prune


def ours(folder: Path, count: int) -> None:
    """A study of `count` candidates through nasmod."""
    study = read("digits", trials=count)
    database = Database.create(str(folder / "ours.db"))
    stored = create_or_join(database, study, "f" * 64, {})
    space = Space(SpaceFile.from_table(study.space), {"x": (1, 8, 8)}, {"y": (10,)})
    distributions, rule, reader = with_json(space.parameters()), make_rule(study), records.RecordReader(stored)
    generator = random.Random(0)
    done = 0
    while done < count:
        reader.read()  # what the controller reads before each proposal
        topology, settings = space.random(generator)
        key = candidate_key(topology, settings)
        proposal = Proposal(topology, settings, None, {"strategy": "random", "why": "drawn at random"})
        if not candidates.propose(database, stored.id, key, proposal, space.encode(topology, settings)):
            continue
        held = candidates.claim(database, stored.id, "worker", distributions)
        assert held is not None
        curve, results = [], []
        for epoch in RUNGS:
            score = generator.random()
            curve.append({"epoch": float(epoch), "validation_accuracy": score})
            results.append(RungResult(epoch, score, 0.01))
            others = candidates.report(database, held, curve, score, results[-1])
            rule.decide(results, others)  # the decision is made, and the candidate goes on
        measures = {"accuracy": 0.9, "skill": 0.9, "modularity": 0.5, "flops": 1e5, "parameters": 1e4}
        candidates.finish(database, held, {"measures": measures, "standard_errors": {}, "score": score}, [score])
        done += 1
    database.close()


def plain_optuna(folder: Path, count: int) -> None:
    """The same with Optuna alone."""
    study = read("digits")
    space = Space(SpaceFile.from_table(study.space), {"x": (1, 8, 8)}, {"y": (10,)})
    parameters = {name: to_optuna(distribution) for name, distribution in space.parameters().items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'optuna.db'}")
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    rival = optuna.create_study(storage=storage, sampler=RandomSampler(seed=0), pruner=pruner, direction="maximize")
    generator = random.Random(0)
    for _ in range(count):
        trial = rival.ask()
        for name, distribution in parameters.items():
            trial._suggest(name, distribution)  # what suggest_int and its like call
        for epoch in RUNGS:
            score = generator.random()
            trial.report(score, epoch)
            trial.should_prune()  # the decision is made, and the trial goes on
        for name in ("accuracy", "skill", "modularity", "flops", "parameters"):
            trial.set_user_attr(name, 0.5)
        rival.tell(trial, score)
    storage.engine.dispose()


def cpu_seconds(work: Callable[[Path, int], None], count: int) -> float:
    """CPU of one run in a folder of its own, without what a study costs that trains nothing at all."""
    seconds = []
    for number in (1, count + 1):
        with tempfile.TemporaryDirectory() as folder:
            began = time.process_time()
            work(Path(folder), number)
            seconds.append(time.process_time() - began)
    return seconds[1] - seconds[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=60)
    options = parser.parse_args()
    pairs = []
    for _ in range(options.runs):
        mine, rival = cpu_seconds(ours, options.candidates), cpu_seconds(plain_optuna, options.candidates)
        pairs.append((mine, rival))
        print(f"ours {1000 * mine / options.candidates:.1f} ms, Optuna {1000 * rival / options.candidates:.1f} ms")
    space = Space(SpaceFile.from_table(read("digits").space), {"x": (1, 8, 8)}, {"y": (10,)})
    print(
        json.dumps(
            {
                "name": "overhead",
                "ratio": round(statistics.median(mine / rival for mine, rival in pairs), 3),
                "ratios": [round(mine / rival, 3) for mine, rival in pairs],
                "milliseconds_per_candidate": {
                    "ours": round(1000 * statistics.median(mine for mine, _ in pairs) / options.candidates, 1),
                    "optuna": round(1000 * statistics.median(rival for _, rival in pairs) / options.candidates, 1),
                },
                "conditions": {
                    "candidates": options.candidates,
                    "parameters": len(space.parameters()),
                    "reports": EPOCHS,
                    "storage": "SQLite",
                    "optuna": optuna.__version__,
                    "python": platform.python_version(),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
