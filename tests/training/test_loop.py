"""The loop: it learns, it is deterministic, and it goes on from any checkpoint as if it had never stopped."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from nasmod.data import Dataset, DataSettings, Split, assemble, load_dataset
from nasmod.errors import StudyError
from nasmod.training import (
    Epoch,
    TrainingFailed,
    TrainingSettings,
    TrainResult,
    accuracy_of,
    evaluate,
    loss_of,
    train,
)

torch.set_num_threads(1)


class SmallNetwork(nn.Module):
    """A convolution with batch norm and dropout on digits: everything that could depend on what ran before."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8 * 64, 10)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        x = torch.relu(self.norm(self.conv(inputs["x"].float() / 16)))
        return {"y": self.head(self.dropout(x.flatten(1)))}


class LinearNetwork(nn.Module):
    """One linear layer on a flat input."""

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(features, outputs)

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"y": self.head(inputs["x"].float().flatten(1))}


@cache
def digits(limit: int | None = 600) -> Dataset:
    return load_dataset({"name": "digits", "limit": limit})


def small_network(seed: int = 0) -> SmallNetwork:
    torch.manual_seed(seed)
    return SmallNetwork()


def settings(**given: Any) -> TrainingSettings:
    return TrainingSettings(**{"epochs": 4, **given})


def run(
    on_epoch: Callable[[Epoch], str | None] = lambda epoch: None, *, seed: int = 7, **given: Any
) -> tuple[TrainResult, SmallNetwork]:
    network = small_network()
    checkpoint = given.pop("checkpoint", None)
    penalty = given.pop("penalty", None)
    return train(network, digits(), settings(**given), seed, on_epoch, penalty, checkpoint=checkpoint), network


def without_seconds(result: TrainResult) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in result.curve]


def test_digits_are_learned() -> None:
    network = small_network()
    result = train(network, digits(None), settings(epochs=8), 0, lambda epoch: None)
    assert result.stopped is None
    assert result.curve[-1]["validation_accuracy"] > 0.95
    test = digits(None).test
    outputs = evaluate(network, test, "classification")
    assert accuracy_of(outputs, {"y": torch.from_numpy(test.targets["y"])}, "classification") > 0.94


def test_a_real_regression_is_learned(tmp_path: Path) -> None:
    load_diabetes(as_frame=True).frame.to_csv(tmp_path / "diabetes.csv", index=False)
    dataset = load_dataset({"name": "csv", "path": str(tmp_path / "diabetes.csv"), "target": "target"})
    network = LinearNetwork(10, 1)
    with torch.no_grad():  # as a network of a plan does it: raw values are normalised inside
        mean, std = (torch.from_numpy(values) for values in dataset.normalisation["x"])
    network.register_buffer("mean", mean)
    forward = network.forward
    network.forward = lambda inputs: forward({"x": (inputs["x"] - mean) / std})  # type: ignore[method-assign]
    result = train(network, dataset, settings(epochs=60, learning_rate=0.02), 0, lambda epoch: None)
    assert result.curve[-1]["validation_accuracy"] > 0.35  # R²; least squares reaches about 0.45
    assert result.curve[-1]["validation_loss"] < 0.8


def test_the_same_seed_gives_the_same_curve_and_weights_another_seed_others() -> None:
    (first, ours), (second, theirs), (third, _) = run(), run(), run(seed=8)
    assert without_seconds(first) == without_seconds(second)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert without_seconds(first) != without_seconds(third)


