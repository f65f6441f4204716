"""What a surrogate sees of a topology: Weisfeiler-Lehman labels of its nodes, paths, sizes, searched settings.

Shervashidze et al. 2011, "Weisfeiler-Lehman Graph Kernels", directed: a node's label is refined by the labels of what
it reads, and apart from that by those of what reads it. Nothing is trained or counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

from nasmod.topology import INPUT, Node, Parameter, Topology

ROUNDS = 2  # how far a label sees
LABEL = "wl "  # a feature whose name begins so is a label's count
SETTING = "setting "  # and so a searched training setting; the others are paths and sizes

ZERO = 1e-4  # where a setting of 0 lies on a log scale: below a label smoothing or weight decay that changes much

Features = Mapping[str, float]


def features(topology: Topology, settings: Mapping[str, Parameter]) -> Features:
    """Named numbers; a name that is absent counts 0."""
    return {**_of_topology(topology), **_settings(settings)}


@lru_cache(maxsize=20_000)  # of a pure function: what it gives for thousands of records is asked for again and again
def _of_topology(topology: Topology) -> Features:
    found: Counter[str] = Counter()
    for labels in (_kind_labels(topology), _sized_labels(topology)):
        found.update(_refined(topology, labels))
    named = {f"{LABEL}{label}": math.sqrt(count) for label, count in found.items()}
    return named | _paths(topology) | _sizes(topology)


def _kind_labels(topology: Topology) -> list[str]:
    """Kinds alone: what the wiring says, whatever the sizes; inputs and outputs by name."""
    return [str(node.params["name"]) if not node.is_module else node.kind for node in topology.nodes]


def _sized_labels(topology: Topology) -> list[str]:
    return [
        str(node.params["name"]) if not node.is_module else f"{node.kind} {sorted(node.params.items())}"
        for node in topology.nodes
    ]


def _refined(topology: Topology, labels: list[str]) -> list[str]:
    """The labels of every round, of both directions."""
    readers = topology.readers
    found = list(labels)
    for neighbours in ([node.inputs for node in topology.nodes], readers):
        now = labels
        for _ in range(ROUNDS):
            now = [
                f"{label}({','.join(sorted(now[other] for other in others))})"
                for label, others in zip(now, neighbours, strict=True)
            ]
            found += now
    return found


def _paths(topology: Topology) -> dict[str, float]:
    """Which inputs the modules depend on: how many depend on each set of them, and how large those are in the mean.

    Of the same inputs, those that read one and those that read modules alone are told apart. And the longest path.
    """
    depends: list[frozenset[str]] = []
    depth: list[int] = []
    numbers: dict[str, list[Mapping[str, float]]] = {}
    for node in topology.nodes:
        own = frozenset({str(node.params["name"])}) if node.kind == INPUT else frozenset()
        depends.append(own.union(*(depends[source] for source in node.inputs)))
        depth.append(max((depth[source] for source in node.inputs), default=-1) + 1)
        if node.is_module:
            first = any(topology.nodes[source].kind == INPUT for source in node.inputs)
            place = f"path {'first ' * first}{','.join(sorted(depends[-1]))}"
            numbers.setdefault(place, []).append(_numbers(node))
    found = {"path longest": float(max(depth) - 1)}
    for place, of_modules in numbers.items():
        found[place] = float(len(of_modules))
        for name in {name for one in of_modules for name in one}:
            values = [one[name] for one in of_modules if name in one]
            found[f"{place} {name}"] = sum(values) / len(values)
    return found


def _sizes(topology: Topology) -> dict[str, float]:
    """Module count, edges, and the mean and the spread of every numeric parameter on a log scale."""
    modules = [node for node in topology.nodes if node.is_module]
    found = {"size modules": float(len(modules)), "size edges": float(sum(len(node.inputs) for node in topology.nodes))}
    values: dict[str, list[float]] = {}
    for node in modules:
        for name, value in _numbers(node).items():
            values.setdefault(f"size {node.kind} {name}", []).append(value)
    for name, logs in values.items():
        found |= {f"{name} mean": sum(logs) / len(logs), f"{name} largest": max(logs), f"{name} smallest": min(logs)}
    return found


def _numbers(node: Node) -> dict[str, float]:
    found = {}
    for name, value in node.params.items():
        if isinstance(value, int | float) and type(value) is not bool and value >= 0:
            found[name] = math.log1p(value)
    return found


def _settings(settings: Mapping[str, Parameter]) -> dict[str, float]:
    found = {}
    for name, value in settings.items():
        if isinstance(value, int | float) and type(value) is not bool:
            found[f"{SETTING}{name}"] = math.log(value if value > 0 else ZERO)
        else:
            found[f"{SETTING}{name} {value}"] = 1.0
    return found
