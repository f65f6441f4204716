"""How a topology is wired, by its graph alone: how dense, how deep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from nasmod.measures.measure import Evaluation, MeasureSettings, Value
from nasmod.measures.objective import Direction
from nasmod.topology import Node


class WiringSettings(MeasureSettings):
    """Nothing to set."""


class Wiring:
    """Edges between modules over the possible ones, and the longest path, counted in modules."""

    cheap: ClassVar[bool] = True
    directions: ClassVar[Mapping[str, Direction]] = {"wiring_density": "minimize", "depth": "minimize"}

    def __init__(self, settings: WiringSettings) -> None:
        self.settings = settings

    def __call__(self, evaluation: Evaluation) -> dict[str, Value]:
        nodes = [step.node for step in evaluation.plan.steps]
        return {"wiring_density": Value(wiring_density(nodes)), "depth": Value(depth(nodes))}


def wiring_density(nodes: Sequence[Node]) -> float:
    """Edges between modules / (n (n - 1) / 2); 0 for fewer than two modules.

    >>> modules = [Node("dense", (0,)), Node("dense", (0,)), Node("dense", (1, 2))]
    >>> wiring_density([Node("input", (), {"name": "x"}), *modules, Node("output", (3,), {"name": "y"})]) == 2 / 3
    True
    """
    modules = sum(node.is_module for node in nodes)
    edges = sum(nodes[source].is_module for node in nodes if node.is_module for source in node.inputs)
    return edges / (modules * (modules - 1) / 2) if modules > 1 else 0.0


def depth(nodes: Sequence[Node]) -> int:
    """Modules on the longest path."""
    longest: list[int] = []
    for node in nodes:
        longest.append(node.is_module + max((longest[source] for source in node.inputs), default=0))
    return max(longest, default=0)
