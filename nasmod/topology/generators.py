"""Random wirings of n modules as DAG edges, by family. They know nothing of kinds, inputs and outputs.

Erdős-Rényi, Watts-Strogatz and Barabási-Albert graphs are networkx's, each edge oriented from the lower to the higher
number (Xie et al., Exploring randomly wired neural networks for image recognition, 2019); only their parameters are
drawn here. A module without edges in simply starts from the network's input.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import networkx

from nasmod.errors import UnknownNameError

Edges = set[tuple[int, int]]


def random_edges(family: str, n: int, generator: random.Random) -> Edges:
    """Edges (i, j) with i < j < n of a random graph of a family.

    >>> sorted(random_edges("chain", 4, random.Random(0)))
    [(0, 1), (1, 2), (2, 3)]
    >>> random_edges("parallel", 4, random.Random(0))
    set()
    """
    if family not in FAMILIES:
        raise UnknownNameError("generator family", family, FAMILIES)
    return FAMILIES[family](n, generator)


def erdos_renyi(n: int, generator: random.Random) -> Edges:
    """Every edge with the same probability, itself drawn anew each time: any DAG can come out."""
    return _oriented(networkx.gnp_random_graph(n, generator.random(), seed=generator))


def watts_strogatz(n: int, generator: random.Random) -> Edges:
    """A ring of near neighbours, some edges rewired."""
    neighbours = generator.choice([k for k in (2, 4) if k <= n] or [0])
    return _oriented(networkx.watts_strogatz_graph(n, neighbours, generator.random(), seed=generator))


def barabasi_albert(n: int, generator: random.Random) -> Edges:
    """Preferential attachment: hubs that many read."""
    if n < 2:
        return set()
    return _oriented(networkx.barabasi_albert_graph(n, generator.randint(1, max(1, n // 2)), seed=generator))


def parallel(n: int, generator: random.Random) -> Edges:
    """No edges: an ensemble."""
    return set()


def chain(n: int, generator: random.Random) -> Edges:
    """One after the other."""
    return {(index, index + 1) for index in range(n - 1)}


def layered(n: int, generator: random.Random) -> Edges:
    """Layers of random sizes; each module reads a random non-empty part of the layer before."""
    edges: Edges = set()
    before: list[int] = []
    start = 0
    while start < n:
        layer = list(range(start, start + generator.randint(1, n - start)))
        for module in layer:
            edges |= {
                (source, module)
                for source in generator.sample(before, generator.randint(min(1, len(before)), len(before)))
            }
        before, start = layer, layer[-1] + 1
    return edges


FAMILIES: dict[str, Callable[[int, random.Random], Edges]] = {
    "erdos_renyi": erdos_renyi,
    "watts_strogatz": watts_strogatz,
    "barabasi_albert": barabasi_albert,
    "parallel": parallel,
    "chain": chain,
    "layered": layered,
}


def _oriented(graph: networkx.Graph) -> Edges:
    return {(min(edge), max(edge)) for edge in graph.edges}
