"""What holds for every strategy."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from nasmod import registry
from nasmod.measures.objective import Objective
from nasmod.search.strategies.strategy import Named
from nasmod.space import Space
from nasmod.study import TRAINED, Proposal, Record, candidate_key, check_settings
from nasmod.study.record import State

OBJECTIVES = {
    "combined": Objective(flops_budget=100_000),
    "pareto": Objective(flops_budget=100_000, mode="pareto"),
}
INPUTS, OUTPUTS = {"x": (1, 8, 8)}, {"y": (10,)}
AT_ONCE = 64
DRAWS = 20 * AT_ONCE  # until so many are found; a study takes duplicates as lightly
each_space = pytest.mark.parametrize("space", sorted(registry.packaged("search_spaces")))
each_mode = pytest.mark.parametrize("mode", sorted(OBJECTIVES))


class StrategySuite:
    """Inherit it for a registered strategy, with settings `chosen` other than its defaults if you like."""

    name: ClassVar[str]
    chosen: ClassVar[Mapping[str, Any]] = {}

    @each_mode
    @each_space
    def test_what_it_proposes_is_of_the_space_and_says_why(self, space: str, mode: str) -> None:
        """After candidates that finished, were stopped or paused, failed, run, wait, or have undefined measures."""
        found = shipped(space)
        records = history(found, OBJECTIVES[mode], 40)
        for known in ([], records[:1], [record for record in records if record.state == "failed"], records):
            for proposal in self._propose(found, OBJECTIVES[mode], known, len(known), 2):
                assert found.encode(proposal.topology, proposal.settings)
                assert proposal.origin["strategy"]
                assert proposal.origin["why"]
                assert proposal.parent is None or proposal.parent in {record.key for record in known}

    @each_mode
    def test_another_process_proposes_the_same(self, mode: str) -> None:
        """Nothing counts but the records and the generator: a strategy has no state of its own."""
        space = shipped("dense")
        records = history(space, OBJECTIVES[mode], 40)
        first = self._propose(space, OBJECTIVES[mode], records, 40, 3)
        self._propose(space, OBJECTIVES[mode], records[:20], 20, 3)
        assert self._propose(space, OBJECTIVES[mode], records, 40, 3) == first

    @each_mode
    def test_as_many_workers_as_ask_get_different_ones(self, mode: str) -> None:
        """One after another, while those before are queued; known ones are drawn again, as in a study."""
        space = shipped("dense")
        records = history(space, OBJECTIVES[mode], 30)
        keys = {record.key for record in records}
        filed = len(keys)
        for number in itertools.count(30):
            if len(keys) == filed + AT_ONCE:
                break
            assert number < DRAWS, f"{len(keys) - filed} new ones in {number} draws"
            (proposal, *_) = self._propose(space, OBJECTIVES[mode], records, number, 1)
            if (key := candidate_key(proposal.topology, proposal.settings)) not in keys:
                keys.add(key)
                records.append(made_up(space, proposal, len(records), OBJECTIVES[mode], "queued"))

    def _propose(
        self, space: Space, objective: Objective, records: Sequence[Record], number: int, count: int
    ) -> list[Proposal]:
        """As a study asks: a failure names the strategy, and what could not be stored is refused."""
        settings = check_settings("strategy", self.name, self.chosen, "settings")
        generator = random.Random(number)
        made = registry.resolve("strategy", self.name)
        return Named(self.name, lambda: made(settings, space, generator, objective)).propose(records, count)


def shipped(name: str) -> Space:
    """A packaged space on images of 8x8 pixels."""
    return Space.load(registry.packaged("search_spaces")[name], INPUTS, OUTPUTS)


def history(space: Space, objective: Objective, count: int) -> list[Record]:
    """Random candidates with made-up results, in every state that a study knows; fewer in a smaller space."""
    states: tuple[State, ...] = ("finished", "stopped", "finished", "failed", "paused", "running", "queued")
    generator = random.Random(0)
    found: dict[str, Record] = {}
    for _ in range(20 * count):
        proposal = Proposal(*space.random(generator), None, {"strategy": "random", "why": "drawn at random"})
        record = made_up(space, proposal, len(found), objective, states[len(found) % len(states)])
        found.setdefault(record.key, record)
        if len(found) == count:
            break
    return list(found.values())


def made_up(space: Space, proposal: Proposal, number: int, objective: Objective, state: State = "finished") -> Record:
    """A record: the more modules, the better and the dearer; every tenth has an undefined modularity."""
    size = proposal.topology.module_count
    modularity = math.nan if number % 10 == 4 else 0.1 + 0.01 * (number % 7)
    measures = {"skill": size / 10, "accuracy": size / 10, "modularity": modularity, "flops": 1000.0 * size}
    trained = state in TRAINED
    return Record(
        number=None if state == "queued" else number,
        key=candidate_key(proposal.topology, proposal.settings),
        state=state,
        proposal=proposal,
        measures=measures if trained else {},
        standard_errors={},
        score=objective.score(measures) if trained else None,
        curve=({"epoch": 1.0, "validation_accuracy": size / 10},) if trained else (),
        reason="made up" if state in ("failed", "stopped", "paused") else None,
        weights=None,
        parameters=space.encode(proposal.topology, proposal.settings),
        id=number,
    )
