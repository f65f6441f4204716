"""The contract of a strategy: records in, proposals out. It keeps no state: the database can rebuild all it needs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from nasmod import registry
from nasmod.errors import NasmodError, StudyError
from nasmod.measures.objective import Objective
from nasmod.space import Space
from nasmod.study import Proposal, Record, Study, check_settings
from nasmod.training.seeds import derive


class StrategySettings(BaseModel):
    """What the settings of every strategy share: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Strategy(Protocol):
    """A registered strategy is a class with this constructor and this one method."""

    def __init__(self, settings: Any, space: Space, generator: random.Random, objective: Objective) -> None: ...

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        """The next `count` proposals, given everything known; the test split's measures are not among it."""


def make(study: Study, space: Space, proposals: int) -> Strategy:
    """The study's strategy as it stands after `proposals` draws: its generator comes from that number alone."""
    given = dict(study.strategy)
    name = given.pop("name")
    settings = check_settings("strategy", name, given, "strategy")
    generator = random.Random(derive(study.seed, "strategy", proposals))
    return Named(name, lambda: registry.resolve("strategy", name)(settings, space, generator, study.objective))


class Named:
    """A strategy whose failure is one line that names it: a user's own may raise anything."""

    def __init__(self, name: str, made: Callable[[], Strategy]) -> None:
        self.name, self.made = name, made

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        """What the strategy proposes. Raises `StudyError` when it raises or proposes nothing."""
        try:
            proposals = self.made().propose(records, count)
        except NasmodError:
            raise
        except Exception as error:  # a user's own strategy may raise anything
            raise StudyError(f"The strategy '{self.name}' failed: {type(error).__name__}: {error}") from error
        if not proposals:
            raise StudyError(f"The strategy '{self.name}' proposed nothing.")
        return proposals
