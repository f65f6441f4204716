"""Workers, controllers, freezes and outages in any order: the invariants hold after every step, and after recovery."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from nasmod.study import Database, pausing, processes, recovery, stored
from nasmod.study import candidates as protocol
from nasmod.study.candidates import Claim, ClaimLost
from nasmod.study.processes import Process
from nasmod.study.tables import candidates, studies
from tests.study import operations
from tests.study.conftest import RESULT
from tests.study.invariants import violations
from tests.study.operations import CHECKPOINT, EPOCHS, WEIGHTS, curve
from tests.study.places import Places, cut, opened

outages = st.sampled_from([None, None, None, None, "before", "after"])  # the connection breaks around the next COMMIT
mostly = st.sampled_from([True, True, True, False])
choices = st.integers(0, 11)  # of one of two or three


@dataclass
class Worker:
    """A process with, perhaps, a claim; whether that still holds it learns only when it writes."""

    name: str
    held: Claim | None = None
    epochs: int = 0


@dataclass
class Controller:
    """A process that acts on what it saw, however long ago that was."""

    name: str
    proposals: int = 0
    running: dict[int, tuple[int, int]] = field(default_factory=dict)
    paused: dict[int, int] = field(default_factory=dict)  # candidate -> token
    lease: tuple[int, int] = (0, 0)


class Lives(RuleBasedStateMachine):
    """What each process was told is compared with what the database says, whoever died, froze or was cut off."""

    def __init__(self, storage: str) -> None:
        super().__init__()
        self.database, self.study = opened(storage)
        self.workers = [Worker(f"worker {index}") for index in range(3)]
        self.controllers = [Controller(f"controller {index}") for index in range(2)]
        self.dead: list[str] = []
        self.holders: dict[int, str] = {}  # candidate -> worker, as those were told who asked
        self.results: dict[int, Any] = {}  # what ended stays as it is
        self.seconds, self.leader, self.count = 0.0, None, len(self.workers)
        self.status = stored.status(self.study)

    @contextmanager
    def outage(self, when: str | None) -> Iterator[None]:
        """The connection breaks before the next COMMIT, or after it and before it is acknowledged."""
        dialect = self.database.engine.dialect
        commit, break_off, hits = dialect.do_commit, cut(self.database), [when] if when else []

        def do_commit(connection: Any) -> None:
            if hits == ["before"]:
                hits.clear()
                break_off(connection)
            commit(connection)
            if hits == ["after"]:
                hits.clear()
                break_off(connection)

        dialect.do_commit = do_commit  # type: ignore[method-assign]
        try:
            yield
        finally:
            del dialect.do_commit

    # what controllers do, by what they see now or saw long ago

    def controller(self, choice: int, fresh: bool) -> Controller:
        controller = self.controllers[choice % 2]
        if fresh:
            controller.proposals = self.status.proposals
            controller.running = recovery.running(self.database, self.study.id)
            _, *controller.lease = stored.lease(self.study)  # type: ignore[assignment]
        return controller

    @precondition(lambda self: self.status.queued < 4)
    @rule(choice=choices, fresh=mostly, when=outages, new=mostly)
    def propose(self, choice: int, fresh: bool, when: str | None, new: bool) -> None:
        """Two controllers that draw after the same number of proposals draw the same; a duplicate now and then."""
        controller = self.controller(choice, fresh)
        fresh = self.status.proposals == controller.proposals
        with self.outage(when):
            number = controller.proposals if new else controller.proposals // 2
            operations.propose(self.study, number, controller.proposals)
        assert stored.status(self.study).proposals == self.status.proposals + fresh

    @rule(choice=choices, fresh=mostly, when=outages, what=st.sampled_from(["count", "lead", "keep", "keep"]))
    def steer(self, choice: int, fresh: bool, when: str | None, what: str) -> None:
        steps = {"count": self.count_infeasible, "lead": self.lead, "keep": self.keep_the_lease}
        steps[what](self.controller(choice, fresh), when)

    def count_infeasible(self, controller: Controller, when: str | None) -> None:
        fresh = self.status.proposals == controller.proposals
        with self.outage(when):
            protocol.count_infeasible(self.database, self.study.id, controller.proposals)
        assert stored.status(self.study).infeasible == self.status.infeasible + fresh

    def lead(self, controller: Controller, when: str | None) -> None:
        _, *now = stored.lease(self.study)
        with self.outage(when):
            taken = stored.take_lease(self.study, controller.name, *controller.lease)
        assert taken or tuple(now) != tuple(controller.lease)
        if taken:
            self.leader = controller.name

    def keep_the_lease(self, controller: Controller, when: str | None) -> None:
        with self.outage(when):
            kept = stored.keep_lease(self.study, controller.name, 1.0)
        assert kept == (controller.name == self.leader)
        self.seconds += kept

    @precondition(lambda self: self.holders)
    @rule(choice=choices, fresh=st.booleans(), when=outages)
    def sweep(self, choice: int, fresh: bool, when: str | None) -> None:
        """Only who showed no sign of life since the controller looked is taken for dead."""
        controller = self.controller(choice, fresh)
        now = recovery.running(self.database, self.study.id)
        for candidate, seen in list(controller.running.items())[: 1 + choice % 2]:
            with self.outage(when):
                recovery.sweep(self.database, candidate, *seen)
            if now.get(candidate) == tuple(seen):
                del self.holders[candidate]

    @precondition(lambda self: self.status.paused)
    @rule(choice=choices, fresh=mostly, when=outages)
    def promote(self, choice: int, fresh: bool, when: str | None) -> None:
        """Only what still waits as the controller saw it goes on."""
        controller = self.controllers[choice % 2]
        if fresh:
            controller.paused = {one.id: one.token for one in pausing.paused(self.database, self.study.id)}
        now = {one.id: one.token for one in pausing.paused(self.database, self.study.id)}
        for candidate, token in list(controller.paused.items())[: 1 + choice % 2]:
            with self.outage(when):
                promoted = pausing.promote(self.database, self.study.id, candidate, token)
            assert promoted or now.get(candidate) != token

    @precondition(lambda self: self.status.state != "searching" or self.status.trained >= self.status.budget)
    @rule(when=outages)
    def move_on(self, when: str | None) -> None:
        status = self.status
        with self.outage(when):
            if status.state in ("draining", "halting") and not status.running:
                stored.move_on(self.study, status.state, "ended", None)
            elif status.state == "searching":
                stored.move_on(self.study, "searching", "repeating", "the budget is reached")
            elif status.state == "repeating" and not status.running:
                operations.stop_waiting(self.study)
                stored.move_on(self.study, "repeating", "ended", None)

    # what persons do

    @precondition(lambda self: self.status.trained)
    @rule(now=st.booleans(), when=outages)
    def stop(self, now: bool, when: str | None) -> None:
        with self.outage(when):
            stored.stop(self.study, now=now)

    @precondition(lambda self: self.status.state != "searching" or self.status.trained >= self.status.budget)
    @rule(more=st.integers(0, 2), when=outages)
    def resume(self, more: int, when: str | None) -> None:
        budget = self.status.budget + more
        with self.outage(when):
            stored.reopen(self.study)
            stored.raise_budget(self.study, budget, None)
        assert stored.status(self.study).budget == budget

    @precondition(lambda self: self.status.failed)
    @rule(when=outages)
    def retry(self, when: str | None) -> None:
        with self.outage(when):
            assert recovery.retry(self.database, self.study.id) == self.status.failed
        self.results = {candidate: row for candidate, row in self.results.items() if row[0] != "failed"}

    # what workers do

    @precondition(lambda self: self.status.queued and any(worker.held is None for worker in self.workers))
    @rule(choice=choices, when=outages)
    def claim(self, choice: int, when: str | None) -> None:
        idle = [worker for worker in self.workers if worker.held is None]
        worker = idle[choice % len(idle)]
        with self.outage(when):
            held = protocol.claim(self.database, self.study.id, worker.name, operations.distributions())
        if held is not None:
            assert held.id not in self.holders, "claimed by two"
            assert (held.checkpoint is not None) == (len(held.curve) > 0)
            self.holders[held.id] = worker.name
            worker.held, worker.epochs = held, len(held.curve)

    def busy(self, choice: int) -> tuple[Worker, Claim]:
        worker = [worker for worker in self.workers if worker.held is not None][choice % self.count_busy]
        assert worker.held is not None
        return worker, worker.held

    @property
    def count_busy(self) -> int:
        return sum(worker.held is not None for worker in self.workers)

    @precondition(lambda self: self.count_busy)
    @rule(choice=choices, when=outages, epochs=st.integers(1, EPOCHS), checkpoint=st.booleans())
    def train(self, choice: int, when: str | None, epochs: int, checkpoint: bool) -> None:
        """Some epochs, and a sign of life in between."""
        worker, held = self.busy(choice)
        process = Process(worker.name, "worker", "here", 1)
        for _ in range(min(epochs, EPOCHS - worker.epochs)):
            with self.writing(worker, when):
                operations.report(self.study, held, worker.epochs + 1, worker.epochs == 0, checkpoint)
                worker.epochs += 1
            if worker.held is None:
                break
        with self.writing(worker, when):
            processes.sign_of_life(self.database, self.study.id, process, worker.held)

    @precondition(lambda self: self.count_busy)
    @rule(
        choice=choices,
        when=outages,
        how=st.sampled_from(["finish", "finish", "stop", "pause", "pause", "fail", "hand back"]),
    )
    def end(self, choice: int, when: str | None, how: str) -> None:
        worker, held = self.busy(choice)
        if how == "finish" and worker.epochs < EPOCHS:
            self.train(choice, None, EPOCHS, True)
            if worker.held is None:
                return
        if (how == "stop" and not worker.epochs) or (how == "pause" and worker.epochs != 1):  # its only rung
            how = "hand back"
        with self.writing(worker, when, told=how not in ("hand back", "pause")):
            if how == "fail":
                protocol.fail(self.database, held, "NaN")
            elif how == "hand back":
                checkpoint = CHECKPOINT if worker.epochs else None
                protocol.hand_back(self.database, held, curve(worker.epochs), checkpoint)
            elif how == "pause":
                operations.pause(self.study, held, worker.epochs)
            elif how == "finish":
                protocol.finish(self.database, held, RESULT, [0.5], weights=WEIGHTS)
            else:
                protocol.finish(self.database, held, RESULT, [0.5], stopped="under the cut", fraction_left=0.5)
            worker.held = None
            if self.holders.get(held.id) == worker.name:
                del self.holders[held.id]

    @contextmanager
    def writing(self, worker: Worker, when: str | None, told: bool = True) -> Iterator[None]:
        """A worker whose candidate was taken while it was frozen can write nothing, and is told so.

        Not at a hand-back or a pause: what waits already is where it should be.
        """
        holds = worker.held is None or self.holders.get(worker.held.id) == worker.name
        try:
            with self.outage(when):
                yield
        except ClaimLost:
            assert not holds
            worker.held = None
        else:
            assert holds or not told

    @precondition(lambda self: self.count_busy)
    @rule(choice=choices)
    def kill(self, choice: int) -> None:
        index = choice % len(self.workers)
        self.dead.append(self.workers[index].name)
        self.count += 1
        self.workers[index] = Worker(f"worker {self.count}")

    @precondition(lambda self: self.dead)
    @rule(when=outages)
    def bury(self, when: str | None) -> None:
        dead = self.dead.pop()
        held = [candidate for candidate, worker in self.holders.items() if worker == dead]
        with self.outage(when):
            assert recovery.bury(self.database, self.study.id, dead, "killed") == len(held)
        for candidate in held:
            del self.holders[candidate]

    # what holds

    @invariant()
    def nothing_is_lost_doubled_or_orphaned(self) -> None:
        assert violations(self.study) == []

    @invariant()
    def all_know_what_they_were_told(self) -> None:
        self.status = stored.status(self.study)
        table = candidates
        rows = self.database.read(lambda connection: connection.execute(select(table)).all())
        assert {row.id: row.worker for row in rows if row.state == "running"} == self.holders
        now = {row.id: (row.state, row.result, row.curve) for row in rows}
        assert {candidate: now[candidate] for candidate in self.results} == self.results
        self.results = {number: row for number, row in now.items() if row[0] in ("finished", "stopped", "failed")}
        query = select(studies.c.seconds, studies.c.controller)
        study = self.database.read(lambda connection: connection.execute(query).one())
        assert (study.seconds, study.controller) == (self.seconds, self.leader)

    def teardown(self) -> None:
        try:
            operations.recover(self.study)
            assert violations(self.study, ended=True) == []
        finally:
            self.database.close()


def _run(places: Places, examples: int, steps: int) -> None:
    template = places.new()
    database = Database.create(template)
    operations.make(database)
    database.close()
    storage = places.new(template)

    def machine() -> Lives:
        places.again(storage, template)
        return Lives(storage)

    chosen = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    run_state_machine_as_test(machine, settings=chosen)  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_any_order_of_events_on_sqlite(tmp_path):
    _run(Places(tmp_path, None), examples=20, steps=40)


@pytest.mark.slow
def test_any_order_of_events_on_postgresql(tmp_path, postgresql):
    _run(Places(tmp_path, postgresql), examples=12, steps=40)


@pytest.mark.soak
def test_many_more_orders_on_sqlite(tmp_path):
    _run(Places(tmp_path, None), examples=200, steps=60)


@pytest.mark.soak
def test_many_more_orders_on_postgresql(tmp_path, postgresql):
    _run(Places(tmp_path, postgresql), examples=60, steps=60)
