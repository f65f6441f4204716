"""The Gaussian process: what it learns, and what it does not depend on."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod import registry
from nasmod.search.strategies.features import Features, features
from nasmod.search.strategies.gaussian_process import GaussianProcess
from nasmod.space import Space


@pytest.fixture(scope="module")
def seen() -> list[Features]:
    space = Space.load(registry.packaged("search_spaces")["dense"], {"x": (64,)}, {"y": (10,)})
    return [features(*space.random(random.Random(seed))) for seed in range(60)]


def test_what_it_was_fitted_to_predicts_what_it_has_not_seen(seen):
    """The more modules the better, up to noise: it finds which of those left out have more."""
    modules = np.array([found["size modules"] for found in seen])
    noisy = modules + np.random.default_rng(0).normal(0, 0.5, len(seen))
    means = GaussianProcess(seen[:40], noisy[:40]).means(seen[40:])
    assert np.corrcoef(means, modules[40:])[0, 1] > 0.8


def test_what_a_setting_does_is_learned_from_all_topologies(seen):
    """Of two that differ in it alone the better setting is told, though no topology was seen with both."""
    rates = [found["setting learning_rate"] for found in seen]
    near_best = [-abs(rate - math.log(5e-3)) for rate in rates]
    process = GaussianProcess(seen[:40], near_best[:40])
    better, worse = (
        [{**found, "setting learning_rate": math.log(rate)} for found in seen[40:]] for rate in (5e-3, 1.2e-3)
    )
    assert (process.means(better) > process.means(worse)).all()


def test_settings_that_were_never_varied_are_not_far_from_all_others(seen, monkeypatch):
    """Two that were never tried are alike by how near they are to what was tried, and to each other."""
    monkeypatch.setattr("nasmod.search.strategies.gaussian_process.SETTING_SHARES", (0.5,))
    own, near, far = ([{**found, "setting batch_size": math.log(size)} for found in seen] for size in (128, 96, 8))
    process = GaussianProcess(own[:40], [found["size modules"] for found in seen[:40]])
    posterior = process.posterior([own[0], near[0], far[0]])
    variances = np.diag(posterior.covariance)
    assert variances[0] < variances[1] < variances[2]
    assert variances[1] < 0.5 * variances[2]


@given(st.lists(st.floats(-1, 1), min_size=60, max_size=60, unique=True))
def test_only_the_order_of_what_was_reached_counts(seen, targets):
    """So that one that learned nothing says no more than any other that is worst."""
    stretched = np.array([target if target > min(targets) else -1000.0 for target in targets])
    assert GaussianProcess(seen, targets).means(seen).tolist() == GaussianProcess(seen, stretched).means(seen).tolist()


def test_topologies_that_reached_the_same_are_equally_good(seen):
    assert np.allclose(GaussianProcess(seen, [0.5] * len(seen)).means(seen), 0.0)


def test_samples_vary_about_the_means_and_most_where_nothing_is_known(seen):
    process = GaussianProcess(seen[:40], [found["size modules"] for found in seen[:40]])
    drawn = process.posterior(seen).samples(4000, random.Random(0))
    assert drawn.shape == (4000, 60)
    spread = drawn.std(0)
    assert np.abs(drawn.mean(0) - process.means(seen)).max() < 5 * spread.max() / np.sqrt(4000)
    assert spread[:40].mean() < spread[40:].mean()
    assert (
        process.posterior(seen).samples(3, random.Random(1)) == process.posterior(seen).samples(3, random.Random(1))
    ).all()


def test_names_that_no_record_had_are_passed_over(seen):
    process = GaussianProcess(seen[:40], range(40))
    new = {**seen[50], "wl never seen": 1.0, "size never seen": 3.0}
    assert process.means([new]) == pytest.approx(process.means([seen[50]]))


def test_normal_scores_stand_for_the_targets_that_they_were_made_of(seen):
    targets = np.exp(np.random.default_rng(0).normal(size=len(seen)))
    targets[3] = -math.inf  # a value that was not measured is the worst there can be
    process = GaussianProcess(seen, targets)
    order, scores = np.argsort(targets), np.linspace(-4, 4, 201)
    found = process.targets(process._scores)
    assert found[order[1:]] == pytest.approx(targets[order[1:]])
    assert found[3] == targets[order[1]]
    assert (np.diff(process.targets(scores)) >= 0).all()
    assert process.targets(scores)[-1] > targets.max()  # what has not been seen may be better
    assert GaussianProcess(seen[:3], [-math.inf] * 3).targets(scores).tolist() == [0.0] * 201


def test_what_is_known_less_surely_counts_less(seen):
    """Two equal topologies contradict each other: the process holds with the one that has less noise."""
    targets = np.array([found["size modules"] for found in seen])
    targets[0], targets[1] = targets.max() + 1, targets.min() - 1
    twins = [seen[0], seen[0], *seen[2:]]
    alike, sure = (GaussianProcess(twins, targets, [1.0, spread] + [1.0] * 58).own_means for spread in (1.0, 4.0))
    assert alike[0] == pytest.approx(alike[1])
    assert sure[0] > alike[0] + 0.1


def test_what_it_holds_of_its_own_is_what_it_would_say_of_them_anew(seen):
    process = GaussianProcess(seen, np.random.default_rng(0).normal(size=len(seen)), np.arange(1, len(seen) + 1))
    assert process.own_means == pytest.approx(process.means(seen), abs=1e-9)
