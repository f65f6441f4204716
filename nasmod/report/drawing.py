"""A topology drawn in the terminal: boxes in layers, data flowing down, every wire traceable by eye.

A crossing (``─│─``) never looks like a join (``┬ ┴ ├ ┤ ┼``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from itertools import pairwise

from nasmod.report.layout import Box, Point, Wire, lay_out
from nasmod.topology import Topology

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8
LINES = {
    UP: "│", DOWN: "│", UP | DOWN: "│", LEFT: "─", RIGHT: "─", LEFT | RIGHT: "─",
    UP | RIGHT: "╰", UP | LEFT: "╯", DOWN | RIGHT: "╭", DOWN | LEFT: "╮",
    UP | DOWN | RIGHT: "├", UP | DOWN | LEFT: "┤", UP | LEFT | RIGHT: "┴", DOWN | LEFT | RIGHT: "┬",
    UP | DOWN | LEFT | RIGHT: "┼",
}  # fmt: skip


def draw(topology: Topology, notes: Mapping[str, str] | None = None, columns: int | None = None) -> str:
    """The live part as text. `notes` adds a second line to boxes by name, such as what a module carries.

    Boxes stand closer where the picture would be wider than `columns`.

    >>> from nasmod.topology import Node
    >>> x, y = Node("input", (), {"name": "x"}), Node("output", (1, 2), {"name": "y"})
    >>> print(draw(Topology((x, Node("dense", (0,), {"width": 8}), Node("conv", (0,)), y))))
             ╭───╮
             │ x │
             ╰─┬─╯
         ╭─────┴──────╮
    ┌────┴────┐  ┌────┴────┐
    │ conv_1  │  │ dense_1 │
    └────┬────┘  └────┬────┘
         ╰────╮ ╭─────╯
            ╭─┴─┴─╮
            │  y  │
            ╰─────╯
    """
    layout = lay_out(topology, notes, columns)
    characters = {point: _character(ways) for point, ways in _ways(layout.wires).items()}
    for number, box in enumerate(layout.boxes):
        ins = {wire.points[-1] for wire in layout.wires if wire.reader == number}
        outs = {wire.points[0] for wire in layout.wires if wire.source == number}
        characters |= _box(box, ins, outs)
    left, right = layout.columns
    lines = ("".join(characters.get((x, y), " ") for x in range(left, right + 1)) for y in range(layout.height))
    return "\n".join(line.rstrip() for line in lines)


def _box(box: Box, ins: set[Point], outs: set[Point]) -> dict[Point, str]:
    corners = "┌┐└┘" if box.is_module else "╭╮╰╯"
    edge = "─" * (box.width - 2)
    rows = [corners[0] + edge + corners[1], *(f"│{line:^{box.width - 2}}│" for line in box.lines)]
    rows.append(corners[2] + edge + corners[3])
    found = {(x, y): character for y, row in enumerate(rows, box.top) for x, character in enumerate(row, box.left)}
    return found | dict.fromkeys(ins, "┴") | dict.fromkeys(outs, "┬")


def _ways(wires: Iterable[Wire]) -> dict[Point, dict[int, int]]:
    """Which ways the wires of each source go at each point."""
    found: dict[Point, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for wire in wires:
        for (x, y), (to_x, to_y) in pairwise(wire.points):
            onward, back = (DOWN, UP) if x == to_x else (RIGHT, LEFT) if x < to_x else (LEFT, RIGHT)
            step = (to_x > x) - (to_x < x), (to_y > y)
            while (x, y) != (to_x, to_y):
                found[x, y][wire.source] |= onward
                x, y = x + step[0], y + step[1]
                found[x, y][wire.source] |= back
    return found


def _character(ways: Mapping[int, int]) -> str:
    """One source's line, or the upright one of two that cross."""
    (first, *others) = ways.values()
    return "│" if others else LINES[first]
