"""Fixed wirings: what their places may hold, what is the same network, and files that are refused in words."""

from __future__ import annotations

import copy
import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest

from nasmod import registry
from nasmod.errors import SpaceError
from nasmod.space import Space, SpaceFile
from nasmod.topology import Node, Topology

FILE: dict[str, Any] = {
    "kinds": {"dense": {"width": [8, 16]}, "skip": {}},
    "wiring": {
        "edges": "fixed",
        "merge": ["sum", "concat"],
        "places": {
            "first": {"reads": ["x"], "kinds": ["dense", "none"]},
            "second": {"reads": ["first"], "kinds": ["dense", "skip", "none"]},
            "beside": {"reads": ["x", "first"], "kinds": ["dense"]},
        },
        "outputs": {"y": ["second", "beside"]},
    },
}
X, Y = Node("input", (), {"name": "x"}), {"name": "y"}


def dense(width: int, *inputs: int, **merge: str) -> Node:
    return Node(
        "dense",
        inputs,
        {"width": width, "depth": 1, "activation": "relu", "normalisation": "none", "residual": False, **merge},
    )


def space_of(file: dict[str, Any]) -> Space:
    return Space.of(SpaceFile.from_table(file), {"x": (6,)}, {"y": (2,)})


def changed(file: dict[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:
    """A copy of a space file with another value at a path of keys."""
    copied = copy.deepcopy(file)
    table = copied
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    return copied


def check_refused(file: dict[str, Any], words: str) -> None:
    with pytest.raises(SpaceError) as refused:
        space_of(file)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_it_holds_exactly_what_its_places_allow():
    found = space_of(FILE).topologies(1000)
    without = [Topology((X, dense(width, 0), Node("output", (1,), Y))) for width in (8, 16)]  # ``first`` is empty
    filled = []
    for first, beside in itertools.product((8, 16), repeat=2):
        for merge in ("sum", "concat"):
            nodes = [X, dense(first, 0), dense(beside, 0, 1, merge=merge)]
            filled.append(Topology((*nodes, Node("output", (2,), Y))))
            for second in (dense(8, 1), dense(16, 1), Node("skip", (1,))):
                filled.append(Topology((*nodes, second, Node("output", (2, 3), Y))))
    assert {topology.key for topology in found} == {topology.key for topology in [*without, *filled]}
    assert len(found) == len(without) + len(filled)


def test_more_fillings_than_asked_for_are_not_listed():
    assert space_of(FILE).topologies(3 * 4 * 4 - 1) is None
    assert space_of(FILE).topologies(3 * 4 * 4) is not None


def test_edits_lead_from_any_topology_to_every_other():
    space, generator = space_of(FILE), random.Random(0)
    wanted = {topology.key for topology in space.topologies(1000)}
    topology, settings = space.random(generator)
    reached = set()
    for _ in range(3000):
        topology, settings = space.mutate(topology, settings, generator)
        reached.add(topology.key)
    assert reached == wanted


@pytest.mark.slow
def test_the_packaged_cell_holds_the_cells_of_nas_bench_201_up_to_what_passes_nothing_on():
    space = Space.load(registry.packaged("search_spaces")["cell"], {"x": (3, 8, 8)}, {"y": (10,)})
    found = space.topologies(5**6)
    assert found is not None
    # of 15,625 fillings 9,444 differ in what passes something on; networkx finds 8,764 classes of isomorphic ones
    assert len(found) == 8764
    assert space.topologies(5**6 - 1) is None


def test_other_wirings_and_other_kinds_are_refused_in_words():
    space = space_of(FILE)
    for nodes in (
        (X, dense(8, 0), Node("skip", (1,)), Node("output", (2,), Y)),  # ``beside`` is never empty
        (X, Node("skip", (0,)), Node("output", (1,), Y)),  # ``beside`` is never a skip
        (X, dense(8, 0), dense(8, 1), Node("output", (2,), Y)),  # ``beside`` reads x too
    ):
        with pytest.raises(SpaceError, match="wiring is fixed; this topology is wired otherwise, or by other kinds"):
            space.encode(Topology(nodes))


def test_a_topology_that_does_not_fit_many_equal_places_is_refused_without_trying_every_order():
    """Sixteen equal places have 2 * 10^13 orders; what the modules feed tells at the first of them."""
    places = {f"place {index}": {"reads": ["x"]} for index in range(16)}
    wiring = {"edges": "fixed", "places": places, "outputs": {"y": list(places), "z": ["place 0"]}}
    file = SpaceFile.from_table({"kinds": {"dense": {"width": [8, 16]}}, "wiring": wiring})
    space = Space.of(file, {"x": (6,)}, {"y": (2,), "z": (2,)})
    modules = tuple(dense(8, 0) for _ in range(16))
    outputs = Node("output", tuple(range(1, 17)), Y), Node("output", tuple(range(1, 17)), {"name": "z"})
    assert not space.contains(Topology((X, *modules, *outputs)))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("wiring", "places", "second", "reads"), ["frist"], "No input, or place named before, 'frist'. Did you mean"),
        (("wiring", "places", "first", "reads"), ["second"], "No input, or place named before, 'second'."),
        (("wiring", "places", "first", "kinds"), ["dens"], "No kind of this space 'dens'. Did you mean 'dense'?"),
        (("wiring", "places", "first", "kinds"), ["none"], "wiring.places.first: a place that is always empty"),
        (("wiring", "places", "first", "kinds"), ["dense", "dense"], "'dense' is given twice"),
        (("wiring", "places", "first", "read"), ["x"], "No key 'read'. Did you mean 'reads'?"),
        (("wiring", "places", "x"), {"reads": ["first"]}, "'x' is the name of an input; rename the place"),
        (("wiring", "places", "fourth"), {"reads": ["first"]}, "nothing that leads to an output reads 'fourth'"),
        (("wiring", "outputs", "y"), ["thrd"], "wiring.outputs.y: No place 'thrd'."),
        (("wiring", "outputs", "z"), ["first"], "the outputs of the data are y, not y, z"),
        (("wiring", "outputs"), {}, "fixed edges need `places`"),
        (("wiring", "edges"), "chain", '`places` and `outputs` go with `edges = "fixed"`, not with "chain"'),
        (("modules",), {"max": 3}, "fixed edges have no table [modules]: their places are named"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_line(path, value, words):
    check_refused(changed(FILE, path, value), words)


def test_an_input_that_no_place_reads_is_refused():
    with pytest.raises(SpaceError, match="no place reads the input 'z'"):
        Space.of(SpaceFile.from_table(FILE), {"x": (6,), "z": (6,)}, {"y": (2,)})
