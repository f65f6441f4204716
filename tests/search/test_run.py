"""Whole searches with real worker processes: exact budgets, kills, orders to end, exhausted spaces, broken kinds."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from nasmod.search.run import run
from nasmod.study import processes, records
from nasmod.study.stored import raise_budget, status
from tests.search.groups import slower
from tests.search.test_candidate import BROKEN

SEARCH = """
import sys
from nasmod.search.run import run
from nasmod.study import Database, open_study
if __name__ == "__main__":
    study = open_study(Database.open(sys.argv[1]), "small")
    try:
        print(run(study, workers=2, lease_seconds=float(sys.argv[2])))
    except KeyboardInterrupt:
        print("interrupted")
"""


def search(folder: Path, *command: str, lease_seconds: float = 4.0) -> subprocess.Popen[str]:
    """A search of the study in `folder` as a process group of its own."""
    script = folder / "search.py"
    script.write_text(SEARCH)
    return subprocess.Popen(
        [*command, sys.executable, str(script), str(folder / "small.db"), str(lease_seconds)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until(condition, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def check_invariants(stored, trained: int) -> None:
    """What must hold of every ended study: the exact budget, unique keys, no open trial, a sound file."""
    found = records.read_records(stored)
    searched = [record for record in found if record.role == "search"]
    assert sum(record.state in ("finished", "stopped") for record in searched) == trained
    assert not any(record.state == "running" for record in found)
    assert len({record.key for record in found}) == len(found)
    for record in searched:
        if record.state == "finished":
            epochs = [point["epoch"] for point in record.curve]
            assert epochs == [float(epoch) for epoch in range(1, stored.study.training.epochs + 1)]
            assert record.measures["modularity"] >= 0
    trials = optuna.load_study(study_name="small", storage=stored.database.url).trials
    assert not any(trial.state in (TrialState.RUNNING, TrialState.WAITING) for trial in trials)
    with sqlite3.connect(stored.database.shown) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_study_trains_exactly_its_budget_and_more_when_it_is_raised(make_study, start):
    stored, context = start(make_study(trials=4, references="true", finalists=1, epochs=2, strategy="evolution"))
    reason = run(stored, workers=2, context=context)
    assert reason == "the budget is reached: 4 candidates were trained"
    check_invariants(stored, 4)
    found = records.read_records(stored)
    assert [record.reference for record in found[:2]] == ["monolith", None]  # a quarter of four
    best = records.best(found, stored.study.objective)
    assert best.repeats == 2  # of the two seeds that the search did not see
    assert len(records.weights(stored, best)) > 1000
    assert run(stored) == reason  # nothing is left to do

    raise_budget(stored, 6, None)
    assert "6 candidates" in run(stored, workers=1, context=context)
    check_invariants(stored, 6)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_asked_to_end_it_hands_back_within_seconds_and_goes_on_later(make_study, start, tmp_path, how):
    stored, context = start(make_study(trials=3, epochs=60))
    process = search(tmp_path)
    wait_until(lambda: any(len(record.curve) > 2 for record in records.read_records(stored)))
    os.killpg(process.pid, how)  # as a terminal does: to supervisor and workers alike
    out, _ = process.communicate(timeout=60)
    assert out.strip() == "interrupted"
    found = records.read_records(stored)
    assert not any(record.state == "running" for record in found)
    assert all(record.attempts == 0 for record in found if record.state == "queued")
    run(stored, workers=2, context=context)
    check_invariants(stored, 3)


@pytest.mark.slow
def test_started_to_outlive_its_terminal_it_does(make_study, start, tmp_path):
    stored, _ = start(make_study(trials=2, epochs=60))
    process = search(tmp_path, "nohup")
    wait_until(lambda: any(len(record.curve) > 2 for record in records.read_records(stored)))
    os.killpg(process.pid, signal.SIGHUP)
    out, _ = process.communicate(timeout=120)
    assert "2 candidates were trained" in out
    check_invariants(stored, 2)


@pytest.mark.slow
def test_a_kind_that_always_fails_ends_the_study_with_the_reason(make_study, start, tmp_path):
    (tmp_path / "kinds.py").write_text(BROKEN % ("broken_run", "raises"))
    (tmp_path / "broken.toml").write_text(
        "[modules]\nmin = 1\nmax = 6\n[kinds.broken_run]\n[wiring]\nedges = 'free'\nmerge = 'sum'\n"
    )
    stored, context = start(make_study(space="broken.toml", top="plugins = ['kinds.py']", trials=50))
    reason = run(stored, workers=1, context=context)
    assert reason == "20 candidates failed in a row; the last: ValueError: this kind is broken"
    assert status(stored).failed == 20 + status(stored).running


def test_workers_of_other_data_are_refused(make_study, start):
    stored, context = start(make_study())
    from dataclasses import replace

    from nasmod.errors import DataError

    with pytest.raises(DataError, match="started with data of fingerprint"):
        run(stored, context=replace(context, dataset=replace(context.dataset, fingerprint="0" * 64)))


@pytest.mark.slow
def test_killed_whole_at_three_random_moments_it_still_trains_its_budget_exactly(make_study, start, tmp_path):
    stored, _ = start(make_study(trials=2, epochs=20, references="true", strategy="evolution", stopping="halving"))
    generator = random.Random(7)
    for trials in (4, 6, 8):
        raise_budget(stored, trials, None)  # however fast this machine is, there is something left to kill
        process = search(tmp_path)
        before = sum(len(record.curve) for record in records.read_records(stored))
        wait_until(lambda before=before: sum(len(r.curve) for r in records.read_records(stored)) != before)
        time.sleep(generator.uniform(0.0, 2.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = search(tmp_path)
    out, _ = process.communicate(timeout=400)
    assert "the budget is reached: 8 candidates" in out
    check_invariants(stored, 8)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_candidate_trained_by_another(make_study, start, tmp_path):
    stored, _ = start(slower(make_study(trials=4, epochs=20)))
    process = search(tmp_path)
    wait_until(lambda: any(len(record.curve) > 2 for record in records.read_records(stored)))
    seen = next(seen for seen in processes.at_work(stored.database, stored.id) if seen.candidate is not None)
    victim = next(record for record in records.read_records(stored) if record.key == seen.key)
    os.kill(seen.process.pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=400)
    assert "4 candidates" in out
    check_invariants(stored, 4)
    again = next(record for record in records.read_records(stored) if record.key == victim.key)
    assert (again.state, again.attempts) == ("finished", 2)
    assert again.worker != victim.worker


@pytest.mark.slow
def test_the_tiny_study_ends_as_exhausted(make_study, start):
    stored, context = start(make_study(space="tiny", trials=1000, epochs=1))
    reason = run(stored, workers=2, context=context)
    everything = context.space.topologies(20_000)
    assert reason == f"exhausted: all {len(everything)} candidates of the space within the FLOPs budget were proposed"
    check_invariants(stored, len(everything))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["tpe", "nsga2"])
def test_with_several_directions_optuna_reads_a_front_of_what_ran_to_its_end(make_study, start, strategy):
    values = {"strategy": strategy, "objective": 'mode = "pareto"', "trials": 14, "epochs": 3, "stopping": "halving"}
    stored, context = start(make_study(**values, more="rungs = [1]"))
    run(stored, workers=2, context=context)
    check_invariants(stored, 14)
    study = optuna.load_study(study_name="small", storage=stored.database.url)
    whole = {record.number for record in records.read_records(stored) if record.state == "finished"}
    assert {trial.number for trial in study.best_trials} <= whole
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MAXIMIZE", "MINIMIZE"]


@pytest.mark.slow
def test_hours_end_a_search(make_study, start):
    study = make_study(trials=10_000, epochs=2).model_copy(update={"hours": 10 / 3600})
    stored, context = start(study)
    assert "hours are over" in run(stored, workers=2, context=context)
    assert status(stored).running == 0
    assert json.dumps(status(stored).to_json())
