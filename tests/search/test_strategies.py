"""Strategies: what each new one must keep, and what sets these apart."""

from __future__ import annotations

import math
import random
import statistics
import sys
from dataclasses import replace

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from nasmod import registry
from nasmod.errors import StudyError
from nasmod.measures import Objective
from nasmod.search import strategies
from nasmod.search.strategies.evolution import Evolution, EvolutionSettings
from nasmod.search.strategies.features import features
from nasmod.search.strategies.gaussian_process import GaussianProcess
from nasmod.search.strategies.graph_bo import GraphBo, GraphBoSettings
from nasmod.search.strategies.local import Local, LocalSettings
from nasmod.search.strategies.optuna import Nsga2, Nsga2Settings
from nasmod.search.strategies.surrogate import at_the_end
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal, Record, candidate_key, read
from nasmod.study.definition import read_toml
from nasmod.testing import StrategySuite
from nasmod.testing.strategies import made_up
from nasmod.topology import Node, Topology

COMBINED = Objective(flops_budget=100_000)
PARETO = Objective(flops_budget=100_000, mode="pareto")


class Broken:
    """A user's strategy that raises, or finds nothing."""

    def __init__(self, *given: object) -> None: ...

    def propose(self, records: object, count: int) -> list[Proposal]:
        if records:
            return []
        raise ValueError("it is broken")


def test_a_strategy_that_fails_is_named_in_one_line(space: Space, monkeypatch: pytest.MonkeyPatch):
    name = ("strategy", "broken")
    monkeypatch.setitem(registry._entries, name, registry.Entry(*name, Broken, strategies.StrategySettings))
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
def test_what_could_not_be_read_back_is_never_stored(space: Space, monkeypatch: pytest.MonkeyPatch, proposed, words):
    proposal = Proposal(space.random(random.Random(0))[0])

    class Odd(Broken):
        def propose(self, records: object, count: int) -> list[Proposal]:
            return proposed(proposal)

    name = ("strategy", "odd")
    monkeypatch.setitem(registry._entries, name, registry.Entry(*name, Odd, strategies.StrategySettings))
    definition = read("digits").model_copy(update={"strategy": {"name": "odd"}})
    with pytest.raises(StudyError, match=f"strategy 'odd' .*{words}"):
        strategies.make(definition, space, 0).propose([], 1)


@pytest.fixture(scope="module")
def space() -> Space:
    table = read_toml(registry.packaged("search_spaces")["dense"])
    return Space(SpaceFile.from_table(table), {"x": (64,)}, {"y": (10,)})


def searched(space: Space, name: str, objective: Objective, count: int, **settings: object) -> list[Record]:
    """A search of `count` candidates, one after the other, some of them stopped, failed, or still running."""
    model, target = registry.settings("strategy", name), registry.resolve("strategy", name)
    records: list[Record] = []
    for number in range(count):
        strategy = target(model(**settings), space, random.Random(number), objective)
        proposal = strategy.propose(records, 1)[0]
        state = {5: "stopped", 7: "failed"}.get(number % 9, "finished")
        records.append(made_up(space, proposal, number, objective, "running" if number == count - 1 else state))
    return records


FEW = {name: {"initial": 6} for name in ("evolution", "graph_bo", "local", "tpe")} | {"nsga2": {"population": 6}}
for name in registry.names("strategy"):
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


def test_bayesian_optimisation_over_graphs_learns_what_is_good(space):
    """In the made-up results more modules are better, up to the space's eight."""
    records = searched(space, "graph_bo", COMBINED, 45, initial=10)
    drawn, proposed = records[:10], records[20:]
    mean = {
        name: sum(record.proposal.topology.module_count for record in of) / len(of)
        for name, of in (("drawn", drawn), ("proposed", proposed))
    }
    assert mean["proposed"] > mean["drawn"] + 1
    assert {record.proposal.origin["why"].split(",")[0].split(" of")[0] for record in proposed} > {"the most promising"}


