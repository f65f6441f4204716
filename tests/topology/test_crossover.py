"""Crossovers are whole topologies of parts of both, or say why there is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod.errors import TopologyError
from nasmod.topology import Node, Topology, cross
from tests.strategies import topologies

X = Node("input", (), {"name": "x"})


def row(*kinds: str) -> Topology:
    """Modules beside each other."""
    modules = tuple(Node(kind, (0,)) for kind in kinds)
    return Topology((X, *modules, Node("output", tuple(range(1, len(kinds) + 1)), {"name": "y"})))


def chain(*kinds: str) -> Topology:
    modules = tuple(Node(kind, (index,)) for index, kind in enumerate(kinds))
    return Topology((X, *modules, Node("output", (len(kinds),), {"name": "y"})))


def shown(topology: Topology) -> list[tuple[str, tuple[int, ...]]]:
    return [(node.kind, node.inputs) for node in topology.nodes]


def test_two_chains():
    made = cross(chain("a", "b", "c"), 3, chain("d", "e", "f"), 3)
    assert shown(made) == [("input", ()), ("a", (0,)), ("b", (1,)), ("f", (2,)), ("output", (3,))]


def test_what_several_give_is_dealt_out_to_what_reads_it():
    two_towers = Topology((X, Node("a", (0,)), Node("b", (0,)), Node("c", (1, 2)), Node("output", (3,), {"name": "y"})))
    made = cross(two_towers, 3, chain("d", "e"), 2)  # both towers, then e, which read one module
    assert shown(made)[3:] == [("e", (1, 2)), ("output", (3,))]
    made = cross(chain("d", "e"), 2, two_towers, 3)  # one module, then c, which read two
    assert shown(made)[1:] == [("d", (0,)), ("c", (1,)), ("output", (2,))]


def test_rows_share_the_output():
    made = cross(row("a", "b", "c"), 3, row("d", "e", "f"), 2)  # a and b; e and f, and the output instead of d
    assert sorted(kind for kind, _ in shown(made)) == ["a", "b", "e", "f", "input", "output"]
    assert made.nodes[-1].inputs == (1, 2, 3, 4)


@pytest.mark.parametrize(("first_cut", "second_cut"), [(1, 2), (3, 1)])
def test_without_a_part_on_either_side_there_is_none(first_cut: int, second_cut: int):
    with pytest.raises(TopologyError, match="Nothing leads across the cut"):
        cross(chain("a", "b"), first_cut, chain("c", "d"), second_cut)


def test_an_input_that_the_first_does_not_have():
    other = Topology(
        (X, Node("input", (), {"name": "z"}), Node("c", (0, 1)), Node("d", (2,)), Node("output", (3,), {"name": "y"}))
    )
    with pytest.raises(TopologyError, match="The first topology does not have the input 'z'"):
        cross(chain("a", "b"), 2, other, 3)


@given(st.data())
def test_every_module_of_a_crossover_is_live_and_of_the_part_that_it_came_from(data):
    first = data.draw(topologies(labels=[("a", {}), ("b", {})], max_inputs=1, max_outputs=1))
    second = data.draw(topologies(labels=[("c", {}), ("d", {})], max_inputs=1, max_outputs=1))
    cuts = [data.draw(st.integers(0, len(topology.nodes))) for topology in (first, second)]
    try:
        made = cross(first, cuts[0], second, cuts[1])
    except TopologyError:
        return
    assert made.live().module_count == made.module_count
    before = [node.kind for node in first.nodes[: cuts[0]] if node.is_module]
    behind = [node.kind for node in second.nodes[cuts[1] :] if node.is_module]
    assert sorted(node.kind for node in made.nodes if node.is_module) == sorted(before + behind)
