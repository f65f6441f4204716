"""Averaged weights: they are the running average, a checkpoint holds them, and they change nothing in a training."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from nasmod.data import Dataset, load_dataset
from nasmod.measures.trained import train_and_measure
from nasmod.networks import build, plan
from nasmod.topology import INPUT, OUTPUT, Node, Topology
from nasmod.training import Epoch, TrainingSettings, train
from nasmod.training.averaging import averaged_network
from nasmod.training.checkpoints import load_checkpoint, save_checkpoint
from nasmod.training.optimizer import FlatAdamW

torch.set_num_threads(1)


@cache
def digits() -> Dataset:
    return load_dataset({"name": "digits", "limit": 600})


def topology() -> Topology:
    conv, dense = Node("conv", (0,), {"channels": 8}), Node("dense", (1,), {"width": 16})
    return Topology((Node(INPUT, (), {"name": "x"}), conv, dense, Node(OUTPUT, (2,), {"name": "y"})))


def network() -> nn.Module:
    torch.manual_seed(0)
    made = build(plan(topology(), digits().inputs, digits().output_shapes))
    made.normalise(digits().normalisation)
    return made


def epochs(averaged_at: tuple[int, ...], checkpoint: bytes | None = None, **given: Any) -> list[Epoch]:
    found: list[Epoch] = []
    settings = TrainingSettings(**{"epochs": 4, "learning_rate": 0.02, **given})
    train(network(), digits(), settings, 7, found.append, checkpoint=checkpoint, averaged_at=averaged_at)
    return found


def step(model: nn.Module, optimizer: FlatAdamW, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    model(torch.randn(8, 3, generator=generator)).square().mean().backward()
    optimizer.step(0.1, None)


def test_the_average_is_of_all_steps_alike_and_then_exponential() -> None:
    model = nn.Linear(3, 1)
    weights = []
    with FlatAdamW(model, 0.0, average_over=4) as optimizer:
        for number in range(9):
            step(model, optimizer, number)
            weights.append(model.weight.detach().clone())
            averaged = nn.Linear(3, 1)
            optimizer.put_average(averaged)
            if number == 3:
                assert torch.allclose(averaged.weight, torch.stack(weights).mean(0), atol=1e-6)
                before = averaged.weight.detach().clone()
            elif number > 3:
                before = before + (weights[-1] - before) / 4
                assert torch.allclose(averaged.weight, before, atol=1e-6)


def test_a_checkpoint_holds_the_average_and_one_without_it_begins_anew() -> None:
    ours, theirs, older = nn.Linear(3, 1), nn.Linear(3, 1), nn.Linear(3, 1)
    with FlatAdamW(ours, 0.0, average_over=4) as optimizer, FlatAdamW(theirs, 0.0, average_over=4) as other:
        for number in range(3):
            step(ours, optimizer, number)
        load_checkpoint(theirs, other, save_checkpoint(ours, optimizer, 1, []))
        for one, kept in ((ours, optimizer), (theirs, other)):
            step(one, kept, 3)
        assert optimizer.average is not None
        assert other.average is not None
        assert torch.equal(optimizer.average, other.average)
    with FlatAdamW(ours, 0.0) as plain, FlatAdamW(older, 0.0, average_over=4) as other:
        load_checkpoint(older, other, save_checkpoint(ours, plain, 1, []))
        assert other.average is not None
        assert torch.equal(other.average, other.values)


@pytest.mark.parametrize("augment", ["none", "shift-flip"])
def test_averaging_changes_nothing_in_a_training_and_goes_on_from_a_checkpoint(augment: str) -> None:
    def curve(found: list[Epoch]) -> list[dict[str, float]]:
        return [{key: value for key, value in row.items() if key != "seconds"} for row in found[-1].curve]

    plain, checkpoints = epochs((), augment=augment), []
    settings = TrainingSettings(epochs=4, learning_rate=0.02, augment=augment)  # type: ignore[arg-type]
    whole: list[Epoch] = []

    def keep(epoch: Epoch) -> None:
        checkpoints.append(epoch.state())
        whole.append(epoch)

    train(network(), digits(), settings, 7, keep, averaged_at=(2, 3))
    assert [epoch.number for epoch in whole if epoch.averaged is not None] == [2, 3]
    rows = curve(whole)
    averaged = [row.pop("averaged_accuracy") for row in rows[1:3]]
    assert rows == curve(plain)
    resumed = curve(epochs((2, 3), checkpoints[1], augment=augment))
    assert [row["averaged_accuracy"] for row in resumed[1:3]] == averaged


def test_a_batch_norm_gets_the_statistics_of_the_averaged_weights() -> None:
    """The running mean is that of what the averaged linear layer gives on all the batches."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    inputs = [torch.randn(32, 3, generator=torch.Generator().manual_seed(number)) for number in range(4)]
    with FlatAdamW(model, 0.0, average_over=10) as optimizer:
        for batch in inputs:
            model(batch).square().mean().backward()
            optimizer.step(0.1, None)
        averaged = averaged_network(model, optimizer, inputs, 32)
        linear, norm = averaged
        assert isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None
        assert torch.allclose(norm.running_mean, linear(torch.cat(inputs)).mean(0), atol=1e-6)
        assert norm.running_mean is not model[1].running_mean
        assert averaged.training


def test_measures_see_the_averaged_network() -> None:
    seen: list[Epoch] = []
    train_and_measure(
        plan(topology(), digits().inputs, digits().output_shapes),
        digits(),
        TrainingSettings(epochs=2),
        {},
        3,
        on_epoch=seen.append,
        averaged_at=(1,),
    )
    assert [epoch.averaged is None for epoch in seen] == [False, True]
