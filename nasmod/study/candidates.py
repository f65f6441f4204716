"""The life of a candidate in the database: propose, claim, report, finish, fail, hand back. Each is one transaction.

Our row is the authority and Optuna's trial its projection, written in the same transaction. Whoever trains a candidate
holds a `Claim`; every write of its is fenced by the claim's token, so that a worker that was taken for dead can never
overwrite its successor. A lost acknowledgement is resolved by reading the row again. What a worker leaves that does not
live to give it back is taken by `nasmod.study.recovery`; what waits at a rung is in `nasmod.study.pausing`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from sqlalchemy import ColumnElement, Connection, Row, delete, false, func, insert, select, update

from nasmod.errors import ArtifactError, StorageError, StorageFullError
from nasmod.study import files, projection
from nasmod.study.database import Database
from nasmod.study.files import FileName, Uploaded
from nasmod.study.record import DAMAGED, ENDED, TRAINED, Proposal, Role, RungResult
from nasmod.study.stored import FAILURES_IN_ROW
from nasmod.study.tables import candidates, rungs, studies
from nasmod.topology import Parameter

COMPARED = 1_000  # the latest at a rung, of which a candidate is to be among the best: old ones say little of new ones
Distributions = Mapping[str, tuple[BaseDistribution, str]]
T = TypeVar("T")
log = logging.getLogger("nasmod.candidates")


class ClaimLost(Exception):  # noqa: N818  # it reports an event, not an error: the candidate is another worker's now
    """The candidate was taken from this worker: whatever it has is dropped."""


@dataclass(frozen=True)
class Claim:
    """The right to train one candidate, until its token changes."""

    id: int
    study: int
    token: int
    key: str
    role: Role
    number: int | None
    trial: int | None
    proposal: Proposal
    curve: tuple[Mapping[str, float], ...]
    rung_results: tuple[RungResult, ...]
    checkpoint: bytes | None
    artifacts: str | None = None  # where its files go, None: into the database


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
    duplicate = False

    def work(connection: Connection) -> bool:
        nonlocal duplicate
        row = lock(connection, study)
        mine = (candidates.c.study == study) & (candidates.c.key == key)
        known = connection.execute(select(candidates.c.proposal).where(mine)).first()
        if drawn_at is not None and row.proposals != drawn_at:
            return known is not None and known.proposal == content and not duplicate
        duplicate = known is not None
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


def claim(
    database: Database, study: int, worker: str, distributions: Distributions, *, if_free: bool = False
) -> Claim | None:
    """The oldest queued candidate that the budget admits, now this worker's; None when there is none.

    `worker` names one process and one claim at a time, so that a claim whose acknowledgement was lost is found again.
    `if_free` gives up at once where another holds the study's row: dozens of idle workers in line for it would keep the
    controller from filing what they wait for. A checkpoint outside the database is still to be fetched
    (`with_checkpoint`), which may take long: whoever claims gives signs of life meanwhile.
    """

    skip = if_free

    def work(connection: Connection) -> Claim | None:
        nonlocal skip
        if skip:
            skip = False  # tried again, this may be a claim whose acknowledgement was lost: it waits to see
            free = select(studies.c.id).where(studies.c.id == study).with_for_update(skip_locked=True)
            if connection.execute(free).first() is None:
                return None
        row = lock(connection, study)
        mine = select(candidates).where(
            candidates.c.study == study, candidates.c.state == "running", candidates.c.worker == worker
        )
        if (found := connection.execute(mine).first()) is not None:
            return _claim_of(connection, found, row.artifacts)
        admitted = _admitted(connection, row)
        oldest = select(candidates).where(candidates.c.study == study, candidates.c.state == "queued", admitted)
        oldest = oldest.order_by(candidates.c.id).limit(1)
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
                reason=None,  # for which it was paused, if it was
                **projected,
            )
        )
        # the attempt goes on from the checkpoint: what came after it will come again
        connection.execute(delete(rungs).where(rungs.c.candidate == found.id, rungs.c.epoch > found.checkpoint))
        claimed = connection.execute(select(candidates).where(candidates.c.id == found.id)).one()
        if claimed.trial is not None:
            projection.delete_from_step(connection, claimed.trial, claimed.checkpoint)
        return _claim_of(connection, claimed, row.artifacts)

    try:
        return database.transact(work)
    except DAMAGED as error:
        raise StorageError(f"A queued candidate in the database is damaged: {error}") from error


def with_checkpoint(database: Database, held: Claim) -> Claim:
    """A claim with its checkpoint, if that lies outside the database. Raises `ClaimLost`.

    One that is not to be had any more is forgotten: the candidate is trained from its beginning.
    """
    if held.artifacts is None or not held.curve:
        return held
    try:
        checkpoint = files.fetch(database, held.artifacts, held.id, "checkpoint")
    except (ArtifactError, StorageFullError) as error:
        log.warning("training %s from its beginning: %s", held.key[:8], error)
        checkpoint = None
    if checkpoint is not None:
        return replace(held, checkpoint=checkpoint)

    def work(connection: Connection) -> None:
        fence(connection, held, curve="[]", checkpoint=0)
        files.remove(connection, held.id, "checkpoint", held.artifacts)
        connection.execute(delete(rungs).where(rungs.c.candidate == held.id))
        if held.trial is not None:
            projection.delete_from_step(connection, held.trial, 0)

    database.transact(work)
    return replace(held, curve=(), rung_results=())


def waiting(database: Database, study: int) -> tuple[str, bool]:
    """The state of a study and whether anything is queued: a look that locks nothing, for whoever has nothing to do."""
    queued = select(candidates.c.id).where(candidates.c.study == study, candidates.c.state == "queued").exists()
    query = select(studies.c.state, queued.label("queued")).where(studies.c.id == study)
    row = database.read(lambda connection: connection.execute(query).first())
    if row is None:
        raise StorageError("The study was deleted meanwhile.")
    return row.state, bool(row.queued)


def report(
    database: Database,
    held: Claim,
    curve: Sequence[Mapping[str, float]],
    score: float | None,
    rung: RungResult | None = None,
    checkpoint: bytes | None = None,
) -> list[RungResult]:
    """Store the curve so far, the rung's result and a checkpoint if one is due; returns the others' results there.

    `score` becomes the trial's intermediate value at this epoch. Raises `ClaimLost`, and where a checkpoint finds no
    space `StorageFullError`, no way `ArtifactError`.
    """
    epoch = len(curve)
    file = upload(database, held, "checkpoint", checkpoint)

    def work(connection: Connection) -> list[RungResult]:
        values: dict[str, Any] = {"curve": json.dumps(list(curve))}
        if file is not None:
            values["checkpoint"] = epoch
        study = fence(connection, held, **values)
        if file is not None:
            files.write(connection, held.id, "checkpoint", file)
        if held.trial is not None and score is not None:
            projection.report(connection, held.trial, epoch, score)
        if rung is None:
            return []
        connection.execute(delete(rungs).where(rungs.c.candidate == held.id, rungs.c.epoch == epoch))
        others = results_at(connection, study, epoch)
        connection.execute(insert(rungs).values(candidate=held.id, study=study, epoch=epoch, result=rung.to_json()))
        return [result for _, result in others]

    return keep(database, work, file)


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

    Raises `ClaimLost`, and where the weights find no space `StorageFullError`, no way `ArtifactError`.
    """
    file = upload(database, held, "weights", weights)
    digest = None if file is None else files.digest(file)

    def work(connection: Connection) -> None:
        if _already_ended(connection, held):
            return
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
        if file is not None:
            files.write(connection, held.id, "weights", file)
        files.remove(connection, held.id, "checkpoint", held.artifacts)
        count_success(connection, study)
        if held.trial is not None:
            attributes = {**result["measures"], **({"reason": stopped} if stopped else {})}
            projection.complete(connection, held.trial, values, fraction_left=fraction_left, attributes=attributes)

    keep(database, work, file)


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
        count_failure(connection, study, held.id, held.trial, reason, held.artifacts)

    database.transact(work)


