"""The law of the encoding, on every shipped space and every wiring; random and mutated proposals stay in the space, and
no input and no output of it is preferred to another."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections import Counter
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmod import registry
from nasmod.errors import SpaceError
from nasmod.space import Space, SpaceFile
from nasmod.space.distributions import distribution
from nasmod.space.file import Range
from nasmod.space.mutation import EDITS
from nasmod.topology import Node, Topology
from tests.strategies import space_parameters, space_topologies

FLAT = {"x": (64,)}, {"y": (10,)}
SHIPPED = {name: Space.load(path, *FLAT) for name, path in registry.packaged("search_spaces").items()}


def blueprint() -> Space:
    """Three inputs, two outputs, two places that are alike, one that may not be empty behind one that may."""
    places = {
        "a": {"reads": ["x0"], "kinds": ["dense", "none"]},
        "behind a": {"reads": ["a"]},
        "b": {"reads": ["x1", "x2"], "kinds": ["none", "dense"]},
        "c": {"reads": ["x1", "x2"], "kinds": ["none", "dense"]},
        "d": {"reads": ["behind a", "b", "c", "x0"], "kinds": ["dense", "skip"]},
    }
    file = SpaceFile.from_table(
        {
            "kinds": {"dense": {"width": {"low": 8, "high": 64, "log": True}}, "skip": {}},
            "wiring": {
                "edges": "fixed",
                "merge": ["sum", "concat"],
                "places": places,
                "outputs": {"y0": ["behind a", "b", "c"], "y1": ["d"]},
            },
            "settings": {"batch_size": [32, 64]},
        }
    )
    return Space.of(file, {f"x{i}": (8,) for i in range(3)}, {f"y{i}": (3,) for i in range(2)})


def small_space(inputs: int = 1, outputs: int = 1, least: int = 1, **wiring: Any) -> Space:
    """Two kinds in four slots, every sort of parameter, several inputs and outputs."""
    file = SpaceFile.from_table(
        {
            "modules": {"min": least, "max": 4},
            "kinds": {"dense": {"width": {"low": 8, "high": 64, "log": True}, "depth": [1, 2]}, "pool": {}},
            "wiring": wiring,
            "settings": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "batch_size": [32, 64]},
        }
    )
    return Space(file, {f"x{i}": (8,) for i in range(inputs)}, {f"y{i}": (3,) for i in range(outputs)})


SPACES = {
    **SHIPPED,
    "merged": small_space(merge=["sum", "concat", "gated"]),
    "several ends": small_space(2, 2, merge=["sum", "gated"]),
    "three inputs": small_space(3, 2),
    "merging outputs": small_space(1, 2, output_merge="gated"),
    "chain": small_space(edges="chain", least=2),
    "chain of several ends": small_space(3, 2, edges="chain", merge=["sum", "gated"]),
    "parallel": small_space(edges="parallel", least=3),
    "parallel of several ends": small_space(2, 3, edges="parallel"),
    "all slots": small_space(least=4),
    "fixed": blueprint(),
}
each_space = pytest.mark.parametrize("space", [pytest.param(space, id=name) for name, space in SPACES.items()])


class Fixed:
    """A trial that suggests what it was given and remembers what it was asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.values, self.asked = values, []

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        assert self._ask(name) in choices
        return self.values[name]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        assert self._ask(name) in range(low, high + 1, step)
        return self.values[name]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        assert low <= self._ask(name) <= high
        return self.values[name]

    def _ask(self, name: str) -> Any:
        self.asked.append(name)
        return self.values[name]


@each_space
@settings(max_examples=25)  # on each space
@given(data=st.data())
def test_what_is_encoded_is_proposed_again(space, data):
    topology, settings = data.draw(space_topologies(space))
    parameters = space.encode(topology, settings)
    again, again_settings = space.propose(Fixed(parameters))
    assert (again.key, again_settings) == (topology.key, settings)
    assert space.encode(again, settings) == parameters


