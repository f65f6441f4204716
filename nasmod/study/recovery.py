"""Taking candidates back: from workers that died or fell silent, and from failure. Each is one transaction."""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, select, update

from nasmod.study import projection
from nasmod.study.candidates import count_failure, lock
from nasmod.study.database import Database
from nasmod.study.tables import candidates, rungs, studies

ATTEMPTS = 2  # a candidate whose second attempt dies with its worker is failed


def sweep(database: Database, candidate: int, token: int, last_beat: int, before: float = math.inf) -> bool:
    """Take a candidate from a worker that gave no sign of life for a whole lease; False if it has meanwhile.

    It is queued again, or failed when it was its second attempt. A row that is locked is left: its worker writes, and a
    large file may take it longer than a lease. Nothing is taken at or after `before` (monotonic
    seconds): who had to wait so long for the database has no proof any more, since the workers had to wait too.
    """

    def work(connection: Connection) -> bool:
        if time.monotonic() >= before:
            return False
        free = _with_place().where(candidates.c.id == candidate).with_for_update(of=candidates, skip_locked=True)
        row = connection.execute(free).first()
        if row is None or (row.state, row.token, row.beat) != ("running", token, last_beat):
            return False
        return _take(connection, row, "no sign of life")

    return database.transact(work)


def bury(database: Database, study: int, worker: str, how: str | None) -> int:
    """Take what a worker holds whose process has ended for certain, without waiting for its lease; returns how many.

    `how` is how it died, None when it was asked to end: then its attempt is not counted.
    """
    taken: set[int] = set()  # by an attempt whose acknowledgement was lost, too

    def work(connection: Connection) -> int:
        lock(connection, study)
        held = _with_place().where(
            candidates.c.study == study, candidates.c.state == "running", candidates.c.worker == worker
        )
        taken.update(row.id for row in connection.execute(held).all() if _take(connection, row, how))
        return len(taken)

    return database.transact(work)


def retry(database: Database, study: int, keys: Collection[str] | None = None) -> int:
    """Queue failed candidates again (all of them for None), as if never tried, and search on; returns how many.

    The failed Optuna trial stays as it is: Optuna's are final. The candidate gets a new one when it is claimed.
    """
    queued: set[int] = set()  # by an attempt whose acknowledgement was lost, too

    def work(connection: Connection) -> int:
        row = lock(connection, study)
        failed = (candidates.c.study == study) & (candidates.c.state == "failed")
        if keys is not None:
            failed &= candidates.c.key.in_(list(keys))
        again = connection.scalars(select(candidates.c.id).where(failed)).all()
        queued.update(again)
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
            over = row.state in ("repeating", "ended")
            reopened = {"state": "searching", "reason": None} if over else {}
            connection.execute(update(studies).where(studies.c.id == study).values(failures_in_row=0, **reopened))
        return len(queued)

    return database.transact(work)


def running(database: Database, study: int) -> dict[int, tuple[int, int]]:
    """What a sweeper watches: candidate id -> (token, beat) of every running candidate."""
    query = select(candidates.c.id, candidates.c.token, candidates.c.beat).where(
        candidates.c.study == study, candidates.c.state == "running"
    )
    return {row.id: (row.token, row.beat) for row in database.read(lambda connection: connection.execute(query).all())}


def _with_place() -> Select[Any]:
    return select(candidates, studies.c.artifacts).join(studies, studies.c.id == candidates.c.study)


def _take(connection: Connection, row: Row[Any], how: str | None) -> bool:
    """Queue a candidate whose worker died, or fail it after its last attempt; False if the row has changed since."""
    again = how is None or row.attempts < ATTEMPTS
    reason = f"its worker died in {ATTEMPTS} attempts, the last time: {how}"
    held = (candidates.c.id == row.id) & (candidates.c.token == row.token) & (candidates.c.beat == row.beat)
    changed = connection.execute(
        update(candidates)
        .where(held, candidates.c.state == "running")
        .values(
            state="queued" if again else "failed",
            token=row.token + 1,
            attempts=row.attempts - (how is None),
            reason=None if again else reason,
            checkpoint=row.checkpoint if again else 0,
            result=row.result if again else None,  # what it had when it was paused, if it was
        )
    ).rowcount
    if not changed:
        return False
    if not again:
        count_failure(connection, row.study, row.id, row.trial, reason, row.artifacts)
    elif row.trial is not None:
        projection.wait(connection, row.trial)
    return True
