"""Rank correlations, raw and partial, with bootstrap intervals; and how far repetitions of a measurement agree.

All functions take arrays whose last axis runs over topologies.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.float64]
REPLICATES, LEVEL = 400, 0.9


@dataclass(frozen=True)
class Correlation:
    """A correlation and its bootstrap interval; all NaN where a side does not vary."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return "—" if np.isnan(self.value) else f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def spearman(first: Floats, second: Floats) -> Floats:
    """Rank correlation along the last axis: (..., N), (..., N) -> (...).

    >>> float(spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0])).round(12))
    1.0
    """
    return _pearson(rankdata(first, axis=-1), rankdata(second, axis=-1))


def partial(first: Floats, second: Floats, controls: Floats) -> Floats:
    """Rank correlation of what the ranks of the controls (..., K, N) leave of the ranks of both sides (..., N).

    Ranks are regressed on the controls' ranks and a constant; the residuals are correlated.
    """
    ranks = rankdata(controls, axis=-1)
    known = np.swapaxes(np.concatenate([np.ones_like(ranks[..., :1, :]), ranks], axis=-2), -1, -2)  # (..., N, 1 + K)
    undo = np.linalg.pinv(known)

    def rest(values: Floats) -> Floats:
        column = rankdata(values, axis=-1)[..., None]
        found: Floats = (column - known @ (undo @ column))[..., 0]
        spread = column[..., 0].std(-1)
        # ranks that the controls explain to the last digit leave rounding errors, which are no ranks
        return np.where((found.std(-1) > 1e-8 * np.maximum(spread, 1))[..., None], found, 0.0)

    return _pearson(rest(first), rest(second))


def resampled(count: int, seed: int, replicates: int = REPLICATES) -> NDArray[np.intp]:
    """Rows drawn with replacement: (1 + replicates, count); the first row is the sample as it is."""
    drawn = np.random.default_rng(seed).integers(count, size=(replicates, count))
    return np.concatenate([np.arange(count)[None], drawn])


def interval(found: Floats) -> Correlation:
    """Of values whose first is that of the sample itself, and whose others are those of its resamples."""
    if np.isnan(found[0]) or np.isnan(found).all():
        return Correlation(*[float("nan")] * 3)
    low, high = np.nanquantile(found[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Correlation(float(found[0]), float(low), float(high))


def agreement(repetitions: Floats) -> float:
    """How far the mean of repetitions (R, N) would agree with that of as many others, by rank; it bounds correlations.

    The mean rank correlation r of two repetitions, stepped up to their number R (Spearman 1910, Brown 1910):
    R r / (1 + (R - 1) r).
    """
    pairs = [float(spearman(a, b)) for a, b in combinations(repetitions, 2)]
    if not pairs:
        return float("nan")
    r, count = float(np.mean(pairs)), len(repetitions)
    return count * r / (1 + (count - 1) * r)


def _pearson(first: Floats, second: Floats) -> Floats:
    first = first - first.mean(-1, keepdims=True)
    second = second - second.mean(-1, keepdims=True)
    size = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    return np.divide((first * second).sum(-1), size, out=np.full(size.shape, np.nan), where=size > 1e-12)
