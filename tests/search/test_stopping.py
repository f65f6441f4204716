"""Stopping rules: who goes on, who does not, and in which words."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod import registry
from nasmod.measures import Objective
from nasmod.search.stopping.halving import Halving, HalvingSettings
from nasmod.search.stopping.hyperband import Hyperband, HyperbandSettings
from nasmod.search.stopping.median import Median, MedianSettings
from nasmod.search.stopping.none import Never, NeverSettings
from nasmod.study import RungResult
from nasmod.testing import StoppingSuite

COMBINED = Objective(flops_budget=100)
PARETO = Objective(flops_budget=100, mode="pareto", directions={"skill": "maximize", "flops": "minimize"})
for name in registry.names("stopping"):
    globals()[f"Test{name.title()}"] = type(f"Test{name.title()}", (StoppingSuite,), {"name": name})


def at(score: float, error: float = 0.0, epoch: int = 1, values: tuple[float, ...] = ()) -> RungResult:
    return RungResult(epoch, score, error, values, (0.0,) * len(values))


@pytest.mark.parametrize(("epochs", "rungs"), [(1, ()), (3, (1,)), (8, (2,)), (9, (1, 3)), (30, (1, 3, 10))])
def test_rungs_are_thirds_of_the_epochs(epochs: int, rungs: tuple[int, ...]):
    assert Halving(HalvingSettings(), COMBINED).rungs(epochs) == rungs


def test_given_rungs_are_kept_before_the_last_epoch():
    assert Halving(HalvingSettings(rungs=(1, 4, 9)), COMBINED).rungs(9) == (1, 4)


def test_each_rung_keeps_its_share():
    rule = Halving(HalvingSettings(first_share=0.5), COMBINED)
    others = [at(score / 10) for score in (1, 2, 3, 4, 6)]
    assert rule.decide([at(0.5)], others) is None  # second of six, half go on
    assert rule.decide([at(0.25)], others) is not None  # fourth of six
    assert rule.decide([at(0.9), at(0.35, epoch=3)], others) is not None  # third of six, a third go on
    assert rule.decide([at(0.9), at(0.5, epoch=3)], others) is None


@given(st.lists(st.floats(0, 1), min_size=3, max_size=40), st.floats(0, 1), st.floats(0, 0.3))
def test_what_is_among_the_best_third_of_the_latest_goes_on(scores, own, error):
    rule = Halving(HalvingSettings(), COMBINED)
    latest = [*scores[:23], own]  # the newest come first
    better = sum(score > own for score in latest)
    reason = rule.decide([at(own, error)], [at(score) for score in scores])
    assert (reason is None) == (better < math.ceil(len(latest) / 3))


def test_brackets_of_hyperband_leave_out_the_first_rungs_in_the_shares_of_its_paper():
    rule = Hyperband(HyperbandSettings(), COMBINED)
    met = Counter(rule.rungs_of(f"key {number}", 24) for number in range(3000))
    assert met.keys() == {(2, 8), (8,), ()}
    assert met[2, 8] / 3000 == pytest.approx(9 / 16.5, abs=0.03)
    assert met[8,] / 3000 == pytest.approx(4.5 / 16.5, abs=0.03)


def test_what_came_long_ago_is_no_rival():
    rule = Halving(HalvingSettings(latest=4), COMBINED)
    assert rule.decide([at(0.5)], [at(0.1), at(0.2), at(0.3), *[at(0.9)] * 20]) is None


def test_nobody_is_stopped_before_enough_have_come():
    assert Halving(HalvingSettings(results=4), COMBINED).decide([at(0.0)], [at(1.0), at(1.0)]) is None


def test_a_stop_says_why():
    reason = Halving(HalvingSettings(), COMBINED).decide([at(0.1, 0.01, 3)], [at(0.9)] * 3)
    assert reason == "stopped at epoch 3: score 0.100 is under 0.900, which the best 2 of the latest 4 reached there"


def test_with_several_directions_rank_decides_and_crowding_breaks_ties():
    rule = Halving(HalvingSettings(first_share=0.5), PARETO)
    others = [at(0, values=(0.9, 50.0)), at(0, values=(0.5, 10.0)), at(0, values=(0.4, 60.0))]
    assert rule.decide([at(0, values=(0.7, 20.0))], others[:2] + [at(0, values=(0.1, 90.0))] * 3) is None
    reason = rule.decide([at(0, values=(0.3, 70.0))], others)
    assert reason is not None
    assert "non-dominated rank" in reason


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(1, 100)), min_size=4, max_size=20))
def test_with_several_directions_the_best_in_one_is_never_stopped(rows):
    best = max(rows)
    others = [at(0, values=row) for row in rows]
    assert Halving(HalvingSettings(), PARETO).decide([at(0, values=(best[0] + 0.1, 0.5))], others) is None


def test_the_median_rule_stops_what_is_clearly_under_the_median():
    rule = Median(MedianSettings(results=3), COMBINED)
    others = [at(0.4), at(0.5), at(0.6)]
    assert rule.rungs(9) == (2, 4, 6, 8)
    assert rule.decide([at(0.45, 0.06)], others) is None
    assert "under the median 0.500" in rule.decide([at(0.45, 0.01)], others)
    assert rule.decide([at(0.0)], others[:2]) is None


def test_no_rule_stops_nothing():
    rule = Never(NeverSettings(), COMBINED)
    assert rule.rungs(100) == ()
    assert rule.decide([at(0.0)], [at(1.0)] * 50) is None
