"""The life of a candidate in the database: propose, claim, report, finish, hand back, sweep, retry.

Each is one transaction.
Our row is the authority and Optuna's trial its projection, written in the same transaction. Whoever trains a candidate
holds a `Claim`; every write of its is fenced by the claim's token, so that a worker that was taken for dead can never
overwrite its successor. A lost acknowledgement is resolved by reading the row again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from nasmod.errors import StorageError
from nasmod.study import files, projection
from nasmod.study.database import Database
from nasmod.study.record import ENDED, TRAINED, Proposal, Role, RungResult
from nasmod.study.tables import candidates, rungs, studies
from nasmod.topology import Parameter

ATTEMPTS = 2  # a candidate whose second attempt dies with its worker is failed
Distributions = Mapping[str, tuple[BaseDistribution, str]]


class ClaimLost(Exception):  # noqa: N818  # it reports an event, not an error: the candidate is another worker's now
    """The candidate was taken from this worker: whatever it has is dropped."""


@dataclass(frozen=True)
class Claim:
    """The right to train one candidate, until its token changes."""

    id: int
    token: int
    key: str
    role: Role
    number: int | None
    trial: int | None
    proposal: Proposal
    curve: tuple[Mapping[str, float], ...]
    rung_results: tuple[RungResult, ...]
    checkpoint: bytes | None


def propose(
    database: Database,
    study: int,
    key: str,
    proposal: Proposal,
    parameters: Mapping[str, Parameter],
    role: Role = "search",
    drawn_at: int | None = None,
) -> bool:
    """File a proposal; False when its key is known already (a duplicate, counted, never trained again).

    `drawn_at` is the number of proposals it was drawn after. When that number has gone up meanwhile (another
    controller, or this very call whose acknowledgement was lost) nothing is written: whether the key is known is told.
    """
    content = json.dumps({**proposal.to_json(), "parameters": dict(parameters)}, allow_nan=False)

    def work(connection: Connection) -> bool:
        row = _lock(connection, study)
        mine = (candidates.c.study == study) & (candidates.c.key == key)
        known = connection.execute(select(candidates.c.proposal).where(mine)).first()
        if drawn_at is not None and row.proposals != drawn_at:
            return known is not None and known.proposal == content
        if role == "search":
            counted = {"proposals": studies.c.proposals + 1}
            if known is not None:
                counted["duplicates"] = studies.c.duplicates + 1
            connection.execute(update(studies).where(studies.c.id == study).values(**counted))
        if known is not None:
            return False
        connection.execute(insert(candidates).values(study=study, key=key, role=role, state="queued", proposal=content))
        return True

    return database.transact(work)


def count_infeasible(database: Database, study: int, drawn_at: int) -> None:
    """Count a proposal, drawn after `drawn_at` others, that cheap measures ruled out before any training."""
    counted = (
        update(studies)
        .where(studies.c.id == study, studies.c.proposals == drawn_at)
        .values(proposals=studies.c.proposals + 1, infeasible=studies.c.infeasible + 1)
    )
    database.transact(lambda connection: connection.execute(counted))


def claim(database: Database, study: int, worker: str, distributions: Distributions) -> Claim | None:
    """The oldest queued candidate that the budget admits, now this worker's; None when there is none.

    `worker` names one process and one claim at a time, so that a claim whose acknowledgement was lost is found again.
    """

    def work(connection: Connection) -> Claim | None:
        row = _lock(connection, study)
        mine = select(candidates).where(
            candidates.c.study == study, candidates.c.state == "running", candidates.c.worker == worker
        )
        if (found := connection.execute(mine).first()) is not None:
            return _claim_of(connection, found)
        roles = {"searching": ["reference", "search"], "repeating": ["reference", "repeat"]}.get(row.state, [])
        if "search" in roles and not _budget_left(connection, study, row.trials):
            roles.remove("search")
        oldest = (
            select(candidates)
            .where(candidates.c.study == study, candidates.c.state == "queued", candidates.c.role.in_(roles))
            .order_by(candidates.c.id)
            .limit(1)
        )
        found = connection.execute(oldest).first()
        if found is None:
            return None
        projected: dict[str, Any] = {}
        if found.role == "search" and found.trial is None:
            stored = json.loads(found.proposal)
            trial, number = projection.create_trial(
                connection,
                row.optuna_study,
                stored["parameters"],
                distributions,
                {"key": found.key, "topology": json.loads(stored["topology"])},
            )
            projected = {"trial": trial, "number": number}
        elif found.trial is not None:
            projection.run(connection, found.trial)
        connection.execute(
            update(candidates)
            .where(candidates.c.id == found.id)
            .values(
                state="running",
                worker=worker,
                token=found.token + 1,
                beat=found.beat + 1,
                attempts=found.attempts + 1,
                curve=json.dumps(json.loads(found.curve)[: found.checkpoint]),
                **projected,
            )
        )
        # the attempt goes on from the checkpoint: what came after it will come again
        connection.execute(delete(rungs).where(rungs.c.candidate == found.id, rungs.c.epoch > found.checkpoint))
        claimed = connection.execute(select(candidates).where(candidates.c.id == found.id)).one()
        if claimed.trial is not None:
            projection.delete_from_step(connection, claimed.trial, claimed.checkpoint)
        return _claim_of(connection, claimed)

    return database.transact(work)


def report(
    database: Database,
    held: Claim,
    curve: Sequence[Mapping[str, float]],
    score: float | None,
    rung: RungResult | None = None,
    checkpoint: bytes | None = None,
) -> list[RungResult]:
    """Store the curve so far, the rung's result and a checkpoint if one is due; returns the others' results there.

    `score` becomes the trial's intermediate value at this epoch. Raises `ClaimLost`, and `StorageFullError` where a
    checkpoint finds no space.
    """
    epoch = len(curve)

    def work(connection: Connection) -> list[RungResult]:
        values: dict[str, Any] = {"curve": json.dumps(list(curve))}
        if checkpoint is not None:
            values["checkpoint"] = epoch
            files.write(connection, held.id, "checkpoint", checkpoint)
        study = fence(connection, held, **values)
        if held.trial is not None and score is not None:
            projection.report(connection, held.trial, epoch, score)
        if rung is None:
            return []
        connection.execute(delete(rungs).where(rungs.c.candidate == held.id, rungs.c.epoch == epoch))
        others = connection.scalars(
            select(rungs.c.result)
            .join(candidates, candidates.c.id == rungs.c.candidate)
            .where(rungs.c.study == study, rungs.c.epoch == epoch, candidates.c.role == "search")
        ).all()
        connection.execute(insert(rungs).values(candidate=held.id, study=study, epoch=epoch, result=rung.to_json()))
        return [RungResult.from_json(text) for text in others]

    return database.transact(work, wait_for_space=checkpoint is None)


def finish(
    database: Database,
    held: Claim,
    result: Mapping[str, Any],
    values: Sequence[float],
    *,
    stopped: str | None = None,
    fraction_left: float = 0.0,
    weights: bytes | None = None,
) -> None:
    """Store a trained candidate: its result (measures, standard errors, score …), its weights, Optuna's values.

    Raises `ClaimLost`, and `StorageFullError` where the weights find no space.
    """

    def work(connection: Connection) -> None:
        if _already_ended(connection, held):
            return
        digest = files.write(connection, held.id, "weights", weights) if weights is not None else None
        searched = select(studies.c.seconds).where(studies.c.id == candidates.c.study).scalar_subquery()
        study = fence(
            connection,
            held,
            state="stopped" if stopped else "finished",
            result=json.dumps(dict(result)),
            reason=stopped,
            weights=digest,
            checkpoint=0,
            ended_at=searched,
        )
        files.remove(connection, held.id, "checkpoint")
        connection.execute(update(studies).where(studies.c.id == study).values(failures_in_row=0))
        if held.trial is not None:
            attributes = {**result["measures"], **({"reason": stopped} if stopped else {})}
            projection.complete(connection, held.trial, values, fraction_left=fraction_left, attributes=attributes)

    database.transact(work, wait_for_space=weights is None)


def fail(database: Database, held: Claim, reason: str, detail: str = "") -> None:
    """Store a failed candidate with its reason in words and, where there is one, the traceback. Never the end."""

    def work(connection: Connection) -> None:
        if _already_ended(connection, held):
            return
        study = fence(
            connection,
            held,
            state="failed",
            reason=reason,
            result=json.dumps({"measures": {}, "standard_errors": {}, "score": None, "traceback": detail}),
            checkpoint=0,
        )
        _count_failure(connection, study, held.id, held.trial, reason)

    database.transact(work)


def hand_back(database: Database, held: Claim, curve: Sequence[Mapping[str, float]], checkpoint: bytes | None) -> None:
    """Give a candidate back to the queue with its checkpoint: the worker was asked to end. Not a failed attempt."""

    def work(connection: Connection) -> None:
        row = connection.execute(select(candidates).where(candidates.c.id == held.id)).one()
        if row.token == held.token + 1 and row.state != "running":
            return  # committed before, the acknowledgement was lost
        values: dict[str, Any] = {"curve": json.dumps(list(curve))}
        if checkpoint is not None:
            values["checkpoint"] = len(curve)
            files.write(connection, held.id, "checkpoint", checkpoint)
        fence(connection, held, state="queued", token=held.token + 1, attempts=row.attempts - 1, **values)
        if held.trial is not None:
            projection.wait(connection, held.trial)

    database.transact(work)


def sweep(database: Database, candidate: int, token: int, last_beat: int, before: float = math.inf) -> bool:
    """Take a candidate from a worker that gave no sign of life for a whole lease; False if it has meanwhile.

    It is queued again, or failed when it was its second attempt. Nothing is taken at or after `before` (monotonic
    seconds): who had to wait so long for the database has no proof any more, since the workers had to wait too.
    """

    def work(connection: Connection) -> bool:
        if time.monotonic() >= before:
            return False
        row = connection.execute(select(candidates).where(candidates.c.id == candidate)).first()
        if row is None or (row.state, row.token, row.beat) != ("running", token, last_beat):
            return False
        return _take(connection, row, "no sign of life")

    return database.transact(work)


def bury(database: Database, study: int, worker: str, how: str) -> int:
    """Take what a worker holds whose process has ended for certain, without waiting for its lease; returns how many."""

    def work(connection: Connection) -> int:
        _lock(connection, study)
        held = select(candidates).where(
            candidates.c.study == study, candidates.c.state == "running", candidates.c.worker == worker
        )
        return sum(_take(connection, row, how) for row in connection.execute(held).all())

    return database.transact(work)


def retry(database: Database, study: int, keys: Collection[str] | None = None) -> int:
    """Queue failed candidates again (all of them for None), as if never tried, and search on; returns how many.

    The failed Optuna trial stays as it is: Optuna's are final. The candidate gets a new one when it is claimed.
    """

    def work(connection: Connection) -> int:
        row = _lock(connection, study)
        failed = (candidates.c.study == study) & (candidates.c.state == "failed")
        if keys is not None:
            failed &= candidates.c.key.in_(list(keys))
        again = connection.scalars(select(candidates.c.id).where(failed)).all()
        for candidate in again:
            connection.execute(delete(rungs).where(rungs.c.candidate == candidate))
            connection.execute(
                update(candidates)
                .where(candidates.c.id == candidate)
                .values(
                    state="queued",
                    token=candidates.c.token + 1,
                    attempts=0,
                    worker=None,
                    trial=None,
                    number=None,
                    curve="[]",
                    checkpoint=0,
                    result=None,
                    reason=None,
                )
            )
        if again:
            reopened = {"state": "searching", "reason": None} if row.state == "ended" else {}
            connection.execute(update(studies).where(studies.c.id == study).values(failures_in_row=0, **reopened))
        return len(again)

    return database.transact(work)


def running(database: Database, study: int) -> dict[int, tuple[int, int]]:
    """What a sweeper watches: candidate id -> (token, beat) of every running candidate."""
    query = select(candidates.c.id, candidates.c.token, candidates.c.beat).where(
        candidates.c.study == study, candidates.c.state == "running"
    )
    return {row.id: (row.token, row.beat) for row in database.read(lambda connection: connection.execute(query).all())}


def _lock(connection: Connection, study: int) -> Row[Any]:
    """The study's row, locked: on SQLite the whole transaction is (BEGIN IMMEDIATE)."""
    row = connection.execute(select(studies).where(studies.c.id == study).with_for_update()).first()
    if row is None:
        raise StorageError("The study was deleted meanwhile.")
    return row


