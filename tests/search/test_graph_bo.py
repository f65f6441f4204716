"""`graph_bo`: what it learns, what it edits, and what it leaves out."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import numpy as np
import pytest
from optuna._hypervolume import compute_hypervolume

from nasmod import registry
from nasmod.search.strategies.features import features
from nasmod.search.strategies.graph_bo import GraphBo, GraphBoSettings
from nasmod.search.strategies.surrogate import at_the_end, fitted
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal, Record, candidate_key
from nasmod.testing.strategies import made_up
from nasmod.topology import Node, Topology
from tests.search.searching import COMBINED, PARETO, dense_space, searched

FLAT = {"x": (64,)}, {"y": (10,)}


@pytest.fixture(scope="module")
def space() -> Space:
    return dense_space()


def test_it_learns_what_is_good(space):
    """In the made-up results more modules are better, up to the space's eight."""
    records = searched(space, "graph_bo", COMBINED, 45, initial=10)
    drawn, proposed = records[:10], records[20:]
    mean = {
        name: sum(record.proposal.topology.module_count for record in of) / len(of)
        for name, of in (("drawn", drawn), ("proposed", proposed))
    }
    assert mean["proposed"] > mean["drawn"] + 1


def test_it_looks_at_edits_crossovers_and_random_draws(space):
    records = searched(space, "graph_bo", COMBINED, 30, initial=10)
    known = {record.proposal.topology.key for record in records}
    found = GraphBo(GraphBoSettings(), space, random.Random(0), COMBINED).propose(records, 1)
    crossed = [proposal for proposal in found if " crossed with #" in proposal.origin["why"]]
    assert crossed
    assert not known & {proposal.topology.key for proposal in crossed}
    assert any(proposal.origin["why"] == "drawn at random, and most promising" for proposal in found)
    edited = [proposal for proposal in found if proposal.origin["why"].startswith("the most promising of")]
    assert len(edited) > 2 * len(crossed)


def test_it_learns_which_training_settings_every_topology_wants(space):
    """In the made-up results the best learning rate is far from where the study begins."""
    wanted, records = math.log(1.2e-2), []
    for number in range(40):
        strategy = GraphBo(GraphBoSettings(initial=10), space, random.Random(number), COMBINED)
        record = made_up(space, strategy.propose(records, 1)[0], number, COMBINED)
        missed = abs(math.log(record.proposal.settings["learning_rate"]) - wanted)
        records.append(replace(record, score=0.5 + 0.3 * record.score - 0.1 * missed))
    missed = [abs(math.log(record.proposal.settings["learning_rate"]) - wanted) for record in records]
    assert statistics.median(missed[20:]) < 0.5 < 1 < statistics.median(missed[:10])


def test_some_of_its_candidates_differ_from_another_in_one_training_setting_alone(space):
    records = searched(space, "graph_bo", COMBINED, 45, initial=10)
    by_key = {record.key: record for record in records}
    moved = [record for record in records if " with another " in record.proposal.origin["why"]]
    changed = []
    for record in moved:
        parent = by_key[record.proposal.parent].proposal
        assert record.proposal.topology.key == parent.topology.key
        changed += [name for name, value in record.proposal.settings.items() if value != parent.settings[name]]
    assert len(changed) == len(moved)
    assert set(changed) == set(space.settings)  # each in turn
    alone = [
        r for r in records if r.proposal.parent and by_key[r.proposal.parent].proposal.topology == r.proposal.topology
    ]
    assert len(alone) > 0.1 * len(records)


def test_a_space_without_searched_settings_has_nothing_to_change_in_them():
    space = Space.of(SpaceFile.from_table({"modules": {"max": 2}, "kinds": {"dense": {"width": [8, 16]}}}), *FLAT)
    found = searched(space, "graph_bo", COMBINED, 12, initial=4)
    assert not [record for record in found if " with another " in record.proposal.origin["why"]]


