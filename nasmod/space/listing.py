"""Listings: everything a small space holds, so that a study of it can end exactly."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from nasmod.space.slot import Slot
from nasmod.topology import Parameter, Topology

if TYPE_CHECKING:
    from nasmod.space.space import Space


def list_topologies(space: Space, limit: int) -> list[Topology] | None:
    """Every distinct topology, or None if more than `limit` encodings would have to be looked at."""
    sizes = [math.prod(found.count for found in kind.searched.values()) for kind in space.kinds.values()]
    labels = sum(sizes) * len(space.merges)
    counts = range(space.min_modules, space.max_modules + 1)
    if sum(labels**count * 2.0 ** len(_edge_names(space, count)) for count in counts) > limit:
        return None
    found: dict[str, Topology] = {}
    for topology in itertools.chain.from_iterable(_of_size(space, count) for count in counts):
        found.setdefault(topology.key, topology)
    return list(found.values())


def list_proposals(space: Space, limit: int) -> list[tuple[Topology, dict[str, Parameter]]] | None:
    """Every topology with every combination of searched settings, or None if that takes more than `limit`."""
    combinations = math.prod(found.count for found in space.setting_distributions.values())
    topologies = list_topologies(space, limit)
    if topologies is None or len(topologies) * combinations > limit:
        return None
    values = [found.values() for found in space.setting_distributions.values()]
    return [
        (topology, dict(zip(space.settings, combination, strict=True)))
        for topology in topologies
        for combination in itertools.product(*values)
    ]


def _edge_names(space: Space, count: int) -> list[str]:
    """Parameters of the edges that the first `count` slots can have among themselves."""
    return [
        name
        for name, edge in space.wiring.parameters.items()
        if all(end < count for end in edge if isinstance(end, int))
    ]


def _of_size(space: Space, count: int) -> Iterator[Topology]:
    names, active = _edge_names(space, count), range(count)
    wirings = {  # a dictionary, for its order
        space.wiring.wired(active, dict(zip(names, bits, strict=True))): None
        for bits in itertools.product((False, True), repeat=len(names))
    }
    labels = [
        Slot(kind.name, params, merge)
        for kind in space.kinds.values()
        for params in kind.all_params()
        for merge in space.merges
    ]
    for edges in wirings:
        for chosen in itertools.product(labels, repeat=count):
            yield space.assemble(dict(enumerate(chosen)), edges)
