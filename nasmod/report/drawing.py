"""A topology drawn in the terminal: boxes in layers, data flowing down, every wire traceable by eye.

A wire that skips layers runs straight down beside the boxes. Between two layers each wire has a row of its own, so two
wires only ever cross, and a crossing (``─│─``) never looks like a join (``┬ ┴ ├ ┤ ┼``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

from nasmod.topology import Node, Topology

GAP = 2  # columns between boxes, and between lanes
MOST_ORDERS_TRIED = 5  # wires between two layers: up to 120 orders of their rows

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
    nodes = topology.canonical().nodes
    names = node_names(nodes)
    texts = [[name, *_note(notes, name)] for name in names]
    wide = _Picture(nodes, texts).text()
    fits = columns is None or max(map(len, wide.splitlines())) <= columns
    return wide if fits else _Picture(nodes, texts, padding=0, gap=1).text()


def node_names(nodes: Sequence[Node]) -> list[str]:
    """What each node of a canonical topology is called: inputs and outputs by name, modules counted in their kind."""
    counts: Counter[str] = Counter()
    names = []
    for node in nodes:
        counts[node.kind] += 1
        names.append(f"{node.kind}_{counts[node.kind]}" if node.is_module else str(node.params["name"]))
    return names


def _note(notes: Mapping[str, str] | None, name: str) -> list[str]:
    return [notes[name]] if notes and name in notes else []


@dataclass
class _Box:
    lines: list[str]
    width: int
    left: int = 0

    @property
    def centre(self) -> int:
        return self.left + self.width // 2


@dataclass(frozen=True)
class _Wire:
    """One source's wire through one channel: where it comes from above, and where it leaves below."""

    top: int
    bottoms: tuple[int, ...]

    @property
    def span(self) -> tuple[int, int]:
        columns = (self.top, *self.bottoms)
        return min(columns), max(columns)

    @property
    def straight(self) -> bool:
        return self.bottoms == (self.top,)


