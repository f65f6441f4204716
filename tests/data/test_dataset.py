"""Settings are checked in one line; digits and Fashion-MNIST load as the contract says."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import BaseModel

from nasmod.data import Dataset, DataSettings, Split, assemble, dataset_settings, load_dataset
from nasmod.data.digits import images_and_classes
from nasmod.data.fashion_mnist import FOLDER
from nasmod.errors import DataError, NasmodError, PluginError, StudyError, UnknownNameError


def write_idx(path: Path, array: NDArray[np.uint8]) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_images(folder: Path, prefix: str = "", suffix: str = "", first_label: int = 0) -> Path:
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        images = generator.integers(0, 256, (count, 6, 5), dtype=np.uint8)
        labels = (np.arange(count) % 4 + first_label).astype(np.uint8)
        write_idx(folder / f"{prefix}{part}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{prefix}{part}-labels-idx1-ubyte{suffix}", labels)
    return folder


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    theirs = load_digits()
    images, classes = images_and_classes()
    np.testing.assert_array_equal(images[:, 0], theirs.images)
    np.testing.assert_array_equal(classes, theirs.target)
    assert (images.dtype, classes.dtype) == (np.uint8, theirs.target.dtype)


def test_digits_are_raw_images_split_by_class() -> None:
    digits = load_dataset({"name": "digits"})
    assert digits.inputs == {"x": (1, 8, 8)}
    assert digits.outputs == {"y": 10}
    assert digits.output_shapes == {"y": (10,)}
    assert digits.train.inputs["x"].dtype == np.uint8
    assert len(digits.train) + len(digits.validation) + len(digits.test) == 1797
    assert digits.chance == pytest.approx(0.1, abs=0.01)
    mean, std = digits.normalisation["x"]
    assert mean == pytest.approx([digits.train.inputs["x"].mean()], rel=1e-5)
    assert std == pytest.approx([digits.train.inputs["x"].std()], rel=1e-5)


def test_the_fingerprint_of_digits_is_known() -> None:
    """Golden: another value would mean that studies on other machines train on other data."""
    known = "7f0b38b710c3048e6e12da26ccaa2ededbb6f51f2550e7111793f099940aa243"
    assert load_dataset({"name": "digits"}).fingerprint == known


def test_the_seed_draws_the_splits() -> None:
    first, second = load_dataset({"name": "digits", "seed": 1}), load_dataset({"name": "digits", "seed": 2})
    assert first.fingerprint != second.fingerprint


def test_a_limit_takes_some_of_every_class() -> None:
    few = load_dataset({"name": "digits", "limit": 200})
    assert len(few.train) + len(few.validation) + len(few.test) == pytest.approx(200, abs=1)
    assert np.bincount(few.train.targets["y"]).min() >= 10


def test_splits_are_named() -> None:
    digits = load_dataset({"name": "digits"})
    assert digits.split("test") is digits.test
    with pytest.raises(UnknownNameError, match="Did you mean 'validation'"):
        digits.split("validaton")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({}, StudyError, "needs a name. Known: csv, digit_pairs, digits"),
        ({"name": "digit"}, UnknownNameError, "Did you mean 'digits'"),
        ({"name": "digits", "limt": 3}, StudyError, "no setting 'limt'. Did you mean 'limit'"),
        ({"name": "digits", "limit": 0}, StudyError, "setting 'limit'.*greater than or equal to 1; got 0"),
        ({"name": "digits", "test": 0.9}, StudyError, r"validation \+ test must be below 1"),
        ({"name": "digits", "validation": "some"}, StudyError, "setting 'validation'.*got 'some'"),
        ({"name": "idx"}, StudyError, "needs the setting 'path'"),
        ({"name": "idx", "path": "/nowhere"}, DataError, "no folder '/nowhere'"),
        ({"name": "fashion-mnist", "path": "/nowhere"}, DataError, "apt-get install dataset-fashion-mnist"),
        ({"name": "python", "factory": "nothing"}, StudyError, "must be 'module:function' or 'file.py:function'"),
    ],
)
def test_mistakes_are_told_in_one_line(data: dict[str, object], error: type[NasmodError], message: str) -> None:
    with pytest.raises(error, match=message) as told:
        load_dataset(data)
    assert "\n" not in str(told.value)


def test_paths_become_absolute(tmp_path: Path) -> None:
    settings = dataset_settings({"name": "idx", "path": "images"}, folder=tmp_path)
    assert settings.model_dump()["path"] == str(tmp_path / "images")


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("prefix", ["", "emnist-letters-"])
def test_idx_folders_keep_their_test_set(tmp_path: Path, prefix: str, suffix: str) -> None:
    folder = write_images(tmp_path, prefix, suffix)
    images = load_dataset({"name": "idx", "path": str(folder)})
    assert images.inputs == {"x": (1, 6, 5)}
    assert images.outputs == {"y": 4}
    assert (len(images.train), len(images.validation), len(images.test)) == (48, 12, 20)
    assert images.test.targets["y"].tolist() == [index % 4 for index in range(20)]


def test_idx_reads_the_values_it_was_given(tmp_path: Path) -> None:
    folder = write_images(tmp_path)
    images = load_dataset({"name": "idx", "path": str(folder)})
    expected = np.random.default_rng(0).integers(0, 256, (60, 6, 5), dtype=np.uint8)
    everything = np.concatenate([images.train.inputs["x"], images.validation.inputs["x"]])
    assert {row.tobytes() for row in everything} == {row.tobytes() for row in expected}


def test_idx_asks_which_of_several_sets(tmp_path: Path) -> None:
    write_images(tmp_path, "emnist-letters-")
    write_images(tmp_path, "emnist-digits-")
    with pytest.raises(DataError, match="Set prefix to one of: 'emnist-digits-', 'emnist-letters-'"):
        load_dataset({"name": "idx", "path": str(tmp_path)})
    assert load_dataset({"name": "idx", "path": str(tmp_path), "prefix": "emnist-digits-"}).outputs == {"y": 4}


def test_idx_labels_that_start_at_one_are_told(tmp_path: Path) -> None:
    write_images(tmp_path, first_label=1)
    with pytest.raises(DataError, match="start at 1: set first_label = 1"):
        load_dataset({"name": "idx", "path": str(tmp_path)})
    assert load_dataset({"name": "idx", "path": str(tmp_path), "first_label": 1}).outputs == {"y": 4}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("keep", [0, 3, 10, -1])
def test_truncated_idx_files_are_refused(tmp_path: Path, keep: int, suffix: str) -> None:
    path = write_images(tmp_path, suffix=suffix) / f"train-images-idx3-ubyte{suffix}"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="train-images-idx3-ubyte") as told:
        load_dataset({"name": "idx", "path": str(tmp_path)})
    assert "\n" not in str(told.value)


def test_missing_idx_labels_are_named(tmp_path: Path) -> None:
    (write_images(tmp_path) / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="has no file 't10k-labels-idx1-ubyte'"):
        load_dataset({"name": "idx", "path": str(tmp_path)})


def test_fashion_mnist_loads_from_a_folder(tmp_path: Path) -> None:
    fashion = load_dataset({"name": "fashion-mnist", "path": str(write_images(tmp_path, suffix=".gz"))})
    assert fashion.name == "fashion-mnist"
    assert len(fashion.test) == 20


def test_real_fashion_mnist_where_it_is_installed() -> None:
    if not Path(FOLDER).is_dir():
        return  # the test before this one reads the same format
    fashion = load_dataset({"name": "fashion-mnist", "limit": 7000})
    assert (len(fashion.train), len(fashion.validation), len(fashion.test)) == (4800, 1200, 1000)
    assert fashion.inputs == {"x": (1, 28, 28)}
    mean, std = fashion.normalisation["x"]
    assert float(mean[0]) / 255 == pytest.approx(0.286, abs=0.005)
    assert float(std[0]) / 255 == pytest.approx(0.353, abs=0.005)


def test_settings_and_loading_import_no_torch() -> None:
    program = (
        "import sys, nasmod.data, nasmod.training\n"
        "from nasmod import registry\n"
        "for name in registry.names('dataset'): registry.settings('dataset', name)\n"
        "nasmod.data.load_dataset({'name': 'digits'}); nasmod.training.TrainingSettings()\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


class OwnSettings(DataSettings):
    """Of a plugin's data set."""

    name: str = "own"


