"""Optuna's trial as the projection of a candidate: written with our statements on its tables, in our transaction.

Optuna's RDBStorage commits a session of its own in every method, so that a check of ours and a write of its own can
never be one transaction: a stale worker's result was accepted after its candidate had been handed back. Its own tables
written on our connection are fenced with the rest, and cost a fifth of its calls. What is written here is exactly what
Optuna itself would write; tests/study/test_projection.py holds the two side by side, and optuna is pinned below 6.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import Connection, delete, insert, select, update

from nasmod.space import Choice, Distribution, Integer
from nasmod.study import tables
from nasmod.topology import Parameter

METRIC_NAMES = "study:metric_names"  # what `optuna.Study.set_metric_names` writes: plots and dashboards name axes by it
BEST = "best by fresh trainings"  # a user attribute of the Optuna study
INTERMEDIATE = "after each epoch: accuracy on validation data (R² in a regression), not what a trial ends with"


def to_optuna(distribution: Distribution) -> BaseDistribution:
    """Our distribution as Optuna's."""
    if isinstance(distribution, Choice):
        return CategoricalDistribution(distribution.options)
    if isinstance(distribution, Integer):
        return IntDistribution(distribution.low, distribution.high, log=distribution.log, step=distribution.step)
    return FloatDistribution(distribution.low, distribution.high, log=distribution.log)


def create_study(connection: Connection, name: str, directions: Mapping[str, str]) -> int:
    """An Optuna study of this name, with names for its values; returns its id. The name must be free.

    What is reported after an epoch is not what a trial ends with, which takes measuring: the study says so.
    """
    study = connection.execute(insert(tables.optuna_studies).values(study_name=name)).inserted_primary_key
    assert study is not None
    connection.execute(
        insert(tables.optuna_directions),
        [
            {"study_id": study[0], "objective": index, "direction": StudyDirection[direction.upper()]}
            for index, direction in enumerate(directions.values())
        ],
    )
    for table, key, content in (
        (tables.optuna_study_system_attributes, METRIC_NAMES, list(directions)),
        (tables.optuna_study_user_attributes, "intermediate values", INTERMEDIATE),
    ):
        connection.execute(insert(table).values(study_id=study[0], key=key, value_json=json.dumps(content)))
    return int(study[0])


def say_best(connection: Connection, study: int, said: Mapping[str, Any]) -> None:
    """Note on an Optuna study which trial is its best: `best_trial` knows single trainings alone."""
    table = tables.optuna_study_user_attributes
    of_study = (table.c.study_id == study) & (table.c.key == BEST)
    connection.execute(delete(table).where(of_study))
    connection.execute(insert(table).values(study_id=study, key=BEST, value_json=json.dumps(said)))


def delete_study(connection: Connection, study: int) -> None:
    """Forget an Optuna study with its trials and everything that Optuna keeps of them."""
    trials = select(tables.optuna_trials.c.trial_id).where(tables.optuna_trials.c.study_id == study)
    for table in reversed(models.BaseModel.metadata.sorted_tables):  # what refers to others first
        if "study_id" in table.c:
            connection.execute(delete(table).where(table.c.study_id == study))
        elif "trial_id" in table.c:
            connection.execute(delete(table).where(table.c.trial_id.in_(trials)))


def create_trial(
    connection: Connection,
    study: int,
    parameters: Mapping[str, Parameter],
    distributions: Mapping[str, tuple[BaseDistribution, str]],
    attributes: Mapping[str, Any],
) -> tuple[int, int]:
    """A RUNNING trial with its parameters and user attributes; returns (trial_id, number).

    The caller holds the study's row locked: the number is the next after that of the latest trial.
    """
    trials = tables.optuna_trials.c
    latest = select(trials.number).where(trials.study_id == study).order_by(trials.trial_id.desc()).limit(1)
    before = connection.scalar(latest)
    number = 0 if before is None else before + 1
    key = connection.execute(
        insert(tables.optuna_trials).values(
            study_id=study, number=number, state=TrialState.RUNNING, datetime_start=_now()
        )
    ).inserted_primary_key
    assert key is not None
    trial = int(key[0])
    describe(connection, trial, parameters, distributions, attributes)
    return trial, number