@pytest.mark.parametrize("augment", ["none", "shift-flip"])
def test_every_checkpoint_leads_to_the_same_remaining_curve_and_weights_bit_for_bit(augment: str) -> None:
    checkpoints: list[bytes] = []

    def keep(epoch: Epoch) -> None:
        checkpoints.append(epoch.state())

    whole, network = run(keep, augment=augment)
    for checkpoint in checkpoints:
        torch.rand(3)  # what else drew random numbers does not matter
        resumed, other = run(augment=augment, checkpoint=checkpoint)
        assert without_seconds(resumed) == without_seconds(whole)
        ours, theirs = network.state_dict(), other.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_a_caller_does_in_on_epoch_changes_nothing() -> None:
    def meddle(epoch: Epoch) -> None:
        torch.manual_seed(0)
        epoch.network.eval()
        loss_of(epoch.network({"x": torch.ones(2, 1, 8, 8)}), {"y": torch.tensor([0, 1])}, "classification").backward()
        epoch.network.requires_grad_(True)

    assert without_seconds(run(meddle)[0]) == without_seconds(run()[0])


def test_weights_replaced_between_epochs_are_the_ones_that_are_trained() -> None:
    zeros = torch.zeros(10)

    def replace(epoch: Epoch) -> None:
        if epoch.number == 4:
            return
        assert isinstance(epoch.network, SmallNetwork)
        epoch.network.head.bias.data = zeros.clone()

    _, network = run(replace)
    assert 0 < network.head.bias.abs().max() < 0.5


def test_on_epoch_stops_with_its_reason() -> None:
    result, _ = run(lambda epoch: "enough" if epoch.number == 2 else None)
    assert result.stopped == "enough"
    assert [row["epoch"] for row in result.curve] == [1, 2]
    assert result.seconds == pytest.approx(sum(row["seconds"] for row in result.curve))


def test_an_epoch_tells_what_it_is() -> None:
    epochs: list[Epoch] = []
    result, network = run(lambda epoch: epochs.append(epoch))
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4]
    last = epochs[-1]
    assert last.network is network
    assert list(last.curve) == result.curve
    assert last.validation_accuracy == result.curve[-1]["validation_accuracy"]
    outputs = evaluate(network, digits().validation, "classification")
    targets = {"y": torch.from_numpy(digits().validation.targets["y"])}
    assert accuracy_of(outputs, targets, "classification") == last.validation_accuracy
    assert float(loss_of(outputs, targets, "classification")) == pytest.approx(last.validation_loss, rel=1e-5)


def test_label_smoothing_is_part_of_the_loss() -> None:
    plain, smoothed = (
        train(small_network(), digits(), settings(label_smoothing=smoothing), 0, lambda epoch: None)
        for smoothing in (0.0, 0.3)
    )
    least = -(0.7 + 0.03) * np.log(0.73) - 9 * 0.03 * np.log(0.03)  # the entropy of a smoothed label of ten
    assert plain.curve[-1]["train_loss"] < least < smoothed.curve[-1]["train_loss"]


def test_a_penalty_is_part_of_the_loss() -> None:
    def weight(network: nn.Module, activations: Mapping[Any, Tensor]) -> Tensor:
        assert set(activations) == {"y"}
        return torch.stack([parameter.square().sum() for parameter in network.parameters()]).sum()

    (plain, free), (penalised, small) = run(), run(penalty=weight)
    assert penalised.curve[0]["train_loss"] > plain.curve[0]["train_loss"] + 1
    assert small.head.weight.norm() < 0.8 * free.head.weight.norm()


def test_a_penalty_sees_what_the_network_runs() -> None:
    class Inspectable(SmallNetwork):
        def run(self, inputs: Mapping[str, Tensor]) -> dict[int, Tensor]:
            hidden = self.conv(inputs["x"].float() / 16)
            return {0: hidden, 1: self.head(hidden.flatten(1))}

        def outputs(self, found: Mapping[int, Tensor]) -> dict[str, Tensor]:
            return {"y": found[1]}

        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return self.outputs(self.run(inputs))

    seen: list[tuple[int, ...]] = []

    def penalty(network: nn.Module, activations: Mapping[Any, Tensor]) -> Tensor:
        seen.append(tuple(activations[0].shape[1:]))
        return activations[0].square().mean()

    train(Inspectable(), digits(), settings(epochs=1), 0, lambda epoch: None, penalty)
    assert set(seen) == {(8, 8, 8)}


