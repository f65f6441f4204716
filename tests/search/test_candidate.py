"""One claimed candidate, really trained: the same twice, the same after a break, and failed in words when it fails."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from optuna.trial import TrialState

from nasmod.networks import flops
from nasmod.search.asking import Asked
from nasmod.search.candidate import CandidateTraining
from nasmod.study import Proposal, candidate_key, candidates, records, recovery
from nasmod.study.candidates import ClaimLost
from tests.study.test_definition import PLUGIN

BROKEN = (
    PLUGIN.replace("return nn.Identity", "return Broken")
    + """
import math, torch
class Broken(torch.nn.Module):
    def forward(self, x):
        if FAULT == "raises":
            raise ValueError("this kind is broken")
        if FAULT == "exits":
            raise SystemExit(0)
        if FAULT == "nan":
            return x * math.nan
        return x.new_zeros(10**14)
FAULT = "%s"
"""
)


def feasible(context, generator):
    """A random proposal within the FLOPs budget."""
    while context.violation(proposal := context.counted(Proposal(*context.space.random(generator)))) is not None:
        pass
    return proposal


def claimed(stored, context, proposal=None, worker="w"):
    """File a proposal (a random one) and claim it."""
    proposal = proposal or feasible(context, random.Random(3))
    key = candidate_key(proposal.topology, proposal.settings)
    parameters = context.space.encode(proposal.topology, proposal.settings)
    candidates.propose(stored.database, stored.id, key, proposal, parameters)
    held = candidates.claim(stored.database, stored.id, worker, context.distributions)
    assert held is not None
    return held


def training(stored, context, held, asked=None):
    return CandidateTraining(context, stored.database, held, "cpu", asked or Asked())


def without_times(curve):
    return [{name: value for name, value in point.items() if name != "seconds"} for point in curve]


def test_a_finished_candidate_has_measures_errors_a_curve_and_weights(make_study, start):
    stored, context = start(make_study())
    training(stored, context, claimed(stored, context)).run()
    (record,) = records.read_records(stored)
    assert record.state == "finished", record.traceback or record.reason
    assert {"accuracy", "skill", "loss", "flops", "parameters", "latency", "latency_256", "modularity", "necessity",
            "independence", "wiring_density", "seconds", "test_accuracy"} <= record.measures.keys()  # fmt: skip
    assert {"accuracy", "skill", "modularity"} <= record.standard_errors.keys()
    assert record.score == pytest.approx(stored.study.objective.score(record.measures))
    assert len(record.curve) == 3
    assert len(records.weights(stored, record)) > 1000


@pytest.mark.parametrize("known", [True, False])
def test_a_worker_counts_the_flops_only_of_a_candidate_that_was_filed_without(make_study, start, monkeypatch, known):
    stored, context = start(make_study(epochs=1))
    proposal = feasible(context, random.Random(3))
    counted = []
    count = flops.count_flops
    monkeypatch.setattr("nasmod.networks.flops.count_flops", lambda plan: counted.append(plan) or count(plan))
    held = claimed(stored, context, proposal if known else replace(proposal, flops=None))
    training(stored, context, held).run()
    (record,) = records.read_records(stored)
    assert record.measures["flops"] == proposal.flops
    assert len(counted) == (0 if known else 1)


def test_a_candidate_handed_back_and_claimed_again_has_the_curve_of_one_that_was_not(
    make_study, start, tmp_path, monkeypatch
):
    monkeypatch.setattr("nasmod.search.candidate.SNAPSHOT_SECONDS", 0.0)  # a state to hand back after every epoch
    stored, context = start(make_study(epochs=5))
    proposal = feasible(context, random.Random(3))
    asked = Asked()
    broken = training(stored, context, claimed(stored, context, proposal), asked)
    report = broken._report

    def ask_after_two(epoch):
        if epoch.number == 2:
            asked.set()
        return report(epoch)

    broken._report = ask_after_two
    broken.run()
    (record,) = records.read_records(stored)
    assert (record.state, len(record.curve)) == ("queued", 2)
    again = candidates.claim(stored.database, stored.id, "v", context.distributions)
    training(stored, context, again).run()
    (whole,) = records.read_records(stored)

    # the same candidate in one go, in a database of its own
    (tmp_path / "other").mkdir()
    from nasmod.study import Database, create_or_join

    database = Database.create(str(tmp_path / "other" / "b.db"))
    other = create_or_join(database, stored.study, stored.fingerprint, {})
    training(other, context, claimed(other, context, proposal)).run()
    (reference,) = records.read_records(other)
    database.close()
    assert without_times(whole.curve) == without_times(reference.curve)
    steady = {name for name in reference.measures if not name.startswith(("latency", "seconds"))}
    assert {n: whole.measures[n] for n in steady} == {n: reference.measures[n] for n in steady}


def test_an_early_stop_is_stored_with_its_reason_and_the_measures_of_its_rung(make_study, start):
    stored, context = start(make_study(stopping="halving", more="rungs = [1]\nresults = 2", epochs=4, trials=30))
    generator = random.Random(0)
    states = []
    while "stopped" not in states:
        proposal = feasible(context, generator)
        if any(record.proposal.topology.key == proposal.topology.key for record in records.read_records(stored)):
            continue
        held = claimed(stored, context, proposal, f"w{len(states)}")
        training(stored, context, held).run()
        states = [record.state for record in records.read_records(stored)]
    record = next(record for record in records.read_records(stored) if record.state == "stopped")
    assert len(record.curve) == 1
    assert "is under" in record.reason
    assert record.score is not None
    assert "modularity" in record.measures
    assert record.measures["accuracy"] == record.curve[-1]["averaged_accuracy"]  # that of the averaged weights


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raises", "ValueError: this kind is broken"),
        ("exits", "SystemExit: 0"),
        pytest.param("nan", "The loss is not finite", marks=pytest.mark.slow),
        pytest.param("memory", "memory", marks=pytest.mark.slow),
    ],
)
def test_a_kind_that_fails_fails_its_candidate_with_the_reason(make_study, start, tmp_path, fault, reason):
    name = f"broken_{fault}"
    (tmp_path / "kinds.py").write_text(BROKEN % (name, fault))
    (tmp_path / "broken.toml").write_text(f"[modules]\nmin = 1\nmax = 1\n[kinds.{name}]\n[wiring]\nedges = 'free'\n")
    stored, context = start(make_study(space="broken.toml", top="plugins = ['kinds.py']"))
    training(stored, context, claimed(stored, context)).run()
    (record,) = records.read_records(stored)
    assert record.state == "failed"
    assert reason in record.reason
    if fault == "raises":
        assert "Traceback" in record.traceback
    import optuna

    trial = optuna.load_study(study_name="small", storage=stored.database.url).trials[0]
    assert (trial.state, trial.user_attrs["reason"]) == (TrialState.FAIL, record.reason)


def test_a_lost_claim_is_dropped_without_a_trace(make_study, start):
    stored, context = start(make_study())
    held = claimed(stored, context)
    recovery.sweep(stored.database, held.id, *recovery.running(stored.database, stored.id)[held.id])
    with pytest.raises(ClaimLost):
        training(stored, context, held).run()
    (record,) = records.read_records(stored)
    assert (record.state, record.curve) == ("queued", ())


def test_an_order_to_end_interrupts_an_epoch_but_no_transaction(make_study, start):
    stored, context = start(make_study())
    running = training(stored, context, claimed(stored, context))
    seen = []
    report = running._report

    def watching(epoch):
        seen.append(running.interruptible)
        return report(epoch)

    running._report = watching
    running.run()
    assert seen == [False] * 3
    assert not running.interruptible
