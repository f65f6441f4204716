"""The fingerprint of a data set: what two machines compare before they train on the same data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from nasmod.data.dataset import Array, Split

CHUNK_BYTES = 1 << 24


def chunks(array: Array, num_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
    """Slices of about `num_bytes` along the first axis: a memory-mapped array is never read whole."""
    rows = max(1, num_bytes // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def fingerprint(task: str, outputs: Mapping[str, int], splits: Mapping[str, Split]) -> str:
    """SHA-256 over names, types, shapes and values of every split, in little-endian order: the same on every machine.

    >>> split = Split({"x": np.arange(4, dtype=">i2")}, {"y": np.array([0, 1, 0, 1])})
    >>> native = Split({"x": np.arange(4, dtype="<i2")}, {"y": np.array([0, 1, 0, 1])})
    >>> fingerprint("classification", {"y": 2}, {"train": split}) == fingerprint(
    ...     "classification", {"y": 2}, {"train": native})
    True
    """
    digest = hashlib.sha256(f"nasmod data 1 {task} {sorted(outputs.items())}".encode())
    for split_name, split in sorted(splits.items()):
        for role, arrays in (("inputs", split.inputs), ("targets", split.targets)):
            for name, array in sorted(arrays.items()):
                little = array.dtype.newbyteorder("<")
                header = f"\n{split_name} {role} {name} {little.str} {array.shape}\n"
                digest.update(header.encode())
                for chunk in chunks(array):
                    digest.update(np.ascontiguousarray(chunk, dtype=little).data)
    return digest.hexdigest()
