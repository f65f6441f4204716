"""Regularised evolution: the best of a random sample of the youngest candidates, changed by one edit.

Real et al. 2019, "Regularized Evolution for Image Classifier Architecture Search", Algorithm 1, made asynchronous: the
population is the latest trained candidates of the database, so that ageing needs no state of its own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field, model_validator

from nasmod.errors import SpaceError
from nasmod.measures.front import crowding, nondominated_ranks
from nasmod.measures.objective import Objective
from nasmod.search.strategies.random import draw
from nasmod.search.strategies.strategy import StrategySettings
from nasmod.space import Space
from nasmod.study import TRAINED, Proposal, Record


class EvolutionSettings(StrategySettings):
    """How many are kept young, how many compete to be a parent, how many are drawn first."""

    population: int = Field(24, ge=2, description="the latest trained candidates that may become parents")
    sample: int = Field(6, ge=1, description="how many of them compete in a tournament")
    initial: int = Field(16, ge=1, description="random candidates before the first edit")

    @model_validator(mode="after")
    def _sample_fits(self) -> EvolutionSettings:
        if self.sample > self.population:
            raise ValueError(f"the sample ({self.sample}) cannot be larger than the population ({self.population})")
        return self


class Evolution:
    """Edit the winner of a tournament among the youngest: add, remove, split, resize, rewire a module or an edge."""

    def __init__(
        self, settings: EvolutionSettings, space: Space, generator: random.Random, objective: Objective
    ) -> None:
        self.settings, self.space, self.generator, self.objective = settings, space, generator, objective

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        return [self._one(records) for _ in range(count)]

    def _one(self, records: Sequence[Record]) -> Proposal:
        searched = [record for record in records if record.role == "search"]
        drawn = sum(record.reference is None for record in searched)
        trained = [record for record in searched if record.state in TRAINED and record.score is not None]
        if drawn < self.settings.initial or len(trained) < min(self.settings.sample, self.settings.initial):
            return draw(self.space, self.generator, "evolution", "one of the first, drawn at random")
        population = trained[-self.settings.population :]
        competitors = self.generator.sample(population, min(self.settings.sample, len(population)))
        parent = self._winner(competitors)
        try:
            topology, settings = self.space.mutate(parent.proposal.topology, parent.proposal.settings, self.generator)
        except SpaceError:  # a tiny space may have no neighbour
            return draw(self.space, self.generator, "evolution", f"{parent.label} has no neighbour in the space")
        why = f"an edit of {parent.label}, the best of {len(competitors)} of the youngest {len(population)}"
        return Proposal(topology, settings, parent.key, {"strategy": "evolution", "why": why})

    def _winner(self, competitors: Sequence[Record]) -> Record:
        if self.objective.mode == "combined":
            return max(competitors, key=lambda record: (record.score or 0.0, record.id))
        rows = [record.measures for record in competitors]
        ranks = nondominated_ranks(rows, self.objective.directions)
        first = [index for index, rank in enumerate(ranks) if rank == 0]
        loneliness = crowding([rows[index] for index in first], self.objective.directions)
        return competitors[max(zip(loneliness, first, strict=True))[1]]
