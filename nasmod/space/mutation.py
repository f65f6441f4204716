"""Mutation: one random edit of a topology, with parameters drawn from its space."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from nasmod.errors import SpaceError, TopologyError
from nasmod.space.distributions import Distribution
from nasmod.space.drawing import draw_slot
from nasmod.topology import (
    INPUT,
    OUTPUT,
    Node,
    Parameter,
    Topology,
    add_edge,
    add_module,
    change_kind,
    drop_edge,
    duplicate_module,
    insert_module,
    merge_modules,
    remove_module,
    resize_module,
    rewire,
    split_module,
)

if TYPE_CHECKING:
    from nasmod.space.space import Space

TRIES = 20  # of each edit before the next one is tried, so that rarely applicable edits are not under-sampled
ROUNDS = 5  # through all edits
TWICE = 0.25  # probability that a proposal is two edits away, not one
NEAR = 0.75  # probability that a size moves to a neighbouring value, not to any
Edit = Callable[["Space", Topology, random.Random], Topology]


def mutate(
    space: Space, topology: Topology, settings: Mapping[str, Parameter], generator: random.Random
) -> tuple[Topology, dict[str, Parameter]]:
    """A proposal of the space one edit away, sometimes two, never the parent; `SpaceError` if none is found.

    The result depends on the parent's key alone, not on the order of its nodes. Like every topology of the space, it
    reads every input: an edit that would leave one unread is tried again, elsewhere or as another edit.
    """
    child, changed = _edited(space, topology, settings, generator)
    if generator.random() < TWICE:
        try:
            again, changed_again = _edited(space, child, changed, generator)
        except SpaceError:
            return child, changed
        if again.key != topology.key or changed_again != dict(settings):  # the second may undo the first
            return again, changed_again
    return child, changed


def with_merges(space: Space, topology: Topology, generator: random.Random) -> Topology:
    """The topology with a merge drawn for every module that newly reads several nodes; outputs merge as always."""
    nodes = []
    for node in topology.nodes:
        if node.kind == OUTPUT:
            node = space.output_node(str(node.params["name"]), node.inputs)
        elif node.is_module and len(node.inputs) > 1 and "merge" not in node.params:
            node = Node(node.kind, node.inputs, {**node.params, "merge": generator.choice(space.merges)})
        nodes.append(node)
    return Topology(tuple(nodes))


def _edited(
    space: Space, topology: Topology, settings: Mapping[str, Parameter], generator: random.Random
) -> tuple[Topology, dict[str, Parameter]]:
    parent = topology.canonical()
    names = edits_of(space, parent)
    if not names:
        raise SpaceError("The space holds nothing but this topology: there is no edit of it.")
    tries = [name for _ in range(ROUNDS) for name in generator.sample(names, len(names)) for _ in range(TRIES)]
    for name in tries:
        if name == "settings":
            changed = _redrawn(space, settings, generator)
            if changed != settings:
                return parent, changed
            continue
        try:
            child = with_merges(space, EDITS[name](space, parent, generator), generator)
        except TopologyError:
            continue
        if child.key != parent.key and space.contains(child):
            return child, dict(settings)
    raise SpaceError(f"No edit of this topology leads to another one of its space, in {len(tries)} tries.")


def edits_of(space: Space, topology: Topology) -> list[str]:
    """Names of the edits that may apply to a topology of the space."""
    count, wiring = topology.module_count, space.wiring.edges
    names = []
    if count < space.max_modules:
        more = {"free": ["add", "split", "insert", "duplicate"], "parallel": ["add", "duplicate"], "chain": ["split"]}
        names += more.get(wiring, [])
    if wiring == "fixed":
        names += ["refill"] * any(space.parameters()[f"kind_{slot}"].count > 1 for slot in space.slots)
    elif count > space.min_modules:
        names += ["remove", "merge"] if wiring != "chain" else ["remove"]
    if count > 1 and wiring not in ("fixed", "parallel"):
        names.append("swap")
    if any(_resizable(space, node) for node in topology.nodes):
        names.append("resize place" if wiring == "fixed" else "resize")
        if count > 1:
            names += ["resize all", "make alike"]
    if len(space.kinds) > 1 and wiring != "fixed":
        names.append("change kind")
    if space.wiring.parameters:
        names += ["add edge", "drop edge", "rewire"]
    return names + ["settings"] * len(space.settings)


def _add(space: Space, topology: Topology, generator: random.Random) -> Topology:
    new = draw_slot(space, generator)
    free = space.wiring.edges == "free"
    may_feed = [i for i, node in enumerate(topology.nodes) if node.kind == INPUT or (free and node.kind != OUTPUT)]
    may_read = [i for i, node in enumerate(topology.nodes) if node.kind == OUTPUT or (free and node.kind != INPUT)]
    sources = generator.sample(may_feed, min(generator.randint(1, 2), len(may_feed)))
    readers = generator.sample(may_read, min(generator.randint(1, 2), len(may_read)))
    return add_module(topology, new.kind, new.params, sources, readers)


def _split(space: Space, topology: Topology, generator: random.Random) -> Topology:
    new = draw_slot(space, generator)
    return split_module(topology, _module(topology, generator), new.kind, new.params)


def _insert(space: Space, topology: Topology, generator: random.Random) -> Topology:
    new = draw_slot(space, generator)
    return insert_module(topology, *_edge(topology, generator), new.kind, new.params)


def _duplicate(space: Space, topology: Topology, generator: random.Random) -> Topology:
    return duplicate_module(topology, _module(topology, generator))


def _remove(space: Space, topology: Topology, generator: random.Random) -> Topology:
    return remove_module(topology, _module(topology, generator))


def _merge(space: Space, topology: Topology, generator: random.Random) -> Topology:
    """Two modules become one."""
    return merge_modules(topology, *_two_modules(topology, generator))


def _swap(space: Space, topology: Topology, generator: random.Random) -> Topology:
    """Two modules in each other's place; how each place merges stays."""
    one, other = _two_modules(topology, generator)
    first, second = topology.nodes[one], topology.nodes[other]
    swapped = change_kind(topology, one, second.kind, _without_merge(second))
    return change_kind(swapped, other, first.kind, _without_merge(first))


