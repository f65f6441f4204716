"""What data must satisfy before anything is trained on it: each check raises `DataError` naming what to mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import numpy as np

from nasmod.data.dataset import Array, Dataset, Shape, Split, Task
from nasmod.data.fingerprint import chunks
from nasmod.errors import DataError, unknown

MAX_RANK = 3  # (features,), (features, length) or (channels, height, width)
LARGEST = float(np.finfo(np.float32).max)


def check_names(names: Mapping[str, Array], role: str, where: str) -> None:
    """Names become parts of module names, so they must be identifiers."""
    if not names:
        raise DataError(f"{where} has no {role}.")
    for name in names:
        if not name.isidentifier():
            raise DataError(f"{where}: the name of {role} '{name}' must consist of letters, digits and '_'.")


def check_lengths(split: Split, where: str) -> None:
    """Every array has one row per example."""
    lengths = {name: len(array) for arrays in (split.inputs, split.targets) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(f"{where}: all inputs and targets must have the same number of examples; got {listed}.")


def check_input(name: str, array: Array, where: str) -> None:
    """An input holds finite numbers of a shape that a network can read."""
    if array.dtype.kind not in "biuf":
        raise DataError(f"{where}: the input '{name}' must hold numbers; got {array.dtype}.")
    if not 1 <= array.ndim - 1 <= MAX_RANK or 0 in array.shape[1:]:
        raise DataError(
            f"{where}: an example of the input '{name}' must have the shape (features,), (features, length) or "
            f"(channels, height, width); got {array.shape[1:]}."
        )
    check_finite(f"input '{name}'", array, where)


def check_finite(what: str, array: Array, where: str) -> None:
    """No NaN, no infinity, nothing beyond the range of float32."""
    if array.dtype.kind != "f":
        return
    start = 0
    for chunk in chunks(array):
        if np.can_cast(array.dtype, np.float32):  # a float16 is not compared: the limit itself would overflow in it
            sound = np.isfinite(chunk)
        else:
            with np.errstate(invalid="ignore"):
                sound = np.abs(chunk) <= LARGEST
        if not sound.all():
            row = start + int(np.flatnonzero(~sound.reshape(len(chunk), -1).all(axis=1))[0])
            bad = float(chunk[~sound][0])
            value = "NaN" if np.isnan(bad) else "an infinite value" if np.isinf(bad) else f"{bad:g}, beyond float32"
            raise DataError(f"{where}: the {what} holds {value} in example {row}. Fill or remove such examples.")
        start += len(chunk)


def check_labels(name: str, labels: Array, classes: int | None, where: str) -> Array:
    """Class numbers (N,) as int64: whole numbers from 0, below `classes` where that is given."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{where}: the labels '{name}' must be one class number per example; got shape {labels.shape}.")
    if labels.dtype.kind not in "biuf":
        raise DataError(f"{where}: the labels '{name}' must be whole numbers from 0; got {labels.dtype}.")
    check_finite(f"target '{name}'", labels, where)
    whole = labels.astype(np.int64)
    broken = np.flatnonzero(whole != labels)
    if len(broken):
        raise DataError(
            f"{where}: the labels '{name}' must be whole numbers from 0; got {labels[broken[0]]:g} in example "
            f'{broken[0]}. Real-valued targets need task = "regression".'
        )
    limit = np.iinfo(np.int32).max if classes is None else classes
    outside = np.flatnonzero((whole < 0) | (whole >= limit))
    if len(outside):
        allowed = "whole numbers from 0" if classes is None else f"between 0 and {classes - 1}"
        raise DataError(
            f"{where}: the labels '{name}' must be {allowed}; got {whole[outside[0]]} in example {outside[0]}."
        )
    return whole


def check_values(name: str, values: Array, where: str) -> Array:
    """Targets of a regression (N, dims) as float64."""
    if values.dtype.kind not in "biuf":
        raise DataError(f"{where}: the target '{name}' must hold numbers; got {values.dtype}.")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] == 0:
        raise DataError(f"{where}: the target '{name}' must have the shape (N,) or (N, dims); got {values.shape}.")
    check_finite(f"target '{name}'", values, where)
    return values.astype(np.float64)


