"""Worlds in which one part has changed: another sensor, another meaning, other labels of one output.

A world holds the raw values of every example and, of digits, their classes, so that each part can change on its own.
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
Examples = tuple[dict[str, NDArray[np.generic]], dict[str, Array]]  # inputs, targets


@dataclass(frozen=True)
class Change:
    """What has changed: ``sensor`` or ``meaning`` of an input, or the ``labels`` of an output."""

    kind: str
    where: str
    repetition: int = 0


@dataclass(frozen=True, eq=False)
class World:
    """A task, and where they are known the classes of each input of each example by split (N, inputs)."""

    task: str
    dataset: Dataset
    classes: dict[str, Array]

    def changes(self, repetitions: int) -> list[Change]:
        """Sensor and meaning of each input, so many times each, and the labels of each output once.

        Where the inputs have no classes of their own only their sensors change.
        """
        inputs = list(self.dataset.inputs)
        found = [Change("sensor", name, again) for name in inputs for again in range(repetitions)]
        if self.classes:
            found += [Change("meaning", name, again) for name in inputs for again in range(repetitions)]
            found += [Change("labels", name) for name in self.dataset.outputs]
        return found

    def examples(self, split: str, change: Change | None = None) -> Examples:
        """Inputs and targets of a split, in the world as it was or after a change."""
        found = self.dataset.split(split)
        inputs = {name: np.asarray(values) for name, values in found.inputs.items()}
        targets = {name: np.asarray(values) for name, values in found.targets.items()}
        if change is None:
            return inputs, targets
        generator = np.random.default_rng([change.repetition, sum(change.where.encode())])
        if change.kind == "sensor":  # its values arrive in another order
            values = inputs[change.where]
            flat = values.reshape(len(values), -1)
            inputs[change.where] = flat[:, generator.permutation(flat.shape[1])].reshape(values.shape)
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