def _budget_left(connection: Connection, study: int, trials: int) -> bool:
    taken = connection.scalar(
        select(func.count()).where(
            candidates.c.study == study,
            candidates.c.role == "search",
            candidates.c.state.in_([*TRAINED, "running"]),
        )
    )
    return (taken or 0) < trials


def _claim_of(connection: Connection, row: Row[Any]) -> Claim:
    results = connection.scalars(select(rungs.c.result).where(rungs.c.candidate == row.id).order_by(rungs.c.epoch))
    return Claim(
        id=row.id,
        token=row.token,
        key=row.key,
        role=row.role,
        number=row.number,
        trial=row.trial,
        proposal=Proposal.from_json(json.loads(row.proposal)),
        curve=tuple(json.loads(row.curve)),
        rung_results=tuple(RungResult.from_json(text) for text in results),
        checkpoint=files.read(connection, row.id, "checkpoint") if row.checkpoint else None,
    )


def fence(connection: Connection, held: Claim, **values: Any) -> int:
    """Write the row, a sign of life at least, if the claim still holds; returns the study's id.

    Raises `ClaimLost`, undoing the transaction.
    """
    changed = connection.execute(
        update(candidates)
        .where(candidates.c.id == held.id, candidates.c.token == held.token, candidates.c.state == "running")
        .values({"beat": candidates.c.beat + 1, **values})
        .returning(candidates.c.study)
    ).first()
    if changed is None:
        raise ClaimLost(f"candidate {held.id} was taken from this worker")
    return int(changed.study)


