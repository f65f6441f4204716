"""The source of an exported model: it reads as if written by hand, and names what the trained network names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from nasmod.export import model_source
from nasmod.modules import Parameters
from nasmod.networks import Network, build, plan
from nasmod.topology import Node, Topology
from tests.strategies import shapes, wirings

torch.set_num_threads(1)
X = Node("input", (), {"name": "x"})


def network_of(nodes: list[Node], inputs: dict[str, tuple[int, ...]] | None = None) -> Network:
    torch.manual_seed(0)
    outputs = {str(node.params["name"]): (3,) for node in nodes if node.kind == "output"}
    return build(plan(Topology(tuple(nodes)), inputs or {"x": (1, 8, 8)}, outputs)).eval()


def conv_network() -> Network:
    nodes = [
        X,
        Node("conv", (0,), {"channels": 8, "depth": 2}),
        Node("pool", (1,)),
        Node("conv", (0, 2), {"channels": 8, "kernel": 5, "merge": "sum"}),
        Node("attention", (1, 2), {"heads": 2, "head_width": 4, "merge": "gated"}),
        Node("dense", (0, 3), {"width": 16, "merge": "sum", "activation": "gelu"}),
        Node("output", (3, 4, 5), {"name": "y"}),
    ]
    return network_of(nodes)


def executed(network: Network) -> Any:
    """The module that the source gives, loaded with the network's weights."""
    source = model_source(network.plan, "A test.")
    names: dict[str, Any] = {"__name__": "exported"}
    exec(compile(source, "model.py", "exec"), names)
    model = names["Model"]()
    model.load_state_dict(network.state_dict())
    return model.eval()


def test_it_computes_what_the_network_computes() -> None:
    network = conv_network()
    x = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(executed(network)(x), network({"x": x})["y"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_it_follows_the_type_of_its_weights(dtype: torch.dtype) -> None:
    network = conv_network()
    x = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    with torch.no_grad():
        found = executed(network).to(dtype)(x)
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), network({"x": x})["y"], atol=0.1, rtol=0.1)


@settings(max_examples=40)
@given(topology=wirings(("a", "b"), ("y", "z")), sizes=st.tuples(shapes, shapes))
def test_every_wiring_has_a_source_that_computes_the_same(topology: Topology, sizes: tuple) -> None:
    network = build(plan(topology, {"a": sizes[0], "b": sizes[1]}, {"y": (3,), "z": (2,)})).eval()
    inputs = {name: torch.randn(3, *shape) for name, shape in network.plan.inputs.items()}
    with torch.no_grad():
        for found, expected in zip(executed(network)(*inputs.values()), network(inputs).values(), strict=True):
            torch.testing.assert_close(found, expected)


def test_several_inputs_are_positional_and_several_outputs_a_tuple() -> None:
    nodes = [
        Node("input", (), {"name": "image"}),
        Node("input", (), {"name": "a table"}),
        Node("dense", (0, 1), {"width": 5}),
        Node("attention", (0, 2), {"heads": 1, "head_width": 3}),
        Node("output", (2, 3), {"name": "class"}),
        Node("output", (3,), {"name": "torch"}),
    ]
    network = network_of(nodes, {"a table": (4,), "image": (2, 3, 3)})
    table, image = torch.randn(5, 4), torch.randn(5, 2, 3, 3)
    with torch.no_grad():
        first, second = executed(network)(table, image)
        expected = network({"image": image, "a table": table})
    torch.testing.assert_close(first, expected["class"])
    torch.testing.assert_close(second, expected["torch"])


