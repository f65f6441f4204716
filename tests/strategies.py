"""Every Hypothesis strategy of the project."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import strategies as st

from nasmod.space import Space
from nasmod.topology import Node, Parameter, Topology

Label = tuple[str, dict[str, Parameter]]

FEW_LABELS: Sequence[Label] = (("dense", {"width": 8}), ("dense", {"width": 16}), ("conv", {"channels": 8}))
"""So few that equal modules, hence symmetries, are common."""


@st.composite
def topologies(
    draw: st.DrawFn,
    labels: Sequence[Label] = FEW_LABELS,
    max_modules: int = 7,
    max_inputs: int = 2,
    max_outputs: int = 2,
    dead: bool = False,
) -> Topology:
    """Any valid topology; every module of it is live unless `dead`."""
    nodes = [Node("input", (), {"name": f"x{index}"}) for index in range(draw(st.integers(1, max_inputs)))]
    inputs = len(nodes)
    last = inputs + draw(st.integers(1, max_modules))
    for index in range(inputs, last):
        sources = draw(st.sets(st.integers(0, index - 1), min_size=0 if dead else 1))
        kind, params = draw(st.sampled_from(labels))
        nodes.append(Node(kind, tuple(sorted(sources)), params))
    outputs = draw(st.integers(1, max_outputs))
    live = _reached(nodes)
    for number in range(outputs):
        sources = draw(st.sets(st.sampled_from(live), min_size=1))
        if number == 0 and not dead:
            sources |= set(range(inputs, last)) - {source for node in nodes for source in node.inputs}
        merge = draw(st.sampled_from(["", "sum", "gated"])) if len(sources) > 1 else ""
        nodes.append(
            Node("output", tuple(sorted(sources)), {"name": f"y{number}", **({"merge": merge} if merge else {})})
        )
    return Topology(tuple(nodes))


def _reached(nodes: Sequence[Node]) -> list[int]:
    reached: list[int] = []
    for index, node in enumerate(nodes):
        if node.kind == "input" or not set(reached).isdisjoint(node.inputs):
            reached.append(index)
    return reached


@st.composite
def relabelled(draw: st.DrawFn, topology: Topology) -> Topology:
    """The same graph with its nodes in another topological order and each node's inputs shuffled."""
    order: list[int] = []
    while len(order) < len(topology.nodes):
        ready = [i for i, node in enumerate(topology.nodes) if i not in order and set(node.inputs) <= set(order)]
        order.append(draw(st.sampled_from(ready)))
    position = {old: new for new, old in enumerate(order)}
    nodes = []
    for old in order:
        node = topology.nodes[old]
        inputs = draw(st.permutations([position[source] for source in node.inputs]))
        nodes.append(Node(node.kind, tuple(inputs), node.params))
    return Topology(tuple(nodes))


@st.composite
def space_topologies(draw: st.DrawFn, space: Space) -> tuple[Topology, dict[str, Parameter]]:
    """A topology of a space and its searched settings: drawn at random, sometimes mutated a few times."""
    generator = random.Random(draw(st.integers(0, 2**32 - 1)))
    topology, settings = space.random(generator)
    for _ in range(draw(st.integers(0, 4))):
        topology, settings = space.mutate(topology, settings, generator)
    return topology, settings


@st.composite
def space_parameters(draw: st.DrawFn, space: Space) -> dict[str, Parameter]:
    """What a sampler that knows nothing may draw: each parameter by itself."""
    generator = random.Random(draw(st.integers(0, 2**32 - 1)))
    return {name: distribution.random(generator) for name, distribution in space.parameters().items()}


ALL_KINDS = {
    "dense": st.fixed_dictionaries(
        {
            "width": st.integers(1, 9),
            "depth": st.integers(1, 2),
            "normalisation": st.sampled_from(["none", "layer", "batch"]),
            "residual": st.booleans(),
        }
    ),
    "conv": st.fixed_dictionaries(
        {
            "channels": st.integers(1, 6),
            "kernel": st.sampled_from([1, 3, 5]),
            "stride": st.sampled_from([1, 2]),
            "separable": st.booleans(),
            "normalisation": st.sampled_from(["none", "batch"]),
        }
    ),
    "pool": st.fixed_dictionaries({"mode": st.sampled_from(["max", "mean"]), "size": st.sampled_from([2, 3])}),
    "attention": st.fixed_dictionaries(
        {
            "heads": st.integers(1, 2),
            "head_width": st.integers(1, 4),
            "position": st.sampled_from(["learned", "sinusoidal"]),
        }
    ),
    "skip": st.just({}),
}
shapes = st.one_of(*(st.lists(st.integers(1, 7), min_size=rank, max_size=rank).map(tuple) for rank in (1, 2, 3)))
"""Of flat, sequence and image inputs, kept small."""


@st.composite
def wirings(draw: st.DrawFn, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",)) -> Topology:
    """Up to 6 modules of every built-in kind and merge; parts may be dead, and outputs may read inputs."""
    nodes = [Node("input", (), {"name": name}) for name in inputs]
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(sorted(ALL_KINDS)))
        sources = draw(st.sets(st.integers(0, len(nodes) - 1), min_size=1, max_size=3))
        params = {**draw(ALL_KINDS[kind]), "merge": draw(st.sampled_from(["sum", "concat", "gated"]))}
        nodes.append(Node(kind, tuple(sorted(sources)), params))
    readable = len(nodes)
    for name in outputs:
        sources = draw(st.sets(st.integers(0, readable - 1), min_size=1, max_size=3))
        nodes.append(Node("output", tuple(sorted(sources)), {"name": name}))
    return Topology(tuple(nodes))
