"""How well a network does on held-out examples: accuracy, loss and skill, or R² and bits per symbol by task."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from nasmod.measures.measure import Arrays, Evaluation, MeasureSettings, Value
from nasmod.measures.objective import Direction

if TYPE_CHECKING:
    from nasmod.data import Dataset

Floats = NDArray[np.float64]


class AccuracySettings(MeasureSettings):
    """Nothing to set."""


class Accuracy:
    """Accuracy, loss and skill on the validation split (R² for regression, bits per symbol for language).

    With `Evaluation.with_test` the same numbers of the test split follow, prefixed ``test_``.
    """

    cheap: ClassVar[bool] = False
    directions: ClassVar[Mapping[str, Direction]] = {
        "skill": "maximize",
        "accuracy": "maximize",
        "r2": "maximize",
        "loss": "minimize",
        "bits_per_symbol": "minimize",
    }

    def __init__(self, settings: AccuracySettings) -> None:
        self.settings = settings

    def __call__(self, evaluation: Evaluation) -> dict[str, Value]:
        of_task = _TASKS[evaluation.dataset.task]
        values: dict[str, Value] = {}
        for split in evaluation.splits:
            outputs, targets = evaluation.outputs(split)
            prefix = "" if split == "validation" else f"{split}_"
            found = of_task(outputs, targets, evaluation.dataset)
            values |= {f"{prefix}{name}": value for name, value in found.items()}
        return values


def classification(outputs: Arrays, targets: Arrays, chance: float) -> dict[str, Value]:
    """Accuracy (binomial standard error), NLL in nats, skill = max(0, (accuracy - chance) / (1 - chance)).

    Several outputs are averaged within each example, so its standard error stays honest.

    >>> logits, classes = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]]), np.array([0, 1, 0, 1])
    >>> found = classification({"y": logits}, {"y": classes}, chance=0.5)
    >>> found["accuracy"].value, found["skill"].value, round(found["accuracy"].standard_error, 4)
    (0.75, 0.5, 0.2165)
    """
    correct = np.mean([outputs[name].argmax(1) == targets[name] for name in outputs], axis=0)
    accuracy = mean_value(correct)
    error = accuracy.standard_error or 0.0
    room = 1.0 - chance
    skill = Value(max(0.0, (accuracy.value - chance) / room), error / room) if room > 0 else Value(0.0, 0.0)
    return {"accuracy": accuracy, "loss": mean_value(_nll(outputs, targets)), "skill": skill}


def regression(outputs: Arrays, targets: Arrays) -> dict[str, Value]:
    """R², mean squared error, skill = max(0, R²); columns weigh by the variance of their targets.

    >>> y = np.arange(8.0)[:, None]
    >>> regression({"y": y}, {"y": y})["r2"].value
    1.0
    """
    squares = np.zeros(len(next(iter(targets.values()))))
    around_mean = np.zeros_like(squares)
    columns = 0
    for name, target in targets.items():
        wanted = target.reshape(len(target), -1).astype(np.float64)
        squares += ((outputs[name].reshape(wanted.shape) - wanted) ** 2).sum(1)
        around_mean += ((wanted - wanted.mean(0)) ** 2).sum(1)
        columns += wanted.shape[1]
    variance = around_mean.mean()
    if variance == 0:
        return {"r2": Value(0.0, 0.0), "loss": mean_value(squares / columns), "skill": Value(0.0, 0.0)}
    unexplained = squares.mean() / variance
    # the ratio of two means: its influence per example, to first order
    error = mean_value((squares - unexplained * around_mean) / variance).standard_error
    r2 = 1.0 - float(unexplained)
    return {"r2": Value(r2, error), "loss": mean_value(squares / columns), "skill": Value(max(0.0, r2), error)}


def language(outputs: Arrays, targets: Arrays) -> dict[str, Value]:
    """Bits per symbol, NLL in nats, accuracy, skill = the share of the unigram entropy that is removed.

    The unigram entropy is that of the symbols of this split: the loss of the best predictor that never looks.
    """
    nll = _nll(outputs, targets)
    loss = mean_value(nll)
    error = loss.standard_error or 0.0
    unigram = np.mean([_surprise(target) for target in targets.values()], axis=0)
    entropy = float(unigram.mean())
    correct = np.mean([outputs[name].argmax(1) == targets[name] for name in outputs], axis=0)
    if entropy == 0:
        skill = Value(0.0, 0.0)
    else:
        share = loss.value / entropy
        skill = Value(max(0.0, 1.0 - share), mean_value((nll - share * unigram) / entropy).standard_error)
    bits = Value(loss.value / math.log(2), error / math.log(2))
    return {"bits_per_symbol": bits, "loss": loss, "skill": skill, "accuracy": mean_value(correct)}


_TASKS: dict[str, Callable[[Arrays, Arrays, Dataset], dict[str, Value]]] = {
    "classification": lambda outputs, targets, dataset: classification(outputs, targets, dataset.chance),
    "regression": lambda outputs, targets, dataset: regression(outputs, targets),
    "language": lambda outputs, targets, dataset: language(outputs, targets),
}


def mean_value(per_example: NDArray[Any]) -> Value:
    """The mean of one value an example, with its standard error."""
    return Value(float(per_example.mean()), float(per_example.std() / math.sqrt(len(per_example))))


def _nll(outputs: Arrays, targets: Arrays) -> Floats:
    """Negative log-likelihood in nats per example, averaged over outputs: (N,)."""
    found: Floats = np.mean([nll_of(outputs[name], targets[name]) for name in outputs], axis=0)
    return found


def nll_of(logits: NDArray[Any], classes: NDArray[Any]) -> Floats:
    """Negative log-likelihood in nats of each example (N,), of one output's logits (N, C)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)  # (N, C)
    found: Floats = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(classes)), classes]
    return found


def _surprise(classes: NDArray[Any]) -> Floats:
    """-log of the share of each example's own class: its mean is the entropy."""
    _, inverse, counts = np.unique(classes, return_inverse=True, return_counts=True)
    found: Floats = -np.log(counts / len(classes))[inverse]
    return found
