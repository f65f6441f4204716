"""What the packaged studies of single images find, in several study seeds, beside what a person would build by hand.

The hand-made topologies of a study are all trained with three seeds; the best of them by score is trained again with
five others, so that no luck of being chosen is in its figure. For each study seed the whole study runs with two workers
and its best candidate by score is trained with the same five seeds, which no study has seen. Where the study searches
training settings, the best by hand is also trained with those that were found.

    digits    rows of 3, 4, 5, 6 or 8 equal parallel dense modules, of width 8, 16 or 32, one to three layers deep
    fashion   a chain conv 16, pool, conv 32, pool, conv 64, and the same with half and a quarter of its channels

Prints a line a study seed and one line of JSON last; exit code 1 when fewer than nine of ten study seeds reach the best
by hand.

    python -m benchmarks.search digits [--seeds 0 1 2 3 4 5 6 7 8 9] [--strategy evolution] [--trials 100]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory

import torch

import nasmod
from nasmod.measures import Objective
from nasmod.report.layout import node_names
from nasmod.search.trying import Tried, try_topologies
from nasmod.study import Study, read
from nasmod.topology import INPUT, OUTPUT, Node, Parameter, Topology

CHOOSING, FRESH = 3, 5  # trainings to choose the best by hand, and of what is compared
UNSEEN = 1_000_000  # seeds of studies that are never run; the trainings of what is compared derive theirs from them
WANTED = 0.9  # share of the study seeds that reach the best by hand


def row(width: int, depth: int, count: int) -> Topology:
    """Equal dense modules beside each other, as the space `dense` has them."""
    params = {"width": width, "depth": depth, "normalisation": "none", "activation": "gelu", "residual": True}
    modules = [Node("dense", (0,), params)] * count
    return Topology((Node(INPUT, (), {"name": "x"}), *modules, Node(OUTPUT, tuple(range(1, count + 1)), {"name": "y"})))


def chain(channels: int) -> Topology:
    """Convolutions with twice the channels after each pool, as a tutorial has them."""
    nodes = [Node(INPUT, (), {"name": "x"})]
    for number in range(3):
        params = {"channels": channels * 2**number, "depth": 1, "kernel": 3, "stride": 1}
        nodes.append(Node("conv", (len(nodes) - 1,), {**params, "separable": False, "residual": False}))
        if number < 2:
            nodes.append(Node("pool", (len(nodes) - 1,), {"mode": "max"}))
    return Topology((*nodes, Node(OUTPUT, (len(nodes) - 1,), {"name": "y"})))


BY_HAND: Mapping[str, Mapping[str, Topology]] = {
    "digits": {
        f"{count} parallel dense of width {width}, depth {depth}": row(width, depth, count)
        for count, width, depth in itertools.product((3, 4, 5, 6, 8), (8, 16, 32), (1, 2, 3))
    },
    "fashion": {
        f"conv {channels}, pool, conv {2 * channels}, pool, conv {4 * channels}": chain(channels)
        for channels in (4, 8, 16)
    },
}


def trained(job: tuple[Study, Topology, Mapping[str, Parameter], int]) -> Tried:
    """One training of a topology, with some settings unlike the study's own."""
    study, topology, settings, seed = job
    torch.set_num_threads(1)
    training = study.training.model_copy(update=dict(settings))
    (tried,) = try_topologies(study.model_copy(update={"training": training, "seed": seed}), [topology], seeds=1)
    return tried


class Reached:
    """What one topology reached in several trainings."""

    def __init__(self, objective: Objective, trainings: Sequence[Tried]) -> None:
        scores = [one.score or 0.0 for one in trainings]
        self.score = fmean(scores)
        self.standard_error = math.sqrt(
            sum((one - self.score) ** 2 for one in scores) / (len(scores) - 1) / len(scores)
        )
        names = ("test_accuracy", "flops", objective.modularity)
        self.measures = {name: fmean(one.measures[name] for one in trainings) for name in names}

    def __str__(self) -> str:
        accuracy, flops, modularity = self.measures.values()
        return (
            f"{self.score:.4f} ± {self.standard_error:.4f} "
            f"(on test {accuracy:.4f}, modularity {modularity:.2f}, {flops:,.0f} FLOPs)"
        )


