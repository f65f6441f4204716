"""Interventions: what a trained network says when part of its inputs changes, for all of it or for one module alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nasmod.networks.lesions import batches, downstream, examples_at_a_time
from nasmod.networks.network import Network

Outputs = dict[str, Tensor]  # (N, size) by name


@dataclass(frozen=True)
class Intervention:
    """What a change of the inputs does. `through` and `around` have one entry a step that was looked at.

    `through[i]`: all is unchanged, but step i gives what it gives under the change; `around[i]`: all is changed, but
    step i gives what it gave before. `moved[i]` is the share of the variance of step i's activation that the change
    moves, mean ||a - a'||² / (2 mean ||a - mean a||²): 0 if it does not see the change, 1 if it sees nothing else.
    """

    changed: Outputs
    through: tuple[Outputs, ...]
    around: tuple[Outputs, ...]
    moved: tuple[float, ...]


def intervene(
    network: Network,
    inputs: Mapping[str, Tensor],
    changes: Sequence[Mapping[str, Tensor]],
    steps: Sequence[int],
    batch: int | None = None,
) -> tuple[Outputs, list[Intervention]]:
    """Outputs on all examples as they are, and under each change: inputs (N, *shape) that stand in for those named.

    Examples of a change belong to the same rows as those of `inputs`. Everything is computed in eval mode, and each run
    computes only what is not known from the run before or the changed one. `batch` is the number of examples run at a
    time, by default `examples_at_a_time`.
    """
    batch = batch or examples_at_a_time(network)
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return _intervene(network, inputs, changes, steps, batch)
    finally:
        network.train(was_training)


def _intervene(
    network: Network,
    inputs: Mapping[str, Tensor],
    changes: Sequence[Mapping[str, Tensor]],
    steps: Sequence[int],
    batch: int,
) -> tuple[Outputs, list[Intervention]]:
    after = {step: downstream(network, step) for step in steps}
    whole_parts: list[Outputs] = []
    parts: list[list[tuple[Outputs, list[Outputs], list[Outputs]]]] = [[] for _ in changes]
    spread = _Spread(len(steps))
    moved = [_Spread(len(steps)) for _ in changes]
    changed_batches = [batches(network, {**inputs, **change}, batch) for change in changes]
    for examples, *others in zip(batches(network, inputs, batch), *changed_batches, strict=True):
        whole = network.run(examples)
        whole_parts.append(network.outputs(whole))
        spread.add([whole[step] for step in steps])
        for change, changed_examples, found, difference in zip(changes, others, parts, moved, strict=True):
            reached = _reached(network, change)
            kept = {step: tensor for step, tensor in whole.items() if step not in reached}
            changed = network.run(changed_examples, known=kept)
            difference.add([whole[step] - changed[step] for step in steps])
            found.append(
                (
                    network.outputs(changed),
                    list(_replaced(network, whole, changed, steps, after, reached)),
                    list(_replaced(network, changed, whole, steps, after, reached)),
                )
            )
    variances = spread.variances()
    interventions = []
    for found, difference in zip(parts, moved, strict=True):
        outputs, through, around = zip(*found, strict=True)
        interventions.append(
            Intervention(
                _joined(outputs),
                tuple(_joined(of_step) for of_step in zip(*through, strict=True)),
                tuple(_joined(of_step) for of_step in zip(*around, strict=True)),
                tuple(
                    square / (2 * variance) if variance > 0 else 0.0
                    for square, variance in zip(difference.squares(), variances, strict=True)
                ),
            )
        )
    return _joined(whole_parts), interventions


def _replaced(
    network: Network,
    run: Mapping[int, Tensor],
    other: Mapping[int, Tensor],
    steps: Sequence[int],
    after: Mapping[int, frozenset[int]],
    reached: frozenset[int],
) -> Iterator[Outputs]:
    """Outputs of a run in which one step at a time gives what it gives in another run."""
    outputs = [network.plan.output_step(name) for name in network.plan.outputs]
    for step in steps:
        if step not in reached:  # it gives the same in both
            yield network.outputs(run)
            continue
        known = _known(network, run, other, step, after[step], reached)
        yield network.outputs(network.run({}, known=known, wanted=outputs))


def _known(
    network: Network,
    run: Mapping[int, Tensor],
    other: Mapping[int, Tensor],
    step: int,
    after: frozenset[int],
    reached: frozenset[int],
) -> dict[int, Tensor]:
    """What is known of `run` when one step gives what it gives in `other`.

    Steps that do not read it, by whatever path, stay as they are; those that of all that differs in the two runs read
    only it and what follows from it alone give what they give in `other`: all of them, where there is no way past it.
    """
    known = {index: tensor for index, tensor in run.items() if index not in after} | {step: other[step]}
    taken = {step}
    for index in sorted(after - {step}):  # every step reads earlier ones
        if taken.issuperset(reached.intersection(network.plan.steps[index].sources)):
            known[index] = other[index]
            taken.add(index)
    return known


def _reached(network: Network, change: Mapping[str, Tensor]) -> frozenset[int]:
    """Steps that a change of these inputs can reach."""
    inputs = [network.plan.input_step(name) for name in change if name in network.plan.inputs]
    return frozenset().union(*(downstream(network, step) for step in inputs))


def _joined(parts: Sequence[Outputs]) -> Outputs:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


class _Spread:
    """Sums over examples of one tensor a step, batch by batch."""

    def __init__(self, count: int) -> None:
        self.examples = 0
        self._sums: list[Tensor | None] = [None] * count
        self._squares = [0.0] * count

    def add(self, tensors: Sequence[Tensor]) -> None:
        self.examples += len(tensors[0]) if tensors else 0
        for index, tensor in enumerate(tensors):
            values = tensor.flatten(1).double()
            total = values.sum(0)
            before = self._sums[index]
            self._sums[index] = total if before is None else before + total
            self._squares[index] += float(values.square().sum())

    def squares(self) -> list[float]:
        """Mean squared length of each."""
        return [square / self.examples for square in self._squares]

    def variances(self) -> list[float]:
        """Mean squared distance of each from its mean."""
        means = [0.0 if total is None else float((total / self.examples).square().sum()) for total in self._sums]
        # what is left of a constant is rounding
        return [
            square - mean if square - mean > 1e-9 * square else 0.0
            for square, mean in zip(self.squares(), means, strict=True)
        ]