def test_a_loss_that_is_not_finite_fails_with_its_reason() -> None:
    with pytest.raises(TrainingFailed, match="loss is not finite after epoch 1") as told:
        run(penalty=lambda network, activations: activations["y"].sum() * float("nan"))
    assert told.value.reason == str(told.value)


def test_a_candidate_that_is_too_slow_fails_with_its_reason() -> None:
    """Within its epoch: it does not wait for the end of it."""
    batches = 0

    class Slow(SmallNetwork):
        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            nonlocal batches
            batches += 1
            time.sleep(0.05)
            return super().forward(inputs)

    with pytest.raises(TrainingFailed, match=r"longer than the 0\.1 seconds"):
        train(Slow(), digits(None), settings(seconds_per_epoch=0.1), 0, lambda epoch: None)
    assert batches <= 3


def test_a_failed_training_leaves_an_ordinary_network() -> None:
    network = small_network()
    with pytest.raises(RuntimeError, match="no more"):
        train(network, digits(), settings(), 0, lambda epoch: (_ for _ in ()).throw(RuntimeError("no more")))
    storages = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    assert len(storages) == len(list(network.parameters()))
    assert all(parameter.grad is None for parameter in network.parameters())
    copy.deepcopy(network)


def test_a_last_batch_of_one_example_does_not_trouble_batch_norm() -> None:
    split = Split({"x": np.zeros((9, 1, 8, 8), np.uint8)}, {"y": np.arange(9) % 2})
    dataset = assemble(DataSettings(name="nine"), "classification", split, validation=split, test=split)
    train(small_network(), dataset, settings(epochs=1, batch_size=4), 0, lambda epoch: None)


def test_several_inputs_and_outputs_are_trained_together() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(2, 3), nn.Linear(4, 2)

        def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {"a": self.left(inputs["left"].float()), "b": self.right(inputs["right"].float())}

    generator = np.random.default_rng(0)
    left, right = generator.normal(size=(200, 2)), generator.normal(size=(200, 4))
    targets = {"a": (left[:, 0] > 0).astype(int) + (left[:, 0] > 1), "b": (right[:, 1] > 0).astype(int)}
    pool = Split({"left": left, "right": right}, targets)
    dataset = assemble(DataSettings(name="two"), "classification", pool)
    result = train(Two(), dataset, settings(epochs=20, learning_rate=0.05), 0, lambda epoch: None)
    assert result.curve[-1]["validation_accuracy"] > 0.85


def test_augmentation_needs_images() -> None:
    dataset = assemble(
        DataSettings(name="flat"), "classification", Split({"x": np.zeros((40, 3))}, {"y": np.arange(40) % 2})
    )
    with pytest.raises(StudyError, match=r'augment = "shift" needs an image input.*x \(3,\)'):
        train(LinearNetwork(3, 2), dataset, settings(augment="shift"), 0, lambda epoch: None)


def test_frozen_parameters_stay_as_they_are() -> None:
    network = small_network()
    network.conv.requires_grad_(False)
    before = network.conv.weight.clone()
    train(network, digits(), settings(epochs=1), 0, lambda epoch: None)
    assert torch.equal(before, network.conv.weight)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mixed_precision", [True, False])
def test_a_gpu_trains_and_goes_on_likewise(mixed_precision: bool) -> None:
    checkpoints: list[bytes] = []
    chosen = settings(mixed_precision=mixed_precision)

    def keep(epoch: Epoch) -> None:
        checkpoints.append(epoch.state())

    whole = train(small_network(), digits(), chosen, 7, keep, device="cuda")
    again = train(small_network(), digits(), chosen, 7, lambda e: None, device="cuda", checkpoint=checkpoints[1])
    assert without_seconds(again) == without_seconds(whole)
    on_cpu = train(small_network(), digits(), chosen, 7, lambda e: None, checkpoint=checkpoints[1])
    assert on_cpu.curve[-1]["validation_loss"] == pytest.approx(whole.curve[-1]["validation_loss"], rel=0.1)
