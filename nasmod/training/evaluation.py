"""What a network answers on a split, and how right it is: loss, accuracy, R². Always in float32, never training."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasmod.data import Split, Task
from nasmod.training.batches import Batches
from nasmod.training.devices import device_for

EVALUATION_BATCH = 512


def evaluate(
    network: nn.Module, split: Split, task: Task, device: str | torch.device = "cpu", batch: int = EVALUATION_BATCH
) -> dict[str, Tensor]:
    """Outputs (N, n) of a whole split, float32 on the CPU, in the order of the split. The network keeps its mode.

    `task` is part of the contract; today the outputs of every task are the same: one row per example.
    """
    outputs = predict(network, Batches(split, device_for(device), batch))
    return {name: values.float().cpu() for name, values in outputs.items()}


@torch.no_grad()
def predict(network: nn.Module, batches: Batches) -> dict[str, Tensor]:
    """Outputs (N, n) for every example, on the device of the batches."""
    was_training = network.training
    network.eval()
    collected: dict[str, list[Tensor]] = {}
    for inputs, _ in batches.ordered():
        for name, values in network(inputs).items():
            collected.setdefault(name, []).append(values)
    network.train(was_training)
    return {name: torch.cat(parts) for name, parts in collected.items()}


def loss_of(
    outputs: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    task: Task,
    label_smoothing: float = 0.0,
    class_weights: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Mean loss of a batch, summed over the outputs: cross-entropy, or squared error of a regression.

    `class_weights` (C,) by output weigh the examples of each class.
    """
    weights = class_weights or {}
    losses = [
        F.mse_loss(outputs[name].float(), target)
        if task == "regression"
        else F.cross_entropy(outputs[name].float(), target, weights.get(name), label_smoothing=label_smoothing)
        for name, target in targets.items()
    ]
    return losses[0] if len(losses) == 1 else torch.stack(losses).sum()


def balanced_weights(labels: Mapping[str, Tensor], classes: Mapping[str, int]) -> dict[str, Tensor]:
    """Weights (C,) by output, inverse to how many examples a class has; their mean over the examples is 1.

    >>> balanced_weights({"y": torch.tensor([0, 0, 0, 1])}, {"y": 2})["y"]
    tensor([0.6667, 2.0000])
    """
    found = {}
    for name, of_output in labels.items():
        counts = torch.bincount(of_output, minlength=classes[name]).clamp(min=1)
        found[name] = len(of_output) / (classes[name] * counts.float())
    return found


def accuracy_of(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor], task: Task) -> float:
    """Share of right answers, or R² of a regression; of several outputs, the mean.

    >>> labels = {"y": torch.tensor([0, 1])}
    >>> accuracy_of({"y": torch.tensor([[2.0, 1.0], [3.0, 1.0]])}, labels, "classification")
    0.5
    """
    if task == "regression":
        shares = [r_squared(outputs[name].float(), target) for name, target in targets.items()]
    else:
        shares = [(outputs[name].argmax(1) == target).float().mean() for name, target in targets.items()]
    return float(torch.stack(shares).mean())


def r_squared(predicted: Tensor, target: Tensor) -> Tensor:
    """Share of the variance that is explained, 1 - SSE / SST, as the mean over the dimensions.

    >>> r_squared(torch.tensor([[1.0], [3.0]]), torch.tensor([[1.0], [3.0]])).item()
    1.0
    """
    residual = (predicted - target).square().sum(0)
    total = (target - target.mean(0)).square().sum(0)
    return (1 - residual / total.clamp_min(torch.finfo(total.dtype).tiny)).mean()
