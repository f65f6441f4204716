"""From arrays to a data set: checked, split, standardised, fingerprinted. Every loader ends here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nasmod.data.checks import (
    check_finite,
    check_input,
    check_labels,
    check_lengths,
    check_names,
    check_same_shapes,
    check_splits,
    check_values,
)
from nasmod.data.dataset import Array, Dataset, DataSettings, Split, Task
from nasmod.data.fingerprint import chunks, fingerprint
from nasmod.data.reading import Reading
from nasmod.data.splits import sample, split_indices
from nasmod.data.table import TableSettings

CACHED_BYTES = 1 << 17  # small slices stay in the processor's cache while they are turned into float64: twice as fast


def assemble(
    settings: DataSettings,
    task: Task,
    pool: Split,
    *,
    validation: Split | None = None,
    test: Split | None = None,
    classes: Mapping[str, int] | None = None,
    class_names: Mapping[str, tuple[str, ...]] | None = None,
    feature_names: Mapping[str, tuple[str, ...]] | None = None,
    reading: Reading | None = None,
    written: TableSettings | None = None,
) -> Dataset:
    """A data set of the examples in `pool`, from which the splits that are not given are drawn.

    `classes` bounds the labels of an output; without it they are counted. Where all three splits are given and no
    limit is set the arrays are kept as they are, memory-mapped ones included. Raises `DataError` in one line.
    """
    where = f"Data set '{settings.name}'"
    given = {"train": pool, "validation": validation, "test": test}
    parts = {
        name: _checked(split, task, classes or {}, f"{where}, {name}" if name != "train" else where)
        for name, split in given.items()
        if split is not None
    }
    inputs = check_same_shapes(parts, where)
    outputs = _outputs(task, parts, classes or {})
    if settings.limit is not None:
        parts = _limited(parts, settings.limit, settings.seed, task)
    splits = _split(parts, settings, task)
    check_splits(splits, outputs, task, where)
    stamp = fingerprint(task, outputs, splits)
    target_normalisation: dict[str, tuple[Array, Array]] = {}
    if task == "regression":
        target_normalisation = {name: feature_statistics(values) for name, values in splits["train"].targets.items()}
        splits = {name: _standardised(split, target_normalisation) for name, split in splits.items()}
    return Dataset(
        name=settings.name,
        task=task,
        inputs=inputs,
        outputs=outputs,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        fingerprint=stamp,
        normalisation={name: feature_statistics(array) for name, array in splits["train"].inputs.items()},
        target_normalisation=target_normalisation,
        class_names=dict(class_names or {}),
        feature_names=dict(feature_names or {}),
        reading=reading,
        written=written,
    )


def feature_statistics(array: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of each feature (axis 1), float32; a constant feature has the deviation 1.

    >>> mean, std = feature_statistics(np.array([[1.0, 5.0], [3.0, 5.0]]))
    >>> mean.tolist(), std.tolist()
    ([2.0, 5.0], [1.0, 1.0])
    """
    features, count = array.shape[1], array.size // array.shape[1]
    shift = np.asarray(array[:1], np.float64).reshape(features, -1).mean(axis=1)  # keeps the squares small
    total, squares = np.zeros(features), np.zeros(features)
    for chunk in chunks(array, CACHED_BYTES):
        centred = chunk.reshape(len(chunk), features, -1).astype(np.float64) - shift[:, None]
        total += centred.sum(axis=(0, 2))
        squares += np.einsum("nfk,nfk->f", centred, centred)
    variance = np.maximum(squares / count - (total / count) ** 2, 0.0)
    deviation = np.sqrt(variance)
    mean = shift + total / count
    constant = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-30)
    return mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32)


def _checked(split: Split, task: Task, classes: Mapping[str, int], where: str) -> Split:
    check_names(split.inputs, "input", where)
    check_names(split.targets, "target", where)
    check_lengths(split, where)
    inputs = {}
    for name, array in split.inputs.items():
        array = array[:, None] if array.ndim == 1 else array
        check_input(name, array, where)
        inputs[name] = array.astype(np.uint8) if array.dtype.kind == "b" else array
    targets = {
        name: check_values(name, array, where)
        if task == "regression"
        else check_labels(name, array, classes.get(name), where)
        for name, array in split.targets.items()
    }
    return Split(inputs, targets)


def _outputs(task: Task, parts: Mapping[str, Split], classes: Mapping[str, int]) -> dict[str, int]:
    outputs = {}
    for name, values in parts["train"].targets.items():
        if task == "regression":
            outputs[name] = int(values.shape[1])
        else:
            largest = max((int(part.targets[name].max(initial=-1)) for part in parts.values()), default=-1)
            outputs[name] = classes.get(name, largest + 1)
    return outputs


def _labels(split: Split, task: Task) -> Array | None:
    return None if task == "regression" else next(iter(split.targets.values()))


def _limited(parts: dict[str, Split], limit: int, seed: int, task: Task) -> dict[str, Split]:
    share = limit / sum(len(part) for part in parts.values())
    if share >= 1:
        return parts
    return {name: part.rows(sample(len(part), share, seed, _labels(part, task))) for name, part in parts.items()}


def _split(parts: Mapping[str, Split], settings: DataSettings, task: Task) -> dict[str, Split]:
    pool = parts["train"]
    if "validation" in parts and "test" in parts:
        return dict(parts)
    shares = {"validation": settings.validation, "test": settings.test}
    if "test" in parts:
        shares["test"] = 0.0
    if "validation" in parts:  # what is drawn is the test split alone
        train, drawn, _ = split_indices(len(pool), shares["test"], 0.0, settings.seed, _labels(pool, task))
        return {"train": pool.rows(train), "validation": parts["validation"], "test": pool.rows(drawn)}
    train, drawn, rest = split_indices(
        len(pool), shares["validation"], shares["test"], settings.seed, _labels(pool, task)
    )
    return {
        "train": pool.rows(train),
        "validation": pool.rows(drawn),
        "test": parts["test"] if "test" in parts else pool.rows(rest),
    }


def _standardised(split: Split, normalisation: Mapping[str, tuple[Array, Array]]) -> Split:
    targets = {}
    for name, values in split.targets.items():
        mean, std = normalisation[name]
        targets[name] = ((values - mean) / std).astype(np.float32)
        check_finite(f"standardised target '{name}'", targets[name], "Data")
    return Split(split.inputs, targets)
