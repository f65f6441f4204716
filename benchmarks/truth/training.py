"""How one network of the benchmark is trained, and how often it is right. The only place that says so."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from benchmarks.truth.worlds import Change, World
from nasmod.measures.trained import train_and_measure
from nasmod.networks import Network, build, plan
from nasmod.topology import Topology
from nasmod.training import TrainingSettings, derive

SETTINGS = TrainingSettings(epochs=16, batch_size=64, learning_rate=4e-3)
Tensors = tuple[dict[str, Tensor], dict[str, Tensor]]  # inputs, targets


def untrained(topology: Topology, world: World, seed: int) -> Network:
    """A network as it is before its training."""
    torch.manual_seed(derive(seed, "weights"))
    network = build(plan(topology, world.dataset.inputs, world.dataset.output_shapes))
    network.normalise(world.dataset.normalisation)
    return network


def train_one(topology: Topology, world: World, seed: int, settings: TrainingSettings = SETTINGS) -> Network:
    """A network after its training, in eval mode."""
    found = plan(topology, world.dataset.inputs, world.dataset.output_shapes)
    return train_and_measure(found, world.dataset, settings, {}, seed).network.eval()


def tensors(world: World, split: str, change: Change | None = None) -> Tensors:
    """Inputs and targets of a split, before or after a change."""
    inputs, targets = (
        {name: torch.as_tensor(np.ascontiguousarray(values)) for name, values in part.items()}
        for part in world.examples(split, change)
    )
    return inputs, targets


def share_right(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> float:
    """Accuracy, the mean of all outputs; (N, classes) and (N,) by name."""
    return float(torch.stack([(outputs[name].argmax(-1) == targets[name]).float().mean() for name in outputs]).mean())
