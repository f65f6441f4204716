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
        ("\n".join(["a,b", *(f"n{i},{i % 2}" for i in range(300))]), {"target": "b"}, "300 different texts"),
        ("a\n1\n2\n1\n2\n", {"target": "a"}, "no column besides 'a'"),
        ("", {"target": "a"}, "is no CSV table"),
    ],
)
def test_bad_tables_are_told_in_one_line(tmp_path: Path, text: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as told:
        load(tmp_path, text, **settings)
    assert "\n" not in str(told.value)
