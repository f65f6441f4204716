"""NNI beside us: its tuners as strategies, its model spaces as studies, its search spaces to and from ours."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nasmod
from nasmod import registry
from nasmod.errors import PluginError, SpaceError, StudyError
from nasmod.modules import build, check_params, kind
from nasmod.modules.nni import import_nni, register_model_space, space_table
from nasmod.networks import build as build_network
from nasmod.networks import count_flops, plan
from nasmod.search import strategies
from nasmod.search.nni import model_space, parameters, search_space, settings_table
from nasmod.space import Space, SpaceFile
from nasmod.study import read
from nasmod.testing import StrategySuite
from nasmod.testing.strategies import shipped
from nasmod.topology import Node, Topology

if not importlib.util.find_spec("nni"):
    pytest.skip("nasmod[nni] is not installed", allow_module_level=True)
nni = import_nni()
from nni.nas.nn.pytorch import (  # noqa: E402  # after `import_nni`, which silences it
    Cell,
    InputChoice,
    LayerChoice,
    ModelSpace,
    MutableConv2d,
    MutableLinear,
    Repeat,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # NNI is of 2023 and warns of much
X, Y = Node("input", (), {"name": "x"}), {"name": "y"}

FEW = {"nni.tpe": {"initial": 6}, "nni.evolution": {"population": 6}, "nni.anneal": {"initial": 6}}
FEW["nni.regularized_evolution"] = {"population": 6, "sample": 3}
for name in [name for name in registry.names("strategy") if name.startswith("nni.")]:
    if name != "nni.anneal" or importlib.util.find_spec("hyperopt"):
        class_name = f"Test{name.title().replace('.', '').replace('_', '')}"
        globals()[class_name] = type(class_name, (StrategySuite,), {"name": name, "chosen": FEW.get(name, {})})


class Small(ModelSpace):
    """Two convolutions, some repeated ones, and which of them are read."""

    def __init__(self) -> None:
        super().__init__()
        channels = nni.choice("channels", [4, 8])
        self.first = MutableConv2d(1, channels, nni.choice("kernel first", [(3, 3), (5, 5)]), padding=2)
        others = {"wide": MutableConv2d(channels, channels, 5, padding=2), "none": nn.Identity()}
        self.second = LayerChoice({"narrow": MutableConv2d(channels, channels, 3, padding=1), **others}, label="second")
        self.more = Repeat(lambda index: MutableConv2d(channels, channels, 1), (1, 3), label="depth")
        self.read = InputChoice(n_candidates=3, n_chosen=2, reduction="sum", label="read")
        self.head = MutableLinear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.first(x))
        second = torch.relu(self.second(first))
        return self.head(self.read([first, second, self.more(second)]).mean((2, 3)))


class Profiled(ModelSpace):
    """What NNI's profiler can count."""

    def __init__(self) -> None:
        super().__init__()
        channels = nni.choice("channels", [4, 8])
        self.first = MutableConv2d(1, channels, 3, padding=1)
        wide, narrow = (MutableConv2d(channels, channels, size, padding=size // 2) for size in (5, 3))
        self.second = LayerChoice([wide, narrow], label="second")
        self.more = Repeat(lambda index: MutableConv2d(channels, channels, 1), (1, 3), label="depth")
        self.head = MutableLinear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.more(self.second(self.first(x))).mean((2, 3)))


class Cells(ModelSpace):
    """A cell as DARTS has it."""

    def __init__(self) -> None:
        super().__init__()
        operations = {"conv": lambda *given: nn.Conv2d(4, 4, 3, padding=1), "skip": lambda *given: nn.Identity()}
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.cell = Cell(operations, num_nodes=2, num_ops_per_node=2, num_predecessors=1, label="cell")
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.cell([self.stem(x)]).mean((2, 3)))


@pytest.fixture
def small(register: Callable[..., None]) -> str:
    register_model_space("small-nni", Small)
    return "small-nni"


def topology(name: str, **params: Any) -> Topology:
    known = check_params(name, params).model_dump()
    return Topology((X, Node(name, (0,), known), Node("output", (1,), Y)))


def test_the_choices_of_a_model_space_are_the_space(small: str):
    table = space_table(small)
    assert table["kinds"][small] == {
        "channels": [4, 8],
        "kernel_first": ["(3, 3)", "(5, 5)"],
        "second": ["narrow", "wide", "none"],
        "depth": [1, 2, 3],
        "read": ["0 and 1", "0 and 2", "1 and 2"],
    }
    space = Space.of(SpaceFile.from_table(table), {"x": (1, 8, 8)}, {"y": (10,)})
    found = space.topologies(1000)
    assert found is not None
    assert len(found) == 2 * 2 * 3 * 3 * 3