class _Picture:
    """Places boxes in layers and lanes beside them, then draws layer by layer and channel by channel."""

    def __init__(self, nodes: Sequence[Node], texts: Sequence[list[str]], padding: int = 1, gap: int = GAP) -> None:
        self.nodes = nodes
        self.gap = gap
        self.readers = [[i for i, node in enumerate(nodes) if source in node.inputs] for source in range(len(nodes))]
        self.layer = self._layers()
        self.rows: list[list[int]] = [
            [i for i in range(len(nodes)) if self.layer[i] == depth] for depth in range(max(self.layer) + 1)
        ]
        heights = {depth: max(len(texts[i]) for i in row) for depth, row in enumerate(self.rows)}
        self.boxes = [
            _Box(
                [*text, *[""] * (heights[self.layer[i]] - len(text))],
                max(max(map(len, text)) + 2 + 2 * padding, 2 * len(nodes[i].inputs) + 3) | 1,  # odd: it has a middle
            )
            for i, text in enumerate(texts)
        ]
        self._order()
        self.lanes: dict[int, int] = {}
        while not self._place():  # an input had no free column for its wire: a wider box has
            continue

    def text(self) -> str:
        lines: list[str] = []
        for depth in range(len(self.rows)):
            if depth:
                lines += self._channel(depth - 1)
            lines += self._boxes(depth)
        left = min(len(line) - len(line.lstrip()) for line in lines)
        return "\n".join(line[left:].rstrip() for line in lines)

    def _layers(self) -> list[int]:
        depth: list[int] = []
        for node in self.nodes:
            depth.append(1 + max((depth[source] for source in node.inputs), default=-1))
        for index, node in enumerate(self.nodes):
            if node.kind == "output":
                depth[index] = max(depth)
        return depth

    def _order(self) -> None:
        """Each layer's boxes by where their neighbours stand, downwards and upwards a few times."""
        place = {i: float(n) for row in self.rows for n, i in enumerate(row)}
        for sweep in range(6):
            down = sweep % 2 == 0
            for row in self.rows if down else reversed(self.rows):
                middle = (len(row) - 1) / 2
                wanted = {}
                for i in row:
                    near = self.nodes[i].inputs if down else self.readers[i]
                    wanted[i] = sum(place[k] for k in near) / len(near) if near else place[i]
                row.sort(key=lambda i: (wanted[i], i))
                place.update({i: n - middle for n, i in enumerate(row)})

    def _place(self) -> bool:
        """Columns of boxes and lanes. False when a box must grow first (it has been widened)."""
        widths = [sum(self.boxes[i].width for i in row) + self.gap * (len(row) - 1) for row in self.rows]
        for row, width in zip(self.rows, widths, strict=True):
            left = (max(widths) - width) // 2
            for i in row:
                self.boxes[i].left = left
                left += self.boxes[i].width + self.gap
        skipping = [i for i in range(len(self.nodes)) if self._last_layer(i) > self.layer[i] + 1]
        middle = max(widths) / 2
        sides: dict[str, list[int]] = {"left": [], "right": []}
        for i in skipping:
            ends = [self.boxes[k].centre for k in self.readers[i] if self.layer[k] > self.layer[i] + 1]
            lean = sum(ends) / len(ends) + self.boxes[i].centre - 2 * middle
            fuller = len(sides["left"]) > len(sides["right"])
            sides["right" if lean > 0.5 or (abs(lean) <= 0.5 and fuller) else "left"].append(i)
        self.lanes = {i: -GAP - GAP * n for n, i in enumerate(reversed(sides["left"]))}
        self.lanes |= {i: max(widths) + GAP - 1 + GAP * n for n, i in enumerate(reversed(sides["right"]))}
        return self._choose_pins()

    def _last_layer(self, source: int) -> int:
        return max((self.layer[reader] for reader in self.readers[source]), default=self.layer[source])

    def _choose_pins(self) -> bool:
        """The column at which each box reads each source: near to where the wire comes from, never on another's."""
        self.pins: dict[tuple[int, int], int] = {}
        for depth in range(1, len(self.rows)):
            tops = {source: self._top(source, depth - 1) for source in self._wired(depth - 1)}
            for reader in self.rows[depth]:
                box = self.boxes[reader]
                sources = sorted(self.nodes[reader].inputs, key=lambda source: tops[source])
                for n, source in enumerate(sources):
                    inside = box.left < tops[source] < box.left + box.width - 1
                    spread = box.left + (n + 1) * box.width // (len(sources) + 1)
                    wanted = tops[source] if inside else spread  # straight down where that is possible
                    taken = {column for other, column in tops.items() if other != source}
                    taken |= {column for (by, _), column in self.pins.items() if by == reader}
                    after = max((c for (by, _), c in self.pins.items() if by == reader), default=box.left - 1)
                    last = box.left + box.width - 2
                    free: list[int] = []
                    for apart in (2, 1):  # wires side by side are hard to tell apart
                        columns = range(after + apart, last - apart * (len(sources) - n - 1) + 1)
                        free = free or [column for column in columns if column > box.left and column not in taken]
                    if not free:
                        box.width += 2
                        return False
                    self.pins[reader, source] = min(free, key=lambda column: (abs(column - wanted), column))
        return True

    def _wired(self, depth: int) -> list[int]:
        """Sources whose wires pass the channel below a layer."""
        return [i for i in range(len(self.nodes)) if self.layer[i] <= depth < self._last_layer(i)]

    def _top(self, source: int, depth: int) -> int:
        return self.boxes[source].centre if self.layer[source] == depth else self.lanes[source]

    def _channel(self, depth: int) -> list[str]:
        wires = []
        for source in self._wired(depth):
            bottoms = [self.pins[k, source] for k in self.readers[source] if self.layer[k] == depth + 1]
            if self._last_layer(source) > depth + 1:
                bottoms.append(self.lanes[source])
            wires.append(_Wire(self._top(source, depth), tuple(sorted(bottoms))))
        rows = _rows_of([wire for wire in wires if not wire.straight])
        height = max(len(rows), 1)
        row_of = {wire: number for number, row in enumerate(rows) for wire in row}
        cells: dict[tuple[int, int], list[int]] = {}
        for wire in wires:
            for cell, bits in _cells(wire, row_of.get(wire), height).items():
                cells.setdefault(cell, []).append(bits)
        return [self._line({column: _character(bits) for (r, column), bits in cells.items() if r == row})
                for row in range(height)]  # fmt: skip

    def _boxes(self, depth: int) -> list[str]:
        height = len(self.boxes[self.rows[depth][0]].lines) + 2
        lanes = {self.lanes[i]: "│" for i in range(len(self.nodes)) if self.layer[i] < depth < self._last_layer(i)}
        drawn: list[dict[int, str]] = [dict(lanes) for _ in range(height)]
        for i in self.rows[depth]:
            box, round_ = self.boxes[i], not self.nodes[i].is_module
            ins = {column for (reader, _), column in self.pins.items() if reader == i}
            outs = {box.centre} if self.readers[i] else set()
            _border(drawn[0], box, "╭╮" if round_ else "┌┐", "┴", ins)
            _border(drawn[-1], box, "╰╯" if round_ else "└┘", "┬", outs)
            for row, line in zip(drawn[1:-1], box.lines, strict=True):
                text = f"│{line:^{box.width - 2}}│"
                row.update(enumerate(text, box.left))
        return [self._line(row) for row in drawn]

    def _line(self, cells: Mapping[int, str]) -> str:
        first = min([0, *self.lanes.values()])
        return "".join(cells.get(column, " ") for column in range(first, max(cells, default=first) + 1))


