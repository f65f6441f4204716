"""Drawing: a random topology of a space. The number of modules comes first.

Drawn edge by edge, the smallest topologies drown all others: with free edges, 21 % of all encodings of a space of eight
slots are one and the same module by itself.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nasmod.space.slot import Slot
from nasmod.topology import Parameter, Topology, random_edges

if TYPE_CHECKING:
    from nasmod.space.space import Space
    from nasmod.space.wiring import Edge

MOST_SKIPS = 0.6  # half the topologies have no edge that no module needs; in the others each is at most so probable


def draw(space: Space, generator: random.Random) -> tuple[Topology, dict[str, Parameter]]:
    """A topology of the space with searched settings; every topology of the space can be drawn."""
    count = generator.randint(space.min_modules, space.max_modules)
    edges = space.wiring.wired(range(count), {}) if space.wiring.edges == "chain" else _edges(space, count, generator)
    slots = {slot: draw_slot(space, generator) for slot in range(count)}
    return space.assemble(slots, edges), draw_settings(space, generator)


def draw_slot(space: Space, generator: random.Random) -> Slot:
    """A random module: each kind as likely as another."""
    kind = generator.choice(list(space.kinds.values()))
    searched = {name: found.random(generator) for name, found in kind.searched.items()}
    return Slot(kind.name, kind.params(searched), generator.choice(space.merges))


def draw_settings(space: Space, generator: random.Random) -> dict[str, Parameter]:
    """Random values of the searched training settings."""
    return {name: found.random(generator) for name, found in space.setting_distributions.items()}


def _edges(space: Space, count: int, generator: random.Random) -> set[Edge]:
    family = generator.choice(space.file.wiring.generators) if space.wiring.edges == "free" else "parallel"
    edges: set[Edge] = set(random_edges(family, count, generator))
    reading, read = {reader for _, reader in edges}, {source for source, _ in edges}
    inputs, outputs = list(space.inputs), list(space.outputs)
    edges |= {(generator.choice(inputs), slot) for slot in range(count) if slot not in reading}
    edges |= {(slot, generator.choice(outputs)) for slot in range(count) if slot not in read}
    reading = {reader for _, reader in edges}
    edges |= {(generator.randrange(count), name) for name in outputs if name not in reading}
    skips = MOST_SKIPS * max(0.0, generator.uniform(-1.0, 1.0))
    edges |= {(name, slot) for name in inputs for slot in range(count) if generator.random() < skips}
    edges |= {(slot, name) for name in outputs for slot in range(count) if generator.random() < skips}
    return edges