def hand_back(database: Database, held: Claim, curve: Sequence[Mapping[str, float]], checkpoint: bytes | None) -> None:
    """Give a candidate back to the queue with its checkpoint: the worker was asked to end. Not a failed attempt.

    A checkpoint that cannot be uploaded is dropped: the candidate goes on from the one before.
    """
    try:
        file = upload(database, held, "checkpoint", checkpoint)
    except (ArtifactError, StorageFullError) as error:
        log.warning("handing back without this checkpoint: %s", error)
        file = None

    def work(connection: Connection) -> None:
        if (row := not_given_up(connection, held)) is None:
            return
        values: dict[str, Any] = {"curve": json.dumps(list(curve))}
        if file is not None:
            values["checkpoint"] = len(curve)
        fence(connection, held, state="queued", token=held.token + 1, attempts=row.attempts - 1, **values)
        if file is not None:
            files.write(connection, held.id, "checkpoint", file)
        if held.trial is not None:
            projection.wait(connection, held.trial)

    keep(database, work, file, wait_for_space=True)


def lock(connection: Connection, study: int) -> Row[Any]:
    """The study's row, locked: on SQLite the whole transaction is (BEGIN IMMEDIATE)."""
    row = connection.execute(select(studies).where(studies.c.id == study).with_for_update()).first()
    if row is None:
        raise StorageError("The study was deleted meanwhile.")
    return row


def _admitted(connection: Connection, study: Row[Any]) -> ColumnElement[bool]:
    """Which queued candidates may be claimed: what was promoted has a result, and its place in the budget, already."""
    role, promoted = candidates.c.role, candidates.c.result.is_not(None)
    if study.state == "repeating":
        return role.in_(["reference", "repeat"])
    if study.state != "searching":
        return false()
    if study.failures_in_row >= FAILURES_IN_ROW:  # the controller has not ended it yet
        return role == "reference"
    mine = (candidates.c.study == study.id) & (role == "search")
    counted = select(func.count()).where(mine, candidates.c.state.in_([*TRAINED, "running"]))  # by the index alone
    waiting = select(func.count()).where(mine, candidates.c.state == "queued", promoted)
    if (connection.scalar(counted) or 0) + (connection.scalar(waiting) or 0) < study.trials:
        return role.in_(["reference", "search"])
    return (role == "reference") | ((role == "search") & promoted)


