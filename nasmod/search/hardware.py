"""Hardware: the GPUs and cores that this process may use. It reads no environment and starts no worker."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
BYTES_OF_A_WORKER = 4 * 2**30  # on a GPU: CUDA and a small network took 0.9 GiB of an H200, larger ones take more
SECONDS_TO_TELL = 20.0  # the driver of a GPU that sleeps takes its time


def gpus(count: int, visible: str | None) -> list[str]:
    """What CUDA_VISIBLE_DEVICES must be for a process to see one GPU alone, for each of the `count` seen here.

    `visible` is that variable here: its entries may be numbers, UUIDs or parts of a GPU (MIG), and a child that is
    told "0" would get a GPU that its parent was not given.

    >>> gpus(2, None), gpus(2, "2,3"), gpus(1, "MIG-5c6b5a1f")
    (['0', '1'], ['2', '3'], ['MIG-5c6b5a1f'])
    """
    named = [str(index) for index in range(count)] if visible is None else [part.strip() for part in visible.split(",")]
    return named[:count]


def free_bytes(gpu: str) -> int | None:
    """Memory of a GPU that is free now, by the name that CUDA_VISIBLE_DEVICES has for it; None where nobody tells.

    The driver's own program is asked: CUDA would take hundreds of MiB in this process. It tells nothing of a part of a
    GPU (MIG).
    """
    query = ["nvidia-smi", f"--id={gpu}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=SECONDS_TO_TELL, check=True).stdout
        return int(said.strip()) * 2**20
    except (OSError, subprocess.SubprocessError, ValueError):
        return None


def workers_on(free: int | None, cores: float) -> int:
    """How many workers share a GPU with so much free memory and so many cores: one where its memory is unknown.

    >>> workers_on(139 * 2**30, 16), workers_on(22 * 2**30, 16), workers_on(2**30, 16), workers_on(None, 16)
    (16, 5, 1, 1)
    """
    return max(1, min(int(cores), (free or 0) // BYTES_OF_A_WORKER))


def cores(root: Path = ROOT) -> int:
    """Cores that this process may use: those it is bound to, or fewer where its control group limits it.

    A limit of 1.5 cores counts as two: one worker alone would leave half a core idle.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *(math.ceil(limit) for limit in _limits(root))]))


def _limits(root: Path) -> Iterator[float]:
    """Limits in cores of this process's control group and of those above it, in either version of their files.

    In a container the group's path may be one of the host's, which cannot be seen: then its nearest visible folder.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return  # no Linux, or nothing is told
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":  # version 2; "unified" where both versions are mounted
            for top in (mounted, mounted / "unified"):
                for folder in _upwards(top, path):
                    quota, _, period = _content(folder / "cpu.max").partition(" ")
                    if quota.isdecimal() and period.isdecimal():
                        yield int(quota) / int(period)
        elif "cpu" in controllers.split(","):
            for top in (mounted / controllers, mounted / "cpu"):
                for folder in _upwards(top, path):
                    quota, period = _content(folder / "cpu.cfs_quota_us"), _content(folder / "cpu.cfs_period_us")
                    if quota.isdecimal() and period.isdecimal():  # "-1" is no limit
                        yield int(quota) / int(period)


def _upwards(top: Path, path: str) -> Iterator[Path]:
    folder = top / path.strip("/")
    while folder != top:
        yield folder
        folder = folder.parent
    yield top


def _content(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
