"""Lesions: what a trained network still says when modules give nothing but their mean activation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from nasmod.networks.network import Network

FEWEST_EXAMPLES, MOST_EXAMPLES = 64, 1024  # run at a time
NUMBERS_AT_A_TIME = 2**21  # activations of all steps, on a CPU: they stay near its caches


def module_steps(network: Network) -> list[int]:
    """Steps that can be lesioned: modules with parameters, be it their own, an adapter's or a gate's."""
    return [index for index, step in enumerate(network.plan.steps) if step.node.is_module and _trained(network, index)]


def lesion(
    network: Network, inputs: Mapping[str, Tensor], sets: Sequence[frozenset[int]], batch: int | None = None
) -> Iterator[dict[str, Tensor]]:
    """Outputs (B, size) by name on all examples, once per set of steps; the empty set is the network unharmed.

    A lesion replaces each step of its set by its mean over the given examples, per unit (and position), in eval mode.
    Each batch is run whole once; a lesion then recomputes only what lies between it and the outputs, and what it made
    constant only once. `batch` is the number of examples run at a time, by default `examples_at_a_time`.
    """
    batch = batch or examples_at_a_time(network)
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            return iter(_lesion(network, inputs, sets, batch))
    finally:
        network.train(was_training)


def _lesion(
    network: Network, inputs: Mapping[str, Tensor], sets: Sequence[frozenset[int]], batch: int
) -> list[dict[str, Tensor]]:
    outputs = {network.plan.output_step(name): name for name in network.plan.outputs}
    means = _means(network, inputs, frozenset().union(*sets), batch)
    after = {step: downstream(network, step) for step in means}
    found: list[dict[str, list[Tensor]]] = [{name: [] for name in network.plan.outputs} for _ in sets]
    for examples in batches(network, inputs, batch):
        whole = network.run(examples)
        size = len(next(iter(examples.values())))
        for lesioned, parts in zip(sets, found, strict=True):
            changed = frozenset().union(*(after[step] for step in lesioned))
            known = {step: tensor for step, tensor in whole.items() if step not in changed}
            replaced = {step: means[step] for step in lesioned}
            rest = network.run(examples, replaced, known, wanted=outputs)
            for step, name in outputs.items():
                parts[name].append(rest[step].expand(size, -1))
    return [{name: torch.cat(tensors) for name, tensors in parts.items()} for parts in found]


def _means(network: Network, inputs: Mapping[str, Tensor], steps: frozenset[int], batch: int) -> dict[int, Tensor]:
    """Mean activation (1, *shape) of each step over all examples."""
    sums: dict[int, Tensor] = {}
    count = 0
    for examples in batches(network, inputs, batch) if steps else ():
        found = network.run(examples, wanted=steps)
        count += len(next(iter(examples.values())))
        for step in steps:
            total = found[step].sum(0, keepdim=True)
            sums[step] = sums[step] + total if step in sums else total
    return {step: total / count for step, total in sums.items()}


def examples_at_a_time(network: Network) -> int:
    """How many examples are best run together, by their activations: fewer of large images than of short vectors."""
    device = next(network.buffers()).device  # every network has a buffer per input
    if device.type != "cpu":
        return MOST_EXAMPLES
    numbers = sum(math.prod(step.shape) for step in network.plan.steps)
    return min(MOST_EXAMPLES, max(FEWEST_EXAMPLES, NUMBERS_AT_A_TIME // numbers))


def batches(network: Network, inputs: Mapping[str, Tensor], batch: int) -> Iterator[dict[str, Tensor]]:
    """The inputs that the network reads, so many examples at a time, on its device."""
    device = next(network.buffers()).device
    count = len(next(iter(inputs.values())))
    for start in range(0, count, batch):
        yield {name: inputs[name][start : start + batch].to(device) for name in network.plan.inputs}


def downstream(network: Network, origin: int) -> frozenset[int]:
    """The step and every step that its loss can change."""
    changed = {origin}
    for index, step in enumerate(network.plan.steps):
        if changed.intersection(step.sources):
            changed.add(index)
    return frozenset(changed)


def _trained(network: Network, index: int) -> bool:
    plan = network.plan
    step = plan.steps[index]
    own = {step.name, f"{step.name}_gate", *(plan.adapter_name(step, i) for i in range(len(step.sources)))}
    return any(True for name, child in network.named_children() if name in own for _ in child.parameters())
