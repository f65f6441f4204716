"""The user's own arrays: an ``.npz`` file, or a folder of ``.npy`` files.

Arrays that are not compressed (``np.savez``, ``.npy``) are memory-mapped. Splits that are drawn, and a limit, copy the
chosen examples into memory; where training, validation and test arrays are all given nothing is copied, and training
streams what does not fit.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from pydantic import Field

from nasmod.data.arrays import ArraySettings, dataset_of
from nasmod.data.dataset import Array, DataPath, Dataset
from nasmod.errors import DataError

OBJECTS = (
    "holds Python objects, such as images of unequal size, which are never loaded: bring them to one size and save "
    "them as one array of numbers"
)
LOCAL_HEADER = 30  # bytes of a zip member's local header before its name


class NpzSettings(ArraySettings):
    """Where the arrays lie."""

    name: str = "npz"
    path: DataPath = Field(description="an .npz file, or a folder of .npy files")


def load(settings: NpzSettings) -> Dataset:
    """Your own arrays: an .npz file or a folder of .npy files with x and y, or x_train, y_train, x_test and so on."""
    return dataset_of(read_arrays(Path(settings.path)), settings)


def read_arrays(path: Path) -> dict[str, Array]:
    """The arrays of an ``.npz`` file or of a folder, memory-mapped where they can be; else `DataError` says why not."""
    if path.is_dir():
        arrays = {file.stem: _npy(file) for file in sorted(path.glob("*.npy"))}
        if not arrays:
            raise DataError(f"Folder '{path}' has no .npy files.")
        return arrays
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    if path.suffix == ".npy":
        raise DataError(f"'{path}' is a single array; put x.npy and y.npy into a folder and set path to it.")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if item.filename.endswith(".npy")]
            return {item.filename.removesuffix(".npy"): _member(path, archive, item) for item in members}
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, OSError) as error:
        raise DataError(f"File '{path}' is no sound .npz file: {_reason(error)}.") from error


def _npy(path: Path) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"File '{path}' is no sound .npy file: {_reason(error)}.") from error
    return array


def _member(path: Path, archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> Array:
    with archive.open(item) as stream:
        if item.compress_type != zipfile.ZIP_STORED:
            loaded: Array = npy.read_array(stream, allow_pickle=False)
            return loaded
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(stream)
        header = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"'{item.filename}' {OBJECTS}")
    with path.open("rb") as file:  # the local header may be longer than the directory's: read where the data start
        file.seek(item.header_offset)
        local = file.read(LOCAL_HEADER)
    start = item.header_offset + LOCAL_HEADER + int.from_bytes(local[26:28], "little")
    start += int.from_bytes(local[28:30], "little") + header
    if 0 in shape:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, mode="r", offset=start, shape=shape, order="F" if fortran_order else "C")


def _reason(error: Exception) -> str:
    if "Object arrays" in str(error):
        return f"it {OBJECTS}"
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