def best_by_hand(study: Study, pool: Pool) -> tuple[str, Reached]:
    """The hand-made topology with the best mean score within the budget, trained anew."""
    topologies = BY_HAND[study.name]
    seeds = range(UNSEEN - CHOOSING, UNSEEN)
    jobs = [(study, topology, {}, seed) for topology in topologies.values() for seed in seeds]
    made = iter(pool.map(trained, jobs, chunksize=1))
    scores = {name: fmean(next(made).score or 0.0 for _ in seeds) for name in topologies}
    name = max(scores, key=lambda name: scores[name])
    return name, fresh(study, topologies[name], {}, pool)


def fresh(study: Study, topology: Topology, settings: Mapping[str, Parameter], pool: Pool) -> Reached:
    """Trained with seeds that no study has seen."""
    jobs = [(study, topology, settings, UNSEEN + number) for number in range(FRESH)]
    return Reached(study.objective, pool.map(trained, jobs, chunksize=1))


def described(topology: Topology) -> str:
    """Which module reads what, with its parameters."""
    names = node_names(topology.nodes)
    return "; ".join(
        f"{name}{dict(node.params) if node.is_module else ''} < {', '.join(names[source] for source in node.inputs)}"
        for name, node in zip(names, topology.nodes, strict=True)
        if node.inputs
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(BY_HAND))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)), help="of the studies")
    parser.add_argument("--trials", type=int, help="candidates a study trains; by default the packaged number")
    parser.add_argument("--strategy", help="instead of the packaged one, with its default settings")
    chosen = parser.parse_args()

    packaged = read(chosen.study, trials=chosen.trials)
    if chosen.strategy is not None:
        packaged = packaged.model_copy(update={"strategy": {"name": chosen.strategy}})
    gains, errors, seconds, found, tuned = [], [], [], [], []
    with TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(2) as pool:
        name, by_hand = best_by_hand(packaged, pool)
        print(f"by hand: {by_hand}: {name}", file=sys.stderr, flush=True)
        for seed in chosen.seeds:
            study = packaged.model_copy(update={"seed": seed, "name": f"{chosen.study}-{seed}"})
            started = time.perf_counter()
            best = nasmod.start(study, storage=Path(folder) / f"{study.name}.db", workers=2).best
            seconds.append(time.perf_counter() - started)
            found.append(fresh(packaged, best.proposal.topology, best.proposal.settings, pool))
            gains.append(found[-1].score - by_hand.score)
            errors.append(math.hypot(found[-1].standard_error, by_hand.standard_error))
            settings = best.proposal.settings
            tuned.append(fresh(packaged, BY_HAND[chosen.study][name], settings, pool) if settings else by_hand)
            said = f"{found[-1]}, {seconds[-1]:.0f} s: {dict(settings)} {described(best.proposal.topology)}"
            print(f"study seed {seed}: {said}; by hand with these settings {tuned[-1]}", file=sys.stderr, flush=True)
    reached = sum(gain >= 0 for gain in gains)
    result = {
        "name": "search",
        "study": chosen.study,
        "strategy": packaged.strategy,
        "by hand": str(by_hand),
        "by hand with the settings found": fmean(one.score for one in tuned),
        "found": fmean(one.score for one in found),
        "test_accuracy": fmean(one.measures["test_accuracy"] for one in found),
        "gain": fmean(gains),
        "reached": reached,
        "above by two standard errors": sum(gain > 2 * error for gain, error in zip(gains, errors, strict=True)),
        "of": len(gains),
        "seconds": median(seconds),
        "conditions": f"{packaged.trials} candidates, 2 workers, torch {torch.__version__}, {platform.machine()}",
    }
    print(json.dumps(result))
    return 0 if reached >= WANTED * len(gains) else 1


if __name__ == "__main__":
    sys.exit(main())
