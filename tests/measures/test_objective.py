"""The objective: what must hold for the score, its standard error and its constraints."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from nasmod.measures import Objective

BUDGET = 1_000_000
OBJECTIVE = Objective(flops_budget=BUDGET)

shares = st.floats(0, 1)
flops = st.integers(1, BUDGET)


def row(skill: float, modularity: float, num_flops: float) -> dict[str, float]:
    return {"skill": skill, "modularity": modularity, "flops": num_flops}


@given(shares, flops)
def test_chance_scores_exactly_zero(modularity: float, num_flops: int) -> None:
    assert OBJECTIVE.score(row(0.0, modularity, num_flops)) == 0.0


@given(st.floats(0.01, 1), st.floats(1.1501, 3), shares, shares, flops, flops)
def test_fifteen_percent_more_skill_always_wins(
    skill: float, more: float, modularity: float, other_modularity: float, num_flops: int, other_flops: int
) -> None:
    assume(skill * more <= 1)
    better = OBJECTIVE.score(row(skill * more, modularity, num_flops))
    assert better > OBJECTIVE.score(row(skill, other_modularity, other_flops))


@given(shares, shares, flops)
def test_the_score_lies_between_zero_and_one(skill: float, modularity: float, num_flops: int) -> None:
    assert 0 <= OBJECTIVE.score(row(skill, modularity, num_flops)) <= 1


@given(st.floats(0.01, 1), shares, st.floats(0.01, 0.5), flops)
def test_more_modularity_and_fewer_flops_never_hurt(
    skill: float, modularity: float, more: float, num_flops: int
) -> None:
    base = OBJECTIVE.score(row(skill, modularity, num_flops))
    assert OBJECTIVE.score(row(skill, modularity + more, num_flops)) >= base
    assert OBJECTIVE.score(row(skill, modularity, num_flops / 2)) >= base


def test_the_best_there_can_be_scores_one() -> None:
    assert OBJECTIVE.score(row(1.0, 1.0, BUDGET / 100)) == 1.0


def test_numbers_worked_by_hand() -> None:
    # c = log(10) / log(100) = 1/2;  .8 * (1 + .1 * .4 + .02 / 2) / 1.12
    assert OBJECTIVE.score(row(0.8, 0.4, BUDGET / 10)) == pytest.approx(0.8 * 1.05 / 1.12)
    plain = Objective(flops_budget=BUDGET, modularity_weight=0, flops_weight=0)
    assert plain.score(row(0.8, 0.4, BUDGET / 10)) == pytest.approx(0.8)


@pytest.mark.parametrize("missing", [{}, {"modularity": math.nan}])
def test_undefined_modularity_counts_zero(missing: dict[str, float]) -> None:
    assert OBJECTIVE.score({"skill": 0.8, "flops": 5.0} | missing) == OBJECTIVE.score(row(0.8, 0.0, 5.0))


def test_cheapness_is_clipped_at_both_ends() -> None:
    assert OBJECTIVE.cheapness(BUDGET) == 0
    assert OBJECTIVE.cheapness(2 * BUDGET) == 0
    assert OBJECTIVE.cheapness(BUDGET / 100) == 1
    assert OBJECTIVE.cheapness(1) == 1
    assert OBJECTIVE.cheapness(0) == 1


def test_more_flops_than_the_budget_is_infeasible_in_words() -> None:
    assert OBJECTIVE.feasible({"flops": BUDGET})
    assert not OBJECTIVE.feasible({"flops": BUDGET + 1})
    assert OBJECTIVE.violation({"flops": BUDGET + 1}) == "flops 1000001 is over the budget of 1000000"
    assert OBJECTIVE.score(row(1.0, 1.0, BUDGET + 1)) == 0


def test_floors_bind_finished_candidates_only() -> None:
    objective = Objective(flops_budget=BUDGET, floors={"modularity": 0.3})
    low = row(0.9, 0.2, 10)
    assert objective.feasible(low)
    assert objective.violation(low, finished=True) == "modularity 0.2 is under its floor of 0.3"
    assert objective.feasible(row(0.9, 0.3, 10), finished=True)
    assert not objective.feasible({"skill": 0.9, "flops": 10}, finished=True)  # undefined counts 0


@given(st.floats(0.05, 0.95), st.floats(0.05, 0.95), flops)
def test_the_standard_error_is_the_score_s_own_slope(skill: float, modularity: float, num_flops: int) -> None:
    step = 1e-6
    base = OBJECTIVE.score(row(skill, modularity, num_flops))
    by_skill = (OBJECTIVE.score(row(skill + step, modularity, num_flops)) - base) / step
    by_modularity = (OBJECTIVE.score(row(skill, modularity + step, num_flops)) - base) / step
    found = OBJECTIVE.standard_error(row(skill, modularity, num_flops), {"skill": 0.03, "modularity": 0.04})
    assert found == pytest.approx(math.hypot(by_skill * 0.03, by_modularity * 0.04), rel=1e-4)


def test_missing_standard_errors_count_zero() -> None:
    assert OBJECTIVE.standard_error(row(0.5, 0.5, 10), {"modularity": math.nan}) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"flops_budget": 0},
        {"flops_budget": 1, "modularity_weight": -0.1},
        {"flops_budget": 1, "flops_weight": math.inf},
        {"flops_budget": 1, "mode": "both"},
        {"flops_budget": 1, "floors": {"accuracy": math.nan}},
        {"flops_budget": 1, "directions": {}},
        {"flops_budget": 1, "directions": {"accuracy": "up"}},
        {"flops_budget": 1, "flop_weight": 0.1},
    ],
)
def test_impossible_objectives_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Objective.model_validate(wrong)


def test_objective_front_and_settings_import_no_torch() -> None:
    code = """
import sys
from nasmod import registry
import nasmod.measures.front, nasmod.measures.objective
for name in ("accuracy", "cost", "latency", "wiring", "modularity"):
    registry.settings("measure", name)
    registry.summary("measure", name)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
