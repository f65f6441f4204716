"""Strategies: what each new one must keep, and what sets these apart."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from nasmod import registry
from nasmod.errors import StudyError
from nasmod.search import strategies
from nasmod.search.strategies.evolution import Evolution, EvolutionSettings
from nasmod.search.strategies.local import Local, LocalSettings
from nasmod.search.strategies.optuna import Nsga2, Nsga2Settings
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal, read
from nasmod.testing import StrategySuite
from nasmod.testing.strategies import made_up
from tests.search.searching import COMBINED, PARETO, dense_space, searched


class Broken:
    """A user's strategy that raises, or finds nothing."""

    def __init__(self, *given: object) -> None: ...

    def propose(self, records: object, count: int) -> list[Proposal]:
        if records:
            return []
        raise ValueError("it is broken")


def test_a_strategy_that_fails_is_named_in_one_line(space: Space, register: Callable[..., None]):
    register("strategy", "broken", Broken, strategies.StrategySettings)
    definition = read("digits").model_copy(update={"strategy": {"name": "broken"}})
    with pytest.raises(StudyError, match="strategy 'broken' failed: ValueError: it is broken"):
        strategies.make(definition, space, 0).propose([], 1)
    with pytest.raises(StudyError, match="strategy 'broken' proposed nothing"):
        strategies.make(definition, space, 0).propose([object()], 1)


@pytest.mark.parametrize(
    ("proposed", "words"),
    [
        (lambda proposal: [None], "proposed None, which is no `Proposal`"),
        (lambda proposal: proposal, "not iterable"),
        (lambda proposal: [replace(proposal, parent=5)], "cannot be stored: the parent of a proposal is a key, not 5"),
        (lambda proposal: [replace(proposal, origin={"why": {1}})], "cannot be stored: Object of type set"),
        (lambda proposal: [replace(proposal, origin={"why": math.nan})], "cannot be stored: Out of range float"),
        (lambda proposal: sys.exit(0), "failed: SystemExit: 0"),
    ],
)
def test_what_could_not_be_read_back_is_never_stored(space: Space, register: Callable[..., None], proposed, words):
    proposal = Proposal(space.random(random.Random(0))[0])

    class Odd(Broken):
        def propose(self, records: object, count: int) -> list[Proposal]:
            return proposed(proposal)

    register("strategy", "odd", Odd, strategies.StrategySettings)
    definition = read("digits").model_copy(update={"strategy": {"name": "odd"}})
    with pytest.raises(StudyError, match=f"strategy 'odd' .*{words}"):
        strategies.make(definition, space, 0).propose([], 1)


@pytest.fixture(scope="module")
def space() -> Space:
    return dense_space()


FEW = {name: {"initial": 6} for name in ("evolution", "graph_bo", "local", "tpe")} | {"nsga2": {"population": 6}}
for name in [
    name for name in registry.names("strategy") if not name.startswith("nni.")
]:  # they have tests of their own
    own = {"name": name, "chosen": FEW.get(name, {})}
    globals()[f"Test{name.title()}"] = type(f"Test{name.title()}", (StrategySuite,), own)


def test_the_generator_comes_from_the_seed_and_the_number_of_proposals(space, make_study):
    study = make_study()
    drawn = [strategies.make(study, space, number).propose([], 1)[0].topology.key for number in (0, 1, 0)]
    assert drawn[0] == drawn[2] != drawn[1]


def test_evolution_edits_the_best_of_its_sample(space):
    records = [made_up(space, Proposal(*space.random(random.Random(seed))), seed, COMBINED) for seed in range(12)]
    settings = EvolutionSettings(population=12, sample=12, initial=1)
    (child,) = Evolution(settings, space, random.Random(0), COMBINED).propose(records, 1)
    assert child.parent == max(records, key=lambda record: (record.score, record.id)).key
    assert child.topology.key != records[0].proposal.topology.key


def test_evolution_forgets_the_old(space):
    young = [made_up(space, Proposal(*space.random(random.Random(seed))), seed, COMBINED) for seed in range(20)]
    settings = EvolutionSettings(population=5, sample=5, initial=1)
    parents = {
        Evolution(settings, space, random.Random(seed), COMBINED).propose(young, 1)[0].parent for seed in range(10)
    }
    assert parents <= {record.key for record in young[-5:]}


