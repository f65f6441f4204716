"""Measuring a network by the names of measures: cheap ones before training, the others after it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
import torch

from nasmod import registry
from nasmod.data import Dataset
from nasmod.errors import PluginError, UnknownNameError
from nasmod.measures import Direction, Evaluation, MeasureSettings, Value, measure_all, measured_names
from nasmod.measures.latency import LatencySettings
from nasmod.networks import Network, count_parameters, plan
from nasmod.study import read
from nasmod.topology import Node, Topology
from nasmod.training import TrainingSettings

ALL = {
    "accuracy": {},
    "cost": {},
    "latency": {"repeats": 3},
    "wiring": {},
    "modularity": {"examples": 64},
    "parallelism": {},
}


@pytest.fixture(scope="module")
def network(digits: Dataset, fixtures: ModuleType) -> Network:
    topology = fixtures.wired([("dense", {"width": 8})] * 3, [(0, 1)])
    return fixtures.trained(topology, digits, TrainingSettings(epochs=2), seed=0)


@pytest.fixture
def evaluation(network: Network, digits: Dataset) -> Evaluation:
    return Evaluation(plan=network.plan, dataset=digits, network=network)


def test_cheap_measures_need_no_network(digits: Dataset, fixtures: ModuleType) -> None:
    topology = fixtures.wired([("dense", {"width": 8})] * 3, [(0, 1)])
    found = plan(topology, digits.inputs, digits.output_shapes)
    state = torch.random.get_rng_state()
    values, errors, _ = measure_all(ALL, Evaluation(plan=found, dataset=digits), cheap=True)
    assert values == {
        "flops": 2 * (64 * 8 + 8 * 8 + 64 * 8 + 16 * 10),
        "parameters": (65 * 8) + (9 * 8) + (65 * 8) + 17 * 10,
        "modules": 3,
        "wiring_density": 1 / 3,
        "depth": 2,
    }
    assert errors == {}
    assert torch.equal(torch.random.get_rng_state(), state)  # measuring draws nothing


def test_the_other_measures_come_with_standard_errors(evaluation: Evaluation, network: Network) -> None:
    values, errors, _ = measure_all(ALL, evaluation, cheap=False)
    for name in ("accuracy", "loss", "skill", "modularity", "necessity", "independence", "latency", "latency_256"):
        assert name in values
        assert errors[name] >= 0
    assert "flops" not in values
    assert "test_accuracy" not in values
    assert values["latency_256"] > values["latency"] > 0
    assert count_parameters(network) == measure_all(ALL, evaluation, cheap=True)[0]["parameters"]
    json.dumps([values, errors], allow_nan=False)  # all of it can be stored


def test_the_test_split_is_looked_at_only_when_asked_for(network: Network, digits: Dataset) -> None:
    evaluation = Evaluation(plan=network.plan, dataset=digits, network=network, with_test=True)
    values, _, _ = measure_all({"accuracy": {}}, evaluation, cheap=False)
    assert {"accuracy", "test_accuracy", "test_loss", "test_skill"} <= set(values)
    with torch.no_grad():
        outputs = network.eval()({"x": torch.as_tensor(digits.test.inputs["x"])})["y"]
    right = (outputs.argmax(1).numpy() == digits.test.targets["y"]).mean()
    assert values["test_accuracy"] == pytest.approx(right)


def test_measuring_leaves_the_network_as_it_was(evaluation: Evaluation, network: Network) -> None:
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measure_all(ALL, evaluation, cheap=False)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_settings_may_be_models_or_plain_mappings(evaluation: Evaluation) -> None:
    for settings in ({"repeats": 1, "warm_up": 0}, LatencySettings(repeats=1, warm_up=0)):
        assert measure_all({"latency": settings}, evaluation, cheap=False)[0]["latency"] > 0


def test_an_unknown_measure_is_refused_with_the_nearest_one(evaluation: Evaluation) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'modularity'"):
        measure_all({"modularty": {}}, evaluation, cheap=False)


@pytest.fixture
def registered(register: Callable[..., None]) -> Callable[..., str]:
    """Register a class of these members as the measure 'odd'; it reports what it is given as ``reported``."""

    def made_of(reported: Value | None = None, **members: object) -> str:
        def call(self: object, evaluation: Evaluation) -> dict[str, Value | None]:
            return {"odd": reported}

        made = {"__init__": lambda self, settings: None, "__call__": call, **members}
        register("measure", "odd", type("Odd", (), made), MeasureSettings)
        return "odd"

    return made_of


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"cheap": True}, "needs a member 'directions'; the measure 'odd' has none"),
        ({"directions": {"odd": "maximize"}}, "needs a member 'cheap'; the measure 'odd' has none"),
        ({"cheap": "yes", "directions": {}}, "is True or False; the measure 'odd' has 'yes'"),
        ({"cheap": True, "directions": ["odd"]}, r"'maximize' or 'minimize'; the measure 'odd' has \['odd'\]"),
        ({"cheap": True, "directions": {"odd": "up"}}, r"the measure 'odd' has {'odd': 'up'}"),
        ({"cheap": True, "directions": {1: "maximize"}}, r"the measure 'odd' has {1: 'maximize'}"),
    ],
)
def test_a_measure_without_its_members_is_refused_in_one_line(
    registered: Callable[..., str], tmp_path: Path, members: dict[str, object], says: str
) -> None:
    name = registered(**members)
    file = tmp_path / "odd.toml"
    file.write_text(f'space = "tiny"\n[data]\nname = "digits"\n[objective]\nflops_budget = 100\n[measures.{name}]\n')
    with pytest.raises(PluginError, match=says) as refused:
        read(file)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("undefined", [math.nan, math.inf, -math.inf])
def test_a_standard_error_that_is_not_finite_counts_as_none(
    registered: Callable[..., str], evaluation: Evaluation, undefined: float
) -> None:
    name = registered(Value(undefined, undefined), cheap=False, directions={"odd": "maximize"})
    values, errors, _ = measure_all({name: {}}, evaluation, cheap=False)
    assert values == {"odd": pytest.approx(undefined, nan_ok=True)}
    assert errors == {}


class Again:
    """A user's measure that reports a name that is taken."""

    cheap: ClassVar[bool] = True
    directions: ClassVar[Mapping[str, Direction]] = {"flops": "minimize"}

    def __init__(self, settings: MeasureSettings) -> None: ...

    def __call__(self, evaluation: Evaluation) -> dict[str, Value]:
        return {"flops": Value(1.0)}


def test_two_measures_may_not_report_one_name(evaluation: Evaluation, register: Callable[..., None]) -> None:
    register("measure", "again", Again, MeasureSettings)
    with pytest.raises(PluginError, match="'again' reports 'flops'"):
        measure_all({"cost": {}, "again": {}}, evaluation, cheap=True)


def test_what_an_objective_may_use_is_known_by_name() -> None:
    known = measured_names(registry.names("measure"))
    assert known["flops"] == known["latency"] == "minimize"
    assert known["modularity"] == known["skill"] == known["accuracy"] == "maximize"


def test_wiring_counts_modules_alone() -> None:
    from nasmod.measures.wiring import depth, wiring_density

    x, y = Node("input", (), {"name": "x"}), Node("output", (1,), {"name": "y"})
    one = Topology((x, Node("dense", (0,)), y)).nodes
    assert wiring_density(one) == 0
    assert depth(one) == 1
