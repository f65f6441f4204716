"""Whether a study can have any candidate at all: found out before anything is stored."""

from __future__ import annotations

import random

from pydantic import ValidationError

from nasmod.errors import SpaceError
from nasmod.search.context import Context
from nasmod.search.loggers import check as check_loggers
from nasmod.search.opening import seeds
from nasmod.search.stopping import check as check_rule
from nasmod.space.file import Range
from nasmod.study import Proposal
from nasmod.study.definition import one_line
from nasmod.training.seeds import derive
from nasmod.training.settings import TrainingSettings

DRAWS = 300
LISTABLE = 20_000  # encodings: a space this small is looked at whole, and ends when all of it was proposed


def check(context: Context) -> None:
    """Raise `SpaceError` when no topology of the space fits the FLOPs budget, or a searched setting is none or has an
    impossible value; `StudyError` when the stopping rule fails before any training, a seed cannot be a candidate, or a
    package is missing that the study's loggers need.

    A small space is looked at whole; of a large one the cheapest of a few hundred draws must fit.
    """
    _check_settings(context)
    check_rule(context.study)
    seeds(context)
    check_loggers(context.study)
    budget = context.objective.flops_budget
    cheapest: int | None = None
    listed = context.space.topologies(LISTABLE)
    generator = random.Random(derive(context.study.seed, "feasibility"))
    for topology in listed if listed is not None else (context.space.random(generator)[0] for _ in range(DRAWS)):
        proposal = context.counted(Proposal(topology))
        if proposal.flops is None or context.violation(proposal) is None:
            return
        cheapest = proposal.flops if cheapest is None else min(cheapest, proposal.flops)
    seen = "of all its topologies" if listed is not None else f"of {DRAWS} random topologies of it"
    raise SpaceError(
        f"The search space cannot satisfy the FLOPs budget of {budget:,}: the cheapest {seen} needs {cheapest:,}. "
        f"Raise objective.flops_budget or offer smaller modules."
    )


def _check_settings(context: Context) -> None:
    known = set(TrainingSettings.model_fields) - {"epochs"}
    for name, searched in context.space.file.settings.items():
        if name not in known:
            raise SpaceError(
                f"The space searches a training setting '{name}' that is none. Known: {', '.join(sorted(known))}."
            )
        for value in (searched.low, searched.high) if isinstance(searched, Range) else searched:
            try:
                TrainingSettings.model_validate({name: value})
            except ValidationError as error:
                raise SpaceError(
                    f"The space searches a training setting: {one_line(error, TrainingSettings)}"
                ) from error
