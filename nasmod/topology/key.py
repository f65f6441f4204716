"""The key of a labelled DAG: equal exactly for isomorphic ones. It knows nothing of what the labels mean.

Individualisation and refinement (McKay & Piperno, Practical graph isomorphism II, 2014), cut down to small DAGs:
colours are refined by the colours of what a node reads and of what reads it; while some colour is shared, each of its
nodes is in turn given a colour of its own; the smallest form over all leaves of that tree is the canonical one.
Two leaves of the same form are an automorphism, and whatever it maps onto something explored is not explored again.

Colours are ranks in sorted order, so nothing here depends on Python's randomised `hash`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Form = tuple[tuple[int, ...], ...]  # for each position, the positions it reads


class LabelledNode(Protocol):
    """What a key reads of a node; its inputs are indices of earlier nodes."""

    @property
    def kind(self) -> str: ...
    @property
    def inputs(self) -> tuple[int, ...]: ...
    @property
    def params(self) -> Mapping[str, Any]: ...


def key_of(nodes: Sequence[LabelledNode], order: Sequence[int]) -> str:
    """64 hexadecimal digits, equal exactly for isomorphic DAGs of equally labelled nodes; `order` is `canonical_order`.

    The order of a node's inputs is no part of the key: a sum has none, and permuted concatenated inputs are the same
    network up to a permutation of weights.
    """
    position = {old: new for new, old in enumerate(order)}
    rows = [[_label(nodes[old]), sorted(position[source] for source in nodes[old].inputs)] for old in order]
    return hashlib.sha256(json.dumps(rows, separators=(",", ":")).encode()).hexdigest()


def canonical_order(nodes: Sequence[LabelledNode]) -> list[int]:
    """The node indices in an order that is topological and gives isomorphic DAGs the same form.

    >>> from nasmod.topology import Node
    >>> canonical_order([Node("input"), Node("b", (0,)), Node("a", (0,)), Node("output", (1, 2))])
    [0, 2, 1, 3]
    """
    return _Canon(nodes).order()


def _label(node: LabelledNode) -> str:
    return json.dumps([node.kind, dict(node.params)], sort_keys=True, separators=(",", ":"), allow_nan=False)


class _Canon:
    """One search tree: the leaves and the automorphisms found so far."""

    def __init__(self, nodes: Sequence[LabelledNode]) -> None:
        self.labels = [_label(node) for node in nodes]
        self.sources = [tuple(node.inputs) for node in nodes]
        readers: list[list[int]] = [[] for _ in nodes]
        for index, sources in enumerate(self.sources):
            for source in sources:
                readers[source].append(index)
        self.readers = [tuple(found) for found in readers]
        self.leaves: dict[Form, tuple[list[int], list[int]]] = {}  # form -> (order, individualised nodes)
        self.automorphisms: list[list[int]] = []

    def order(self) -> list[int]:
        self.explore(self.refined(self.first_colours()), [])
        return self.leaves[min(self.leaves)][0]

    def first_colours(self) -> list[int]:
        """Ranks of (depth, label, number among its twins).

        Depth comes first, so that every order by colour is topological. Twins read the same nodes and are read by the
        same nodes: any numbering of them is as good as any other, so they need no branches.
        """
        depth: list[int] = []
        twins: dict[tuple[str, frozenset[int], tuple[int, ...]], int] = {}
        colours = []
        for label, sources, readers in zip(self.labels, self.sources, self.readers, strict=True):
            depth.append(1 + max((depth[source] for source in sources), default=-1))
            twin = (label, frozenset(sources), readers)
            twins[twin] = twins.get(twin, -1) + 1
            colours.append((depth[-1], label, twins[twin]))
        rank = {colour: number for number, colour in enumerate(sorted(set(colours)))}
        return [rank[colour] for colour in colours]

    def refined(self, colours: list[int]) -> list[int]:
        count = len(set(colours))
        while count < len(colours):
            signatures = [
                (
                    colours[index],
                    tuple(sorted([colours[source] for source in self.sources[index]])),
                    tuple(sorted([colours[reader] for reader in self.readers[index]])),
                )
                for index in range(len(colours))
            ]
            rank = {signature: number for number, signature in enumerate(sorted(set(signatures)))}
            colours = [rank[signature] for signature in signatures]
            if len(rank) == count:
                break
            count = len(rank)
        return colours

    def explore(self, colours: list[int], chosen: list[int]) -> int:
        """Explore below `colours`, made by individualising `chosen`; return the depth at which to go on."""
        cells: dict[int, list[int]] = {}
        for index, colour in enumerate(colours):
            cells.setdefault(colour, []).append(index)
        if len(cells) == len(colours):
            return self.leaf(colours, chosen)
        cell = cells[min(colour for colour, members in cells.items() if len(members) > 1)]
        explored: list[int] = []
        for index in cell:
            if explored and self.equivalent(index, explored, chosen):
                continue
            split = [2 * colour + 1 for colour in colours]
            split[index] -= 1
            depth = self.explore(self.refined(split), [*chosen, index])
            if depth < len(chosen):
                return depth
            explored.append(index)
        return len(chosen)

    def leaf(self, colours: list[int], chosen: list[int]) -> int:
        order = sorted(range(len(colours)), key=colours.__getitem__)
        form = tuple(tuple(sorted([colours[source] for source in self.sources[index]])) for index in order)
        if form not in self.leaves:
            self.leaves[form] = order, chosen
            return len(chosen)
        known_order, known_chosen = self.leaves[form]
        automorphism = [0] * len(order)
        for known, new in zip(known_order, order, strict=True):
            automorphism[new] = known
        self.automorphisms.append(automorphism)
        # The branch that parts the two leaves is the image of one explored before: nothing new lies below it.
        return next(depth for depth, pair in enumerate(zip(known_chosen, chosen, strict=False)) if pair[0] != pair[1])

    def equivalent(self, index: int, explored: list[int], chosen: list[int]) -> bool:
        """Whether automorphisms that keep every chosen node in place lead from `index` to an explored node."""
        maps = [found for found in self.automorphisms if all(found[node] == node for node in chosen)]
        orbit, ahead = {index}, [index]
        while ahead:
            node = ahead.pop()
            fresh = {found[node] for found in maps} - orbit
            if not fresh.isdisjoint(explored):
                return True
            orbit |= fresh
            ahead.extend(fresh)
        return False
