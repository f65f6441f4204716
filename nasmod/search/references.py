"""The references of a study: the monolith, the chain and the parallel ensemble, at equal FLOPs.

They are trained outside the budget and shown beside every result: what a search finds is worth what it adds to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nasmod import registry
from nasmod.modules import kind as kind_of
from nasmod.search.context import Context
from nasmod.study import Proposal
from nasmod.topology import Node, Parameter, Topology

REFERENCES = ("monolith", "chain", "parallel")
LARGEST_SIZE = 2048


def references(context: Context) -> list[Proposal]:
    """One proposal a reference, each as large as the study's FLOPs budget allows; none where even the smallest is over.

    All are of the space's first kind with the middle of what the space offers for it; its size alone is fitted.
    """
    kind, offered = next(iter(context.study.space["kinds"].items()))
    params = _middle(kind, offered)
    size = _size_parameter(context, kind, params)
    proposals = []
    for name in REFERENCES:
        modules = 1 if name == "monolith" else context.study.modules_wanted

        def of_size(value: int, name: str = name, modules: int = modules) -> Topology:
            return _topology(context, name, modules, kind, {**params, size: value})

        if (topology := _largest(context, of_size)) is not None:
            why = f"{name} of {modules} x {kind}, as large as the FLOPs budget allows"
            origin = {"strategy": "reference", "reference": name, "why": why}
            proposals.append(Proposal(topology, {}, None, origin))
    return proposals


def _middle(kind: str, offered: dict[str, Any]) -> dict[str, Parameter]:
    """The kind's parameters: the middle number of a list or its first option, the low end of a range, else defaults."""
    chosen: dict[str, Any] = {}
    for name, values in offered.items():
        if isinstance(values, list):
            numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
            chosen[name] = values[len(values) // 2] if numbers else values[0]
        else:
            chosen[name] = values["low"] if isinstance(values, dict) else values
    return dict(registry.settings("kind", kind)(**chosen).model_dump())


def _size_parameter(context: Context, kind: str, params: dict[str, Parameter]) -> str:
    """The first whole-numbered parameter that sets how many features a module gives."""
    model = registry.settings("kind", kind)
    shape = {1: (8,), 2: (8, 4), 3: (8, 4, 4)}[kind_of(kind).accepts[0]]
    before = kind_of(kind).output_shape(shape, model(**params))
    for name, value in params.items():
        if type(value) is int:
            grown = model.model_validate({**params, name: value + 1}, strict=False)
            if kind_of(kind).output_shape(shape, grown)[0] != before[0]:
                return name
    raise AssertionError(f"no parameter of the kind '{kind}' sets its size")


def _largest(context: Context, of_size: Callable[[int], Topology]) -> Topology | None:
    """The largest size within the FLOPs budget, by bisection."""
    low, high = 0, LARGEST_SIZE
    while low < high:
        middle = (low + high + 1) // 2
        if context.violation(of_size(middle)) is None:
            low = middle
        else:
            high = middle - 1
    return of_size(low) if low else None


def _topology(context: Context, name: str, modules: int, kind: str, params: dict[str, Parameter]) -> Topology:
    """Every input feeds the first module (of a chain) or all; the last module or all feed every output."""
    inputs = [Node("input", (), {"name": input_name}) for input_name in context.dataset.inputs]
    sources = tuple(range(len(inputs)))
    nodes = list(inputs)
    for number in range(modules):
        chained = name == "chain" and number > 0
        nodes.append(Node(kind, (len(nodes) - 1,) if chained else sources, params))
    last = (len(nodes) - 1,) if name == "chain" else tuple(range(len(inputs), len(nodes)))
    outputs = [Node("output", last, {"name": output_name}) for output_name in context.dataset.outputs]
    return Topology((*nodes, *outputs)).live()
