"""Adopting trials that a user enqueued through Optuna: each becomes a candidate, or fails with a reason."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from nasmod.errors import SpaceError, unknown
from nasmod.search.context import Context
from nasmod.space import Space
from nasmod.study import Proposal, Record, StoredStudy, candidate_key, enqueued
from nasmod.topology import Parameter

log = logging.getLogger("nasmod.adopting")


def adopt_enqueued(context: Context, study: StoredStudy, known: Sequence[Record]) -> None:
    """Make candidates of the trials that wait in Optuna's study and are none yet; refuse what cannot be trained."""
    labels = {record.key: record.label for record in known}
    for found in enqueued.waiting(study):
        try:
            parameters = _complete(context.space, found.parameters)
            topology, settings = context.space.decode(parameters)
        except SpaceError as error:
            _refuse(study, found, str(error))
            continue
        key = candidate_key(topology, settings)
        origin = {"strategy": "enqueued", "why": "enqueued through Optuna"}
        proposal = context.counted(Proposal(topology, settings, None, origin))
        if key in labels:
            _refuse(study, found, f"{labels[key]} is the same candidate.")
        elif (reason := context.violation(proposal)) is not None:
            _refuse(study, found, f"{reason}.")
        elif enqueued.adopt(study, found, key, proposal, parameters, context.distributions):
            labels[key] = f"#{found.number}"


def _refuse(study: StoredStudy, found: enqueued.Enqueued, reason: str) -> None:
    log.warning("trial %d, enqueued through Optuna, is not trained: %s", found.number, reason)
    enqueued.refuse(study, found, reason)


def _complete(space: Space, given: Mapping[str, Any]) -> dict[str, Parameter]:
    """Every parameter of the space. Raises `SpaceError`: what is missing is not guessed."""
    known = space.parameters()
    for name, value in given.items():
        if name not in known:
            raise SpaceError(unknown("parameter", name, known))
        if not known[name].contains(value):
            raise SpaceError(f"Parameter '{name}' is never {value!r} in this space.")
    if missing := [name for name in known if name not in given]:
        shown = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise SpaceError(f"An enqueued trial needs every parameter: {shown} missing. Change those of a trial there is.")
    return dict(given)
