"""Asynchronous local search: edits of the best so far, and a new beginning where they no longer help.

White et al. 2021, "Exploring the Loss Landscape in Neural Architecture Search": on the benchmarks of the time a
local search was as good as anything. Here no neighbourhood is tried whole first: each proposal is an edit of the
best that was trained until then. With several directions it is an edit of any that no other beats in all of them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from pydantic import Field

from nasmod.errors import SpaceError
from nasmod.measures.front import nondominated_ranks
from nasmod.measures.objective import Objective
from nasmod.search.strategies.random import draw
from nasmod.search.strategies.strategy import StrategySettings
from nasmod.space import Space
from nasmod.study import TRAINED, Proposal, Record, candidate_key

TRIES = 50  # to find an edit that is new; a neighbourhood in which none is found counts as tried
RESTART = "restart"  # in an origin: which beginning a candidate belongs to, the first being 0


class LocalSettings(StrategySettings):
    """How each search begins, and when the next one does."""

    initial: int = Field(10, ge=1, description="random candidates with which each search begins")
    patience: int = Field(40, ge=1, description="candidates without a better one, after which it begins anew")


class Local:
    """Edit the best candidate until nothing better comes, then begin anew elsewhere."""

    def __init__(self, settings: LocalSettings, space: Space, generator: random.Random, objective: Objective) -> None:
        self.settings, self.space, self.generator, self.objective = settings, space, generator, objective

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        searched = [record for record in records if record.role == "search"]
        known = {record.key for record in searched}
        return [self._one(searched, known) for _ in range(count)]

    def _one(self, searched: Sequence[Record], known: set[str]) -> Proposal:
        number = max((_restart(record) for record in searched), default=0)
        members = [record for record in searched if _restart(record) == number]
        trained = [record for record in members if record.state in TRAINED and record.score is not None]
        drawn = sum(record.reference is None for record in members)
        if drawn < self.settings.initial or not trained:
            return self._drawn(number, "one of the first, drawn at random")
        best = self._best(trained)
        later = sum(record.id > max(one.id for one in best) for record in members)
        if later < self.settings.patience:
            for _ in range(TRIES):
                parent = self.generator.choice(best)
                if (proposal := self._edit(parent, number)) is None:
                    break
                if candidate_key(proposal.topology, proposal.settings) not in known:
                    return proposal
        return self._drawn(number + 1, "a new beginning: no edit of the best led further")

    def _best(self, trained: Sequence[Record]) -> list[Record]:
        if self.objective.mode == "combined":
            return [max(trained, key=lambda record: (record.score or 0.0, -record.id))]
        ranks = nondominated_ranks([record.measures for record in trained], self.objective.directions)
        return [record for record, rank in zip(trained, ranks, strict=True) if rank == 0]

    def _edit(self, parent: Record, number: int) -> Proposal | None:
        try:
            topology, settings = self.space.mutate(parent.proposal.topology, parent.proposal.settings, self.generator)
        except SpaceError:  # a tiny space may have no neighbour
            return None
        origin = {"strategy": "local", "why": f"an edit of {parent.label}, the best of its search", RESTART: number}
        return Proposal(topology, settings, parent.key, origin)

    def _drawn(self, number: int, why: str) -> Proposal:
        drawn = draw(self.space, self.generator, "local", why)
        return Proposal(drawn.topology, drawn.settings, None, {**drawn.origin, RESTART: number})


def _restart(record: Record) -> int:
    found = record.proposal.origin.get(RESTART, 0)
    return found if isinstance(found, int) else 0
