"""Networks of real topologies through the loop: a penalty sees every step, a checkpoint leads to the same end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nasmod.data import load_dataset
from nasmod.networks import build, plan
from nasmod.topology import Node, Topology
from nasmod.training import Epoch, TrainingSettings, train

torch.set_num_threads(1)

TOPOLOGY = Topology(
    (
        Node("input", (), {"name": "x"}),
        Node("conv", (0,), {"channels": 8}),
        Node("dense", (0,), {"width": 16}),
        Node("dense", (1, 2), {"width": 16, "merge": "concat"}),
        Node("output", (3,), {"name": "y"}),
    )
)


def test_a_topology_is_trained_with_a_penalty_on_its_steps_and_resumed() -> None:
    dataset = load_dataset({"name": "digits", "limit": 600})
    steps = plan(TOPOLOGY, dataset.inputs, dataset.output_shapes)
    settings = TrainingSettings(epochs=3, augment="shift")
    checkpoints: list[bytes] = []

    def network() -> nn.Module:
        torch.manual_seed(0)
        made = build(steps)
        made.normalise(dataset.normalisation)
        return made

    def penalty(model: nn.Module, activations: Mapping[Any, Tensor]) -> Tensor:
        assert set(activations) == set(range(len(steps.steps)))
        return 1e-3 * torch.stack([values.square().mean() for values in activations.values()]).sum()

    def keep(epoch: Epoch) -> None:
        checkpoints.append(epoch.state())

    whole = train(network(), dataset, settings, 1, keep, penalty)
    resumed = train(network(), dataset, settings, 1, lambda epoch: None, penalty, checkpoint=checkpoints[0])
    losses = [row["train_loss"] for row in whole.curve]
    assert losses == [row["train_loss"] for row in resumed.curve]
    assert losses[-1] < losses[0]
