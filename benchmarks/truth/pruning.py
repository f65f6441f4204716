"""Pruning between modules: how many of the weights through which modules and outputs read others can be cut.

A border weight is one of the first linear layer of a module, or of the head of an output; one that is cut reads the
mean of its unit instead (its share of the bias stays). Those that matter least go first: |weight| times the spread of
the unit it reads, so that rescaled units change nothing. The result is the largest share that costs no more than 2
points of accuracy, in steps of 2.5 %. The control cuts as many at random. Dense modules alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.truth.training import share_right, tensors
from benchmarks.truth.worlds import World
from nasmod.networks import Network

ALLOWED, STEP, RANDOM_ORDERS = 0.02, 0.025, 3


def pruning(network: Network, world: World, seed: int = 0) -> dict[str, float]:
    """Share of the border weights that can be cut, and the accuracy lost by cutting as many at random."""
    inputs, targets = tensors(world, "test")
    layers = _borders(network)
    read = _read(network, layers, tensors(world, "train")[0])  # the accuracy is that of test, the spread of training
    means, spreads = [x.mean(0) for x in read], [x.std(0) for x in read]
    sizes = torch.cat(
        [(layer.weight.detach().abs() * spread).flatten() for layer, spread in zip(layers, spreads, strict=True)]
    )
    generator = torch.Generator().manual_seed(seed)

    def lost(order: Tensor, share: float) -> float:
        cut = torch.zeros(len(sizes), dtype=torch.bool)
        cut[order[: round(share * len(sizes))]] = True
        with torch.no_grad():
            return whole - share_right(_without(network, means, cut)(inputs), targets)

    with torch.no_grad():
        whole = share_right(network(inputs), targets)
    smallest_first = sizes.argsort()
    share = 0.0
    for step in np.arange(STEP, 1 + STEP / 2, STEP):
        if lost(smallest_first, step) > ALLOWED:
            break
        share = float(step)
    at_random = [lost(torch.randperm(len(sizes), generator=generator), share) for _ in range(RANDOM_ORDERS)]
    return {"share": share, "lost_at_random": sum(at_random) / RANDOM_ORDERS}


def _borders(network: Network) -> list[nn.Linear]:
    found = []
    for step in network.plan.steps:
        if not step.is_input:
            part = network.get_submodule(f"{step.name}_head" if step.is_output else step.name)
            found.append(next(layer for layer in part.modules() if isinstance(layer, nn.Linear)))
    return found


@torch.no_grad()
def _read(network: Network, layers: Sequence[nn.Linear], inputs: dict[str, Tensor]) -> list[Tensor]:
    """What each layer reads (N, features)."""
    found: list[Tensor] = []
    hooks = [layer.register_forward_pre_hook(lambda _, given: found.append(given[0])) for layer in layers]
    network(inputs)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
def _without(network: Network, means: Sequence[Tensor], cut: Tensor) -> Network:
    pruned = copy.deepcopy(network)
    layers = _borders(pruned)
    for layer, mean, gone in zip(layers, means, cut.split([layer.weight.numel() for layer in layers]), strict=True):
        gone = gone.reshape(layer.weight.shape)
        layer.bias += (layer.weight * gone) @ mean
        layer.weight[gone] = 0.0
    return pruned