def upload(database: Database, held: Claim, name: FileName, content: bytes | None) -> bytes | Uploaded | None:
    """What the candidate's transaction is to write: the content itself, or what lies outside the database already."""
    place = held.artifacts
    if content is None or place is None:
        return content

    def work(connection: Connection) -> Uploaded:
        fence(connection, held)
        return files.announce(connection, held.id, held.token, name, place)

    return files.upload(database.transact(work), content)


def keep(
    database: Database,
    work: Callable[[Connection], T],
    file: bytes | Uploaded | None,
    *,
    wait_for_space: bool = False,
) -> T:
    """Run the transaction that writes a file; one in the database waits for no space unless it is told to."""
    try:
        return database.transact(work, wait_for_space=wait_for_space or not isinstance(file, bytes))
    except ClaimLost:
        if isinstance(file, Uploaded):
            files.withdraw(database, file)
        raise


def _claim_of(connection: Connection, row: Row[Any], place: str | None) -> Claim:
    results = connection.scalars(select(rungs.c.result).where(rungs.c.candidate == row.id).order_by(rungs.c.epoch))
    return Claim(
        id=row.id,
        study=row.study,
        token=row.token,
        key=row.key,
        role=row.role,
        number=row.number,
        trial=row.trial,
        proposal=Proposal.from_json(json.loads(row.proposal)),
        curve=tuple(json.loads(row.curve)),
        rung_results=tuple(RungResult.from_json(text) for text in results),
        checkpoint=files.read(connection, row.id, "checkpoint") if row.checkpoint and place is None else None,
        artifacts=place,
    )


def fence(connection: Connection, held: Claim, **values: Any) -> int:
    """Write the row, a sign of life at least, if the claim still holds; returns the study's id.

    Raises `ClaimLost`, undoing the transaction.
    """
    # SQLite gives a deleted candidate's id to the next one, a study's id never comes again
    mine = (candidates.c.id == held.id) & (candidates.c.study == held.study) & (candidates.c.token == held.token)
    changed = connection.execute(
        update(candidates)
        .where(mine, candidates.c.state == "running")
        .values({"beat": candidates.c.beat + 1, **values})
        .returning(candidates.c.study)
    ).first()
    if changed is None:
        raise ClaimLost(f"candidate {held.id} was taken from this worker")
    return int(changed.study)


def _already_ended(connection: Connection, held: Claim) -> bool:
    """Whether this very claim ended its candidate before: the commit went through, its acknowledgement did not."""
    mine = (candidates.c.id == held.id) & (candidates.c.study == held.study)
    # locked: a commit of this very call that is still under way is waited for
    row = connection.execute(select(candidates.c.token, candidates.c.state).where(mine).with_for_update()).first()
    if row is None:
        raise ClaimLost(f"the study of candidate {held.id} was deleted")
    return bool(row.token == held.token and row.state in ENDED)


def not_given_up(connection: Connection, held: Claim) -> Row[Any] | None:
    """The candidate's row; None where this very call gave the claim up before and its acknowledgement was lost."""
    # locked: a commit of this very call that is still under way is waited for
    row = connection.execute(select(candidates).where(candidates.c.id == held.id).with_for_update()).first()
    if row is None:
        raise ClaimLost(f"the study of candidate {held.id} was deleted")
    return None if row.token == held.token + 1 and row.state != "running" else row


def results_at(connection: Connection, study: int, epoch: int) -> list[tuple[int, RungResult]]:
    """The latest results at a rung with their candidates, the newest first."""
    latest = (
        select(rungs.c.candidate, rungs.c.result)
        .join(candidates, candidates.c.id == rungs.c.candidate)
        .where(rungs.c.study == study, rungs.c.epoch == epoch, candidates.c.role == "search")
        .order_by(rungs.c.candidate.desc())
        .limit(COMPARED)
    )
    return [(candidate, RungResult.from_json(text)) for candidate, text in connection.execute(latest)]


def count_success(connection: Connection, study: int) -> None:
    """What was trained ends a row of failures; the study's row is left to those that claim where there is none.

    A search that failures have ended keeps their number, for `reopen`.
    """
    failures = (studies.c.id == study) & (studies.c.failures_in_row != 0) & (studies.c.state == "searching")
    connection.execute(update(studies).where(failures).values(failures_in_row=0))


def count_failure(
    connection: Connection, study: int, candidate: int, trial: int | None, reason: str, place: str | None
) -> None:
    """What goes with a candidate's failure: its checkpoint, the count of failures in a row, its trial."""
    files.remove(connection, candidate, "checkpoint", place)
    connection.execute(
        update(studies).where(studies.c.id == study).values(failures_in_row=studies.c.failures_in_row + 1)
    )
    if trial is not None:
        projection.fail(connection, trial, reason)
