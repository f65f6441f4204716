"""What waits at a rung: its place in the budget, what it goes on from, and how it ends with the search."""

from __future__ import annotations

import pytest
from optuna.trial import TrialState

from nasmod.study import RungResult, pausing, recovery, stored
from nasmod.study import candidates as protocol
from nasmod.study import records as reading
from nasmod.study.candidates import ClaimLost
from tests.study.conftest import RESULT, trials_of
from tests.study.operations import curve

CHECKPOINT, REASON = b"state of the epoch", "paused at epoch 1: under the cut"


@pytest.fixture
def pause_one(study, file_one, claim_one):
    """File and claim a candidate, and pause it at epoch 1 with this score; returns the claim it had."""

    def pause(score=0.1):
        file_one()
        held = claim_one("w")
        protocol.report(study.database, held, curve(1), 0.1, RungResult(1, score))
        pausing.pause(study.database, held, RESULT, curve(1), CHECKPOINT, REASON)
        return held

    return pause


def promote(study, held):
    token = next(one.token for one in pausing.paused(study.database, study.id) if one.id == held.id)
    assert pausing.promote(study.database, study.id, held.id, token)


def test_it_counts_as_trained_holds_no_worker_and_its_trial_waits(study, pause_one, claim_one):
    pause_one()
    status = stored.status(study)
    assert (status.trained, status.paused, status.running) == (1, 1, 0)
    assert claim_one("v") is None  # nobody trains it before it is promoted
    assert trials_of(study.database)[0].state == TrialState.WAITING
    (record,) = reading.read_records(study)
    assert (record.state, record.reason, record.score, record.attempts) == ("paused", REASON, 0.5, 0)


def test_promoted_it_goes_on_from_its_checkpoint_before_anything_new(study, pause_one, file_one, claim_one):
    held = pause_one()
    file_one()
    promote(study, held)
    again = claim_one("v")
    assert (again.id, again.trial, again.curve) == (held.id, held.trial, tuple(curve(1)))
    assert (again.checkpoint, again.rung_results) == (CHECKPOINT, (RungResult(1, 0.1),))
    assert trials_of(study.database)[0].state == TrialState.RUNNING
    protocol.finish(study.database, again, RESULT, [0.5])
    (record, _) = reading.read_records(study)
    assert (record.state, record.reason) == ("finished", None)


def test_its_place_in_the_budget_is_its_own_whether_it_waits_or_runs(study, pause_one, file_one, claim_one):
    held = pause_one()
    for worker in ("a", "b", "c"):
        file_one()
        assert (claim_one(worker) is None) == (worker == "c")  # of three, two are left
    promote(study, held)
    assert claim_one("c").id == held.id
    assert claim_one("d") is None
    status = stored.status(study)
    assert (status.trained, status.running, status.queued) == (0, 3, 1)


def test_one_that_fails_after_it_was_promoted_leaves_its_place(study, pause_one, file_one, claim_one):
    held = pause_one()
    promote(study, held)
    for worker in ("a", "b", "c"):
        file_one()
        assert claim_one(worker) is not None
    assert claim_one("d") is None
    again = claim_one("a")
    assert again.id == held.id
    protocol.fail(study.database, again, "no memory")
    assert claim_one("d") is not None


def test_a_worker_that_dies_after_the_promotion_costs_a_first_attempt(study, pause_one, claim_one):
    held = pause_one()
    promote(study, held)
    for states in ("queued", "failed"):
        again = claim_one("v")
        assert again.checkpoint == CHECKPOINT
        assert recovery.sweep(study.database, held.id, *recovery.running(study.database, study.id)[held.id])
        (record,) = reading.read_records(study)
        assert record.state == states
    assert record.score is None  # what it had at its rung is no result of a failed one


def test_a_stale_worker_pauses_nothing(study, file_one, claim_one):
    file_one()
    old = claim_one("old")
    assert recovery.sweep(study.database, old.id, old.token, 1)
    new = claim_one("new")
    with pytest.raises(ClaimLost):
        pausing.pause(study.database, old, RESULT, curve(1), b"stale", REASON)
    protocol.finish(study.database, new, RESULT, [0.5])
    with pytest.raises(ClaimLost):
        pausing.pause(study.database, old, RESULT, curve(1), b"stale", REASON)


def test_only_what_still_waits_as_it_was_seen_is_promoted(study, pause_one, claim_one):
    held = pause_one()
    (seen,) = pausing.paused(study.database, study.id)
    assert pausing.promote(study.database, study.id, held.id, seen.token)
    assert pausing.promote(study.database, study.id, held.id, seen.token)  # the acknowledgement was lost
    pausing.pause(study.database, claim_one("v"), RESULT, curve(1), CHECKPOINT, REASON)
    assert not pausing.promote(study.database, study.id, held.id, seen.token)  # it waits again, elsewhere perhaps


def test_what_it_is_compared_with_and_how_many_of_them_came_later(study, pause_one):
    held = [pause_one(score) for score in (0.1, 0.2, 0.3)]
    found = {one.id: one for one in pausing.paused(study.database, study.id)}
    middle = found[held[1].id]
    assert middle.rung_results == (RungResult(1, 0.2),)
    assert middle.others == (RungResult(1, 0.3), RungResult(1, 0.1))
    assert [found[one.id].later for one in held] == [2, 1, 0]


def test_what_came_long_ago_is_not_looked_at_again(study, pause_one, monkeypatch):
    monkeypatch.setattr(pausing, "LATEST", 2)
    held = [pause_one(score) for score in (0.3, 0.2, 0.1)]
    found = pausing.paused(study.database, study.id)
    assert [one.id for one in found] == [held[2].id, held[1].id]
    assert [len(one.others) for one in found] == [2, 2]  # all are compared with


@pytest.mark.parametrize("promoted", [False, True])
def test_with_the_search_it_is_stopped_for_good(study, pause_one, claim_one, promoted):
    held = pause_one()
    if promoted:
        promote(study, held)
    pausing.stop_waiting(study.database, study.id, held.id, "the search ended", [0.5], 0.9)
    (record,) = reading.read_records(study)
    assert (record.state, record.reason, record.score) == ("stopped", "the search ended", 0.5)
    trial = trials_of(study.database)[0]
    assert (trial.state, trial.values, trial.user_attrs["accuracy"]) == (TrialState.PRUNED, [0.5], 0.6)
    assert claim_one("v") is None
    pausing.stop_waiting(study.database, study.id, held.id, "again", [0.5], 0.9)  # it no longer waits
    assert reading.read_records(study)[0].reason == "the search ended"


def test_a_reader_sees_each_change(study, pause_one, claim_one):
    reader = reading.RecordReader(study)
    held = pause_one()
    assert [record.state for record in reader.read()] == ["paused"]
    promote(study, held)
    assert [record.state for record in reader.read()] == ["queued"]
    protocol.finish(study.database, claim_one("v"), RESULT, [0.5])
    assert [record.state for record in reader.read()] == ["finished"]
