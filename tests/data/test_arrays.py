"""The user's own arrays: npz files, folders, factories; what is wrong with them is told in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasmod import registry
from nasmod.data import Dataset, dataset_settings, load_dataset
from nasmod.data.npz import read_arrays
from nasmod.errors import DataError, NasmodError

Arrays = dict[str, Any]


def pool(count: int = 40, classes: int = 4) -> Arrays:
    generator = np.random.default_rng(0)
    return {"x": generator.normal(size=(count, 3)).astype(np.float32), "y": np.arange(count) % classes}


def load(tmp_path: Path, arrays: Arrays, **settings: Any) -> Dataset:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return load_dataset({"name": "npz", "path": str(path), **settings})


def test_x_and_y_are_split(tmp_path: Path) -> None:
    dataset = load(tmp_path, pool())
    assert dataset.inputs == {"x": (3,)}
    assert dataset.outputs == {"y": 4}
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (24, 8, 8)


def test_given_splits_are_kept(tmp_path: Path) -> None:
    train, validation, test = pool(20), pool(12), pool(8)
    named = {"train": train, "val": validation, "test": test}
    arrays = {f"{key}_{part}": array for part, found in named.items() for key, array in found.items()}
    dataset = load(tmp_path, arrays)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (20, 12, 8)
    assert np.array_equal(dataset.test.inputs["x"], test["x"])


def test_a_given_validation_set_leaves_the_test_set_to_be_drawn(tmp_path: Path) -> None:
    arrays = {**pool(40), "x_validation": pool(8)["x"], "y_validation": pool(8)["y"]}
    dataset = load(tmp_path, arrays)
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (32, 8, 8)


def test_uncompressed_splits_stay_memory_mapped(tmp_path: Path) -> None:
    arrays = {f"{key}_{part}": array for part in ("train", "val", "test") for key, array in pool().items()}
    dataset = load(tmp_path, arrays)
    assert isinstance(dataset.train.inputs["x"], np.memmap)
    assert np.array_equal(dataset.train.inputs["x"], pool()["x"])


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_mapped_and_compressed_files_hold_the_same(tmp_path: Path, order: Any) -> None:
    arrays = {key: np.asarray(array, order=order) for key, array in pool().items()}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez_compressed(tmp_path / "small.npz", **arrays)
    folder = tmp_path / "folder"
    folder.mkdir()
    for key, array in arrays.items():
        np.save(folder / f"{key}.npy", array)
    for path in (tmp_path / "plain.npz", tmp_path / "small.npz", folder):
        found = read_arrays(path)
        assert {key: array.tolist() for key, array in found.items()} == {k: a.tolist() for k, a in arrays.items()}


def test_several_inputs_and_outputs_by_name(tmp_path: Path) -> None:
    arrays = {
        "left": np.ones((30, 2)),
        "right": np.ones((30, 5)),
        "y": np.arange(30) % 3,
        "y_parity": np.arange(30) % 2,
    }
    dataset = load(tmp_path, arrays)
    assert dataset.inputs == {"left": (2,), "right": (5,)}
    assert dataset.outputs == {"y": 3, "y_parity": 2}
    assert load(tmp_path, arrays, inputs=["left"], outputs=["y"]).inputs == {"left": (2,)}


@pytest.mark.parametrize(
    ("shape", "dtype", "layout", "expected"),
    [
        ((20, 6, 7), np.uint8, "auto", (1, 6, 7)),
        ((20, 6, 7), np.float32, "auto", (6, 7)),
        ((20, 6, 7), np.float32, "features-last", (7, 6)),
        ((20, 6, 7), np.float32, "grey", (1, 6, 7)),
        ((20, 6, 7, 3), np.uint8, "auto", (3, 6, 7)),
        ((20, 3, 6, 7), np.uint8, "auto", (3, 6, 7)),
        ((20,), np.float32, "auto", (1,)),
    ],
)
def test_layouts(tmp_path: Path, shape: tuple[int, ...], dtype: Any, layout: str, expected: tuple[int, ...]) -> None:
    dataset = load(tmp_path, {"x": np.zeros(shape, dtype), "y": np.arange(20) % 2}, layout=layout)
    assert dataset.inputs == {"x": expected}


def test_regression_targets_are_standardised_by_the_training_split(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(50, 7, (60, 2))
    dataset = load(tmp_path, {"x": np.ones((60, 3)), "y": values}, task="regression")
    assert dataset.outputs == {"y": 2}
    mean, std = dataset.target_normalisation["y"]
    assert dataset.train.targets["y"].mean(0) == pytest.approx([0, 0], abs=1e-5)
    assert dataset.train.targets["y"].std(0) == pytest.approx([1, 1], abs=1e-5)
    parts = (dataset.train, dataset.validation, dataset.test)
    restored = np.concatenate([part.targets["y"] * std + mean for part in parts])
    assert np.sort(restored[:, 0]) == pytest.approx(np.sort(values[:, 0]), rel=1e-5)


def halves() -> Arrays:
    return {**pool(), "x": pool()["x"].astype(np.float16)}


def test_half_precision_is_taken_as_it_is(tmp_path: Path) -> None:
    dataset = load(tmp_path, halves())
    assert dataset.train.inputs["x"].dtype == np.float16
    assert np.isfinite(dataset.normalisation["x"]).all()


def with_nan(arrays: Arrays, value: float) -> Arrays:
    arrays["x"][7, 1] = value
    return arrays


@pytest.mark.parametrize(
    ("arrays", "settings", "message"),
    [
        ({**pool(), "y": np.arange(39)}, {}, "same number of examples; got x 40, y 39"),
        ({**pool(), "y": pool()["y"] - 1}, {"classes": 4}, "between 0 and 3; got -1 in example 0"),
        ({**pool(), "y": pool()["y"] + 0.5}, {}, 'got 0.5 in example 0.*task = "regression"'),
        ({**pool(), "y": pool()["y"] * 2}, {}, "class 1 of 7 has none"),
        (pool(), {"classes": 3}, "between 0 and 2; got 3 in example 3"),
        (pool(), {"classes": 9}, "class 4 of 9 has none"),
        ({**pool(), "y": np.zeros(40, int)}, {}, "at least 2 classes"),
        ({**pool(), "y": np.zeros((40, 2), int)}, {}, r"one class number per example; got shape \(40, 2\)"),
        ({**pool(), "y": np.array(["a"] * 40)}, {}, "at least 2 classes"),
        ({**pool(), "y": np.array(["a"] * 40)}, {"classes": 2}, "must be whole numbers from 0; got <U1"),
        (with_nan(pool(), np.nan), {}, "the input 'x' holds NaN in example 7"),
        (with_nan(pool(), np.inf), {}, "holds an infinite value in example 7"),
        (with_nan(halves(), np.inf), {}, "holds an infinite value in example 7"),
        (with_nan(halves(), np.nan), {}, "holds NaN in example 7"),
        ({**pool(), "y": np.full(40, np.nan)}, {"task": "regression"}, "target 'y' holds NaN in example 0"),
        ({**pool(), "x": np.full((40, 2), 1e300)}, {}, r"1e\+300, beyond float32"),
        ({**pool(), "x": np.array(["a"] * 40)}, {}, "must hold numbers; got <U1"),
        ({**pool(), "x": np.zeros((40, 0))}, {}, r"must have the shape .* got \(0,\)"),
        ({**pool(), "x": np.zeros((40, 1, 1, 1, 1))}, {}, "must have the shape"),
        ({**pool(), "a b": np.zeros(40)}, {}, "'a b' must consist of letters"),
        ({"y": np.arange(40)}, {}, "no array is an input"),
        ({"x": np.arange(40)}, {}, "no array is an output"),
        ({"x_test": np.arange(40)}, {}, "needs arrays such as x and y"),
        (pool(), {"inputs": ["z"]}, "no array 'z' for an input. Known: x, y"),
        ({**pool(), "x_train": np.zeros(40)}, {}, "is there twice"),
        ({**pool(), "x_test": np.zeros((5, 3))}, {}, "'y' for training but not for test"),
        ({**pool(), "x_test": np.zeros((5, 4)), "y_test": np.zeros(5, int)}, {}, "same shape in every split"),
        ({**pool(), "x_test": np.zeros((0, 3)), "y_test": np.zeros(0, int)}, {}, "the test split is empty"),
        ({"x": np.zeros((2, 1)), "y": np.arange(2)}, {}, "split is empty"),
    ],
)
def test_bad_arrays_are_told_in_one_line(
    tmp_path: Path, arrays: Arrays, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message) as told:
        load(tmp_path, arrays, **settings)
    assert "\n" not in str(told.value)


def test_broken_files_are_told(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez(path, **pool())
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"no sound \.npz file"):
        read_arrays(path)
    (tmp_path / "x.npy").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"no sound \.npy file"):
        read_arrays(tmp_path)
    with pytest.raises(DataError, match="There is no file"):
        read_arrays(tmp_path / "missing.npz")


def test_python_objects_are_never_loaded(tmp_path: Path) -> None:
    for name, save in (("plain.npz", np.savez), ("small.npz", np.savez_compressed)):
        save(tmp_path / name, x=np.array([{}, {}], dtype=object), y=np.arange(2))
        with pytest.raises(DataError, match=r"no sound \.npz file.*images of unequal size"):
            read_arrays(tmp_path / name)


FACTORY = """
import numpy as np
from nasmod.data import Dataset, Split

