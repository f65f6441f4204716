"""Edits: pure functions from a topology to a slightly different one. They know nothing of which edits a space allows.

Modules and edges are named by node indices. Each function gives a valid topology, its nodes in topological order, or
raises `TopologyError` when the edit does not apply. No edit leaves a module unread or without anything to read. A
module that newly reads several nodes has no ``merge`` until someone chooses one.
"""

from __future__ import annotations

from collections.abc import Iterable

from nasmod.errors import TopologyError
from nasmod.topology.draft import Draft, Params
from nasmod.topology.topology import INPUT, OUTPUT, Topology


def add_module(
    topology: Topology, kind: str, params: Params, sources: Iterable[int], readers: Iterable[int]
) -> Topology:
    """A new module that reads `sources` and is read by `readers`; every edge there was stays.

    >>> from nasmod.topology import Node
    >>> x, y = Node("input", (), {"name": "x"}), Node("output", (1,), {"name": "y"})
    >>> chain = Topology((x, Node("dense", (0,)), y))
    >>> [node.kind for node in add_module(chain, "conv", {}, sources=[0], readers=[1]).nodes]
    ['input', 'conv', 'dense', 'output']
    """
    draft = Draft.of(topology)
    draft.require(*(sources := set(sources)), *(readers := set(readers)))
    if not sources or not readers:
        raise TopologyError("A new module must read a node and be read by one.")
    new = draft.add(kind, params, sources)
    for reader in readers:
        draft.sources[reader].add(new)
    return draft.topology()


def remove_module(topology: Topology, module: int) -> Topology:
    """The topology without a module: its readers read what it read.

    An output takes over modules only, unless nothing else is left for it: an edge from an input to an output skips the
    whole network.
    """
    draft = Draft.of(topology)
    draft.require_module(module)
    taken = draft.sources.pop(module)
    for reader, sources in draft.sources.items():
        if module not in sources:
            continue
        sources.discard(module)
        skips_all = draft.kinds[reader] == OUTPUT
        modules = {source for source in taken if draft.kinds[source] != INPUT}
        sources |= modules if skips_all and (sources or modules) else taken
    return draft.topology()


def split_module(topology: Topology, module: int, kind: str | None = None, params: Params | None = None) -> Topology:
    """The module followed by a second one that takes over its readers, of the same kind and parameters unless given."""
    draft = Draft.of(topology)
    draft.require_module(module)
    if (kind is None) != (params is None):
        raise TopologyError("A split takes both a kind and its parameters, or neither.")
    own = {name: value for name, value in draft.params[module].items() if name != "merge"}
    second = draft.add(kind or draft.kinds[module], own if params is None else params, {module})
    for reader, sources in draft.sources.items():
        if module in sources and reader != second:
            sources.remove(module)
            sources.add(second)
    return draft.topology()


def insert_module(topology: Topology, source: int, reader: int, kind: str, params: Params) -> Topology:
    """A new module on the edge from `source` to `reader`, which reads the new module instead.

    >>> from nasmod.topology import Node
    >>> x, y = Node("input", (), {"name": "x"}), Node("output", (1,), {"name": "y"})
    >>> chain = Topology((x, Node("dense", (0,)), y))
    >>> [node.kind for node in insert_module(chain, 0, 1, "conv", {}).nodes]
    ['input', 'conv', 'dense', 'output']
    """
    draft = Draft.of(topology)
    draft.require(source, reader)
    if source not in draft.sources[reader]:
        raise TopologyError(f"Node {reader} does not read node {source}.")
    draft.sources[reader].remove(source)
    draft.sources[reader].add(draft.add(kind, params, {source}))
    return draft.topology()


def duplicate_module(topology: Topology, module: int) -> Topology:
    """A second module beside the first: it reads what that reads, and is read by what reads that."""
    draft = Draft.of(topology)
    draft.require_module(module)
    readers = [reader for reader, sources in draft.sources.items() if module in sources]
    new = draft.add(draft.kinds[module], draft.params[module], draft.sources[module])
    for reader in readers:
        draft.sources[reader].add(new)
    return draft.topology()


def resize_module(topology: Topology, module: int, params: Params) -> Topology:
    """The module with some parameters changed; those not named stay."""
    draft = Draft.of(topology)
    draft.require_module(module)
    draft.params[module] = {**draft.params[module], **params}
    return draft.topology()


def change_kind(topology: Topology, module: int, kind: str, params: Params) -> Topology:
    """The module replaced by one of another kind in the same place; how it merges stays."""
    draft = Draft.of(topology)
    draft.require_module(module)
    merge = {name: value for name, value in draft.params[module].items() if name == "merge"}
    draft.kinds[module], draft.params[module] = kind, {**merge, **params}
    return draft.topology()


def merge_modules(topology: Topology, one: int, other: int) -> Topology:
    """The first module in the place of both: it reads what either read, and is read by what read either.

    >>> from nasmod.topology import Node
    >>> x, y = Node("input", (), {"name": "x"}), Node("output", (1, 2), {"name": "y"})
    >>> merged = merge_modules(Topology((x, Node("dense", (0,)), Node("conv", (0,)), y)), 1, 2)
    >>> [(node.kind, node.inputs) for node in merged.nodes]
    [('input', ()), ('dense', (0,)), ('output', (1,))]
    """
    draft = Draft.of(topology)
    draft.require_module(one)
    draft.require_module(other)
    if one == other:
        raise TopologyError(f"Node {one} cannot be merged with itself.")
    draft.sources[one] |= draft.sources.pop(other)
    for sources in draft.sources.values():
        if other in sources:
            sources.remove(other)
            sources.add(one)
    draft.sources[one].discard(one)
    if not draft.sources[one]:
        raise TopologyError(f"Nodes {one} and {other} read only each other.")
    return draft.topology()


def add_edge(topology: Topology, source: int, reader: int) -> Topology:
    """One more edge. `TopologyError` if it is there already or would close a cycle."""
    draft = Draft.of(topology)
    draft.require(source, reader)
    if source in draft.sources[reader]:
        raise TopologyError(f"Node {reader} reads node {source} already.")
    draft.sources[reader].add(source)
    return draft.topology()


def drop_edge(topology: Topology, source: int, reader: int) -> Topology:
    """One edge less. `TopologyError` if the source would be unread or the reader would read nothing."""
    draft = Draft.of(topology)
    draft.drop(source, reader)
    if not draft.sources[reader]:
        raise TopologyError(f"Node {reader} reads only node {source}; without that edge it would read nothing.")
    return draft.topology()


def rewire(topology: Topology, source: int, reader: int, new_source: int) -> Topology:
    """The edge from `source` to `reader` starts at `new_source` instead."""
    draft = Draft.of(topology)
    draft.require(new_source)
    draft.drop(source, reader)
    if new_source == source or new_source in draft.sources[reader]:
        raise TopologyError(f"Node {reader} reads node {new_source} already.")
    draft.sources[reader].add(new_source)
    return draft.topology()