def test_bayesian_optimisation_over_graphs_learns_which_training_settings_every_topology_wants(space):
    """In the made-up results the best learning rate is far from where the study begins."""
    wanted, records = math.log(1.2e-2), []
    for number in range(40):
        strategy = GraphBo(GraphBoSettings(initial=10), space, random.Random(number), COMBINED)
        record = made_up(space, strategy.propose(records, 1)[0], number, COMBINED)
        missed = abs(math.log(record.proposal.settings["learning_rate"]) - wanted)
        records.append(replace(record, score=0.5 + 0.3 * record.score - 0.1 * missed))
    missed = [abs(math.log(record.proposal.settings["learning_rate"]) - wanted) for record in records]
    assert statistics.median(missed[20:]) < 0.5 < 1 < statistics.median(missed[:10])


def test_bayesian_optimisation_over_graphs_tries_trained_topologies_with_the_training_settings_of_others(space):
    records = searched(space, "graph_bo", COMBINED, 30, initial=10)
    trained = {record.proposal.topology.key: record for record in records}
    found = GraphBo(GraphBoSettings(), space, random.Random(0), COMBINED).propose(records, 1)
    again = [proposal for proposal in found if proposal.origin["why"].startswith("promising: the topology of #")]
    assert again
    for proposal in again:
        assert proposal.settings != trained[proposal.topology.key].proposal.settings
        assert proposal.settings in [record.proposal.settings for record in records]


def test_bayesian_optimisation_over_graphs_proposes_nothing_known_while_there_is_something_new(space):
    records = searched(space, "graph_bo", COMBINED, 30, initial=10)
    known = {record.key for record in records}
    for seed in range(5):
        found = GraphBo(GraphBoSettings(), space, random.Random(seed), COMBINED).propose(records, 1)
        assert not known & {candidate_key(proposal.topology, proposal.settings) for proposal in found}


def test_bayesian_optimisation_over_graphs_gives_many_workers_different_proposals(space):
    records = searched(space, "graph_bo", COMBINED, 30, initial=10)
    found = GraphBo(GraphBoSettings(pool=120), space, random.Random(0), COMBINED).propose(records, 64)
    keys = [candidate_key(proposal.topology, proposal.settings) for proposal in found]
    assert len(set(keys)) == len(keys) >= 64
    again = GraphBo(GraphBoSettings(pool=120), space, random.Random(0), COMBINED).propose(records, 64)
    assert [candidate_key(proposal.topology, proposal.settings) for proposal in again] == keys


@pytest.mark.parametrize("objective", [COMBINED, PARETO], ids=["combined", "pareto"])
def test_bayesian_optimisation_over_graphs_does_not_edit_one_topology_alone(space, objective):
    """The best topology was trained with many settings; they are not all of the eight parents."""
    records = searched(space, "graph_bo", objective, 20, initial=20)
    trained = [record for record in records if record.score is not None]
    best = replace(trained[0], score=0.99, measures={"skill": 0.99, "modularity": 0.9, "flops": 10.0})
    generator = random.Random(0)
    for number in range(12):
        proposal = replace(best.proposal, settings=space.random(generator)[1])
        records.append(replace(best, id=100 + number, key=f"settings {number}", proposal=proposal))
    trained = [record for record in records if record.score is not None]
    strategy = GraphBo(GraphBoSettings(), space, random.Random(0), objective)
    means = np.array([[record.score] * (1 if objective is COMBINED else 3) for record in trained])
    parents = strategy._parents(trained, means)
    assert len(parents) == len({parent.proposal.topology.key for parent in parents}) == 8
    assert parents[0].proposal.topology.key == best.proposal.topology.key


def test_bayesian_optimisation_over_graphs_puts_last_what_another_training_would_hardly_tell(space):
    """A topology trained fifteen times with settings close together: those once more, others, and another topology."""
    near = {"learning_rate": 4e-3, "label_smoothing": 0.0}
    records = [record for record in searched(space, "graph_bo", COMBINED, 40, initial=40) if record.score is not None]
    missed = [abs(math.log(record.proposal.settings["learning_rate"] / 4e-3)) for record in records]
    records = [replace(record, score=0.9 - 0.3 * far) for record, far in zip(records, missed, strict=True)]
    best = records[0]
    for number in range(15):
        proposal = replace(best.proposal, settings={**near, "learning_rate": 4e-3 * 1.01**number})
        records.append(replace(best, id=100 + number, proposal=proposal, score=0.95 + 0.001 * (number % 3)))
    pool = [
        replace(best.proposal, settings={**near, "learning_rate": 4.1e-3}),
        replace(best.proposal, settings={"learning_rate": 2e-2, "label_smoothing": 0.1}),
        Proposal(*space.random(random.Random(99))),
    ]
    strategy = GraphBo(GraphBoSettings(), space, random.Random(0), COMBINED)
    model = GaussianProcess([features(r.proposal.topology, r.proposal.settings) for r in records], at_the_end(records))
    posterior = model.posterior([features(proposal.topology, proposal.settings) for proposal in pool])
    assert strategy._is_told(records, pool, [posterior]).tolist() == [True, False, False]


