"""Random topologies over the built-in kinds: any edges, any merges, any ranks of data."""

from __future__ import annotations

from hypothesis import strategies as st

from nasmod.topology import Node, Topology

KINDS = {
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
}
SHAPES = st.one_of(*(st.lists(st.integers(1, 7), min_size=rank, max_size=rank).map(tuple) for rank in (1, 2, 3)))


@st.composite
def topologies(draw: st.DrawFn, inputs: tuple[str, ...] = ("x",), outputs: tuple[str, ...] = ("y",)) -> Topology:
    """Up to 6 modules; every node reads any earlier nodes, so parts may be dead and outputs may read inputs."""
    nodes = [Node("input", (), {"name": name}) for name in inputs]
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(sorted(KINDS)))
        sources = draw(st.sets(st.integers(0, len(nodes) - 1), min_size=1, max_size=3))
        params = {**draw(KINDS[kind]), "merge": draw(st.sampled_from(["sum", "concat", "gated"]))}
        nodes.append(Node(kind, tuple(sorted(sources)), params))
    readable = len(nodes)
    for name in outputs:
        sources = draw(st.sets(st.integers(0, readable - 1), min_size=1, max_size=3))
        nodes.append(Node("output", tuple(sorted(sources)), {"name": name}))
    return Topology(tuple(nodes))
