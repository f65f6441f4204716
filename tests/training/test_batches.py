"""Batches: every example once, the same ones resident or streamed; augmentation moves images and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasmod.data import Split
from nasmod.training.batches import Batches, augmented, batch_ends, tensor

CPU = torch.device("cpu")


def split(count: int) -> Split:
    values = np.arange(count * 2, dtype=np.uint8).reshape(count, 2)
    return Split({"x": values}, {"y": np.arange(count)})


@given(st.integers(1, 300), st.integers(2, 70))
def test_batches_cover_everything_and_none_but_a_lonely_one_has_one_example(count: int, size: int) -> None:
    ends = batch_ends(count, size)
    sizes = np.diff([0, *ends])
    assert ends[-1] == count
    assert sizes.max() <= size + 1
    assert count == 1 or sizes.min() >= 2


@given(st.integers(2, 60), st.integers(2, 20), st.integers(0, 2**40))
def test_shuffled_batches_hold_every_example_once(count: int, size: int, seed: int) -> None:
    batches = Batches(split(count), CPU, size)
    seen = torch.cat([targets["y"] for _, targets in batches.shuffled(seed)])
    assert sorted(seen.tolist()) == list(range(count))
    assert float(batches.shares.sum()) == pytest.approx(1, abs=1e-5)


def test_streamed_batches_are_the_resident_ones() -> None:
    resident, streamed = Batches(split(50), CPU, 8), Batches(split(50), CPU, 8, available=0)
    assert resident.resident
    assert not streamed.resident
    for ours, theirs in [
        (resident.shuffled(3), streamed.shuffled(3)),
        (resident.ordered(), streamed.ordered()),
    ]:
        for (x, y), (other_x, other_y) in zip(ours, theirs, strict=True):
            assert torch.equal(x["x"], other_x["x"])
            assert torch.equal(y["y"], other_y["y"])


def test_memory_mapped_arrays_are_streamed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", split(50).inputs["x"])
    mapped = Split({"x": np.load(tmp_path / "x.npy", mmap_mode="r")}, split(50).targets)
    first = next(Batches(mapped, CPU, 8, available=0).ordered())[0]["x"]
    assert first.tolist() == split(8).inputs["x"].tolist()


@pytest.mark.parametrize(
    ("given_type", "kept"),
    [("u1", torch.uint8), ("f8", torch.float32), (">f4", torch.float32), ("u2", torch.float32), ("i8", torch.int64)],
)
def test_types(given_type: str, kept: torch.dtype) -> None:
    made = tensor(np.array([1, 2, 3], given_type))
    assert made.dtype == kept
    assert made.tolist() == [1, 2, 3]


def test_a_shift_moves_an_image_by_an_eighth_at_most() -> None:
    images = torch.zeros(400, 2, 16, 16, dtype=torch.uint8)
    images[:, :, 8, 8] = 7
    moved = augmented({"x": images, "flat": torch.ones(400, 3)}, "shift", seed=1)
    assert torch.equal(moved["flat"], torch.ones(400, 3))
    assert moved["x"].dtype == torch.uint8
    found = (moved["x"] == 7).nonzero()
    assert len(found) == 800  # one spot in each of two channels: nothing is lost or doubled
    assert {tuple(spot) for spot in found[:, 2:].tolist()} == {(y, x) for y in range(6, 11) for x in range(6, 11)}


def test_a_flip_mirrors_half_of_the_images() -> None:
    images = torch.zeros(400, 1, 4, 8)
    images[:, :, 2, 1] = 1
    flipped = augmented({"x": images}, "shift-flip", seed=1)["x"]
    right = flipped[..., 4:].sum((1, 2, 3))
    assert 150 < right.sum() < 250


def test_augmentation_depends_on_its_seed_alone() -> None:
    images = {"x": torch.rand(10, 1, 8, 8)}
    once = augmented(images, "shift-flip", 5)["x"]
    torch.rand(3)
    assert torch.equal(once, augmented(images, "shift-flip", 5)["x"])
    assert not torch.equal(once, augmented(images, "shift-flip", 6)["x"])
