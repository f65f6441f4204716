"""Cells of a fixed wiring that are stacked several times, and places that are filled alike."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod import registry
from nasmod.errors import SpaceError
from nasmod.space import Space
from nasmod.topology import Node, Topology
from tests.space.test_blueprint import changed, check_refused, space_of

CELLS: dict[str, Any] = {
    "kinds": {"dense": {"width": [8, 16]}, "skip": {}},
    "wiring": {
        "edges": "fixed",
        "merge": ["sum", "concat"],
        "output_merge": "sum",
        "stack": ["cell", "between", "cell"],
        "cells": {
            "cell": {
                "places": {"a": {"reads": ["in"]}, "b": {"reads": ["a", "in"], "kinds": ["dense", "none"]}},
                "gives": ["a", "b"],
            },
            "between": {"places": {"m": {"reads": ["in"], "kinds": ["dense"]}}, "gives": ["m"]},
        },
    },
}
ALIKE: dict[str, Any] = {
    "kinds": {"dense": {"width": [8, 16]}, "skip": {}},
    "wiring": {
        "edges": "fixed",
        "merge": ["sum", "concat"],
        "places": {
            "one": {"reads": ["x"], "kinds": ["dense", "skip", "none"]},
            "two": {"reads": ["x", "one"], "like": "one"},
            "three": {"reads": ["x", "two"], "like": "two"},
            "four": {"reads": ["x"]},
        },
        "outputs": {"y": ["three", "four"]},
    },
}
SPACES = {"cells": CELLS, "alike": ALIKE}


def modules(topology: Topology) -> list[Node]:
    return [node for node in topology.nodes if node.is_module]


def test_a_cell_that_comes_again_is_filled_the_same_and_reads_what_the_one_before_gives():
    space = space_of(CELLS)
    values = {"kind_0": "skip", "kind_1": "dense", "dense.width_1": 16, "dense.width_2": 8, "merge_1": "concat"}
    topology, _ = space.decode(values)
    assert [(node.kind, node.inputs, node.params.get("width")) for node in topology.nodes] == [
        ("input", (), None),
        ("skip", (0,), None),
        ("dense", (0, 1), 16),
        ("dense", (1, 2), 8),  # between the cells
        ("skip", (3,), None),
        ("dense", (3, 4), 16),
        ("output", (4, 5), None),
    ]
    assert topology.nodes[2].params["merge"] == topology.nodes[5].params["merge"] == "concat"
    assert topology.nodes[-1].params["merge"] == "sum"


def test_it_holds_what_a_cell_may_hold_once_and_not_once_for_each_time_that_it_comes():
    # of one cell: a is one of three, b is empty or one of two that merge in two ways; between them two widths, which
    # merge in two ways where b is filled
    assert len(space_of(CELLS).topologies(1000)) == 3 * 2 + 3 * 4 * 2 * 2


@pytest.mark.parametrize("name", SPACES)
def test_every_topology_is_encoded_and_edits_lead_to_it(name):
    space, generator = space_of(SPACES[name]), random.Random(0)
    wanted = {topology.key: topology for topology in space.topologies(10_000)}
    for topology in wanted.values():
        values = space.encode(topology)
        assert values.keys() == space.parameters().keys()
        assert space.decode(values)[0].key == topology.key
    topology, settings = space.random(generator)
    unreached = set(wanted) - {topology.key}
    for _ in range(4000):
        topology, settings = space.mutate(topology, settings, generator)
        assert topology.key in wanted
        unreached.discard(topology.key)
        if not unreached:
            return
    pytest.fail(f"{len(unreached)} of {len(wanted)} were not reached")


@given(st.sampled_from(sorted(SPACES)), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_whatever_is_drawn_is_encoded_near_anything(name, seed, other):
    space = space_of(SPACES[name])
    topology, _ = space.random(random.Random(seed))
    near, _ = space.random(random.Random(other))
    assert space.decode(space.encode(topology, near=space.encode(near)))[0].key == topology.key


def test_places_that_are_alike_must_hold_the_same():
    space = space_of(CELLS)
    topology, _ = space.decode({"kind_0": "dense", "kind_1": "none"})
    first, between, second = modules(topology)
    changed = Node(second.kind, second.inputs, {**second.params, "width": 16})
    assert space.contains(topology)
    assert not space.contains(Topology((topology.nodes[0], first, between, changed, topology.nodes[-1])))


def test_how_alike_places_merge_counts_where_both_merge():
    space = space_of(CELLS)
    topology, _ = space.decode({"kind_0": "skip", "kind_1": "dense", "merge_1": "sum"})
    nodes = list(topology.nodes)
    assert nodes[5].params["merge"] == "sum"
    nodes[5] = Node("dense", nodes[5].inputs, {**nodes[5].params, "merge": "concat"})
    assert not space.contains(Topology(tuple(nodes)))


def test_outputs_merge_as_the_space_has_it():
    space = space_of(CELLS)
    topology, _ = space.decode({"kind_0": "skip", "kind_1": "dense"})
    *rest, output = topology.nodes
    other = Topology((*rest, Node("output", output.inputs, {"name": "y"})))
    with pytest.raises(SpaceError, match=r"Outputs of this space merge by sum, not 'concat'\."):
        space.encode(other)


def test_the_packaged_cells_are_three_alike():
    space = Space.load(registry.packaged("search_spaces")["cells"], {"x": (1, 8, 8)}, {"y": (10,)})
    topology, _ = space.decode({})
    assert len(space.slots) == 6
    assert [node.kind for node in modules(topology)].count("pool") == 2
    assert space.contains(topology)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("stack",), ["cell", "betwen"], "wiring.stack: No cell 'betwen'. Did you mean 'between'?"),
        (("stack",), ["cell"], "wiring.cells.between: the stack does not have this cell."),
        (("stack",), ["cell", "between"] * 6, "wiring.stack: 18 places in all, and 16 are the most."),
        (("stack",), [], "`cells` need a `stack`"),
        (("cells", "cell", "gives"), ["c"], "wiring.cells.cell.gives: No place 'c'."),
        (("cells", "cell", "gives"), ["a", "a"], "wiring.cells.cell.gives: 'a' is given twice."),
        (("cells", "cell", "give"), ["a"], "No key 'give'. Did you mean 'gives'?"),
        (("cells", "cell", "places", "a", "reads"), ["b"], "wiring.cells.cell.places.a: No place named before 'b'."),
        (("cells", "cell", "places", "in"), {"reads": ["in"]}, "'in' is what the cell reads; rename the place."),
        (
            ("cells", "cell", "places", "b", "like"),
            "a",
            "a place like 'a' has the kinds of that place, and none of its",
        ),
        (("cells", "cell", "places", "a", "like"), "b", "wiring.cells.cell.places.a: No place named before 'b'."),
        (("cells", "cell", "places", "a", "read"), ["x"], "No key 'read'. Did you mean 'reads'?"),
        (("places",), {"p": {"reads": ["x"]}}, "either `places` and `outputs` or `cells` and a `stack`"),
        (("edges",), "free", '`cells` and `stack` go with `edges = "fixed"`, not with "free"'),
        (("output_merge",), "add", "wiring.output_merge: Input should be 'sum', 'concat' or 'gated', not 'add'."),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(path, value, words):
    check_refused(changed(CELLS, ("wiring", *path), value), words)


def test_a_place_like_one_that_is_not_there_is_refused():
    file = changed(ALIKE, ("wiring", "places", "two", "like"), "too")
    check_refused(file, "wiring.places.two: No place named before 'too'")
