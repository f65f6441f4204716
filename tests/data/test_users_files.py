"""Files as people have them: what is recognised is told, what could be read in two ways is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nasmod.data import Dataset, load_dataset
from nasmod.data.reading import Reading
from nasmod.errors import DataError

ROWS = [f"{i / 4},{('red', 'blue')[i % 2]},{('cat', 'dog', 'cow')[i % 3]}" for i in range(60)]
HEADER = "size,colour,kind"


def table(tmp_path: Path, text: str | bytes, name: str = "table.csv", **settings: Any) -> Dataset:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_dataset({"name": "csv", "path": str(path), "target": "kind", **settings})


def arrays(tmp_path: Path, settings: dict[str, Any] | None = None, **named: Any) -> Dataset:
    path = tmp_path / "data.npz"
    np.savez(path, **named)
    return load_dataset({"name": "npz", "path": str(path), **(settings or {})})


def same(one: Dataset, other: Dataset) -> bool:
    return one.fingerprint == other.fingerprint and one.class_names == other.class_names


@pytest.fixture
def plain(tmp_path: Path) -> Dataset:
    return table(tmp_path, "\n".join([HEADER, *ROWS]))


@pytest.mark.parametrize(("separator", "name"), [(";", "t.csv"), ("\t", "t.csv"), ("|", "t.csv"), ("\t", "t.tsv")])
def test_separators_are_recognised_and_told(tmp_path: Path, plain: Dataset, separator: str, name: str) -> None:
    text = "\n".join([HEADER, *ROWS]).replace(",", separator)
    found = table(tmp_path, text, name)
    assert same(found, plain)
    assert found.reading is not None
    named = {";": "semicolons", "\t": "tabs", "|": "bars"}[separator]
    assert f"columns between {named}" in found.reading.source


def test_a_separator_that_nobody_can_tell_is_asked_for(tmp_path: Path) -> None:
    text = "\n".join(["a;b,kind", *(f"{i};{i},{i % 2}" for i in range(60))])
    with pytest.raises(DataError, match="separated by a comma or a semicolon; set separator"):
        table(tmp_path, text)
    assert table(tmp_path, text, separator=",").feature_names["x"][0].startswith("a;b=") is True


def test_decimal_commas_are_refused_by_name_and_read_where_they_are_set(tmp_path: Path, plain: Dataset) -> None:
    text = "\n".join([HEADER, *ROWS]).replace(",", ";").replace(".", ",")
    with pytest.raises(
        DataError, match=r"'size' holds numbers with a decimal comma, such as '0,0': set decimal = \",\""
    ):
        table(tmp_path, text)
    assert same(table(tmp_path, text, decimal=","), plain)


@pytest.mark.parametrize(
    ("sign", "words"),
    [
        (".", 'grouped digits, such as .*: set thousands = "."'),
        (" ", 'grouped digits, such as .*: set thousands = " "'),
        ("'", 'grouped digits, such as .*: set thousands = "\'"'),
        (",", 'could stand before a fraction or between thousands: set decimal = "," or thousands = ","'),
    ],
)
def test_grouped_digits_are_refused_by_name_and_read_where_they_are_set(tmp_path: Path, sign: str, words: str) -> None:
    rows = [f"{1_234_567 + 1000 * i:,};{('cat', 'dog')[i % 2]}".replace(",", sign) for i in range(60)]
    if sign == ",":
        rows = [f"{1_234 + 10 * i:,};{('cat', 'dog')[i % 2]}" for i in range(60)]
    text = "\n".join(["price;kind", *rows])
    with pytest.raises(DataError, match=words):
        table(tmp_path, text)
    found = table(tmp_path, text, thousands=sign)
    assert found.feature_names["x"] == ("price",)
    assert max(found.split(part).inputs["x"].max() for part in ("train", "validation", "test")) > 1_000


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path, plain: Dataset) -> None:
    found = table(tmp_path, "\ufeff" + "\n".join([HEADER, *ROWS]))
    assert same(found, plain)
    assert found.feature_names["x"][0] == "size"


def test_another_encoding_is_asked_for(tmp_path: Path) -> None:
    text = "\n".join([HEADER, *ROWS]).replace("red", "röd").encode("latin-1")
    with pytest.raises(DataError, match=r"is not written in utf-8 .*: set encoding"):
        table(tmp_path, text)
    assert "colour=röd" in table(tmp_path, text, encoding="latin-1").feature_names["x"]
    with pytest.raises(DataError, match="unknown encoding: klingon"):
        table(tmp_path, text, encoding="klingon")


def test_a_file_without_a_header_is_asked_about(tmp_path: Path) -> None:
    text = "\n".join(f"{i},{i / 2},{i % 3}" for i in range(60))
    with pytest.raises(DataError, match=r"first line holds only numbers .* set header = false"):
        table(tmp_path, text)
    found = table(tmp_path, text, header=False, target="column_3")
    assert found.feature_names["x"] == ("column_1", "column_2")
    assert len(found.train) + len(found.validation) + len(found.test) == 60


def test_what_counts_the_rows_is_left_out_with_a_word(tmp_path: Path, plain: Dataset) -> None:
    for name in ("", "id", "Index"):
        numbered = "\n".join([f"{name},{HEADER}", *(f"{i},{row}" for i, row in enumerate(ROWS))])
        found = table(tmp_path, numbered)
        assert same(found, plain)
        assert found.reading is not None
        (part,) = [part for part in found.reading.parts if part.used == "left out"]
        assert part.why == "it counts the rows"


def test_a_name_of_its_own_in_every_row_is_left_out_with_a_word(tmp_path: Path) -> None:
    rows = [f"person {i},{i % 7},{i % 2}" for i in range(200)]
    found = table(tmp_path, "\n".join(["who,age,kind", *rows]))
    assert found.feature_names["x"] == ("age",)
    assert found.reading is not None
    assert "who: texts, left out (another in every row: a name, no category)" in map(str, found.reading.parts)


def test_none_and_na_are_values_where_a_person_says_so(tmp_path: Path) -> None:
    text = "\n".join(["size,kind", *(f"{i / 2},{('None', 'NA', 'some')[i % 3]}" for i in range(60))])
    with pytest.raises(DataError, match=r"'kind' has no value in 40 rows .*; where \"None\" is a value, set missing"):
        table(tmp_path, text)
    assert table(tmp_path, text, missing=[""]).class_names == {"y": ("NA", "None", "some")}


def test_what_begins_with_a_zero_is_a_code_and_keeps_its_spelling(tmp_path: Path) -> None:
    text = "\n".join(["zip,kind", *(f"{('01067', '10115', '80331')[i % 3]},{('1', '01')[i % 2]}" for i in range(60))])
    found = table(tmp_path, text)
    assert found.class_names == {"y": ("01", "1")}
    assert found.feature_names["x"] == ("zip=01067", "zip=10115", "zip=80331")


def test_what_was_read_is_told_with_its_reasons(plain: Dataset) -> None:
    assert plain.reading is not None
    said = "\n".join(plain.reading.lines())
    assert "Read 60 examples of 'table.csv' (columns between commas)." in said
    assert "size: numbers from 0 to 14.75, a number" in said
    assert "colour: 2 different texts, a category" in said
    assert "kind: 3 classes (it holds texts): cat 20, cow 20, dog 20." in said
    assert Reading.from_json(plain.reading.to_json()) == plain.reading


@pytest.mark.parametrize(
    ("rows", "header", "settings", "words"),
    [
        ([f"{i % 3},{i % 7},{'abc'[i % 3]}" for i in range(90)], "leak,x,kind", {}, "column 'leak' alone tells 'kind'"),
        ([f"{i},{i % 7},{'ab'[i // 45]}" for i in range(90)], "nth,x,kind", {}, "column 'nth' counts the rows"),
        ([f"{2 * i % 89},{i % 7},{i % 89 * 0.5}" for i in range(90)], "a,b,kind", {}, None),
        (
            [f"{i % 11},{i * i % 37 * 0.25}" for i in range(90)] + ["5,1e6"],
            "x,kind",
            {},
            "times the middle half's width",
        ),
        (
            [f"{i % 11},{'a' if i % 40 else 'b'}" for i in range(200)],
            "x,kind",
            {},
            "98% of the examples are of the class",
        ),
    ],
)
def test_what_looks_wrong_is_told(
    tmp_path: Path, rows: list[str], header: str, settings: dict[str, Any], words: str | None
) -> None:
    found = table(tmp_path, "\n".join([header, *rows]), **settings)
    assert found.reading is not None
    if words is None:
        assert not found.reading.warnings
    else:
        assert words in "\n".join(found.reading.warnings)


def test_a_class_with_one_example_is_told(tmp_path: Path) -> None:
    rows = [f"{i % 11},{('a', 'b')[i % 2]}" for i in range(300)]
    found = table(tmp_path, "\n".join(["x,kind", *rows, "3,c"]))
    assert found.reading is not None
    assert "the class 'c' has one example" in "\n".join(found.reading.warnings)


X = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array(["cat", "dog", "cow"] * 20), ("cat", "cow", "dog")),
        (np.array([b"no", b"yes"] * 30), ("no", "yes")),
        (np.array([-1, 1] * 30), ("-1", "1")),
        (np.array([1, 2, 3] * 20), ("1", "2", "3")),
        (np.array([[3], [4]] * 30), ("3", "4")),
        (np.array([True, False] * 30), ("False", "True")),
        (np.array([0, 1, 2] * 20), None),
    ],
)
def test_labels_as_people_have_them_become_classes_with_their_names(tmp_path: Path, labels: Any, names: Any) -> None:
    found = arrays(tmp_path, x=X, y=labels)
    assert found.class_names.get("y") == names
    assert found.outputs["y"] == len(np.unique(labels))
    back = np.unique(labels)
    rows = {tuple(row): label for row, label in zip(X.tolist(), labels.ravel().tolist(), strict=True)}
    for row, number in zip(found.train.inputs["x"].tolist(), found.train.targets["y"].tolist(), strict=True):
        assert rows[tuple(row)] == back[number].item()


def test_labels_of_given_splits_are_numbered_alike(tmp_path: Path) -> None:
    train, test = np.array(["b", "c", "a"] * 20), np.array(["c", "c", "a", "b"] * 5)
    found = arrays(tmp_path, x_train=X, y_train=train, x_test=X[:20], y_test=test)
    assert found.class_names["y"] == ("a", "b", "c")
    assert found.test.targets["y"].tolist() == [2, 2, 0, 1] * 5


def test_one_hot_targets_are_classes_and_it_is_told(tmp_path: Path) -> None:
    numbers = np.arange(60) % 4
    found = arrays(tmp_path, x=X, y=np.eye(4)[numbers])
    assert same(found, arrays(tmp_path, x=X, y=numbers))
    assert found.reading is not None
    assert "y: 4 classes (one-hot rows of 4, as by argmax(axis=1)): 0 15, 1 15, 2 15, 3 15." in found.reading.targets


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64])
def test_grey_images_of_any_whole_number_type_are_images(tmp_path: Path, kind: Any) -> None:
    images = (np.arange(60 * 9 * 8) % 200).reshape(60, 9, 8).astype(kind)
    found = arrays(tmp_path, x=images, y=np.arange(60) % 2)
    assert found.inputs["x"] == (1, 9, 8)
    assert found.reading is not None
    (part,) = found.reading.parts
    assert part.why == "whole numbers of two axes are grey images"


def test_fractions_in_squares_are_asked_about(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((60, 8, 8))
    with pytest.raises(DataError, match='could be grey images, or sequences of 8 features: set layout = "grey" or'):
        arrays(tmp_path, x=images, y=np.arange(60) % 2)
    assert arrays(tmp_path, {"layout": "grey"}, x=images, y=np.arange(60) % 2).inputs["x"] == (1, 8, 8)
    assert arrays(tmp_path, {"layout": "features-first"}, x=images, y=np.arange(60) % 2).inputs["x"] == (8, 8)


def test_a_class_and_a_value_are_two_tasks(tmp_path: Path) -> None:
    both = {"x": X, "y_kind": np.arange(60) % 2, "y_size": X[:, 0] * 1.5}
    with pytest.raises(
        DataError, match="'y_kind' holds classes and 'y_size' real values, which are two tasks: set outputs"
    ):
        arrays(tmp_path, **both)
    found = arrays(tmp_path, {"outputs": ["y_kind"], "inputs": ["x"]}, **both)
    assert found.outputs == {"y_kind": 2}


def test_line_breaks_in_names_end_no_line_of_what_is_told(tmp_path: Path) -> None:
    """Or a study file would have lines out of a table's header."""
    text = '"a\nstorage = 1",kind\n' + "\n".join(f"{i / 2},{('x', 'y')[i % 2]}" for i in range(60))
    found = table(tmp_path, text)
    assert found.reading is not None
    assert "  a storage = 1: numbers from 0 to 29.5, a number" in list(found.reading.lines())
