"""Asynchronous successive halving: at each rung a candidate goes on if it is among the best that have come so far.

Li et al. 2020, "A System for Massively Parallel Hyperparameter Tuning" (ASHA): nobody waits for a rung to fill. In its
stopping form a candidate that does not pass is stopped for good; with `promotion` it is paused, and goes on once it is
among the best of those that came around and after it. With several directions the order inside a rung is by
non-dominated rank, ties by crowding distance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field, field_validator

from nasmod.measures.front import crowding, nondominated_ranks
from nasmod.measures.objective import Objective
from nasmod.search.stopping.rule import StoppingSettings
from nasmod.study import RungResult


class HalvingSettings(StoppingSettings):
    """Where the rungs are and what share of the candidates each lets pass."""

    rungs: tuple[int, ...] | None = Field(None, description="epochs; without it a third, a ninth … of the epochs")
    first_share: float = Field(1 / 3, gt=0, le=1, description="share that the first rung lets pass")
    later_share: float = Field(1 / 3, gt=0, le=1, description="share that later rungs let pass")
    results: int = Field(4, ge=2, description="how many must have come to a rung before it stops one")
    latest: int = Field(24, ge=2, description="among how many of the latest at a rung a candidate is compared")
    promotion: bool = Field(False, description="whether one that does not pass waits, and goes on once it would pass")

    @field_validator("rungs")
    @classmethod
    def _ascending(cls, rungs: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if rungs is not None and (list(rungs) != sorted(set(rungs)) or any(rung < 1 for rung in rungs)):
            raise ValueError("rungs are epochs from 1, ascending")
        return rungs


class Halving:
    """Successive halving without waiting: each rung lets the best third of the latest that came to it pass.

    The search gets better all the time: compared with all that ever came, its random beginning included, nearly
    everything would pass (benchmarks/LOG.md).
    """

    def __init__(self, settings: HalvingSettings, objective: Objective) -> None:
        self.settings, self.objective = settings, objective
        self.promotes = settings.promotion

    def rungs(self, epochs: int) -> tuple[int, ...]:
        if self.settings.rungs is not None:
            return tuple(rung for rung in self.settings.rungs if rung < epochs)
        found: list[int] = []
        rung = epochs // 3
        while rung >= 1 and len(found) < 3:
            found.insert(0, rung)
            rung //= 3
        return tuple(found)

    def decide(self, curve: Sequence[RungResult], results: Sequence[RungResult], later: int = 0) -> str | None:
        own, everyone = curve[-1], [*results[: later + self.settings.latest - 1], curve[-1]]
        if len(everyone) < self.settings.results:
            return None
        share = self.settings.first_share if len(curve) == 1 else self.settings.later_share
        places = math.ceil(share * len(everyone))
        if self.objective.mode == "pareto":
            return self._decide_by_rank(own, everyone, places)
        cut = sorted((result.score for result in everyone), reverse=True)[places - 1]
        if own.score >= cut:
            return None
        return (
            f"{self._ended} at epoch {own.epoch}: score {own.score:.3f} is under {cut:.3f}, which the best {places} "
            f"of the latest {len(everyone)} reached there"
        )

    @property
    def _ended(self) -> str:
        return "paused" if self.promotes else "stopped"

    def _decide_by_rank(self, own: RungResult, everyone: Sequence[RungResult], places: int) -> str | None:
        directions = self.objective.directions
        rows = [dict(zip(directions, result.values, strict=True)) for result in everyone]
        errors = [dict(zip(directions, result.errors, strict=True)) for result in everyone]
        ranks = nondominated_ranks(rows, directions, errors)
        rank = ranks[-1]
        peers = [index for index, other in enumerate(ranks) if other == rank]
        loneliness = crowding([rows[index] for index in peers], directions)
        ahead = sum(other < rank for other in ranks) + sum(distance > loneliness[-1] for distance in loneliness)
        if ahead < places:
            return None
        return (
            f"{self._ended} at epoch {own.epoch}: {ahead} of {len(everyone)} are ahead of it there by non-dominated "
            f"rank (its own is {rank}) and crowding, and {places} go on"
        )
