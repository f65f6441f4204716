"""A topology is a value: bad ones cannot be made, the live part and the text form keep what matters."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given

from nasmod.errors import TopologyError
from nasmod.topology import Node, Topology
from tests.strategies import topologies

X, Y = Node("input", (), {"name": "x"}), Node("output", (1,), {"name": "y"})


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ((X, Node("a", (1,)), Y), "earlier nodes, not 1"),
        ((X, Node("a", (0, 0)), Y), "twice"),
        ((X, Node("a", (0,)), Y, Node("b", (2,))), "an output"),
        ((X, X, Node("a", (0, 1)), Node("output", (2,), {"name": "y"})), "name of its own"),
        ((X, Node("a", (0,))), "at least one output"),
        ((X, Node("a"), Y), "not reached"),
        ((X, Node("input", (0,), {"name": "z"}), Y), "may not read"),
        ((X, Node("a", (0,)), Node("output", (1,))), "name of its own"),
    ],
)
def test_what_is_no_topology_cannot_be_made(nodes, words):
    with pytest.raises(TopologyError, match=words):
        Topology(nodes)


@given(topologies(dead=True))
def test_text_and_pickle_give_the_same_value_back(topology):
    assert Topology.from_json(topology.to_json()) == topology
    assert pickle.loads(pickle.dumps(topology)) == topology
    assert hash(Topology.from_json(topology.to_json())) == hash(topology)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "'version' is missing"),
        ("{}", "'version' is missing"),
        ('{"version": 2, "nodes": []}', "version 2 cannot be read; known: 1"),
        ('{"version": 1, "nodes": {}}', "'nodes' must be a list"),
        ('{"version": 1, "nodes": [{}]}', "'kind' is missing"),
        ('{"version": 1, "nodes": [{"kind": 3, "inputs": [], "params": {}}]}', "'kind' must be a text"),
        ('{"version": 1, "nodes": [{"kind": "a", "inputs": [0.0], "params": {}}]}', "numbers of earlier nodes"),
        ('{"version": 1, "nodes": [{"kind": "a", "inputs": [], "params": []}]}', "'params' must be an object"),
        ('{"version": 1, "nodes": [{"kind": "a", "inputs": [], "params": {"b": [1]}}]}', "parameter 'b' must be"),
        ('{"version": 1, "nodes": [{"kind": "a", "inputs": [], "params": {"b": NaN}}]}', "parameter 'b' must be"),
    ],
)
def test_other_text_is_refused(text, words):
    with pytest.raises(TopologyError, match=words):
        Topology.from_json(text)


@given(topologies(dead=True))
def test_live_part_is_what_lies_on_a_path_from_an_input_to_an_output(topology):
    live = topology.live()
    assert live.live() is live
    assert live.key == topology.key
    for node, readers in zip(live.nodes, live.readers, strict=True):
        assert node.kind == "output" or readers
        assert node.kind == "input" or node.inputs


def test_an_output_that_says_the_usual_merge_is_one_that_says_none():
    def topology(**merge: str) -> Topology:
        return Topology((X, Node("a", (0,)), Node("b", (0,)), Node("output", (1, 2), {"name": "y", **merge})))

    assert topology(merge="concat").live() == topology()
    assert topology(merge="concat").key == topology().key
    assert topology(merge="sum").key != topology().key


def test_merge_is_kept_only_where_it_acts():
    dead_end = Node("b", (), {})
    topology = Topology((X, dead_end, Node("a", (0, 1), {"merge": "sum"}), Node("output", (2,), {"name": "y"})))
    assert dict(topology.live().nodes[1].params) == {}
