"""CSV tables: real regression data, categories, classes, and what is wrong with a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

from nasmod.data import Dataset, load_dataset
from nasmod.errors import DataError

ROWS = ["colour,size,wild,kind"] + [
    f"{('red', 'blue', 'green')[i % 3]},{i / 10},{('yes', 'no')[i % 2]},{('cat', 'dog')[i % 2]}" for i in range(60)
]


def load(tmp_path: Path, text: str, **settings: Any) -> Dataset:
    path = tmp_path / "table.csv"
    path.write_text(text)
    return load_dataset({"name": "csv", "path": str(path), **settings})


def test_diabetes_is_a_regression(tmp_path: Path) -> None:
    path = tmp_path / "diabetes.csv"
    frame = load_diabetes(as_frame=True).frame
    frame.to_csv(path, index=False)
    dataset = load_dataset({"name": "csv", "path": str(path), "target": "target"})
    assert dataset.task == "regression"
    assert dataset.inputs == {"x": (10,)}
    assert dataset.outputs == {"y": 1}
    assert dataset.feature_names["x"] == tuple(frame.columns[:-1])
    assert dataset.train.targets["y"].std() == pytest.approx(1, abs=1e-5)
    mean, std = dataset.target_normalisation["y"]
    assert mean[0] == pytest.approx(frame.target.mean(), rel=0.1)
    assert std[0] == pytest.approx(frame.target.std(), rel=0.1)


def test_categories_become_columns_and_texts_classes(tmp_path: Path) -> None:
    dataset = load(tmp_path, "\n".join(ROWS), target="kind")
    assert dataset.task == "classification"
    assert dataset.class_names == {"y": ("cat", "dog")}
    names = dataset.feature_names["x"]
    assert names == ("colour=blue", "colour=green", "colour=red", "size", "wild=no", "wild=yes")
    x, y = dataset.train.inputs["x"], dataset.train.targets["y"]
    assert x[:, :3].sum(1).tolist() == [1] * len(x)
    assert np.array_equal(x[:, names.index("wild=no")], y)


def test_columns_can_be_ignored(tmp_path: Path) -> None:
    dataset = load(tmp_path, "\n".join(ROWS), target="kind", ignore=["wild", "colour"])
    assert dataset.feature_names == {"x": ("size",)}


def test_few_whole_numbers_are_classes_many_are_not(tmp_path: Path) -> None:
    few = "\n".join(["a,b", *(f"{i},{i % 3}" for i in range(60))])
    many = "\n".join(["a,b", *(f"{i},{i}" for i in range(60))])
    assert load(tmp_path, few, target="b").outputs == {"y": 3}
    assert load(tmp_path, many, target="b").task == "regression"
    assert load(tmp_path, few, target="b", task="regression").task == "regression"


def test_a_second_table_is_the_test_set(tmp_path: Path) -> None:
    test = tmp_path / "test.csv"
    test.write_text("\n".join(ROWS[:11]))
    dataset = load(tmp_path, "\n".join(ROWS), target="kind", test_path=str(test))
    assert len(dataset.test) == 10
    assert len(dataset.train) + len(dataset.validation) == 60


def numbers(*others: str) -> str:
    """A table of two columns: 60 different numbers and what else is given, and two classes."""
    return "\n".join(["a,b", *(f"{value},{i % 2}" for i, value in enumerate([*range(100, 160), *others]))])


def test_whole_numbers_beyond_64_bits_are_numbers(tmp_path: Path) -> None:
    dataset = load(tmp_path, numbers("123456789012345678901234567890"), target="b")
    assert dataset.feature_names == {"x": ("a",)}
    largest = max(dataset.split(part).inputs["x"].max() for part in ("train", "validation", "test"))
    assert largest == pytest.approx(1.2345679e29, rel=1e-6)


@pytest.mark.parametrize(
    "values",
    [
        ["0", "1", "2", "3+"],  # few different ones
        [*map(str, range(30)), "x1", "x2", "x3"],  # of many a tenth are texts
        [f"n{i}" for i in range(30)],
    ],
)
def test_codes_of_which_some_are_numbers_stay_categories(tmp_path: Path, values: list[str]) -> None:
    rows = [f"{values[i % len(values)]},{i % 2}" for i in range(10 * len(values))]
    dataset = load(tmp_path, "\n".join(["a,b", *rows]), target="b")
    assert dataset.feature_names["x"] == tuple(sorted(f"a={value}" for value in values))


def test_a_column_is_of_one_type_however_long_it_is(tmp_path: Path) -> None:
    rows = [f"{i % 5},{i % 7}" for i in range(600_000)]  # pandas would read its first half million as whole numbers
    dataset = load(tmp_path, "\n".join(["a,b", *rows, *["9,x"] * 20]), target="b")
    assert dataset.class_names == {"y": ("0", "1", "2", "3", "4", "5", "6", "x")}


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("\n".join(ROWS), {"target": "kin"}, "No column 'kin'. Did you mean 'kind'"),
        ("\n".join(ROWS), {"target": "kind", "ignore": ["weight"]}, "No column 'weight'"),
        (
            "\n".join([*ROWS, "red,,yes,cat"]),
            {"target": "kind"},
            r"column 'size' has no value in 1 rows \(first in row 61\)",
        ),
        ("\n".join(ROWS), {"target": "kind", "task": "regression"}, "a regression needs numbers"),
        ("\n".join(["a,b", *(f"{i},{i}.5" for i in range(60))]), {"target": "b", "task": "classification"}, "too many"),
        ("\n".join(["a,b", *(f"n{i % 150},{i % 2}" for i in range(300))]), {"target": "b"}, "150 different texts"),
        ("a\n1\n2\n1\n2\n", {"target": "a"}, "no column besides 'a'"),
        (numbers("red"), {"target": "b"}, r"column 'a' holds numbers, but texts in 1 rows \(first 'red' in row 61\)"),
        (numbers("?", "?"), {"target": "a"}, r"column 'a' holds numbers, but texts in 2 rows \(first '\?' in row 61\)"),
        (numbers("1e300"), {"target": "b"}, "holds an infinite value in example 60"),
        (numbers().replace("a,b", "a,b,"), {"target": ""}, "does the header end in ','. Known: a, b"),
        ("", {"target": "a"}, "is no CSV table"),
    ],
)
def test_bad_tables_are_told_in_one_line(tmp_path: Path, text: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as told:
        load(tmp_path, text, **settings)
    assert "\n" not in str(told.value)
