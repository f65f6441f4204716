"""Random search: every proposal drawn anew. A strong baseline where a good generator draws the wiring."""

from __future__ import annotations

import random
from collections.abc import Sequence

from nasmod.measures.objective import Objective
from nasmod.search.strategies.strategy import StrategySettings
from nasmod.space import Space
from nasmod.study import Proposal, Record


class RandomSettings(StrategySettings):
    """Nothing to set."""


class Random:
    """Draw the number of modules, then a wiring, then kinds and sizes; nothing is learned."""

    def __init__(self, settings: RandomSettings, space: Space, generator: random.Random, objective: Objective) -> None:
        self.space, self.generator = space, generator

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        return [draw(self.space, self.generator, "random", "drawn at random") for _ in range(count)]


def draw(space: Space, generator: random.Random, strategy: str, why: str) -> Proposal:
    """One random proposal on behalf of a strategy."""
    topology, settings = space.random(generator)
    return Proposal(topology, settings, None, {"strategy": strategy, "why": why})
