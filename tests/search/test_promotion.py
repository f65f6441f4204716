"""Halving with promotion in real searches: what waits goes on where it was, and nothing waits at the end."""

from __future__ import annotations

import os
import random
import signal
import time

import optuna
import pytest

from nasmod.api import load
from nasmod.measures.trained import train_and_measure
from nasmod.search.controller import Controller
from nasmod.search.promotion import promote
from nasmod.search.run import run
from nasmod.search.stopping import make, promoting
from nasmod.study import RungResult, candidates, pausing, records
from nasmod.study.stored import status, stop
from tests.search.test_candidate import claimed, feasible, training, without_times
from tests.search.test_run import check_invariants, search, wait_until

PROMOTING = "rungs = [1]\nresults = 2\npromotion = true"


def one_paused(stored, context):
    """Train candidates until one is paused; returns its record."""
    generator = random.Random(0)
    for worker in range(20):
        training(stored, context, claimed(stored, context, feasible(context, generator), f"w{worker}")).run()
        for record in records.read_records(stored):
            if record.state == "paused":
                return record
    raise AssertionError


def test_a_candidate_that_was_promoted_ends_as_one_that_never_waited(make_study, start):
    stored, context = start(make_study(stopping="halving", more=PROMOTING, epochs=4, trials=30))
    waiting = one_paused(stored, context)
    assert (len(waiting.curve), waiting.reason.split(":")[0]) == (1, "paused at epoch 1")
    assert waiting.score is not None
    (seen,) = pausing.paused(stored.database, stored.id)
    assert pausing.promote(stored.database, stored.id, seen.id, seen.token)
    held = candidates.claim(stored.database, stored.id, "again", context.distributions)
    assert (held.key, len(held.curve), len(held.rung_results)) == (waiting.key, 1, 1)
    training(stored, context, held).run()
    ended = next(record for record in records.read_records(stored) if record.key == waiting.key)
    assert (ended.state, len(ended.curve)) == ("finished", 4)

    # the same candidate in one go
    whole = training(stored, context, held)
    curve = []
    plan = context.plan(waiting.proposal.topology)
    train_and_measure(
        plan,
        context.dataset,
        context.study.training,
        {},
        whole.seed,
        on_epoch=lambda e: curve.append(e.curve[-1]),
        averaged_at=(1,),
    )
    assert without_times(ended.curve) == without_times(curve)


def test_it_goes_on_once_enough_that_came_later_is_worse(make_study, start):
    """One of two is paused, at first; two that are worse make it one of the best two of four."""
    stored, context = start(make_study(stopping="halving", more=PROMOTING, epochs=4, trials=30))
    waiting = one_paused(stored, context)
    rule = promoting(make(stored.study))
    assert rule is not None
    assert promote(stored, rule, most=1) == 0
    worse = waiting.score - 0.3
    for number in range(3):
        held = claimed(stored, context, feasible(context, random.Random(100 + number)), f"v{number}")
        candidates.report(stored.database, held, [{"epoch": 1.0}], worse, RungResult(1, worse))
        candidates.fail(stored.database, held, "for this test")
    assert promote(stored, rule, most=0) == 0
    assert promote(stored, rule, most=5) == 1
    assert promote(stored, rule, most=5) == 0
    assert status(stored).paused == 0


@pytest.mark.slow
def test_a_search_ends_with_its_budget_met_and_nothing_waiting(make_study, start):
    values = {"stopping": "halving", "more": PROMOTING, "trials": 12, "epochs": 3, "finalists": 1}
    stored, context = start(make_study(**values, references="true"))
    assert run(stored, workers=2, context=context) == "the budget is reached: 12 candidates were trained"
    check_invariants(stored, 12)
    found = records.read_records(stored)
    stopped = [record for record in found if record.state == "stopped"]
    assert stopped
    assert all("the search ended before it was its turn" in record.reason for record in stopped)
    assert records.best(found, stored.study.objective).repeats == 2
    assert not pausing.paused(stored.database, stored.id)


def test_stopped_by_a_person_it_waits_for_the_one_that_resumes(make_study, start):
    stored, context = start(make_study(stopping="halving", more=PROMOTING, epochs=3, trials=30))
    one_paused(stored, context)
    assert stop(stored).state == "ended"
    controller = Controller(context, stored, "controller", workers=1, lease_seconds=60.0)
    assert controller.tick().paused == 1


@pytest.mark.slow
def test_a_front_survives_kills_in_a_study_of_two_directions_that_promotes(make_study, start, tmp_path):
    """Killed whole twice, gone on with by other processes, ended and exported; Optuna sees the same front."""
    directions = 'mode = "pareto"\ndirections = { skill = "maximize", flops = "minimize" }'
    values = {"strategy": "graph_bo", "stopping": "halving", "more": PROMOTING, "epochs": 4, "trials": 10}
    stored, _ = start(make_study(**values, objective=directions, references="true"))
    generator = random.Random(5)
    for _ in range(2):
        process = search(tmp_path)
        before = status(stored).proposals
        wait_until(lambda before=before: status(stored).proposals > before or status(stored).trained)
        time.sleep(generator.uniform(1.0, 4.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    out, _ = search(tmp_path).communicate(timeout=400)
    assert "the budget is reached: 10 candidates" in out
    check_invariants(stored, 10)
    front = records.front(records.read_records(stored), stored.study.objective)
    study = optuna.load_study(study_name="small", storage=stored.database.url)
    assert {record.number for record in front} <= {trial.number for trial in study.best_trials}
    assert all(records.weights(stored, record) for record in front)
    load("small", storage=str(tmp_path / "small.db")).export(tmp_path / "exported")
    assert (tmp_path / "exported" / "model.py").is_file()
