"""The contract of a strategy: records in, proposals out. It keeps no state: the database can rebuild all it needs."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from nasmod import registry
from nasmod.errors import NasmodError, StudyError
from nasmod.measures.objective import Objective
from nasmod.space import Space
from nasmod.study import Proposal, Record, Study, check_settings
from nasmod.study.record import DAMAGED
from nasmod.training.seeds import derive


class StrategySettings(BaseModel):
    """What the settings of every strategy share: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Strategy(Protocol):
    """A registered strategy is a class with this constructor and this one method.

    One that thinks for long may be asked for several at once: its class says so by ``at_once = 16``. Without that each
    proposal has a generator of its own, whoever asks for it and when.
    """

    def __init__(self, settings: Any, space: Space, generator: random.Random, objective: Objective) -> None: ...

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        """The next `count` proposals, given everything known; the test split's measures are not among it.

        More may follow, the most promising first: they stand in for those that are known or over the FLOPs budget.
        """


def make(study: Study, space: Space, proposals: int) -> Named:
    """The study's strategy as it stands after `proposals` draws: its generator comes from that number alone."""
    given = dict(study.strategy)
    name = given.pop("name")
    settings = check_settings("strategy", name, given, "strategy")
    generator = random.Random(derive(study.seed, "strategy", proposals))
    made = registry.resolve("strategy", name)
    return Named(name, lambda: made(settings, space, generator, study.objective), getattr(made, "at_once", 1))


class Named:
    """A strategy whose failure is one line that names it: a user's own may raise anything."""

    def __init__(self, name: str, made: Callable[[], Strategy], at_once: int = 1) -> None:
        self.name, self.made, self.at_once = name, made, at_once

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        """What the strategy proposes. Raises `StudyError` when it raises, or proposes nothing or no proposal."""
        try:
            proposals = list(self.made().propose(records, count))
        except NasmodError:
            raise
        except (Exception, SystemExit) as error:  # a user's own strategy may raise anything
            raise StudyError(f"The strategy '{self.name}' failed: {type(error).__name__}: {error}") from error
        if not proposals:
            raise StudyError(f"The strategy '{self.name}' proposed nothing.")
        for proposal in proposals:
            _check(self.name, proposal)
        return proposals


def _check(name: str, proposal: object) -> None:
    """Raise `StudyError` for what could not be read back once it is stored."""
    if not isinstance(proposal, Proposal):
        raise StudyError(f"The strategy '{name}' proposed {proposal!r:.100}, which is no `Proposal`.")
    try:
        Proposal.from_json(json.loads(json.dumps(proposal.to_json(), allow_nan=False)))
    except DAMAGED as error:
        raise StudyError(f"The strategy '{name}' proposed what cannot be stored: {error}") from error
