"""Pairs of digits: splits share no digit, targets are what the task says, bad settings are one line."""

from __future__ import annotations

import numpy as np
import pytest

from nasmod.data import Dataset, load_dataset
from nasmod.errors import StudyError


def images(dataset: Dataset, split: str) -> set[bytes]:
    return {image.tobytes() for name in dataset.inputs for image in dataset.split(split).inputs[name]}


def test_the_splits_share_no_digit() -> None:
    dataset = load_dataset({"name": "digit_pairs"})
    train, validation, test = (images(dataset, split) for split in ("train", "validation", "test"))
    assert not train & validation
    assert not train & test
    assert not validation & test


@pytest.mark.parametrize("digits", [2, 3])
def test_every_task_asks_about_the_same_digits(digits: int) -> None:
    each = load_dataset({"name": "digit_pairs", "task": "pair", "digits": digits})
    classes = np.stack(list(each.train.targets.values()), axis=1)  # (N, digits)
    asked = {
        task: load_dataset({"name": "digit_pairs", "task": task, "digits": digits}) for task in ("xor", "both", "sum")
    }
    for dataset in asked.values():
        assert set(dataset.inputs) == set("abc"[:digits])
        for name in dataset.inputs:
            assert np.array_equal(dataset.train.inputs[name], each.train.inputs[name])
    assert np.array_equal(asked["sum"].train.targets["y"], classes.sum(1))
    assert np.array_equal(asked["xor"].train.targets["y"], np.bitwise_xor.reduce(classes % 2, axis=1))
    assert np.array_equal(asked["both"].train.targets["y"], classes.min(1) >= 5)
    assert asked["sum"].outputs == {"y": 9 * digits + 1}
    assert each.outputs == {f"y_{name}": 10 for name in "abc"[:digits]}


def test_the_digits_are_the_same_on_every_machine() -> None:
    """Golden: another value would mean that studies on other machines train on other data."""
    known = "9805e3621c40a98a374dcd1d87726074e5e5c93a9a398ea5e2b6b55d927eefdf"
    assert load_dataset({"name": "digit_pairs"}).fingerprint == known


def test_an_unknown_task_is_one_line() -> None:
    with pytest.raises(StudyError, match=r"^Data set 'digit_pairs' setting 'task': .*'xor', 'both', 'sum' or 'pair'"):
        load_dataset({"name": "digit_pairs", "task": "product"})
