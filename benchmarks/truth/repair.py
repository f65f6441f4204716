"""Local repair: a part of the world has changed, a few examples of it are at hand, one module is trained again.

All repairs of one module (or of the whole network) run as one batched training: `torch.func` stacks copies of the
parameters that are trained, so a step costs little more than a step of one repair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from benchmarks.truth.worlds import Change, World
from nasmod.networks import Network, module_steps

EXAMPLES, EPOCHS, BATCH, LEARNING_RATE = 300, 30, 50, 1e-2

Examples = tuple[dict[str, Tensor], dict[str, Tensor]]  # inputs, targets
Parameters = dict[str, Tensor]


@dataclass(frozen=True)
class Repair:
    """Accuracy on test before the change, after it, and after training one module (the best on validation) or all."""

    change: Change
    before: float
    broken: float
    best_module: float
    module: str
    everything: float

    @property
    def share(self) -> float:
        """Share of the lost accuracy that one module won back."""
        return (self.best_module - self.broken) / max(self.before - self.broken, 0.01)

    @property
    def share_of_all(self) -> float:
        """The control: what training everything won back."""
        return (self.everything - self.broken) / max(self.before - self.broken, 0.01)


def repairs(network: Network, world: World, changes: Sequence[Change], *, control: bool = True) -> list[Repair]:
    """Every change repaired by each module alone and by all of them together."""
    splits = {
        split: [_tensors(world.examples(split, change)) for change in changes]
        for split in ("train", "validation", "test")
    }
    inputs, targets = _tensors(world.examples("test"))
    with torch.no_grad():
        before = float(_right(network(inputs), targets))
        broken = [float(_right(network(x), y)) for x, y in splits["test"]]
    few = []
    for change, (x, y) in zip(changes, splits["train"], strict=True):
        rows = torch.as_tensor(
            np.random.default_rng([7, change.repetition]).permutation(len(next(iter(y.values()))))[:EXAMPLES]
        )
        few.append(({n: v[rows] for n, v in x.items()}, {n: v[rows] for n, v in y.items()}))
    seeds = [change.repetition for change in changes]
    parts = {network.plan.steps[step].name: _parameters(network, step) for step in module_steps(network)}
    parts = {name: names for name, names in parts.items() if names}
    found = {name: _trained(network, names, few, seeds) for name, names in parts.items()}
    scores = {name: _scores(network, params, splits) for name, params in found.items()}
    every = [name for name, _ in network.named_parameters()]
    whole = (
        _scores(network, _trained(network, every, few, seeds), splits)["test"] if control else [np.nan] * len(changes)
    )
    result = []
    for index, change in enumerate(changes):
        best = max(scores, key=lambda name: scores[name]["validation"][index])
        result.append(Repair(change, before, broken[index], scores[best]["test"][index], best, whole[index]))
    return result


def _parameters(network: Network, step: int) -> list[str]:
    """Names of the parameters that belong to a module: its own, and those of what it reads through."""
    name = network.plan.steps[step].name
    return [
        n
        for n, _ in network.named_parameters()
        if n.split(".")[0] in (name, f"{name}_gate") or n.startswith(f"{name}_from_")
    ]


def _trained(network: Network, names: Sequence[str], few: Sequence[Examples], seeds: Sequence[int]) -> Parameters:
    """The named parameters after training, stacked: one row a repair (R, ...)."""
    network.eval()
    start = dict(network.named_parameters())
    stacked = {
        name: start[name].detach().expand(len(few), *start[name].shape).clone().requires_grad_() for name in names
    }
    frozen = _frozen(network, names)
    with torch.no_grad():
        runs = [network.run(inputs, wanted=frozen) for inputs, _ in few]
    known = {step: torch.stack([run[step] for run in runs]) for step in frozen}  # (R, N, ...)
    targets = {name: torch.stack([y[name] for _, y in few]) for name in few[0][1]}
    optimizer = torch.optim.AdamW(stacked.values(), lr=LEARNING_RATE, weight_decay=0.01, fused=True)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * EXAMPLES // BATCH)
    row = torch.arange(len(few))[:, None]
    downstream = _Downstream(network)
    forward = torch.func.vmap(
        lambda params, found: functional_call(downstream, {f"network.{n}": v for n, v in params.items()}, (found,))
    )
    for _ in range(EPOCHS):
        order = torch.stack([torch.randperm(EXAMPLES, generator=generator) for generator in generators])  # (R, N)
        for chosen in order.split(BATCH, dim=1):
            outputs = forward(stacked, {step: values[row, chosen] for step, values in known.items()})
            losses = [
                functional.cross_entropy(outputs[name].flatten(0, 1), targets[name][row, chosen].flatten())
                for name in outputs
            ]
            optimizer.zero_grad()
            (torch.stack(losses).sum() * len(few)).backward()  # the mean over repairs: each as if it were alone
            optimizer.step()
            schedule.step()
    return {name: values.detach() for name, values in stacked.items()}


class _Downstream(torch.nn.Module):
    """The part of a network that depends on what is trained, from the activations of the rest."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, known: Mapping[int, Tensor]) -> dict[str, Tensor]:
        return self.network.outputs(self.network.run({}, known=known))


def _frozen(network: Network, names: Sequence[str]) -> list[int]:
    """Steps whose activations do not depend on the named parameters: inputs, and modules before the trained ones."""
    changed: set[int] = set()
    for index, step in enumerate(network.plan.steps):
        own = any(
            name.split(".")[0].split("_from_")[0].removesuffix("_gate").removesuffix("_head") == step.name
            for name in names
        )
        if own or changed.intersection(step.sources):
            changed.add(index)
    return [index for index in range(len(network.plan.steps)) if index not in changed]


@torch.no_grad()
def _scores(
    network: Network,
    params: Parameters,
    splits: Mapping[str, Sequence[Examples]],
) -> dict[str, list[float]]:
    return {
        split: [
            float(_right(functional_call(network, {n: v[index] for n, v in params.items()}, (x,)), y))
            for index, (x, y) in enumerate(splits[split])
        ]
        for split in ("validation", "test")
    }


def _right(outputs: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([(outputs[name].argmax(-1) == targets[name]).float().mean() for name in outputs]).mean()


def _tensors(
    examples: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]],
) -> Examples:
    return tuple(
        {name: torch.as_tensor(np.ascontiguousarray(values)) for name, values in part.items()} for part in examples
    )  # type: ignore[return-value]
