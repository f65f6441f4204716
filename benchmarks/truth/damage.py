"""Damage: what a network still can when one module is lost (gives its mean activation).

The control is need: a module whose loss costs less than 2 points of accuracy shows nothing by being lost.
"""

from __future__ import annotations

from benchmarks.truth.training import share_right, tensors
from benchmarks.truth.worlds import World
from nasmod.networks import Network, lesion, module_steps

NEEDED = 0.02  # of accuracy


def losses(network: Network, world: World) -> tuple[float, dict[int, float]]:
    """Accuracy on test of the whole network, and by step without each module."""
    inputs, targets = tensors(world, "test")
    steps = module_steps(network)
    whole, *without = lesion(network, inputs, [frozenset(), *[frozenset({step}) for step in steps]])
    return share_right(whole, targets), {
        step: share_right(outputs, targets) for step, outputs in zip(steps, without, strict=True)
    }


def damage(network: Network, world: World) -> dict[str, float]:
    """Share of the skill above chance that is kept: mean and worst over all modules, mean over needed ones.

    The mean over needed modules is 1 where none is needed.
    """
    whole, without = losses(network, world)
    kept = {step: (left - world.dataset.chance) / (whole - world.dataset.chance) for step, left in without.items()}
    needed = [kept[step] for step, left in without.items() if whole - left >= NEEDED]
    return {
        "mean": sum(kept.values()) / len(kept),
        "worst": min(kept.values()),
        "needed": sum(needed) / len(needed) if needed else 1.0,
        "needed_modules": float(len(needed)),
    }
