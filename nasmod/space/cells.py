"""The places of a fixed wiring, written out: cells that are stacked, some several times, become places one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from nasmod.errors import SpaceError, unknown
from nasmod.space.file import MAX_MODULES, CellSection, PlaceSection, WiringSection

IN = "in"  # what a cell reads: what the cell before it gives, the first one the inputs of the data


@dataclass(frozen=True)
class Layout:
    """Places by name, in order, with what each reads, and the places that each output reads."""

    places: dict[str, PlaceSection]
    outputs: dict[str, tuple[str, ...]]


def lay_out(wiring: WiringSection, inputs: Iterable[str], outputs: Iterable[str]) -> Layout:
    """The places of a wiring for data of these inputs and outputs. Raises `SpaceError` in one line.

    A cell that is stacked for the second time has places that are like those of its first.

    >>> cell = CellSection(places={"a": PlaceSection(reads=("in",))}, gives=("a",))
    >>> wiring = WiringSection(edges="fixed", cells={"cell": cell}, stack=("cell", "cell"))
    >>> found = lay_out(wiring, ["x"], ["y"])
    >>> [(name, place.reads, place.like) for name, place in found.places.items()], found.outputs
    ([('cell_1.a', ('x',), None), ('cell_2.a', ('cell_1.a',), 'cell_1.a')], {'y': ('cell_2.a',)})
    """
    if not wiring.stack:
        return Layout(dict(wiring.places), dict(wiring.outputs))
    for name in wiring.stack:
        if name not in wiring.cells:
            raise SpaceError(f"Search space, wiring.stack: {unknown('cell', name, wiring.cells)}")
    places: dict[str, PlaceSection] = {}
    given, times = tuple(inputs), Counter[str]()
    for name in wiring.stack:
        times[name] += 1
        own = _checked(name, wiring.cells[name], f"{name}_{times[name]}")
        for place, section in wiring.cells[name].places.items():
            reads = [source for read in section.reads for source in (given if read == IN else (own[read],))]
            like = own[section.like] if section.like else None
            first = f"{name}_1.{place}" if times[name] > 1 else like
            kinds = None if first else section.kinds
            places[own[place]] = PlaceSection(reads=tuple(reads), kinds=kinds, like=first)
        given = tuple(own[place] for place in wiring.cells[name].gives)
    for name in wiring.cells:
        if name not in times:
            raise SpaceError(f"Search space, wiring.cells.{name}: the stack does not have this cell.")
    if len(places) > MAX_MODULES:
        raise SpaceError(f"Search space, wiring.stack: {len(places)} places in all, and {MAX_MODULES} are the most.")
    return Layout(places, dict.fromkeys(outputs, given))


def _checked(name: str, cell: CellSection, stacked: str) -> dict[str, str]:
    """The names that the places of a cell have in the whole."""
    own: dict[str, str] = {}
    for place, section in cell.places.items():
        where = f"Search space, wiring.cells.{name}.places.{place}"
        if place == IN:
            raise SpaceError(f"{where}: '{IN}' is what the cell reads; rename the place.")
        for read in section.reads:
            if read not in (IN, *own):
                raise SpaceError(f"{where}: {unknown('place named before', read, (IN, *own))}")
        if section.like is not None and section.like not in own:
            raise SpaceError(f"{where}: {unknown('place named before', section.like, own)}")
        own[place] = f"{stacked}.{place}"
    for place in cell.gives:
        if place not in own:
            raise SpaceError(f"Search space, wiring.cells.{name}.gives: {unknown('place', place, own)}")
    return own