@each_space
@settings(max_examples=25)  # on each space
@given(data=st.data())
def test_encoding_near_given_parameters_obeys_the_law_and_changes_no_more(space, data):
    topology, settings = data.draw(space_topologies(space))
    near = space.encode(*data.draw(space_topologies(space)))
    parameters = space.encode(topology, settings, near)
    again, again_settings = space.propose(optuna.trial.FixedTrial(parameters))
    assert (again.key, again_settings) == (topology.key, settings)
    canonical = space.encode(topology, settings)
    assert differences(parameters, near) <= differences(canonical, near)
    assert space.encode(topology, settings, near=parameters) == parameters


def differences(first: dict[str, Any], second: dict[str, Any]) -> int:
    return sum(first[name] != second[name] for name in first)


@each_space
@settings(max_examples=25)  # on each space
@given(data=st.data())
def test_whatever_a_sampler_draws_is_repaired_into_the_space(space, data):
    topology, settings = space.propose(Fixed(data.draw(space_parameters(space))))
    assert space.contains(topology)
    assert topology.live() is topology
    assert space.min_modules <= topology.module_count <= space.max_modules
    assert space.decode(space.encode(topology, settings))[0].key == topology.key


@each_space
@settings(max_examples=25)  # on each space
@given(data=st.data())
def test_every_proposal_reads_every_input(space, data):
    drawn, _ = data.draw(space_topologies(space))
    decoded, _ = space.decode(data.draw(space_parameters(space)))
    for topology in (drawn, decoded):
        assert frozenset().union(*reads_of(topology)) == space.inputs.keys()


def reads_of(topology: Topology) -> list[frozenset[str]]:
    """The inputs that each live module reads."""
    nodes = topology.live().nodes
    return [
        frozenset(nodes[source].params["name"] for source in node.inputs if nodes[source].kind == "input")
        for node in nodes
        if node.is_module
    ]


@pytest.mark.parametrize(
    "space",
    [pytest.param(space, id=name) for name, space in SPACES.items() if space.wiring.edges != "fixed"],
)
@settings(max_examples=25)  # on each space
@given(data=st.data())
def test_the_repair_treats_inputs_alike_and_outputs_alike(space, data):
    new_name = dict(zip(space.inputs, data.draw(st.permutations(list(space.inputs))), strict=True))
    new_name |= dict(zip(space.outputs, data.draw(st.permutations(list(space.outputs))), strict=True))
    parameters = data.draw(space_parameters(space))
    renamed = dict(parameters)
    for name, edge in space.wiring.parameters.items():
        source, reader = (new_name.get(end, end) for end in edge)
        renamed[f"edge_{source}_{reader}"] = parameters[name]
    nodes = [
        Node(node.kind, node.inputs, {**node.params, "name": new_name[node.params["name"]]})
        if "name" in node.params
        else node
        for node in space.decode(parameters)[0].nodes
    ]
    assert space.decode(renamed)[0].key == Topology(tuple(nodes)).key


@pytest.mark.parametrize("edges", ["free", "parallel"])
def test_draws_treat_inputs_alike_and_outputs_alike(edges):
    space, generator = small_space(2, 2, edges=edges), random.Random(0)
    inputs, outputs = Counter[Any](), Counter[Any]()
    for _ in range(4000):
        topology, _ = space.random(generator)
        reads = sorted(reads_of(topology), key=sorted)
        inputs[tuple(reads)] += 1
        fed = [len(node.inputs) for node in topology.canonical().nodes if node.kind == "output"]
        outputs[topology.module_count, *fed] += 1
    for reads, count in inputs.items():
        swapped = [frozenset({"x0": "x1", "x1": "x0"}[name] for name in read) for read in reads]
        assert_alike(count, inputs[tuple(sorted(swapped, key=sorted))])
    for (modules, first, second), count in outputs.items():
        assert_alike(count, outputs[modules, second, first])


def assert_alike(first: int, second: int) -> None:
    """Counts of two events of equal probability: they differ by no more than five standard deviations."""
    assert abs(first - second) <= 5 * (first + second) ** 0.5


