"""Factors: declared, or the first family that the data offer; stored as they were found; one line for each mistake."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from nasmod.data import Dataset, DeclaredFactor, Factor, Factors, Split, assemble, find_factors, load_dataset
from nasmod.data.dataset import DataSettings
from nasmod.data.feature_groups import feature_groups
from nasmod.errors import DataError


def dataset(inputs: dict[str, NDArray[np.float64]], targets: dict[str, NDArray[np.int64]], **more: object) -> Dataset:
    return assemble(DataSettings(name="made"), "classification", Split(inputs, targets), **more)  # type: ignore[arg-type]


def grouped(groups: int, each: int, noise: float = 0.3, count: int = 600) -> NDArray[np.float64]:
    generator = np.random.default_rng(0)
    causes = generator.normal(size=(count, groups))
    return np.repeat(causes, each, axis=1) + noise * generator.normal(size=(count, groups * each))


CLASSES = np.arange(600) % 4
PIXELS = grouped(3, 4)


def test_the_first_family_that_holds_is_taken() -> None:
    x, two = PIXELS, {"y": CLASSES % 2}
    one_group = grouped(1, 5)
    assert find_factors(dataset({"a": x, "b": x}, {"y": CLASSES, "z": CLASSES})).family == "inputs"
    assert find_factors(dataset({"x": x}, {"y": CLASSES, "z": CLASSES})).family == "outputs"
    assert find_factors(dataset({"x": x}, two)).family == "features"
    found = find_factors(dataset({"x": one_group}, {"y": CLASSES}))
    assert (found.family, [factor.column for factor in found.factors]) == ("classes", [0, 1, 2, 3])
    assert find_factors(dataset({"x": one_group}, two)) == Factors("none", ())


def test_groups_of_features_that_vary_together_are_found_blind() -> None:
    found = find_factors(dataset({"x": PIXELS}, {"y": CLASSES % 2}))
    assert [factor.inputs["x"] for factor in found.factors] == [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9, 10, 11)]


def test_groups_of_an_image_are_groups_of_pixels() -> None:
    """Both channels of a pixel are together; constant pixels are in no group."""
    values = grouped(2, 6).reshape(600, 2, 2, 3)  # (N, channels, height, width): each channel is one group by itself
    values[:, 1] = values[:, 0]
    values[:, :, 0, 0] = 7
    (group,) = feature_groups(values.reshape(600, -1), (2, 2, 3))
    assert group == (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)


def test_there_are_never_more_than_eight_groups() -> None:
    assert len(feature_groups(grouped(12, 3), (36,))) == 8


def test_factors_that_vary_together_are_told() -> None:
    apart = find_factors(dataset({"a": PIXELS[:, :4], "b": PIXELS[:, 4:]}, {"y": CLASSES}))
    views = find_factors(dataset({"a": PIXELS, "b": PIXELS + 0.1}, {"y": CLASSES}))
    assert not apart.leave_the_data
    assert views.leave_the_data


def test_what_is_stored_is_read_back() -> None:
    for found in (
        find_factors(dataset({"x": PIXELS}, {"y": CLASSES % 2})),
        find_factors(dataset({"x": PIXELS}, {"y": CLASSES, "z": CLASSES})),
        Factors("none", ()),
    ):
        assert Factors.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_declared_factors_are_slices_columns_or_outputs() -> None:
    table = dataset({"x": PIXELS}, {"y": CLASSES, "z": CLASSES}, feature_names={"x": tuple("abcdefghijkl")})
    slices = {"left": DeclaredFactor(input="x", features="0:6"), "odd": DeclaredFactor(input="x", features="7::2")}
    assert [dict(f.inputs) for f in find_factors(table, slices).factors] == [
        {"x": (0, 1, 2, 3, 4, 5)},
        {"x": (7, 9, 11)},
    ]
    columns = {"first": DeclaredFactor(columns=["a", "c"]), "last": DeclaredFactor(columns=["l"])}
    assert [dict(f.inputs) for f in find_factors(table, columns).factors] == [{"x": (0, 2)}, {"x": (11,)}]
    outputs = {"one": DeclaredFactor(output="y"), "other": DeclaredFactor(output="z")}
    assert [f.output for f in find_factors(table, outputs).factors] == ["y", "z"]


@pytest.mark.parametrize(
    ("declared", "says"),
    [
        ({"l": DeclaredFactor(input="z")}, "Factor 'l': No input of the data 'z'"),
        ({"l": DeclaredFactor(output="x")}, "Factor 'l': No output of the data 'x'"),
        ({"l": DeclaredFactor(columns=["a"])}, "Factor 'l': the data have no named columns"),
        ({"l": DeclaredFactor(input="x", features="12:20")}, 'a slice of the 12 features, such as "0:32"; got "12:20"'),
        ({"l": DeclaredFactor(input="x", features="left")}, 'a slice of the 12 features, such as "0:32"; got "left"'),
        ({"l": DeclaredFactor(input="x")}, "at least two factors; got l alone"),
        ({"l": DeclaredFactor(input="x"), "m": DeclaredFactor(output="y")}, "all parts of the inputs, or all outputs"),
    ],
)
def test_a_factor_that_is_none_is_one_line(declared: dict[str, DeclaredFactor], says: str) -> None:
    with pytest.raises(DataError, match=says.replace("(", r"\(")) as caught:
        find_factors(dataset({"x": PIXELS}, {"y": CLASSES}), declared)
    assert "\n" not in str(caught.value)


def test_a_column_that_is_none_suggests_the_nearest() -> None:
    table = dataset({"x": PIXELS}, {"y": CLASSES}, feature_names={"x": tuple(f"column{n}" for n in range(12))})
    with pytest.raises(DataError, match="Did you mean 'column1'"):
        find_factors(table, {"l": DeclaredFactor(columns=["colum1"])})


def test_a_study_s_factors_stand_in_for_those_found() -> None:
    digits = load_dataset({"name": "digits"})
    stored = Factors("declared", (Factor("top", {"x": tuple(range(32))}), Factor("rest", {"x": tuple(range(32, 64))})))
    assert digits.with_factors(stored).factors is stored
    assert digits.factors.family == "features"
