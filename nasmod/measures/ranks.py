"""Ranks of plain numbers. ``scipy.stats`` has them too, and takes a second to import: every command would pay it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1 (smallest), equal values sharing the mean of theirs, as ``scipy.stats.rankdata`` gives them.

    >>> average_ranks([0.5, 0.1, 0.5]).tolist()
    [2.5, 1.0, 2.5]
    """
    _, position, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    means: NDArray[np.float64] = np.cumsum(counts) - (counts - 1) / 2
    return means[position]
