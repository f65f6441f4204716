"""Batches of a split as tensors on a device: resident where they fit, else streamed from host memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nasmod.data import Dataset, Split
from nasmod.data.dataset import Array
from nasmod.errors import StudyError
from nasmod.training.devices import free_bytes

RESIDENT_SHARE = 0.5  # of the device's free memory: the rest is for weights and activations
KEPT = {"uint8", "int8", "int16", "int32", "int64", "float16", "float32"}  # torch computes with them as they are

Batch = tuple[dict[str, Tensor], dict[str, Tensor]]  # inputs (B, *shape), targets (B,) or (B, dims)


class Batches:
    """The batches of a split. A last batch of one example is joined to the one before: normalisation needs two."""

    def __init__(self, split: Split, device: torch.device, batch_size: int, available: int | None = None) -> None:
        needed = sum(array.nbytes for array in split.inputs.values())
        budget = RESIDENT_SHARE * (free_bytes(device) if available is None else available)
        self.device = device
        self.resident = needed <= budget
        self.targets = {name: tensor(array).to(device) for name, array in split.targets.items()}
        self._arrays = {} if self.resident else dict(split.inputs)
        self._inputs = {name: tensor(array).to(device) for name, array in split.inputs.items()} if self.resident else {}
        self.count = len(split)
        self.ends = batch_ends(self.count, batch_size)
        sizes = np.diff([0, *self.ends])
        self.shares = torch.tensor(sizes / self.count, dtype=torch.float32, device=device)  # of each batch

    def __len__(self) -> int:
        return len(self.ends)

    def shuffled(self, seed: int) -> Iterator[Batch]:
        """Every example once, in an order that depends on the seed alone."""
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(self.count, generator=generator)
        rows = order.to(self.device)
        start = 0
        for end in self.ends:
            chosen = rows[start:end]
            targets = {name: target.index_select(0, chosen) for name, target in self.targets.items()}
            if self.resident:
                inputs = {name: values.index_select(0, chosen) for name, values in self._inputs.items()}
            else:
                inputs = self._streamed(order[start:end].numpy())
            yield inputs, targets
            start = end

    def ordered(self) -> Iterator[Batch]:
        """Every example once, in the order of the split."""
        start = 0
        for end in self.ends:
            targets = {name: target[start:end] for name, target in self.targets.items()}
            if self.resident:
                inputs = {name: values[start:end] for name, values in self._inputs.items()}
            else:
                inputs = self._streamed(np.arange(start, end))
            yield inputs, targets
            start = end

    def _streamed(self, rows: Array) -> dict[str, Tensor]:
        inputs = {}
        for name, array in self._arrays.items():
            values = tensor(array[rows])
            if self.device.type == "cuda":  # the copy runs while the GPU still computes the batch before
                values = values.pin_memory()
            inputs[name] = values.to(self.device, non_blocking=True)
        return inputs


def batch_ends(count: int, batch_size: int) -> list[int]:
    """Where each batch ends.

    >>> batch_ends(9, 4), batch_ends(10, 4)
    ([4, 9], [4, 8, 10])
    """
    ends = list(range(batch_size, count, batch_size))
    if ends and count - ends[-1] == 1:
        ends.pop()
    return [*ends, count]


def tensor(array: Array) -> Tensor:
    """A tensor of its own: small integers stay small, other types become float32."""
    if array.dtype.name in KEPT and array.dtype.isnative:
        return torch.from_numpy(np.array(array, order="C"))
    return torch.from_numpy(np.array(array, dtype=np.float32, order="C"))


def check_augmentation(augment: str, dataset: Dataset) -> None:
    """Shifting and flipping need an input that is an image."""
    if augment != "none" and not any(len(shape) == 3 for shape in dataset.inputs.values()):
        raise StudyError(
            f"augment = \"{augment}\" needs an image input (channels, height, width); the data set '{dataset.name}' "
            f"has {', '.join(f'{name} {shape}' for name, shape in dataset.inputs.items())}."
        )


def augmented(inputs: Mapping[str, Tensor], augment: str, seed: int) -> dict[str, Tensor]:
    """Images shifted by up to an eighth of their size (zeros move in), and flipped left to right or not.

    Each example draws its own shift, by a generator that depends on the seed alone, not on the device.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: _shifted(values, generator, augment == "shift-flip") if values.ndim == 4 else values
        for name, values in inputs.items()
    }


def _shifted(images: Tensor, generator: torch.Generator, flip: bool) -> Tensor:
    count, _, height, width = images.shape  # (B, C, H, W)
    down, right = max(1, height // 8), max(1, width // 8)
    top = torch.randint(0, 2 * down + 1, (count, 1), generator=generator) + torch.arange(height)  # (B, H)
    left = torch.randint(0, 2 * right + 1, (count, 1), generator=generator) + torch.arange(width)  # (B, W)
    if flip:
        mirrored = torch.rand(count, 1, generator=generator) < 0.5
        left = torch.where(mirrored, left.flip(1), left)
    padded = F.pad(images, (right, right, down, down)).permute(0, 2, 3, 1)  # (B, H + 2 down, W + 2 right, C)
    device = images.device
    rows, columns = top.to(device)[:, :, None], left.to(device)[:, None, :]
    example = torch.arange(count, device=device)[:, None, None]
    return padded[example, rows, columns].permute(0, 3, 1, 2)
