"""What measuring costs: the time of all measurements of one candidate over the time of its training.

For Fashion-MNIST with eight convolutional modules in three wirings (the packaged study `fashion`: its data, training
settings, rungs, objective and measures) and for five dense modules on pairs of digits (the study `pairs`). Measured
are the measures that need no trained network, those at each rung, and all of them at the end with the test split, each
with the settings that a study has by default, of a candidate that is trained to its end. The factors are found before:
a study finds them once. The CPU time of this process counts, which what else runs on the machine moves little. Of
Fashion-MNIST one epoch is trained and counts as many times as the study has epochs.

Prints what each measure takes and one JSON line last; its ratio is the worst of the networks. The bar is 0.1.

    python benchmarks/measuring.py [--runs 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from nasmod.data import find_factors, load_dataset
from nasmod.measures.trained import measure_network, measure_plan
from nasmod.networks import Network, Plan, build, count_flops
from nasmod.search.candidate import measures_at_rungs
from nasmod.search.context import Context, bring_to_life
from nasmod.search.stopping import make as make_rule
from nasmod.study import read
from nasmod.topology import Node, Topology
from nasmod.training import Epoch, train

BAR = 0.1
MODULES = 8
PARAMS = {"channels": 8, "depth": 1, "stride": 1}


@dataclass
class Costs:
    """Seconds of one repeat: one candidate's training, and its measurements by measure."""

    training: float
    measuring: dict[str, float]


def wirings() -> dict[str, set[tuple[int, int]]]:
    """From what interventions find easiest, nothing downstream, to the hardest: everything downstream."""
    edges = [(i, j) for j in range(MODULES) for i in range(j)]
    return {"parallel": set(), "half of all edges": set(edges[::2]), "chain": {(i, i + 1) for i in range(MODULES - 1)}}


def of_images(edges: set[tuple[int, int]]) -> Topology:
    """A pooled image read by eight convolutional modules; those that no other reads feed the output."""
    nodes = [Node("input", (), {"name": "x"}), Node("pool", (0,))]
    for index in range(MODULES):
        sources = tuple(sorted(i + 2 for i, j in edges if j == index))
        nodes.append(Node("conv", sources or (1,), PARAMS))
    read_ones = {i for i, _ in edges}
    ends = tuple(index + 2 for index in range(MODULES) if index not in read_ones)
    return Topology((*nodes, Node("output", ends, {"name": "y"})))


def of_pairs() -> Topology:
    """A module a digit and three that fuse them, with two ways to skip: 9,456 FLOPs of the study's 10,000."""
    wired = [((0,), 16), ((1,), 16), ((2, 3), 24), ((2, 4), 16), ((3, 5), 16)]
    modules = [Node("dense", sources, {"width": width}) for sources, width in wired]
    names = [Node("input", (), {"name": name}) for name in ("a", "b")]
    return Topology((*names, *modules, Node("output", (4, 6), {"name": "y"})))


def costs(context: Context, network: Network, epochs: int) -> Costs:
    """One repeat; only so many epochs are trained."""
    study, dataset, plan = context.study, context.dataset, network.plan
    flops = count_flops(plan)  # as the process that files a candidate does
    shorter = study.training.model_copy(update={"epochs": epochs})
    outputs: dict[str, Tensor] = {}  # of the last epoch on the validation split: no measure computes them again

    def on_epoch(epoch: Epoch) -> None:
        outputs.update(epoch.validation_outputs)

    training = seconds(lambda: train(network, dataset, shorter, 0, on_epoch))
    measuring = {}
    rungs, at_rungs = make_rule(study).rungs(study.training.epochs), measures_at_rungs(study)
    for name, settings in study.measures.items():
        measured = partial(measure_network, network, dataset, {name: settings}, 0, validation_outputs=outputs)
        measuring[name] = seconds(partial(measure_plan, plan, dataset, {name: settings}, 0, flops=flops))
        if name in at_rungs:
            measuring[name] += len(rungs) * seconds(measured)
        measuring[name] += seconds(partial(measured, with_test=True))
    return Costs(training * study.training.epochs / epochs, measuring)


def seconds(work: Callable[[], object]) -> float:
    """CPU time of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def new_network(plan: Plan, context: Context) -> Network:
    torch.manual_seed(0)
    network = build(plan)
    network.normalise(context.dataset.normalisation)
    return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()

    threadpool_limits(options.threads)  # of numpy's BLAS too, as in a worker
    torch.set_num_threads(options.threads)
    ratios, shares = {}, {}
    for name, topologies, epochs in (
        ("pairs", {"five dense modules": of_pairs()}, None),
        ("fashion", {wiring: of_images(edges) for wiring, edges in wirings().items()}, 1),
    ):
        study = read(name)
        dataset = load_dataset(study.data)
        context = bring_to_life(study, dataset, find_factors(dataset))
        for wiring, topology in topologies.items():
            label = f"{name}, {wiring}"
            plan = context.plan(topology)
            network = new_network(plan, context)
            repeats = [costs(context, network, epochs or study.training.epochs) for _ in range(options.runs + 1)]
            del repeats[0]  # with what a process does once: imports, memory
            training = median(repeat.training for repeat in repeats)
            by_measure = {key: median(repeat.measuring[key] for repeat in repeats) for key in study.measures}
            ratios[label] = median(sum(repeat.measuring.values()) / repeat.training for repeat in repeats)
            shares[label] = {key: round(value / training, 4) for key, value in by_measure.items()}
            each = ", ".join(f"{key} {1000 * value:.0f} ms" for key, value in by_measure.items())
            print(
                f"{label}: {context.flops(topology):,} FLOPs, {len(dataset.factors.factors)} factors, training "
                f"{training:.2f} s, measuring {sum(by_measure.values()):.3f} s ({each}), ratio {ratios[label]:.3f}",
                flush=True,
            )
    print(
        json.dumps(
            {
                "name": "measuring",
                "ratio": round(max(ratios.values()), 4),
                "bar": BAR,
                "ratios": {label: round(ratio, 4) for label, ratio in ratios.items()},
                "shares_of_training": shares,
                "conditions": f"CPU time, {options.threads} thread, medians of {options.runs} interleaved repeats, "
                f"torch {torch.__version__}, {platform.machine()}",
            }
        )
    )


if __name__ == "__main__":
    main()