def _resize(space: Space, topology: Topology, generator: random.Random) -> Topology:
    module = _module(topology, generator)
    node = topology.nodes[module]
    names = _resizable(space, node)
    if not names:
        raise TopologyError(f"Node {module} has nothing to resize.")
    name = generator.choice(names)
    return resize_module(topology, module, {name: _resized(space, node, name, generator)})


def _resize_all(space: Space, topology: Topology, generator: random.Random) -> Topology:
    """The same change to a module and to all that are equal to it, wherever they stand."""
    module = _module(topology, generator)
    node = topology.nodes[module]
    names = [name for name in _resizable(space, node) if name != "merge"]
    if not names:
        raise TopologyError(f"Node {module} has nothing to resize.")
    name = generator.choice(names)
    value = _resized(space, node, name, generator)
    own = _without_merge(node)
    for index, other in enumerate(topology.nodes):
        if other.kind == node.kind and _without_merge(other) == own:
            topology = resize_module(topology, index, {name: value})
    return topology


def _make_alike(space: Space, topology: Topology, generator: random.Random) -> Topology:
    """A module gets the kind and the parameters of another."""
    pattern, module = _two_modules(topology, generator)
    node = topology.nodes[pattern]
    return change_kind(topology, module, node.kind, _without_merge(node))


def _change_kind(space: Space, topology: Topology, generator: random.Random) -> Topology:
    new = draw_slot(space, generator)
    return change_kind(topology, _module(topology, generator), new.kind, new.params)


