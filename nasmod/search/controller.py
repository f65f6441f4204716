"""The controller: keeps the queue filled, takes candidates from dead workers, and says when a study has ended.

It is the process that holds the lease in the study's row: a courtesy, since every step is one transaction and two
controllers break nothing. All it needs is in the database; another process goes on where it was killed.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence, Set

from nasmod.search.adopting import adopt_enqueued
from nasmod.search.context import Context
from nasmod.search.ending import enough
from nasmod.search.promotion import promote, stop_what_waits
from nasmod.search.proposing import Proposer
from nasmod.search.stopping import make as make_rule
from nasmod.search.stopping import promoting
from nasmod.search.worth import worth
from nasmod.study import (
    TRAINED,
    Record,
    Status,
    StoredStudy,
    candidate_key,
    candidates,
    processes,
    records,
    recovery,
    stored,
)
from nasmod.study.files import sweep, sweep_weights
from nasmod.study.record import ENDED
from nasmod.study.watch import Watch

KEPT = 20  # of so many, the best by score and the best by worth, the weights are kept beside those of the front
TICK_SECONDS = 0.25
LEASE_BEAT_SECONDS = 2.0
ADOPT_SECONDS = 2.0


class Controller:
    """One process's attempts to steer a study: `tick` about four times a second, until it says that it has ended."""

    def __init__(self, context: Context, study: StoredStudy, name: str, workers: int, lease_seconds: float) -> None:
        self.context, self.study, self.name, self.workers = context, study, name, workers
        self.reader = records.RecordReader(study)
        self.watch: Watch[int] = Watch(lease_seconds)
        self.lease_watch: Watch[int] = Watch(lease_seconds)
        self.process_watch: Watch[str] = Watch(2 * lease_seconds)
        self.holds_lease = False
        self.beaten_at = time.monotonic()
        self.rule = promoting(make_rule(context.study))
        self.proposer = Proposer(context, study, self.reader)
        self._estimated: tuple[int, dict[int, float]] | None = None  # the worth of so many trained candidates
        self._enough: tuple[tuple[int, int], str | None] | None = None  # why so many trained candidates are enough
        self._swept_at = 0
        self._adopted_at = -math.inf

    def tick(self) -> Status:
        """One look at the study, and what is to be done about it."""
        status = stored.status(self.study)
        if status.state == "ended" or not self._lead():
            return status
        self._sweep()
        moved = False
        if status.state in ("draining", "halting"):
            if not status.running:
                self._sweep_artifacts()
                stored.move_on(self.study, status.state, "ended", None)
                moved = True
        elif status.state == "searching":
            self._adopt()
            room = self._ready(status) - status.queued
            if self.rule is not None and status.paused and promote(self.study, self.rule, room):
                return stored.status(self.study)
            reason = self._reason_to_end(status)
            if reason is None:
                reason = self.proposer.fill(min(self._ready(status), status.budget - status.trained - status.running))
            if reason is not None:
                stored.move_on(self.study, "searching", "repeating", reason, status)
                moved = True
        elif self._reason_to_end(status) is None and self._open({"queued"}, {"search"}):
            stored.search_on(self.study)
            moved = True
        elif not self._open({"running"}, {"search"}):
            stop_what_waits(self.study, self.reader.read())
            self._file_repeats()
            if not self._open({"queued", "running"}, {"repeat", "reference"}):
                self._sweep_weights()
                best = records.ranked(self.reader.read(), self.study.study.objective)[:1]
                if best and best[0].repeats:
                    stored.say_best(self.study, best[0])
                stored.move_on(self.study, "repeating", "ended", None)
                moved = True
        if status.finished >= self._swept_at + KEPT + status.finished // 50:
            self._swept_at = status.finished
            self._sweep_weights()
        return stored.status(self.study) if moved else status

    def release(self) -> None:
        """Leave the lease to another process."""
        self.proposer.end()
        if self.holds_lease:
            stored.release_lease(self.study, self.name)

    def _adopt(self) -> None:
        """Every few seconds, look for trials that a user enqueued through Optuna."""
        if time.monotonic() - self._adopted_at >= ADOPT_SECONDS:
            adopt_enqueued(self.context, self.study, self.reader.read())
            self._adopted_at = time.monotonic()

    def _lead(self) -> bool:
        """Whether this process holds the lease; takes it when nobody does or its holder shows no sign of life."""
        now = time.monotonic()
        if self.holds_lease:
            if now - self.beaten_at >= LEASE_BEAT_SECONDS:
                self.holds_lease = stored.keep_lease(self.study, self.name, now - self.beaten_at)
                self.beaten_at = now
            return self.holds_lease
        holder, token, beat = stored.lease(self.study)
        if holder is None or self.lease_watch.expired({0: (token, beat)}):
            self.holds_lease = stored.take_lease(self.study, self.name, token, beat)
            self.beaten_at = now
            if self.holds_lease:
                self._sweep_artifacts()
        return self.holds_lease

    def _sweep(self) -> None:
        """Take from its worker each candidate that gave no sign of life for a whole lease; forget silent processes."""
        running = recovery.running(self.study.database, self.study.id)
        before = time.monotonic() + self.watch.lease_seconds / 2
        for candidate, (token, beat) in self.watch.expired(running).items():
            recovery.sweep(self.study.database, candidate, token, beat, before)
        silent = self.process_watch.expired(processes.beats(self.study.database, self.study.id))
        if silent:
            processes.leave(self.study.database, self.study.id, silent)

    def _reason_to_end(self, status: Status) -> str | None:
        if status.failures_in_row >= stored.FAILURES_IN_ROW:
            failed = [record for record in self.reader.read() if record.state == "failed"]
            if failed:  # else they were queued again since the status was read
                return f"{stored.FAILURES_IN_ROW} candidates failed in a row; the last: {failed[-1].reason}"
        if status.hours is not None and status.seconds >= status.hours * 3600:
            return f"{status.hours:g} hours are over; {status.trained} candidates were trained"
        if status.trained >= status.budget:
            return f"the budget is reached: {status.trained} candidates were trained"
        ended = status.trained, status.finished  # what was paused was trained before it finishes
        if self._enough is None or self._enough[0] != ended:
            self._enough = ended, enough(self.context.study, self.reader.read())
        return self._enough[1]

    def _ready(self, status: Status) -> int:
        """How many candidates are to wait in the queue: one for each free worker, and a few for those free next."""
        workers = max(self.workers, processes.count_workers(self.study.database, self.study.id))
        return max(0, workers - status.running) + reserve(workers)

    def _file_repeats(self) -> None:
        """Have the best few trained again with other seeds; what was filed before is known and not filed again.

        Those with forgotten weights are not among them: they could not be exported.
        """
        study = self.study.study
        known = self.reader.read()
        kept = [record for record in known if record.weights is not None]
        for record in records.finalists(kept, study.objective, study.finalists, self._worth(known)):
            for repeat in range(1, study.repeats + 1):
                key = candidate_key(record.proposal.topology, record.proposal.settings, repeat)
                origin = {**record.proposal.origin, "repeat_of": record.key, "repeat": repeat}
                proposal = dataclasses.replace(record.proposal, origin=origin)
                candidates.propose(self.study.database, self.study.id, key, proposal, {}, "repeat")

    def _worth(self, known: Sequence[Record]) -> dict[int, float]:
        """By id; repeats do not count, so that every process chooses the same finalists before and after them."""
        trained = [record for record in known if record.role == "search" and record.state in TRAINED]
        if self._estimated is None or self._estimated[0] != len(trained):
            self._estimated = len(trained), worth(trained)
        return self._estimated[1]

    def _open(self, states: Set[str], roles: Set[str]) -> bool:
        return any(record.role in roles and record.state in states for record in self.reader.read())

    def _sweep_weights(self) -> None:
        """Forget the weights of what is neither among the best nor on the front nor a reference, and will not be."""
        study = self.study.study
        known = self.reader.read()
        likely_finalists = records.finalists(known, study.objective, KEPT, self._worth(known))
        finalists = study.finalists + 1  # and the best simple wiring
        keep = {record.id for record in records.worth_keeping(known, study.objective, KEPT, finalists)}
        keep |= {record.id for record in likely_finalists}
        ended = {record.id for record in known if record.state in ENDED}
        place = self.study.artifacts
        self.study.database.transact(lambda connection: sweep_weights(connection, self.study.id, keep, place, ended))
        self._sweep_artifacts()

    def _sweep_artifacts(self) -> None:
        """Remove files outside the database that nothing refers to."""
        if self.study.artifacts is not None:
            sweep(self.study.database, self.study.id, self.study.artifacts)


def reserve(workers: int) -> int:
    """How many proposals wait while every worker is busy: few, since each knows only what was trained before it.

    Workers end at any moment, and the queue is looked at a few times a second: without a reserve they would wait.

    >>> [reserve(workers) for workers in (1, 2, 4, 16, 64)]
    [2, 3, 3, 6, 18]
    """
    return min(workers + 1, 2 + math.ceil(workers / 4))
