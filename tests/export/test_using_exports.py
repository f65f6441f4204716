"""What people do with an exported model: other types, other devices, a compiler, a DataLoader, fine-tuning."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nasmod.data import Dataset, load_dataset
from nasmod.export import export
from nasmod.networks import build, plan
from nasmod.topology import Node, Topology
from nasmod.training import save_weights

torch.set_num_threads(1)
DEVICES = [
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
    pytest.param("mps", marks=pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs Apple's GPU")),
]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset({"name": "digits", "limit": 200})


@pytest.fixture(scope="module")
def folder(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with ONNX of a network with every kind of module but `skip`."""
    nodes = (
        Node("input", (), {"name": "x"}),
        Node("conv", (0,), {"channels": 4}),
        Node("pool", (1,), {"mode": "mean"}),
        Node("attention", (2,), {"heads": 2, "head_width": 4}),
        Node("dense", (0, 3), {"width": 16, "merge": "gated"}),
        Node("output", (2, 4), {"name": "y"}),
    )
    torch.manual_seed(0)
    found = plan(Topology(nodes), digits.inputs, digits.output_shapes)
    network = build(found)
    network.normalise(digits.normalisation)
    place = tmp_path_factory.mktemp("used") / "exported"
    export(place, found, save_weights(network), digits, recipe={}, onnx=True)
    return place


@pytest.fixture
def load(folder: Path) -> Iterator[Callable[[], nn.Module]]:
    """A fresh model of its source."""
    spec = importlib.util.spec_from_file_location("exported_model", folder / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["exported_model"] = module
    spec.loader.exec_module(module)
    yield lambda: module.load(str(folder / "weights.safetensors"))
    del sys.modules["exported_model"]


def test_the_card_tells_what_for_how_well_and_its_limits(folder: Path, digits: Dataset) -> None:
    readme = (folder / "README.md").read_text()
    for heading in ("## What it is for", "## Limits", "## Load it", "## Checked"):
        assert readme.count(heading) == 1
    assert "It tells `y` (10 classes) from `x` of shape (1, 8, 8)" in readme
    rows = [line for line in readme.splitlines() if line.startswith("| ") and line.count("|") == 4]
    shares = [float(row.split("|")[3]) for row in rows if row.split("|")[1].strip().isdecimal()]
    assert len(shares) == len(np.unique(digits.test.targets["y"]))
    assert shares == sorted(shares)


def test_all_forms_take_the_same_float32(folder: Path, load: Callable[[], nn.Module], digits: Dataset) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    x = torch.from_numpy(digits.test.inputs["x"]).float()
    program = torch.export.load(folder / "model.pt2").module()
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for batch in (x[:1], x[:7], x):
        with torch.no_grad():
            wanted = load()(batch)
            torch.testing.assert_close(program(batch), wanted)
        (found,) = session.run(None, {"x": batch.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_compiles_whole_and_for_any_batch(load: Callable[[], nn.Module], digits: Dataset, backend: str) -> None:
    model = load()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend=backend)
    x = torch.from_numpy(digits.test.inputs["x"])
    with torch.no_grad():
        for batch in (x[:3], x[:8]):
            torch.testing.assert_close(compiled(batch), model(batch))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_runs_in_half_the_bits(load: Callable[[], nn.Module], digits: Dataset, dtype: torch.dtype) -> None:
    x = torch.from_numpy(digits.test.inputs["x"])
    with torch.no_grad():
        found = load().to(dtype)(x)
        wanted = load()(x)
    assert found.dtype == dtype
    assert (found.float() - wanted).abs().max() < 0.05 * wanted.abs().max() + 0.05


def test_autocast_takes_it(load: Callable[[], nn.Module], digits: Dataset) -> None:
    x = torch.from_numpy(digits.test.inputs["x"])
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert load()(x).shape == (len(x), 10)


def test_a_dataloader_feeds_it(load: Callable[[], nn.Module], digits: Dataset) -> None:
    x, y = (torch.from_numpy(values) for values in (digits.test.inputs["x"], digits.test.targets["y"]))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=16)
    with torch.no_grad():
        found = torch.cat([load()(batch) for batch, _ in loader])
        torch.testing.assert_close(found, load()(x))


def test_it_can_be_trained_further(load: Callable[[], nn.Module], digits: Dataset) -> None:
    model = load().train()
    x, y = (torch.from_numpy(values) for values in (digits.train.inputs["x"], digits.train.targets["y"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("device", DEVICES)
def test_source_and_program_give_the_same_on_a_device(
    folder: Path, load: Callable[[], nn.Module], digits: Dataset, device: str
) -> None:
    from torch.export.passes import move_to_device_pass

    x = torch.from_numpy(digits.test.inputs["x"]).float()
    program = move_to_device_pass(torch.export.load(folder / "model.pt2"), device).module()
    with torch.no_grad():
        wanted = load()(x)
        torch.testing.assert_close(load().to(device)(x.to(device)).cpu(), wanted, atol=1e-3, rtol=1e-3)
        torch.testing.assert_close(program(x.to(device)).cpu(), wanted, atol=1e-3, rtol=1e-3)
