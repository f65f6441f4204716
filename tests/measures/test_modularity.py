"""Modularity where the right decomposition is known, what must hold of it, and the mathematics by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.truth.wirings import by_hand
from nasmod.data import Dataset, Factor, Factors, Split, assemble, find_factors, load_dataset
from nasmod.data.digit_pairs import DigitPairsSettings
from nasmod.measures import Evaluation
from nasmod.measures.modularity import FlowRecord, Modularity, ModularitySettings, alignment, flow_record, modularity
from nasmod.measures.trained import measure_network, train_and_measure
from nasmod.networks import Network, build, module_steps, plan
from nasmod.topology import Node, Topology
from nasmod.training import TrainingSettings

WRONG = ["early mixing", "ensemble of 2", "ensemble of 4", "ensemble of 8", "chain", "monolith", "giant with tiny"]
MEASURES = {"accuracy": {}, "modularity": {}}


@cache
def data(task: str, digits: int = 2, kind: str = "dense") -> Dataset:
    examples = 6_000
    settings = {"name": "digit_pairs", "digits": digits, "examples": examples}
    if task != "regression":
        return load_dataset({**settings, "task": task})
    classes = load_dataset({**settings, "task": "sum"})
    splits = [
        Split(split.inputs, {"y": split.targets["y"].astype(np.float64)})
        for split in (classes.train, classes.validation, classes.test)
    ]
    return assemble(DigitPairsSettings(), "regression", splits[0], validation=splits[1], test=splits[2])


@cache
def trained(task: str, name: str, digits: int = 2, kind: str = "dense", epochs: int = 8) -> Network:
    """A network of a wiring made by hand, to be looked at only."""
    dataset = data(task, digits, kind)
    params = {"dense": {}, "conv": {"depth": 2, "stride": 2}}[kind]
    topology = by_hand(dataset, name, flops={"dense": 2_500 * digits, "conv": 60_000}[kind], kind=kind, **params)
    settings = TrainingSettings(epochs=epochs, batch_size=64, learning_rate=6e-3)
    found = plan(topology, dataset.inputs, dataset.output_shapes)
    return train_and_measure(found, dataset, settings, {}, seed=0).network


def score(network: Network, dataset: Dataset, **settings: int) -> float:
    return measure_network(network, dataset, {"modularity": settings}, seed=0).values["modularity"]


def check_truth_leads(task: str, digits: int = 2, kind: str = "dense", epochs: int = 8) -> None:
    dataset = data(task, digits, kind)
    truth = score(trained(task, "true", digits, kind, epochs), dataset)
    assert truth >= 0.7
    for name in WRONG:
        assert score(trained(task, name, digits, kind, epochs), dataset) <= truth - 0.3, name


@pytest.mark.parametrize("task", ["xor", pytest.param("sum", marks=pytest.mark.slow)])
def test_the_true_decomposition_scores_above_every_other_wiring(task: str) -> None:
    check_truth_leads(task)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "digits", "kind", "epochs"),
    [
        ("both", 2, "dense", 10),
        ("pair", 2, "dense", 10),  # two outputs, each of which reads one input
        ("regression", 2, "dense", 10),
        ("sum", 3, "dense", 16),
        ("pair", 3, "dense", 10),
        ("sum", 2, "conv", 4),
        ("pair", 2, "conv", 4),
    ],
)
def test_it_leads_on_other_tasks_inputs_and_kinds(task: str, digits: int, kind: str, epochs: int) -> None:
    check_truth_leads(task, digits, kind, epochs)


@pytest.mark.parametrize("name", ["monolith", "chain"])
@pytest.mark.parametrize("task", ["xor", "sum"])
def test_one_module_and_a_chain_score_exactly_zero(task: str, name: str) -> None:
    assert score(trained(task, name), data(task)) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("task", "most"), [("xor", 0.1), ("sum", 0.1), ("both", 0.25), ("pair", 0.25)])
@pytest.mark.parametrize("name", ["ensemble of 2", "ensemble of 4", "ensemble of 8"])
def test_ensembles_score_little(task: str, name: str, most: float) -> None:
    assert score(trained(task, name), data(task)) <= most


def test_chance_level_scores_zero() -> None:
    dataset = data("xor")
    network = build(plan(by_hand(dataset, "true"), dataset.inputs, dataset.output_shapes))
    network.normalise(dataset.normalisation)
    assert score(network, dataset) == 0


def test_an_output_at_chance_level_counts_for_nothing() -> None:
    """Of two outputs only one knows anything: its one input is all that has an effect, and one factor is none."""
    dataset = data("pair")
    network = copy.deepcopy(trained("pair", "true"))
    head = network.get_submodule("y_b_head")
    with torch.no_grad():
        head.weight.copy_(head.weight[torch.randperm(10, generator=torch.Generator().manual_seed(1))].flip(0))
        head.weight.mul_(1e-3).add_(torch.randn(head.weight.shape, generator=torch.Generator().manual_seed(2)))
    outputs = network({name: torch.as_tensor(x[:500]) for name, x in dataset.validation.inputs.items()})
    assert (outputs["y_b"].argmax(1).numpy() == dataset.validation.targets["y_b"][:500]).mean() < 0.2
    assert score(network, dataset, examples=500) < 0.05


def replicas(task: str) -> Network:
    """The trained monolith four times, its head's weights shared out among the copies."""
    alone, dataset = trained(task, "monolith"), data(task)
    module = next(node for node in by_hand(dataset, "monolith").nodes if node.is_module)
    nodes = [Node("input", (), {"name": name}) for name in dataset.inputs]
    nodes += [Node("dense", (0, 1), dict(module.params))] * 4
    network = build(
        plan(Topology((*nodes, Node("output", (2, 3, 4, 5), {"name": "y"}))), dataset.inputs, dataset.output_shapes)
    )
    network.normalise(dataset.normalisation)
    for step in network.plan.steps:
        if step.node.is_module:
            network.get_submodule(step.name).load_state_dict(alone.get_submodule("dense_1").state_dict())
    head = alone.get_submodule("y_head")
    with torch.no_grad():
        network.get_submodule("y_head").weight.copy_(torch.cat([head.weight / 4] * 4, 1))
        network.get_submodule("y_head").bias.copy_(head.bias)
    return network