def test_it_reads_as_if_written_by_hand() -> None:
    nodes = [
        X,
        Node("conv", (0,), {"channels": 16, "depth": 2, "kernel": 5}),
        Node("pool", (1,)),
        Node("dense", (1, 2), {"width": 32}),
        Node("output", (3,), {"name": "y"}),
    ]
    source = model_source(network_of(nodes).plan, "A test.")
    assert source.startswith('"""A test."""\n\nfrom __future__ import annotations\n\nimport torch\n')
    assert "import math" not in source  # no class here needs it
    assert source.partition("class Model(nn.Module):\n")[2].partition("\n\n\ndef load")[0] == (
        '    """Reads raw values x (B, 1, 8, 8); gives y (B, 3)."""\n'
        "\n"
        "    def __init__(self) -> None:\n"
        "        super().__init__()\n"
        '        self.register_buffer("x_mean", torch.zeros(1, 1, 1))\n'
        '        self.register_buffer("x_std", torch.ones(1, 1, 1))\n'
        "        self.conv_1 = Conv(1, 16, depth=2, kernel=5)\n"
        "        self.pool_1 = Pool()\n"
        "        self.dense_1 = Dense(1280, 32)\n"
        "        self.y_head = nn.Linear(32, 3)\n"
        "\n"
        "    def forward(self, x: torch.Tensor) -> torch.Tensor:\n"
        "        x = (x.to(self.x_mean.dtype) - self.x_mean) / self.x_std  # (B, 1, 8, 8)\n"
        "        conv_1 = self.conv_1(x)  # (B, 16, 8, 8)\n"
        "        pool_1 = self.pool_1(conv_1)  # (B, 16, 4, 4)\n"
        "        dense_1 = self.dense_1(torch.cat([conv_1.flatten(1), pool_1.flatten(1)], dim=1))  # (B, 32)\n"
        "        y = self.y_head(dense_1)  # (B, 3)\n"
        "        return y"
    )


def many_sources(merge: str) -> Network:
    towers = [Node("conv", (0,), {"channels": 4 + index, "stride": 1 + index % 2}) for index in range(7)]
    ends = tuple(range(1, 8))
    return network_of(
        [X, *towers, Node("conv", ends, {"merge": merge}), Node("output", (*ends, 8), {"name": "y", "merge": merge})]
    )


@pytest.mark.skipif(shutil.which("ruff", path=str(Path(sys.executable).parent)) is None, reason="ruff is not installed")
@pytest.mark.parametrize("merge", ["sum", "concat", "gated"])
def test_ruff_would_leave_long_lines_as_they_are(merge: str, tmp_path: Path) -> None:
    source = model_source(many_sources(merge).plan, "A test.")
    model = tmp_path / "model.py"  # the copied classes were formatted where they stand, deeper indented
    model.write_text("from torch import nn\nimport torch\n\n\n" + source[source.index("class Model(") :])
    ruff = str(Path(sys.executable).with_name("ruff"))
    done = subprocess.run(
        [ruff, "format", "--isolated", "--line-length", "120", "--diff", str(model)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("merge", ["sum", "concat", "gated"])
def test_long_lines_compute_the_same(merge: str) -> None:
    network = many_sources(merge)
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(executed(network)(x), network({"x": x})["y"])


def test_it_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    network = conv_network()
    source = model_source(network.plan, "A test.")
    assert "nasmod" not in source
    (tmp_path / "model.py").write_text(source)
    save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "w.safetensors")
    code = (
        "import torch\nfrom model import load\nmodel = load('w.safetensors')\nassert not model.training\n"
        "print(tuple(model(torch.zeros(2, 1, 8, 8)).shape))\nimport sys; assert 'nasmod' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "(2, 3)", done.stderr


class TwinParameters(Parameters):
    """No parameters."""


class Twin:
    """A user's kind whose class is named like a built-in one and like the model itself."""

    Parameters = TwinParameters
    accepts = (1,)

    def output_shape(self, shape: tuple[int, ...], params: TwinParameters) -> tuple[int, ...]:
        return shape

    def arguments(self, shape: tuple[int, ...], params: TwinParameters) -> dict[str, Any]:
        return {"size": shape[0], "label": 'a "twin"'}

    def network(self) -> type[torch.nn.Module]:
        from torch import nn

        class Model(nn.Module):
            def __init__(self, size: int, label: str = "none") -> None:
                super().__init__()
                self.label = label
                self.scale = nn.Parameter(torch.full((size,), 3.0))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                assert isinstance(self, Model)
                return x * self.scale

        return Model


def test_classes_of_one_name_are_told_apart(register: Callable[..., None]) -> None:
    register("kind", "twin", Twin, TwinParameters)
    network = network_of([X, Node("twin", (0,)), Node("output", (1,), {"name": "y"})])
    model = executed(network)
    assert type(model.twin_1).__name__ == "Model_"
    assert model.twin_1.label == 'a "twin"'
    with torch.no_grad():
        x = torch.randn(2, 1, 8, 8)
        torch.testing.assert_close(model(x), network({"x": x})["y"])
