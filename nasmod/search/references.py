"""The references of a study at equal FLOPs: the monolith, the chain, the parallel ensemble; towers for several inputs.

They are trained outside the budget and shown beside every result: a search is worth what it finds beyond them.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from nasmod.errors import SpaceError
from nasmod.modules import check_params
from nasmod.modules import kind as kind_of
from nasmod.search.context import Context
from nasmod.study import Proposal
from nasmod.topology import Node, Parameter, Topology

LARGEST_SIZE = 2048
Params = dict[str, Parameter]
Reads = Sequence[tuple[int, ...]]  # what each module reads: the inputs are numbered first, then the modules


def references(context: Context) -> list[Proposal]:
    """One proposal for each reference, as large as the study's FLOPs budget allows; none for a reference that is over
    the budget at its smallest, or whose FLOPs cannot be counted.

    All are of the space's first kind that has a size (of the first, if none has) with the middle of what the space
    offers for it; its size alone is fitted, and all modules have the same.
    """
    found = _kind(context)
    if found is None:
        return []
    kind, params, sizes = found
    proposals = []
    for name, reads in _wirings(len(context.dataset.inputs), context.study.modules_wanted).items():

        def of_size(size: Params, reads: Reads = reads) -> Topology:
            return _topology(context, reads, kind, {**params, **size})

        if (topology := _largest(context, of_size, sizes)) is not None:
            shape = f"{name} of {len(reads)} x {kind}"
            if name == "towers":
                shape = f"towers: a {kind} module for each input and one that fuses them"
            why = f"{shape}, as large as the FLOPs budget allows"
            origin = {"strategy": "reference", "reference": name, "why": why}
            proposals.append(context.counted(Proposal(topology, {}, None, origin)))
    return proposals


def _wirings(inputs: int, modules: int) -> dict[str, Reads]:
    """What the modules of each reference read.

    >>> _wirings(2, 3)["chain"], _wirings(2, 3)["towers"]
    ([(0, 1), (2,), (3,)], [(0,), (1,), (2, 3)])
    """
    every = tuple(range(inputs))
    wirings: dict[str, Reads] = {
        "monolith": [every],
        "chain": [every, *((inputs + before,) for before in range(modules - 1))],
        "parallel": [every] * modules,
    }
    if inputs > 1:
        wirings["towers"] = [*((number,) for number in every), tuple(inputs + number for number in every)]
    return wirings


def _kind(context: Context) -> tuple[str, Params, list[Params]] | None:
    """The kind that references are of, its parameters, and its sizes from the smallest on.

    None when each kind refuses the middle of what the space offers for its parameters.
    """
    offered = context.study.space["kinds"].items()
    middles = [(kind, _middle(values)) for kind, values in offered]
    kinds = [(kind, check_params(kind, params).model_dump()) for kind, params in middles if _is_valid(kind, params)]
    for kind, params in kinds:
        if sizes := _sizes(kind, params):
            return kind, params, sizes
    return (*kinds[0], [{}]) if kinds else None


def _middle(offered: dict[str, Any]) -> Params:
    """Parameters of a kind: the middle number of a list or its first option, the low end of a range."""
    chosen: dict[str, Any] = {}
    for name, values in offered.items():
        if isinstance(values, list):
            numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
            chosen[name] = values[len(values) // 2] if numbers else values[0]
        else:
            chosen[name] = values["low"] if isinstance(values, dict) else values
    return chosen


def _sizes(kind: str, params: Params) -> list[Params]:
    """What the first whole-numbered parameter may be that sets how many features a module gives; empty without one."""
    shape = {1: (8,), 2: (8, 4), 3: (8, 4, 4)}[kind_of(kind).accepts[0]]

    def features(size: Params) -> int:
        return kind_of(kind).output_shape(shape, check_params(kind, {**params, **size}))[0]

    for name in [name for name, value in params.items() if type(value) is int]:
        numbers = range(1, LARGEST_SIZE + 1)
        sizes: list[Params] = [{name: size} for size in numbers if _is_valid(kind, {**params, name: size})]
        with suppress(Exception, SystemExit):  # a user's kind may raise anything
            if sizes and features(sizes[0]) != features(sizes[-1]):
                return sizes
    return []


def _is_valid(kind: str, params: Params) -> bool:
    try:
        check_params(kind, params)
    except SpaceError:
        return False
    return True


def _largest(context: Context, of_size: Callable[[Params], Topology], sizes: Sequence[Params]) -> Topology | None:
    """The largest of growing sizes within the FLOPs budget."""

    def is_over(size: Params) -> bool:
        try:
            return context.objective.violation({"flops": context.flops(of_size(size))}) is not None
        except (Exception, SystemExit):  # a user's kind may raise anything
            return True

    if is_over(sizes[0]):
        return None
    return of_size(sizes[bisect_left(sizes, True, lo=1, key=is_over) - 1])


def _topology(context: Context, reads: Reads, kind: str, params: Params) -> Topology:
    """The modules that no other module reads feed every output."""
    inputs = [Node("input", (), {"name": name}) for name in context.dataset.inputs]
    modules = [Node(kind, sources, params) for sources in reads]
    read = set(itertools.chain.from_iterable(reads))
    last = tuple(index for index in range(len(inputs), len(inputs) + len(modules)) if index not in read)
    outputs = [Node("output", last, {"name": name}) for name in context.dataset.outputs]
    return Topology((*inputs, *modules, *outputs)).live()