def test_replicas_score_zero() -> None:
    network = replicas("xor")
    inputs = {name: torch.as_tensor(x[:100]) for name, x in data("xor").validation.inputs.items()}
    assert torch.allclose(network(inputs)["y"], trained("xor", "monolith")(inputs)["y"], atol=1e-4)
    assert score(network, data("xor")) == pytest.approx(0, abs=1e-6)


def test_modules_that_cancel_each_other_gain_nothing() -> None:
    """Beside the monolith a pair for each input: what one tells the head, the other takes back."""
    network = replicas("xor")
    head = network.get_submodule("y_head")
    width = head.weight.shape[1] // 4
    generator = torch.Generator().manual_seed(0)
    told = 3 * torch.randn(head.weight.shape[0], width, generator=generator)
    with torch.no_grad():
        whole = head.weight[:, :width] * 4
        for step in ("dense_2", "dense_3"):
            layer = network.get_submodule(step).layers[0][0]
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(3)))
            layer.weight[:, 64:] = 0  # they read one input alone
        head.weight.copy_(torch.cat([whole, told, -told, torch.zeros_like(told)], 1))
    inputs = {name: torch.as_tensor(x[:100]) for name, x in data("xor").validation.inputs.items()}
    assert torch.allclose(network(inputs)["y"], trained("xor", "monolith")(inputs)["y"], atol=1e-2)
    assert score(network, data("xor")) < 0.01


def scale_the_head(network: Network) -> None:
    head = network.get_submodule("y_head")
    head.weight.mul_(10)
    head.bias.mul_(10)


def rescale_units(network: Network) -> None:
    """Every module's units times a factor, and what reads them divided by it: ReLU lets positive factors through."""
    for step in network.plan.steps:
        if not step.node.is_module:
            continue
        layer = network.get_submodule(step.name).layers[-1][0]
        factor = torch.exp(2 * torch.randn(len(layer.weight), generator=torch.Generator().manual_seed(4)))
        layer.weight.mul_(factor[:, None])
        layer.bias.mul_(factor)
        divide_what_reads(network, step.name, factor)