def test_it_tries_trained_topologies_with_the_training_settings_of_others(space):
    records = searched(space, "graph_bo", COMBINED, 30, initial=10)
    trained = {record.proposal.topology.key: record for record in records}
    found = GraphBo(GraphBoSettings(), space, random.Random(0), COMBINED).propose(records, 1)
    again = [proposal for proposal in found if proposal.origin["why"].startswith("promising: the topology of #")]
    assert again
    for proposal in again:
        assert proposal.settings != trained[proposal.topology.key].proposal.settings
        assert proposal.settings in [record.proposal.settings for record in records]


def test_it_proposes_nothing_known_while_there_is_something_new(space):
    records = searched(space, "graph_bo", COMBINED, 30, initial=10)
    known = {record.key for record in records}
    for seed in range(5):
        found = GraphBo(GraphBoSettings(), space, random.Random(seed), COMBINED).propose(records, 1)
        assert not known & {candidate_key(proposal.topology, proposal.settings) for proposal in found}


def test_it_gives_many_workers_different_proposals(space):
    records = searched(space, "graph_bo", COMBINED, 30, initial=10)
    found = GraphBo(GraphBoSettings(pool=120), space, random.Random(0), COMBINED).propose(records, 64)
    keys = [candidate_key(proposal.topology, proposal.settings) for proposal in found]
    assert len(set(keys)) == len(keys) >= 64
    again = GraphBo(GraphBoSettings(pool=120), space, random.Random(0), COMBINED).propose(records, 64)
    assert [candidate_key(proposal.topology, proposal.settings) for proposal in again] == keys


@pytest.mark.parametrize("objective", [COMBINED, PARETO], ids=["combined", "pareto"])
def test_it_does_not_edit_one_topology_alone(space, objective):
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


def test_it_puts_last_what_another_training_would_hardly_tell(space):
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
    model = fitted(records, at_the_end(records))
    posterior = model.posterior([features(proposal.topology, proposal.settings) for proposal in pool])
    assert strategy._is_told(records, pool, [model], [posterior]).tolist() == [True, False, False]
    best_of_all = replace(posterior, means=posterior.means + np.ptp(model.own_means))
    assert not strategy._is_told(records, pool, [model], [best_of_all])[0]  # it is expected to be better than all


@pytest.mark.slow
def test_it_finds_more_of_a_front_than_random_draws():
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


def test_it_proposes_where_a_direction_was_never_measured(space):
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


def test_what_was_stopped_is_known_less_surely_than_what_ran_on(space):
    """Twins that contradict each other: what is expected of them is what the one that ran to its end says."""
    records = [record for record in searched(space, "graph_bo", COMBINED, 40, initial=40) if record.score is not None]
    records = [replace(record, state="finished") for record in records]
    best, worst = replace(records[0], score=0.99), replace(records[0], id=99, key="twin", score=0.01)
    others = records[1:]

    def expected(state: str) -> float:
        together = [best, replace(worst, state=state, curve=()), *others]
        return float(fitted(together, at_the_end(together)).own_means[0])

    assert expected("stopped") > expected("finished") + 0.05


def test_what_was_stopped_by_its_averaged_weights_is_told_from_those_of_others(space):
    """What others gained is counted from their averaged weights too; one without them tells nothing of it."""
    one = made_up(space, Proposal(*space.random(random.Random(0))), 0, COMBINED)

    def record(state: str, score: float, *rows: tuple[float, float | None]) -> Record:
        curve = [{"validation_accuracy": raw, "averaged_accuracy": averaged} for raw, averaged in rows]
        known = [{name: value for name, value in row.items() if value is not None} for row in curve]
        return replace(one, state=state, score=score, curve=tuple(known))

    ran_on = record("finished", 0.5, (0.3, 0.48), (0.5, None))
    without = record("finished", 0.7, (0.1, None), (0.7, None))
    stopped = record("stopped", 0.45, (0.2, 0.45))
    assert at_the_end([ran_on, without, stopped]).tolist() == pytest.approx([0.5, 0.7, 0.47])


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
