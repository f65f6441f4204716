"""A study with the processes at work on it: who trains what, how fast it goes, and how long it will take."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, select

from nasmod.measures.ranks import average_ranks
from nasmod.study import processes
from nasmod.study.processes import Seen
from nasmod.study.record import TRAINED, RungResult
from nasmod.study.stored import Status, StoredStudy, lease, status
from nasmod.study.tables import candidates, rungs
from nasmod.study.watch import LEASE_SECONDS

COMPARED = 1_000  # the latest finished candidates, by which a rung is judged
FEWEST = 5  # finished candidates; the order of fewer tells nothing
WINDOW = 20  # the latest trained candidates, by which the pace is told


@dataclass(frozen=True)
class Agreement:
    """How far the order at a rung is that at the end: Spearman's rank correlation of the scores of what finished.

    What was stopped there has no end, so the best of a rung are compared with each other alone.
    """

    epoch: int
    correlation: float
    finished: int


@dataclass(frozen=True)
class Overview:
    """What a person wants to know of a study that machines are at work on."""

    status: Status
    at_work: Sequence[Seen]
    controller: str | None  # name of the process that holds the lease
    epochs: int | None  # planned for each candidate; None where they are searched
    candidates_per_hour: float | None  # trained, in the study's own searched seconds; None before the first
    seconds_left: float | None  # of searching at that pace; None when nothing tells
    rungs: Sequence[Agreement] = ()  # of each epoch at which early stopping compares, once enough has finished

    @property
    def unattended(self) -> int:
        """Running candidates that no process at work holds: their workers died, or have not registered yet."""
        return max(0, self.status.running - sum(seen.candidate is not None for seen in self.at_work))


def silent(seen: Seen, lease_seconds: float = LEASE_SECONDS) -> bool:
    """Whether a process has given no sign of life for longer than a lease."""
    return seen.seconds > lease_seconds


def overview(stored: StoredStudy) -> Overview:
    """The study at this moment, in a few small queries."""
    now = status(stored)
    pace = candidates_per_second(now, latest_ends(stored))
    epochs_searched = "epochs" in stored.study.space.get("settings", {})
    return Overview(
        status=now,
        at_work=processes.at_work(stored.database, stored.id),
        controller=lease(stored)[0],
        epochs=None if epochs_searched else stored.study.training.epochs,
        candidates_per_hour=None if pace is None else 3600 * pace,
        seconds_left=seconds_left(now, pace),
        rungs=agreements(stored),
    )


def agreements(stored: StoredStudy) -> list[Agreement]:
    """How far each rung's order is that of the end."""

    def work(connection: Connection) -> dict[int, list[tuple[float, float]]]:
        of_study = rungs.c.study == stored.id
        found = {}
        for epoch in connection.scalars(select(rungs.c.epoch).where(of_study).distinct().order_by(rungs.c.epoch)):
            both = (
                select(rungs.c.result, candidates.c.result)
                .join(candidates, candidates.c.id == rungs.c.candidate)
                .where(of_study, rungs.c.epoch == epoch)
                .where(candidates.c.state == "finished", candidates.c.role == "search")
                .order_by(rungs.c.candidate.desc())
                .limit(COMPARED)
            )
            rows = connection.execute(both).all()
            found[epoch] = [(RungResult.from_json(then).score, json.loads(end)["score"]) for then, end in rows]
        return found

    return [
        Agreement(epoch, correlation, len(scores))
        for epoch, scores in stored.database.read(work).items()
        if len(scores) >= FEWEST and (correlation := _spearman(scores)) is not None
    ]


def _spearman(pairs: Sequence[tuple[float, float]]) -> float | None:
    """None where all are equal on one side."""
    first, second = (average_ranks(side) for side in zip(*pairs, strict=True))
    if first.std() == 0 or second.std() == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def latest_ends(stored: StoredStudy) -> list[float]:
    """When the latest trained candidates ended, in searched seconds, newest first; one more than the window."""

    def work(connection: Connection) -> list[float]:
        found: list[float] = []
        for state in TRAINED:  # one state at a time: the index gives the newest without looking at the others
            mine = (candidates.c.study == stored.id) & (candidates.c.state == state) & (candidates.c.role == "search")
            newest = select(candidates.c.ended_at).where(mine).order_by(candidates.c.id.desc()).limit(WINDOW + 1)
            found += [ended for ended in connection.scalars(newest) if ended is not None]
        return sorted(found, reverse=True)[: WINDOW + 1]

    return stored.database.read(work)


def candidates_per_second(now: Status, ends: Sequence[float]) -> float | None:
    """How fast candidates are trained: by the latest `WINDOW` of them, or by all while there are fewer."""
    if len(ends) > WINDOW and now.seconds > ends[WINDOW]:
        return WINDOW / (now.seconds - ends[WINDOW])
    return now.trained / now.seconds if now.trained and now.seconds > 0 else None


def seconds_left(now: Status, pace: float | None) -> float | None:
    """Seconds of searching until the budget is reached or the hours are over, whichever comes first."""
    if now.state != "searching":
        return None
    by_budget = [max(0, now.budget - now.trained) / pace] if pace else []
    by_hours = [max(0.0, now.hours * 3600 - now.seconds)] if now.hours is not None else []
    return min([*by_budget, *by_hours], default=None)