def permute_units(network: Network) -> None:
    layer = network.get_submodule("dense_1").layers[-1][0]
    order = torch.randperm(len(layer.weight), generator=torch.Generator().manual_seed(5))
    layer.weight.copy_(layer.weight[order].clone())
    layer.bias.copy_(layer.bias[order].clone())
    for weight, columns in reading(network, "dense_1"):
        weight[:, columns] = weight[:, columns][:, order].clone()


def divide_what_reads(network: Network, name: str, factor: torch.Tensor) -> None:
    for weight, columns in reading(network, name):
        weight[:, columns] /= factor


def reading(network: Network, name: str) -> list[tuple[torch.Tensor, slice]]:
    """The weights that read a module, and which of their columns do."""
    found = []
    for step in network.plan.steps:
        start = 0
        for source in step.sources:
            width = int(np.prod(network.plan.steps[source].shape))
            if network.plan.steps[source].name == name:
                own = f"{step.name}_head" if step.is_output else f"{step.name}.layers.0.0"
                found.append((network.get_submodule(own).weight, slice(start, start + width)))
            start += width
    return found


@pytest.mark.parametrize("change", [scale_the_head, rescale_units, permute_units])
@pytest.mark.parametrize("name", ["true", "true, each input split over two"])
def test_what_keeps_the_function_keeps_the_score(name: str, change: Callable[[Network], None]) -> None:
    dataset, network = data("xor"), trained("xor", name)
    changed = copy.deepcopy(network)
    with torch.no_grad():
        change(changed)
    inputs = {given: torch.as_tensor(x[:100]) for given, x in dataset.validation.inputs.items()}
    scale = 10 if change is scale_the_head else 1
    assert torch.allclose(changed(inputs)["y"], scale * network(inputs)["y"], rtol=1e-3, atol=1e-2)
    before, after = (measure_network(n, dataset, MEASURES, seed=0).values for n in (network, changed))
    assert after["modularity"] == pytest.approx(before["modularity"], abs=1e-4)


def test_it_is_the_same_twice_and_has_a_standard_error() -> None:
    network, dataset = trained("xor", "true, each input split over two"), data("xor")
    once, again = (measure_network(network, dataset, MEASURES, seed=3) for _ in range(2))
    assert once == again
    assert 0 < once.standard_errors["modularity"] < 0.1


def test_roles_say_which_module_does_what() -> None:
    network = trained("sum", "true")
    roles = measure_network(network, data("sum"), MEASURES, seed=0).roles
    read = {
        network.plan.steps[step.sources[0]].name: step.name for step in network.plan.steps if len(step.sources) == 1
    }
    for name, other in (("a", "b"), ("b", "a")):
        role = roles[read[name]]
        assert role[name].reads == pytest.approx(1, abs=0.1)
        assert role[name].carries == pytest.approx(1, abs=0.01)
        assert (role[other].reads, role[other].carries) == (0, 0)


# The mathematics.

flows = arrays(np.float64, st.tuples(st.integers(2, 5), st.integers(1, 5)), elements=st.floats(0, 1))


@given(flows)
def test_alignment_lies_between_zero_and_one_and_ignores_order(found: np.ndarray) -> None:
    counts = np.ones(len(found), bool)
    value = float(alignment(found, counts))
    assert 0 <= value <= 1 + 1e-12
    assert float(alignment(found[::-1, ::-1], counts)) == pytest.approx(value)


@given(flows)
def test_a_module_that_all_factors_flow_through_alike_adds_nothing(found: np.ndarray) -> None:
    counts = np.ones(len(found), bool)
    monolith = np.ones((len(found), 1))
    assert float(alignment(monolith, counts)) == 0
    assert float(alignment(np.concatenate([found, monolith], 1), counts)) == pytest.approx(
        float(alignment(found, counts))
    )


def test_a_module_of_its_own_for_each_factor_scores_one() -> None:
    assert float(alignment(np.eye(4), np.ones(4, bool))) == 1


