"""Any folder of idx files, the format of MNIST, EMNIST and KMNIST, gzipped or not."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from nasmod.data.assemble import assemble
from nasmod.data.dataset import Array, DataPath, Dataset, DataSettings, Split
from nasmod.data.folder import holds_pictures
from nasmod.errors import DataError

FILE_NAME = re.compile(r"(?P<prefix>.*?)(?P<part>train|t10k|test)-(?P<what>images|labels)[-.]idx\d-ubyte(\.gz)?")
TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}  # the format's type byte
Part = Literal["train", "test"]


class IdxSettings(DataSettings):
    """Where the files lie, and which of several sets in the folder is meant."""

    name: str = "idx"
    path: DataPath = Field(description="folder with train-images-idx3-ubyte, train-labels-idx1-ubyte and so on")
    prefix: str | None = Field(None, description="what the file names start with, such as 'emnist-letters-'")
    first_label: int = Field(0, ge=0, description="the lowest label in the files; 1 for EMNIST letters")


def load(settings: IdxSettings) -> Dataset:
    """A folder of idx files (MNIST, EMNIST, KMNIST and the like), gzipped or not; test files are kept as test set."""
    files = find_files(Path(settings.path), settings.prefix)
    train = _split(files["train"], settings.first_label)
    test = _split(files["test"], settings.first_label) if "test" in files else None
    return assemble(settings, "classification", train, test=test)


def find_files(folder: Path, prefix: str | None = None) -> dict[Part, dict[str, Path]]:
    """The files ``images`` and ``labels`` of the training set and, where there is one, of the test set."""
    if not folder.is_dir():
        raise DataError(f"There is no folder '{folder}' with idx files.")
    found: dict[str, dict[Part, dict[str, Path]]] = {}
    for path in sorted(folder.iterdir(), reverse=True):  # a plain file after its .gz, so that it is the one used
        if match := FILE_NAME.fullmatch(path.name):
            part: Part = "train" if match["part"] == "train" else "test"
            found.setdefault(match["prefix"], {}).setdefault(part, {})[match["what"]] = path
    if prefix is None and len(found) > 1:
        listed = ", ".join(f"'{name}'" for name in sorted(found))
        raise DataError(f"Folder '{folder}' holds several sets. Set prefix to one of: {listed}.")
    files = found.get(prefix, {}) if prefix is not None else next(iter(found.values()), {})
    parts: tuple[Part, ...] = ("train", "test") if "test" in files else ("train",)
    for needed in parts:
        for what in ("images", "labels"):
            if what not in files.get(needed, {}):
                part_name = "train" if needed == "train" else "t10k"
                wanted = f"{prefix or ''}{part_name}-{what}-idx{3 if what == 'images' else 1}-ubyte"
                if holds_pictures(folder):
                    raise DataError(f"Folder '{folder}' holds pictures: set name = \"folder\" in [data].")
                raise DataError(f"Folder '{folder}' has no file '{wanted}', gzipped or not.")
    return files


def read_idx(path: Path) -> Array:
    """The array in an idx file; raises `DataError` when it is truncated or no idx file at all."""
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"File '{path}' cannot be read: {error}. Copy it again.") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or data[3] == 0:
        raise DataError(f"File '{path}' is no idx file: it starts with {data[:4].hex() or 'nothing'}.")
    rank, kind = data[3], np.dtype(TYPES[data[2]])
    start = 4 + 4 * rank
    if len(data) < start:
        raise DataError(f"File '{path}' is truncated: its header has {len(data)} of {start} bytes. Copy it again.")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", rank, offset=4))
    expected = start + math.prod(shape) * kind.itemsize
    if len(data) != expected:
        state = "truncated" if len(data) < expected else "too long"
        raise DataError(f"File '{path}' is {state}: {len(data)} bytes, its header says {expected}. Copy it again.")
    array = np.frombuffer(data, kind, offset=start).reshape(shape)
    return array.astype(kind.newbyteorder("="))  # a writable copy in this machine's byte order


def _split(files: dict[str, Path], first_label: int) -> Split:
    images, labels = read_idx(files["images"]), read_idx(files["labels"]).astype(np.int64)
    if images.ndim == 3:
        images = images[:, None]  # (N, 1, H, W)
    if len(labels) and labels.min() > first_label:
        raise DataError(f"Labels in '{files['labels']}' start at {labels.min()}: set first_label = {labels.min()}.")
    return Split({"x": images}, {"y": labels - first_label})
