"""References: simple wirings that a person would try first, with which a study opens.

The monolith, chains, rows of equal parallel modules, and towers that fuse, in several sizes; where a space has kinds
such as pooling, chains with one of them between two modules, all of one size or each twice as large as the one before
(a pyramid, as image networks are built since VGG: Simonyan & Zisserman 2015). They are ordinary candidates of the
study, so that its search ends below none of them, and they are named beside what it found.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from random import Random

import numpy as np

from nasmod.errors import SpaceError
from nasmod.modules import Shape, check_params, is_trained
from nasmod.modules import kind as kind_of
from nasmod.search.context import Context
from nasmod.space import Space
from nasmod.space.distributions import Choice, Integer
from nasmod.space.drawing import draw_settings
from nasmod.space.searched_kind import SearchedKind
from nasmod.space.slot import Slot
from nasmod.study import Proposal
from nasmod.topology import Parameter
from nasmod.training import derive

SHARE_OF_TRIALS = 1 / 4  # at most, or little would be left to search
MOST_SIZES = 9  # of a long range, spread on a log scale
Edges = set[tuple[int | str, int | str]]
Params = Mapping[str, Parameter]


def references(context: Context) -> list[Proposal]:
    """The references of a study, those that tell most first, at most a quarter of its trials.

    Each wiring comes in the largest size that its FLOPs budget allows, then in the smallest, then in those between;
    where a space can pool, a wiring that does not in the smallest first: at the full size of images the largest takes
    many times as long to train. Each size comes also with one other parameter at its largest (twice as deep, say).
    Where training settings are searched, the first of each sort has the study's own; with the others they are drawn, so
    that a search knows early what they do.
    """
    found: dict[str, Proposal] = {}
    sorts: set[str] = set()
    for proposal in _in_order(context):
        key, sort = proposal.topology.key, str(proposal.origin["reference"])
        if key not in found:
            found[key] = _with_settings(context, proposal) if sort in sorts else proposal
            sorts.add(sort)
        if len(found) >= int(SHARE_OF_TRIALS * context.study.trials):
            break
    return list(found.values())


def _with_settings(context: Context, proposal: Proposal) -> Proposal:
    """With training settings of its own, each the study's or drawn."""
    generator = Random(derive(context.study.seed, "references", proposal.topology.key))
    return replace(proposal, settings=draw_settings(context.space, generator))


