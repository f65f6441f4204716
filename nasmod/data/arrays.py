"""Arrays by name as examples: which are inputs, which targets, which split they belong to, and how images lie.

``x`` and ``y`` are one pool that is split; ``x_train``, ``x_validation`` and ``x_test`` are splits that are given.
Arrays named ``y``, ``y_...``, ``label``, ``labels``, ``target`` or ``targets`` are targets, all others inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from nasmod.data.assemble import assemble
from nasmod.data.dataset import Array, Dataset, DataSettings, Split, Task
from nasmod.data.labels import Labels, encode
from nasmod.data.reading import Part, Reading, of_classes, of_values
from nasmod.errors import DataError

SUFFIXES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
SQUARE, LOOKED_AT = 8, 1_000  # the smallest image that is asked about; examples in which its values are looked at
TARGET = re.compile(r"(y|labels?|targets?)(_\w+)?")
Layout = Literal["auto", "features-first", "features-last", "grey"]


class ArraySettings(DataSettings):
    """What data sets made of named arrays share."""

    task: Literal["classification", "regression"] = "classification"
    inputs: tuple[str, ...] | None = Field(None, description="names of the inputs, without _train and the like")
    outputs: tuple[str, ...] | None = Field(None, description="names of the targets, without _train and the like")
    layout: Layout = Field(
        "auto",
        description="how an example lies: features-first (channels, height, width), features-last, or grey (height, "
        "width); auto takes whole numbers (N, height, width) for grey images and a last axis of 1, 3 or 4 for colours",
    )
    classes: int | None = Field(None, ge=2, description="how many classes there are; counted where not given")


def dataset_of(arrays: Mapping[str, Array], settings: ArraySettings, task: Task | None = None) -> Dataset:
    """A data set of named arrays. Raises `DataError` in one line for arrays that do not make one."""
    where = f"Data set '{settings.name}'"
    task = task or settings.task
    parts = _by_split(arrays, where)
    if "train" not in parts:
        listed = ", ".join(sorted(arrays)) or "nothing"
        raise DataError(f"{where} needs arrays such as x and y, or x_train and y_train; got {listed}.")
    names = sorted(parts["train"])
    outputs = _chosen("output", settings.outputs, names, [name for name in names if TARGET.fullmatch(name)], where)
    inputs = _chosen("input", settings.inputs, names, [name for name in names if name not in outputs], where)
    splits = {part: _split(found, inputs, outputs, settings.layout, part, where) for part, found in parts.items()}
    labels = {} if task != "classification" else _labels(splits, outputs, settings.classes, where)
    for name, found in labels.items():
        splits = {
            part: Split(split.inputs, {**split.targets, name: found.numbers[part]}) for part, split in splits.items()
        }
    dataset = assemble(
        settings,
        task,
        splits["train"],
        validation=splits.get("validation"),
        test=splits.get("test"),
        classes=None if settings.classes is None else dict.fromkeys(outputs, settings.classes),
        class_names={name: found.names for name, found in labels.items() if found.names is not None},
    )
    parts_read = tuple(_told_input(name, parts["train"][name], dataset.inputs[name], settings) for name in inputs)
    told = [_told_target(name, dataset, labels.get(name)) for name in outputs]
    warnings = tuple(warning for _, found in told for warning in found)
    examples = sum(len(dataset.split(part)) for part in ("train", "validation", "test"))
    reading = Reading(examples, "", parts_read, tuple(said for said, _ in told), warnings)
    return replace(dataset, reading=reading)


def _labels(splits: Mapping[str, Split], outputs: Sequence[str], classes: int | None, where: str) -> dict[str, Labels]:
    """The targets that are labels, encoded. One study tells classes or real values, not both."""
    found, real = {}, []
    for name in outputs:
        arrays = {part: split.targets[name] for part, split in splits.items()}
        if any(array.dtype.kind == "f" and (np.asarray(array) % 1 != 0).any() for array in arrays.values()):
            real.append(name)
        elif classes is None:
            found[name] = encode(arrays, name, where)
    if real and len(outputs) > len(real):
        named = next(name for name in outputs if name not in real)
        raise DataError(
            f"{where}: '{named}' holds classes and '{real[0]}' real values, which are two tasks: set outputs to those "
            "of one of them."
        )
    return found


def _told_target(name: str, dataset: Dataset, labels: Labels | None) -> tuple[str, list[str]]:
    values = np.concatenate([dataset.split(part).targets[name] for part in ("train", "validation", "test")])
    if dataset.task == "regression":
        mean, std = dataset.target_normalisation[name]
        return of_values(name, values * std + mean, "as task says")
    why = labels.why if labels is not None else "as classes says"
    return of_classes(name, values.reshape(-1), dataset.class_names.get(name), why)


def _told_input(name: str, array: Array, shape: tuple[int, ...], settings: ArraySettings) -> Part:
    """What an input is read as, and why."""
    noun = {1: "features", 2: "a sequence (features, length)", 3: "an image (channels, height, width)"}
    why = "as layout says"
    if settings.layout == "auto":
        grey, turned = array.ndim == 3 and len(shape) == 3, array.ndim == 4 and array.shape[1:] != shape
        why = (
            "whole numbers of two axes are grey images" if grey else "its last axis holds the colours" if turned else ""
        )
    return Part(name, f"{array.dtype} of {array.shape[1:]}", f"read as {noun[len(shape)]} of {shape}", why)


def laid_out(array: Array, layout: Layout) -> Array:
    """The array with features (channels) on axis 1, as a view.

    >>> laid_out(np.zeros((2, 32, 32, 3)), "auto").shape, laid_out(np.zeros((2, 28, 28), np.uint8), "auto").shape
    ((2, 3, 32, 32), (2, 1, 28, 28))
    """
    if layout == "auto":
        colours = array.ndim == 4 and array.shape[3] in (1, 3, 4) and array.shape[1] not in (1, 3, 4)
        grey = array.ndim == 3 and array.dtype.kind in "iu"
        layout = "features-last" if colours else "grey" if grey else "features-first"
    if layout == "grey" and array.ndim == 3:
        return array[:, None]
    if layout == "features-last" and array.ndim > 2:
        return np.moveaxis(array, -1, 1)
    return array


def _by_split(arrays: Mapping[str, Array], where: str) -> dict[str, dict[str, Array]]:
    parts: dict[str, dict[str, Array]] = {}
    for full, array in arrays.items():
        base, _, suffix = full.rpartition("_")
        part = SUFFIXES.get(suffix.lower()) if base else None
        name = full if part is None else base
        found = parts.setdefault(part or "train", {})
        if name in found:
            raise DataError(f"{where}: '{full}' is there twice, with and without a split's name.")
        if array.ndim == 0:
            raise DataError(f"{where}: '{full}' must have one row per example; got a single value.")
        found[name] = array
    return parts


def _chosen(
    noun: str, wanted: Sequence[str] | None, known: Sequence[str], default: Sequence[str], where: str
) -> list[str]:
    chosen = list(default) if wanted is None else list(wanted)
    if unknown := [name for name in chosen if name not in known]:
        raise DataError(f"{where} has no array '{unknown[0]}' for an {noun}. Known: {', '.join(known)}.")
    if not chosen:
        raise DataError(f"{where}: no array is an {noun}; set {noun}s to some of: {', '.join(known)}.")
    return chosen


def _split(
    arrays: Mapping[str, Array], inputs: Sequence[str], outputs: Sequence[str], layout: Layout, part: str, where: str
) -> Split:
    for name in (*inputs, *outputs):
        if name not in arrays:
            raise DataError(f"{where} has '{name}' for training but not for {part}.")
    for name in inputs if layout == "auto" else ():
        _check_layout(name, arrays[name], where)
    return Split(
        {name: laid_out(arrays[name], layout) for name in inputs},
        {name: np.asarray(arrays[name]) for name in outputs},
    )


def _check_layout(name: str, array: Array, where: str) -> None:
    """Fractions between 0 and 1 in squares could be grey images or sequences: nobody can tell."""
    if array.dtype.kind == "O":
        raise DataError(
            f"{where}: '{name}' holds Python objects, such as images of unequal size: bring them to one size and save "
            "them as one array."
        )
    if array.ndim == 3 and array.dtype.kind == "f" and array.shape[1] == array.shape[2] >= SQUARE:
        some = np.asarray(array[:LOOKED_AT])
        if some.size and some.min() >= 0 and some.max() <= 1:
            raise DataError(
                f"{where}: '{name}' of {array.shape[1:]} between 0 and 1 could be grey images, or sequences of "
                f'{array.shape[1]} features: set layout = "grey" or "features-first".'
            )
