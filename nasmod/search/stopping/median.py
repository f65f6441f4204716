"""The median rule: stop what is worse than the median of the others at the same epoch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from pydantic import Field

from nasmod.measures.objective import Objective
from nasmod.search.stopping.rule import StoppingSettings
from nasmod.study import RungResult


class MedianSettings(StoppingSettings):
    """When to look, and how many others there must be."""

    first: int = Field(2, ge=1, description="the first epoch at which candidates are compared")
    every: int = Field(2, ge=1, description="epochs from one comparison to the next")
    results: int = Field(5, ge=1, description="how many others must have come so far")


class Median:
    """Stop a candidate whose score is more than one standard error under the median (Golovin et al. 2017, Vizier)."""

    def __init__(self, settings: MedianSettings, objective: Objective) -> None:
        self.settings = settings

    def rungs(self, epochs: int) -> tuple[int, ...]:
        return tuple(range(self.settings.first, epochs, self.settings.every))

    def decide(self, curve: Sequence[RungResult], results: Sequence[RungResult]) -> str | None:
        own = curve[-1]
        if len(results) < self.settings.results:
            return None
        median = statistics.median(result.score for result in results)
        if own.score + own.standard_error >= median:
            return None
        return (
            f"stopped at epoch {own.epoch}: score {own.score:.3f} ± {own.standard_error:.3f} is under the median "
            f"{median:.3f} of {len(results)} others"
        )
