"""Examples per second of nasmod's training loop against the loop of PyTorch's own tutorials, on the same networks.

The rival is the quickstart tutorial's ``train`` and ``test``: a DataLoader over a TensorDataset, AdamW as it comes (not
fused), no channels_last, no clipping. Both train some epochs and validate after each, with the same batch size, on the
same raw data; ours also warms up, clips the gradient and watches the clock, as every study does. The ratio is the
median of the three topologies on digits. The conv topology is shown on larger images too, where both loops spend most
of their time in the same convolutions.

    python benchmarks/training.py [--repeats 15] [--threads 1]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from nasmod.data import Dataset, DataSettings, Split, assemble, load_dataset
from nasmod.errors import DataError
from nasmod.networks import build, count_flops, plan
from nasmod.topology import Node, Topology
from nasmod.training import TrainingSettings, train

BATCH = 64
EPOCHS = 8


def dense_topology() -> Topology:
    """Four dense modules on digits, two of them side by side."""
    return _topology(
        Node("dense", (0,), {"width": 64}),
        Node("dense", (1,), {"width": 64, "depth": 2}),
        Node("dense", (1,), {"width": 32, "normalisation": "layer"}),
        Node("dense", (2, 3), {"width": 64, "merge": "concat"}),
    )


def conv_topology() -> Topology:
    """Four conv modules, two of them side by side: 0.7 M FLOPs on digits, 8 M on images of 28x28."""
    return _topology(
        Node("conv", (0,), {"channels": 16}),
        Node("conv", (1,), {"channels": 24, "stride": 2}),
        Node("conv", (1,), {"channels": 24, "stride": 2, "kernel": 5}),
        Node("conv", (2, 3), {"channels": 32, "merge": "sum"}),
    )


def mixed_topology() -> Topology:
    """Convolutions beside a dense module on digits, joined."""
    return _topology(
        Node("conv", (0,), {"channels": 16}),
        Node("pool", (1,), {}),
        Node("conv", (2,), {"channels": 32}),
        Node("dense", (0,), {"width": 64}),
        Node("dense", (3, 4), {"width": 64, "merge": "concat"}),
    )


def _topology(*modules: Node) -> Topology:
    output = Node("output", (len(modules),), {"name": "y"})
    return Topology((Node("input", (), {"name": "x"}), *modules, output))


def fashion(limit: int) -> Dataset:
    """Fashion-MNIST, or noise of its shape where it is not installed: the speed does not depend on the values."""
    try:
        return load_dataset({"name": "fashion-mnist", "limit": limit})
    except DataError:
        generator = np.random.default_rng(0)
        images = generator.integers(0, 256, (limit, 1, 28, 28), dtype=np.uint8)
        return assemble(
            DataSettings(name="noise"), "classification", Split({"x": images}, {"y": np.arange(limit) % 10})
        )


def network_for(topology: Topology, dataset: Dataset) -> nn.Module:
    """The network of a topology, the same in both processes."""
    torch.manual_seed(0)
    network = build(plan(topology, dataset.inputs, dataset.output_shapes))
    network.normalise(dataset.normalisation)
    return network


def ours(network: nn.Module, dataset: Dataset) -> None:
    """Some epochs with nasmod."""
    train(network, dataset, TrainingSettings(epochs=EPOCHS, batch_size=BATCH), 0, lambda epoch: None)


def tutorial(network: nn.Module, dataset: Dataset) -> None:
    """As many epochs with the tutorial's loop."""
    sets = [
        TensorDataset(torch.from_numpy(split.inputs["x"]), torch.from_numpy(split.targets["y"]))
        for split in (dataset.train, dataset.validation)
    ]
    train_loader = DataLoader(sets[0], batch_size=BATCH, shuffle=True)
    test_loader = DataLoader(sets[1], batch_size=BATCH)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    for _ in range(EPOCHS):
        network.train()
        for batch, (x, y) in enumerate(train_loader):
            pred = network({"x": x})["y"]
            loss = loss_fn(pred, y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if batch % 100 == 0:
                loss.item()

        network.eval()
        test_loss, correct = 0.0, 0.0
        with torch.no_grad():
            for x, y in test_loader:
                pred = network({"x": x})["y"]
                test_loss += loss_fn(pred, y).item()
                correct += (pred.argmax(1) == y).type(torch.float).sum().item()


def worker(loop: str, topology: str, threads: int, pipe: Connection) -> None:
    """A process with one loop: whenever it is asked it trains and tells the CPU seconds that took."""
    torch.set_num_threads(threads)
    make, load = CASES[topology]
    dataset = load()
    network = network_for(make(), dataset)
    while pipe.recv():
        started = time.process_time()
        {"ours": ours, "tutorial": tutorial}[loop](network, dataset)
        pipe.send(time.process_time() - started)


def compare(topology: str, repeats: int, threads: int) -> dict[str, Any]:
    """Medians over interleaved pairs. Each loop has a process of its own: what one sets there the other never sees."""
    context = multiprocessing.get_context("spawn")
    pipes = {}
    for loop in ("ours", "tutorial"):
        pipes[loop], end = context.Pipe()
        context.Process(target=worker, args=(loop, topology, threads, end), daemon=True).start()

    def seconds(loop: str) -> float:
        pipes[loop].send(True)
        return float(pipes[loop].recv())

    seconds("ours"), seconds("tutorial")  # warm up
    pairs = [(seconds("ours"), seconds("tutorial")) for _ in range(repeats)]
    for pipe in pipes.values():
        pipe.send(False)
    make, load = CASES[topology]
    dataset = load()
    count = EPOCHS * len(dataset.train)
    return {
        "ratio": round(statistics.median(rival / own for own, rival in pairs), 3),
        "examples_per_second": round(count / statistics.median(own for own, _ in pairs)),
        "tutorial_examples_per_second": round(count / statistics.median(rival for _, rival in pairs)),
        "data": dataset.name,
        "flops": count_flops(plan(make(), dataset.inputs, dataset.output_shapes)),
    }


CASES: dict[str, tuple[Callable[[], Topology], Callable[[], Dataset]]] = {
    "dense": (dense_topology, lambda: load_dataset({"name": "digits"})),
    "conv": (conv_topology, lambda: load_dataset({"name": "digits"})),
    "mixed": (mixed_topology, lambda: load_dataset({"name": "digits"})),
    "conv on 28x28": (conv_topology, lambda: fashion(1000)),  # bound by the convolutions themselves
}


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    topologies = {name: compare(name, arguments.repeats, arguments.threads) for name in CASES}
    print(
        json.dumps(
            {
                "name": "training",
                "ratio": statistics.median(topologies[name]["ratio"] for name in ("dense", "conv", "mixed")),
                "topologies": topologies,
                "conditions": {
                    "what": f"examples per second, {EPOCHS} epochs with validation, ours / tutorial's loop, CPU time",
                    "batch_size": BATCH,
                    "threads": arguments.threads,
                    "repeats": arguments.repeats,
                    "torch": torch.__version__,
                    "machine": platform.machine(),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