def test_bayesian_optimisation_over_graphs_finds_more_of_a_front_than_random_draws():
    """In the made-up results wide modules are skilled and dear, and a chain of narrow ones is nearly as good."""
    table = {"modules": {"min": 1, "max": 5}, "kinds": {"dense": {"width": [8, 16, 32, 64, 128]}}}
    space = Space(SpaceFile.from_table(table), {"x": (64,)}, {"y": (10,)})
    objective = PARETO.model_copy(update={"directions": {"skill": "maximize", "flops": "minimize"}})

    def found(name: str, seed: int, **settings: object) -> float:
        model, target = registry.settings("strategy", name), registry.resolve("strategy", name)
        records: list[Record] = []
        for number in range(40):
            strategy = target(model(**settings), space, random.Random(f"{seed} {number}"), objective)
            record = made_up(space, strategy.propose(records, 1)[0], number, objective)
            width = sum(int(node.params["width"]) for node in record.proposal.topology.nodes if node.is_module)
            depth = features(record.proposal.topology, {})["path longest"]
            skill = 1 - math.exp(-(depth + width / 100) / 4)
            records.append(replace(record, measures={"skill": skill, "flops": float(width)}))
        losses = np.array([[-record.measures["skill"], record.measures["flops"]] for record in records])
        return float(compute_hypervolume(losses, np.array([0.0, 700.0])))

    drawn = [found("random", seed) for seed in range(3)]
    assert sum(found("graph_bo", seed, initial=10) for seed in range(3)) > sum(drawn) + 3 * 10  # of about 530 each


def test_bayesian_optimisation_over_graphs_proposes_where_a_direction_was_never_measured(space):
    objective = PARETO.model_copy(update={"directions": {"skill": "maximize", "latency": "minimize"}})
    records = searched(space, "graph_bo", objective, 20, initial=10)
    found = GraphBo(GraphBoSettings(initial=10), space, random.Random(0), objective).propose(records, 8)
    assert len({proposal.topology.key for proposal in found}) > 1


def test_what_was_stopped_counts_what_it_would_have_reached(space):
    """It keeps its lead: at its last epoch it was ahead of one that gained 0.2 from there on."""
    one = made_up(space, Proposal(*space.random(random.Random(0))), 0, COMBINED)
    curves = [[0.3, 0.5], [0.4]]
    ran_on, stopped = (
        replace(one, state=state, score=curve[-1], curve=tuple({"validation_accuracy": value} for value in curve))
        for state, curve in zip(("finished", "stopped"), curves, strict=True)
    )
    assert at_the_end([ran_on, stopped]).tolist() == pytest.approx([0.5, 0.6])


def test_features_do_not_depend_on_the_order_of_nodes_and_tell_wirings_apart():
    x, y = Node("input", (), {"name": "x"}), Node("output", (1, 2), {"name": "y"})
    small, large = ({"width": width} for width in (8, 16))
    one = Topology((x, Node("dense", (0,), small), Node("dense", (0,), large), y))
    other = Topology((x, Node("dense", (0,), large), Node("dense", (0,), small), y))
    chain = Topology((x, Node("dense", (0,), small), Node("dense", (1,), large), Node("output", (2,), {"name": "y"})))
    assert features(one, {}) == features(other, {}) != features(chain, {})
    assert features(one, {})["path first x"] == 2
    assert (features(chain, {})["path first x width"], features(chain, {})["path x width"]) == (
        math.log1p(8),
        math.log1p(16),
    )
    assert (features(one, {})["path longest"], features(chain, {})["path longest"]) == (1, 2)
    assert features(one, {"learning_rate": 1e-3, "augment": "none"}).keys() >= {
        "setting learning_rate",
        "setting augment none",
    }


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
