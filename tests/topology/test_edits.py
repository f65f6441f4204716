"""Every edit gives a valid topology without dead modules, or says why it does not apply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod.errors import TopologyError
from nasmod.topology import (
    Node,
    Topology,
    add_edge,
    add_module,
    change_kind,
    drop_edge,
    duplicate_module,
    insert_module,
    merge_modules,
    remove_module,
    resize_module,
    rewire,
    split_module,
)
from tests.strategies import topologies

X = Node("input", (), {"name": "x"})
CHAIN = Topology((X, Node("a", (0,)), Node("b", (1,)), Node("output", (2,), {"name": "y"})))
FORK = Topology((X, Node("a", (0,)), Node("b", (0,)), Node("output", (1, 2), {"name": "y"})))


def kinds_read(topology: Topology) -> dict[str, set[str]]:
    return {node.kind: {topology.nodes[source].kind for source in node.inputs} for node in topology.nodes}


@given(st.data())
def test_an_edit_keeps_every_module_live_or_is_refused(data):
    topology = data.draw(topologies())
    node = st.integers(0, len(topology.nodes) - 1)
    edits = [
        lambda: add_module(topology, "c", {}, data.draw(st.sets(node)), data.draw(st.sets(node))),
        lambda: remove_module(topology, data.draw(node)),
        lambda: split_module(topology, data.draw(node)),
        lambda: insert_module(topology, data.draw(node), data.draw(node), "c", {}),
        lambda: duplicate_module(topology, data.draw(node)),
        lambda: merge_modules(topology, data.draw(node), data.draw(node)),
        lambda: resize_module(topology, data.draw(node), {"width": 99}),
        lambda: change_kind(topology, data.draw(node), "c", {"size": 1}),
        lambda: add_edge(topology, data.draw(node), data.draw(node)),
        lambda: drop_edge(topology, data.draw(node), data.draw(node)),
        lambda: rewire(topology, data.draw(node), data.draw(node), data.draw(node)),
    ]
    try:
        edited = data.draw(st.sampled_from(edits))()
    except TopologyError:
        return
    assert edited.live().module_count == edited.module_count
    assert abs(edited.module_count - topology.module_count) <= 1


def test_add_module():
    added = add_module(CHAIN, "c", {"width": 4}, sources=[0], readers=[2])
    assert kinds_read(added) == {"input": set(), "a": {"input"}, "c": {"input"}, "b": {"a", "c"}, "output": {"b"}}
    assert kinds_read(add_module(FORK, "c", {}, sources=[2], readers=[1]))["a"] == {"input", "c"}
    with pytest.raises(TopologyError, match="cycle"):
        add_module(CHAIN, "c", {}, sources=[2], readers=[1])


def test_remove_module_joins_its_readers_to_its_sources():
    assert kinds_read(remove_module(CHAIN, 1)) == {"input": set(), "b": {"input"}, "output": {"b"}}
    assert kinds_read(remove_module(CHAIN, 2)) == {"input": set(), "a": {"input"}, "output": {"a"}}
    assert kinds_read(remove_module(FORK, 2)) == {"input": set(), "a": {"input"}, "output": {"a"}}


def test_split_module():
    halves = split_module(CHAIN, 1, "c", {})
    assert kinds_read(halves) == {"input": set(), "a": {"input"}, "c": {"a"}, "b": {"c"}, "output": {"b"}}


def test_insert_module_puts_it_on_one_edge():
    inserted = insert_module(FORK, 0, 2, "c", {})
    read = kinds_read(inserted)
    assert read == {"input": set(), "a": {"input"}, "c": {"input"}, "b": {"c"}, "output": {"a", "b"}}
    with pytest.raises(TopologyError, match="does not read"):
        insert_module(CHAIN, 0, 2, "c", {})


def test_a_duplicate_reads_and_feeds_what_the_first_does():
    twins = duplicate_module(CHAIN, 1)
    assert [(node.kind, node.inputs) for node in twins.nodes] == [
        ("input", ()),
        ("a", (0,)),
        ("a", (0,)),
        ("b", (1, 2)),
        ("output", (3,)),
    ]


def test_resize_and_change_kind_keep_the_wiring_and_the_merge():
    joined = Topology(
        (*FORK.nodes[:3], Node("c", (1, 2), {"merge": "sum", "width": 8}), Node("output", (3,), {"name": "y"}))
    )
    assert dict(resize_module(joined, 3, {"width": 16}).nodes[3].params) == {"merge": "sum", "width": 16}
    changed = change_kind(joined, 3, "d", {"size": 2})
    assert changed.nodes[3] == Node("d", (1, 2), {"merge": "sum", "size": 2})


def test_edges():
    assert kinds_read(add_edge(CHAIN, 0, 2))["b"] == {"a", "input"}
    assert add_edge(FORK, 2, 1).module_count == 2
    assert drop_edge(add_edge(CHAIN, 0, 2), 0, 2) == CHAIN
    with pytest.raises(TopologyError, match="already"):
        rewire(add_edge(FORK, 1, 2), 0, 2, 1)
    assert kinds_read(rewire(FORK, 0, 2, 1))["b"] == {"a"}
    with pytest.raises(TopologyError, match="unread"):
        drop_edge(CHAIN, 1, 2)
    with pytest.raises(TopologyError, match="cycle"):
        add_edge(CHAIN, 2, 1)
    with pytest.raises(TopologyError, match="already"):
        add_edge(CHAIN, 1, 2)
    with pytest.raises(TopologyError, match="no node 9"):
        add_edge(CHAIN, 1, 9)
    with pytest.raises(TopologyError, match="only modules"):
        remove_module(CHAIN, 0)