def test_evolution_with_several_directions_chooses_parents_on_the_front(space):
    records = [made_up(space, Proposal(*space.random(random.Random(seed))), seed, PARETO) for seed in range(12)]
    settings = EvolutionSettings(population=12, sample=12, initial=1)
    beaten = {"skill": 0.05, "modularity": 0.0, "flops": 90_000.0}  # in every direction, by every other
    records[::2] = [replace(record, measures=beaten) for record in records[::2]]
    front = {record.key for record in records[1::2]}
    for seed in range(10):
        (child,) = Evolution(settings, space, random.Random(seed), PARETO).propose(records, 1)
        assert child.parent in front


def test_local_search_edits_the_best_until_nothing_better_comes_and_then_begins_anew(space):
    records = searched(space, "local", COMBINED, 60, initial=3, patience=6)
    begun = [record.proposal.origin["restart"] for record in records]
    assert begun == sorted(begun)
    assert max(begun) >= 2
    for number in range(max(begun)):
        members = [record for record in records if record.proposal.origin["restart"] == number]
        assert [record.proposal.parent for record in members[:3]] == [None] * 3
        edits = {record.proposal.parent for record in members[3:]}
        assert edits <= {record.key for record in members}  # nothing of an earlier search
        trained = [record for record in members if record.score is not None]
        best = max(trained, key=lambda record: (record.score, -record.id))
        assert len(members) - 1 - members.index(best) >= 6


def test_local_search_with_several_directions_edits_what_no_other_beats(space):
    records = [made_up(space, Proposal(*space.random(random.Random(seed))), seed, PARETO) for seed in range(12)]
    beaten = {"skill": 0.05, "modularity": 0.0, "flops": 90_000.0}  # in every direction, by every other
    records[::2] = [replace(record, measures=beaten) for record in records[::2]]
    front = {record.key for record in records[1::2]}
    for seed in range(10):
        (child,) = Local(LocalSettings(initial=1), space, random.Random(seed), PARETO).propose(records, 1)
        assert child.parent in front


def test_local_search_begins_anew_where_every_neighbour_is_known():
    """Two topologies in all: the best has one neighbour, and that was trained."""
    pair = SpaceFile.from_table({"modules": {"min": 1, "max": 1}, "kinds": {"dense": {"width": [8, 16]}}})
    small = Space(pair, {"x": (64,)}, {"y": (10,)})
    records = [
        made_up(small, Proposal(topology, settings), number, COMBINED)
        for number, (topology, settings) in enumerate(small.proposals(10))
    ]
    assert len(records) == 2
    (proposal,) = Local(LocalSettings(initial=1), small, random.Random(0), COMBINED).propose(records, 1)
    assert (proposal.parent, proposal.origin["restart"]) == (None, 1)


def test_the_simple_wirings_at_the_start_are_parents_and_replace_no_random_draw(space):
    opening = [made_up(space, Proposal(*space.random(random.Random(seed))), seed, COMBINED) for seed in range(6)]
    opening = [replace(record, proposal=replace(record.proposal, origin={"reference": "chain"})) for record in opening]
    settings = EvolutionSettings(population=12, sample=6, initial=1)
    (first,) = Evolution(settings, space, random.Random(0), COMBINED).propose(opening, 1)
    assert first.parent is None
    drawn = made_up(space, first, 6, COMBINED, "stopped")
    (child,) = Evolution(settings, space, random.Random(0), COMBINED).propose([*opening, drawn], 1)
    assert child.parent in {record.key for record in opening}


def test_nsga2_goes_on_with_its_generations_from_the_database(space):
    """What Optuna notes on a trial travels with the proposal: without it every proposal is of generation 0."""
    records = searched(space, "nsga2", PARETO, 24, population=6)
    generations = [
        value
        for record in records
        for key, value in record.proposal.origin["system_attributes"].items()
        if "generation" in key
    ]
    assert len(generations) == 24
    assert generations[0] == 0
    assert max(generations) >= 2
    strategy = Nsga2(Nsga2Settings(population=6), space, random.Random(0), PARETO)
    assert strategy.propose(records, 1)[0].origin["system_attributes"]
