"""How much hypervolume points would add to a front: what a search in several directions looks for."""

from __future__ import annotations

import random

import numpy as np

from nasmod.measures.front import ranks_of
from nasmod.search.strategies.gaussian_process import Floats

DRAWN = 1024  # points of the box; those that nothing known dominates are what can be gained
MARGIN = 0.1  # of the box: how far beyond the worst values of the front it begins


def hypervolume_gains(points: Floats, known: Floats, generator: random.Random) -> Floats:
    """The hypervolume that each of `points` (samples, N, directions) alone adds to `known` (M, directions).

    Larger is better in every direction. By Monte Carlo, as a share (samples, N) of the box between just beyond the
    worst values on the front of `known` and the best of all.

    >>> dominated, better = [0.5, 0.5], [2.0, 2.0]
    >>> hypervolume_gains(np.array([[dominated, better]]), np.array([[1.0, 1.0]]), random.Random(0)).round(1)
    array([[0., 1.]])
    """
    front = known[ranks_of(known) == 0]
    worst, best = front.min(0), np.maximum(front.max(0), points.max((0, 1)))
    lowest = worst - MARGIN * (best - worst)
    drawn = np.random.default_rng(generator.getrandbits(64)).uniform(lowest, best, (DRAWN, len(lowest)))
    free = drawn[~(front[:, None] >= drawn).all(2).any(0)]
    gained = [(sample[:, None] >= free).all(2).sum(1) for sample in points]  # one by one: all at once takes much memory
    return np.array(gained) / DRAWN
