"""Shapes, adapters, merges and names of a plan."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmod.errors import SpaceError, TopologyError
from nasmod.networks.adapters import Layer, adapt
from nasmod.networks.plan import Step, plan
from nasmod.topology import Node, Topology
from tests.strategies import relabelled, shapes, wirings

X, Y = Node("input", (), {"name": "x"}), {"name": "y"}


def layers(adapter: tuple[Layer, ...]) -> list[str]:
    return [layer.name for layer in adapter]


def test_images_meet_at_the_smaller_size_and_features_add_up() -> None:
    adapters, merged = adapt([(8, 14, 7), (4, 7, 14), (5,)], accepts=(3,), merge="concat")
    assert merged == (17, 7, 7)
    assert [layers(adapter) for adapter in adapters] == [
        ["AdaptiveAvgPool2d"],
        ["AdaptiveAvgPool2d"],
        ["Unflatten", "Upsample"],
    ]


@pytest.mark.parametrize("merge", ["sum", "gated"])
def test_fewer_features_are_projected_to_the_most(merge: str) -> None:
    adapters, merged = adapt([(8, 7, 7), (4, 7, 7)], accepts=(3,), merge=merge)
    assert merged == (8, 7, 7)
    assert adapters == ((), (Layer("Conv2d", {"in_channels": 4, "out_channels": 8, "kernel_size": 1}),))
    assert adapt([(3,), (5,)], (1,), merge)[0][0] == (Layer("Linear", {"in_features": 3, "out_features": 5}),)
    assert layers(adapt([(3, 6), (5, 6)], (2,), merge)[0][0]) == ["Conv1d"]


@pytest.mark.parametrize(
    ("sources", "accepts", "expected"),
    [
        ([(5,)], (2, 3), (5, 1)),  # flat to the preferred rank
        ([(5, 9)], (2, 3), (5, 9)),
        ([(5, 9), (5, 3, 4)], (2, 3), (10, 3, 4)),  # the largest accepted rank wins
        ([(5, 3, 4)], (2,), (5, 12)),  # an image as a sequence of its positions
        ([(5, 9)], (3,), (5, 9, 1)),
        ([(5, 9), (2,)], (3,), (7, 9, 1)),
        ([(5, 3, 4), (2, 2)], (1,), (64,)),
        ([(2,)], (3,), (2, 1, 1)),
    ],
)
def test_ranks_meet(sources: list[tuple[int, ...]], accepts: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert adapt(sources, accepts, "concat")[1] == expected


def test_outputs_merge_as_their_nodes_say() -> None:
    modules = Node("dense", (0,), {"width": 5}), Node("dense", (0,), {"width": 3})

    def output(**merge: str) -> Step:
        nodes = (X, *modules, Node("output", (1, 2), {**Y, **merge}))
        return plan(Topology(nodes), {"x": (2,)}, {"y": (4,)}).steps[-1]

    assert (output().merge, output().merged) == ("concat", (8,))
    assert (output(merge="sum").merge, output(merge="sum").merged) == ("sum", (5,))
    assert sorted(layers(adapter) for adapter in output(merge="gated").adapters) == [[], ["Linear"]]


def test_a_plan_speaks_of_the_live_part_alone() -> None:
    topology = Topology((X, Node("dense", (0,)), Node("dense", (0,), {"width": 3}), Node("output", (2,), Y)))
    found = plan(topology, {"x": (5,), "unused": (2,)}, {"y": (2,)})
    assert [step.name for step in found.steps] == ["x", "dense_1", "y"]
    assert found.inputs == {"x": (5,)}


@settings(max_examples=60)
@given(topology=wirings(("a", "b"), ("y", "z")), data=st.data(), sizes=st.tuples(shapes, shapes))
def test_isomorphic_topologies_have_one_plan(topology: Topology, data: st.DataObject, sizes: tuple) -> None:
    shapes_of_data = {"a": sizes[0], "b": sizes[1]}, {"y": (3,), "z": (2,)}
    first = plan(topology, *shapes_of_data)
    assert plan(data.draw(relabelled(topology)), *shapes_of_data) == first
    assert pickle.loads(pickle.dumps(first)) == first
    names = [step.name for step in first.steps]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_names_are_identifiers_that_hide_nothing() -> None:
    nodes = (
        Node("input", (), {"name": "my input"}),
        Node("input", (), {"name": "self"}),
        Node("input", (), {"name": "dense_1"}),
        Node("input", (), {"name": "2nd"}),
        Node("dense", (0, 1, 2, 3)),
        Node("output", (4,), {"name": "class"}),
    )
    shapes = dict.fromkeys(("my input", "self", "dense_1", "2nd"), (2,))
    found = plan(Topology(nodes), shapes, {"class": (2,)})
    assert {step.name for step in found.steps} == {"my_input", "self_", "dense_1", "_2nd", "dense_1_", "class_"}


@pytest.mark.parametrize(
    ("nodes", "inputs", "outputs", "message"),
    [
        ((X, Node("output", (0,), Y)), {"image": (2,)}, {"y": (2,)}, "No input of the data 'x'"),
        ((X, Node("output", (0,), Y)), {"x": (2,)}, {"label": (2,)}, "No output of the data 'y'"),
        ((X, Node("output", (0,), Y)), {"x": (2,)}, {"y": (2,), "z": (2,)}, "'z' is missing"),
        ((X, Node("output", (0,), Y)), {"x": (2, 2, 2, 2)}, {"y": (2,)}, "1 to 3 dimensions"),
        ((X, Node("output", (0,), Y)), {"x": (2,)}, {"y": (2, 2)}, "1 dimension besides"),
        (
            (X, Node("dense", (0,)), Node("dense", (0, 1), {"merge": "add"}), Node("output", (2,), Y)),
            {"x": (2,)},
            {"y": (2,)},
            "No merge 'add'",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_refused(nodes, inputs, outputs, message: str) -> None:
    with pytest.raises(TopologyError, match=message):
        plan(Topology(nodes), inputs, outputs)


def test_impossible_parameters_are_refused() -> None:
    topology = Topology((X, Node("dense", (0,), {"width": -1}), Node("output", (1,), Y)))
    with pytest.raises(SpaceError, match="width"):
        plan(topology, {"x": (2,)}, {"y": (2,)})
