"""Groups of input features that vary together, found blind: communities of the graph of their correlations."""

from __future__ import annotations

import math

import networkx
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_GROUPS = 8  # each is a factor, and each factor costs interventions
MOST_UNITS = 1024  # of more features (or pixels), neighbours are taken together first
NEIGHBOURS = 10  # each unit is joined with those it varies with most, so that large images stay quick
WEAKEST = 0.1  # correlations below it join nothing
NOISE = 4.0  # nor do those below so many standard errors of a correlation of 0


def feature_groups(examples: Floats, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Groups of the flattened features of `examples` (N, features), each sorted, the largest first.

    The features of an image (channels, height, width) are grouped pixel by pixel, all channels of a pixel together.
    Constant features are in no group. Louvain communities (Blondel et al. 2008) of the graph whose weights are
    absolute correlations; while there are more than `MOST_GROUPS`, the two that vary together most are merged.

    >>> generator = np.random.default_rng(0)
    >>> causes = generator.normal(size=(500, 2))
    >>> features = np.repeat(causes, 3, axis=1) + 0.3 * generator.normal(size=(500, 6))
    >>> feature_groups(features, (6,))
    [(0, 1, 2), (3, 4, 5)]
    """
    units = _units(shape)  # (features,) the unit of each feature
    means = np.stack([np.bincount(units, row) for row in examples]) / np.bincount(units)  # (N, units)
    varied = np.flatnonzero(means.std(0) > 1e-9 * (np.abs(means).max() or 1.0))
    if len(varied) < 2:
        return [tuple(np.flatnonzero(np.isin(units, varied)).tolist())] if len(varied) else []
    strength = np.abs(np.corrcoef(means[:, varied], rowvar=False))  # (units, units)
    np.fill_diagonal(strength, 0.0)
    groups = _merged(_communities(strength, len(examples)), strength)
    found = [tuple(np.flatnonzero(np.isin(units, varied[group])).tolist()) for group in groups]
    return sorted(found, key=lambda group: (-len(group), group))


def _units(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """What each flattened feature is grouped with in any case: itself; its pixel; neighbours, where there are many."""
    if len(shape) == 3:
        channels, height, width = shape
        side = math.ceil(math.sqrt(height * width / MOST_UNITS))
        rows, columns = np.arange(height) // side, np.arange(width) // side
        pixels = (rows[:, None] * (columns[-1] + 1) + columns).ravel()
        return np.tile(pixels, channels)
    features = math.prod(shape)
    return np.arange(features) // math.ceil(features / MOST_UNITS)


def _communities(strength: Floats, examples: int) -> list[list[int]]:
    threshold = max(WEAKEST, NOISE / math.sqrt(examples))
    graph: networkx.Graph = networkx.Graph()
    graph.add_nodes_from(range(len(strength)))
    for unit, row in enumerate(strength):
        nearest = np.argsort(-row, kind="stable")[:NEIGHBOURS]
        graph.add_weighted_edges_from(
            (unit, int(other), float(row[other])) for other in nearest if row[other] >= threshold
        )
    found = networkx.community.louvain_communities(graph, weight="weight", seed=0)
    return [sorted(group) for group in found]


def _merged(groups: list[list[int]], strength: Floats) -> list[list[int]]:
    while len(groups) > MOST_GROUPS:
        between = [
            (float(strength[np.ix_(groups[one], groups[other])].mean()), -one, -other)
            for one in range(len(groups))
            for other in range(one)
        ]
        _, one, other = max(between)
        groups[-other] = sorted(groups[-other] + groups.pop(-one))
    return groups