def check_same_shapes(splits: Mapping[str, Split], where: str) -> dict[str, Shape]:
    """Each input has one shape in all splits; returns it, without the batch."""
    first = next(iter(splits.values()))
    for split_name, split in splits.items():
        for role in ("inputs", "targets"):
            ours, theirs = getattr(first, role), getattr(split, role)
            if set(ours) != set(theirs):
                raise DataError(
                    f"{where}: every split must have the same {role}; got {', '.join(sorted(ours))} and, in "
                    f"{split_name}, {', '.join(sorted(theirs))}."
                )
            for name in ours:
                if ours[name].shape[1:] != theirs[name].shape[1:]:
                    raise DataError(
                        f"{where}: '{name}' must have the same shape in every split; got {ours[name].shape[1:]} and, "
                        f"in {split_name}, {theirs[name].shape[1:]}."
                    )
    return {name: tuple(int(size) for size in array.shape[1:]) for name, array in first.inputs.items()}


def check_splits(splits: Mapping[str, Split], outputs: Mapping[str, int], task: Task, where: str) -> None:
    """No split is empty, and the training split has examples of every class."""
    sizes = ", ".join(f"{name} {len(split)}" for name, split in splits.items())
    for split_name, split in splits.items():
        if len(split) == 0:
            raise DataError(f"{where}: the {split_name} split is empty ({sizes}). Give more examples or larger shares.")
    if task == "regression":
        return
    for name, classes in outputs.items():
        if classes < 2:
            raise DataError(f"{where}: the labels '{name}' must tell at least 2 classes apart; got {classes}.")
        missing = np.flatnonzero(np.bincount(splits["train"].targets[name], minlength=classes) == 0)
        if len(missing):
            raise DataError(
                f"{where}: every class of '{name}' must have an example in the training split; class {missing[0]} of "
                f"{classes} has none. Number the classes from 0 without gaps, or give more examples."
            )


def check_dataset(dataset: Dataset, where: str) -> None:
    """Everything above and what `assemble` sees to, for a data set that may not have been made by it."""
    if dataset.task not in get_args(Task):
        raise DataError(f"{where}: {unknown('task', str(dataset.task), get_args(Task))}")
    if not isinstance(dataset.fingerprint, str):
        raise DataError(f"{where}: the fingerprint must be a text; got {dataset.fingerprint!r}.")
    for name, count in dataset.outputs.items():
        if not isinstance(count, (int, np.integer)):
            raise DataError(f"{where}: outputs must give the classes or dimensions of '{name}', an int; got {count!r}.")
    splits = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    for split in splits.values():
        check_names(split.inputs, "input", where)
        check_names(split.targets, "target", where)
        check_lengths(split, where)
        for name, array in split.inputs.items():
            check_input(name, array, where)
        if set(split.targets) != set(dataset.outputs):
            listed = " and ".join(", ".join(sorted(names)) for names in (dataset.outputs, split.targets))
            raise DataError(f"{where}: outputs and targets must have the same names; got {listed}.")
        for name, array in split.targets.items():
            check_target(name, array, dataset.task, dataset.outputs[name], where)
    if check_same_shapes(splits, where) != dict(dataset.inputs):
        raise DataError(f"{where}: inputs must give the shape of each input without the batch; got {dataset.inputs}.")
    check_splits(splits, dataset.outputs, dataset.task, where)


def check_target(name: str, array: Array, task: Task, count: int, where: str) -> None:
    """A target that training can read as it is: of so many classes or dimensions."""
    if task == "regression":
        check_values(name, array, where)
        if array.shape[1:] != (count,):
            raise DataError(f"{where}: the target '{name}' must have the shape (N, {count}); got {array.shape}.")
        return
    check_labels(name, array, count, where)
    if array.ndim != 1 or array.dtype not in (np.int64, np.uint8):
        raise DataError(
            f"{where}: the labels '{name}' must be int64 of the shape (N,); got {array.dtype} of {array.shape}."
        )
