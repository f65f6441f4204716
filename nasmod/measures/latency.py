"""How long a forward pass takes on the device at hand: a fact about a machine as much as about a network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import Field

from nasmod.measures.measure import Evaluation, MeasureSettings, Value
from nasmod.measures.objective import Direction

if TYPE_CHECKING:
    from torch import Tensor

    from nasmod.networks import Network

BATCHES = {"latency": 1, "latency_256": 256}


class LatencySettings(MeasureSettings):
    """How often a pass is timed."""

    repeats: int = Field(default=15, ge=1, description="timed passes, of which the median is kept")
    warm_up: int = Field(default=3, ge=0, description="passes before the first timed one")


class Latency:
    """Median seconds of a forward pass in eval mode: of one example (latency) and of 256 (latency_256).

    Its standard error is that of a median, 1.2533 times that of a mean, from the spread between quartiles.
    """

    cheap: ClassVar[bool] = False
    directions: ClassVar[Mapping[str, Direction]] = {"latency": "minimize", "latency_256": "minimize"}

    def __init__(self, settings: LatencySettings) -> None:
        self.settings = settings

    def __call__(self, evaluation: Evaluation) -> dict[str, Value]:
        return {name: self._time(evaluation, batch) for name, batch in BATCHES.items()}

    def _time(self, evaluation: Evaluation, batch: int) -> Value:
        import torch

        network = evaluation.trained
        inputs = _batch(evaluation, batch)
        was_training = network.training
        network.eval()
        try:
            with torch.inference_mode():
                seconds = [_seconds(network, inputs) for _ in range(self.settings.warm_up + self.settings.repeats)]
        finally:
            network.train(was_training)
        timed = seconds[self.settings.warm_up :]
        low, high = np.quantile(timed, [0.25, 0.75])
        spread = float(high - low) / 1.349  # standard deviation of a normal distribution with these quartiles
        return Value(median(timed), 1.2533 * spread / len(timed) ** 0.5)


def _seconds(network: Network, inputs: Mapping[str, Tensor]) -> float:
    wait = _synchronise(inputs)
    wait()
    start = time.perf_counter()
    network(inputs)
    wait()
    return time.perf_counter() - start


def _synchronise(inputs: Mapping[str, Tensor]) -> Callable[[], None]:
    """What waits for the device to finish: accelerators return before they have."""
    import torch

    device = next(iter(inputs.values())).device
    return (lambda: None) if device.type == "cpu" else (lambda: torch.accelerator.synchronize(device))


def _batch(evaluation: Evaluation, batch: int) -> dict[str, Tensor]:
    """Validation examples, repeated where there are fewer than `batch`."""
    import torch

    inputs = evaluation.dataset.validation.inputs
    chosen = np.arange(batch) % len(evaluation.dataset.validation)
    return {
        name: torch.as_tensor(np.asarray(inputs[name])[chosen]).to(evaluation.device) for name in evaluation.plan.inputs
    }
