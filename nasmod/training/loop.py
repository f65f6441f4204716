"""The training loop, from top to bottom. It knows nothing of topologies, studies or trials.

It trains any module that maps a dict of raw inputs to a dict of outputs, in place. The same seed gives the same curve
on the same device, and a checkpoint of any epoch leads to the same remaining curve, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from nasmod.data import Dataset
from nasmod.training.averaging import AVERAGE_OVER, averaged_network
from nasmod.training.batches import Batch, Batches, augmented, check_augmentation
from nasmod.training.checkpoints import load_checkpoint, save_checkpoint
from nasmod.training.devices import autocast, device_for, keep_freed_memory
from nasmod.training.evaluation import EVALUATION_BATCH, accuracy_of, balanced_weights, loss_of, predict
from nasmod.training.layout import channels_last
from nasmod.training.optimizer import FlatAdamW
from nasmod.training.result import Epoch, TrainingFailed, TrainResult
from nasmod.training.seeds import derive
from nasmod.training.settings import TrainingSettings, learning_rate

Activations = Mapping[Any, Tensor]
Penalty = Callable[[nn.Module, Activations], Tensor]


@runtime_checkable
class Inspected(Protocol):
    """A network whose inner activations can be had: `outputs` reads the outputs out of what `run` gave."""

    def run(self, inputs: Mapping[str, Tensor]) -> Mapping[Any, Tensor]: ...

    def outputs(self, found: Mapping[Any, Tensor]) -> dict[str, Tensor]: ...


def train(
    network: nn.Module,
    dataset: Dataset,
    settings: TrainingSettings,
    seed: int,
    on_epoch: Callable[[Epoch], str | None],
    penalty: Penalty | None = None,
    *,
    device: str | torch.device = "cpu",
    checkpoint: bytes | None = None,
    averaged_at: Collection[int] = (),
) -> TrainResult:
    """Train a network in place, from its present weights or from a checkpoint of the same training.

    `on_epoch` is told of every epoch and may return a reason to stop there; after the epochs `averaged_at` it gets a
    copy of the network with averaged weights too. `penalty(network, activations)` is added to the loss; the activations
    are those of ``network.run`` by step, or the outputs of a network without it.
    Raises `TrainingFailed` with its reason: a loss that is not finite, an epoch longer than allowed, no memory left.
    """
    check_augmentation(settings.augment, dataset)
    device = device_for(device)
    if device.type == "cpu":
        keep_freed_memory()
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
            return _train(network, dataset, settings, seed, on_epoch, penalty, device, checkpoint, averaged_at)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(device, error) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # how torch says it on a CPU
            raise
        raise _out_of_memory(device, error) from error


def _out_of_memory(device: torch.device, error: Exception) -> TrainingFailed:
    message = str(error).strip().splitlines() or ["no more is known"]
    return TrainingFailed(f"Out of memory on {device}: {message[0]}")


def _train(
    network: nn.Module,
    dataset: Dataset,
    settings: TrainingSettings,
    seed: int,
    on_epoch: Callable[[Epoch], str | None],
    penalty: Penalty | None,
    device: torch.device,
    checkpoint: bytes | None,
    averaged_at: Collection[int],
) -> TrainResult:
    images = any(len(shape) == 3 for shape in dataset.inputs.values())
    network.to(device)
    batches = Batches(dataset.train, device, settings.batch_size)
    validation = Batches(dataset.validation, device, EVALUATION_BATCH)
    done: int = 0
    curve: list[dict[str, float]] = []
    layout = channels_last(network) if images else nullcontext()
    weights = None
    if settings.class_weights == "balanced" and dataset.task != "regression":
        weights = balanced_weights(batches.targets, dataset.outputs)
    average_over = max(1.0, AVERAGE_OVER * len(batches)) if averaged_at else None
    with layout, FlatAdamW(network, settings.weight_decay, average_over) as optimizer:
        if checkpoint is not None:
            done, curve = load_checkpoint(network, optimizer, checkpoint)
        for number in range(done + 1, settings.epochs + 1):
            started = time.perf_counter()
            torch.manual_seed(derive(seed, "epoch", number))  # dropout and the like
            optimizer.gather()
            network.train()
            losses: list[Tensor] = []
            rate = 0.0
            for step, (inputs, targets) in _steps(batches, settings, seed, number):
                rate = learning_rate(settings, step, len(batches))

                with autocast(device, settings.mixed_precision):
                    outputs, activations = _forward(network, inputs, with_activations=penalty is not None)
                    loss = loss_of(outputs, targets, dataset.task, settings.label_smoothing, weights)
                    if penalty is not None:
                        loss = loss + penalty(network, activations)
                loss.backward()  # type: ignore[no-untyped-call]  # of torch
                optimizer.step(rate, settings.clip_norm)

                losses.append(loss.detach())
                _check_time(time.perf_counter() - started, number, settings)

            train_loss = float(torch.stack(losses) @ batches.shares)
            predicted = predict(network, validation)
            validation_loss = float(loss_of(predicted, validation.targets, dataset.task))
            if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
                raise TrainingFailed(
                    f"The loss is not finite after epoch {number}: training {train_loss}, validation {validation_loss}."
                )
            accuracy = accuracy_of(predicted, validation.targets, dataset.task)
            averaged, averaged_outputs = None, None
            if number in averaged_at:
                inputs_of_steps = (inputs for _, (inputs, _) in _steps(batches, settings, seed, number))
                averaged = averaged_network(network, optimizer, inputs_of_steps, settings.batch_size)
                averaged_outputs = predict(averaged, validation)
            seconds = time.perf_counter() - started
            _check_time(seconds, number, settings)
            curve.append(
                {
                    "epoch": float(number),
                    "train_loss": train_loss,
                    "validation_loss": validation_loss,
                    "validation_accuracy": accuracy,
                    "learning_rate": rate,
                    "seconds": seconds,
                }
            )
            if averaged_outputs is not None:
                curve[-1]["averaged_accuracy"] = accuracy_of(averaged_outputs, validation.targets, dataset.task)
            stopped = on_epoch(
                Epoch(
                    number=number,
                    network=network,
                    train_loss=train_loss,
                    validation_loss=validation_loss,
                    validation_accuracy=accuracy,
                    learning_rate=rate,
                    seconds=seconds,
                    curve=tuple(curve),
                    validation_outputs=predicted,
                    state=partial(save_checkpoint, network, optimizer, number, curve),
                    averaged=averaged,
                    averaged_outputs=averaged_outputs,
                )
            )
            if stopped is not None:
                return _result(curve, stopped)
    return _result(curve, None)


def _steps(batches: Batches, settings: TrainingSettings, seed: int, epoch: int) -> Iterator[tuple[int, Batch]]:
    """The batches of an epoch as they are trained on, with the number of their step in the whole training."""
    shuffled = batches.shuffled(derive(seed, "order", epoch))
    for step, (inputs, targets) in enumerate(shuffled, start=(epoch - 1) * len(batches)):
        if settings.augment != "none":
            inputs = augmented(inputs, settings.augment, derive(seed, "augment", step))
        yield step, (inputs, targets)


def _forward(
    network: nn.Module, inputs: Mapping[str, Tensor], with_activations: bool
) -> tuple[dict[str, Tensor], Activations]:
    if with_activations and isinstance(network, Inspected):
        activations = network.run(inputs)
        return network.outputs(activations), activations
    outputs: dict[str, Tensor] = network(inputs)
    return outputs, outputs


def _check_time(seconds: float, number: int, settings: TrainingSettings) -> None:
    if settings.seconds_per_epoch is not None and seconds > settings.seconds_per_epoch:
        raise TrainingFailed(
            f"Epoch {number} took longer than the {settings.seconds_per_epoch:g} seconds that the study allows."
        )


def _result(curve: list[dict[str, float]], stopped: str | None) -> TrainResult:
    return TrainResult(curve, stopped, sum(row["seconds"] for row in curve))
