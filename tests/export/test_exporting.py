"""Real exports: real data, a real process without nasmod."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from nasmod import registry
from nasmod.data import Dataset, Split, load_dataset
from nasmod.errors import ExportError
from nasmod.export import export, exporting
from nasmod.networks import Network, build, plan
from nasmod.topology import Node, Topology
from nasmod.training import save_weights

torch.set_num_threads(1)

USERS_KIND = '''
"""A user's kinds: one that stands alone, one that needs a name from outside, one that is random, one that cheats."""
import math

import torch
from torch import nn
from torch.nn import functional as F

from nasmod import registry
from nasmod.modules import Parameters

OUTSIDE = 2.0


class WaveParameters(Parameters):
    """No parameters."""


class WaveNetwork(nn.Module):
    """A sine of what is read."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((size,), math.pi))

    def forward(self, x):
        return torch.sin(self.scale * x)


class OutsideNetwork(WaveNetwork):
    """Needs more than its own source."""


class RandomNetwork(nn.Module):
    """Never the same twice."""

    def __init__(self, size: int) -> None:
        super().__init__()

    def forward(self, x):
        return F.dropout(x, training=True)


class CheatingNetwork(nn.Module):
    """Imports nasmod."""

    def __init__(self, size: int) -> None:
        super().__init__()

    def forward(self, x):
        import nasmod.errors

        return x


class Wave:
    """A sine of what is read."""

    Parameters = WaveParameters
    accepts = (1,)
    made = WaveNetwork

    def output_shape(self, shape, params):
        return shape

    def arguments(self, shape, params):
        return {"size": shape[0]}

    def network(self):
        return self.made


class Outside(Wave):
    made = OutsideNetwork


class Random(Wave):
    made = RandomNetwork


class Cheating(Wave):
    made = CheatingNetwork


for kind in (Wave, Outside, Random, Cheating):
    registry.register("kind", kind.__name__.lower(), kind, WaveParameters)
'''


@pytest.fixture(scope="module")
def users_kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Kinds registered by a user's file."""
    file = tmp_path_factory.mktemp("plugin") / "my_kinds.py"
    file.write_text(USERS_KIND)
    with registry.restored():
        registry.load_plugin_file(file)
        yield


def table(task: str = "classification") -> Dataset:
    """A few random examples with two inputs and two outputs."""
    random = np.random.default_rng(0)

    def split(count: int) -> Split:
        inputs = {
            "table": random.normal(size=(count, 4)).astype(np.float32),
            "series": random.normal(size=(count, 2, 5)),
        }
        if task == "regression":
            return Split(inputs, {name: random.normal(size=(count, 2)).astype(np.float32) for name in ("y", "z")})
        return Split(inputs, {name: np.arange(count) % 2 for name in ("y", "z")})

    return Dataset(
        name="table",
        task="regression" if task == "regression" else "classification",
        inputs={"table": (4,), "series": (2, 5)},
        outputs={"y": 2, "z": 2},
        train=split(8),
        validation=split(8),
        test=split(7),
        fingerprint="0" * 64,
        normalisation={"table": (np.full(4, 0.1), np.full(4, 2.0))},
        target_normalisation={"y": (np.array([1.0, 2.0]), np.array([3.0, 4.0]))} if task == "regression" else {},
        class_names={} if task == "regression" else {"y": ("cat", "dog | wolf")},
    )


def network_for(dataset: Dataset, nodes: list[Node]) -> Network:
    torch.manual_seed(0)
    inputs = [Node("input", (), {"name": name}) for name in dataset.inputs]
    ends = tuple(range(len(inputs), len(inputs) + len(nodes))) or (0,)
    outputs = [Node("output", ends, {"name": name}) for name in dataset.outputs]
    network = build(plan(Topology((*inputs, *nodes, *outputs)), dataset.inputs, dataset.output_shapes))
    network.normalise(dataset.normalisation)
    return network


