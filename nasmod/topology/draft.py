"""A topology under construction, for edits and crossovers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nasmod.errors import TopologyError
from nasmod.topology.topology import INPUT, OUTPUT, Node, Parameter, Topology

Params = Mapping[str, Parameter]


@dataclass
class Draft:
    """Labels and sources by node name, in no order yet."""

    kinds: dict[int, str] = field(default_factory=dict)
    params: dict[int, Params] = field(default_factory=dict)
    sources: dict[int, set[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, topology: Topology) -> Draft:
        draft = cls()
        for node in topology.nodes:
            draft.add(node.kind, node.params, set(node.inputs))
        return draft

    def add(self, kind: str, params: Params, sources: set[int]) -> int:
        new = len(self.kinds)
        self.kinds[new], self.params[new], self.sources[new] = kind, params, set(sources)
        return new

    def require(self, *nodes: int) -> None:
        for node in nodes:
            if node not in self.sources:
                raise TopologyError(f"There is no node {node}; known: 0 to {len(self.sources) - 1}.")

    def require_module(self, node: int) -> None:
        self.require(node)
        if self.kinds[node] in (INPUT, OUTPUT):
            raise TopologyError(f"Node {node} is an {self.kinds[node]}; only modules can be edited so.")

    def drop(self, source: int, reader: int) -> None:
        self.require(source, reader)
        if source not in self.sources[reader]:
            raise TopologyError(f"Node {reader} does not read node {source}.")
        self.sources[reader].remove(source)
        if self.kinds[source] != INPUT and not any(source in sources for sources in self.sources.values()):
            raise TopologyError(f"Node {source} is read by node {reader} only; without that edge it would be unread.")

    def topology(self) -> Topology:
        """The nodes in topological order, old ones in the order they had as far as possible."""
        position: dict[int, int] = {}
        while len(position) < len(self.sources):
            ready = [
                node for node, sources in self.sources.items() if node not in position and sources <= set(position)
            ]
            if not ready:
                raise TopologyError("The edit would close a cycle.")
            node = min(ready, key=lambda node: (self.kinds[node] == OUTPUT, node))
            position[node] = len(position)
        nodes = []
        for node in position:
            inputs = tuple(sorted(position[source] for source in self.sources[node]))
            params = {name: value for name, value in self.params[node].items() if name != "merge" or len(inputs) > 1}
            nodes.append(Node(self.kinds[node], inputs, params))
        return Topology(tuple(nodes))