def _refill(space: Space, topology: Topology, generator: random.Random) -> Topology:
    """A place of a fixed wiring, with those alike, filled by another kind, left empty, or filled where it was empty."""
    values, slot = space.encode(topology), generator.choice(space.slots)
    kinds = space.parameters()[f"kind_{slot}"].values()
    others = [kind for kind in kinds if kind != values[f"kind_{slot}"]]
    if not others:
        raise TopologyError(f"Place {slot} has one kind only.")
    for name, found in space.parameters().items():
        if name.endswith(f"_{slot}") and not name.startswith("setting."):
            values[name] = found.random(generator)
    return space.decode({**values, f"kind_{slot}": generator.choice(others)})[0]


def _resize_place(space: Space, topology: Topology, generator: random.Random) -> Topology:
    """Another value of a searched parameter of a place of a fixed wiring, and of those alike."""
    values = space.encode(topology)
    names = [name for slot in space.slots for name in space.parameters_of(slot, str(values[f"kind_{slot}"]))]
    name = generator.choice(names)
    return space.decode({**values, name: _moved(space.parameters()[name], values[name], generator)})[0]


def _add_edge(space: Space, topology: Topology, generator: random.Random) -> Topology:
    source, reader = generator.sample(range(len(topology.nodes)), 2)
    return add_edge(topology, source, reader)


def _drop_edge(space: Space, topology: Topology, generator: random.Random) -> Topology:
    return drop_edge(topology, *_edge(topology, generator))


def _rewire(space: Space, topology: Topology, generator: random.Random) -> Topology:
    return rewire(topology, *_edge(topology, generator), generator.randrange(len(topology.nodes)))


EDITS: dict[str, Edit] = {
    "add": _add,
    "split": _split,
    "insert": _insert,
    "duplicate": _duplicate,
    "remove": _remove,
    "merge": _merge,
    "swap": _swap,
    "resize": _resize,
    "resize all": _resize_all,
    "make alike": _make_alike,
    "change kind": _change_kind,
    "refill": _refill,
    "resize place": _resize_place,
    "add edge": _add_edge,
    "drop edge": _drop_edge,
    "rewire": _rewire,
}


def _module(topology: Topology, generator: random.Random) -> int:
    return generator.choice([index for index, node in enumerate(topology.nodes) if node.is_module])


def _two_modules(topology: Topology, generator: random.Random) -> tuple[int, int]:
    one, other = generator.sample([index for index, node in enumerate(topology.nodes) if node.is_module], 2)
    return one, other


def _edge(topology: Topology, generator: random.Random) -> tuple[int, int]:
    return generator.choice([(source, reader) for reader, n in enumerate(topology.nodes) for source in n.inputs])


def _without_merge(node: Node) -> dict[str, Parameter]:
    return {name: value for name, value in node.params.items() if name != "merge"}


def _resized(space: Space, node: Node, name: str, generator: random.Random) -> Parameter:
    """Another value of a searched parameter of a module."""
    if name == "merge":
        return generator.choice(space.merges)
    return _moved(space.kinds[node.kind].searched[name], node.params[name], generator)


def _moved(searched: Distribution, value: Parameter, generator: random.Random) -> Parameter:
    """Another value, most often a neighbouring one."""
    return searched.near(value, generator) if generator.random() < NEAR else searched.random(generator)


def _resizable(space: Space, node: Node) -> list[str]:
    """Names of the searched parameters of a module; how it merges is one of them."""
    if not node.is_module or node.kind not in space.kinds:
        return []
    return [*space.kinds[node.kind].searched, *(["merge"] if "merge" in node.params and len(space.merges) > 1 else [])]


def _redrawn(space: Space, settings: Mapping[str, Parameter], generator: random.Random) -> dict[str, Parameter]:
    name = generator.choice(space.settings)
    return {**settings, name: _moved(space.setting_distributions[name], settings[name], generator)}
