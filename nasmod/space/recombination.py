"""Recombination: a topology of modules of two others."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nasmod.errors import SpaceError, TopologyError
from nasmod.space.mutation import with_merges
from nasmod.topology import Topology, cross

if TYPE_CHECKING:
    from nasmod.space.space import Space

TRIES = 20  # of cuts


def recombine(space: Space, one: Topology, other: Topology, generator: random.Random) -> Topology:
    """The first part of one topology and the last part of another, unlike both; `SpaceError` if none is found.

    The result depends on the keys of the two alone, not on the order of their nodes.
    """
    first, second = one.canonical(), other.canonical()
    for _ in range(TRIES):
        cuts = generator.randrange(len(first.nodes)), generator.randrange(len(second.nodes))
        try:
            made = with_merges(space, cross(first, cuts[0], second, cuts[1]), generator)
        except TopologyError:
            continue
        if made.key not in (first.key, second.key) and space.contains(made):
            return made
    raise SpaceError(f"No topology of the space has parts of both, in {TRIES} tries.")
