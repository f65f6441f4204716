"""The controller, tick by tick: how a search ends, goes on, and never stands still for long."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

import pytest

from nasmod.errors import StudyError
from nasmod.search import controller as steering
from nasmod.search import proposing
from nasmod.search.asking import Asked
from nasmod.search.candidate import CandidateTraining
from nasmod.search.controller import Controller
from nasmod.search.strategies import StrategySettings
from nasmod.search.strategies.random import draw
from nasmod.search.worker import Orders, Worker
from nasmod.study import Proposal, candidates, recovery
from nasmod.study.files import sweep_weights
from nasmod.study.records import RecordReader
from nasmod.study.stored import FAILURES_IN_ROW, lease, proposals, raise_budget, reopen, status
from nasmod.topology import Node, Topology
from tests.study.conftest import RESULT


@pytest.fixture
def steered(make_study, start):
    """A study whose search ends after one finished candidate and twenty failed ones, with its controller."""
    stored, context = start(make_study(trials=40, finalists=1))
    controller = Controller(context, stored, "controller", workers=2, lease_seconds=60.0)

    def claim():
        controller.tick()
        held = candidates.claim(stored.database, stored.id, "w", context.distributions)
        assert held is not None
        return held

    candidates.finish(stored.database, claim(), RESULT, [0.5], weights=b"weights")
    for _ in range(FAILURES_IN_ROW):
        candidates.fail(stored.database, claim(), "no memory")
    tick_until(controller, "repeating")
    return stored, controller, claim


def tick_until(controller: Controller, state: str) -> None:
    for _ in range(20):
        if controller.tick().state == state:
            return
    raise AssertionError(state)


def test_a_search_that_failures_ended_goes_on_after_its_finalists_were_repeated(steered):
    stored, controller, claim = steered
    for _ in range(stored.study.repeats):
        held = claim()
        assert held.role == "repeat"
        candidates.finish(stored.database, held, RESULT, [0.5])
    tick_until(controller, "ended")
    assert status(stored).reason.startswith("20 candidates failed in a row")
    reopen(stored)  # as `resume` does
    raise_budget(stored, None, None)
    assert (status(stored).state, status(stored).failures_in_row) == ("searching", 0)
    assert claim().role == "search"


def test_the_best_twenty_and_what_finalists_may_make_room_for_keep_their_weights(make_study, start):
    stored, context = start(make_study(trials=40, finalists=1))
    controller = Controller(context, stored, "controller", workers=2, lease_seconds=60.0)
    for number in range(25):  # each beats all before it in every direction
        controller.tick()
        held = candidates.claim(stored.database, stored.id, "w", context.distributions)
        measures = {"skill": 0.5 + number / 100, "modularity": number / 100, "flops": 1000.0 - number}
        score = context.objective.score(measures)
        result = {"measures": measures, "standard_errors": {}, "score": score}
        candidates.finish(stored.database, held, result, [score], weights=b"weights")
    controller._sweep_weights()
    assert [record.weights is not None for record in controller.reader.read()][:25] == [False] * 3 + [True] * 22


def test_what_cannot_be_exported_is_no_finalist(make_study, start):
    stored, context = start(make_study(trials=2, finalists=1))
    controller = Controller(context, stored, "controller", workers=1, lease_seconds=60.0)
    for skill in (0.9, 0.5):
        controller.tick()
        held = candidates.claim(stored.database, stored.id, "w", context.distributions)
        measures = {**RESULT["measures"], "skill": skill}
        result = {"measures": measures, "standard_errors": {}, "score": context.objective.score(measures)}
        candidates.finish(stored.database, held, result, [skill], weights=b"weights")
    best, second = controller.reader.read()
    stored.database.transact(lambda connection: sweep_weights(connection, stored.id, {second.id}, None))
    tick_until(controller, "repeating")
    controller.tick()
    filed = [record for record in controller.reader.read() if record.role == "repeat"]
    assert {record.proposal.origin["repeat_of"] for record in filed} == {second.key} != {best.key}


def test_what_is_tried_again_while_finalists_are_repeated_is_searched(steered):
    stored, _, claim = steered
    assert recovery.retry(stored.database, stored.id) == FAILURES_IN_ROW
    assert status(stored).state == "searching"
    assert claim().role == "search"


def test_what_is_tried_again_in_the_moment_in_which_a_search_ends_is_searched(steered):
    stored, controller, _ = steered
    recovery.retry(stored.database, stored.id)
    steering.stored.move_on(stored, "searching", "repeating", "exhausted")  # it was decided before
    assert controller.tick().state == "searching"
    assert status(stored).reason is None


def test_failures_that_were_queued_again_since_the_status_was_read_end_nothing(steered):
    stored, controller, _ = steered
    before = status(stored)
    recovery.retry(stored.database, stored.id)
    assert controller._reason_to_end(before) is None


@pytest.mark.slow
def test_a_space_in_which_little_is_new_is_drawn_from_over_many_short_ticks(make_study, start, monkeypatch):
    stored, context = start(make_study(space="tiny", trials=200))
    controller = Controller(context, stored, "controller", workers=2, lease_seconds=60.0)
    monkeypatch.setattr(proposing, "FILLING_SECONDS", 0.002)  # the thread gives up after so long
    ticks = 0
    while (found := controller.tick()).state == "searching" and ticks < 10_000:
        ticks += 1
        held = candidates.claim(stored.database, stored.id, "w", context.distributions)
        if held is not None:
            candidates.finish(stored.database, held, RESULT, [0.5])
    assert found.reason.startswith("exhausted")
    assert ticks > 55  # a draw each, of which some are not new


class Finder:
    """A strategy that finds what a test says, however much it is asked for."""

    at_once = 3
    found: ClassVar[list[Proposal]] = []

    def __init__(self, settings, space, generator, objective): ...

    def propose(self, records, count):
        return self.found


def row(*widths: int) -> Proposal:
    """Dense modules beside each other."""
    params = {"depth": 3, "normalisation": "none", "activation": "gelu", "residual": True}
    modules = [Node("dense", (0,), {"width": width, **params}) for width in widths]
    output = Node("output", tuple(range(1, len(widths) + 1)), {"name": "y"})
    nodes = (Node("input", (), {"name": "x"}), *modules, output)
    return Proposal(Topology(nodes), {"learning_rate": 0.004, "label_smoothing": 0.0}, None, {"why": "said so"})


def test_what_a_strategy_finds_at_once_is_filed_at_once(make_study, start, monkeypatch, register):
    """New ones as they come; where they are too few, what is known or over the FLOPs budget is counted."""
    register("strategy", "finder", Finder, StrategySettings)
    stored, context = start(make_study(trials=40).model_copy(update={"strategy": {"name": "finder"}}))
    proposer = proposing.Proposer(context, stored, RecordReader(stored))

    def file(wanted: int, *found: Proposal) -> int | str:
        monkeypatch.setattr(Finder, "found", list(found))
        return proposer.file(proposer.reader.read(), wanted)

    assert file(1, row(8), row(16)) == 1
    too_large = row(128, 128, 128)
    assert file(3, row(8), row(16), row(16), too_large, row(32), row(8, 8), row(8, 16)) == 3
    assert [record.proposal.topology.key for record in proposer.reader.read()] == [
        proposal.topology.key for proposal in (row(8), row(16), row(32), row(8, 8))
    ]
    assert (proposals(stored), status(stored).duplicates, status(stored).infeasible) == (4, 0, 0)
    assert file(3, row(8), too_large, row(8, 16)) == 1
    assert (proposals(stored), status(stored).duplicates, status(stored).infeasible) == (7, 1, 1)


def test_a_strategy_that_says_nothing_of_it_is_asked_for_one_at_a_time(make_study, start, monkeypatch, register):
    """So each proposal's generator comes from how many there were, whichever process asks and when."""
    register("strategy", "finder", type("OneAtATime", (Finder,), {"at_once": 1}), StrategySettings)
    stored, context = start(make_study(trials=40).model_copy(update={"strategy": {"name": "finder"}}))
    proposer = proposing.Proposer(context, stored, RecordReader(stored))
    monkeypatch.setattr(Finder, "found", [row(8), row(16), row(32)])
    assert [proposer.file(proposer.reader.read(), 5) for _ in range(3)] == [1, 1, 1]
    assert proposals(stored) == 3


