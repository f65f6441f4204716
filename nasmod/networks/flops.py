"""What a plan costs: floating point operations (2 per multiply-add) and parameters, without running it."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nasmod.modules import Shape
from nasmod.modules import build as build_module
from nasmod.networks.adapters import Layer
from nasmod.networks.network import build_adapter
from nasmod.networks.plan import Plan

Params = tuple[tuple[str, object], ...]
"""A module's parameters, sorted by name."""


@functools.lru_cache(maxsize=4096)
def module_flops(kind: str, shape: Shape, params: Params) -> int:
    """Operations of one module that reads (1, *shape). Raises whatever the kind does."""
    return _count(lambda: build_module(kind, shape, dict(params)), shape)


def count_flops(plan: Plan, of_module: Callable[[str, Shape, Params], int] = module_flops) -> int:
    """Operations of one forward pass of one example: convolutions, products and attention.

    Counted by `torch.utils.flop_counter` on the meta device, part by part: a search meets the same parts again and
    again, and a whole network costs 10 to 25 ms to count. `of_module` counts a module.
    """
    total = 0
    for step in plan.steps:
        for source, layers in zip(step.sources, step.adapters, strict=True):
            if layers:
                total += _adapter_flops(layers, plan.steps[source].shape)
        if step.has_head:
            total += 2 * step.merged[0] * step.shape[0]  # a linear layer
        elif step.node.is_module:
            total += of_module(step.node.kind, step.merged, tuple(sorted(step.node.params.items())))
    return total


def count_parameters(network: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(parameter.numel() for parameter in network.parameters())


@functools.lru_cache(maxsize=4096)
def _adapter_flops(layers: tuple[Layer, ...], shape: Shape) -> int:
    return _count(lambda: build_adapter(layers), shape)


def _count(make: Callable[[], nn.Module], shape: Shape) -> int:
    with torch.device("meta"):
        module = make().eval()
        example = torch.zeros(1, *shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(example)
    return int(counter.get_total_flops())
