"""Labels as people have them: texts, -1 and 1, 1 to K, one-hot rows. They become class numbers; the names are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nasmod.data.dataset import Array
from nasmod.errors import DataError


@dataclass(frozen=True)
class Labels:
    """Class numbers (N,) by split, the names of the classes where the numbers are not those of the data, and why."""

    numbers: Mapping[str, Array]
    names: tuple[str, ...] | None
    why: str


def encode(by_split: Mapping[str, Array], name: str, where: str) -> Labels:
    """The labels of all splits, numbered alike. What is numbered from 0 already, or is no label, is left as it is."""
    arrays = {part: _flat(array) for part, array in by_split.items()}
    first = next(iter(arrays.values()))
    if all(_one_hot(array) for array in arrays.values()):
        numbers = {part: array.argmax(axis=1).astype(np.int64) for part, array in arrays.items()}
        return Labels(numbers, None, f"one-hot rows of {first.shape[1]}, as by argmax(axis=1)")
    if any(array.ndim != 1 for array in arrays.values()):
        return Labels(by_split, None, "")
    kinds = {array.dtype.kind for array in arrays.values()}
    if kinds <= set("UO") or kinds <= set("S"):
        texts = {part: _texts(array, name, where) for part, array in arrays.items()}
        return _numbered(texts, "texts")
    if kinds == {"b"}:
        return _numbered(arrays, "yes or no")
    if kinds <= set("iu") and min(int(array.min(initial=0)) for array in arrays.values()) < 0:
        return _numbered(arrays, "whole numbers, some below 0")
    if kinds <= set("iu") and all(len(array) and array.min() > 0 for array in arrays.values()):
        return _numbered(arrays, "whole numbers, none of them 0")
    return Labels(by_split, None, "whole numbers from 0")


def _numbered(arrays: Mapping[str, Array], why: str) -> Labels:
    values = np.unique(np.concatenate(list(arrays.values())))
    numbers = {part: np.searchsorted(values, array).astype(np.int64) for part, array in arrays.items()}
    return Labels(numbers, tuple(str(value) for value in values.tolist()), why)


def _flat(array: Array) -> Array:
    array = np.asarray(array)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def _one_hot(array: Array) -> bool:
    """Whether rows (N, K) of zeros hold a single one each."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "biuf" or not len(array):
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())


def _texts(array: Array, name: str, where: str) -> Array:
    if array.dtype.kind == "O":
        strange = next((value for value in array.tolist() if not isinstance(value, str)), None)
        if strange is not None:
            raise DataError(
                f"{where}: the labels '{name}' are Python objects, one of them {strange!r:.60}: save texts or whole "
                "numbers."
            )
    return array.astype(str)