@pytest.mark.parametrize(("edges", "inputs"), [("free", 2), ("free", 3), ("parallel", 2), ("parallel", 3)])
def test_inputs_are_often_read_apart_and_often_together(edges, inputs):
    space, generator = small_space(inputs, edges=edges), random.Random(0)
    drawn = [reads_of(space.random(generator)[0]) for _ in range(1000)]
    assert sum(all(len(read) < 2 for read in reads) for reads in drawn) > 50
    assert sum(len(set(reads)) > 1 for reads in drawn) > 400
    assert sum(any(len(read) > 1 for read in reads) for reads in drawn) > 400
    assert sum(all(len(read) == inputs for read in reads) for reads in drawn) > 100


@each_space
def test_parameters_are_the_same_whatever_is_proposed(space):
    generator = random.Random(0)
    names = list(space.parameters())
    for _ in range(20):
        parameters = space.encode(*space.random(generator))
        assert sorted(parameters) == sorted(names)
        assert all(space.parameters()[name].contains(value) for name, value in parameters.items())
        trial = Fixed(parameters)
        space.propose(trial)
        assert trial.asked == names


@each_space
def test_a_mutation_is_another_proposal_of_the_space(space):
    generator = random.Random(1)
    topology, settings = space.random(generator)
    for _ in range(60):
        child, child_settings = space.mutate(topology, settings, generator)
        assert space.contains(child)
        assert (child.key, child_settings) != (topology.key, settings)
        assert child.live().module_count == child.module_count
        topology, settings = child, child_settings


def test_every_edit_that_applies_is_drawn(monkeypatch):
    drawn: set[str] = set()
    for name, edit in EDITS.items():

        def told(*given, name=name, edit=edit):
            found = edit(*given)
            drawn.add(name)
            return found

        monkeypatch.setitem(EDITS, name, told)
    generator = random.Random(0)
    for space, count in ((SHIPPED["conv"], 300), (SHIPPED["cell"], 30)):
        topology, settings = space.random(generator)
        for _ in range(count):
            topology, settings = space.mutate(topology, settings, generator)
    assert drawn == EDITS.keys()


def test_kinds_without_parameters_are_drawn_less_often():
    generator = random.Random(0)
    drawn = [SHIPPED["conv"].random(generator)[0] for _ in range(300)]
    kinds = Counter(node.kind for topology in drawn for node in topology.nodes if node.is_module)
    assert 0.1 < kinds["pool"] / kinds.total() < 0.3


def test_a_size_moves_to_a_neighbouring_value_more_often_than_anywhere():
    space, generator = SHIPPED["dense"], random.Random(0)
    width = space.kinds["dense"].searched["width"]
    assert {width.near(32, generator) for _ in range(20)} == {16, 64}
    assert {width.near(128, generator) for _ in range(20)} == {64}
    ranges = [
        (distribution(Range(low=1, high=9, step=4)), 5, {1, 9}),
        (distribution(Range(low=8, high=512, log=True)), 10, {8, 9, 11, 12}),
        (distribution(("a", "b")), "a", {"a", "b"}),
    ]
    for found, value, nearby in ranges:
        assert {found.near(value, generator) for _ in range(50)} == nearby
    rate = distribution(Range(low=1e-4, high=1e-2, log=True))
    near = [rate.near(1e-3, generator) for _ in range(50)]
    assert 1e-3 / 2.6 < min(near) < 1e-3 < max(near) < 2.6e-3


@each_space
def test_random_and_mutated_proposals_depend_on_the_seed_alone(space):
    def walk() -> list[tuple[str, dict[str, Any]]]:
        generator = random.Random(7)
        proposal = space.random(generator)
        steps = [proposal]
        for _ in range(5):
            steps.append(proposal := space.mutate(*proposal, generator))
        return [(topology.to_json(), settings) for topology, settings in steps]

    assert walk() == walk()


def test_random_proposals_draw_the_number_of_modules_first():
    space, generator = SHIPPED["dense"], random.Random(0)
    counts = [space.random(generator)[0].module_count for _ in range(800)]
    assert all(60 <= counts.count(size) <= 140 for size in range(1, 9))


def test_an_optuna_study_can_sample_every_shipped_space():
    for space in SHIPPED.values():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
        trial = study.ask()
        topology, _ = space.propose(trial)
        assert list(trial.params) == list(space.parameters())
        assert space.contains(topology)


