"""Composition: accuracy on combinations of two classes that were never seen together in training.

30 of the 100 pairs of classes are kept out of training and validation, (i, j) together with (j, i); every class is
still seen on each side, and every sum of two. The control is accuracy on test pairs whose combination was seen. As 19
classes nobody composes a sum, so it is asked for as a number too: right is a number that rounds to the sum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.truth.training import SETTINGS, tensors, train_one
from benchmarks.truth.worlds import World
from nasmod.data import DataSettings, Split, assemble
from nasmod.networks import Network
from nasmod.topology import Topology
from nasmod.training import TrainingSettings

CLASSES, KEPT_OUT, SEED = 10, 30, 0


def kept_out() -> NDArray[np.bool_]:
    """Which combinations (first class, second class) are never seen: a symmetric table (10, 10).

    >>> table = kept_out()
    >>> int(table.sum()), bool((table == table.T).all()), int(table.sum(0).max()) < CLASSES
    (30, True, True)
    """
    generator = np.random.default_rng(SEED)
    pairs = np.stack(np.triu_indices(CLASSES), axis=1)
    sums = np.add.outer(np.arange(CLASSES), np.arange(CLASSES))
    table = np.zeros((CLASSES, CLASSES), dtype=bool)
    for first, second in generator.permutation(pairs):
        changed = table.copy()
        changed[first, second] = changed[second, first] = True
        if changed.sum() <= KEPT_OUT and not changed.all(0).any() and len(np.unique(sums[~changed])) == 2 * CLASSES - 1:
            table = changed
    return table


def composition(
    topology: Topology, world: World, seed: int, settings: TrainingSettings = SETTINGS
) -> dict[str, dict[str, float]]:
    """Accuracy on ``unseen`` and ``seen`` combinations, as classes and, for sums, as a number (``regression``)."""
    table = kept_out()
    unseen = {split: table[tuple(classes.T)] for split, classes in world.classes.items()}
    parts = {split: world.dataset.split(split) for split in unseen}
    rest = {
        split: part if split == "test" else part.rows(np.flatnonzero(~unseen[split])) for split, part in parts.items()
    }
    classes = dict(world.dataset.outputs)
    named = DataSettings(name=world.dataset.name)
    train, others = rest["train"], {split: rest[split] for split in ("validation", "test")}
    found = {}

    fewer = replace(world, dataset=assemble(named, "classification", train, classes=classes, **others))
    found["classes"] = _apart(_right(train_one(topology, fewer, seed, settings), fewer), unseen["test"])
    if world.task == "sum":
        real = {split: Split(part.inputs, _as_numbers(part.targets)) for split, part in others.items()}
        data = assemble(named, "regression", Split(train.inputs, _as_numbers(train.targets)), **real)
        numbers = replace(world, dataset=data)
        network = train_one(topology, numbers, seed, settings)
        found["regression"] = _apart(_rounded_right(network, numbers, world), unseen["test"])
    return found


def _as_numbers(targets: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.float32]]:
    return {name: values.astype(np.float32) for name, values in targets.items()}


@torch.no_grad()
def _right(network: Network, world: World) -> NDArray[np.float64]:
    """Of each test example the share of its outputs that are right (N,)."""
    inputs, targets = tensors(world, "test")
    outputs = network(inputs)
    right = torch.stack([outputs[name].argmax(-1) == targets[name] for name in outputs]).double()
    return right.mean(0).numpy()


@torch.no_grad()
def _rounded_right(network: Network, numbers: World, world: World) -> NDArray[np.float64]:
    inputs, targets = tensors(world, "test")
    outputs = network(inputs)
    right = []
    for name, (mean, std) in numbers.dataset.target_normalisation.items():
        answers = outputs[name][:, 0].numpy() * std[0] + mean[0]
        right.append(np.rint(answers) == targets[name].numpy())
    return np.mean(right, axis=0)


def _apart(right: NDArray[np.float64], unseen: NDArray[np.bool_]) -> dict[str, float]:
    return {"unseen": float(right[unseen].mean()), "seen": float(right[~unseen].mean())}
