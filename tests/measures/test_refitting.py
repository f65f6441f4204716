"""Refitted losses against scipy's optimiser, least squares and numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from nasmod.measures import refitting
from nasmod.measures.refitting import prior_nll, prior_squares, refitted_nll, refitted_squares

seeds = st.integers(0, 10_000)


def problem(seed: int, examples: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, examples)
    noise = generator.normal(size=(examples, classes))
    return np.eye(classes)[targets] * generator.normal(0.7, 0.7) + noise, targets


@given(seeds)
def test_the_temperature_is_the_best_there_is(seed: int) -> None:
    logits, targets = problem(seed)

    def mean_nll(log_temperature: float) -> float:
        scores = log_softmax(math.exp(log_temperature) * logits, axis=1)
        return -float(scores[np.arange(len(targets)), targets].mean())

    best = min(minimize_scalar(mean_nll, bounds=(-12, 6), method="bounded").fun, math.log(logits.shape[1]))
    assert refitted_nll([logits], [targets]).mean() <= best + 1e-9
    assert refitted_nll([logits], [targets]).mean() == pytest.approx(best, abs=1e-5)


def test_newtons_method_ends_where_rounding_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not bisected on when rounding has put the minimum just outside the bounds: 30 to 40 steps for nothing."""
    steps = []
    step = refitting._slope_and_curvature
    monkeypatch.setattr(refitting, "_slope_and_curvature", lambda *given: steps.append(1) or step(*given))
    for seed in range(100):
        logits, targets = problem(seed)
        refitted_nll([logits], [targets])
    assert len(steps) / 100 < 8


@given(seeds, st.floats(1e-6, 1e6))
def test_scaling_the_outputs_changes_nothing(seed: int, factor: float) -> None:
    logits, targets = problem(seed)
    assert refitted_nll([factor * logits], [targets]) == pytest.approx(refitted_nll([logits], [targets]), abs=1e-7)


@given(seeds)
def test_the_loss_is_never_worse_than_not_knowing(seed: int) -> None:
    logits, targets = problem(seed)
    assert refitted_nll([logits], [targets]).mean() <= math.log(4) + 1e-12
    assert refitted_nll([-logits], [targets]).mean() <= math.log(4) + 1e-12


def test_separable_examples_lose_nothing_and_silent_outputs_know_nothing() -> None:
    targets = np.array([0, 1, 2])
    assert refitted_nll([np.eye(3)], [targets]).mean() == pytest.approx(0, abs=1e-6)
    assert refitted_nll([np.zeros((3, 3))], [targets]) == pytest.approx(math.log(3))


def test_outputs_that_point_the_wrong_way_are_worth_the_infimum() -> None:
    targets = np.array([0, 1])
    assert refitted_nll([-np.eye(2)], [targets]) == pytest.approx(math.log(2))


def test_several_outputs_add_up() -> None:
    logits, targets = problem(1)
    twice = refitted_nll([logits, logits], [targets, targets])
    assert twice == pytest.approx(2 * refitted_nll([logits], [targets]))


@given(seeds)
def test_squares_after_refitting_are_those_of_least_squares(seed: int) -> None:
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(2, 30))
    slope, intercept = np.polyfit(x, y, 1)
    assert refitted_squares([x[:, None]], [y]) == pytest.approx((y - slope * x - intercept) ** 2)


def test_a_constant_output_leaves_the_variance() -> None:
    y = np.array([[1.0], [2.0], [6.0]])
    assert refitted_squares([np.ones((3, 1))], [y]) == pytest.approx(prior_squares([y]))
    assert prior_squares([y]).mean() == pytest.approx(np.var(y))


def test_the_prior_is_the_entropy() -> None:
    assert prior_nll([np.array([0, 1, 2, 3])]) == pytest.approx(math.log(4))