def exits(dataset: Dataset) -> Dataset:
    raise SystemExit(0)


def with_targets(dataset: Dataset, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Dataset:
    parts = {}
    for name in ("train", "validation", "test"):
        split = dataset.split(name)
        parts[name] = Split(split.inputs, {"y": change(split.targets["y"])})
    return replace(dataset, **parts)


LIES: dict[str, tuple[Callable[[Dataset], Any], str]] = {
    "no data set": (lambda _: 3, "must return a Dataset; got int"),
    "it leaves": (exits, "The data set 'own' failed: SystemExit: 0"),
    "a task": (lambda good: replace(good, task="regress"), "No task 'regress'. Did you mean 'regression'"),
    "a number for a fingerprint": (lambda good: replace(good, fingerprint=5), "fingerprint must be a text; got 5"),
    "no fingerprint": (lambda good: replace(good, fingerprint=None), "fingerprint must be a text; got None"),
    "a shape for an output": (lambda good: replace(good, outputs={"y": (2,)}), r"of 'y', an int; got \(2,\)"),
    "outputs of other names": (lambda good: replace(good, outputs={"z": 2}), "must have the same names; got z and y"),
    "an input": (lambda good: replace(good, inputs={"x": 6}), "shape of each input without the batch; got {'x': 6}"),
    "no arrays": (lambda good: replace(good, test=Split({"x": 3}, {"y": 4})), "'own' failed: TypeError"),  # type: ignore[dict-item]  # the lie
    "an empty split": (
        lambda good: replace(good, validation=good.validation.rows(np.array([], int))),
        "the validation split is empty",
    ),
    "labels of another type": (
        lambda good: with_targets(good, lambda labels: labels.astype(np.int32)),
        r"must be int64 of the shape \(N,\); got int32 of \(",
    ),
    "labels in a column": (lambda good: with_targets(good, lambda labels: labels[:, None]), "must be int64 of"),
    "too few dimensions": (
        lambda good: replace(with_targets(good, lambda labels: labels * 1.0), task="regression"),
        r"must have the shape \(N, 2\); got",
    ),
}  # fmt: skip


@pytest.fixture
def own(register: Callable[..., None]) -> Callable[..., None]:
    """Registers a data set as a plugin does, until the test has ended."""
    return partial(register, "dataset", "own")


def good(settings: DataSettings) -> Dataset:
    x = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    return assemble(settings, "classification", Split({"x": x}, {"y": np.arange(40) % 2}))


@pytest.mark.parametrize("lie", LIES)
def test_a_plugins_data_set_that_lies_is_told_before_anything_is_trained(own: Callable[..., None], lie: str) -> None:
    change, message = LIES[lie]
    own(lambda settings: change(good(settings)), OwnSettings)
    with pytest.raises(DataError, match=message) as told:
        load_dataset({"name": "own"})
    assert "\n" not in str(told.value)


def test_a_plugins_sound_data_set_is_taken_as_it_is(own: Callable[..., None]) -> None:
    own(good, OwnSettings)
    assert load_dataset({"name": "own"}).fingerprint == good(OwnSettings()).fingerprint


def test_a_plugins_settings_must_be_those_of_a_data_set(own: Callable[..., None]) -> None:
    class Foreign(BaseModel):
        name: str = "own"

    own(good, Foreign)
    with pytest.raises(PluginError, match="'own' must inherit DataSettings; 'Foreign' does not"):
        load_dataset({"name": "own"})


def test_regression_chance_is_zero() -> None:
    split = Split({"x": np.zeros((2, 1))}, {"y": np.zeros((2, 1))})
    made = Dataset("made", "regression", {"x": (1,)}, {"y": 1}, split, split, split, "", {})
    assert made.chance == 0.0