def arrays(count=40):
    return {"x": np.arange(count * 2.0).reshape(count, 2), "y": np.arange(count) % 2}

def regression():
    return {**arrays(), "task": "regression"}

def dataset(classes=2):
    split = Split({"x": np.zeros((8, 2))}, {"y": np.arange(8) % 2})
    return Dataset("mine", "classification", {"x": (2,)}, {"y": classes}, split, split, split, "f", {})

def broken():
    raise RuntimeError("no luck")

def wrong():
    return 3

def leaves():
    raise SystemExit(0)

def ragged():
    return {"x": [[1], [1, 2]], "y": [0, 1]}

def hangs():
    import time
    while True:
        time.sleep(60)

def impatient():
    raise TimeoutError("the disk is slow")

def odd():
    return {**arrays(), "task": "dance"}
"""


def load_own(settings: dict[str, object], folder: Path | str = ".") -> Dataset:
    """Load data of a function that the user of this process has allowed."""
    registry.allow(part.key for part in dataset_settings(settings, folder).code())
    return load_dataset(settings, folder)


def test_a_users_function_makes_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mydata.py").write_text(FACTORY)
    arrays = load_own({"name": "python", "factory": "mydata.py:arrays", "arguments": {"count": 50}}, tmp_path)
    assert len(arrays.train) + len(arrays.validation) + len(arrays.test) == 50
    assert load_own({"name": "python", "factory": "mydata.py:regression"}, tmp_path).task == "regression"
    assert load_own({"name": "python", "factory": "mydata.py:dataset"}, tmp_path).name == "mine"
    monkeypatch.syspath_prepend(tmp_path)
    assert load_own({"name": "python", "factory": "mydata:arrays"}).outputs == {"y": 2}


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("mydata.py:array", "No function 'array'. Did you mean 'arrays'"),
        ("mydata.py:broken", "failed: RuntimeError: no luck"),
        ("mydata.py:wrong", "must return a Dataset or arrays by name; got int"),
        ("mydata.py:leaves", "failed: SystemExit"),
        ("mydata.py:ragged", "no array"),
        ("mydata.py:hangs", "took longer than 1 seconds and was given up"),
        ("mydata.py:impatient", "failed: TimeoutError: the disk is slow"),
        ("mydata.py:odd", "No task 'dance'"),
        ("missing.py:arrays", "There is no file"),
        ("no_such_module:arrays", "cannot be imported: there is no module 'no_such_module'"),
    ],
)
def test_a_users_function_that_fails_is_told(tmp_path: Path, factory: str, message: str) -> None:
    (tmp_path / "mydata.py").write_text(FACTORY)
    with pytest.raises(NasmodError, match=message):
        load_own({"name": "python", "factory": factory, "seconds": 1}, tmp_path)


def test_a_users_dataset_is_checked(tmp_path: Path) -> None:
    (tmp_path / "mydata.py").write_text(FACTORY)
    with pytest.raises(DataError, match="class 2 of 3 has none"):
        load_own({"name": "python", "factory": "mydata.py:dataset", "arguments": {"classes": 3}}, tmp_path)
