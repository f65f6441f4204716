"""Clocks that are wrong and processes that stand still: no live candidate is taken away, no stale worker overwrites."""

from __future__ import annotations

import glob
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasmod.study import candidates, records
from nasmod.study.stored import status
from tests.search.groups import (
    Group,
    check_sound,
    filed,
    groups_of,
    one_of_two_trains,
    patient,
    rows,
    soaked_on_sqlite,
    start_together,
    undisturbed,
    wait_until,
    without_times,
)
from tests.search.test_candidate import feasible

FAKETIME = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)

SLEEP = """
# libfaketime 0.9.10 fails every sleep until a moment of a clock that it was told to leave alone, as Python's is
import select, time
time.sleep = lambda seconds: select.select([], [], [], seconds) and None
"""

FROZEN = """
import os, signal, sys
from nasmod.search.context import bring_to_life
from nasmod.study import Database, candidates, open_study
from nasmod.study.candidates import ClaimLost

database = Database.open(sys.argv[1])
study = open_study(database, "small")
held = candidates.claim(database, study.id, "frozen", bring_to_life(study.study).distributions)
once = []

def freeze(connection):
    if sys.argv[2] == "study":
        candidates.lock(connection, study.id)
    candidates.fence(connection, held, reason="written by a frozen worker")
    print("inside", flush=True)
    if not once:
        once.append(True)
        os.kill(os.getpid(), signal.SIGSTOP)

try:
    database.transact(freeze)
    print("committed", flush=True)
except ClaimLost:
    print("lost", flush=True)
"""


def wrong_clock(folder: Path, **how: str) -> dict[str, str]:
    """The environment of a process whose clock is wrong; its monotonic clock is not, as on a real machine."""
    assert FAKETIME is not None
    (folder / "sitecustomize.py").write_text(SLEEP)
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    common = {"LD_PRELOAD": FAKETIME, "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1", "PYTHONPATH": path}
    return {**common, **how}


@soaked_on_sqlite
@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed here; CI installs it")
def test_machines_whose_clocks_are_wrong_step_and_differ_by_zones_take_nothing_from_each_other(
    make_study, storage, tmp_path
):
    stepping = tmp_path / "clock"
    stepping.write_text("+0\n")
    environments = [
        wrong_clock(tmp_path, FAKETIME="+1h", TZ="Pacific/Kiritimati"),
        wrong_clock(tmp_path, FAKETIME="-1h", TZ="America/Los_Angeles"),
        wrong_clock(tmp_path, FAKETIME_TIMESTAMP_FILE=str(stepping), FAKETIME_NO_CACHE="1", TZ="UTC"),
    ]
    groups = [Group(tmp_path / f"machine {i}", storage, environment) for i, environment in enumerate(environments)]
    study = patient(make_study(trials=6, epochs=10))
    with filed(study, storage) as (stored, context), groups_of(*groups):
        start_together(stored, *groups, lease=60.0)  # far shorter than any step of a clock
        steps = itertools.cycle(["-2h", "+3h", "-1d", "+40d"])
        while status(stored).state != "ended":
            aside = stepping.with_suffix(".new")
            aside.write_text(next(steps) + "\n")
            aside.rename(stepping)
            time.sleep(1.5)
        for group in groups:
            assert group.wait() == 0, group.said()
        found = check_sound(stored, context)
        assert sum(record.state == "finished" for record in found) == 6
        ended = [row for row in rows(stored) if row.state == "finished"]
        assert {(row.token, row.attempts) for row in ended} == {(1, 1)}
        assert all(point["seconds"] < 600 for record in found for point in record.curve)


def clock_of(environment: dict[str, str], what: str) -> float:
    """A clock of a process in this environment."""
    code = f"import time; print(time.{what}())"
    out = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, check=True
    )
    return float(out.stdout)


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed here; CI installs it")
def test_a_wrong_clock_is_wrong_and_its_monotonic_clock_is_right(tmp_path):
    wrong = wrong_clock(tmp_path, FAKETIME="+1h")
    assert clock_of(wrong, "time") > time.time() + 3000
    assert abs(clock_of(wrong, "monotonic") - time.monotonic()) < 3000


@soaked_on_sqlite
def test_a_worker_frozen_beyond_its_lease_overwrites_nothing_of_its_successor(make_study, storage, tmp_path):
    study = patient(make_study(trials=1, epochs=80))
    with one_of_two_trains(study, storage, tmp_path) as (stored, context, first, second):
        # a virtual machine that is paused, not within a transaction: SQLite's lock would be paused with it
        stored.database.transact(lambda connection: first.kill(signal.SIGSTOP))
        before = rows(stored)[0]
        assert before.state == "running", "it was frozen in the middle"
        wait_until(
            lambda: rows(stored)[0].token == 3 and len(records.read_records(stored)[0].curve) > before.checkpoint
        )
        assert rows(stored)[0].worker != before.worker
        first.kill(signal.SIGCONT)
        assert second.wait() == 0, second.said()
        assert first.wait() == 0, first.said()
        record = check_sound(stored, context)[0]
        assert (record.state, record.attempts, rows(stored)[0].token) == ("finished", 2, 3)
        assert record.worker != before.worker
        assert without_times(record) == undisturbed(study, record, tmp_path)
        logs = "".join(log.read_text() for log in tmp_path.rglob("*-worker-0.log"))
        assert logs.count("another worker has it now") == 1


@pytest.mark.slow
@pytest.mark.parametrize("holding", ["candidate", "study"])
def test_a_worker_frozen_in_a_transaction_lets_go_of_its_locks(make_study, empty_postgresql, tmp_path, holding):
    with filed(make_study(trials=2, epochs=2), empty_postgresql) as (stored, context):
        proposal = feasible(context, random.Random(3))
        parameters = context.space.encode(proposal.topology, proposal.settings)
        candidates.propose(stored.database, stored.id, "k" * 64, proposal, parameters)
        script = tmp_path / "frozen.py"
        script.write_text(FROZEN)
        frozen = subprocess.Popen(
            [sys.executable, str(script), empty_postgresql, holding], stdout=subprocess.PIPE, text=True
        )
        other = Group(tmp_path / "other", empty_postgresql)
        try:
            assert frozen.stdout is not None
            assert frozen.stdout.readline() == "inside\n"
            with groups_of(other):
                other.start(lease=3.0)
                wait_until(lambda: rows(stored)[0].token == 3)  # swept and claimed, though it was locked
                assert rows(stored)[0].reason is None
                assert other.wait() == 0, other.said()
            frozen.send_signal(signal.SIGCONT)
            out, _ = frozen.communicate(timeout=60)
            assert out == "lost\n", "the whole transaction was tried again, and found its claim gone"
        finally:
            frozen.kill()
            frozen.communicate()
        found = check_sound(stored, context)
        assert sum(record.state == "finished" for record in found) == 2
        assert found[0].reason is None
