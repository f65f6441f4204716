"""Wiring: which edges between slots, inputs and outputs a space has parameters for. It knows nothing of kinds.

An edge leads from a slot (its number) or an input (its name) to a later slot or an output. No edge leads from an input
to an output: it would skip the whole network.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nasmod.errors import SpaceError

Edge = tuple[int | str, int | str]


@dataclass(frozen=True)
class Wiring:
    """The edges of a space: all forward ones (``free``), one after the other (``chain``), side by side (``parallel``),
    or just these (``fixed``).

    >>> list(Wiring("free", 2, ("x",), ("y",)).parameters)
    ['edge_x_1', 'edge_0_1', 'edge_0_y']
    """

    edges: str
    slots: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fixed: frozenset[Edge] = frozenset()

    @cached_property
    def parameters(self) -> dict[str, Edge]:
        """Names of the boolean parameters. What the repair would add in any case has none."""
        if self.edges in ("chain", "fixed"):
            return {}
        found: list[Edge] = []
        for slot in range(self.slots):
            if len(self.inputs) > 1 or (self.edges == "free" and slot > 0):
                found += [(name, slot) for name in self.inputs]
            if self.edges == "free":
                found += [(source, slot) for source in range(slot)]
        for slot in range(self.slots):
            if len(self.outputs) > 1 or (self.edges == "free" and slot < self.slots - 1):
                found += [(slot, name) for name in self.outputs]
        named = {f"edge_{source}_{reader}": (source, reader) for source, reader in found}
        if len(named) < len(found):
            names = ", ".join((*self.inputs, *self.outputs))
            raise SpaceError(f"Inputs and outputs named {names} give two edges the same parameter name; rename one.")
        return named

    def reads_several(self, slot: int) -> bool:
        """Whether a module in the slot may have to merge."""
        if self.edges == "fixed":
            return sum(reader == slot for _, reader in self.fixed) > 1
        return len(self.inputs) > 1 or (self.edges == "free" and slot > 0)

    def wired(self, active: Sequence[int], values: Mapping[str, Any]) -> frozenset[Edge]:
        """The edges between active slots, inputs and outputs, repaired: every module is live and every input is read.

        Fixed edges are taken as they are. Else a module that reads nothing reads every input, and an input that is
        still unread is read by the first module. A module that feeds nothing feeds every output, and an output without
        a source reads the last module. So no input and no output is preferred to another.

        >>> sorted(Wiring("free", 2, ("a", "b"), ("y",)).wired([0, 1], {"edge_a_0": True, "edge_0_1": True}), key=str)
        [('a', 0), ('b', 0), (0, 1), (1, 'y')]
        """
        if self.edges == "chain":
            first, last = active[0], active[-1]
            ends: list[Edge] = [(name, first) for name in self.inputs] + [(last, name) for name in self.outputs]
            return frozenset([*ends, *itertools.pairwise(active)])
        if self.edges == "fixed":
            return self._among(active, self.fixed)
        edges = set(self._among(active, [edge for name, edge in self.parameters.items() if values.get(name)]))
        reading, read = {reader for _, reader in edges}, {source for source, _ in edges}
        edges |= {(name, slot) for slot in active if slot not in reading for name in self.inputs}
        edges |= {(slot, name) for slot in active if slot not in read for name in self.outputs}
        reading, read = {reader for _, reader in edges}, {source for source, _ in edges}
        edges |= {(name, active[0]) for name in self.inputs if name not in read}
        edges |= {(active[-1], name) for name in self.outputs if name not in reading}
        return frozenset(edges)

    def live(self, active: Iterable[int]) -> list[int]:
        """Those of the active slots, ascending, that lie on a path of fixed edges from an input to an output."""
        live = sorted(active)
        while True:
            edges = self._among(live, self.fixed)
            reading, read = {reader for _, reader in edges}, {source for source, _ in edges}
            left = [slot for slot in live if slot in reading and slot in read]
            if left == live:
                return live
            live = left

    def _among(self, active: Iterable[int], edges: Iterable[Edge]) -> frozenset[Edge]:
        """Those of the edges that lie between active slots, inputs and outputs."""
        here = {*active, *self.inputs, *self.outputs}
        return frozenset(edge for edge in edges if edge[0] in here and edge[1] in here)
