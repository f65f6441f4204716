"""The benchmark of modularity where the truth is known: its worlds, its correlations, and its short form."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.truth.correlations import agreement, interval, partial, resampled, spearman
from benchmarks.truth.repair import repairs
from benchmarks.truth.training import untrained
from benchmarks.truth.wirings import by_hand
from benchmarks.truth.worlds import Change, exchanged, world
from nasmod.data.digit_pairs import answers


def test_a_sensor_change_moves_the_pixels_of_that_input_and_nothing_else() -> None:
    found = world("sum")
    inputs, targets = found.examples("test")
    changed, same_targets = found.examples("test", Change("sensor", "a"))
    assert np.array_equal(changed["b"], inputs["b"])
    assert all(np.array_equal(same_targets[name], targets[name]) for name in targets)
    assert not np.array_equal(changed["a"], inputs["a"])
    flat = len(inputs["a"]), -1
    assert np.array_equal(np.sort(changed["a"].reshape(flat), axis=1), np.sort(inputs["a"].reshape(flat), axis=1))


def test_a_sensor_change_is_the_same_in_every_split_and_differs_between_repetitions() -> None:
    found = world("xor")

    def order(split: str, repetition: int) -> np.ndarray:
        before, after = found.examples(split)[0]["a"], found.examples(split, Change("sensor", "a", repetition))[0]["a"]
        columns = before.reshape(len(before), -1).T, after.reshape(len(after), -1).T
        return np.array([[np.array_equal(old, new) for old in columns[0]] for new in columns[1]])

    assert (order("train", 0) & order("test", 0)).any(1).all()  # some one order of pixels explains both splits
    assert not (order("train", 0) & order("train", 1)).any(1).all()


def test_a_changed_meaning_exchanges_the_classes_of_one_input_two_by_two_and_keeps_its_pixels() -> None:
    found = world("pair")
    inputs, targets = found.examples("test")
    same, changed = found.examples("test", Change("meaning", "b"))
    assert all(np.array_equal(same[name], inputs[name]) for name in inputs)
    assert np.array_equal(changed["y_a"], targets["y_a"])
    meaning = dict(zip(targets["y_b"].tolist(), changed["y_b"].tolist(), strict=True))
    assert sorted(meaning) == sorted(meaning.values()) == list(range(10))
    assert all(meaning[meaning[old]] == old != meaning[old] for old in meaning)


def test_a_changed_meaning_changes_the_sum_by_what_its_digit_changed() -> None:
    summed, named = world("sum"), world("pair")
    change = Change("meaning", "a", 2)
    digits = named.examples("test", change)[1]
    assert np.array_equal(summed.examples("test", change)[1]["y"], digits["y_a"] + digits["y_b"])


def test_changed_labels_exchange_the_answers_of_an_output() -> None:
    found = world("sum")
    before, after = found.examples("test")[1]["y"], found.examples("test", Change("labels", "y"))[1]["y"]
    renamed = dict(zip(before.tolist(), after.tolist(), strict=True))
    assert sum(old == new for old, new in renamed.items()) == 1  # of 19 classes one stays
    assert sorted(renamed.values()) == list(range(19))


def test_every_part_of_a_world_changes_as_often_as_asked_and_labels_once() -> None:
    changes = world("pair").changes(3)
    counts = {kind: sum(change.kind == kind for change in changes) for kind in ("sensor", "meaning", "labels")}
    assert counts == {"sensor": 6, "meaning": 6, "labels": 2}


def test_an_exchange_undoes_itself() -> None:
    order = exchanged(10, np.random.default_rng(0))
    assert order[order].tolist() == list(range(10))
    assert (order != np.arange(10)).all()


def test_the_answers_of_a_world_are_those_of_its_classes() -> None:
    found = world("both")
    assert np.array_equal(found.examples("test")[1]["y"], answers("both", found.classes["test"])["y"])


def test_partial_rank_correlation_is_the_textbooks_of_one_control() -> None:
    """r_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz²)(1 - r_yz²)), of ranks 1 to 5 worked by hand.

    Sums of squared differences of ranks are 4, 10 and 2, so that r = 1 - 6 d / 120 is .8, .5 and .9.
    """
    x, y, z = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 5]), np.array([3.0, 1, 4, 2, 5])
    assert spearman(x, y) == pytest.approx(0.8)
    assert spearman(x, z) == pytest.approx(0.5)
    assert spearman(y, z) == pytest.approx(0.9)
    expected = (0.8 - 0.5 * 0.9) / np.sqrt((1 - 0.25) * (1 - 0.81))
    assert partial(x, y, z[None]) == pytest.approx(expected)


def test_partial_rank_correlation_follows_ranks_alone() -> None:
    generator = np.random.default_rng(0)
    x, y, a, b = generator.normal(size=(4, 30))
    controls = np.stack([a, b])
    assert partial(np.exp(x), y**3, np.exp(controls)) == pytest.approx(float(partial(x, y, controls)))


def test_what_the_controls_explain_altogether_has_no_partial_correlation() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(2, 20))
    assert np.isnan(partial(x, y, np.exp(x)[None]))
    assert np.isnan(spearman(np.ones(20), y))


def test_a_bootstrap_interval_holds_the_sample_and_narrows_with_more_topologies() -> None:
    widths = []
    for count in (20, 200):
        x, noise = np.random.default_rng(1).normal(size=(2, count))
        rows = resampled(count, seed=0)
        found = interval(spearman(x[rows], (x + noise)[rows]))
        assert found.low < found.value < found.high
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_repetitions_that_say_the_same_agree_wholly_and_more_of_them_agree_better() -> None:
    x, first, second, third = np.random.default_rng(0).normal(size=(4, 50))
    assert agreement(np.stack([x, x])) == pytest.approx(1)
    noisy = np.stack([x + first, x + second, x + third])
    assert 0 < agreement(noisy[:2]) < agreement(noisy) < 1


def test_a_module_can_be_repaired_on_which_not_every_output_depends() -> None:
    found = world("pair")  # each input has a module and an output of its own
    network = untrained(by_hand(found.dataset, "true"), found, seed=0)
    (row,) = repairs(network, found, [Change("sensor", "a")], epochs=10)
    assert row.best_module > row.before + 0.1
    assert row.module == next(step.name for step in network.plan.steps if step.sources == (0,))


@pytest.mark.slow
def test_the_true_decomposition_is_the_most_modular_and_the_best_to_repair(tmp_path: Path) -> None:
    """The short form of the benchmark, as CI runs it: 1 to 2 minutes on 2 quiet cores."""
    command = [sys.executable, "-m", "benchmarks.modularity_truth", "--short", "--kept", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
