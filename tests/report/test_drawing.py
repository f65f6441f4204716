"""What a drawing must do: show every node once, connect what reads what, never let two wires run into each other."""

from __future__ import annotations

import re
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod.networks import plan
from nasmod.report import draw, node_names
from nasmod.topology import Node, Topology

UP, DOWN, LEFT, RIGHT = (-1, 0), (1, 0), (0, -1), (0, 1)
WAYS = {
    "│": {UP, DOWN}, "─": {LEFT, RIGHT}, "╭": {DOWN, RIGHT}, "╮": {DOWN, LEFT}, "╰": {UP, RIGHT}, "╯": {UP, LEFT},
    "├": {UP, DOWN, RIGHT}, "┤": {UP, DOWN, LEFT}, "┬": {DOWN, LEFT, RIGHT}, "┴": {UP, LEFT, RIGHT},
    "┼": {UP, DOWN, LEFT, RIGHT},
}  # fmt: skip


def wired(*sources: tuple[int, ...], kind: str = "conv") -> Topology:
    """Modules numbered from 1 on one input, 0; those that nobody reads feed the output."""
    nodes = [Node("input", (), {"name": "x"}), *(Node(kind, inputs, {}) for inputs in sources)]
    read = {source for inputs in sources for source in inputs}
    ends = tuple(number for number in range(1, len(nodes)) if number not in read)
    return Topology((*nodes, Node("output", ends, {"name": "y"})))


def edges_of(text: str, names: list[str]) -> set[tuple[str, str]]:
    """What reads what, found by following the wires of a drawing."""
    lines = text.splitlines()
    at = {(r, c): character for r, line in enumerate(lines) for c, character in enumerate(line)}
    boxes: dict[tuple[int, int], str] = {}
    bottoms: dict[str, list[tuple[int, int]]] = {}
    for name in names:
        row, column = next((r, m.start()) for r, line in enumerate(lines) for m in re.finditer(rf"\b{name}\b", line))
        left = max(c for c in range(column) if at[row, c] == "│")
        right = min(c for c in range(column, len(lines[row])) if at[row, c] == "│")
        top = next(r for r in range(row, -1, -1) if at[r, left] in "┌╭")
        bottom = next(r for r in range(row, len(lines)) if at[r, left] in "└╰")
        boxes.update({(top, c): name for c in range(left, right + 1)})
        bottoms[name] = [(bottom, c) for c in range(left, right + 1) if at[bottom, c] == "┬"]
    edges = set()
    for name, starts in bottoms.items():
        walk = [(start, DOWN) for start in starts]
        seen = set(walk)
        while walk:
            (row, column), way = walk.pop()
            place = (row + way[0], column + way[1])
            if place in boxes and way == DOWN:
                assert at[place] == "┴"
                edges.add((name, boxes[place]))
                continue
            character = at[place]
            back = (-way[0], -way[1])
            if back in WAYS[character]:
                onward = WAYS[character] - {back}
            else:  # under an upright wire and on
                assert character == "│"
                assert way in (LEFT, RIGHT)
                onward = {way}
            fresh = {(place, other) for other in onward} - seen
            seen |= fresh
            walk += fresh
    return edges


def test_a_skip_and_a_fusion_look_like_this() -> None:
    drawn = draw(wired((0,), (0,), (1, 2), (0, 3)), {"conv_1": "41%"})
    assert drawn == dedent("""\
                   ╭───╮
                   │ x │
                   ╰─┬─╯
        ╭──────┬─────┴──────╮
        │ ┌────┴────┐  ┌────┴────┐
        │ │ conv_1  │  │ conv_2  │
        │ │   41%   │  │         │
        │ └────┬────┘  └────┬────┘
        │      ╰───╮   ╭────╯
        │       ┌──┴───┴──┐
        │       │ conv_3  │
        │       └────┬────┘
        ╰──────────╮ │
                ┌──┴─┴────┐
                │ conv_4  │
                └────┬────┘
                     │
                   ╭─┴─╮
                   │ y │
                   ╰───╯""")


def test_a_chain_is_straight() -> None:
    drawn = draw(wired((0,), (1,), (2,)))
    assert {line.index("│") for line in drawn.splitlines() if line.strip() == "│"} == {5}


def test_eight_parallel_modules_fit_into_eighty_columns_when_asked_to() -> None:
    topology = wired(*[(0,)] * 8)
    assert max(map(len, draw(topology, columns=80).splitlines())) <= 80
    assert max(map(len, draw(topology).splitlines())) > 80


def test_names_are_those_of_the_plan() -> None:
    topology = wired((0,), (0,), (1, 2), kind="dense").canonical()
    steps = plan(topology, {"x": (8,)}, {"y": (3,)}).steps
    assert node_names(topology.nodes) == [step.name for step in steps]


def test_several_inputs_and_outputs_are_drawn() -> None:
    a, b = Node("input", (), {"name": "image"}), Node("input", (), {"name": "sound"})
    modules = [Node("conv", (0,)), Node("dense", (1,)), Node("dense", (2, 3))]
    outputs = [Node("output", (4,), {"name": "what"}), Node("output", (4, 2), {"name": "where"})]
    topology = Topology((a, b, *modules, *outputs))
    names = node_names(topology.canonical().nodes)
    assert edges_of(draw(topology), names) == edges(topology, names)


@pytest.mark.parametrize("columns", [None, 60])
@given(data=st.data())
def test_wires_lead_exactly_where_the_topology_says(columns: int | None, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 9))
    sources = [
        tuple(sorted(data.draw(st.sets(st.integers(0, number), min_size=1, max_size=4)))) for number in range(count)
    ]
    topology = wired(*sources)
    names = node_names(topology.canonical().nodes)
    assert edges_of(draw(topology, columns=columns), names) == edges(topology, names)


def edges(topology: Topology, names: list[str]) -> set[tuple[str, str]]:
    nodes = topology.canonical().nodes
    return {(names[source], names[i]) for i, node in enumerate(nodes) for source in node.inputs}
