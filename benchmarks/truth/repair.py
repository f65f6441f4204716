"""Local repair: a part of the world has changed, a few examples of it are at hand, one module is trained again.

All repairs of one module (or of the whole network) run as one batched training: `torch.func` stacks copies of the
parameters that are trained, so a step costs little more than a step of one repair. What lies before a module or beside
it stays as it is, and is computed once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from benchmarks.truth.training import share_right, tensors
from benchmarks.truth.worlds import Change, World
from nasmod.networks import Network, module_steps

EXAMPLES, EPOCHS, BATCH, LEARNING_RATE = 300, 30, 50, 1e-2


@dataclass(frozen=True)
class Repair:
    """Accuracy on test before the change, after it, and after training one module (the best on validation) or all."""

    change: Change
    before: float
    broken: float
    best_module: float
    module: str
    everything: float


def repairs(network: Network, world: World, changes: Sequence[Change], epochs: int = EPOCHS) -> list[Repair]:
    """Every change repaired by each module alone and by all of them together."""
    network.eval()
    splits = {split: [tensors(world, split, change) for change in changes] for split in ("train", "validation", "test")}
    inputs, targets = tensors(world, "test")
    with torch.no_grad():
        before = share_right(network(inputs), targets)
        broken = [share_right(network(x), y) for x, y in splits["test"]]
    few = []
    for change, (x, y) in zip(changes, splits["train"], strict=True):
        rows = torch.as_tensor(
            np.random.default_rng([7, change.repetition]).permutation(len(next(iter(y.values()))))[:EXAMPLES]
        )
        few.append(({n: v[rows] for n, v in x.items()}, {n: v[rows] for n, v in y.items()}))
    seeds = [change.repetition for change in changes]
    scores = {}
    for step in module_steps(network):
        found = _trained(network, parameters_of(network, step), few, seeds, epochs, fixed=_before(network, step))
        scores[network.plan.steps[step].name] = _scores(network, found, splits)
    every = [name for name, _ in network.named_parameters()]
    fixed = {step for step, found in enumerate(network.plan.steps) if found.is_input}
    whole = _scores(network, _trained(network, every, few, seeds, epochs, fixed), splits)["test"]
    result = []
    for index, change in enumerate(changes):
        best = max(scores, key=lambda name: scores[name]["validation"][index])
        result.append(Repair(change, before, broken[index], scores[best]["test"][index], best, whole[index]))
    return result


def parameters_of(network: Network, step: int) -> list[str]:
    """Names of the parameters that belong to a module: its own, and those of what it reads through."""
    name = network.plan.steps[step].name
    return [
        n
        for n, _ in network.named_parameters()
        if n.split(".")[0] in (name, f"{name}_gate") or n.startswith(f"{name}_from_")
    ]


def _before(network: Network, step: int) -> set[int]:
    """Steps that do not change when the module does."""
    changed = {step}
    for index, found in enumerate(network.plan.steps):
        if changed.intersection(found.sources):
            changed.add(index)
    return set(range(len(network.plan.steps))) - changed


class _Rest(nn.Module):
    """A network from activations that are known to its outputs."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, known: Mapping[int, Tensor]) -> dict[str, Tensor]:
        wanted = [self.network.plan.output_step(name) for name in self.network.plan.outputs]
        return self.network.outputs(self.network.run({}, known=known, wanted=wanted))


def _trained(
    network: Network,
    names: Sequence[str],
    few: Sequence[tuple[dict[str, Tensor], dict[str, Tensor]]],
    seeds: Sequence[int],
    epochs: int,
    fixed: set[int],
) -> dict[str, Tensor]:
    """The named parameters after training, stacked: one row a repair (R, ...).

    Steps in `fixed` do not depend on them.
    """
    start = dict(network.named_parameters())
    stacked = {
        name: start[name].detach().expand(len(few), *start[name].shape).clone().requires_grad_() for name in names
    }
    with torch.no_grad():
        needed = {network.plan.output_step(name) for name in network.plan.outputs}  # some may not depend on the module
        needed |= {s for step, found in enumerate(network.plan.steps) if step not in fixed for s in found.sources}
        rows = [network.run(x, wanted=needed & fixed) for x, _ in few]
        known = {step: torch.stack([row[step] for row in rows]) for step in needed & fixed}  # (R, N, ...)
    targets = {name: torch.stack([y[name] for _, y in few]) for name in few[0][1]}
    optimizer = torch.optim.AdamW(stacked.values(), lr=LEARNING_RATE, weight_decay=0.01, foreach=False, fused=True)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * math.ceil(EXAMPLES / BATCH))
    runs = torch.arange(len(few))[:, None]
    rest = _Rest(network)
    forward = torch.func.vmap(
        lambda params, x: functional_call(rest, {f"network.{name}": value for name, value in params.items()}, (x,))
    )
    for _ in range(epochs):
        order = torch.stack([torch.randperm(EXAMPLES, generator=generator) for generator in generators])  # (R, N)
        shuffled = {step: values[runs, order] for step, values in known.items()}
        wanted = {name: values[runs, order] for name, values in targets.items()}
        for start in range(0, EXAMPLES, BATCH):
            batch = slice(start, start + BATCH)
            outputs = forward(stacked, {step: values[:, batch] for step, values in shuffled.items()})
            loss = sum(
                torch.nn.functional.cross_entropy(outputs[name].flatten(0, 1), wanted[name][:, batch].flatten())
                for name in outputs
            ) * len(few)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return {name: values.detach() for name, values in stacked.items()}


@torch.no_grad()
def _scores(
    network: Network,
    params: Mapping[str, Tensor],
    splits: Mapping[str, Sequence[tuple[dict[str, Tensor], dict[str, Tensor]]]],
) -> dict[str, list[float]]:
    return {
        split: [
            share_right(functional_call(network, {n: v[index] for n, v in params.items()}, (x,)), y)
            for index, (x, y) in enumerate(splits[split])
        ]
        for split in ("validation", "test")
    }
