"""The front, ranks and crowding, against brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod.measures import Direction, Objective, crowding, front_of, nondominated_ranks, pareto_front, useful
from nasmod.measures.front import STRONGEST

DIRECTIONS: dict[str, Direction] = {"a": "maximize", "b": "minimize", "c": "maximize"}

numbers = st.one_of(st.integers(0, 4).map(float), st.sampled_from([math.nan, math.inf, -math.inf]))
tables = st.lists(st.fixed_dictionaries(dict.fromkeys(DIRECTIONS, numbers)), max_size=14)


def gain(row: dict[str, float], name: str) -> float:
    value = row.get(name, math.nan)
    if math.isnan(value):
        return -math.inf
    return value if DIRECTIONS[name] == "maximize" else -value


def dominates(row: dict[str, float], other: dict[str, float]) -> bool:
    pairs = [(gain(row, name), gain(other, name)) for name in DIRECTIONS]
    return all(mine >= theirs for mine, theirs in pairs) and any(mine > theirs for mine, theirs in pairs)


def brute_front(rows: list[dict[str, float]]) -> list[int]:
    return [i for i, row in enumerate(rows) if not any(dominates(other, row) for other in rows)]


@given(tables)
def test_the_front_is_what_no_other_row_dominates(rows: list[dict[str, float]]) -> None:
    assert pareto_front(rows, DIRECTIONS) == brute_front(rows)


@pytest.mark.parametrize("seed", range(20))
def test_of_many_rows_the_front_is_the_same_as_one_by_one(seed: int) -> None:
    """Of these the strongest few rule most out at once; some values are equal, and in some columns some undefined."""
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 12, (STRONGEST * 3, len(DIRECTIONS))).astype(float)
    values[:, 0] += generator.uniform(0, 3) * values[:, 1]  # the less one direction asks, the better the other
    for undefined in (math.nan, math.inf, -math.inf)[: seed % 4]:
        values[generator.integers(len(values)), generator.integers(len(DIRECTIONS))] = undefined
    rows = [dict(zip(DIRECTIONS, row, strict=True)) for row in values.tolist()]
    assert pareto_front(rows, DIRECTIONS) == brute_front(rows)


@given(tables)
def test_ranks_are_fronts_peeled_off_one_by_one(rows: list[dict[str, float]]) -> None:
    expected = [-1] * len(rows)
    left, rank = list(range(len(rows))), 0
    while left:
        found = [left[i] for i in brute_front([rows[i] for i in left])]
        for index in found:
            expected[index] = rank
        left, rank = [i for i in left if i not in found], rank + 1
    assert nondominated_ranks(rows, DIRECTIONS) == expected


@given(tables, st.one_of(st.floats(0, 3), st.sampled_from([math.nan, math.inf])))
def test_standard_errors_leave_every_row_ranked(rows: list[dict[str, float]], error: float) -> None:
    errors = [dict.fromkeys(DIRECTIONS, error)] * len(rows)
    ranks = nondominated_ranks(rows, DIRECTIONS, errors)
    assert set(ranks) == set(range(max(ranks, default=-1) + 1))


def test_rows_within_one_standard_error_are_equal() -> None:
    rows, errors = [{"a": 1.0}, {"a": 1.1}, {"a": 2.0}], [{"a": 0.1}] * 3
    assert nondominated_ranks(rows, {"a": "maximize"}, errors) == [1, 1, 0]
    assert nondominated_ranks(rows, {"a": "maximize"}) == [2, 1, 0]


@pytest.mark.parametrize("undefined", [math.nan, math.inf])
def test_a_standard_error_that_is_not_finite_counts_zero(undefined: float) -> None:
    rows, errors = [{"a": 1.0}, {"a": 2.0}], [{"a": undefined}] * 2
    assert nondominated_ranks(rows, {"a": "maximize"}, errors) == [1, 0]


def test_rows_that_dominate_each_other_in_a_ring_share_a_rank() -> None:
    # each loses .6 to the one before it in two directions, which is within .7, one standard error of a difference
    ring = [(1.2, 0.6, 0.0), (0.0, 1.2, 0.6), (0.6, 0.0, 1.2)]
    beaten = (-5.0, -5.0, -5.0)
    rows = [dict(zip("xyz", values, strict=True)) for values in (*ring, beaten)]
    errors = [dict.fromkeys("xyz", 0.5)] * 4
    assert nondominated_ranks(rows, dict.fromkeys("xyz", "maximize"), errors) == [0, 0, 0, 1]


def test_what_is_useful_is_judged_against_the_reference_skill_where_one_is_given() -> None:
    rows = [{"skill": 0.9, "flops": 10.0}, {"skill": 0.4, "flops": 1.0}]
    objective = Objective(flops_budget=100, directions={"skill": "maximize", "flops": "minimize"})
    assert front_of(rows, objective) == [0]
    assert front_of(rows, objective, reference_skill=0.7) == [0, 1]


def test_crowding_does_not_depend_on_the_unit() -> None:
    values = [0.0, 1.0, 4.0, 6.0]
    ones, thousandths = ([{"a": value * unit} for value in values] for unit in (1.0, 1e-3))
    assert crowding(ones, {"a": "maximize"}) == pytest.approx(crowding(thousandths, {"a": "maximize"}))


@given(tables)
def test_crowding_is_infinite_at_the_extremes_and_never_negative(rows: list[dict[str, float]]) -> None:
    found = crowding(rows, DIRECTIONS)
    assert len(found) == len(rows)
    assert all(distance >= 0 for distance in found)
    for name in DIRECTIONS:
        best = max((gain(row, name) for row in rows), default=-math.inf)
        if best > -math.inf:
            assert math.inf in [d for row, d in zip(rows, found, strict=True) if gain(row, name) == best]


def test_crowding_worked_by_hand() -> None:
    rows = [{"a": 0.0, "b": 4.0}, {"a": 1.0, "b": 2.0}, {"a": 4.0, "b": 0.0}]
    assert crowding(rows, {"a": "maximize", "b": "minimize"}) == [math.inf, 4 / 4 + 4 / 4, math.inf]


def test_useful_means_half_of_the_best_skill() -> None:
    rows = [{"skill": 0.8}, {"skill": 0.4}, {"skill": 0.39}, {"skill": 0.0}, {}]
    assert useful(rows) == [0, 1]
    assert useful(rows, reference_skill=0.7) == [0, 1, 2]
    assert useful([{"skill": 0.0}]) == []
    assert useful([]) == []


def test_the_front_leaves_out_the_cheap_and_useless_the_infeasible_and_the_beaten() -> None:
    objective = Objective(flops_budget=100, floors={"modularity": 0.1})
    rows = [
        {"skill": 0.9, "modularity": 0.5, "flops": 90},  # on the front
        {"skill": 0.8, "modularity": 0.5, "flops": 95},  # beaten
        {"skill": 0.6, "modularity": 0.4, "flops": 10},  # on the front: cheap
        {"skill": 0.1, "modularity": 0.4, "flops": 1},  # useless
        {"skill": 0.99, "modularity": 0.9, "flops": 101},  # over the budget
        {"skill": 0.95, "modularity": 0.0, "flops": 90},  # under the floor
    ]
    assert front_of(rows, objective) == [0, 2]


def test_a_front_of_nothing_is_empty() -> None:
    assert pareto_front([], DIRECTIONS) == []
    assert nondominated_ranks([], DIRECTIONS) == []
    assert crowding([], DIRECTIONS) == []
    assert front_of([], Objective(flops_budget=1)) == []


@pytest.mark.parametrize("rows", [[{"a": 1.0}] * 3])
def test_equal_rows_are_all_on_the_front(rows: list[dict[str, float]]) -> None:
    assert pareto_front(rows, {"a": "maximize"}) == [0, 1, 2]
