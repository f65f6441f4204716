"""Where the boxes and wires of a drawn topology lie, on a grid of characters: the terminal, SVG and plots share it.

Boxes stand in layers, data flows down. A wire that skips layers runs straight down beside the boxes. Between two layers
the wires of each node have a row of their own, so that two only ever cross.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

from nasmod.topology import Node, Topology

GAP = 2  # columns between boxes, and between lanes
MOST_ORDERS_TRIED = 5  # wires between two layers: up to 120 orders of their rows

Point = tuple[int, int]
"""Column and row."""


@dataclass
class Box:
    """A node: its lines of text within a border of one character. Its rows are filled in once all are placed."""

    name: str
    lines: list[str]
    is_module: bool
    width: int
    left: int = 0
    top: int = 0

    @property
    def height(self) -> int:
        """With its border."""
        return len(self.lines) + 2

    @property
    def centre(self) -> int:
        """The column in its middle, where its wire leaves it."""
        return self.left + self.width // 2

    @property
    def bottom(self) -> int:
        """The row of its lower border."""
        return self.top + self.height - 1


@dataclass(frozen=True)
class Wire:
    """From the lower border of a box to the upper border of one that reads it, by its corners; boxes by index."""

    source: int
    reader: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Layout:
    """A topology's live part, placed. The leftmost column may be negative."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]

    @property
    def columns(self) -> tuple[int, int]:
        """The leftmost and the rightmost."""
        every = [column for wire in self.wires for column, _ in wire.points]
        every += [column for box in self.boxes for column in (box.left, box.left + box.width - 1)]
        return min(every), max(every)

    @property
    def height(self) -> int:
        """How many rows there are."""
        return 1 + max(box.bottom for box in self.boxes)


def lay_out(topology: Topology, notes: Mapping[str, str] | None = None, columns: int | None = None) -> Layout:
    """Place the live part. `notes` adds lines to boxes by name, such as what a module carries.

    Boxes stand closer where the picture would be wider than `columns`.
    """
    nodes = topology.canonical().nodes
    texts = [[name, *(notes or {}).get(name, "").splitlines()] for name in node_names(nodes)]
    wide = _Placing(nodes, texts).layout()
    left, right = wide.columns
    fits = columns is None or right - left < columns
    return wide if fits else _Placing(nodes, texts, padding=0, gap=1).layout()


def node_names(nodes: Sequence[Node]) -> list[str]:
    """What each node of a canonical topology is called: inputs and outputs by name, modules counted in their kind."""
    counts: Counter[str] = Counter()
    names = []
    for node in nodes:
        counts[node.kind] += 1
        names.append(f"{node.kind}_{counts[node.kind]}" if node.is_module else str(node.params["name"]))
    return names


@dataclass(frozen=True)
class _Level:
    """The wires of one node between two layers: the column from which they come, and those at which they leave."""

    source: int
    top: int
    bottoms: tuple[int, ...]

    @property
    def span(self) -> tuple[int, int]:
        columns = (self.top, *self.bottoms)
        return min(columns), max(columns)

    @property
    def straight(self) -> bool:
        return self.bottoms == (self.top,)


class _Placing:
    """Places boxes in layers and lanes beside them, then the wires, channel by channel."""

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
            Box(
                text[0],
                [*text, *[""] * (heights[self.layer[i]] - len(text))],
                nodes[i].is_module,
                max(max(map(len, text)) + 2 + 2 * padding, 2 * len(nodes[i].inputs) + 3) | 1,  # odd: it has a middle
            )
            for i, text in enumerate(texts)
        ]
        self._order()
        self.lanes: dict[int, int] = {}
        while not self._place():  # an input had no free column for its wire: a wider box has
            continue

    def layout(self) -> Layout:
        top = 0
        turns: list[dict[int, int]] = []  # of each channel: source -> the row of its level part
        for depth, row in enumerate(self.rows):
            for i in row:
                self.boxes[i].top = top
            top += self.boxes[row[0]].height
            if depth + 1 < len(self.rows):
                levels = _rows_of([level for level in self._levels(depth) if not level.straight])
                turns.append({level.source: top + number for number, of_row in enumerate(levels) for level in of_row})
                top += max(len(levels), 1)
        wires = (
            Wire(source, reader, tuple(self._corners(source, reader, turns)))
            for source, readers in enumerate(self.readers)
            for reader in readers
        )
        return Layout(tuple(self.boxes), tuple(wires))

    def _corners(self, source: int, reader: int, turns: Sequence[Mapping[int, int]]) -> Iterator[Point]:
        column = self.boxes[source].centre
        yield column, self.boxes[source].bottom
        for depth in range(self.layer[source], self.layer[reader]):
            last = depth + 1 == self.layer[reader]
            after = self.pins[reader, source] if last else self.lanes[source]
            if after != column:
                yield from ((column, turns[depth][source]), (after, turns[depth][source]))
            column = after
        yield column, self.boxes[reader].top

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
        """Sources with a wire in the channel below a layer."""
        return [i for i in range(len(self.nodes)) if self.layer[i] <= depth < self._last_layer(i)]

    def _top(self, source: int, depth: int) -> int:
        return self.boxes[source].centre if self.layer[source] == depth else self.lanes[source]

    def _levels(self, depth: int) -> list[_Level]:
        """The wires of the channel below a layer."""
        levels = []
        for source in self._wired(depth):
            bottoms = [self.pins[k, source] for k in self.readers[source] if self.layer[k] == depth + 1]
            if self._last_layer(source) > depth + 1:
                bottoms.append(self.lanes[source])
            levels.append(_Level(source, self._top(source, depth), tuple(sorted(bottoms))))
        return levels


def _rows_of(levels: Sequence[_Level]) -> list[list[_Level]]:
    """In rows, in the order with the fewest crossings; neighbours that do not overlap share a row."""
    ordered: Sequence[_Level] = sorted(levels, key=lambda level: level.span)
    if len(ordered) <= MOST_ORDERS_TRIED:
        ordered = min(permutations(ordered), key=_crossings, default=())
    else:  # one after the other, each where it adds the fewest
        found: list[_Level] = []
        for wire in ordered:
            places = [[*found[:n], wire, *found[n:]] for n in range(len(found) + 1)]
            found = min(places, key=_crossings)
        ordered = found
    rows: list[list[_Level]] = []
    for wire in ordered:
        if rows and all(wire.span[1] < other.span[0] or other.span[1] < wire.span[0] for other in rows[-1]):
            rows[-1].append(wire)
        else:
            rows.append([wire])
    return rows


def _crossings(ordered: Sequence[_Level]) -> int:
    """How often an upright part of one wire crosses the level part of another."""
    count = 0
    for number, wire in enumerate(ordered):
        low, high = wire.span
        for above in ordered[:number]:
            count += sum(low < column < high for column in above.bottoms)
        for below in ordered[number + 1 :]:
            count += low < below.top < high
    return count