class Slow:
    """A strategy that thinks until it is told what to do."""

    thinking, told = threading.Event(), threading.Event()
    fails = False

    def __init__(self, settings, space, generator, objective):
        self.space, self.generator = space, generator

    def propose(self, records, count):
        self.thinking.set()
        self.told.wait()
        if self.fails:
            raise ValueError("it came to nothing")
        return [draw(self.space, self.generator, "slow", "after long thought")]


@pytest.mark.parametrize("fails", [False, True])
def test_however_long_a_strategy_thinks_the_controller_keeps_its_lease(make_study, start, monkeypatch, register, fails):
    monkeypatch.setattr(proposing, "WAITED_SECONDS", 0.05)
    monkeypatch.setattr(steering, "LEASE_BEAT_SECONDS", 0.0)
    monkeypatch.setattr(Slow, "fails", fails)
    register("strategy", "slow", Slow, StrategySettings)
    Slow.thinking.clear()
    Slow.told.clear()
    stored, context = start(make_study().model_copy(update={"strategy": {"name": "slow"}}))
    controller = Controller(context, stored, "controller", workers=1, lease_seconds=60.0)
    while not Slow.thinking.is_set():
        controller.tick()
    beats = [lease(stored)[2] for _ in range(5) if controller.tick().queued == 0]
    assert beats == list(range(beats[0], beats[0] + 5))
    Slow.told.set()
    if fails:
        with pytest.raises(StudyError, match="The strategy 'slow' failed: ValueError: it came to nothing"):
            tick_until(controller, "ended")
    else:
        while not controller.tick().queued:
            pass
        controller.release()
        assert controller.reader.read()[0].proposal.origin["why"] == "after long thought"


@pytest.mark.parametrize("storing", [True, False])
def test_time_that_the_database_takes_is_not_the_candidates(make_study, start, monkeypatch, storing):
    """A candidate that stands still is failed, and its process ended; one whose report waits for a server is not."""
    study = make_study()
    study = study.model_copy(update={"training": study.training.model_copy(update={"seconds_per_epoch": 1.0})})
    stored, context = start(study)
    Controller(context, stored, "controller", 1, 60.0).tick()
    worker = Worker(Orders("w", "", "small", "cpu", 1, 1.0), stored, context)
    held = candidates.claim(stored.database, stored.id, "w", context.distributions)
    training = CandidateTraining(context, stored.database, held, "cpu", Asked())
    ended = []
    monkeypatch.setattr("nasmod.search.worker.os._exit", ended.append)
    monkeypatch.setattr("nasmod.search.worker.logging.shutdown", lambda: None)
    training.progressed_at = time.monotonic() - 3600
    if storing:
        with training._storing():
            worker._end_if_hung(training)
        worker._end_if_hung(training)  # it starts anew
    else:
        worker._end_if_hung(training)
    assert ended == ([] if storing else [3])
    assert status(stored).failed == (0 if storing else 1)
