"""Swap: a module is replaced by its twin of another training, through weak borders.

A border matches units one to one, each with a shift, a scale and a sign: those pairs of units whose activations on
training examples correlate most, over all units. What flows into the twin and out of it passes such a border. The
control is the twin of an *untrained* network, treated in the same way: free linear maps would do the work themselves,
and even matched units of random features do some of it. A replacement worse than the mean activation restores nothing.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.truth.damage import NEEDED, losses
from benchmarks.truth.training import share_right, tensors
from benchmarks.truth.worlds import World
from nasmod.networks import Network

MATCHED_ON = 2_000  # training examples


class Border:
    """Units of one network in place of another's: (B, units) -> (B, units)."""

    def __init__(self, given: Tensor, wanted: Tensor) -> None:
        """From activations of both networks on the same examples (N, units)."""
        self.given_mean, given_spread = given.mean(0), given.std(0)
        self.wanted_mean, wanted_spread = wanted.mean(0), wanted.std(0)
        lively = torch.where(given_spread > 1e-6, 1 / given_spread.clamp_min(1e-6), 0.0)  # a dead unit says nothing
        first = (given - self.given_mean) * lively
        second = (wanted - self.wanted_mean) / wanted_spread.clamp_min(1e-6)
        correlations = second.T @ first / len(given)  # (wanted, given)
        rows, columns = linear_sum_assignment(correlations.abs().numpy(), maximize=True)
        self.source = torch.as_tensor(columns)  # for each wanted unit, in order, the given one
        self.scale = correlations[rows, columns].sign() * wanted_spread * lively[self.source]

    def __call__(self, given: Tensor) -> Tensor:
        return (given - self.given_mean)[:, self.source] * self.scale + self.wanted_mean


def swap(network: Network, twin: Network, untrained: Network, world: World) -> dict[str, float]:
    """Share of a needed module's work that its twin restores, and that an untrained one does; means over the modules.

    Both are NaN where no module is needed. The three networks have one topology.
    """
    whole, without = losses(network, world)
    needed = [step for step, left in without.items() if whole - left >= NEEDED]
    inputs, targets = tensors(world, "test")
    examples = {name: values[:MATCHED_ON] for name, values in tensors(world, "train")[0].items()}
    found = {"twin": float("nan"), "untrained": float("nan"), "needed_modules": float(len(needed))}
    for kind, other in {"twin": twin, "untrained": untrained}.items() if needed else ():
        shares = []
        for step in needed:
            left = share_right(_with(network, other, step, examples, inputs), targets)
            shares.append(max(0.0, left - without[step]) / (whole - without[step]))
        found[kind] = sum(shares) / len(shares)
    return found


@torch.no_grad()
def _with(
    network: Network, other: Network, step: int, examples: dict[str, Tensor], inputs: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Outputs on the inputs with one module of the other network in the place of the network's own."""
    own, others = network.run(examples), other.run(examples)
    flowing = network.run(inputs)
    read = {
        source: flowing[source] if network.plan.steps[source].is_input else Border(own[source], others[source])(value)
        for source, value in ((source, flowing[source]) for source in network.plan.steps[step].sources)
    }
    given = other.run({}, known=read, wanted=[step])[step]
    return network.outputs(network.run(inputs, replaced={step: Border(others[step], own[step])(given)}))
