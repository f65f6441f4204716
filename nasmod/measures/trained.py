"""One training from a plan to its measures: seed, build, normalise, train, measure.

It knows nothing of studies, trials or databases. Everything random is derived from the seed that it is given: the
same plan, data, settings and seed give the same numbers, whether a worker trains them or a person.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor

from nasmod.data import Dataset
from nasmod.measures.measure import Evaluation, Measured, measure_all
from nasmod.networks import Network, Plan, build
from nasmod.training import Epoch, TrainingSettings, TrainResult, derive, device_for, train
from nasmod.training.loop import Penalty

Measures = Mapping[str, BaseModel | Mapping[str, Any]]
"""``{measure name: its settings or their plain mapping}``"""


@dataclass(frozen=True, eq=False)
class Trained:
    """A network after its training, how the training went, and what the measures say."""

    network: Network
    result: TrainResult
    measured: Measured


def train_and_measure(
    plan: Plan,
    dataset: Dataset,
    settings: TrainingSettings,
    measures: Measures,
    seed: int,
    *,
    prepare: Callable[[Network], None] | None = None,
    penalty: Penalty | None = None,
    on_epoch: Callable[[Epoch], str | None] | None = None,
    device: str = "cpu",
    checkpoint: bytes | None = None,
    averaged_at: Collection[int] = (),
    known: Measured | None = None,
) -> Trained:
    """Train the network of a plan from new weights, or from a checkpoint of the same training, and measure it.

    `prepare(network)` may change the network on the CPU, built and normalised, before it is trained; a checkpoint then
    replaces its weights. `penalty`, `on_epoch` and `averaged_at` are those of `train`. `known` is what `measure_plan`
    gave, where the caller has asked it already. A training that `on_epoch` stopped keeps the values known before it:
    what more is worth measuring then, `measure_network` measures inside `on_epoch`.
    Raises `TrainingFailed` as `train` does, and what `measure_all` raises.
    """
    if known is None:
        known = measure_plan(plan, dataset, measures, seed)
    torch.manual_seed(derive(seed, "weights"))
    network = build(plan)
    network.normalise(dataset.normalisation)
    if prepare is not None:
        prepare(network)
    outputs: Mapping[str, Tensor] | None = None  # of the last epoch; None where a checkpoint leaves none to train

    def told(epoch: Epoch) -> str | None:
        nonlocal outputs
        outputs = epoch.validation_outputs
        return None if on_epoch is None else on_epoch(epoch)

    result = train(
        network, dataset, settings, seed, told, penalty, device=device, checkpoint=checkpoint, averaged_at=averaged_at
    )
    if result.stopped is None:
        found = measure_network(
            network, dataset, measures, seed, device=device, with_test=True, validation_outputs=outputs
        )
        known = known.joined(found)
    return Trained(network, result, known)


def measure_plan(plan: Plan, dataset: Dataset, measures: Measures, seed: int, *, flops: int | None = None) -> Measured:
    """The measures that need no trained network. `flops` are those of the plan, where they were counted before."""
    evaluation = Evaluation(plan, dataset, seed=derive(seed, "measures"), flops=flops)
    return measure_all(measures, evaluation, cheap=True)


def measure_network(
    network: Network,
    dataset: Dataset,
    measures: Measures,
    seed: int,
    *,
    device: str = "cpu",
    with_test: bool = False,
    validation_outputs: Mapping[str, Tensor] | None = None,
) -> Measured:
    """The measures that need a trained network; `seed` is that of its training.

    `validation_outputs` are those of the network on the validation split where they are known: an `Epoch` has them.
    """
    evaluation = Evaluation(
        network.plan,
        dataset,
        network,
        str(device_for(device)),
        seed=derive(seed, "measures"),
        with_test=with_test,
        validation_outputs=validation_outputs,
    )
    return measure_all(measures, evaluation, cheap=False)