@pytest.mark.slow
def test_an_exported_image_network_runs_and_agrees(tmp_path: Path) -> None:
    digits = load_dataset({"name": "digits"})
    nodes = [
        Node("conv", (0,), {"channels": 8, "depth": 2}),
        Node("pool", (1,)),
        Node("attention", (1, 2), {"heads": 2, "head_width": 4, "merge": "gated"}),
        Node("dense", (0, 3), {"width": 16, "merge": "sum"}),
    ]
    network = network_for(digits, nodes)
    network.to(memory_format=torch.channels_last)
    directory = tmp_path / "new" / "out"
    exported = export(
        directory,
        network.plan,
        save_weights(network),
        digits,
        recipe={"study": "digits", "seed": 3, "versions": {"torch": torch.__version__}},
        measures={"accuracy": 0.5, "flops": 1234567.0},
        standard_errors={"accuracy": 0.01},
        title="Trial 7 of the study 'digits'.",
    )
    assert sorted(path.name for path in directory.iterdir()) == sorted(exported.files)
    assert list(directory.parent.iterdir()) == [directory]
    assert exported.difference < 1e-5
    assert set(exported.scores.values()) == {exported.trained_score.value}
    assert exported.examples == len(digits.test)
    assert Topology.from_json((directory / "topology.json").read_text()).key == _topology(network).key

    text = (directory / "README.md").read_text()
    assert text.startswith("# Trial 7 of the study 'digits'\n")
    assert "| accuracy | 0.5 | ± 0.01 |" in text
    assert "| flops | 1,234,567 |" in text
    assert '"seed": 3' in text
    assert "| input `x` | (B, 1, 8, 8) | uint8, raw |" in text
    for snippet in _python_snippets(text)[:2]:
        code = f"import torch\nx = torch.zeros(3, 1, 8, 8, dtype=torch.uint8)\n{snippet}\nprint(tuple(y.shape))"
        assert _run(code, directory) == "(3, 10)"
    assert "onnx" not in text


@pytest.mark.slow
def test_several_inputs_and_a_users_kind_export_into_an_empty_directory(tmp_path: Path, users_kinds: None) -> None:
    dataset = table("regression")
    network = network_for(dataset, [Node("wave", (0, 1)), Node("attention", (1, 2), {"heads": 1, "head_width": 3})])
    exported = export(tmp_path, network.plan, save_weights(network), dataset, recipe={}, onnx=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(exported.files)
    assert exported.differences.keys() == {"model.py", "model.pt2", "model.onnx"}
    assert exported.score_name == "r2"
    source = (tmp_path / "model.py").read_text()
    assert "class WaveNetwork(nn.Module):" in source
    assert "import math" in source
    text = (tmp_path / "README.md").read_text()
    assert "standardised values: times [3, 4], plus [1, 2] gives the data's own units" in text
    code = (
        "import torch\nmodel = torch.export.load('model.pt2').module()\n"
        "y, z = model(torch.zeros(1, 4), torch.zeros(1, 2, 5))\nprint(tuple(y.shape))"
    )
    assert _run(code, tmp_path) == "(1, 2)"
    (snippet,) = [snippet for snippet in _python_snippets(text) if "import onnxruntime" in snippet]
    shown = "print([one.shape for one in outputs])"
    code = f"import torch\ntable, series = torch.zeros(7, 4), torch.zeros(7, 2, 5)\n{snippet}\n{shown}"
    assert _run(code, tmp_path) == "[(7, 2), (7, 2)]"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("outside", "does not run without nasmod: NameError: name 'WaveNetwork' is not defined"),
        ("cheating", "does not run without nasmod: ImportError: an exported model must not need nasmod"),
        pytest.param("random", "differs from the trained network by", marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_proved_leaves_nothing_behind(
    kind: str, message: str, tmp_path: Path, users_kinds: None
) -> None:
    dataset = table()
    network = network_for(dataset, [Node("dense", (0,)), Node(kind, (0, 1))])
    with pytest.raises(ExportError, match=message) as raised:
        export(tmp_path / "out", network.plan, save_weights(network), dataset, recipe={})
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    dataset = table()
    network = network_for(dataset, [])
    (tmp_path / "mine.txt").write_text("keep")
    for directory in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ExportError, match="must be new or empty"):
            export(directory, network.plan, save_weights(network), dataset, recipe={})
    with pytest.raises(ExportError, match="Cannot write to"):
        export(tmp_path / "mine.txt" / "out", network.plan, save_weights(network), dataset, recipe={})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_the_packages_onnx_is_refused_before_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"ONNX needs onnx, onnxscript and onnxruntime: pip install 'nasmod\[onnx\]'"):
        exporting.check_free(tmp_path / "new", onnx=True)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    dataset = table()
    network, other = network_for(dataset, []), network_for(dataset, [Node("dense", (0,))])
    for weights in (save_weights(other), b"nothing"):
        with pytest.raises(ExportError, match="stored weights cannot be exported"):
            export(tmp_path / "out", network.plan, weights, dataset, recipe={})
    assert list(tmp_path.iterdir()) == []


def test_weights_that_do_not_reach_their_stored_accuracy_are_refused(tmp_path: Path) -> None:
    dataset = table()
    network = network_for(dataset, [])
    with pytest.raises(ExportError, match=r"reach a test accuracy of 0\.\d+, the study says 2\.0000"):
        export(tmp_path / "out", network.plan, save_weights(network), dataset, recipe={}, expected=2.0)


def _topology(network: Network) -> Topology:
    return Topology(tuple(step.node for step in network.plan.steps))


def _python_snippets(text: str) -> list[str]:
    return [part.partition("```")[0] for part in text.split("```python\n")[1:]]


def _run(code: str, directory: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
