"""Upgrade: one module is drawn anew and trained alone, on all training data of a world that has not changed.

The control is the module drawn anew and not trained. One that is worse than the mean activation does nothing again.
"""

from __future__ import annotations

import copy

import torch

from benchmarks.truth.damage import NEEDED, losses
from benchmarks.truth.repair import parameters_of
from benchmarks.truth.training import SETTINGS, share_right, tensors, untrained
from benchmarks.truth.worlds import World
from nasmod.networks import Network
from nasmod.topology import Topology
from nasmod.training import train

EPOCHS = 3


def upgrade(topology: Topology, network: Network, world: World, seed: int, epochs: int = EPOCHS) -> dict[str, float]:
    """Share of a needed module's work that it does again: ``trained``, and ``untrained``; means over the modules.

    The new modules are those of an untrained network of `seed`. Both are NaN where no module is needed.
    """
    whole, without = losses(network, world)
    needed = [step for step, left in without.items() if whole - left >= NEEDED]
    inputs, targets = tensors(world, "test")
    fresh = dict(untrained(topology, world, seed).named_parameters())
    found: dict[str, list[float]] = {"untrained": [], "trained": []}
    for step in needed:
        renewed = copy.deepcopy(network)
        names = parameters_of(renewed, step)
        with torch.no_grad():
            for name, parameter in renewed.named_parameters():
                parameter.requires_grad_(name in names)
                if name in names:
                    parameter.copy_(fresh[name])
        for kind in found:
            if kind == "trained":
                settings = SETTINGS.model_copy(update={"epochs": epochs})
                train(renewed, world.dataset, settings, seed, on_epoch=lambda epoch: None)
            with torch.no_grad():
                right = share_right(renewed.eval()(inputs), targets)
            found[kind].append(max(0.0, right - without[step]) / (whole - without[step]))
    means = {kind: sum(shares) / len(shares) if shares else float("nan") for kind, shares in found.items()}
    return {**means, "needed_modules": float(len(needed))}
