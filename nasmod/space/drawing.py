"""Drawing: a random topology of a space. The number of modules comes first.

If each edge were drawn by itself, the smallest topologies would be far too common: with free edges, 21 % of all
encodings of a space of eight slots are one and the same module by itself.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nasmod.space.slot import Slot
from nasmod.topology import Parameter, Topology, random_edges

if TYPE_CHECKING:
    from nasmod.space.space import Space
    from nasmod.space.wiring import Edge

MOST_SKIPS = 0.6  # half of the topologies have no surplus edge; in the others, each has at most this probability
OWN = 0.5  # probability that a searched training setting is drawn as the study has it itself
DEALT = 0.5  # probability that the inputs (or outputs) are dealt out, so that different modules have different ones


def draw(space: Space, generator: random.Random) -> tuple[Topology, dict[str, Parameter]]:
    """A topology of the space with searched settings; every topology of the space can be drawn."""
    count = generator.randint(space.min_modules, space.max_modules)
    edges = space.wiring.wired(range(count), {}) if space.wiring.edges == "chain" else _edges(space, count, generator)
    slots = {slot: draw_slot(space, generator) for slot in range(count)}
    return space.assemble(slots, edges), draw_settings(space, generator)


def draw_slot(space: Space, generator: random.Random) -> Slot:
    """A random module. Kinds without parameters are less likely: networks of pools alone learn little."""
    kinds = list(space.kinds.values())
    (kind,) = generator.choices(kinds, [kind.weight for kind in kinds])
    searched = {name: found.random(generator) for name, found in kind.searched.items()}
    return Slot(kind.name, kind.params(searched), generator.choice(space.merges))


def draw_settings(space: Space, generator: random.Random) -> dict[str, Parameter]:
    """The searched training settings: each as the study has it itself, or at random."""
    return {
        name: found.default if generator.random() < OWN else found.random(generator)
        for name, found in space.setting_distributions.items()
    }


def _edges(space: Space, count: int, generator: random.Random) -> set[Edge]:
    family = generator.choice(space.file.wiring.generators) if space.wiring.edges == "free" else "parallel"
    edges: set[Edge] = set(random_edges(family, count, generator))
    reading, read = {reader for _, reader in edges}, {source for source, _ in edges}
    inputs, outputs = list(space.inputs), list(space.outputs)
    first = [slot for slot in range(count) if slot not in reading]
    last = [slot for slot in range(count) if slot not in read]
    edges |= {(name, slot) for name, slot in _attached(inputs, first, count, generator)}
    edges |= {(slot, name) for name, slot in _attached(outputs, last, count, generator)}
    skips = MOST_SKIPS * max(0.0, generator.uniform(-1.0, 1.0))
    edges |= {(name, slot) for name in inputs for slot in range(count) if generator.random() < skips}
    edges |= {(slot, name) for name in outputs for slot in range(count) if generator.random() < skips}
    return edges


def _attached(names: Sequence[str], slots: Sequence[int], count: int, generator: random.Random) -> set[tuple[str, int]]:
    """Pairs of an input and a module that reads it, or of an output and a module that feeds it.

    Each of `slots` gets a name, and each name one of all `count` modules: either the names are dealt out evenly to
    `slots`, or each of `slots` draws one and a name that none of them drew goes to any module. No name is preferred.
    """
    if len(names) > 1 and generator.random() < DEALT:
        order = generator.sample(names, len(names))
        turns = range(max(len(names), len(slots)))
        return {(order[turn % len(names)], slots[turn % len(slots)]) for turn in turns}
    drawn = {(generator.choice(names), slot) for slot in slots}
    taken = {name for name, _ in drawn}
    return drawn | {(name, generator.randrange(count)) for name in names if name not in taken}