def test_what_is_proposed_is_what_nni_freezes(small: str):
    """The same network with the same weights, no layer of ours around it."""
    params = {"channels": 8, "kernel_first": "(5, 5)", "second": "none", "depth": 2, "read": "0 and 2"}
    sample = {"channels": 8, "kernel first": (5, 5), "second": "none", "depth": 2, "read": [0, 2]}
    assert kind(small).sample(params) == sample
    assert kind(small).note(check_params(small, params)) == f"Small().freeze({sample!r})"
    torch.manual_seed(0)
    ours = build(small, (1, 8, 8), params).eval()
    torch.manual_seed(0)
    theirs = Small().freeze(sample).eval()
    x = torch.randn(3, 1, 8, 8)
    assert torch.equal(ours(x), theirs(x))
    found = plan(topology(small, **params), {"x": (1, 8, 8)}, {"y": (10,)})
    assert build_network(found)({"x": x})["y"].shape == (3, 10)
    assert [name for name, _ in build_network(found).named_children()] == [found.steps[1].name]


def test_an_output_of_another_size_gets_a_layer(small: str):
    found = plan(topology(small), {"x": (1, 8, 8)}, {"y": (3,)})
    assert found.steps[-1].has_head
    assert build_network(found)({"x": torch.zeros(2, 1, 8, 8)})["y"].shape == (2, 3)


def test_our_flops_are_those_of_nnis_profiler(register: Callable[..., None]):
    """It counts a multiply-add once; of several inputs chosen it counts nothing."""
    from nni.nas.profiler.pytorch.flops import FlopsParamsProfiler

    register_model_space("profiled", Profiled)
    space = Space.of(SpaceFile.from_table(space_table("profiled")), {"x": (1, 8, 8)}, {"y": (10,)})
    profiler = FlopsParamsProfiler(Profiled(), torch.zeros(1, 1, 8, 8), count_bias=False)
    for seed in range(8):
        found, _ = space.random(random.Random(seed))
        (node,) = [node for node in found.nodes if node.is_module]
        counted = profiler.profile(kind("profiled").sample(node.params))
        assert count_flops(plan(found, space.inputs, space.outputs)) == 2 * counted.flops


def test_a_cell_is_a_space_too(register: Callable[..., None]):
    register_model_space("cells", Cells)
    space = Space.of(SpaceFile.from_table(space_table("cells")), {"x": (1, 8, 8)}, {"y": (10,)})
    for seed in range(3):
        found, _ = space.random(random.Random(seed))
        network = build_network(plan(found, space.inputs, space.outputs))
        assert network({"x": torch.zeros(2, 1, 8, 8)})["y"].shape == (2, 10)


class Empty(ModelSpace):
    """Nothing to choose."""


class Raising(ModelSpace):
    """It cannot be made."""

    def __init__(self) -> None:
        raise RuntimeError("no weights")


def of(*mutables: Any) -> Callable[[], Any]:
    """A model space of these mutables."""

    def make() -> Any:
        space = Empty()
        for mutable in mutables:
            space.add_mutable(mutable)
        return space

    return make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (Empty, "'odd' has no choices"),
        (Raising, "'odd' cannot be made: RuntimeError: no weights"),
        (
            of(nni.mutable.Categorical([1, 2], label="a b"), nni.mutable.Categorical([1, 2], label="a-b")),
            "parameter 'a_b'",
        ),
        (of(nni.mutable.Numerical(mu=0, sigma=1, label="wild")), "'wild' of the model space 'odd' cannot be searched"),
        (of(nni.mutable.CategoricalMultiple(range(20), n_chosen=10, label="many")), "184,756 subsets; 1,000 can"),
        (of(nni.mutable.Categorical([1, "1"], label="same")), "options that read alike"),
    ],
)
def test_a_choice_that_cannot_be_a_parameter_is_refused_in_one_line(
    register: Callable[..., None], make: Callable[[], Any], words: str
):
    with pytest.raises(PluginError, match=words):
        register_model_space("odd", make)
    assert "odd" not in registry.names("kind")


def test_a_kind_that_is_no_model_space_has_no_table():
    with pytest.raises(PluginError, match="'dense' is no model space of NNI"):
        space_table("dense")


@pytest.mark.parametrize("name", sorted(registry.packaged("search_spaces")))
def test_a_space_is_a_search_space_and_a_model_space_of_nni(name: str):
    """Whatever NNI draws of either is a topology of the space."""
    from nni.algorithms.hpo.random_tuner import RandomTuner

    space = shipped(name)
    tuner = RandomTuner(0)
    tuner.update_search_space(json.loads(json.dumps(search_space(space))))
    for number in range(10):
        found, settings = space.decode(parameters(space, tuner.generate_parameters(number)))
        assert space.encode(found, settings)
    made = model_space(space, space.inputs, space.outputs)
    for _ in range(3):
        sample = {label: mutable.random() for label, mutable in made.simplify().items()}
        network = made.freeze(sample)
        outputs = network({name: torch.zeros(2, *shape) for name, shape in space.inputs.items()})
        assert {name: tuple(tensor.shape[1:]) for name, tensor in outputs.items()} == dict(space.outputs)