def describe(
    connection: Connection,
    trial: int,
    parameters: Mapping[str, Parameter],
    distributions: Mapping[str, tuple[BaseDistribution, str]],
    attributes: Mapping[str, Any],
) -> None:
    """Write the parameters and user attributes of a trial that has none yet."""
    if parameters:
        connection.execute(
            insert(tables.optuna_params),
            [
                {
                    "trial_id": trial,
                    "param_name": name,
                    "param_value": distributions[name][0].to_internal_repr(value),
                    "distribution_json": distributions[name][1],
                }
                for name, value in parameters.items()
            ],
        )
    _add_attributes(connection, trial, attributes)


def with_json(distributions: Mapping[str, Distribution]) -> dict[str, tuple[BaseDistribution, str]]:
    """Each distribution as Optuna's, with the text Optuna stores of it: made once a process."""
    found = {name: to_optuna(distribution) for name, distribution in distributions.items()}
    return {name: (distribution, distribution_to_json(distribution)) for name, distribution in found.items()}


def report(connection: Connection, trial: int, step: int, value: float) -> None:
    """The trial's intermediate value at an epoch; written again when an attempt repeats the epoch."""
    stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
    table = tables.optuna_steps
    changed = connection.execute(
        update(table)
        .where(table.c.trial_id == trial, table.c.step == step)
        .values(intermediate_value=stored, intermediate_value_type=kind)
    ).rowcount
    if not changed:
        connection.execute(
            insert(table).values(trial_id=trial, step=step, intermediate_value=stored, intermediate_value_type=kind)
        )


def complete(
    connection: Connection,
    trial: int,
    values: Sequence[float],
    *,
    fraction_left: float,
    attributes: Mapping[str, Any],
) -> None:
    """End a trial that was trained. With one objective an early stop is PRUNED, as Optuna users know it.

    With several, Optuna refuses PRUNED: the trial is COMPLETE with its partial values, and the constraint
    ``early_stopped`` (0 on trials that ran to their end) keeps it out of `best_trials`.
    """
    pruned = fraction_left > 0 and len(values) == 1
    for objective, value in enumerate(values):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        connection.execute(
            insert(tables.optuna_values).values(trial_id=trial, objective=objective, value=stored, value_type=kind)
        )
    if len(values) > 1:
        connection.execute(
            insert(tables.optuna_system_attributes).values(
                trial_id=trial, key="constraints:early_stopped", value_json=json.dumps(fraction_left)
            )
        )
    _add_attributes(connection, trial, attributes)
    _set_state(connection, trial, TrialState.PRUNED if pruned else TrialState.COMPLETE, ended=True)


def fail(connection: Connection, trial: int, reason: str) -> None:
    """End a trial whose candidate failed."""
    _add_attributes(connection, trial, {"reason": reason})
    _set_state(connection, trial, TrialState.FAIL, ended=True)


def wait(connection: Connection, trial: int) -> None:
    """The candidate was handed back: its trial waits for the next worker."""
    _set_state(connection, trial, TrialState.WAITING)


def run(connection: Connection, trial: int) -> None:
    """The candidate was claimed again."""
    _set_state(connection, trial, TrialState.RUNNING)


def delete_from_step(connection: Connection, trial: int, step: int) -> None:
    """Forget the intermediate values after `step`: the next attempt goes on from an older checkpoint."""
    table = tables.optuna_steps
    connection.execute(delete(table).where(table.c.trial_id == trial, table.c.step > step))


def _set_state(connection: Connection, trial: int, state: TrialState, ended: bool = False) -> None:
    values: dict[str, Any] = {"state": state}
    if ended:
        values["datetime_complete"] = _now()
    connection.execute(update(tables.optuna_trials).where(tables.optuna_trials.c.trial_id == trial).values(**values))


def _add_attributes(connection: Connection, trial: int, attributes: Mapping[str, Any]) -> None:
    if attributes:
        connection.execute(
            insert(tables.optuna_user_attributes),
            [{"trial_id": trial, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()],
        )


def _now() -> datetime:
    """Optuna 5 stores naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
