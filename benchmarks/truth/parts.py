"""A trained network of dense modules as parts that can be changed by hand, and a network made of parts.

The weights of a part's first layer are kept apart by what they read, so that modules can be put in front of others and
beside them whatever the order in which a plan concatenates them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nasmod.data import Dataset
from nasmod.networks import Network, Step, build, plan
from nasmod.topology import INPUT, OUTPUT, Node, Parameter, Topology, canonical_order

Parts = dict[str, "Part"]  # by name, each after all that it reads; outputs by their own names


@dataclass
class Part:
    """A module or an output: what it does with each input and module that it reads, and the layers that follow."""

    kind: str
    params: dict[str, Parameter]
    reads: dict[str, Tensor]  # (units, numbers of what is read), by the name of what is read
    bias: Tensor  # (units,)
    later: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # weight and bias of every further layer

    @property
    def width(self) -> int:
        """Units that others read."""
        return len(self.bias)


def parts_of(network: Network) -> Parts:
    """The modules and outputs of a network, with copies of their weights."""
    steps = network.plan.steps
    names = [str(step.node.params.get("name", step.name)) for step in steps]
    found: Parts = {}
    for name, step in zip(names, steps, strict=True):
        if step.is_input:
            continue
        first, *later = [
            (layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in _linear(network, step)
        ]
        sizes = [int(torch.Size(steps[source].shape).numel()) for source in step.sources]
        blocks = dict(zip([names[s] for s in step.sources], first[0].split(sizes, dim=1), strict=True))
        params = {key: value for key, value in step.node.params.items() if key != "merge"}
        found[name] = Part(step.node.kind, params, blocks, first[1], later)
    return found


@torch.no_grad()
def network_of(parts: Mapping[str, Part], dataset: Dataset) -> Network:
    """The network that consists of these parts, in eval mode."""
    place = {name: index for index, name in enumerate(dataset.inputs)}
    nodes = [Node(INPUT, (), {"name": name}) for name in place]
    for name, part in parts.items():
        merge: dict[str, Parameter] = {"merge": "concat"} if len(part.reads) > 1 and part.kind != OUTPUT else {}
        nodes.append(Node(part.kind, tuple(sorted(place[source] for source in part.reads)), {**part.params, **merge}))
        place[name] = len(nodes) - 1
    topology = Topology(tuple(nodes))
    network = build(plan(topology, dataset.inputs, dataset.output_shapes))
    network.normalise(dataset.normalisation)
    named = {index: name for name, index in place.items()}
    names = [named[index] for index in canonical_order(topology.nodes)]  # of the steps
    for name, step in zip(names, network.plan.steps, strict=True):
        if step.is_input:
            continue
        part = parts[name]
        weights = [(torch.cat([part.reads[names[source]] for source in step.sources], 1), part.bias), *part.later]
        for layer, (weight, bias) in zip(_linear(network, step), weights, strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return network.eval()


def _linear(network: Network, step: Step) -> Iterator[nn.Linear]:
    """The layers of a module or of an output, in order."""
    part = network.get_submodule(f"{step.name}_head" if step.is_output else step.name)
    return (module for module in part.modules() if isinstance(module, nn.Linear))
