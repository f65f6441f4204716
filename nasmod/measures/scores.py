"""Scores beside accuracy: of unequal classes, of probabilities, and of errors in the data's own units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax

from nasmod.measures.accuracy import mean_value, nll_of
from nasmod.measures.measure import Arrays, Evaluation, MeasureSettings, Value
from nasmod.measures.objective import Direction
from nasmod.training.seeds import derive

if TYPE_CHECKING:
    from nasmod.data import Dataset

Floats = NDArray[np.float64]


class ScoresSettings(MeasureSettings):
    """How standard errors are found where there is no formula."""

    resamples: int = Field(default=100, ge=2, description="bootstrap samples of the confusion table, for macro F1")


class Scores:
    """Balanced accuracy, macro F1, AUC, log loss; of a regression MAE, RMSE and a robust R².

    Of several outputs, the mean. AUC is that of each class against the rest, undefined where a class has no example.
    Errors of a regression are in the data's own units.
    """

    cheap: ClassVar[bool] = False
    directions: ClassVar[Mapping[str, Direction]] = {
        "balanced_accuracy": "maximize",
        "macro_f1": "maximize",
        "auc": "maximize",
        "log_loss": "minimize",
        "mae": "minimize",
        "rmse": "minimize",
        "robust_r2": "maximize",
    }

    def __init__(self, settings: ScoresSettings) -> None:
        self.settings = settings

    def __call__(self, evaluation: Evaluation) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for split in evaluation.splits:
            outputs, targets = evaluation.outputs(split)
            generator = np.random.default_rng(derive(evaluation.seed, "scores", split))
            if evaluation.dataset.task == "regression":
                found = regression_scores(outputs, targets, evaluation.dataset)
            else:
                found = classification_scores(outputs, targets, self.settings.resamples, generator)
            prefix = "" if split == "validation" else f"{split}_"
            values |= {f"{prefix}{name}": value for name, value in found.items()}
        return values


def classification_scores(
    outputs: Arrays, targets: Arrays, resamples: int, generator: np.random.Generator
) -> dict[str, Value]:
    """Of logits (N, C) and classes (N,) by output.

    >>> logits, classes = np.array([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]]), np.array([0, 1, 0, 1])
    >>> found = classification_scores({"y": logits}, {"y": classes}, 10, np.random.default_rng(0))
    >>> found["balanced_accuracy"].value, round(found["macro_f1"].value, 4), found["auc"].value
    (0.75, 0.7333, 0.75)
    """
    found = [_of_output(outputs[name], targets[name], resamples, generator) for name in outputs]
    return {name: _mean_of([one[name] for one in found]) for name in found[0]}


def _of_output(logits: Floats, classes: Floats, resamples: int, generator: np.random.Generator) -> dict[str, Value]:
    count = logits.shape[1]
    pairs = np.bincount(classes * count + logits.argmax(1), minlength=count**2)
    table = pairs.reshape(count, count).astype(np.float64)  # true class, told class
    of_class = table.sum(1)
    there = of_class > 0
    recall = np.diag(table)[there] / of_class[there]
    error = math.sqrt(float((recall * (1 - recall) / of_class[there]).sum())) / there.sum()
    again = generator.multinomial(int(table.sum()), (table / table.sum()).ravel(), size=resamples)
    spread = float(np.std([_macro_f1(one.reshape(count, count)) for one in again]))
    probabilities = softmax(logits.astype(np.float64), axis=1)
    return {
        "balanced_accuracy": Value(float(recall.mean()), error),
        "macro_f1": Value(_macro_f1(table), spread),
        "auc": Value(_auc(probabilities, classes)),
        "log_loss": mean_value(nll_of(logits, classes)),
    }


def _macro_f1(table: Floats) -> float:
    """The mean F1 of the classes that are there or told."""
    right, true, told = np.diag(table), table.sum(1), table.sum(0)
    counted = true + told > 0
    return float((2 * right[counted] / (true + told)[counted]).mean())


def _auc(probabilities: Floats, classes: Floats) -> float:
    """The mean over classes of the area under the curve of each against the rest."""
    from sklearn.metrics import roc_auc_score

    there = np.bincount(classes, minlength=probabilities.shape[1]) > 0
    if not there.all():
        return math.nan
    if len(there) == 2:  # both classes have the same
        return float(roc_auc_score(classes, probabilities[:, 1]))
    return float(roc_auc_score(classes, probabilities, multi_class="ovr"))


def regression_scores(outputs: Arrays, targets: Arrays, dataset: Dataset) -> dict[str, Value]:
    """Of standardised values (N, dims) by output: errors in the data's own units, and a robust R².

    It is 1 - (MAD of errors / MAD of targets)², MAD the median absolute deviation: a few outliers do not decide it.
    """
    from scipy.stats import median_abs_deviation

    errors, robust = [], []
    for name, target in targets.items():
        wanted = target.reshape(len(target), -1).astype(np.float64)
        difference = outputs[name].reshape(wanted.shape) - wanted
        scale = dataset.target_normalisation[name][1] if name in dataset.target_normalisation else 1.0
        errors.append(difference * scale)
        spread, around = median_abs_deviation(wanted), median_abs_deviation(difference)
        robust.append(np.where(spread > 0, 1 - (around / np.maximum(spread, 1e-300)) ** 2, 0.0).mean())
    of_each = np.concatenate(errors, axis=1)  # (N, all dims)
    absolute, squared = np.abs(of_each).mean(1), (of_each**2).mean(1)
    square = mean_value(squared)
    rmse = math.sqrt(square.value)
    return {
        "mae": mean_value(absolute),
        "rmse": Value(rmse, (square.standard_error or 0.0) / (2 * rmse) if rmse > 0 else 0.0),
        "robust_r2": Value(float(np.mean(robust))),
    }


def _mean_of(values: list[Value]) -> Value:
    """Of several outputs; their errors as if they were independent."""
    errors = [value.standard_error for value in values]
    known = [error for error in errors if error is not None]
    error = math.hypot(*known) / len(values) if len(known) == len(values) else None
    return Value(float(np.mean([value.value for value in values])), error)