def _border(row: dict[int, str], box: _Box, corners: str, pin: str, pins: set[int]) -> None:
    for column in range(box.left, box.left + box.width):
        row[column] = pin if column in pins else "─"
    row[box.left], row[box.left + box.width - 1] = corners[0], corners[1]


def _cells(wire: _Wire, row: int | None, height: int) -> dict[tuple[int, int], int]:
    """Which ways a wire goes in each (row, column) of its channel; `row` is that of its horizontal part."""
    cells: Counter[tuple[int, int]] = Counter()
    if row is None:
        return {(r, wire.top): UP | DOWN for r in range(height)}
    for r in range(row):
        cells[r, wire.top] |= UP | DOWN
    cells[row, wire.top] |= UP
    for bottom in wire.bottoms:
        cells[row, bottom] |= DOWN
        for r in range(row + 1, height):
            cells[r, bottom] |= UP | DOWN
    low, high = wire.span
    for column, following in pairwise(range(low, high + 1)):
        cells[row, column] |= RIGHT
        cells[row, following] |= LEFT
    return dict(cells)


def _character(bits: list[int]) -> str:
    """One wire's line, or the upright one of two that cross."""
    return LINES[bits[0]] if len(bits) == 1 else "│"


def _rows_of(wires: Sequence[_Wire]) -> list[list[_Wire]]:
    """Wires in rows, in the order with the fewest crossings; neighbours that do not overlap share a row."""
    ordered: Sequence[_Wire] = sorted(wires, key=lambda wire: wire.span)
    if len(ordered) <= MOST_ORDERS_TRIED:
        ordered = min(permutations(ordered), key=_crossings, default=())
    else:  # one after the other, each where it adds the fewest
        found: list[_Wire] = []
        for wire in ordered:
            places = [[*found[:n], wire, *found[n:]] for n in range(len(found) + 1)]
            found = min(places, key=_crossings)
        ordered = found
    rows: list[list[_Wire]] = []
    for wire in ordered:
        if rows and all(wire.span[1] < other.span[0] or other.span[1] < wire.span[0] for other in rows[-1]):
            rows[-1].append(wire)
        else:
            rows.append([wire])
    return rows


def _crossings(ordered: Sequence[_Wire]) -> int:
    """How often an upright part of one wire crosses the level part of another."""
    count = 0
    for number, wire in enumerate(ordered):
        low, high = wire.span
        for above in ordered[:number]:
            count += sum(low < column < high for column in above.bottoms)
        for below in ordered[number + 1 :]:
            count += low < below.top < high
    return count
