"""A study with who works on it: signs of life, pace, time to the end; and what a few rows are enough for."""

from __future__ import annotations

import json

import pytest
from scipy.stats import spearmanr
from sqlalchemy import event, insert, update

from nasmod.study import RungResult, candidates, processes, stored
from nasmod.study.overview import WINDOW, Agreement, candidates_per_second, latest_ends, overview, seconds_left, silent
from nasmod.study.processes import Process
from nasmod.study.stored import Status
from nasmod.study.tables import candidates as table
from nasmod.study.tables import processes as process_table
from nasmod.study.tables import rungs, studies

RUNNING = {
    "name": "a", "state": "searching", "reason": None, "budget": 100, "trained": 40, "finished": 30, "stopped": 10,
    "paused": 0,
    "failed": 0, "running": 2, "queued": 1, "duplicates": 0, "infeasible": 0, "proposals": 43, "failures_in_row": 0,
    "seconds": 400.0, "hours": None, "references": 3, "repeats": 0,
}  # fmt: skip


def status(**changes: object) -> Status:
    return Status(**{**RUNNING, **changes})


def test_the_pace_is_that_of_the_latest_and_the_average_while_there_are_few():
    ends = [400.0 - 2 * index for index in range(WINDOW + 1)]  # one every two seconds, the last just now
    assert candidates_per_second(status(), ends) == pytest.approx(20 / 40)
    assert candidates_per_second(status(seconds=440.0), ends) == pytest.approx(20 / 80)  # none ended since
    assert candidates_per_second(status(), ends[:-1]) == pytest.approx(40 / 400)
    assert candidates_per_second(status(), [400.0] * (WINDOW + 1)) == pytest.approx(40 / 400)  # all at once
    assert candidates_per_second(status(trained=0), []) is None
    assert candidates_per_second(status(seconds=0.0), []) is None


def test_the_end_is_the_budget_or_the_hours_whichever_comes_first():
    assert seconds_left(status(), 0.5) == pytest.approx(120)
    assert seconds_left(status(hours=0.125), 0.5) == pytest.approx(50)
    assert seconds_left(status(hours=10.0), 0.5) == pytest.approx(120)
    assert seconds_left(status(hours=0.125), None) == pytest.approx(50)
    assert seconds_left(status(hours=0.1), 0.5) == 0
    assert seconds_left(status(), None) is None
    for state in ("repeating", "draining", "halting", "ended"):
        assert seconds_left(status(state=state), 0.5) is None


def test_who_trains_what_and_since_when_nobody_heard_of_them(study, file_one, claim_one):
    file_one()
    file_one()
    held, lost = claim_one("a:1"), claim_one("gone:1")
    assert held is not None
    assert lost is not None
    candidates.report(study.database, held, [{"epoch": 1.0}, {"epoch": 2.0}], 0.5)
    worker = Process("a:1", "worker", "a", 12, "cuda:1", "/runs/a.log")
    supervisor = Process("a:2", "supervisor", "a", 11)
    quiet = Process("b:1", "worker", "b", 13, "cpu")
    for process in (worker, supervisor, quiet):
        processes.sign_of_life(study.database, study.id, process)
    ago = update(process_table).where(process_table.c.name == "b:1").values(seen=process_table.c.seen - 40)
    study.database.transact(lambda connection: connection.execute(ago))
    assert stored.take_lease(study, "a:2", 0, 0)
    found = overview(study)
    assert [seen.process for seen in found.at_work] == [worker, supervisor, quiet]
    training, steering, still = found.at_work
    assert (training.candidate, training.number, training.key, training.epoch) == (held.id, 0, held.key, 2)
    assert steering.candidate is None
    assert still.seconds == pytest.approx(40, abs=15)
    assert [silent(seen) for seen in found.at_work] == [False, False, True]
    assert found.controller == "a:2"
    assert found.epochs == study.study.training.epochs
    assert found.unattended == 1  # nobody knows who holds the other
    assert found.candidates_per_hour is None


def test_the_latest_ends_are_found_among_thousands_by_reading_few_rows(study):
    filed = {"study": study.id, "token": 1, "beat": 1, "attempts": 1, "proposal": "{}", "curve": "[]"}
    states = ["finished", "stopped", "failed"]
    rows = [
        {**filed, "key": f"{index:064d}", "role": "search", "state": states[index % 3], "ended_at": float(index)}
        for index in range(3000)
    ]
    study.database.transact(lambda connection: connection.execute(insert(table), rows))
    now = update(studies).values(seconds=3010.0)
    study.database.transact(lambda connection: connection.execute(now))
    newest = [float(index) for index in range(2999, 0, -1) if index % 3 != 2][: WINDOW + 1]
    assert latest_ends(study) == newest
    found = overview(study)
    assert found.candidates_per_hour == pytest.approx(3600 * WINDOW / (3010 - newest[-1]))


@pytest.mark.parametrize(
    ("then", "end", "told"),
    [
        ([0.5, 0.6, 0.55, 0.7, 0.65, 0.4], [0.8, 0.82, 0.9, 0.95, 0.85, 0.7], True),
        ([0.5, 0.6, 0.55, 0.7, 0.65, 0.4], [0.7] * 6, False),  # all are equal at the end
        ([0.5, 0.6, 0.55, 0.7], [0.8, 0.82, 0.9, 0.95], False),  # so few tell nothing
    ],
)
def test_how_far_a_rung_s_order_is_that_of_the_end(study, then, end, told):
    """Candidates that were stopped there and finalists trained again do not count."""
    filed = {"study": study.id, "token": 1, "beat": 1, "attempts": 1, "proposal": "{}", "curve": "[]"}
    rows = [("search", "finished", *both) for both in zip(then, end, strict=True)]
    rows += [("search", "stopped", 0.9, 0.1), ("repeat", "finished", 0.1, 0.9)]

    def file(connection):
        for number, (role, state, at_rung, at_end) in enumerate(rows):
            values = {"key": str(number), "role": role, "state": state, "result": json.dumps({"score": at_end})}
            filed_as = connection.execute(insert(table).values(**filed, **values)).inserted_primary_key[0]
            result = RungResult(8, at_rung).to_json()
            connection.execute(insert(rungs).values(candidate=filed_as, study=study.id, epoch=8, result=result))

    study.database.transact(file)
    expected = [Agreement(8, pytest.approx(spearmanr(then, end).statistic), len(then))] if told else []
    assert overview(study).rungs == expected


def test_an_overview_is_a_handful_of_statements(study, file_one):
    """What it costs must not grow with the machines and candidates there are."""
    file_one()
    said: list[str] = []
    event.listen(study.database.engine, "before_cursor_execute", lambda *a: said.append(a[2]))
    overview(study)
    assert len([statement for statement in said if statement.startswith("SELECT")]) <= 8
