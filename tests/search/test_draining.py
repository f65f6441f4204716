"""A study is stopped, or deleted, from anywhere while real machines are at work on it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nasmod.search.draining import stop
from nasmod.search.run import run
from nasmod.study import StoredStudy, candidates, processes, records
from nasmod.study import stored as storing
from nasmod.study.processes import Process
from nasmod.study.stored import STOPPED, status
from tests.search.groups import Group, check_sound, filed, groups_of, patient, rows, soaked_on_sqlite, wait_until
from tests.search.test_candidate import claimed

pytestmark = pytest.mark.slow


def nasmod(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line on a machine of its own, in another folder."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "nasmod.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)


def all_busy(stored: StoredStudy, workers: int) -> bool:
    """Every worker is in the middle of a candidate, and one was trained."""
    running = [row for row in rows(stored) if row.state == "running" and row.curve != "[]"]
    return len(running) == workers and status(stored).trained > 0


@pytest.mark.parametrize(
    ("storage", "now"),
    [
        ("sqlite", True),
        ("postgresql", False),
        pytest.param("sqlite", False, marks=pytest.mark.soak),
        pytest.param("postgresql", True, marks=pytest.mark.soak),
    ],
    indirect=["storage"],
    ids=["sqlite-halting", "postgresql-draining", "sqlite-draining", "postgresql-halting"],
)
def test_stopped_from_anywhere_every_machine_ends_and_the_study_goes_on_later(make_study, storage, tmp_path, now):
    # to be handed back, candidates take several times the signs of life by which their workers hear of it
    trials = 4 if now else 12  # while a command starts, workers begin some more
    study = patient(make_study(trials=trials, epochs=150 if now else 40))
    groups = [Group(tmp_path / f"machine {index}", storage) for index in range(2)]
    with filed(study, storage) as (stored, context), groups_of(*groups):
        for group, workers in zip(groups, (1, 2), strict=True):
            group.start(workers=workers, lease=15.0)
        wait_until(lambda: all_busy(stored, 3))
        held = {row.id: row.token for row in rows(stored) if row.state == "running"}
        said = nasmod(tmp_path / "desk", "stop", "small", "--storage", storage, *(["--now"] if now else []))
        assert said.returncode == 0, said.stderr
        assert f"small has ended: {STOPPED}" in said.stdout
        for group in groups:
            assert group.wait(180) == 0, group.said()
            assert f"small has ended: {STOPPED}" in group.said()
            assert f"nasmod resume small --storage {storage}" in group.said()
        found = {row.id: row for row in rows(stored)}
        assert not [row for row in found.values() if row.state == "running"]
        if now:  # handed back: the attempt does not count
            handed_back = [row for row in found.values() if row.state == "queued" and row.trial is not None]
            assert {row.attempts for row in handed_back} == {0}
        else:  # trained to its end by the very worker that had it
            assert {(found[one].state, found[one].token - token) for one, token in held.items()} == {("finished", 0)}
        before = status(stored)
        assert (before.state, before.trained < trials) == ("ended", True)

        said = nasmod(tmp_path / "desk", "resume", "small", "--storage", storage, "--workers", "2")
        assert f"the budget is reached: {trials} candidates" in said.stdout, said.stderr
        check_sound(stored, context)


@soaked_on_sqlite
def test_where_everything_was_killed_stopping_takes_back_what_the_dead_held(make_study, storage, tmp_path):
    group = Group(tmp_path / "machine", storage)
    with filed(patient(make_study(trials=4, epochs=40)), storage) as (stored, context), groups_of(group):
        group.start(workers=2)
        wait_until(lambda: all_busy(stored, 2) or status(stored).state == "ended")
        group.kill()
        running = status(stored).running
        assert running
        told = []
        ended = stop(stored, on_progress=told.append, lease_seconds=2.0)
        assert (ended.state, ended.reason, ended.running) == ("ended", STOPPED, 0)
        assert told[0].running == running
        storing.reopen(stored)
        run(stored, workers=2, context=context, lease_seconds=4.0)
        check_sound(stored, context)


def test_who_waits_for_the_database_with_its_stopper_keeps_what_it_has(make_study, tmp_path):
    """Another program holds an SQLite file for longer than a lease: that nobody shows life then proves no death."""
    with filed(make_study(), str(tmp_path / "small.db")) as (stored, context):
        held = claimed(stored, context)
        done, stoppers = threading.Event(), set()

        def show_life():
            while not done.is_set():
                processes.sign_of_life(stored.database, stored.id, Process.this("worker", "w"), held)
                done.wait(0.1)

        with ThreadPoolExecutor(5) as pool:
            living = pool.submit(show_life)
            options = {"on_progress": lambda status: stoppers.add(threading.get_ident()), "lease_seconds": 3.0}
            stopping = [pool.submit(stop, stored, **options) for _ in range(4)]
            wait_until(lambda: len(stoppers) == 4)
            other = sqlite3.connect(tmp_path / "small.db", isolation_level=None)
            other.execute("PRAGMA busy_timeout=60000")
            other.execute("BEGIN IMMEDIATE")
            time.sleep(8)
            other.execute("ROLLBACK")
            other.close()
            time.sleep(4)  # more than a lease of looks at it
            (row,) = rows(stored)
            assert (row.state, row.token) == ("running", held.token)
            done.set()
            living.result()
            candidates.fail(stored.database, held, "enough of it")
            assert {one.result().state for one in stopping} == {"ended"}


@soaked_on_sqlite
def test_what_is_at_work_on_a_deleted_study_ends_with_one_line(make_study, storage, tmp_path):
    groups = [Group(tmp_path / f"machine {index}", storage) for index in range(2)]
    with filed(patient(make_study(trials=50, epochs=40)), storage) as (stored, _), groups_of(*groups):
        for group in groups:
            group.start(workers=1, lease=15.0)
        wait_until(lambda: all_busy(stored, 2))
        desk = tmp_path / "desk"
        refused = nasmod(desk, "delete", "small", "--yes", "--storage", storage)
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
        assert "4 processes are at work on 'small'" in refused.stderr
        said = nasmod(desk, "delete", "small", "--yes", "--force", "--storage", storage)
        assert said.returncode == 0, said.stderr
        for group in groups:
            assert group.wait(180) == 2, group.said()
            assert "deleted meanwhile" in group.said().splitlines()[-1]
            assert "Traceback" not in group.said()
        assert storing.names(stored.database) == []
        logs = [path.read_text() for path in (tmp_path).rglob("*-worker-*.log")]
        assert logs
        assert not [text for text in logs if "Traceback" in text]


def test_what_failed_is_trained_when_it_is_tried_again(make_study, start, tmp_path):
    from nasmod.study import recovery

    stored, context = start(make_study(trials=3, epochs=2))
    run(stored, workers=1, context=context)
    failed = records.read_records(stored)[0]
    assert failed.number is not None
    as_failed = "UPDATE candidates SET state = 'failed', reason = 'out of memory', weights = NULL, ended_at = NULL"
    stored.database.transact(
        lambda connection: (
            connection.exec_driver_sql(f"{as_failed} WHERE number = {failed.number}"),
            connection.exec_driver_sql(f"UPDATE trials SET state = 'FAIL' WHERE number = {failed.number}"),
        )
    )
    assert recovery.retry(stored.database, stored.id) == 1
    run(stored, workers=1, context=context)
    again = next(record for record in records.read_records(stored) if record.key == failed.key)
    assert (again.state, again.number, again.attempts) == ("finished", 3, 1)
    assert status(stored).trained == 3