def test_fewer_than_two_factors_with_an_effect_score_zero() -> None:
    effect = np.ones((2, 30))
    effect[1] = 1e-4
    record = FlowRecord(effect, effect[:, None], np.zeros((2, 1, 30)), np.ones((2, 1)))
    assert modularity(record, np.random.default_rng(0)).value == 0


# Families of factors, one at a time.


def one_input(task: str = "classification", columns: int = 2) -> Dataset:
    generator = np.random.default_rng(0)
    x = np.repeat(generator.normal(size=(900, 1)), 4, axis=1) + 0.1 * generator.normal(size=(900, 4))
    y = (x[:, 0] > 0).astype(np.int64) if task == "classification" else x[:, :columns]
    return assemble(DigitPairsSettings(), task, Split({"x": x}, {"y": y}))  # type: ignore[arg-type]


def test_without_any_factor_it_is_undefined() -> None:
    dataset = one_input()  # its features are one group, its classes two
    assert find_factors(dataset).family == "none"
    nodes = (Node("input", (), {"name": "x"}), Node("dense", (0,)), Node("output", (1,), {"name": "y"}))
    network = build(plan(Topology(nodes), dataset.inputs, dataset.output_shapes))
    assert Modularity(ModularitySettings())(Evaluation(network.plan, dataset, network)) == {}


def test_a_network_that_divides_the_classes_shows_it() -> None:
    """Each of four modules tells one class: the classes are the factors, and each flows through one module."""
    classes = np.random.default_rng(0).integers(0, 4, 900)
    dataset = assemble(DigitPairsSettings(), "classification", Split({"x": np.eye(4)[classes]}, {"y": classes}))
    dataset = dataset.with_factors(Factors("classes", tuple(Factor(f"y = {k}", {"x": None}, "y", k) for k in range(4))))
    nodes = (
        Node("input", (), {"name": "x"}),
        *[Node("dense", (0,), {"width": 4})] * 4,
        Node("output", (1, 2, 3, 4), {"name": "y"}),
    )
    network = build(plan(Topology(nodes), dataset.inputs, dataset.output_shapes))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for k in range(4):
            network.get_submodule(f"dense_{k + 1}").layers[0][0].weight[k, k] = 1
        network.get_submodule("y_head").weight.copy_(torch.cat([torch.eye(4)] * 4, 1))
    divided = score(network, dataset)
    monolith = build(
        plan(Topology((nodes[0], nodes[1], Node("output", (1,), {"name": "y"}))), dataset.inputs, dataset.output_shapes)
    )
    with torch.no_grad():
        for parameter in monolith.parameters():
            parameter.zero_()
        monolith.get_submodule("dense_1").layers[0][0].weight.copy_(torch.eye(4))
        monolith.get_submodule("y_head").weight.copy_(torch.eye(4))
    assert divided > 0.15
    assert score(monolith, dataset) == 0


def test_an_input_that_the_network_does_not_read_is_no_factor_of_it() -> None:
    dataset = data("xor")
    nodes = (Node("input", (), {"name": "a"}), Node("dense", (0,)), Node("output", (1,), {"name": "y"}))
    network = build(plan(Topology(nodes), dataset.inputs, dataset.output_shapes))
    assert score(network, dataset) == 0


@pytest.mark.parametrize(("parts", "examples"), [(2, 100), (4, 100), (8, 50)])
def test_of_many_parts_of_the_inputs_fewer_examples_are_looked_at(parts: int, examples: int) -> None:
    network, size = trained("xor", "true"), 64 // parts
    factors = [Factor(str(part), {"a": tuple(range(part * size, (part + 1) * size))}) for part in range(parts)]
    evaluation = Evaluation(network.plan, data("xor"), network)
    assert flow_record(evaluation, module_steps(network), factors, 100).effect.shape == (parts, examples)


def test_declared_factors_come_before_inputs() -> None:
    dataset = replace(data("xor"), stored_factors=None)
    halves = Factors(
        "declared", (Factor("top", {"a": tuple(range(32))}), Factor("rest", {"a": tuple(range(32, 64)), "b": None}))
    )
    roles = measure_network(trained("xor", "true"), dataset.with_factors(halves), MEASURES, seed=0).roles
    assert set(next(iter(roles.values()))) == {"top", "rest"}
