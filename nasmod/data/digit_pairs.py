"""Pairs of scikit-learn's digits as separate inputs, and tasks whose right decomposition is known.

Each input needs a module that recognises its digit, and the answers have to be put together: there the truth about
which module should do what is known, so that measures of modularity can be tried on it. Nothing is downloaded.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from nasmod.data.assemble import assemble
from nasmod.data.dataset import Array, Dataset, DataSettings, Split
from nasmod.data.digits import images_and_classes
from nasmod.data.splits import split_indices

INPUT_NAMES = "abcdefgh"


class DigitPairsSettings(DataSettings):
    """Which question is asked about the digits, how many digits an example has, and how many examples there are."""

    name: str = "digit_pairs"
    task: Literal["xor", "both", "sum", "pair"] = Field(
        "sum",
        description="xor: are the odd digits odd in number; both: are all at least 5; sum: their sum; pair: each",
    )
    digits: int = Field(2, strict=True, ge=2, le=len(INPUT_NAMES), description="digits an example, inputs a, b, c, …")
    examples: int = Field(12_000, strict=True, ge=100, le=10_000_000, description="drawn in all, over the three splits")
    validation: float = Field(1 / 6, strict=True, gt=0, lt=1, description="share of the digits, and of the examples")
    test: float = Field(1 / 6, strict=True, gt=0, lt=1, description="share of the digits, and of the examples")


def load(settings: DigitPairsSettings) -> Dataset:
    """Several of scikit-learn's handwritten digits an example, and a question about them together.

    The splits share no digit. Inputs are ``a``, ``b`` …, each (1, 8, 8); the output is ``y``, or for ``pair`` one an
    input: ``y_a``, ``y_b`` ….

    >>> found = load(DigitPairsSettings(task="xor"))
    >>> found.inputs, dict(found.outputs), [len(found.split(name)) for name in ("train", "validation", "test")]
    ({'a': (1, 8, 8), 'b': (1, 8, 8)}, {'y': 2}, [8000, 2000, 2000])
    """
    images, digits = images_and_classes()
    names = INPUT_NAMES[: settings.digits]
    parts = split_indices(len(images), settings.validation, settings.test, settings.seed, digits)
    shares = (1 - settings.validation - settings.test, settings.validation, settings.test)
    generator = np.random.RandomState(settings.seed)  # numpy's frozen legacy generator: the same for ever
    splits = []
    for part, share in zip(parts, shares, strict=True):
        rows = part[generator.randint(len(part), size=(round(settings.examples * share), settings.digits))]
        inputs = {name: images[rows[:, place]] for place, name in enumerate(names)}
        splits.append(Split(inputs, answers(settings.task, digits[rows])))
    train, validation, test = splits
    outputs = {"xor": 2, "both": 2, "sum": 9 * settings.digits + 1, "pair": 10}
    classes = dict.fromkeys(train.targets, outputs[settings.task])
    return assemble(settings, "classification", train, validation=validation, test=test, classes=classes)


def answers(task: str, digits: Array) -> dict[str, Array]:
    """Targets by output, of the classes (N, digits) of the digits of each example.

    >>> {task: answers(task, np.array([[3, 8]])) for task in ("xor", "both", "sum")}
    {'xor': {'y': array([1])}, 'both': {'y': array([0])}, 'sum': {'y': array([11])}}
    """
    if task == "pair":
        return {f"y_{name}": column for name, column in zip(INPUT_NAMES, digits.T, strict=False)}
    if task == "sum":
        return {"y": np.asarray(digits.sum(1))}
    if task == "xor":
        return {"y": np.bitwise_xor.reduce(digits % 2, axis=1)}
    return {"y": np.all(digits >= 5, axis=1).astype(np.int64)}
