"""The flat AdamW is torch's AdamW, and checkpoints hold all of it."""

from __future__ import annotations

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from nasmod.errors import StudyError
from nasmod.training.checkpoints import load_checkpoint, load_weights, save_checkpoint, save_weights
from nasmod.training.devices import autocast, device_for, free_bytes, keep_freed_memory, known_devices
from nasmod.training.evaluation import accuracy_of, loss_of, r_squared
from nasmod.training.optimizer import FlatAdamW


def network(seed: int = 0, width: int = 5) -> nn.Sequential:
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), nn.Flatten(), nn.Linear(width * 4, 2)
    )
    return made.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def loss(model: nn.Module, step: int) -> Tensor:
    images = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(step))
    found: Tensor = model(images).square().mean()
    return found


@pytest.mark.parametrize("clip_norm", [None, 0.05, 100.0])
def test_it_gives_the_weights_that_torch_gives(clip_norm: float | None) -> None:
    ours, theirs = network(), network()
    reference = torch.optim.AdamW(theirs.parameters(), weight_decay=0.1)
    with FlatAdamW(ours, 0.1) as optimizer:
        for step in range(20):
            rate = 0.01 / (step + 1)
            loss(ours, step).backward()  # type: ignore[no-untyped-call]
            optimizer.step(rate, clip_norm)
            reference.zero_grad()
            loss(theirs, step).backward()  # type: ignore[no-untyped-call]
            if clip_norm is not None:
                nn.utils.clip_grad_norm_(theirs.parameters(), clip_norm)
            reference.param_groups[0]["lr"] = rate
            reference.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(a, b, atol=2e-6)
        assert a.stride() == b.stride()


def test_a_checkpoint_restores_everything() -> None:
    ours = network()
    with FlatAdamW(ours, 0.1) as optimizer:
        loss(ours, 0).backward()  # type: ignore[no-untyped-call]
        optimizer.step(0.01, 1.0)
        data = save_checkpoint(ours, optimizer, 3, [{"epoch": 3.0, "train_loss": 0.1 + 0.2}])
        state = {name: value.clone() for name, value in optimizer.state().items()}
    theirs = network(seed=1)
    with FlatAdamW(theirs, 0.1) as other:
        assert load_checkpoint(theirs, other, data) == (3, [{"epoch": 3.0, "train_loss": 0.1 + 0.2}])
        assert all(torch.equal(state[name], value) for name, value in other.state().items())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_weights_are_a_plain_safetensors_file() -> None:
    ours, theirs = network(), network(seed=1)
    data = save_weights(ours)
    assert set(safetensors.torch.load(data)) == set(ours.state_dict())
    load_weights(theirs, data)
    assert torch.equal(loss(ours, 0), loss(theirs, 0))


def test_what_does_not_fit_is_told() -> None:
    ours, wider = network(), network(width=6)
    with pytest.raises(ValueError, match="do not fit the network"):
        load_weights(wider, save_weights(ours))
    with pytest.raises(ValueError, match="Not a safetensors file"):
        load_weights(ours, b"nothing of the kind")
    with FlatAdamW(ours, 0.1) as optimizer:
        with pytest.raises(ValueError, match="it has no progress"):
            load_checkpoint(ours, optimizer, save_weights(ours))
        with pytest.raises(ValueError, match="does not fit the network"):
            optimizer.restore({})


def test_devices() -> None:
    assert device_for("cpu") == torch.device("cpu")
    assert device_for("auto").type in ("cpu", "cuda", "mps")
    assert "cpu" in known_devices()
    assert free_bytes(torch.device("cpu")) > 2**20
    keep_freed_memory()
    with autocast(torch.device("cpu"), mixed_precision=True):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    with pytest.raises(StudyError, match=r"No device 'gpu'\. Known: auto, cpu"):
        device_for("gpu")
    with pytest.raises(StudyError, match="This machine has no device 'cuda:99'"):
        device_for("cuda:99")


def test_r_squared_of_the_mean_is_zero() -> None:
    target = torch.tensor([[1.0, 5.0], [3.0, 9.0]])
    assert r_squared(target.mean(0).expand(2, 2), target).item() == 0
    assert accuracy_of({"y": target}, {"y": target}, "regression") == 1


def test_losses_of_several_outputs_add_up() -> None:
    outputs = {"a": torch.zeros(4, 2), "b": torch.zeros(4, 4)}
    targets = {"a": torch.zeros(4, dtype=torch.int64), "b": torch.zeros(4, dtype=torch.int64)}
    assert loss_of(outputs, targets, "classification").item() == pytest.approx(torch.tensor(8.0).log().item())
