"""Worlds in which one part has changed: another sensor, another meaning, other labels of one output.

A world holds the raw pixels and the classes of the digits of every example, so that each part can change on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nasmod.data import Dataset, load_dataset
from nasmod.data.digit_pairs import answers

Array = NDArray[np.int64]
SPLITS = ("train", "validation", "test")
TASKS = ("xor", "both", "sum", "pair")
Examples = tuple[dict[str, NDArray[np.uint8]], dict[str, Array]]  # inputs, targets


@dataclass(frozen=True)
class Change:
    """What has changed: ``sensor`` or ``meaning`` of an input, or the ``labels`` of an output."""

    kind: str
    where: str
    repetition: int = 0


@dataclass(frozen=True, eq=False)
class World:
    """A task on pairs of digits, with the class of each digit of each example by split (N, digits)."""

    task: str
    dataset: Dataset
    classes: dict[str, Array]

    def changes(self, repetitions: int) -> list[Change]:
        """Every change of one part, so many times each."""
        parts = [("sensor", name) for name in self.dataset.inputs] + [("meaning", name) for name in self.dataset.inputs]
        parts += [("labels", name) for name in self.dataset.outputs]
        return [Change(kind, where, repetition) for kind, where in parts for repetition in range(repetitions)]

    def examples(self, split: str, change: Change | None = None) -> Examples:
        """Inputs and targets of a split, in the world as it was or after a change."""
        found = self.dataset.split(split)
        inputs = {name: np.asarray(values) for name, values in found.inputs.items()}
        targets = {name: np.asarray(values) for name, values in found.targets.items()}
        if change is None:
            return inputs, targets
        generator = np.random.default_rng([change.repetition, sum(change.where.encode())])
        if change.kind == "sensor":  # its pixels arrive in another order
            images = inputs[change.where]
            pixels = images.reshape(len(images), -1)
            inputs[change.where] = pixels[:, generator.permutation(pixels.shape[1])].reshape(images.shape)
        elif change.kind == "meaning":  # two by two, its classes exchange their meaning
            classes = self.classes[split].copy()
            column = list(self.dataset.inputs).index(change.where)
            classes[:, column] = exchanged(10, generator)[classes[:, column]]
            targets = answers(self.task, classes)
        else:
            targets[change.where] = exchanged(self.dataset.outputs[change.where], generator)[targets[change.where]]
        return inputs, targets


def exchanged(classes: int, generator: np.random.Generator) -> Array:
    """A permutation that exchanges classes two by two; of an odd number one stays."""
    order = generator.permutation(classes)
    found = np.arange(classes)
    for first, second in zip(order[::2], order[1::2], strict=False):
        found[first], found[second] = second, first
    return found


def world(task: str, digits: int = 2) -> World:
    """The world of a task."""
    settings = {"name": "digit_pairs", "digits": digits}
    named = load_dataset({**settings, "task": "pair"})
    classes = {name: np.stack(list(named.split(name).targets.values()), axis=1) for name in SPLITS}
    return World(task, load_dataset({**settings, "task": task}), classes)
