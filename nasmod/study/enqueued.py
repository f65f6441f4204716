"""Trials that a user enqueued through Optuna (`study.enqueue_trial`): found, made candidates, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from optuna.trial import TrialState
from sqlalchemy import Connection, insert, select, update

from nasmod.study import projection
from nasmod.study.candidates import Distributions, lock
from nasmod.study.record import Proposal
from nasmod.study.stored import StoredStudy
from nasmod.study.tables import candidates, optuna_system_attributes, optuna_trials, studies
from nasmod.topology import Parameter

FIXED = "fixed_params"  # the system attribute in which Optuna keeps what was enqueued


@dataclass(frozen=True)
class Enqueued:
    """A trial of Optuna that waits and is no candidate's."""

    trial: int  # Optuna's trial_id
    number: int
    parameters: Mapping[str, Any]


def waiting(stored: StoredStudy) -> list[Enqueued]:
    """The trials that wait for somebody to run them, oldest first."""
    trials, attributes = optuna_trials.c, optuna_system_attributes.c
    of_study = select(studies.c.optuna_study).where(studies.c.id == stored.id).scalar_subquery()
    known = select(candidates.c.trial).where(candidates.c.study == stored.id, candidates.c.trial.is_not(None))
    query = (
        select(trials.trial_id, trials.number, attributes.value_json)
        .outerjoin(optuna_system_attributes, (attributes.trial_id == trials.trial_id) & (attributes.key == FIXED))
        .where(trials.study_id == of_study, trials.state == TrialState.WAITING, trials.trial_id.not_in(known))
        .order_by(trials.trial_id)
    )
    rows = stored.database.read(lambda connection: connection.execute(query).all())
    return [Enqueued(row.trial_id, row.number, json.loads(row.value_json or "{}")) for row in rows]


def adopt(
    stored: StoredStudy,
    found: Enqueued,
    key: str,
    proposal: Proposal,
    parameters: Mapping[str, Parameter],
    distributions: Distributions,
) -> bool:
    """Make it the trial of a new queued candidate; False when it no longer waits, or the key is known."""
    content = json.dumps({**proposal.to_json(), "parameters": dict(parameters)}, allow_nan=False)

    def work(connection: Connection) -> bool:
        lock(connection, stored.id)
        of_key = select(candidates.c.id).where(candidates.c.study == stored.id, candidates.c.key == key)
        if not _waits(connection, found) or connection.execute(of_key).first() is not None:
            return False
        connection.execute(
            insert(candidates).values(
                study=stored.id,
                key=key,
                role="search",
                state="queued",
                proposal=content,
                trial=found.trial,
                number=found.number,
            )
        )
        projection.describe(
            connection,
            found.trial,
            parameters,
            distributions,
            {"key": key, "topology": json.loads(proposal.topology.to_json())},
        )
        counted = update(studies).where(studies.c.id == stored.id).values(proposals=studies.c.proposals + 1)
        connection.execute(counted)
        return True

    return stored.database.transact(work)


def refuse(stored: StoredStudy, found: Enqueued, reason: str) -> None:
    """End it as a failed trial that says why."""

    def work(connection: Connection) -> None:
        lock(connection, stored.id)
        if _waits(connection, found):
            projection.fail(connection, found.trial, reason)

    stored.database.transact(work)


def _waits(connection: Connection, found: Enqueued) -> bool:
    """Whether it still does, and is no candidate's: another process may have been here."""
    trials = optuna_trials.c
    state = connection.scalar(select(trials.state).where(trials.trial_id == found.trial))
    taken = connection.execute(select(candidates.c.id).where(candidates.c.trial == found.trial)).first()
    return state is TrialState.WAITING and taken is None
