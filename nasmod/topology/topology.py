"""A topology: a DAG of input, module and output nodes, as a frozen value. It knows nothing of what a kind means."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import networkx

from nasmod.errors import TopologyError
from nasmod.topology.key import canonical_order, key_of

Parameter = int | float | str | bool
INPUT, OUTPUT = "input", "output"
USUAL_MERGE: Final = "concat"  # where a node that reads several others does not say how it merges
JSON_VERSION = 1


@dataclass(frozen=True)
class Node:
    """One node. `inputs` are indices of earlier nodes; input and output nodes carry ``{"name": ...}``.

    The parameter ``merge`` (``sum``, ``concat`` or ``gated``) says how a module or an output joins several inputs.
    """

    kind: str
    inputs: tuple[int, ...] = ()
    params: Mapping[str, Parameter] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "params", MappingProxyType(dict(self.params)))

    def __hash__(self) -> int:
        return hash((self.kind, self.inputs, tuple(sorted(self.params.items()))))

    def __reduce__(self) -> tuple[Any, ...]:  # a mapping proxy cannot be pickled; a node can
        return Node, (self.kind, self.inputs, dict(self.params))

    @property
    def is_module(self) -> bool:
        """Whether the node is neither an input nor an output."""
        return self.kind not in (INPUT, OUTPUT)


@dataclass(frozen=True)
class Topology:
    """Nodes in topological order: each reads only earlier ones, so a cycle cannot be written down.

    Raises `TopologyError` when a node reads a later one, itself or an output, reads one node twice, when an input
    reads, names repeat, or an output is not reached from any input.

    >>> x, y = Node("input", (), {"name": "x"}), Node("output", (1,), {"name": "y"})
    >>> Topology((x, Node("dense", (0,), {"width": 8}), y)).module_count
    1
    """

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        _check(self.nodes)

    @cached_property
    def key(self) -> str:
        """Identity of the live part: equal exactly for isomorphic labelled DAGs (see `nasmod.topology.key`)."""
        return key_of(self._live_nodes, self._order)

    @cached_property
    def _order(self) -> list[int]:
        """The canonical order of the live part, of which both the key and the canonical form are made."""
        return canonical_order(self._live_nodes)

    @cached_property
    def _live_nodes(self) -> tuple[Node, ...]:
        """The nodes of the live part; the very same tuple where all are live."""
        keep = _live_indices(self.nodes)
        position = {old: new for new, old in enumerate(keep)}
        nodes = []
        for old in keep:
            node = self.nodes[old]
            inputs = tuple(position[source] for source in node.inputs if source in position)
            usual = node.kind == OUTPUT and node.params.get("merge") == USUAL_MERGE
            idle = {"merge"} if usual or len(inputs) < 2 else set()
            params = {name: value for name, value in node.params.items() if name not in idle}
            nodes.append(Node(node.kind, inputs, params))
        live = tuple(nodes)
        return self.nodes if live == self.nodes else live

    @property
    def module_count(self) -> int:
        """Number of nodes that are neither inputs nor outputs."""
        return sum(node.is_module for node in self.nodes)

    @property
    def readers(self) -> tuple[tuple[int, ...], ...]:
        """For each node, the indices of the nodes that read it."""
        readers: list[list[int]] = [[] for _ in self.nodes]
        for index, node in enumerate(self.nodes):
            for source in node.inputs:
                readers[source].append(index)
        return tuple(tuple(found) for found in readers)

    def live(self) -> Topology:
        """The nodes on some path from an input to an output, renumbered; ``merge`` stays where it says something."""
        return self if self._live_nodes is self.nodes else Topology(self._live_nodes)

    def canonical(self) -> Topology:
        """The live part with its nodes in canonical order: the same value for every isomorphic topology."""
        live, order = self._live_nodes, self._order
        position = {old: new for new, old in enumerate(order)}
        return Topology(
            tuple(
                Node(
                    live[old].kind,
                    tuple(sorted(position[source] for source in live[old].inputs)),
                    dict(sorted(live[old].params.items())),
                )
                for old in order
            )
        )

    def to_json(self) -> str:
        """Text form, versioned; `from_json` is its inverse."""
        nodes = [{"kind": n.kind, "inputs": list(n.inputs), "params": dict(n.params)} for n in self.nodes]
        return json.dumps({"version": JSON_VERSION, "nodes": nodes}, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Topology:
        """Read what `to_json` wrote; raises `TopologyError` for anything else."""
        try:
            stored = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise TopologyError(f"Not a topology, since not JSON: {error}.") from error
        version, nodes = _member(stored, "version", int), _member(stored, "nodes", list)
        if version != JSON_VERSION:
            raise TopologyError(f"A topology of version {version} cannot be read; known: {JSON_VERSION}.")
        return cls(tuple(_node(node) for node in nodes))

    def to_networkx(self) -> networkx.DiGraph:
        """A DiGraph on the node indices, with attributes ``kind`` and ``params``."""
        graph = networkx.DiGraph()
        for index, node in enumerate(self.nodes):
            graph.add_node(index, kind=node.kind, params=dict(node.params))
        graph.add_edges_from((source, index) for index, node in enumerate(self.nodes) for source in node.inputs)
        return graph


def _member(stored: Any, name: str, form: type) -> Any:
    """A member of a JSON object, which has this form."""
    if not isinstance(stored, dict) or name not in stored:
        raise TopologyError(f"Not a topology: '{name}' is missing in {stored!r:.60}.")
    if type(stored[name]) is not form:
        said = {int: "a whole number", list: "a list", str: "a text", dict: "an object"}[form]
        raise TopologyError(f"Not a topology: '{name}' must be {said}, not {stored[name]!r:.60}.")
    return stored[name]


def _node(stored: Any) -> Node:
    kind, inputs, params = (
        _member(stored, "kind", str),
        _member(stored, "inputs", list),
        _member(stored, "params", dict),
    )
    if any(type(source) is not int for source in inputs):
        raise TopologyError(f"Not a topology: 'inputs' must be numbers of earlier nodes, not {inputs!r:.60}.")
    for name, value in params.items():
        if not isinstance(value, Parameter) or (isinstance(value, float) and not math.isfinite(value)):
            raise TopologyError(
                f"Not a topology: the parameter '{name}' must be a finite number, a text, true or false, "
                f"not {value!r:.60}."
            )
    return Node(kind, tuple(inputs), params)


def _live_indices(nodes: tuple[Node, ...]) -> list[int]:
    reached: set[int] = set()
    for index, node in enumerate(nodes):
        if node.kind == INPUT or any(source in reached for source in node.inputs):
            reached.add(index)
    useful: set[int] = set()
    for index in reversed(range(len(nodes))):
        if nodes[index].kind == OUTPUT or index in useful:
            useful.add(index)
            useful.update(nodes[index].inputs)
    return sorted(reached & useful)


def _check(nodes: tuple[Node, ...]) -> None:
    names: set[tuple[str, Any]] = set()
    for index, node in enumerate(nodes):
        if len(set(node.inputs)) != len(node.inputs):
            raise TopologyError(f"Node {index} ({node.kind}) reads the same node twice: {node.inputs}.")
        for source in node.inputs:
            if not 0 <= source < index:
                raise TopologyError(f"Node {index} ({node.kind}) may only read earlier nodes, not {source}.")
            if nodes[source].kind == OUTPUT:
                raise TopologyError(f"Node {index} ({node.kind}) reads node {source}, an output.")
        if node.is_module:
            continue
        if node.kind == INPUT and node.inputs:
            raise TopologyError(f"Node {index} is an input and may not read other nodes.")
        name = node.params.get("name")
        if not isinstance(name, str) or (node.kind, name) in names:
            raise TopologyError(f"Node {index} ({node.kind}) needs a name of its own, not {name!r}.")
        names.add((node.kind, name))
    live = set(_live_indices(nodes))
    outputs = [index for index, node in enumerate(nodes) if node.kind == OUTPUT]
    if not outputs:
        raise TopologyError("A topology needs at least one output.")
    for index in outputs:
        if index not in live:
            raise TopologyError(f"Output '{nodes[index].params['name']}' is not reached from any input.")