def test_few_parameters():
    assert {name: len(space.parameters()) for name, space in SHIPPED.items()} == {
        "cell": 12,
        "cells": 17,
        "dense": 76,
        "conv": 82,
        "small": 35,
        "tiny": 10,
    }


def test_tiny_holds_exactly_55_topologies():
    space = SHIPPED["tiny"]
    listed = {topology.key for topology in space.topologies(1000)}
    assert len(listed) == 55
    choices = [found.values() for found in space.parameters().values()]
    drawn = (
        space.decode(dict(zip(space.parameters(), values, strict=True)))[0] for values in itertools.product(*choices)
    )
    assert listed == {topology.key for topology in drawn}
    generator = random.Random(0)
    assert listed == {space.random(generator)[0].key for _ in range(5000)}
    topology, settings = space.random(generator)
    walked = set()
    for _ in range(2500):
        topology, settings = space.mutate(topology, settings, generator)
        walked.add(topology.key)
    assert walked == listed


def test_every_topology_of_several_inputs_is_drawn_and_reached():
    table = {"modules": {"max": 2}, "kinds": {"dense": {"width": 8}}}
    space = Space(SpaceFile.from_table(table), {"a": (8,), "b": (8,)}, {"y": (3,)})
    listed = {topology.key for topology in space.topologies(1000)}
    assert len(listed) == 21
    generator = random.Random(0)
    assert listed == {space.random(generator)[0].key for _ in range(4000)}
    topology, settings = space.random(generator)
    walked = set()
    for _ in range(1000):
        topology, settings = space.mutate(topology, settings, generator)
        walked.add(topology.key)
    assert walked == listed


def test_a_large_space_is_not_listed():
    assert SHIPPED["dense"].topologies(10**6) is None
    assert small_space(edges="chain").proposals(10**6) is None  # the learning rate is a real number


def test_proposals_are_topologies_times_settings():
    table = {
        "modules": {"max": 2},
        "kinds": {"dense": {"width": [8, 16]}},
        "wiring": {"edges": "chain"},
        "settings": {"batch_size": [32, 64], "epochs": {"low": 2, "high": 6, "step": 2}},
    }
    space = Space(SpaceFile.from_table(table), *FLAT)
    assert len(space.topologies(100)) == 2 + 4
    proposals = space.proposals(100)
    assert len({(topology.key, *settings.values()) for topology, settings in proposals}) == 6 * 2 * 3
    assert all(space.propose(Fixed(space.encode(*proposal)))[1] == proposal[1] for proposal in proposals)
    assert space.proposals(35) is None


def test_nearest_placement_changes_as_few_parameters_as_any():
    space, generator = small_space(merge=["sum", "concat"]), random.Random(3)
    for _ in range(25):
        (topology, settings), other = space.random(generator), space.random(generator)
        near = space.encode(*other)
        placed = []
        for slots in itertools.permutations(range(4), topology.module_count):
            parameters = placed_at(space, topology, settings, slots)
            if parameters is not None:
                placed.append(differences(parameters, near))
        assert differences(space.encode(topology, settings, near), near) == min(placed)


def placed_at(space: Space, topology: Topology, settings: dict[str, Any], slots: tuple[int, ...]) -> Any:
    """The parameters of a topology with its modules in given slots, or None if one would lie before what it reads."""
    target = {name: found.default for name, found in space.parameters().items()}
    target |= {f"setting.{name}": value for name, value in settings.items()}
    nodes = topology.canonical().nodes
    slot_of = dict(zip((i for i, node in enumerate(nodes) if node.is_module), slots, strict=True))
    for index, node in enumerate(nodes):
        for source in node.inputs:
            ends = [slot_of.get(end, nodes[end].params.get("name")) for end in (source, index)]
            if all(isinstance(end, int) for end in ends) and ends[0] > ends[1]:
                return None
            if (name := f"edge_{ends[0]}_{ends[1]}") in target:
                target[name] = True
        if index in slot_of:
            slot = slot_of[index]
            target[f"kind_{slot}"] = node.kind
            for name, value in node.params.items():
                for key in (f"{node.kind}.{name}_{slot}", f"{name}_{slot}"):
                    if key in target:
                        target[key] = value
    return target