def _already_ended(connection: Connection, held: Claim) -> bool:
    """Whether this very claim ended its candidate before: the commit went through, its acknowledgement did not."""
    row = connection.execute(select(candidates.c.token, candidates.c.state).where(candidates.c.id == held.id)).one()
    return bool(row.token == held.token and row.state in ENDED)


def _take(connection: Connection, row: Row[Any], how: str) -> bool:
    """Queue a candidate whose worker died, or fail it after its last attempt; False if the row has changed since."""
    again = row.attempts < ATTEMPTS
    reason = f"its worker died in {ATTEMPTS} attempts, the last time: {how}"
    held = (candidates.c.id == row.id) & (candidates.c.token == row.token) & (candidates.c.beat == row.beat)
    changed = connection.execute(
        update(candidates)
        .where(held, candidates.c.state == "running")
        .values(
            state="queued" if again else "failed",
            token=row.token + 1,
            reason=None if again else reason,
            checkpoint=row.checkpoint if again else 0,
        )
    ).rowcount
    if not changed:
        return False
    if not again:
        _count_failure(connection, row.study, row.id, row.trial, reason)
    elif row.trial is not None:
        projection.wait(connection, row.trial)
    return True


def _count_failure(connection: Connection, study: int, candidate: int, trial: int | None, reason: str) -> None:
    files.remove(connection, candidate, "checkpoint")
    connection.execute(
        update(studies).where(studies.c.id == study).values(failures_in_row=studies.c.failures_in_row + 1)
    )
    if trial is not None:
        projection.fail(connection, trial, reason)
