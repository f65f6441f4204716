"""Bayesian optimisation over graphs: a Gaussian process on features of topologies, and edits of what it holds best.

Ru et al. 2021, "Interpretable Neural Architecture Search via Bayesian Optimisation with Weisfeiler-Lehman Kernels",
with paths and sizes beside the Weisfeiler-Lehman labels. What was stopped early teaches too, at what it would have
reached. A proposal is the best of a pool of edits, crossovers and random draws under one sample of the posterior
(Thompson 1933), so that workers that ask at the same time get different ones. With several directions each has a
process of its own, and a proposal is expected to add the most hypervolume to the front, in the mean of some samples
(Emmerich et al. 2006; the posterior means stand for what is known).
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from threadpoolctl import threadpool_limits

from nasmod.errors import SpaceError
from nasmod.measures.front import ranks_of
from nasmod.measures.objective import Objective
from nasmod.search.strategies.features import features
from nasmod.search.strategies.gaussian_process import Floats, GaussianProcess, Posterior
from nasmod.search.strategies.hypervolume import hypervolume_gains
from nasmod.search.strategies.random import draw
from nasmod.search.strategies.strategy import StrategySettings
from nasmod.search.strategies.surrogate import at_the_end, fitted, window
from nasmod.space import Space
from nasmod.study import TRAINED, Proposal, Record, candidate_key

CROSSED = 0.2  # share of the edits that are crossovers with another of the best
OTHER_SETTINGS = 0.25  # share of the edits that get the training settings of another of the best
TRAINED_AGAIN = 0.25  # as a share of the pool: trained topologies with training settings of the best
SETTINGS_ALONE = 0.15  # share of the candidates that are to tell what a training setting does, all else being the same
TRIES = 20  # to draw a value of a setting that was not tried
SAMPLES = 16  # of the posterior, over which a gain of hypervolume is averaged


class GraphBoSettings(StrategySettings):
    """How much is drawn first, and from how many a proposal is chosen."""

    initial: int = Field(
        12, ge=1, description="candidates before the first of the model, random where a study opens with fewer"
    )
    parents: int = Field(8, ge=1, description="the best by the model's mean, whose edits are looked at")
    pool: int = Field(32, ge=2, description="edits that are looked at for one proposal")
    random_share: float = Field(0.1, ge=0, le=1, description="further ones drawn at random, as a share of the pool")


class GraphBo:
    """Propose what a Gaussian process over topologies, fitted to all that was trained, finds most promising."""

    at_once = 16  # it is fitted once for all of them

    def __init__(self, settings: GraphBoSettings, space: Space, generator: random.Random, objective: Objective) -> None:
        self.settings, self.space, self.generator, self.objective = settings, space, generator, objective

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        searched = [record for record in records if record.role == "search"]
        trained = [record for record in searched if record.state in TRAINED and record.score is not None]
        few = max(0, self.settings.initial - len(searched)) if len(trained) >= 2 else count
        found = [draw(self.space, self.generator, "graph_bo", "one of the first, drawn at random") for _ in range(few)]
        if len(found) < count:
            found += self._of_the_model(trained, searched, count - len(found))
        return found

    def _of_the_model(self, trained: Sequence[Record], searched: Sequence[Record], count: int) -> list[Proposal]:
        fitted_to, known = window(trained), {record.key for record in searched}
        with threadpool_limits(1, user_api="blas"):  # where workers have the cores, more take twice as long
            models = [fitted(fitted_to, targets) for targets in self._targets(fitted_to)]
            means = np.stack([model.own_means for model in models], axis=1)
            parents = self._parents(fitted_to, means)
            pool = self._pool(fitted_to, parents, known)
            seen_of_pool = [features(proposal.topology, proposal.settings) for proposal in pool]
            posteriors = [model.posterior(seen_of_pool) for model in models]
            promises = self._promises(models, means, posteriors, count)
            told = self._is_told(fitted_to, pool, models, posteriors)
            promises -= told * (np.ptp(promises) + 1.0)  # these come last
        chosen: dict[int, None] = {}
        for promise in promises:
            order = np.argsort(-promise).tolist()
            chosen[next((index for index in order if index not in chosen), order[0])] = None
        # what follows stands in for what is over the FLOPs budget
        chosen |= dict.fromkeys(np.argsort(-promises[0]).tolist())
        under_way = [record for record in searched if record.state in ("queued", "running")]
        others = self._of_other_settings([*fitted_to, *under_way], parents[0], known)
        return [*others, *(pool[index] for index in chosen)]

    def _of_other_settings(self, records: Sequence[Record], best: Record, known: set[str]) -> list[Proposal]:
        """The best topology with one training setting changed, while few candidates tell what settings do.

        The model would hardly ask for these: as long as nothing was tried, it takes settings for what does not matter.
        """
        by_key = {record.key: record.proposal for record in records}
        changed: Counter[str] = Counter()
        alone = 0
        for record in records:
            parent = by_key.get(record.proposal.parent or "")
            if parent is not None and parent.topology.key == record.proposal.topology.key:
                alone += 1
                changed.update(n for n, value in record.proposal.settings.items() if value != parent.settings.get(n))
        if alone >= SETTINGS_ALONE * len(records):
            return []
        topology, own = best.proposal.topology, best.proposal.settings
        for name in sorted(self.space.settings, key=lambda name: (changed[name], self.generator.random())):
            for _ in range(TRIES):
                settings = {**own, name: self.space.setting_distributions[name].random(self.generator)}
                if candidate_key(topology, settings) not in known:
                    why = f"the topology of {best.label} with another {name}"
                    return [Proposal(topology, settings, best.key, {"strategy": "graph_bo", "why": why})]
        return []

    def _parents(self, records: Sequence[Record], means: Floats) -> list[Record]:
        """The records of which edits are looked at, each of another topology.

        The best of one score; of several directions, those at random that no other is expected to beat.
        """
        if means.shape[1] == 1:
            order = np.argsort(-means[:, 0], kind="stable").tolist()
        else:
            ranks = ranks_of(means)
            order = sorted(self.generator.sample(range(len(means)), len(means)), key=lambda index: ranks[index])
        found: dict[str, Record] = {}
        for index in order:
            found.setdefault(records[index].proposal.topology.key, records[index])
        return list(found.values())[: self.settings.parents]

    def _promises(
        self, models: Sequence[GaussianProcess], means: Floats, pool: Sequence[Posterior], count: int
    ) -> Floats:
        """How promising each of a pool is, one row for each proposal that is wanted."""
        if len(models) == 1:
            return pool[0].samples(count, self.generator)
        drawn = [
            model.targets(one.samples(SAMPLES * count, self.generator)) for model, one in zip(models, pool, strict=True)
        ]
        known = [model.targets(column) for model, column in zip(models, means.T, strict=True)]
        gained = hypervolume_gains(np.stack(drawn, axis=-1), np.stack(known, axis=-1), self.generator)
        found: Floats = gained.reshape(count, SAMPLES, -1).mean(1)
        return found

    def _is_told(
        self,
        trained: Sequence[Record],
        pool: Sequence[Proposal],
        models: Sequence[GaussianProcess],
        posteriors: Sequence[Posterior],
    ) -> NDArray[np.bool_]:
        """Which of a pool are trained topologies again, with settings so near that another training would tell little.

        Without this a third of the proposals or more would be such (Fashion-MNIST, `benchmarks/LOG.md`). What is
        expected to be better than all that was trained is none of them: it is to be had, not to be told.
        """
        topologies = {record.proposal.topology.key for record in trained}
        is_trained = np.array([proposal.topology.key in topologies for proposal in pool])
        is_open = np.any([posterior.is_open for posterior in posteriors], axis=0)
        if len(models) == 1:
            is_open |= posteriors[0].means > models[0].own_means.max()
        found: NDArray[np.bool_] = is_trained & ~is_open
        return found

    def _pool(self, trained: Sequence[Record], parents: Sequence[Record], known: set[str]) -> list[Proposal]:
        """Edits and crossovers of the parents, and random draws, without repeats: if there are any, those not known."""
        made = itertools.chain(self._edits(parents), self._trained_again(trained, parents))
        found = {candidate_key(one.topology, one.settings): one for one in made}
        random_ones = max(1 - len(found), round(self.settings.random_share * self.settings.pool))
        for _ in range(random_ones):
            drawn = draw(self.space, self.generator, "graph_bo", "drawn at random, and most promising")
            found.setdefault(candidate_key(drawn.topology, drawn.settings), drawn)
        return [made for key, made in found.items() if key not in known] or list(found.values())

    def _edits(self, parents: Sequence[Record]) -> Iterator[Proposal]:
        for number in range(self.settings.pool):
            parent = parents[number % len(parents)]
            topology, settings = parent.proposal.topology, dict(parent.proposal.settings)
            made_of = parent.label
            try:
                if len(parents) > 1 and self.generator.random() < CROSSED:
                    other = self.generator.choice([one for one in parents if one is not parent])
                    topology = self.space.recombine(topology, other.proposal.topology, self.generator)
                    made_of += f" crossed with {other.label}"
                else:
                    topology, settings = self.space.mutate(topology, settings, self.generator)
            except SpaceError:  # a tiny space may have no neighbour
                continue
            if self.space.settings and self.generator.random() < OTHER_SETTINGS:
                settings = dict(self.generator.choice(parents).proposal.settings)
            why = f"the most promising of {self.settings.pool} edits of the best {len(parents)}, of {made_of}"
            yield Proposal(topology, settings, parent.key, {"strategy": "graph_bo", "why": why})

    def _trained_again(self, trained: Sequence[Record], parents: Sequence[Record]) -> Iterator[Proposal]:
        """Topologies that were trained, the simple wirings among them, with the training settings of the best."""
        for _ in range(round(TRAINED_AGAIN * self.settings.pool) if self.space.settings else 0):
            one, other = self.generator.choice(trained), self.generator.choice(parents)
            why = f"promising: the topology of {one.label} with the training settings of {other.label}"
            topology, settings = one.proposal.topology, dict(other.proposal.settings)
            yield Proposal(topology, settings, one.key, {"strategy": "graph_bo", "why": why})

    def _targets(self, records: Sequence[Record]) -> list[Floats]:
        """What each record would have reached, larger is better; in mode ``pareto`` one row a direction."""
        if self.objective.mode == "combined":
            return [at_the_end(records)]
        rows = np.array([self.objective.values(record.measures) for record in records])
        signs = [1.0 if direction == "maximize" else -1.0 for direction in self.objective.directions.values()]
        return [sign * column for sign, column in zip(signs, rows.T, strict=True)]
