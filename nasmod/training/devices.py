"""Devices by name, and what they offer. It knows nothing of workers or of who else uses a device."""

from __future__ import annotations

import ctypes
import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import torch

from nasmod.errors import StudyError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


def device_for(name: str | torch.device) -> torch.device:
    """The device called ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto`` (a GPU if there is one).

    Raises `StudyError` for a name that torch does not know or a device that this machine lacks.

    >>> device_for("cpu")
    device(type='cpu')
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise StudyError(f"No device '{name}'. Known: auto, {', '.join(known_devices())}.") from None
    present = device.type in ("cpu", "meta") or (device.type == "mps" and torch.backends.mps.is_available())
    if device.type == "cuda":
        present = (device.index or 0) < torch.cuda.device_count()
    if not present:
        raise StudyError(f"This machine has no device '{name}'. Known: auto, {', '.join(known_devices())}.")
    return device


def known_devices() -> list[str]:
    """Names of the devices of this machine."""
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def free_bytes(device: torch.device) -> int:
    """Memory of the device that is free now: the GPU's own, or the host's."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:  # on Linux: what can be had without swapping, caches included
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


@cache
def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next step (glibc; elsewhere nothing happens).

    By default large tensors go back to the system and come again as pages to be zeroed: up to half of the time of a
    convolution on a CPU. The setting holds for the whole process, whose memory stays at its largest.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    for size in (1 << 30, 32 << 20):  # older versions take no more than 32 MiB
        if mallopt(M_MMAP_THRESHOLD, size):
            break
    mallopt(M_TRIM_THRESHOLD, 1 << 30)


def autocast(device: torch.device, mixed_precision: bool) -> AbstractContextManager[None]:
    """Bfloat16 where it pays: on a GPU that has it. Elsewhere nothing changes."""
    if mixed_precision and device.type == "cuda" and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def fused_optimizer(device: torch.device) -> bool:
    """Whether torch has a fused AdamW for the device."""
    return device.type in ("cpu", "cuda", "mps")
