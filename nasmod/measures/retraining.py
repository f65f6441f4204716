"""Training a chosen topology at full length, with several seeds: what it reaches, and its best weights.

It knows nothing of studies; no early stop, nothing is stored.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nasmod.data import Dataset
from nasmod.measures.roles import Roles
from nasmod.measures.trained import train_and_measure
from nasmod.networks import Plan
from nasmod.training import Epoch, TrainingFailed, TrainingSettings, save_weights


@dataclass(frozen=True)
class Retrained:
    """One full training: which one (from 1), how long, its measures with standard errors, its weights (safetensors).

    `roles` say what each module does.
    """

    number: int
    epochs: int
    measures: Mapping[str, float]
    standard_errors: Mapping[str, float]
    weights: bytes
    roles: Roles = field(default_factory=dict)


def retrain(
    plan: Plan,
    dataset: Dataset,
    settings: TrainingSettings,
    measures: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int],
    *,
    device: str = "auto",
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> list[Retrained]:
    """Train the planned network from new weights once with each seed; each training with its test measures.

    `on_epoch` is told the training's number, from 1, and each of its epochs. Raises `TrainingFailed`, with the number
    in its reason, when one fails, and what `train_and_measure` raises.
    """
    found = []
    for number, seed in enumerate(seeds, 1):

        def told(epoch: Epoch, number: int = number) -> None:
            if on_epoch is not None:
                on_epoch(number, epoch)

        try:
            trained = train_and_measure(plan, dataset, settings, measures, seed, on_epoch=told, device=device)
        except TrainingFailed as failure:
            raise TrainingFailed(f"Training {number} of {len(seeds)} failed: {failure.reason}") from failure
        values, errors, roles = trained.measured
        found.append(Retrained(number, settings.epochs, values, errors, save_weights(trained.network), roles))
    return found


def best_of(trainings: Sequence[Retrained]) -> Retrained:
    """The training that does best on the validation split: by accuracy, or R² of a regression."""
    return max(trainings, key=lambda training: training.measures.get("accuracy", training.measures.get("r2", 0.0)))


def mean_and_spread(trainings: Sequence[Retrained]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over the trainings of every measure that all of them have.

    >>> trainings = [Retrained(n, 8, {"accuracy": value}, {}, b"") for n, value in ((1, 0.5), (2, 1.0))]
    >>> mean_and_spread(trainings)
    {'accuracy': (0.75, 0.3535533905932738)}
    """
    common = [name for name in trainings[0].measures if all(name in training.measures for training in trainings)]
    found = {}
    for name in common:
        values = [training.measures[name] for training in trainings]
        mean = float(statistics.mean(values))  # copes with what is not finite, as `fmean` and `stdev` do not
        spread = math.hypot(*(value - mean for value in values)) / math.sqrt(max(1, len(values) - 1))
        found[name] = mean, spread
    return found
