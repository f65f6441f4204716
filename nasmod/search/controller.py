"""The controller: keeps the queue filled, takes candidates from dead workers, and says when a study has ended.

It is whoever holds the lease in the study's row: a courtesy, since every step is one transaction and two controllers
break nothing. All it needs is in the database; another process goes on where it was killed.
"""

from __future__ import annotations

import dataclasses
import math
import random
import time
from collections.abc import Sequence, Set

from nasmod.search import strategies
from nasmod.search.context import Context
from nasmod.search.feasibility import LISTABLE
from nasmod.search.opening import opening
from nasmod.search.promotion import promote, stop_what_waits
from nasmod.search.stopping import make as make_rule
from nasmod.search.stopping import promoting
from nasmod.search.strategies.random import draw
from nasmod.study import (
    Proposal,
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
from nasmod.training import derive

DRAWS_WITHOUT_A_NEW_ONE = 1_000  # then the space counts as exhausted
DRAWS_OF_THE_STRATEGY = 50  # of these; the others are random
KEPT = 20  # the best whose weights are kept, beside the front
TICK_SECONDS = 0.25
LEASE_BEAT_SECONDS = 2.0
FILLING_SECONDS = 1.0  # how long one tick files proposals at most: the lease and the workers are looked after between


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
        self._exhausted: str | None = None
        self._listed: list[tuple[str, Proposal]] | None = None
        self._opening: dict[str, Proposal] | None = None
        self._swept_at = 0
        self._draws = 0  # in a row that brought no new candidate
        self._blind: dict[int, tuple[Record, Record]] = {}  # id -> a record, and what a strategy may see of it

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
            room = self._ready(status) - status.queued
            if self.rule is not None and status.paused and promote(self.study, self.rule, room):
                return stored.status(self.study)
            reason = self._reason_to_end(status)
            if reason is None:
                reason = self._fill_queue(status)
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
                stored.move_on(self.study, "repeating", "ended", None)
                moved = True
        if status.finished >= self._swept_at + KEPT + status.finished // 50:
            self._swept_at = status.finished
            self._sweep_weights()
        return stored.status(self.study) if moved else status

    def release(self) -> None:
        """Leave the lease to another process."""
        if self.holds_lease:
            stored.release_lease(self.study, self.name)

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
        return None

    def _ready(self, status: Status) -> int:
        """How many candidates are to wait in the queue: one for each free worker, and a few for those free next."""
        workers = max(self.workers, processes.count_workers(self.study.database, self.study.id))
        return max(0, workers - status.running) + reserve(workers)

    def _fill_queue(self, status: Status) -> str | None:
        """File proposals until every free worker finds one; a reason to end when there are no new ones."""
        wanted = min(self._ready(status), status.budget - status.trained - status.running)
        began = time.monotonic()
        for _ in range(wanted):  # no more, however fast they are taken: how those fared is looked at first
            if time.monotonic() - began >= FILLING_SECONDS:
                break
            known = self.reader.read()
            queued = sum(record.state == "queued" and record.role == "search" for record in known)
            if queued >= wanted:
                return None
            self._exhausted = self._exhausted or self._file_one(known, began + FILLING_SECONDS)
            if self._exhausted is not None:
                busy = any(record.role == "search" and record.state in ("queued", "running") for record in known)
                return None if busy else self._exhausted
        return None

    def _file_one(self, known: Sequence[Record], deadline: float = math.inf) -> str | None:
        """File one new proposal, if it is found before the deadline (monotonic); None, or why there is none."""
        seen = {record.key for record in known}
        blind = self._without_test(known)
        while self._draws < DRAWS_WITHOUT_A_NEW_ONE:
            if self._draws and time.monotonic() >= deadline:
                return None  # the next tick goes on
            self._draws += 1
            proposals = stored.proposals(self.study)
            strategy = strategies.make(self.study.study, self.context.space, proposals)
            if (first := self._next_of_the_opening(known, seen)) is not None:
                proposal = first
            elif self._draws <= DRAWS_OF_THE_STRATEGY:
                proposal = self._first_new(strategy.propose(blind, 1), seen)
            elif (listed := self._all_of_a_small_space()) is not None:
                left = [proposal for key, proposal in listed if key not in seen]
                if not left:
                    return f"exhausted: all {len(listed)} candidates of the space within the FLOPs budget were proposed"
                proposal = left[0]
            else:
                generator = random.Random(derive(self.study.study.seed, "fallback", proposals))
                proposal = draw(self.context.space, generator, "random", "the strategy found no new one")
            key = candidate_key(proposal.topology, proposal.settings)
            if key not in seen:
                proposal = self.context.counted(proposal)
                if self.context.violation(proposal) is not None:
                    candidates.count_infeasible(self.study.database, self.study.id, proposals)
                    continue
            near = next((record.parameters for record in known if record.key == proposal.parent), None)
            parameters = self.context.space.encode(proposal.topology, proposal.settings, near)
            if candidates.propose(self.study.database, self.study.id, key, proposal, parameters, drawn_at=proposals):
                self._draws = 0
                return None
        return f"exhausted: {DRAWS_WITHOUT_A_NEW_ONE:,} proposals in a row brought no new candidate"

    def _first_new(self, proposals: Sequence[Proposal], seen: Set[str]) -> Proposal:
        """The first that is neither known nor over the FLOPs budget; the first of all where there is none."""
        for proposal in proposals:
            if candidate_key(proposal.topology, proposal.settings) not in seen:
                counted = self.context.counted(proposal)
                if self.context.violation(counted) is None:
                    return counted
        return proposals[0]

    def _next_of_the_opening(self, known: Sequence[Record], seen: Set[str]) -> Proposal | None:
        """The next of those with which the study opens; None once as many candidates were filed."""
        if self._opening is None:
            self._opening = opening(self.context)
        if sum(record.role == "search" for record in known) >= len(self._opening):
            return None
        return next((proposal for key, proposal in self._opening.items() if key not in seen), None)

    def _without_test(self, known: Sequence[Record]) -> list[Record]:
        """What a strategy may see: nothing of the test split. Copies are kept as long as their records are."""
        blind = []
        for record in known:
            kept = self._blind.get(record.id)
            if kept is None or kept[0] is not record:
                kept = self._blind[record.id] = record, record.without_measures("test_")
            blind.append(kept[1])
        return blind

    def _all_of_a_small_space(self) -> list[tuple[str, Proposal]] | None:
        """Every feasible topology of a space that can be listed, with its key; None for a larger space."""
        if self._listed is None:
            everything = self.context.space.proposals(LISTABLE)
            if everything is None:
                return None
            origin = {"strategy": "list", "why": "the next of a small space that was not proposed yet"}
            proposals = (
                self.context.counted(Proposal(topology, settings, None, origin)) for topology, settings in everything
            )
            self._listed = [
                (candidate_key(proposal.topology, proposal.settings), proposal)
                for proposal in proposals
                if self.context.violation(proposal) is None
            ]
        return self._listed

    def _file_repeats(self) -> None:
        """Have the best few trained again with other seeds; what was filed before is known and not filed again."""
        study = self.study.study
        for record in records.finalists(self.reader.read(), study.objective, study.finalists):
            for repeat in range(1, study.repeats + 1):
                key = candidate_key(record.proposal.topology, record.proposal.settings, repeat)
                origin = {**record.proposal.origin, "repeat_of": record.key, "repeat": repeat}
                proposal = dataclasses.replace(record.proposal, origin=origin)
                candidates.propose(self.study.database, self.study.id, key, proposal, {}, "repeat")

    def _open(self, states: Set[str], roles: Set[str]) -> bool:
        return any(record.role in roles and record.state in states for record in self.reader.read())

    def _sweep_weights(self) -> None:
        """Forget the weights of what is neither among the best nor on the front nor a reference."""
        known = self.reader.read()
        keep = {record.id for record in records.worth_keeping(known, self.study.study.objective, KEPT)}
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
