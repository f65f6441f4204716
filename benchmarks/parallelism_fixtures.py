"""The fixture table of parallelism, regenerated: what known networks score, over seeds, on two data sets.

Digits with dense modules, Fashion-MNIST with convolutional ones; two layers a module, concatenation, one linear head.
Prints a markdown table per data set and one JSON line last; `--write` keeps the tables in `parallelism_fixtures.md`.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch

from nasmod.data import Dataset, load_dataset
from nasmod.measures import Evaluation, Value
from nasmod.measures.parallelism import Parallelism, ParallelismSettings, necessity
from nasmod.networks import Network, Plan, build, plan
from nasmod.topology import Node, Topology
from nasmod.training import TrainingSettings, train

TABLE = Path(__file__).with_suffix(".md")
Edges = set[tuple[int, int]]
Module = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Setting:
    """A data set, how long to train on it, and which modules to use: an ordinary, a giant and a tiny one."""

    data: Mapping[str, Any]
    training: TrainingSettings
    module: Module
    giant: Module
    tiny: Module
    effect: float  # spread of the head's weights for untrained modules that cancel each other

    def load(self) -> Dataset:
        return load_dataset(self.data)


SETTINGS = {
    "digits": Setting(
        data={"name": "digits"},
        training=TrainingSettings(epochs=40, batch_size=64, learning_rate=3e-3),
        module=("dense", {"width": 32, "depth": 2}),
        giant=("dense", {"width": 64, "depth": 2}),
        tiny=("dense", {"width": 1, "depth": 2}),
        effect=10.0,
    ),
    "fashion-mnist": Setting(
        data={"name": "fashion-mnist", "limit": 14_500},
        training=TrainingSettings(epochs=4, batch_size=64, learning_rate=5e-3),
        module=("conv", {"channels": 8, "depth": 2, "stride": 2}),
        giant=("conv", {"channels": 16, "depth": 2, "stride": 2}),
        tiny=("conv", {"channels": 1, "depth": 2, "stride": 4}),
        effect=1.0,
    ),
}


def wired(
    modules: list[Module], edges: Iterable[tuple[int, int]], reads: Iterable[int] = (), gives: Iterable[int] = ()
) -> Topology:
    """A topology of modules and edges (i, j), i < j.

    Modules that read no other read the input, and so do those in `reads`; the output reads those that no other reads,
    and those in `gives`.
    """
    edges, reads, gives = set(edges), set(reads), set(gives)
    nodes = [Node("input", (), {"name": "x"})]
    for index, (kind, params) in enumerate(modules):
        sources = sorted(i + 1 for i, j in edges if j == index)
        nodes.append(Node(kind, (0, *sources) if not sources or index in reads else tuple(sources), params))
    read = {i for i, _ in edges}
    ends = [index + 1 for index in range(len(modules)) if index not in read or index in gives]
    return Topology((*nodes, Node("output", tuple(ends), {"name": "y"})))


def random_wiring(modules: int, probability: float, seed: int) -> Edges:
    """Every possible edge with the same probability."""
    generator = random.Random(seed)
    return {(i, j) for j in range(modules) for i in range(j) if generator.random() < probability}


def topologies(setting: Setting, seed: int) -> dict[str, Topology]:
    """The networks of the table that are trained as they are."""
    module, all_of_four = setting.module, {(i, j) for j in range(4) for i in range(j)}
    chain = [(0, 1), (1, 2), (2, 3)]
    return {
        "one module": wired([module], ()),
        "chain of 2": wired([module] * 2, chain[:1]),
        "chain of 4": wired([module] * 4, chain),
        "one giant, three tiny": wired([setting.giant] + [setting.tiny] * 3, ()),
        "2 parallel modules": wired([module] * 2, ()),
        "4 parallel modules": wired([module] * 4, ()),
        "8 parallel modules": wired([module] * 8, ()),
        "4 modules, each reads all earlier ones and the input": wired([module] * 4, all_of_four, range(4), range(4)),
        "4 + 4 modules one-to-one": wired([module] * 8, {(i, i + 4) for i in range(4)}),
        "4 + 4 modules all-to-all": wired([module] * 8, {(i, j + 4) for i in range(4) for j in range(4)}),
        "two towers into a fusing module": wired([module] * 3, {(0, 2), (1, 2)}),
        "8 modules, random wiring .15": wired([module] * 8, random_wiring(8, 0.15, seed)),
        "8 modules, random wiring .5": wired([module] * 8, random_wiring(8, 0.5, seed)),
        "8 modules, random wiring .9": wired([module] * 8, random_wiring(8, 0.9, seed)),
    }


def made(topology: Topology, dataset: Dataset, seed: int) -> Network:
    """An untrained network, drawn from the seed."""
    torch.manual_seed(seed)
    network = build(plan(topology, dataset.inputs, dataset.output_shapes))
    network.normalise(dataset.normalisation)
    return network


def trained(topology: Topology, dataset: Dataset, training: TrainingSettings, seed: int) -> Network:
    """A network after its training."""
    network = made(topology, dataset, seed)
    train(network, dataset, training, seed, on_epoch=lambda epoch: None)
    return network


@torch.no_grad()
def averaged(parts: list[Network], module: Module, dataset: Dataset) -> Network:
    """Networks of one module each as parallel modules of one network, whose head averages their logits."""
    network = made(wired([module] * len(parts), ()), dataset, seed=0)
    steps = [step for step in network.plan.steps if step.node.is_module]
    for step, part in zip(steps, parts, strict=True):
        only = next(step for step in part.plan.steps if step.node.is_module)
        network.get_submodule(step.name).load_state_dict(part.get_submodule(only.name).state_dict())
    heads = [part.get_submodule(head_name(part.plan)) for part in parts]
    head = network.get_submodule(head_name(network.plan))
    # features of images lie (channels, height, width): those of one module stay together
    head.weight.copy_(torch.cat([part.weight for part in heads], 1) / len(parts))
    head.bias.copy_(torch.stack([part.bias for part in heads]).mean(0))
    return network


@torch.no_grad()
def cancelling(alone: Network, module: Module, dataset: Dataset, pairs: int, size: float, seed: int) -> Network:
    """A monolith beside pairs of untrained modules; what one of a pair tells the head, the other takes back.

    It computes what the monolith computes, and its modules are needed by each other alone.
    """
    network = made(wired([module] * (1 + 2 * pairs), ()), dataset, seed)
    first, *others = [network.get_submodule(step.name) for step in network.plan.steps if step.node.is_module]
    only = next(step for step in alone.plan.steps if step.node.is_module)
    first.load_state_dict(alone.get_submodule(only.name).state_dict())
    head, trained_head = network.get_submodule(head_name(network.plan)), alone.get_submodule(head_name(alone.plan))
    columns = [trained_head.weight]
    for told, taken_back in zip(others[::2], others[1::2], strict=True):
        taken_back.load_state_dict(told.state_dict())
        effect = size * torch.randn_like(trained_head.weight)
        columns += [effect, -effect]
    head.weight.copy_(torch.cat(columns, 1))
    head.bias.copy_(trained_head.bias)
    return network


def head_name(found: Plan) -> str:
    """The submodule that gives the only output."""
    return f"{next(step.name for step in found.steps if step.is_output)}_head"


def measured(network: Network, dataset: Dataset, modules_wanted: int = 4) -> dict[str, Value]:
    """What the measure says of a network."""
    evaluation = Evaluation(plan=network.plan, dataset=dataset, network=network)
    return Parallelism(ParallelismSettings(modules_wanted=modules_wanted))(evaluation)


def networks(setting: Setting, dataset: Dataset, seed: int) -> Iterable[tuple[str, Callable[[], Network]]]:
    """Every row of the table: its name and how its network is made."""
    one, four = wired([setting.module], ()), wired([setting.module] * 4, ())

    def fit(topology: Topology, at: int) -> Network:
        return trained(topology, dataset, setting.training, at)

    def apart() -> Network:
        return averaged([fit(one, 100 * seed + index) for index in range(4)], setting.module, dataset)

    yield "4 parallel modules, untrained", lambda: made(four, dataset, seed)
    yield "4 copies of one trained module, averaged", lambda: averaged([fit(one, seed)] * 4, setting.module, dataset)
    yield "4 modules trained apart, averaged", apart
    for pairs in (1, 4):
        yield (
            f"one module and {pairs} cancelling pair{'s' * (pairs > 1)}",
            lambda pairs=pairs: cancelling(fit(one, seed), setting.module, dataset, pairs, setting.effect, seed),
        )
    for name, topology in topologies(setting, seed).items():
        yield name, lambda topology=topology: fit(topology, seed)


COLUMNS = ("parallelism", "parallelism, 2 wanted", "necessity", "independence", "opposed counted", "accuracy")


def row(network: Network, dataset: Dataset) -> dict[str, float]:
    """The columns of the table for one network.

    `opposed counted` is the parallelism of the first definition, whose necessity counted opposed information too.
    """
    four, two = measured(network, dataset), measured(network, dataset, modules_wanted=2)
    carried = np.array([value.value for name, value in four.items() if name.startswith("information.")])
    outputs, targets = Evaluation(plan=network.plan, dataset=dataset, network=network).outputs("validation")
    return {
        "parallelism": four["parallelism"].value,
        "parallelism, 2 wanted": two["parallelism"].value,
        "necessity": four["necessity"].value,
        "independence": four["independence"].value,
        "opposed counted": float(necessity(carried, modules_wanted=4)) * four["independence"].value,
        "accuracy": float((outputs["y"].argmax(1) == targets["y"]).mean()),
    }


def table(setting: Setting, seeds: int) -> dict[str, dict[str, list[float]]]:
    """Every column of every row, over seeds."""
    dataset = setting.load()
    found: dict[str, dict[str, list[float]]] = {}
    for seed in range(seeds):
        for name, make in networks(setting, dataset, seed):
            for column, value in row(make(), dataset).items():
                found.setdefault(name, {}).setdefault(column, []).append(value)
    return found


def markdown(found: Mapping[str, Mapping[str, list[float]]]) -> str:
    """The table as people read it: mean ± standard deviation over seeds."""
    lines = [f"| network | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, columns in found.items():
        cells = [f"{mean(columns[c]):.3f} ± {spread(columns[c]):.3f}" for c in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: list[float]) -> float:
    """Standard deviation over seeds."""
    return stdev(values) if len(values) > 1 else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help=f"keep the tables in {TABLE.name}")
    chosen = parser.parse_args()

    torch.set_num_threads(1)
    result: dict[str, Any] = {"name": "parallelism_fixtures"}
    parts = [__doc__.partition("\n")[0]]
    for name in chosen.data:
        setting, started = SETTINGS[name], time.perf_counter()
        found = table(setting, chosen.seeds)
        minutes = (time.perf_counter() - started) / 60
        conditions = (
            f"{chosen.seeds} seeds, {setting.training.epochs} epochs, module {setting.module[0]} "
            f"{dict(setting.module[1])}, data {dict(setting.data)}, 1 thread, {minutes:.1f} minutes, "
            f"torch {torch.__version__}, {platform.machine()}"
        )
        parts.append(f"## {name}\n\n{conditions}. Mean ± standard deviation over seeds.\n\n{markdown(found)}")
        print(f"\n{parts[-1]}\n")
        result[name] = {
            row_name: {c: [round(mean(v), 4), round(spread(v), 4)] for c, v in columns.items()}
            for row_name, columns in found.items()
        }
        result.setdefault("conditions", {})[name] = conditions
    if chosen.write:
        TABLE.write_text("# Parallelism: the project's own fixtures\n\n" + "\n\n".join(parts) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
