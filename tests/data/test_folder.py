"""Pictures in class folders: real digits as PNG and JPEG, of one size and of many, damaged ones, and a whole study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

import nasmod
from nasmod.data import Dataset, load_dataset
from nasmod.errors import DataError
from nasmod.study import read

Image = pytest.importorskip("PIL.Image")
COUNT = 90


def write(root: Path, count: int = COUNT, suffix: str = "png", colour: bool = False, part: str = "") -> Path:
    """Digits 0 to 2 of scikit-learn, a folder a digit."""
    images, labels = load_digits(n_class=3, return_X_y=True)
    for number, (pixels, label) in enumerate(zip(images[:count], labels[:count], strict=True)):
        folder = root / part / f"digit {label}"
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray((pixels.reshape(8, 8) * 15).astype(np.uint8))
        picture = picture.convert("RGB") if colour else picture
        picture.save(folder / f"{number:04d}.{suffix}")
    return root


def load(root: Path, **settings: object) -> Dataset:
    return load_dataset({"name": "folder", "path": str(root), **settings})


def test_folders_are_classes_and_pictures_images(tmp_path: Path) -> None:
    found = load(write(tmp_path))
    assert found.inputs == {"x": (1, 8, 8)}
    assert found.class_names == {"y": ("digit 0", "digit 1", "digit 2")}
    sizes = [len(found.split(part)) for part in ("train", "validation", "test")]
    assert sum(sizes) == COUNT
    images, labels = load_digits(n_class=3, return_X_y=True)
    known = {(pixels * 15).astype(np.uint8).tobytes(): label for pixels, label in zip(images, labels, strict=True)}
    for pixels, label in zip(found.train.inputs["x"], found.train.targets["y"], strict=True):
        assert known[pixels.tobytes()] == label
    assert found.reading is not None
    said = "\n".join(found.reading.lines())
    assert "90 pictures of 8 by 8 pixels, grey" in said
    counts = [len(list((tmp_path / name).iterdir())) for name in ("digit 0", "digit 1", "digit 2")]
    assert f"y: 3 classes (its folders): digit 0 {counts[0]}, digit 1 {counts[1]}, digit 2 {counts[2]}." in said


def test_colours_splits_and_other_files(tmp_path: Path) -> None:
    write(tmp_path, colour=True, part="train", suffix="jpg")
    write(tmp_path, 30, colour=True, part="test", suffix="jpg")
    (tmp_path / "notes.txt").write_text("mine")
    found = load(tmp_path)
    assert found.inputs == {"x": (3, 8, 8)}
    assert len(found.test) == 30
    assert found.reading is not None
    assert "1 files of the folder are no pictures and were passed over" in found.reading.warnings
    assert load(tmp_path, colours="grey").inputs == {"x": (1, 8, 8)}


def test_pictures_of_unequal_size_need_a_size(tmp_path: Path) -> None:
    write(tmp_path)
    Image.new("L", (9, 12)).save(tmp_path / "digit 1" / "odd.png")
    with pytest.raises(DataError, match=r"'digit 1/odd.png' has 12 by 9. Set size = \[8, 8\]"):
        load(tmp_path)
    found = load(tmp_path, size=[6, 10])
    assert found.inputs == {"x": (1, 6, 10)}
    assert len(found.train) + len(found.validation) + len(found.test) == COUNT + 1


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        load(tmp_path / "missing")
    with pytest.raises(DataError, match="has no pictures in folders of classes"):
        load(tmp_path)
    (tmp_path / "only").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "only" / "one.png")
    with pytest.raises(DataError, match="for each of two classes or more"):
        load(tmp_path)
    write(tmp_path)
    content = (tmp_path / "digit 0" / "0000.png").read_bytes()
    (tmp_path / "digit 0" / "0000.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"0000\.png' cannot be read: ") as told:
        load(tmp_path)
    assert "\n" not in str(told.value)


def test_a_folder_of_pictures_is_not_told_about_missing_idx_files(tmp_path: Path) -> None:
    write(tmp_path / "pictures")
    with pytest.raises(DataError, match='holds pictures: set name = "folder"'):
        load_dataset({"name": "idx", "path": str(tmp_path / "pictures")})
    written = nasmod.new(tmp_path / "mine.toml", tmp_path / "pictures")
    assert read(written).data["name"] == "folder"


@pytest.mark.slow
def test_from_pictures_to_a_prediction_of_pictures(tmp_path: Path) -> None:
    write(tmp_path / "pictures", 300)
    file = nasmod.new(tmp_path / "mine.toml", tmp_path / "pictures")
    study = nasmod.start(file, storage=tmp_path / "mine.db", workers=2, trials=4)
    study.export(tmp_path / "exported")
    wanted = tmp_path / "pictures" / "digit 2"
    assert nasmod.predict(tmp_path / "exported", wanted, tmp_path / "said.csv") == len(list(wanted.iterdir()))
    lines = (tmp_path / "said.csv").read_text().splitlines()
    assert lines[0] == "y,y_probability"
    assert sum(line.startswith("digit 2,") for line in lines[1:]) > 0.8 * (len(lines) - 1)
    one = next(wanted.iterdir())
    assert nasmod.predict(tmp_path / "exported", one, tmp_path / "one.csv") == 1
    Image.new("L", (9, 9)).save(tmp_path / "large.png")
    with pytest.raises(DataError, match="has 9 by 9 pixels, the model reads 8 by 8"):
        nasmod.predict(tmp_path / "exported", tmp_path / "large.png", tmp_path / "no.csv")
