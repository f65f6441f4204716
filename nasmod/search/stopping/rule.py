"""The contract of a stopping rule: what is known at a rung in, a reason to stop in words out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from nasmod import registry
from nasmod.errors import NasmodError, StudyError
from nasmod.measures.objective import Objective
from nasmod.study import RungResult, Study, check_settings


class StoppingSettings(BaseModel):
    """What the settings of every stopping rule share: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoppingRule(Protocol):
    """A registered stopping rule is a class with this constructor and these two methods."""

    def __init__(self, settings: Any, objective: Objective) -> None: ...

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Epochs, ascending and before the last, at which candidates are compared."""

    def decide(self, curve: Sequence[RungResult], results: Sequence[RungResult]) -> str | None:
        """Why to stop, or None.

        `curve`: the candidate's own rungs so far; `results`: those of others at the last one, the newest first.
        """


@runtime_checkable
class PromotingRule(StoppingRule, Protocol):
    """A rule that may change its mind: if `promotes` is true, what it stops is paused, and goes on once it passes."""

    promotes: bool

    def decide(self, curve: Sequence[RungResult], results: Sequence[RungResult], later: int = 0) -> str | None:
        """As that of every rule, and asked again as others come: `later` of the results are of those filed after it."""


@runtime_checkable
class BracketedRule(StoppingRule, Protocol):
    """A rule that does not compare all candidates at the same rungs."""

    def rungs_of(self, key: str, epochs: int) -> tuple[int, ...]:
        """Those of `rungs` at which the candidate with this key is compared."""


def rungs_of(rule: StoppingRule, key: str, epochs: int) -> tuple[int, ...]:
    """The rungs at which a candidate is compared."""
    return tuple(rule.rungs_of(key, epochs) if isinstance(rule, BracketedRule) else rule.rungs(epochs))


def promoting(rule: StoppingRule | None) -> PromotingRule | None:
    """The rule, if what it stops is to be paused."""
    return rule if isinstance(rule, PromotingRule) and rule.promotes else None


def make(study: Study) -> StoppingRule:
    """The study's stopping rule."""
    given = dict(study.stopping)
    name = given.pop("name")
    settings = check_settings("stopping", name, given, "stopping")
    rule: StoppingRule = registry.resolve("stopping", name)(settings, study.objective)
    return rule


def check(study: Study) -> None:
    """Raise `StudyError` when the study's rule cannot be made or says no rungs: a user's own may raise anything."""
    name = study.stopping["name"]
    try:
        rungs = list(make(study).rungs(study.training.epochs))
    except NasmodError:
        raise
    except (Exception, SystemExit) as error:
        raise StudyError(f"The stopping rule '{name}' failed: {type(error).__name__}: {error}") from error
    if not all(isinstance(rung, int) for rung in rungs):
        raise StudyError(f"The rungs of the stopping rule '{name}' are epochs, not {rungs!r:.100}.")
