"""Candidates that wait at a rung: paused with a checkpoint, promoted later, or stopped when the search ends.

Successive halving with promotion (Li et al. 2020, ASHA) ends nothing at a rung for good. What is under the cut is
paused: it counts toward the budget, holds no worker, and its trial is WAITING, since it waits for a worker as a
candidate does that was handed back. Once the rule lets it pass it is queued again and goes on from its checkpoint, on
any machine. It keeps its result and its place in the budget meanwhile. What is still paused when the search ends is
stopped; what was paused when a person stopped the study waits for `resume`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from nasmod.study import files, projection
from nasmod.study.candidates import Claim, count_success, fence, keep, lock, not_given_up, results_at, upload
from nasmod.study.database import Database
from nasmod.study.record import RungResult
from nasmod.study.tables import candidates, rungs, studies

LATEST = 200  # at a rung: among so many a paused candidate is looked at again
WAITS = (candidates.c.state == "paused") | ((candidates.c.state == "queued") & candidates.c.result.is_not(None))
"""What is paused, and what was promoted and has no worker yet."""


def pause(
    database: Database,
    held: Claim,
    result: Mapping[str, Any],
    curve: Sequence[Mapping[str, float]],
    checkpoint: bytes,
    reason: str,
) -> None:
    """Let a candidate wait at a rung, with what was measured there and the state from which it would go on.

    Raises `ClaimLost`, and where the checkpoint finds no space `StorageFullError`, no way `ArtifactError`.
    """
    file = upload(database, held, "checkpoint", checkpoint)

    def work(connection: Connection) -> None:
        if (row := not_given_up(connection, held)) is None:
            return
        study = fence(
            connection,
            held,
            state="paused",
            token=held.token + 1,
            attempts=row.attempts - 1,  # none failed: its next one is a first again
            result=json.dumps(dict(result)),
            curve=json.dumps(list(curve)),
            checkpoint=len(curve),
            reason=reason,
            ended_at=select(studies.c.seconds).where(studies.c.id == candidates.c.study).scalar_subquery(),
        )
        assert file is not None
        files.write(connection, held.id, "checkpoint", file)
        count_success(connection, study)
        if held.trial is not None:
            projection.wait(connection, held.trial)

    keep(database, work, file)


def promote(database: Database, study: int, candidate: int, token: int) -> bool:
    """Queue a paused candidate again, if it still waits as it was seen; before new ones, since it was filed earlier."""

    def work(connection: Connection) -> bool:
        lock(connection, study)
        row = connection.execute(select(candidates.c.state, candidates.c.token).where(candidates.c.id == candidate))
        state, now = row.one()
        if (state, now) == ("queued", token + 1):
            return True  # committed before, the acknowledgement was lost
        if (state, now) != ("paused", token):
            return False
        values = {"state": "queued", "token": token + 1}
        connection.execute(update(candidates).where(candidates.c.id == candidate).values(values))
        return True

    return database.transact(work)


def stop_waiting(
    database: Database, study: int, candidate: int, reason: str, values: Sequence[float], fraction_left: float
) -> None:
    """Stop for good a candidate that waits, if it still does. `values` become those of its Optuna trial."""

    def work(connection: Connection) -> None:
        place = lock(connection, study).artifacts
        row = connection.execute(select(candidates).where(candidates.c.id == candidate, WAITS)).first()
        if row is None:
            return
        ended = {"state": "stopped", "token": row.token + 1, "checkpoint": 0, "reason": reason}
        connection.execute(update(candidates).where(candidates.c.id == candidate).values(ended))
        files.remove(connection, candidate, "checkpoint", place)
        if row.trial is not None:
            attributes = {**json.loads(row.result)["measures"], "reason": reason}
            projection.complete(connection, row.trial, values, fraction_left=fraction_left, attributes=attributes)

    database.transact(work)


@dataclass(frozen=True)
class Waiting:
    """A paused candidate at the rung where it waits."""

    id: int
    token: int
    rung_results: tuple[RungResult, ...]  # its own, the last of them of this rung
    others: tuple[RungResult, ...]  # at this rung, the newest first
    later: int  # how many of the others were filed after it


def paused(database: Database, study: int) -> list[Waiting]:
    """The paused candidates among the latest at their rungs, with what a stopping rule compares them with.

    In one reading transaction. Those that came long ago are left waiting: a search gets better all the time.
    """

    def work(connection: Connection) -> list[Waiting]:
        mine = (candidates.c.study == study) & (candidates.c.state == "paused")
        waiting = select(candidates.c.id, candidates.c.token, candidates.c.checkpoint.label("epoch")).where(mine)
        tokens = {(row.epoch, row.id): row.token for row in connection.execute(waiting)}
        found = []
        for epoch in sorted({epoch for epoch, _ in tokens}):
            newest = results_at(connection, study, epoch)
            looked_at = [candidate for candidate, _ in newest[:LATEST] if (epoch, candidate) in tokens]
            own = _own(connection, looked_at)
            for candidate in looked_at:
                others = tuple(result for other, result in newest if other != candidate)
                later = sum(other > candidate for other, _ in newest)
                found.append(Waiting(candidate, tokens[epoch, candidate], own[candidate], others, later))
        return found

    return database.read(work)


def _own(connection: Connection, waiting: Sequence[int]) -> dict[int, tuple[RungResult, ...]]:
    """The results of each candidate at all its rungs, ascending."""
    found: dict[int, tuple[RungResult, ...]] = dict.fromkeys(waiting, ())
    query = select(rungs.c.candidate, rungs.c.result).where(rungs.c.candidate.in_(waiting)).order_by(rungs.c.epoch)
    for candidate, text in connection.execute(query):
        found[candidate] += (RungResult.from_json(text),)
    return found
