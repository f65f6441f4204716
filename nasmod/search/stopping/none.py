"""No early stopping."""

from __future__ import annotations

from collections.abc import Sequence

from nasmod.measures.objective import Objective
from nasmod.search.stopping.rule import StoppingSettings
from nasmod.study import RungResult


class NeverSettings(StoppingSettings):
    """Nothing to set."""


class Never:
    """Every candidate is trained to its end."""

    def __init__(self, settings: NeverSettings, objective: Objective) -> None:
        pass

    def rungs(self, epochs: int) -> tuple[int, ...]:
        return ()

    def decide(self, curve: Sequence[RungResult], results: Sequence[RungResult]) -> str | None:
        return None
