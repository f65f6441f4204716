"""Crossover: a topology of the first part of one and the last part of another."""

from __future__ import annotations

from collections.abc import Collection

from nasmod.errors import TopologyError
from nasmod.topology.draft import Draft
from nasmod.topology.topology import INPUT, OUTPUT, Topology


def cross(first: Topology, first_cut: int, second: Topology, second_cut: int) -> Topology:
    """The modules of one topology before a cut, then those of another from a cut on, with its outputs.

    A cut is a node index. What the second part read before its cut, it reads from what the first part gave on at its
    own: in order, from the beginning again where one side has more. Raises `TopologyError` when nothing leads from one
    part to the other, or the second reads an input that the first does not have.

    >>> from nasmod.topology import Node
    >>> x, y = Node("input", (), {"name": "x"}), Node("output", (2,), {"name": "y"})
    >>> one, other = (Topology((x, Node(a, (0,)), Node(b, (1,)), y)) for a, b in ("ab", "cd"))
    >>> [node.kind for node in cross(one, 2, other, 2).nodes]
    ['input', 'a', 'd', 'output']
    """
    draft = Draft()
    new: dict[int, int] = {}  # of the first
    for index, node in enumerate(first.nodes):
        if node.kind == INPUT or (node.is_module and index < first_cut):
            new[index] = draft.add(node.kind, node.params, {new[source] for source in node.inputs})
    given = [new[index] for index in _read_from_outside(first, new)]
    inputs = {
        first.nodes[index].params["name"]: name for index, name in new.items() if first.nodes[index].kind == INPUT
    }

    left_out = {index for index, node in enumerate(second.nodes) if node.is_module and index < second_cut}
    wanted = _read_from_outside(second, left_out)
    if not given or not wanted:
        raise TopologyError("Nothing leads across the cut.")
    stand_in: dict[int, set[int]] = {index: set() for index in wanted}  # what is read in place of a node of the second
    for number in range(max(len(given), len(wanted))):
        stand_in[wanted[number % len(wanted)]].add(given[number % len(given)])
    for index, node in enumerate(second.nodes):
        if node.kind == INPUT:
            if node.params["name"] not in inputs:
                raise TopologyError(f"The first topology does not have the input '{node.params['name']}'.")
            stand_in[index] = {inputs[node.params["name"]]}
        elif node.kind == OUTPUT or index not in left_out:
            sources = set[int]().union(*(stand_in[source] for source in node.inputs))
            stand_in[index] = {draft.add(node.kind, node.params, sources)}
    return draft.topology()


def _read_from_outside(topology: Topology, part: Collection[int]) -> list[int]:
    """The modules of a part that nodes outside of it read, in order."""
    return [
        index
        for index, readers in enumerate(topology.readers)
        if topology.nodes[index].is_module and index in part and any(reader not in part for reader in readers)
    ]
