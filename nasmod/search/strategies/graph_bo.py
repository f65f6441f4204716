"""Bayesian optimisation over graphs: a Gaussian process on features of topologies, and edits of what it holds best.

Ru et al. 2021, "Interpretable Neural Architecture Search via Bayesian Optimisation with Weisfeiler-Lehman Kernels",
with paths and sizes beside the Weisfeiler-Lehman labels. What was stopped early teaches too, at what it would have
reached. A proposal is the best of a pool of edits and random draws under one sample of the posterior (Thompson 1933),
so that workers that ask at the same time get different ones.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.stats import rankdata

from nasmod.errors import SpaceError
from nasmod.measures.objective import Objective
from nasmod.search.strategies.features import features
from nasmod.search.strategies.random import draw
from nasmod.search.strategies.strategy import StrategySettings
from nasmod.space import Space
from nasmod.study import TRAINED, Proposal, Record

Floats = NDArray[np.float64]
BEST, LATEST = 150, 150  # records that the process is fitted to
GRAPH_SHARES = (0.0, 0.3, 0.7)  # of the kernel: Weisfeiler-Lehman labels; the rest is paths and sizes
NOISES = (0.01, 0.03, 0.1, 0.3)  # variance of a training, as a share of the spread of the scores
LENGTH = 1.0  # of the kernel of paths and sizes, for standardised features


class GraphBoSettings(StrategySettings):
    """How much is drawn first, and from how many a proposal is chosen."""

    initial: int = Field(12, ge=1, description="random candidates before the first proposal of the model")
    parents: int = Field(8, ge=1, description="the best by the model's mean, whose edits are looked at")
    pool: int = Field(32, ge=2, description="edits that are looked at for one proposal")
    random_share: float = Field(0.1, ge=0, le=1, description="further ones drawn at random, as a share of the pool")


class GraphBo:
    """Propose what a Gaussian process over topologies, fitted to all that was trained, finds most promising."""

    def __init__(self, settings: GraphBoSettings, space: Space, generator: random.Random, objective: Objective) -> None:
        self.settings, self.space, self.generator, self.objective = settings, space, generator, objective

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        searched = [record for record in records if record.role == "search"]
        trained = [record for record in searched if record.state in TRAINED and record.score is not None]
        drawn = sum(record.reference is None for record in searched)
        few = max(0, self.settings.initial - drawn) if len(trained) >= 2 else count
        found = [draw(self.space, self.generator, "graph_bo", "one of the first, drawn at random") for _ in range(few)]
        if len(found) < count:
            found += self._of_the_model(trained, {record.key for record in searched}, count - len(found))
        return found

    def _of_the_model(self, trained: Sequence[Record], known: set[str], count: int) -> list[Proposal]:
        fitted_to = _window(trained)
        model = Model.fitted(fitted_to, self._targets(fitted_to))
        means = model.mean(model.features)
        best = heapq.nlargest(self.settings.parents, range(len(fitted_to)), key=lambda index: means[index])
        pool = self._pool([fitted_to[index] for index in best])
        samples = model.samples([features(p.topology, p.settings) for p in pool], count, self.generator)
        chosen: dict[int, None] = {}
        for sample in samples:
            order = np.argsort(-sample).tolist()
            chosen[next((index for index in order if index not in chosen), order[0])] = None
        # what follows stands in for what is known or over the FLOPs budget
        chosen |= dict.fromkeys(np.argsort(-samples[0]).tolist())
        return [pool[index] for index in chosen]

    def _pool(self, parents: Sequence[Record]) -> list[Proposal]:
        pool = {}
        for number in range(self.settings.pool):
            parent = parents[number % len(parents)]
            try:
                edited, settings = self.space.mutate(parent.proposal.topology, parent.proposal.settings, self.generator)
            except SpaceError:  # a tiny space may have no neighbour
                continue
            why = f"the most promising of {self.settings.pool} edits of the best {len(parents)}, of {parent.label}"
            origin = {"strategy": "graph_bo", "why": why}
            pool[edited.key, tuple(sorted(settings.items()))] = Proposal(edited, settings, parent.key, origin)
        random_ones = max(1 - len(pool), round(self.settings.random_share * self.settings.pool))
        for _ in range(random_ones):
            drawn = draw(self.space, self.generator, "graph_bo", "drawn at random, and most promising")
            pool[drawn.topology.key, tuple(sorted(drawn.settings.items()))] = drawn
        return list(pool.values())

    def _targets(self, records: Sequence[Record]) -> Floats:
        """What each record would have reached; in mode ``pareto`` a random scalarisation of the directions."""
        if self.objective.mode == "combined":
            return _at_the_end(records)
        directions = self.objective.directions
        rows = np.array([self.objective.values(record.measures) for record in records])
        signs = [1.0 if direction == "maximize" else -1.0 for direction in directions.values()]
        ranks = np.stack([rankdata(sign * column) for sign, column in zip(signs, rows.T, strict=True)], axis=1)
        weights = np.array([self.generator.expovariate(1.0) for _ in directions])
        weighted = ranks / len(records) * (weights / weights.sum())
        found: Floats = weighted.min(1) + 0.05 * weighted.sum(1)  # augmented Chebyshev, Knowles 2006 (ParEGO)
        return found


def _window(trained: Sequence[Record]) -> list[Record]:
    """The best and the latest, in the order they were filed."""
    if len(trained) <= BEST + LATEST:
        return list(trained)
    older, latest = trained[:-LATEST], trained[-LATEST:]
    best = {record.id for record in heapq.nlargest(BEST, older, key=lambda record: record.score or 0.0)}
    return [record for record in older if record.id in best] + list(latest)


def _at_the_end(records: Sequence[Record]) -> Floats:
    """Scores; of what was stopped early, plus what those that ran on gained from that epoch to their end."""
    curves = [_accuracies(record) for record in records]
    ran_on = [curve for record, curve in zip(records, curves, strict=True) if record.state == "finished"]
    found = []
    for record, curve in zip(records, curves, strict=True):
        gained = [other[-1] - other[len(curve) - 1] for other in ran_on if len(other) > len(curve) > 0]
        later = float(np.median(gained)) if gained and record.state == "stopped" else 0.0
        found.append((record.score or 0.0) + later)
    return np.array(found)


def _accuracies(record: Record) -> list[float]:
    return [point["validation_accuracy"] for point in record.curve if "validation_accuracy" in point]


@dataclass(frozen=True)
class Model:
    """A Gaussian process fitted to feature vectors: its kernel's parts and weights by the best marginal likelihood."""

    names: tuple[str, ...]
    plain: NDArray[np.bool_]  # (F,) which features are paths, sizes and settings, not labels
    centre: Floats
    scale: Floats
    features: Floats  # (N, F) of the records
    mean_target: float
    spread: float
    graph_share: float
    factor: Floats  # lower Cholesky factor of the noisy kernel matrix
    weights: Floats

    @classmethod
    def fitted(cls, records: Sequence[Record], targets: Floats) -> Model:
        """The process fitted to records and what they reached."""
        seen = [features(record.proposal.topology, record.proposal.settings) for record in records]
        names = tuple(sorted({name for found in seen for name in found}))
        table = _table(seen, names)
        plain = np.array([not name.startswith("wl ") for name in names])
        centre = np.where(plain, table.mean(0), 0.0)
        scale = np.where(plain, table.std(0) + 1e-9, 1.0)
        table = (table - centre) / scale
        mean, spread = float(targets.mean()), float(targets.std()) or 1.0
        wanted = (targets - mean) / spread
        best: tuple[float, float, Floats, Floats] | None = None
        for share in GRAPH_SHARES:
            kernel = _kernel(table, table, plain, share)
            for noise in NOISES:
                factor = cho_factor(kernel + noise * np.eye(len(table)), lower=True)[0]
                weights = cho_solve((factor, True), wanted)
                likelihood = -0.5 * float(wanted @ weights) - float(np.log(np.diag(factor)).sum())
                if best is None or likelihood > best[0]:
                    best = likelihood, share, np.tril(factor), weights
        assert best is not None
        _, share, factor, weights = best
        return cls(names, plain, centre, scale, table, mean, spread, share, factor, weights)

    def mean(self, table: Floats) -> Floats:
        """The posterior mean of standardised feature vectors, in the targets' units."""
        found: Floats = self.mean_target + self.spread * (self._kernel(table) @ self.weights)
        return found

    def samples(self, seen: Sequence[Mapping[str, float]], count: int, generator: random.Random) -> Floats:
        """Samples of the posterior at features (count, N), in the targets' units."""
        table = (_table(seen, self.names) - self.centre) / self.scale
        across = self._kernel(table)
        inner = solve_triangular(self.factor, across.T, lower=True)
        covariance = _kernel(table, table, self.plain, self.graph_share) - inner.T @ inner
        values, vectors = np.linalg.eigh(covariance)
        noise = np.random.default_rng(generator.getrandbits(64)).standard_normal((count, len(table)))
        drawn = noise * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        found: Floats = self.mean_target + self.spread * (across @ self.weights + drawn)
        return found

    def _kernel(self, table: Floats) -> Floats:
        return _kernel(table, self.features, self.plain, self.graph_share)


def _table(seen: Sequence[Mapping[str, float]], names: Sequence[str]) -> Floats:
    return np.array([[found.get(name, 0.0) for name in names] for found in seen], dtype=np.float64)


def _kernel(first: Floats, second: Floats, plain: NDArray[np.bool_], graph_share: float) -> Floats:
    """Cosine of the label counts and a squared exponential of the rest, weighed."""
    a, b = first[:, ~plain], second[:, ~plain]
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None, :]
    graphs = a @ b.T / np.maximum(norms, 1e-9)
    a, b = first[:, plain], second[:, plain]
    distances = ((a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2 * a @ b.T) / max(1, plain.sum())
    found: Floats = graph_share * graphs + (1 - graph_share) * np.exp(-np.maximum(distances, 0.0) / (2 * LENGTH**2))
    return found
