"""A Gaussian process over topologies (Rasmussen & Williams 2006, chapters 2 and 5). It knows no space and no study.

Its kernel is the cosine similarity of Weisfeiler-Lehman labels beside a squared exponential of paths and sizes, and
beside both one of the searched training settings: what a learning rate does it learns from all topologies. What
it is fitted to are normal scores (the ranks of the targets as quantiles of the standard normal): one topology that
learned nothing would otherwise stretch the scale until all good ones look alike.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.special import ndtri

from nasmod.measures.ranks import average_ranks
from nasmod.search.strategies.features import LABEL, SETTING, Features

Floats = NDArray[np.float64]
LABEL_SHARES = (0.0, 0.3, 0.7, 1.0)  # of the topology's kernel: Weisfeiler-Lehman labels; the rest is paths and sizes
LEAST_SPREAD = 0.5  # of a setting, on its log scale: what was hardly varied would else lie far from what it never was
SETTING_SHARES = (0.25, 0.0, 0.5)  # of the whole kernel: the training settings; the first is tried with all the others
NOISES = (0.01, 0.03, 0.1, 0.3)  # variance of a training, as a share of the spread of all


@dataclass(frozen=True)
class _Vectors:
    """Topologies as rows of two tables."""

    labels: Floats  # (N, L) counts, each row of norm 1
    plain: Floats  # (N, P) paths and sizes, standardised
    settings: Floats  # (N, S) training settings, standardised


@dataclass(frozen=True)
class Posterior:
    """Of some topologies, as normal scores."""

    means: Floats  # (N,)
    covariance: Floats  # (N, N), of what they are worth: without the noise of a training
    is_open: NDArray[
        np.bool_
    ]  # (N,) of which a training would tell at least half a bit: it varies more than noise does

    def samples(self, count: int, generator: random.Random) -> Floats:
        """Joint samples (count, N)."""
        values, directions = np.linalg.eigh(self.covariance)
        normal = np.random.default_rng(generator.getrandbits(64)).standard_normal((count, len(values)))
        found: Floats = self.means + normal * np.sqrt(np.maximum(values, 0.0)) @ directions.T
        return found


class GaussianProcess:
    """The process fitted to topologies, given by their features, and to what they reached (larger is better).

    The share of its kernel's parts and the noise are those of the largest marginal likelihood. `spread` says how many
    times as large the standard deviation of each target's noise is as that of the surest (1 without it).

    >>> found = GaussianProcess([{"wl a": 1.0, "size": 1.0}, {"wl b": 1.0, "size": 2.0}], [0.1, 0.9])
    >>> worse, better = found.means([{"wl a": 1.0, "size": 1.0}, {"wl b": 1.0, "size": 2.0}])
    >>> bool(better > worse)
    True
    """

    def __init__(self, seen: Sequence[Features], targets: ArrayLike, spread: ArrayLike = 1.0) -> None:
        names = sorted({name for found in seen for name in found})
        self._columns = [_numbered(name for name in names if _part(name) == part) for part in range(3)]
        tables = self._tables(seen)
        self._scales = [
            (table.mean(0), np.maximum(table.std(0), least))
            for table, least in zip(tables[1:], (1e-9, LEAST_SPREAD), strict=True)
        ]
        self._fitted_to = self._vectors(tables)
        self._scores: Floats = ndtri((average_ranks(targets) - 0.5) / len(seen))
        self._known = np.sort(self._scores), np.sort(np.asarray(targets, dtype=np.float64))
        self._relative = np.broadcast_to(np.asarray(spread, dtype=np.float64) ** 2, self._scores.shape)
        parts = _similarities(self._fitted_to, self._fitted_to)
        first, *others = SETTING_SHARES if self._columns[2] else (0.0,)
        self._likelihood = -np.inf
        for label_share, noise in itertools.product(LABEL_SHARES, NOISES):
            self._try(parts, label_share, first, noise)
        label_share, noise = self._shares[0], self._noise
        for setting_share in others:
            self._try(parts, label_share, setting_share, noise)

    def _try(
        self, parts: tuple[Floats, Floats, Floats], label_share: float, setting_share: float, noise: float
    ) -> None:
        """Take these where no others tried were more likely."""
        kernel = _mixed(parts, label_share, setting_share)
        factor = cholesky(kernel + noise * np.diag(self._relative), lower=True)
        weights = cho_solve((factor, True), self._scores)
        likelihood = -0.5 * float(self._scores @ weights) - float(np.log(np.diag(factor)).sum())
        if likelihood > self._likelihood:
            self._likelihood, self._shares, self._noise = likelihood, (label_share, setting_share), noise
            self._factor, self._weights = factor, weights

    def means(self, seen: Sequence[Features]) -> Floats:
        """The posterior means (N,), as normal scores."""
        found: Floats = self._kernel(self._vectors(self._tables(seen)), self._fitted_to) @ self._weights
        return found

    @property
    def own_means(self) -> Floats:
        """The posterior means (N,) of what it was fitted to: the scores without their noise, K w = y - noise w."""
        found: Floats = self._scores - self._noise * self._relative * self._weights
        return found

    def targets(self, scores: Floats) -> Floats:
        """What normal scores stand for: as the targets lie, and beyond the best as their best tenth goes on.

        What is not finite counts as the worst that is.
        """
        known, values = self._known
        finite = np.isfinite(values)
        values = np.where(finite, values, values[finite].min() if finite.any() else 0.0)
        tenth = -1 - max(1, len(known) // 10)
        rise = (values[-1] - values[tenth]) / max(known[-1] - known[tenth], 1e-9)
        found: Floats = np.interp(scores, known, values) + np.maximum(scores - known[-1], 0.0) * rise
        return found

    def posterior(self, seen: Sequence[Features]) -> Posterior:
        """What it holds of others, jointly."""
        vectors = self._vectors(self._tables(seen))
        across = self._kernel(vectors, self._fitted_to)
        inner = solve_triangular(self._factor, across.T, lower=True)
        covariance = self._kernel(vectors, vectors) - inner.T @ inner
        return Posterior(across @ self._weights, covariance, np.diag(covariance) > self._noise)

    def _tables(self, seen: Sequence[Features]) -> list[Floats]:
        return [_table(seen, columns) for columns in self._columns]

    def _vectors(self, tables: Sequence[Floats]) -> _Vectors:
        labels, *others = tables
        norms = np.maximum(np.linalg.norm(labels, axis=1, keepdims=True), 1e-9)
        plain, settings = (
            (table - centre) / scale for table, (centre, scale) in zip(others, self._scales, strict=True)
        )
        return _Vectors(labels / norms, plain, settings)

    def _kernel(self, first: _Vectors, second: _Vectors) -> Floats:
        return _mixed(_similarities(first, second), *self._shares)


def _part(name: str) -> int:
    """Of which part of the kernel a feature is: labels, paths and sizes, settings."""
    return 0 if name.startswith(LABEL) else 2 if name.startswith(SETTING) else 1


def _numbered(names: Iterable[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def _table(seen: Sequence[Features], columns: dict[str, int]) -> Floats:
    """Features as rows; names without a column are passed over."""
    found = np.zeros((len(seen), len(columns)))
    for row, features in enumerate(seen):
        for name, value in features.items():
            if name in columns:
                found[row, columns[name]] = value
    return found


def _mixed(parts: tuple[Floats, Floats, Floats], label_share: float, setting_share: float) -> Floats:
    labels, plain, settings = parts
    mixed: Floats = (1 - setting_share) * (label_share * labels + (1 - label_share) * plain) + setting_share * settings
    return mixed


def _similarities(first: _Vectors, second: _Vectors) -> tuple[Floats, Floats, Floats]:
    """(N, M) of the labels, of paths and sizes, and of the settings: each 1 between equals."""
    return (
        first.labels @ second.labels.T,
        _squared_exponential(first.plain, second.plain),
        _squared_exponential(first.settings, second.settings),
    )


def _squared_exponential(a: Floats, b: Floats) -> Floats:
    """Of rows of standardised columns, by their mean squared distance."""
    distances = ((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T) / max(1, a.shape[1])
    found: Floats = np.exp(-np.maximum(distances, 0.0) / 2)
    return found
