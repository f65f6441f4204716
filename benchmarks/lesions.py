"""What parallelism costs: its time over that of one training epoch on Fashion-MNIST, eight convolutional modules.

Prints one line per wiring and one JSON line last; its ratio is the worst of the wirings. The bar is 0.1.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from statistics import median

import torch

from nasmod.data import Dataset, load_dataset
from nasmod.measures import Evaluation
from nasmod.measures.parallelism import Parallelism, ParallelismSettings
from nasmod.networks import Network, build, count_flops, plan
from nasmod.topology import Node, Topology
from nasmod.training import TrainingSettings, train

BAR = 0.1
MODULES = 8
PARAMS = {"channels": 8, "depth": 1, "stride": 1}


def wirings() -> dict[str, set[tuple[int, int]]]:
    """From what lesions find easiest, nothing downstream, to the hardest: everything downstream."""
    edges = [(i, j) for j in range(MODULES) for i in range(j)]
    return {"parallel": set(), "half of all edges": set(edges[::2]), "chain": {(i, i + 1) for i in range(MODULES - 1)}}


def topology(edges: set[tuple[int, int]]) -> Topology:
    """A pooled image read by eight convolutional modules; those that no other reads feed the output."""
    nodes = [Node("input", (), {"name": "x"}), Node("pool", (0,))]
    for index in range(MODULES):
        sources = tuple(sorted(i + 2 for i, j in edges if j == index))
        nodes.append(Node("conv", sources or (1,), PARAMS))
    read = {i for i, _ in edges}
    ends = tuple(index + 2 for index in range(MODULES) if index not in read)
    return Topology((*nodes, Node("output", ends, {"name": "y"})))


def epoch_seconds(network: Network, dataset: Dataset) -> float:
    """One epoch: all training examples forward and backward, then the validation split."""
    return train(network, dataset, TrainingSettings(epochs=1), 0, on_epoch=lambda epoch: None).seconds


def measure_seconds(network: Network, dataset: Dataset) -> float:
    """The measure with its default settings: 1,024 examples, 256 for pairs."""
    started = time.perf_counter()
    Parallelism(ParallelismSettings())(Evaluation(plan=network.plan, dataset=dataset, network=network))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs

    torch.set_num_threads(1)
    dataset = load_dataset({"name": "fashion-mnist"})
    ratios = {}
    for name, edges in wirings().items():
        torch.manual_seed(0)
        network = build(plan(topology(edges), dataset.inputs, dataset.output_shapes))
        network.normalise(dataset.normalisation)
        epochs, measures = [], []
        for _ in range(runs):
            epochs.append(epoch_seconds(network, dataset))
            measures.append(measure_seconds(network, dataset))
        ratios[name] = median(measures) / median(epochs)
        print(
            f"{name}: {count_flops(network.plan):,} FLOPs, epoch {median(epochs):.2f} s, "
            f"measure {median(measures):.3f} s, ratio {ratios[name]:.4f}",
            flush=True,
        )
    conditions = (
        f"Fashion-MNIST, {len(dataset.train)} training examples, {MODULES} conv modules {PARAMS} on a pooled image, "
        f"epoch with validation of {len(dataset.validation)}, batch 64, 1 thread, medians of {runs} interleaved runs, "
        f"torch {torch.__version__}, {platform.machine()}"
    )
    print(
        json.dumps(
            {
                "name": "lesions",
                "ratio": round(max(ratios.values()), 4),
                "bar": BAR,
                "ratios": {name: round(ratio, 4) for name, ratio in ratios.items()},
                "conditions": conditions,
            }
        )
    )


if __name__ == "__main__":
    main()