X, Y = Node("input", (), {"name": "x"}), Node("output", (1,), {"name": "y"})
DENSE = {"width": 16, "depth": 1, "activation": "relu", "normalisation": "none", "residual": False}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ((X, Node("conv", (0,), {}), Y), "No kind of this space 'conv'"),
        ((X, Node("dense", (0,), {**DENSE, "width": 17}), Y), "'width' of the kind 'dense' is never 17"),
        ((X, Node("dense", (0,), {**DENSE, "width": 16.0}), Y), "never 16.0"),
        (
            (X, Node("dense", (0,), {"width": 16}), Y),
            "has width, depth, activation, normalisation, residual, not width",
        ),
        ((X, Node("dense", (0,), DENSE), Node("output", (0, 1), {"name": "y"})), "'y' reads an input"),
        ((X, Node("dense", (0,), DENSE), Node("output", (1,), {"name": "z"})), "outputs are y; the topology's are z"),
        ((X, *(Node("dense", (0,), DENSE) for _ in range(4)), Node("output", (1, 2, 3, 4), {"name": "y"})), "1 to 3"),
        (
            (
                X,
                Node("dense", (0,), DENSE),
                Node("dense", (0, 1), {**DENSE, "merge": "gated"}),
                Node("output", (2,), {"name": "y"}),
            ),
            "merges by sum, not 'gated'",
        ),
    ],
)
def test_what_is_not_of_the_space_is_refused_in_words(nodes, words):
    topology = Topology(nodes)
    with pytest.raises(SpaceError, match=words):
        SHIPPED["tiny"].encode(topology)
    assert not SHIPPED["tiny"].contains(topology)


def test_other_wirings_and_settings_are_refused():
    parallel = small_space(edges="parallel").random(random.Random(0))
    while parallel[0].module_count < 2:
        parallel = small_space(edges="parallel").random(random.Random(parallel[0].key))
    chain = small_space(edges="chain")
    with pytest.raises(SpaceError, match="wired otherwise"):
        chain.encode(parallel[0])
    topology, settings = chain.random(random.Random(0))
    with pytest.raises(SpaceError, match="Did you mean 'learning_rate'"):
        chain.encode(topology, {"learning_rat": 0.1})
    with pytest.raises(SpaceError, match="never 33"):
        chain.encode(topology, {**settings, "batch_size": 33})


def test_a_space_of_one_topology_has_no_mutation():
    space = Space(SpaceFile.from_table({"modules": {"max": 1}, "kinds": {"dense": {}}}), *FLAT)
    topology, settings = space.random(random.Random(0))
    with pytest.raises(SpaceError, match="nothing but this topology"):
        space.mutate(topology, settings, random.Random(0))


def test_no_mutation_and_no_encoding_leaves_an_input_unread():
    file = SpaceFile.from_table({"modules": {"max": 1}, "kinds": {"dense": {"width": 8}}})
    space = Space(file, {"a": (8,), "b": (8,)}, {"y": (3,)})
    topology, settings = space.random(random.Random(0))
    with pytest.raises(SpaceError, match="No edit of this topology"):
        space.mutate(topology, settings, random.Random(0))
    blind = Topology((Node("input", (), {"name": "a"}), Node("dense", (0,), topology.nodes[2].params), Y))
    with pytest.raises(SpaceError, match="inputs are a, b; the topology's are a"):
        space.encode(blind)


def test_ambiguous_names_are_refused():
    with pytest.raises(SpaceError, match="rename"):
        Space(SPACES["merged"].file, {"0": (8,), "1": (8,)}, {"y": (3,)})


def test_importing_spaces_imports_neither_torch_nor_optuna():
    code = (
        "import sys; from nasmod.space import Space; from nasmod import registry;"
        "Space.load(registry.packaged('search_spaces')['conv'], {'x': (1, 8, 8)}, {'y': (2,)});"
        "assert not {'torch', 'optuna', 'sqlalchemy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
