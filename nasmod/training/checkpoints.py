"""Weights and checkpoints as safetensors bytes. Nothing is ever unpickled."""

from __future__ import annotations

import json
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nasmod.training.optimizer import FlatAdamW

VERSION = 1
WEIGHT, STATE = "network.", "optimizer."


def save_weights(network: nn.Module) -> bytes:
    """Parameters and buffers of a network."""
    return safetensors.torch.save({name: _plain(value) for name, value in network.state_dict().items()})


def load_weights(network: nn.Module, data: bytes) -> None:
    """Put what `save_weights` gave into a network of the same form; ValueError if it does not fit."""
    _fill(network, _read(data))


def save_checkpoint(network: nn.Module, optimizer: FlatAdamW, epoch: int, curve: list[dict[str, float]]) -> bytes:
    """Everything a training needs to go on after `epoch`: what is random depends on (seed, epoch) alone."""
    tensors = {WEIGHT + name: _plain(value) for name, value in network.state_dict().items()}
    tensors |= {STATE + name: _plain(value) for name, value in optimizer.state().items()}
    progress = {"version": VERSION, "epoch": epoch, "curve": curve}
    return safetensors.torch.save(tensors, {"progress": json.dumps(progress, allow_nan=False)})


def load_checkpoint(network: nn.Module, optimizer: FlatAdamW, data: bytes) -> tuple[int, list[dict[str, float]]]:
    """Put a checkpoint into a network and its optimizer, bit for bit; returns the epoch and the curve so far.

    Raises ValueError when the bytes are no checkpoint, are of a newer version, or belong to another network.
    """
    tensors = _read(data)
    progress = _progress(data)
    _fill(network, {name.removeprefix(WEIGHT): value for name, value in tensors.items() if name.startswith(WEIGHT)})
    optimizer.restore({name.removeprefix(STATE): value for name, value in tensors.items() if name.startswith(STATE)})
    return int(progress["epoch"]), list(progress["curve"])


def _plain(value: Tensor) -> Tensor:
    return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _read(data: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise ValueError(f"Not a safetensors file: {error}") from error


def _progress(data: bytes) -> dict[str, Any]:
    length = int.from_bytes(data[:8], "little")  # of the JSON header, as the format says
    metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    if "progress" not in metadata:
        raise ValueError("Not a checkpoint: it has no progress.")
    progress: dict[str, Any] = json.loads(metadata["progress"])
    if progress["version"] > VERSION:
        raise ValueError(f"A checkpoint of version {progress['version']} cannot be read; known: {VERSION}.")
    return progress


def _fill(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(f"The weights do not fit the network: {str(error).splitlines()[-1].strip()}") from error
