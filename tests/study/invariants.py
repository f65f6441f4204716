"""What must hold of every study, whatever died: `violations` names what was lost, what is doubled, what is orphaned."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Literal

from optuna.trial import TrialState
from sqlalchemy import Connection, Row, Table, select

from nasmod.study import StoredStudy, files
from nasmod.study.record import ENDED, TRAINED
from nasmod.study.tables import (
    artifacts,
    candidates,
    chunks,
    optuna_params,
    optuna_steps,
    optuna_trials,
    optuna_user_attributes,
    rungs,
    studies,
)

Sort = Literal["lost", "doubled", "orphaned"]
IN_STEP = {  # one objective
    "queued": TrialState.WAITING,
    "running": TrialState.RUNNING,
    "paused": TrialState.WAITING,
    "finished": TrialState.COMPLETE,
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


def violations(study: StoredStudy, *, ended: bool = False) -> list[tuple[Sort, str]]:
    """Every broken invariant in words; `ended`: nothing may run any more, and the budget is met exactly."""
    return study.database.read(lambda connection: list(_violations(connection, study.id, ended)))


def _violations(connection: Connection, study: int, ended: bool) -> Iterable[tuple[Sort, str]]:
    row = connection.execute(select(studies).where(studies.c.id == study)).one()
    rows = connection.execute(select(candidates).where(candidates.c.study == study).order_by(candidates.c.id)).all()
    searched = [candidate for candidate in rows if candidate.role == "search"]
    trained = sum(candidate.state in TRAINED for candidate in searched)
    running = sum(candidate.state == "running" for candidate in searched)
    promoted = sum(candidate.state == "queued" and candidate.result is not None for candidate in searched)
    if trained + running + promoted > row.trials:
        yield "doubled", f"{trained} trained, {running} running and {promoted} to go on of {row.trials}"
    if ended and trained != row.trials:
        yield "lost", f"{trained} trained of {row.trials}"
    for key, count in Counter(candidate.key for candidate in rows).items():
        if count > 1:
            yield "doubled", f"key {key} filed {count} times"
    filed = len(searched) + row.duplicates + row.infeasible
    if row.proposals != filed:
        yield "lost" if row.proposals < filed else "doubled", f"{row.proposals} proposals counted, {filed} filed"
    names, at = defaultdict(set), defaultdict(set)
    for candidate, name in connection.execute(select(chunks.c.candidate, chunks.c.name).distinct()):
        names[candidate].add(name)
    for candidate, name in connection.execute(select(artifacts.c.candidate, artifacts.c.name).where(artifacts.c.kept)):
        names[candidate].add(name)
    for candidate, epoch in connection.execute(select(rungs.c.candidate, rungs.c.epoch)):
        at[candidate].add(epoch)
    for candidate in rows:
        yield from _of_candidate(candidate, names[candidate.id], at[candidate.id], ended)
        if ended and candidate.weights is not None:
            files.read(connection, candidate.id, "weights", candidate.weights)  # raises if they are damaged
    yield from _of_trials(connection, row.optuna_study, rows)
    known = set(connection.scalars(select(candidates.c.id)))
    for what, found in (("rungs", at), ("files", names)):
        if strangers := found.keys() - known:
            yield "orphaned", f"{what} of no candidate: {strangers}"


def _of_candidate(row: Row[Any], stored: set[str], at: set[int], ended: bool) -> Iterable[tuple[Sort, str]]:
    who = f"candidate {row.id} ({row.state})"
    epochs = [int(point["epoch"]) for point in json.loads(row.curve)]
    promoted = row.state == "queued" and row.result is not None
    if ended and (row.state in ("running", "paused") or promoted or (row.role != "search" and row.state == "queued")):
        yield "orphaned", f"{who} at the end"
    if row.state == "paused" and (row.checkpoint != len(epochs) or row.checkpoint not in at or row.reason is None):
        yield "lost", f"{who}: a checkpoint of epoch {row.checkpoint}, rungs at {at}, {row.reason}"
    if len(set(epochs)) != len(epochs):
        yield "doubled", f"{who}: epochs {epochs}"
    elif epochs != list(range(1, len(epochs) + 1)):
        yield "lost", f"{who}: epochs {epochs}"
    if row.state in TRAINED and (not epochs or row.result is None or not json.loads(row.result)["measures"]):
        yield "lost", f"{who}: no curve or no measures"
    if row.checkpoint > len(epochs):
        yield "lost", f"{who}: a checkpoint of epoch {row.checkpoint} and a curve of {len(epochs)}"
    wanted = {name for name, there in (("checkpoint", row.checkpoint), ("weights", row.weights)) if there}
    if wanted - stored:
        yield "lost", f"{who}: has {stored or 'no file'}, should have {wanted}"
    if stored - wanted or (row.state in ENDED and "checkpoint" in stored):
        yield "orphaned", f"{who}: keeps {stored}, wants {wanted or 'nothing'}"
    if row.state in (*TRAINED, "running") and not at <= set(epochs):
        yield "orphaned", f"{who}: rungs at {at} of {len(epochs)} epochs"


def _of_trials(connection: Connection, optuna_study: int, rows: Iterable[Row[Any]]) -> Iterable[tuple[Sort, str]]:
    """Optuna's trials are in step with their candidates: state, number, key, parameters, intermediate values."""
    trials = {
        trial.trial_id: trial
        for trial in connection.execute(select(optuna_trials).where(optuna_trials.c.study_id == optuna_study))
    }
    ours = optuna_trials.c.study_id == optuna_study
    params, steps, keys = defaultdict(int), defaultdict(dict), {}  # type: ignore[var-annotated]
    for row in _of_study(connection, optuna_params, ours):
        params[row.trial_id] += 1
    for row in _of_study(connection, optuna_steps, ours):
        steps[row.trial_id][row.step] = row.intermediate_value
    for row in _of_study(connection, optuna_user_attributes, ours):
        if row.key == "key":
            keys[row.trial_id] = json.loads(row.value_json)
    if sorted(trial.number for trial in trials.values()) != list(range(len(trials))):
        yield "doubled", f"trial numbers {sorted(trial.number for trial in trials.values())}"
    claimed: dict[int, Row[Any]] = {}
    for row in rows:
        who = f"candidate {row.id} ({row.state})"
        if row.trial is None:
            if row.role == "search" and row.state != "queued":
                yield "lost", f"{who} has no trial"
            continue
        if row.trial in claimed:
            yield "doubled", f"trial {row.trial} of two candidates"
        claimed[row.trial] = row
        trial = trials.get(row.trial)
        if trial is None:
            yield "lost", f"{who}: its trial {row.trial} is not there"
            continue
        if trial.state != IN_STEP[row.state] or trial.number != row.number or keys.get(row.trial) != row.key:
            yield "lost", f"{who}: trial {trial.number} of key {keys.get(row.trial)} is {trial.state.name}"
        if params[row.trial] != len(json.loads(row.proposal)["parameters"]):
            yield "lost", f"{who}: its trial has {params[row.trial]} parameters"
        curve = {int(point["epoch"]): point["validation_accuracy"] for point in json.loads(row.curve)}
        if row.state in (*TRAINED, "running") and steps[row.trial] != curve:
            yield "lost", f"{who}: intermediate values {steps[row.trial]}, curve {curve}"
    for number, trial in trials.items():
        if number not in claimed and trial.state != TrialState.FAIL:  # a failed one stays when it is retried
            yield "orphaned", f"trial {trial.number} ({trial.state.name}) of no candidate"


def _of_study(connection: Connection, table: Table, ours: Any) -> Iterable[Row[Any]]:
    query = select(table).join(optuna_trials, optuna_trials.c.trial_id == table.c.trial_id)
    return connection.execute(query.where(ours)).all()
