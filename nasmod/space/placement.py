"""Placements: which module of a topology lies in which slot. They know nothing of kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

BEAM = 32  # placements kept per slot


def nearest_placement(
    slots: int, sources: Sequence[frozenset[int]], cost: Callable[[int, int | None, dict[int, int]], int]
) -> list[int]:
    """The slot of each module such that every module lies behind those it reads, at small total cost.

    `sources[m]` are the modules that module m reads; `cost(slot, module, placed)` is what it costs to put a module, or
    none, into a slot when `placed` gives the slots of the modules before. A beam search: exact unless more than `BEAM`
    placements are equally promising.

    >>> dear_in_the_middle = lambda slot, module, placed: slot == 1 and module is not None
    >>> nearest_placement(3, [frozenset(), frozenset({0})], dear_in_the_middle)
    [0, 2]
    """
    beam: list[tuple[int, dict[int, int]]] = [(0, {})]
    for slot in range(slots):
        grown = []
        for so_far, placed in beam:
            if slots - slot > len(sources) - len(placed):  # room enough to leave this slot empty
                grown.append((so_far + cost(slot, None, placed), placed))
            for module, read in enumerate(sources):
                if module not in placed and read <= placed.keys():
                    grown.append((so_far + cost(slot, module, placed), {**placed, module: slot}))
        beam = sorted(grown, key=lambda state: state[0])[:BEAM]
    placed = beam[0][1]
    return [placed[module] for module in range(len(sources))]
