"""Many processes at once on one database: exact budgets, claims of one, one study of many starts."""

from __future__ import annotations

import queue
import random
import re
import threading

import pytest

from nasmod.search.controller import Controller
from nasmod.study import candidate_key, candidates
from nasmod.study import stored as storing
from nasmod.study.stored import move_on, raise_budget, status
from tests.search import racing
from tests.search.groups import Group, Watcher, check_sound, filed, groups_of, rows, soaked_on_sqlite
from tests.search.test_candidate import feasible
from tests.study.invariants import violations

RACERS = 16


def file_many(stored, context, count: int, seed: int = 0) -> None:
    """File so many different proposals."""
    generator = random.Random(seed)
    there = len(rows(stored))
    while len(rows(stored)) < there + count:
        proposal = feasible(context, generator)
        parameters = context.space.encode(proposal.topology, proposal.settings)
        key = candidate_key(proposal.topology, proposal.settings)
        candidates.propose(stored.database, stored.id, key, proposal, parameters)


def drained(found) -> list:
    taken = []
    while True:
        try:
            taken.append(found.get(timeout=0.5))
        except queue.Empty:
            return taken


@soaked_on_sqlite
def test_sixteen_processes_that_race_for_the_last_candidates_train_the_budget_exactly(make_study, storage):
    with filed(make_study(trials=3), storage) as (stored, context):
        file_many(stored, context, 30)
        found = racing.context().Queue()
        for budget in (3, 4, 25):  # fewer places than racers, the very last one, more than racers
            raise_budget(stored, budget, None)
            assert racing.race(RACERS, racing.claim_all, storage, found) == [0] * RACERS
            assert status(stored).trained == budget
            assert status(stored).running == 0
        taken = drained(found)
        assert len({candidate for candidate, _, _ in taken}) == len(taken) == 25
        assert {token for _, token, _ in taken} == {1}
        assert violations(stored, ended=True) == []


@pytest.mark.slow
def test_a_budget_raised_by_many_while_others_race_for_it_is_the_largest_and_met_exactly(make_study, storage):
    with filed(make_study(trials=5), storage) as (stored, context):
        file_many(stored, context, 40)
        found = racing.context().Queue()
        racers = threading.Thread(target=racing.race, args=(8, racing.claim_all, storage, found))
        racers.start()
        assert racing.race(RACERS, racing.raise_to, storage, 10) == [0] * RACERS
        racers.join()
        assert status(stored).budget == 10 + RACERS - 1
        racing.race(8, racing.claim_all, storage, found)  # whoever had left before the budget was raised
        assert status(stored).trained == 10 + RACERS - 1
        taken = drained(found)
        assert len({candidate for candidate, _, _ in taken}) == len(taken) == 10 + RACERS - 1
        assert violations(stored, ended=True) == []


def test_a_budget_raised_after_the_controller_saw_it_met_keeps_the_study_searching(make_study, start):
    stored, _ = start(make_study(trials=4))
    seen = status(stored)
    raise_budget(stored, 6, None)
    move_on(stored, "searching", "repeating", "the budget is reached", seen)
    assert (status(stored).state, status(stored).reason) == ("searching", None)
    move_on(stored, "searching", "repeating", "the budget is reached", status(stored))
    assert status(stored).state == "repeating"


@pytest.mark.slow
def test_thirty_two_workers_on_one_sqlite_file_never_meet_a_lock_and_train_nothing_twice(make_study, tmp_path):
    place, logs = str(tmp_path / "small.db"), tmp_path / "logs"
    logs.mkdir()
    with filed(make_study(trials=48, epochs=1, more="", strategy="random"), place) as (stored, context):
        over = threading.Event()
        watcher = Watcher(stored)

        def steer() -> None:
            controller = Controller(context, stored, "controller", 32, 60.0)
            while not over.is_set() and controller.tick().state != "ended":
                watcher.look()
                over.wait(0.1)

        steering = threading.Thread(target=steer)
        steering.start()
        codes = racing.race(32, racing.work, place, str(logs))
        over.set()
        steering.join()
        assert codes == [0] * 32
        assert status(stored).state == "ended"
        found = check_sound(stored, context)
        assert sum(record.state == "finished" for record in found) == 48
        assert {row.token for row in rows(stored) if row.state == "finished"} == {1}
        said = "".join(log.read_text() for log in logs.iterdir())
        assert "locked" not in said
        assert "Traceback" not in said
        claimed = re.findall(r"claimed \d+ \((\w+)\)", said)
        assert sorted(claimed) == sorted(record.key[:8] for record in found if record.state == "finished")


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", pytest.param("postgresql", marks=pytest.mark.soak)], indirect=True)
def test_eight_starts_at_once_join_one_study_and_an_empty_folder_can_resume_it(make_study, storage, tmp_path):
    make_study(trials=10, epochs=2)
    file = str(tmp_path / "small.toml")
    groups = [Group(tmp_path / f"machine {index}", storage) for index in range(8)]
    with groups_of(*groups):
        for group in groups:
            group.start("start", file, lease=15.0)
        assert [group.wait() for group in groups] == [0] * 8, [group.said() for group in groups]
        with filed(make_study(trials=10, epochs=2), storage) as (stored, context):
            assert storing.names(stored.database) == ["small"]
            found = check_sound(stored, context)
            assert sum(record.state == "finished" for record in found) == 10
            assert {row.token for row in rows(stored) if row.state == "finished"} == {1}

            (tmp_path / "small.toml").unlink()  # nothing but the URL is left
            other = Group(tmp_path / "another", storage)
            with groups_of(other):
                assert other.start("resume", "small", "--trials", "12", lease=15.0).wait() == 0, other.said()
            assert sum(record.state == "finished" for record in check_sound(stored, context)) == 12
