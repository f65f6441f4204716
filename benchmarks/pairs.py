"""What the packaged study `pairs` finds, in several study seeds, beside what a person would build by hand.

For each study seed the whole study runs with two workers. Its best candidate is then trained with three seeds that no
study has seen, and so are wirings made by hand, each as wide as the best candidate's FLOPs allow: the true
decomposition (a module for each digit, and one that reads both), ensembles of 2, 4 and 8, a chain and a monolith. All
have the training settings that the search found; the true decomposition also those of the study file, which a person
would begin with. A study seed holds when the best candidate's modularity is at least .7, and its accuracy on test is
above that of the best ensemble and of the monolith by two standard errors of the difference; 7 of 10 are wanted.

Prints a line a study seed, a table, and one line of JSON last; exit code 1 when too few hold.

The simple wirings with which a study opens hold the true decomposition: `--without-references` leaves them out.

    python -m benchmarks.pairs [--seeds 0 1 2 3 4 5 6 7 8 9] [--without-references]
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import fmean, median, stdev
from tempfile import TemporaryDirectory

import torch

import nasmod
from benchmarks.truth.tables import markdown
from benchmarks.truth.wirings import by_hand, wiring
from nasmod.measures.trained import train_and_measure
from nasmod.networks import count_flops, plan
from nasmod.search.context import bring_to_life
from nasmod.search.run import Progress
from nasmod.study import Record, Study, read
from nasmod.topology import Parameter, Topology
from nasmod.training import derive

BY_HAND = ("true", "ensemble of 2", "ensemble of 4", "ensemble of 8", "chain", "monolith")
PLAIN = "true, plainly trained"  # with the settings of the study file
RIVALS = tuple(name for name in BY_HAND if name.startswith("ensemble") or name == "monolith")
FRESH = 3  # trainings of each topology
LEAST, WANTED = 0.7, 0.7  # modularity of the best; share of the study seeds that must hold


@dataclass(frozen=True)
class Reached:
    """Means of the fresh trainings; the standard error is that of the accuracy's mean."""

    flops: int
    accuracy: float
    standard_error: float
    modularity: float

    def __str__(self) -> str:
        return f"{self.accuracy:.3f} ± {self.standard_error:.3f}"

    def above(self, other: Reached) -> bool:
        """Whether the accuracy is above the other's by two standard errors of their difference."""
        return self.accuracy - other.accuracy > 2 * math.hypot(self.standard_error, other.standard_error)


@dataclass(frozen=True)
class Row:
    """A study seed: what was found, what stands beside it, and how long the search and the whole study took."""

    seed: int
    wiring: str
    settings: Mapping[str, Parameter]
    score: float
    found: Reached
    by_hand: Mapping[str, Reached]
    search_seconds: float
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether the best is modular, and more accurate than an ensemble or a monolith of its FLOPs."""
        return self.found.modularity >= LEAST and all(self.found.above(self.by_hand[name]) for name in RIVALS)


def trained(job: tuple[Study, Topology, Mapping[str, Parameter], int]) -> tuple[float, float]:
    """Accuracy on test and modularity of one fresh training, with some settings unlike the study's own."""
    study, topology, settings, seed = job
    torch.set_num_threads(1)
    context = bring_to_life(study)
    measures = {"accuracy": {}, "modularity": {}}
    seed = derive("fresh", seed)  # no study derives its seeds from this word
    training = study.training.model_copy(update=dict(settings))
    made = train_and_measure(context.plan(topology), context.dataset, training, measures, seed, device="cpu")
    return made.measured.values["test_accuracy"], made.measured.values["modularity"]


def searched(study: Study, folder: Path) -> tuple[Record, float, float]:
    """The best of the study at its end; seconds until the search's last candidate was trained, and until the end."""
    ended: list[float] = []

    def told(progress: Progress) -> None:
        if progress.status.trained >= study.trials:
            ended.append(progress.seconds)

    started = time.perf_counter()
    found = nasmod.start(study, storage=folder / f"{study.name}.db", workers=2, on_progress=told)
    return found.best, ended[0], time.perf_counter() - started


def row_of(study: Study, folder: Path, pool: Pool) -> Row:
    """One study, and the fresh trainings of what it found and of what stands beside it."""
    best, search_seconds, seconds = searched(study, folder)
    dataset = bring_to_life(study).dataset
    flops = int(best.measures["flops"])
    settings = dict(best.proposal.settings)
    topologies = {"": best.proposal.topology} | {name: by_hand(dataset, name, flops) for name in BY_HAND}
    topologies[PLAIN] = topologies["true"]
    jobs = [
        (study, topology, {} if name == PLAIN else settings, seed)
        for name, topology in topologies.items()
        for seed in range(FRESH)
    ]
    reached = iter(pool.map(trained, jobs, chunksize=1))
    rows = {}
    for name, topology in topologies.items():
        accuracies, modularities = zip(*(next(reached) for _ in range(FRESH)), strict=True)
        counted = count_flops(plan(topology, dataset.inputs, dataset.output_shapes))
        error = stdev(accuracies) / math.sqrt(FRESH)
        rows[name] = Reached(counted, fmean(accuracies), error, fmean(modularities))
    found = rows.pop("")
    assert best.score is not None
    described = wiring(best.proposal.topology)
    return Row(study.seed, described, settings, best.score, found, rows, search_seconds, seconds)


def page(rows: Sequence[Row]) -> str:
    """The table: a row a study seed."""
    shown = (PLAIN, *BY_HAND)
    head = ["study seed", "FLOPs", "modularity", "found", *(f"{name}, by hand" for name in shown), "search", "holds"]
    return markdown(
        head,
        [
            [
                *(str(row.seed), f"{row.found.flops:,}", f"{row.found.modularity:.2f}", f"**{row.found}**"),
                *(str(row.by_hand[name]) for name in shown),
                *(f"{row.search_seconds:.0f} s of {row.seconds:.0f}", "yes" if row.holds else "**no**"),
            ]
            for row in rows
        ],
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of the studies")
    parser.add_argument("--trials", type=int, help="candidates a study trains; by default the packaged number")
    parser.add_argument("--without-references", action="store_true", help="without the simple wirings at the start")
    parser.add_argument("--strategy", help="instead of the packaged one, with its default settings")
    chosen = parser.parse_args()

    rows = []
    packaged = read("pairs", trials=chosen.trials).model_copy(update={"references": not chosen.without_references})
    if chosen.strategy is not None:
        packaged = packaged.model_copy(update={"strategy": {"name": chosen.strategy}})
    with TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(2) as pool:
        for seed in chosen.seeds:
            study = packaged.model_copy(update={"seed": seed, "name": f"pairs-{seed}"})
            rows.append(row_of(study, Path(folder), pool))
            print(f"{json.dumps(asdict(rows[-1]))}", file=sys.stderr, flush=True)
    print(page(rows))
    hold = sum(row.holds for row in rows)
    result = {
        "name": "pairs",
        "hold": hold,
        "of": len(rows),
        "accuracy": fmean(row.found.accuracy for row in rows),
        "modularity": fmean(row.found.modularity for row in rows),
        "by hand": {name: fmean(row.by_hand[name].accuracy for row in rows) for name in (PLAIN, *BY_HAND)},
        "search_seconds": median(row.search_seconds for row in rows),
        "references": packaged.references,
        "strategy": packaged.strategy,
        "conditions": f"{packaged.trials} candidates, 2 workers, torch {torch.__version__}, {platform.machine()}",
    }
    print(json.dumps(result))
    return 0 if hold >= WANTED * len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
