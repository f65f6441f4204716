"""Placements: which module of a topology lies in which slot. They know nothing of kinds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

BEAM = 16  # placements kept per slot and number of modules placed so far


def nearest_placement(
    slots: int, sources: Sequence[frozenset[int]], cost: Callable[[int, int | None, dict[int, int]], int]
) -> list[int]:
    """The slot of each module such that every module lies behind those it reads, at small total cost.

    `sources[m]` are the modules that module m reads; `cost(slot, module, placed)` is what it costs to put a module, or
    none, into a slot when `placed` gives the slots of the modules before. A beam search: placements that have placed
    equally many modules compete, so that those which pay early are not lost to those which put it off. Never worse than
    the first slots in order; modules are given in topological order.

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
        grown.sort(key=lambda state: state[0])
        rivals = Counter[int]()
        beam = []
        for state in grown:
            rivals[len(state[1])] += 1
            if rivals[len(state[1])] <= BEAM:
                beam.append(state)
    in_order = [slot if slot < len(sources) else None for slot in range(slots)]
    before = [{module: module for module in range(min(slot, len(sources)))} for slot in range(slots)]
    if sum(map(cost, range(slots), in_order, before)) < beam[0][0]:
        return list(range(len(sources)))
    return [beam[0][1][module] for module in range(len(sources))]
