"""Adapters: what stands between a module and what it reads, so that no wiring fails on shapes. It imports no torch.

All sources are brought to one rank and one size of image or sequence; where features must agree too (``sum``,
``gated``), those with fewer are projected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nasmod.modules.kind import Shape

LayerArgument = int | str | tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """A class of `torch.nn` and the arguments it is constructed with."""

    name: str
    arguments: Mapping[str, LayerArgument]

    def __hash__(self) -> int:
        return hash((self.name, tuple(sorted(self.arguments.items()))))


def adapt(sources: Sequence[Shape], accepts: Sequence[int], merge: str) -> tuple[tuple[tuple[Layer, ...], ...], Shape]:
    """Adapters per source, and the shape after merging them.

    `accepts` are the ranks the reader takes, preferred first. The target is the largest accepted rank among the
    sources, and the smallest size among those that have that rank by themselves.

    >>> adapters, merged = adapt([(8, 14, 14), (4, 7, 7)], accepts=(3,), merge="concat")
    >>> merged, [layer.name for layer in adapters[0]], adapters[1]
    ((12, 7, 7), ['AdaptiveAvgPool2d'], ())
    """
    rank = max((len(shape) for shape in sources if len(shape) in accepts), default=accepts[0])
    layers: list[list[Layer]] = []
    shapes: list[Shape] = []
    for shape in sources:
        change, changed = _to_rank(shape, rank)
        layers.append(change)
        shapes.append(changed)

    size = _target_size(sources, shapes, rank)
    for index, shape in enumerate(shapes):
        if shape[1:] != size:
            layers[index].append(_resize(shape[1:], size))
            shapes[index] = (shape[0], *size)

    if merge == "concat":
        return tuple(map(tuple, layers)), (sum(shape[0] for shape in shapes), *size)
    features = max(shape[0] for shape in shapes)
    for index, shape in enumerate(shapes):
        if shape[0] != features:
            layers[index].append(_project(shape[0], features, rank))
    return tuple(map(tuple, layers)), (features, *size)


def _to_rank(shape: Shape, rank: int) -> tuple[list[Layer], Shape]:
    """From one rank to another without losing a value."""
    if len(shape) == rank:
        return [], shape
    if rank == 1:
        return [Layer("Flatten", {"start_dim": 1})], (math.prod(shape),)
    if len(shape) > rank:  # an image read as a sequence of its positions
        return [Layer("Flatten", {"start_dim": rank})], (*shape[: rank - 1], math.prod(shape[rank - 1 :]))
    last = shape[-1]
    ones = (1,) * (rank - len(shape))
    return [Layer("Unflatten", {"dim": len(shape), "unflattened_size": (last, *ones)})], (*shape, *ones)


def _target_size(sources: Sequence[Shape], shapes: Sequence[Shape], rank: int) -> Shape:
    """Smallest size among sources of the rank itself; else among those that have any size; else one position."""
    natural = [shape[1:] for shape in sources if len(shape) == rank]
    some = [shape[1:] for source, shape in zip(sources, shapes, strict=True) if len(source) > 1]
    sizes = natural or some or [(1,) * (rank - 1)]
    return tuple(min(lengths) for lengths in zip(*sizes, strict=True))


def _resize(size: Shape, target: Shape) -> Layer:
    if math.prod(size) == 1:  # a flat vector, said to every position
        return Layer("Upsample", {"size": target})
    return Layer(f"AdaptiveAvgPool{len(target)}d", {"output_size": target})


def _project(features: int, wanted: int, rank: int) -> Layer:
    if rank == 1:
        return Layer("Linear", {"in_features": features, "out_features": wanted})
    return Layer(f"Conv{rank - 1}d", {"in_channels": features, "out_channels": wanted, "kernel_size": 1})