def test_nnis_search_space_of_training_settings_becomes_ours():
    found = settings_table(
        {
            "lr": {"_type": "loguniform", "_value": [1e-4, 0.1]},
            "batch_size": {"_type": "choice", "_value": [16, 32]},
            "label_smoothing": {"_type": "uniform", "_value": [0, 0.2]},
        },
        {"lr": "learning_rate"},
    )
    assert found == {
        "learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
        "batch_size": [16, 32],
        "label_smoothing": {"low": 0.0, "high": 0.2},
    }
    table = {"modules": {"max": 1}, "kinds": {"dense": {}}, "settings": found}
    space = Space.of(SpaceFile.from_table(table), {"x": (1, 8, 8)}, {"y": (10,)}, read("digits").training.model_dump())
    assert sorted(space.settings) == sorted(found)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"lr": {"_type": "uniform", "_value": [0, 1]}}, "No training setting 'lr'"),
        ({"learning_rate": {"_type": "normal", "_value": [0, 1]}}, "NNI's 'normal' has no bounds here"),
        ({"learning_rate": {"_type": "quniform", "_value": [0, 1, 0.1]}}, "steps through fractions"),
        ({"learning_rate": {"_type": "poisson", "_value": [0, 1]}}, "'poisson' is unknown"),
        ({"learning_rate": [0, 1]}, "'learning_rate' is no entry of an NNI search space"),
        ({"learning_rate": {"_type": "uniform", "_value": [0]}}, "is no entry"),
    ],
)
def test_what_cannot_be_read_of_nnis_search_space_is_told_in_one_line(given: dict[str, Any], words: str):
    with pytest.raises(SpaceError, match=words):
        settings_table(given)


def test_steps_of_whole_numbers_are_kept():
    assert settings_table({"batch_size": {"_type": "quniform", "_value": [16, 64, 16]}}) == {
        "batch_size": {"low": 16, "high": 64, "step": 16}
    }
    assert settings_table({"epochs": {"_type": "randint", "_value": [2, 9]}}) == {"epochs": {"low": 2, "high": 8}}


def test_nothing_of_nni_is_imported_unless_it_is_asked_for():
    code = (
        "import sys, nasmod.api, nasmod.search.nni, nasmod.search.strategies.nni; from nasmod import registry;"
        "registry.resolve('strategy', 'nni.tpe'); assert 'nni' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_strategy_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "nni", None)
    study = read("digits").model_copy(update={"strategy": {"name": "nni.random"}})
    with pytest.raises(PluginError, match=r"pip install 'nasmod\[nni\]'"):
        strategies.make(study, shipped("dense"), 0).propose([], 1)
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "nni.algorithms.hpo.hyperopt_tuner", None)
    study = read("digits").model_copy(update={"strategy": {"name": "nni.anneal"}})
    with pytest.raises(StudyError, match="needs hyperopt: pip install hyperopt"):
        strategies.make(study, shipped("dense"), 0).propose([], 1)


PLUGIN = """
import torch
from torch import nn

from nasmod.modules.nni import register_model_space
from nni.nas.nn.pytorch import LayerChoice, ModelSpace


class Tiny(ModelSpace):
    '''One convolution of two.'''

    def __init__(self):
        super().__init__()
        self.conv = LayerChoice([nn.Conv2d(1, 8, 3), nn.Conv2d(1, 8, 5)], label="conv")
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).amax((2, 3)))


register_model_space("tiny-nni", Tiny)
"""
STUDY = """
name = "nni"
plugins = ["my_space.py"]
trials = 4
finalists = 1
repeats = 1
[data]
name = "digits"
[training]
epochs = 4
[objective]
flops_budget = 1_000_000
[strategy]
name = "nni.tpe"
[stopping]
name = "halving"
rungs = [1]
results = 2
[space.modules]
max = 1
[space.kinds.tiny-nni]
conv = [0, 1]
[space.settings]
learning_rate = { low = 0.003, high = 0.03, log = true }
"""


@pytest.mark.slow
def test_a_model_space_is_searched_resumed_and_exported_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, register: Callable[..., None]
):
    (tmp_path / "my_space.py").write_text(PLUGIN)
    (tmp_path / "study.toml").write_text(STUDY)
    storage = tmp_path / "nni.db"
    study = nasmod.start(tmp_path / "study.toml", storage=storage, workers=2)
    study = nasmod.resume("nni", storage=storage, workers=1, trials=5)
    assert study.status().trained == 5
    assert all(record.proposal.flops for record in study.records())
    assert study.best.measures["accuracy"] > 0.5
    exported = study.export(tmp_path / "exported", onnx=True)
    assert "model.py" not in exported.files
    assert exported.difference < 1e-4
    readme = (tmp_path / "exported" / "README.md").read_text()
    assert "Tiny().freeze({'conv': " in readme
    assert "from model import load" not in readme
