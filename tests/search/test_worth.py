"""Worth: what is estimated from neighbours, and which candidates become finalists by it."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from nasmod.measures import Objective
from nasmod.search.worth import FEWEST, worth
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal, records
from nasmod.testing.strategies import made_up

OBJECTIVE = Objective(flops_budget=100_000)
NOISE = 0.05


def trained(count: int, seed: int) -> tuple[list, dict[int, float]]:
    """Records of single noisy trainings, and what each topology scores in the mean: the wider in all the better."""
    table = {"modules": {"min": 1, "max": 6}, "kinds": {"dense": {"width": [8, 16, 32]}}}
    space = Space(SpaceFile.from_table(table), {"x": (64,)}, {"y": (10,)})
    generator, noise = random.Random(seed), np.random.default_rng(seed).normal(0, NOISE, count)
    found, true = [], {}
    for number in range(count):
        record = made_up(space, Proposal(*space.random(generator)), number, OBJECTIVE)
        widths = [int(node.params["width"]) for node in record.proposal.topology.nodes if node.is_module]
        true[record.id] = 0.6 + 0.3 * sum(widths) / (6 * 32)
        found.append(replace(record, score=true[record.id] + float(noise[number])))
    return found, true


def test_finalists_by_worth_are_better_than_those_that_were_lucky_once():
    by_worth, by_luck = [], []
    for seed in range(16):
        found, true = trained(100, seed)
        for chosen, estimated in ((by_worth, worth(found)), (by_luck, None)):
            finalists = records.finalists(found, OBJECTIVE, 3, estimated)
            assert len(finalists) == 3
            chosen += [true[record.id] for record in finalists]
    assert np.mean(by_worth) > np.mean(by_luck)


def test_it_is_a_score_nearer_to_the_mean_of_many_trainings_than_one_training_is():
    by_worth, by_luck = [], []
    for seed in range(8):
        found, true = trained(100, seed)
        estimated = worth(found)
        by_worth += [(estimated[record.id] - true[record.id]) ** 2 for record in found]
        by_luck += [((record.score or 0.0) - true[record.id]) ** 2 for record in found]
    assert np.mean(by_worth) < 0.5 * np.mean(by_luck)


def test_what_was_trained_again_is_known_better():
    found, _ = trained(60, 0)
    lucky = max(found, key=lambda record: record.score or 0.0)
    repeats = [
        replace(lucky, id=1000 + number, role="repeat", score=(lucky.score or 0.0) - 0.1 - number / 1000)
        for number in range(3)
    ]
    once, again = worth(found), worth([*found, *repeats])
    assert once.keys() == again.keys()
    assert again[lucky.id] < once[lucky.id]


def test_of_few_candidates_nothing_is_estimated():
    found, _ = trained(FEWEST, 0)
    assert worth(found[1:]) == {}
    assert worth(found).keys() == {record.id for record in found}
    first = records.finalists(found[1:], OBJECTIVE, 3, {})
    assert [record.id for record in first] == [record.id for record in records.ranked(found[1:], OBJECTIVE)[:3]]
