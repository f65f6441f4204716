"""Predictions of real exports: the same as the trained network's, in the data's own words and units."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from nasmod.data import Dataset, load_dataset
from nasmod.errors import DataError, ExportError
from nasmod.export import export
from nasmod.export.predicting import predict
from nasmod.networks import Network, build, plan
from nasmod.topology import Node, Topology
from nasmod.training import evaluate, save_weights

pytestmark = pytest.mark.slow
ROWS = 80
Shop = tuple[Path, Dataset, Network]


def exported(dataset: Dataset, folder: Path) -> Network:
    """One dense module on all inputs, exported as it is."""
    inputs = [Node("input", (), {"name": name}) for name in dataset.inputs]
    module = Node("dense", tuple(range(len(inputs))), {"width": 8})
    outputs = [Node("output", (len(inputs),), {"name": name}) for name in dataset.outputs]
    topology = Topology((*inputs, module, *outputs))
    torch.manual_seed(0)
    network = build(plan(topology, dataset.inputs, dataset.output_shapes)).eval()
    network.normalise(dataset.normalisation)
    export(folder, network.plan, save_weights(network), dataset, recipe={})
    return network


def table(seed: int) -> pandas.DataFrame:
    generator = np.random.default_rng(seed)
    return pandas.DataFrame(
        {
            "age": generator.normal(40, 10, ROWS),
            "colour": generator.choice(["red", "green=ish", "blue"], ROWS),
            "a=b": generator.integers(0, 1000, ROWS),
            "member": generator.choice([True, False], ROWS),
            "bought": generator.choice(["yes", "no"], ROWS),
        }
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A folder with ``model``, an export of a table's network, and ``rows.csv``, the rows of its test split."""
    folder = tmp_path_factory.mktemp("shop")
    table(0).to_csv(folder / "shop.csv", index=False)
    table(1).to_csv(folder / "rows.csv", index=False)
    files = {"path": str(folder / "shop.csv"), "test_path": str(folder / "rows.csv")}
    dataset = load_dataset({"name": "csv", "target": "bought", **files})
    return folder, dataset, exported(dataset, folder / "model")


def test_a_table_is_read_as_the_training_data_were(shop: Shop):
    folder, dataset, network = shop
    logits = evaluate(network, dataset.test, dataset.task)["y"]
    found = predict(folder / "model", folder / "rows.csv")
    assert list(found.columns) == ["y", "y_probability"]
    assert found["y"].tolist() == [("no", "yes")[index] for index in logits.argmax(1)]
    assert found["y_probability"].to_numpy() == pytest.approx(logits.softmax(1).amax(1).numpy(), abs=1e-5)
    shuffled = table(1).drop(columns="bought").iloc[:, ::-1]  # another order of columns, and no target
    shuffled.to_csv(folder / "shuffled.tsv", index=False, sep="\t")
    pandas.testing.assert_frame_equal(predict(folder / "model", folder / "shuffled.tsv", separator="\t"), found)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("colour", "purple", r"column 'colour' holds 'purple' in row 1, which the training data did not have. Known: "),
        ("age", "old", "column 'age' must hold numbers; row 1 does not"),
        ("member", None, "column 'member' holds 'nan' in row 1"),
        ("colour", ..., "has no column 'colour' or 'colour=blue', which the model reads. Known: age, a=b"),
        ("a=b", ..., "has no column 'a' or 'a=b', which the model reads"),
    ],
)
def test_a_row_that_does_not_fit_is_told(shop: Shop, column: str, value: object, message: str):
    folder, *_ = shop
    rows = table(1).astype(object)
    if value is ...:
        rows = rows.drop(columns=column)
    else:
        rows.loc[0, column] = value
    rows.to_csv(folder / "wrong.csv", index=False)
    with pytest.raises(DataError, match=message):
        predict(folder / "model", folder / "wrong.csv")


def test_other_files_are_refused(shop: Shop):
    folder, *_ = shop
    np.savez(folder / "wrong.npz", x=np.zeros((3, 2)))
    np.savez(folder / "other.npz", z=np.zeros((3, 7)))
    table(1).head(0).to_csv(folder / "empty.csv", index=False)
    for name, message in {
        "nowhere.csv": "There is no file",
        "model.gz": "must be a .csv table",
        "wrong.npz": r"must hold numbers of the shape \(N, 7\), not float64 of \(3, 2\)",
        "other.npz": "No input 'x'. Known: z",
        "empty.csv": "There are no examples",
    }.items():
        with pytest.raises(DataError, match=message):
            predict(folder / "model", folder / name)


def test_a_damaged_export_is_told(shop: Shop, tmp_path: Path):
    folder, *_ = shop
    with pytest.raises(ExportError, match="holds no export"):
        predict(tmp_path, folder / "rows.csv")
    for name in ("interface.json", "topology.json", "weights.safetensors"):
        shutil.copytree(folder / "model", tmp_path / name)
        content = (tmp_path / name / name).read_bytes()
        (tmp_path / name / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(ExportError, match=f"{name}' .*export it again"):
            predict(tmp_path / name, folder / "rows.csv")
        (tmp_path / name / name).unlink()
        with pytest.raises(ExportError, match="export it again"):
            predict(tmp_path / name, folder / "rows.csv")


def test_a_regression_speaks_in_the_units_of_the_data(tmp_path: Path):
    generator = np.random.default_rng(0)
    arrays = {"x": generator.normal(size=(90, 4)), "y": generator.normal((1000, -5), (300, 2), (90, 2))}
    np.savez(tmp_path / "own.npz", **arrays)
    dataset = load_dataset({"name": "npz", "path": str(tmp_path / "own.npz"), "task": "regression"})
    network = exported(dataset, tmp_path / "model")
    np.savez(tmp_path / "new.npz", x=dataset.test.inputs["x"])
    mean, std = dataset.target_normalisation["y"]
    expected = evaluate(network, dataset.test, "regression")["y"].numpy() * std + mean
    found = predict(tmp_path / "model", tmp_path / "new.npz")
    assert list(found.columns) == ["y_0", "y_1"]
    assert found.to_numpy() == pytest.approx(expected, rel=1e-4)


def test_images_are_laid_out_as_the_data_set_lays_them_out(tmp_path: Path):
    dataset = load_dataset({"name": "digits"})
    network = exported(dataset, tmp_path / "model")
    logits = evaluate(network, dataset.test, dataset.task)["y"]
    np.savez(tmp_path / "grey.npz", x=dataset.test.inputs["x"][:, 0])
    assert predict(tmp_path / "model", tmp_path / "grey.npz")["y"].tolist() == logits.argmax(1).tolist()
    stated = json.loads((tmp_path / "model" / "interface.json").read_text())
    assert stated["inputs"] == [{"name": "x", "shape": [1, 8, 8], "features": None}]
