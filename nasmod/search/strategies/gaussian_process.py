"""A Gaussian process over topologies (Rasmussen & Williams 2006, chapters 2 and 5). It knows no space and no study.

Its kernel is the cosine similarity of Weisfeiler-Lehman labels beside a squared exponential of paths and sizes. What
it is fitted to are normal scores (the ranks of the targets as quantiles of the standard normal): one topology that
learned nothing would otherwise stretch the scale until all good ones look alike.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import ndtri
from scipy.stats import rankdata

from nasmod.search.strategies.features import LABEL, Features

Floats = NDArray[np.float64]
LABEL_SHARES = (0.0, 0.3, 0.7, 1.0)  # of the kernel: Weisfeiler-Lehman labels; the rest is paths and sizes
NOISES = (0.01, 0.03, 0.1, 0.3)  # variance of a training, as a share of the spread of all


@dataclass(frozen=True)
class _Vectors:
    """Topologies as rows of two tables."""

    labels: Floats  # (N, L) counts, each row of norm 1
    plain: Floats  # (N, P) paths, sizes and settings, standardised


class GaussianProcess:
    """The process fitted to topologies, given by their features, and to what they reached (larger is better).

    The share of its kernel's parts and the noise are those of the largest marginal likelihood.

    >>> found = GaussianProcess([{"wl a": 1.0, "size": 1.0}, {"wl b": 1.0, "size": 2.0}], [0.1, 0.9])
    >>> worse, better = found.means([{"wl a": 1.0, "size": 1.0}, {"wl b": 1.0, "size": 2.0}])
    >>> bool(better > worse)
    True
    """

    def __init__(self, seen: Sequence[Features], targets: ArrayLike) -> None:
        names = sorted({name for found in seen for name in found})
        self._label_columns = {name: i for i, name in enumerate(name for name in names if name.startswith(LABEL))}
        self._plain_columns = {name: i for i, name in enumerate(name for name in names if not name.startswith(LABEL))}
        plain = _table(seen, self._plain_columns)
        self._centre, self._scale = plain.mean(0), plain.std(0) + 1e-9
        self._fitted_to = self._vectors(seen)
        scores: Floats = ndtri((rankdata(targets) - 0.5) / len(seen))
        labels, plain = _similarities(self._fitted_to, self._fitted_to)
        best = -np.inf
        for share in LABEL_SHARES:
            kernel = share * labels + (1 - share) * plain
            for noise in NOISES:
                factor = cholesky(kernel + noise * np.eye(len(seen)), lower=True)
                weights = cho_solve((factor, True), scores)
                likelihood = -0.5 * float(scores @ weights) - float(np.log(np.diag(factor)).sum())
                if likelihood > best:
                    best, self._share, self._factor, self._weights = likelihood, share, factor, weights

    def means(self, seen: Sequence[Features]) -> Floats:
        """The posterior means (N,), as normal scores."""
        found: Floats = self._kernel(self._vectors(seen), self._fitted_to) @ self._weights
        return found

    def samples(self, seen: Sequence[Features], count: int, generator: random.Random) -> Floats:
        """Joint samples of the posterior (count, N), as normal scores."""
        vectors = self._vectors(seen)
        across = self._kernel(vectors, self._fitted_to)
        inner = solve_triangular(self._factor, across.T, lower=True)
        values, directions = np.linalg.eigh(self._kernel(vectors, vectors) - inner.T @ inner)
        normal = np.random.default_rng(generator.getrandbits(64)).standard_normal((count, len(seen)))
        found: Floats = across @ self._weights + normal * np.sqrt(np.maximum(values, 0.0)) @ directions.T
        return found

    def _vectors(self, seen: Sequence[Features]) -> _Vectors:
        labels = _table(seen, self._label_columns)
        norms = np.maximum(np.linalg.norm(labels, axis=1, keepdims=True), 1e-9)
        return _Vectors(labels / norms, (_table(seen, self._plain_columns) - self._centre) / self._scale)

    def _kernel(self, first: _Vectors, second: _Vectors) -> Floats:
        labels, plain = _similarities(first, second)
        return self._share * labels + (1 - self._share) * plain


def _table(seen: Sequence[Features], columns: dict[str, int]) -> Floats:
    """Features as rows; names without a column are passed over."""
    found = np.zeros((len(seen), len(columns)))
    for row, features in enumerate(seen):
        for name, value in features.items():
            if name in columns:
                found[row, columns[name]] = value
    return found


def _similarities(first: _Vectors, second: _Vectors) -> tuple[Floats, Floats]:
    """(N, M) of the labels, and of paths and sizes: each 1 between equals."""
    a, b = first.plain, second.plain
    distances = ((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T) / max(1, a.shape[1])
    return first.labels @ second.labels.T, np.exp(-np.maximum(distances, 0.0) / 2)