@dataclass(frozen=True)
class Wiring:
    """Modules in slots and what they read: one sort of reference (``parallel``) with so many modules.

    In a chain every second module may be of the kind `between`, which has nothing to train; in a pyramid the size of
    the others doubles from one to the next.
    """

    name: str
    modules: int
    edges: frozenset[tuple[int | str, int | str]]
    between: str | None = None

    @property
    def is_pyramid(self) -> bool:
        return self.name == "pyramid"

    def growth(self, module: int) -> int:
        """How many times as large as the first a module is."""
        return 2 ** (module // 2) if self.is_pyramid else 1

    def says(self, kind: str) -> str:
        """In words, for modules of a kind."""
        if self.between is not None:
            count = f"a chain of {self.modules // 2 + 1} {kind} modules, {self.between} between them"
            return f"{count}, each twice the size of the one before, the first" if self.is_pyramid else f"{count}, each"
        if self.name == "parallel":
            return f"{self.modules} parallel {kind} modules"
        if self.name == "towers":
            return f"{self.modules - 1} towers that another module fuses, all {kind}"
        return f"a chain of {self.modules} {kind} modules" if self.name == "chain" else f"one {kind} module"


def wirings(space: Space) -> list[Wiring]:
    """Every simple wiring that a space holds, what tells most first."""
    inputs, outputs, most = list(space.inputs), list(space.outputs), space.max_modules

    def wiring(name: str, modules: int, inner: Edges, first: Edges | None = None, between: str | None = None) -> Wiring:
        read = {source for source, _ in inner}
        edges = inner | (first if first is not None else {(given, 0) for given in inputs})
        last = {(module, name) for module in range(modules) if module not in read for name in outputs}
        return Wiring(name, modules, frozenset(edges | last), between)

    def chain(modules: int, between: str | None = None, name: str = "chain") -> Wiring:
        return wiring(name, modules, {(module, module + 1) for module in range(modules - 1)}, None, between)

    def parallel(modules: int) -> Wiring:
        return wiring("parallel", modules, set(), {(given, module) for given in inputs for module in range(modules)})

    shrinking = _shrinking(space)
    # side by side at the full size of images, modules are dear to train and tell little: of these rows, two
    rows = [most] if shrinking else range(most, 2, -1)
    towers = max(2, len(inputs))
    own: Edges = {(inputs[tower % len(inputs)], tower) for tower in range(towers)}
    every = [
        wiring("monolith", 1, set()),
        wiring("towers", towers + 1, {(tower, towers) for tower in range(towers)}, own),
        chain(2),
        *(
            chain(modules, kind, name)
            for modules in range(most - (most + 1) % 2, 2, -2)
            for kind in shrinking
            for name in ("pyramid", "chain")
        ),
        parallel(2),
        *(parallel(modules) for modules in rows if modules > 2),
        *([chain(most)] if most > 2 else []),
    ]
    return [found for found in every if space.min_modules <= found.modules <= most]


def _in_order(context: Context) -> Iterator[Proposal]:
    space = context.space
    changes = {kind.name: _changes(kind) for kind in space.kinds.values()}
    kinds = [kind for kind in space.kinds.values() if _size(kind)] or list(space.kinds.values())
    ladders = [
        _ladder(context, wiring, kind, changes[kind.name][number])
        for number in range(max(len(changes[kind.name]) for kind in kinds))
        for wiring in wirings(space)
        for kind in kinds
        if number < len(changes[kind.name])
    ]
    for rung in zip_longest(*ladders):
        yield from (proposal for proposal in rung if proposal is not None)


def _ladder(context: Context, wiring: Wiring, kind: SearchedKind, params: Params) -> list[Proposal]:
    """A wiring in every size that the FLOPs budget allows, in the order in which they are tried."""
    space = context.space
    sizes = _sizes(kind)
    if wiring.is_pyramid and sizes == [{}]:
        return []

    def of_module(module: int, size: Params) -> Params:
        return {**params, **{name: int(value) * wiring.growth(module) for name, value in size.items()}}

    def is_possible(size: Params) -> bool:
        modules = [of_module(module, size) for module in range(0, wiring.modules, 2 if wiring.between else 1)]
        return all(_is_valid(kind, module) for module in modules)

    def proposal(size: Params) -> Proposal:
        slots = {slot: Slot(kind.name, of_module(slot, size), space.merges[0]) for slot in range(wiring.modules)}
        if wiring.between is not None:
            between = Slot(wiring.between, space.kinds[wiring.between].defaults, space.merges[0])
            slots |= dict.fromkeys(range(1, wiring.modules, 2), between)
        changed = {name: value for name, value in params.items() if value != kind.defaults[name]}
        shown = ", ".join(f"{name} {value}" for name, value in {**size, **changed}.items())
        why = f"{wiring.says(kind.name)}{f' of {shown}' if shown else ''}"
        origin = {"strategy": "references", "reference": wiring.name, "why": why}
        return context.counted(Proposal(space.assemble(slots, wiring.edges), space.default_settings, None, origin))

    def is_over(size: Params) -> bool:
        counted = proposal(size)
        return counted.flops is None or context.violation(counted) is not None

    sizes = [size for size in sizes if is_possible(size)]
    sizes = sizes[: bisect_left(sizes, True, key=is_over)]
    if wiring.between is None and _shrinking(space):
        sizes.reverse()
    found = [proposal(sizes[index]) for index in spread(len(sizes))]
    return [made for made in found if space.contains(made.topology)]


def _shrinking(space: Space) -> list[str]:
    """Kinds with nothing to train that give another shape than they read, such as pooling."""
    return [kind.name for kind in space.kinds.values() if not is_trained(kind.name) and _shrinks(kind)]


def _shrinks(kind: SearchedKind) -> bool:
    shape = _shape(kind)
    try:
        return kind_of(kind.name).output_shape(shape, check_params(kind.name, kind.defaults)) != shape
    except (Exception, SystemExit):  # a user's kind may raise anything
        return False


def _shape(kind: SearchedKind) -> Shape:
    """One that the kind reads."""
    return {1: (8,), 2: (8, 4), 3: (8, 4, 4)}[kind_of(kind.name).accepts[0]]


def _changes(kind: SearchedKind) -> list[Params]:
    """The parameters of a kind at their defaults, then with one of them, which is not its size, at its largest."""
    found = [kind.defaults]
    for name, values in _numbers(kind).items():
        changed = {**kind.defaults, name: values[-1]}
        if name != _size(kind) and values[-1] != kind.defaults[name] and _is_valid(kind, changed):
            found.append(changed)
    return found


def _sizes(kind: SearchedKind) -> list[Params]:
    """What a kind's size may be, ascending; of a long range some, spread on a log scale."""
    name = _size(kind)
    if name is None:
        return [{}]
    values = _numbers(kind)[name]
    if len(values) > MOST_SIZES:
        wanted = np.geomspace(max(values[0], 1), values[-1], MOST_SIZES)
        values = sorted({min(values, key=lambda value: abs(value - near)) for near in wanted})
    return [{name: value} for value in values]


def _size(kind: SearchedKind) -> str | None:
    """The first searched whole number that sets how many features a module gives; None without one."""
    shape = _shape(kind)

    def features(params: Params) -> int:
        return kind_of(kind.name).output_shape(shape, check_params(kind.name, params))[0]

    for name, values in _numbers(kind).items():
        with suppress(Exception, SystemExit):  # a user's kind may raise anything
            if features({**kind.defaults, name: values[0]}) != features({**kind.defaults, name: values[-1]}):
                return name
    return None


def _numbers(kind: SearchedKind) -> dict[str, list[int]]:
    """The searched parameters of a kind that are whole numbers, and their values, ascending."""
    found = {}
    for name, searched in kind.searched.items():
        if isinstance(searched, Choice | Integer):
            values = [value for value in searched.values() if type(value) is int]
            if len(values) == searched.count > 1:
                found[name] = sorted(values)
    return found


def _is_valid(kind: SearchedKind, params: Params) -> bool:
    """Whether the kind takes these parameters, and the space holds them."""
    try:
        check_params(kind.name, params)
        kind.read(params)
    except SpaceError:
        return False
    return True


def spread(count: int) -> list[int]:
    """The order in which ascending sizes are tried: the last, the first, then always the middle of a gap.

    >>> spread(5)
    [4, 0, 2, 1, 3]
    """
    found = [count - 1, 0][:count]
    gaps = [(0, count - 1)]
    while gaps:
        low, high = gaps.pop(0)
        if high - low > 1:
            middle = (low + high) // 2
            found.append(middle)
            gaps += [(low, middle), (middle, high)]
    return found
