"""What a user does through Optuna: trials that are enqueued there, and which of them is said to be the best."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

import nasmod
from nasmod.search.controller import Controller
from nasmod.study import candidates, enqueued, read
from nasmod.study.inspection import in_step
from nasmod.study.records import read_records
from nasmod.study.stored import status
from tests.study.conftest import RESULT


@pytest.fixture
def waiting(make_study, start):
    """A study with one trained candidate, its context, its controller, and the same study as Optuna opens it."""
    stored, context = start(make_study(trials=4))
    controller = Controller(context, stored, "controller", workers=1, lease_seconds=60.0)
    controller.tick()
    held = candidates.claim(stored.database, stored.id, "w", context.distributions)
    candidates.finish(stored.database, held, RESULT, [0.5])
    url = stored.database.engine.url.render_as_string(hide_password=False)
    return stored, context, controller, optuna.load_study(study_name="small", storage=url)


def tick(controller: Controller) -> None:
    controller._adopted_at = float("-inf")
    controller.tick()


def test_an_enqueued_trial_is_the_next_candidate_of_its_own_number(waiting):
    stored, context, controller, theirs = waiting
    known = {record.key for record in read_records(stored)}
    changed = {**theirs.trials[0].params, "setting.learning_rate": 0.0123}
    theirs.enqueue_trial(changed)
    tick(controller)
    queued = [record for record in read_records(stored) if record.proposal.origin["strategy"] == "enqueued"]
    (record,) = queued
    assert record.state == "queued"
    assert record.number == 1
    assert record.proposal.settings["learning_rate"] == 0.0123
    assert record.key not in known
    assert in_step(stored.database, stored.id, "small", 1).level == "ok"
    while (held := candidates.claim(stored.database, stored.id, "w", context.distributions)) is not None:
        candidates.finish(stored.database, held, RESULT, [0.5])
        if held.key == record.key:
            break
    trial = theirs.get_trials()[1]
    assert trial.state is TrialState.COMPLETE
    assert trial.params == changed
    assert trial.user_attrs["key"] == record.key
    assert status(stored).trained <= 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda params: {}, "needs every parameter: "),
        (lambda params: {**params, "width": 3}, "No parameter 'width'"),
        (lambda params: {**params, "setting.learning_rate": 7.0}, "'setting.learning_rate' is never 7.0 in this space"),
        (lambda params: params, "#0 is the same candidate"),
    ],
)
def test_what_cannot_be_trained_fails_with_a_reason_and_never_waits(waiting, change, words):
    stored, _, controller, theirs = waiting
    theirs.enqueue_trial(change(theirs.trials[0].params))
    tick(controller)
    trial = theirs.get_trials()[1]
    assert trial.state is TrialState.FAIL
    assert words in trial.user_attrs["reason"]
    assert enqueued.waiting(stored) == []
    assert in_step(stored.database, stored.id, "small", 1).level == "ok"


def test_one_over_the_flops_budget_is_refused(waiting):
    _, context, controller, theirs = waiting
    table = context.space.encode(*largest(context))
    theirs.enqueue_trial(table)
    tick(controller)
    assert "over the budget" in theirs.get_trials()[1].user_attrs["reason"]


def largest(context):
    """A topology of the space over its FLOPs budget."""
    import random

    generator = random.Random(0)
    while True:
        topology, settings = context.space.random(generator)
        if context.flops(topology) > context.objective.flops_budget:
            return topology, settings


def test_two_controllers_adopt_it_once(waiting):
    stored, context, controller, theirs = waiting
    theirs.enqueue_trial({**theirs.trials[0].params, "setting.learning_rate": 0.0123})
    (found,) = enqueued.waiting(stored)
    tick(controller)
    record = next(one for one in read_records(stored) if one.number == 1)
    again = enqueued.adopt(stored, found, "f" * 64, record.proposal, record.parameters, context.distributions)
    assert not again
    enqueued.refuse(stored, found, "too late")
    assert theirs.get_trials()[1].state is TrialState.WAITING


def test_what_waits_for_a_study_to_go_on_is_no_fault(waiting):
    stored, _, _, theirs = waiting
    theirs.enqueue_trial({**theirs.trials[0].params, "setting.learning_rate": 0.0123})
    assert in_step(stored.database, stored.id, "small", 1).level == "ok"


@pytest.mark.slow
def test_optuna_is_told_which_trial_is_best_by_fresh_trainings(tmp_path: Path):
    storage = tmp_path / "told.db"
    changes = {"data": {"name": "digits", "limit": 300}, "finalists": 2, "repeats": 2}
    study = nasmod.start(read("digits", name="told", trials=4, **changes), storage=storage, workers=2)
    theirs = optuna.load_study(study_name="told", storage=f"sqlite:///{storage}")
    assert theirs.user_attrs["best by fresh trainings"] == {
        "number": study.best.number,
        "score": study.best.score,
        "trainings": 2,
    }
    theirs.enqueue_trial({**theirs.trials[0].params, "setting.learning_rate": 0.0123})
    study = nasmod.resume("told", storage=storage, workers=1, trials=6)
    assert study.record(4).state in ("finished", "stopped")
    assert study.record(4).proposal.origin["why"] == "enqueued through Optuna"
    assert theirs.user_attrs["best by fresh trainings"]["score"] == study.best.score
