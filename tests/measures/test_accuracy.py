"""Accuracy, loss and skill against numbers worked by hand and against resampling."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nasmod.measures.accuracy import classification, language, regression


def test_the_standard_error_of_accuracy_is_binomial() -> None:
    classes = np.array([0] * 90 + [1] * 10)
    found = classification({"y": np.tile([1.0, 0.0], (100, 1))}, {"y": classes}, chance=0.5)
    assert found["accuracy"].value == pytest.approx(0.9)
    assert found["accuracy"].standard_error == pytest.approx(math.sqrt(0.9 * 0.1 / 100))
    assert found["skill"].value == pytest.approx(0.8)
    assert found["skill"].standard_error == pytest.approx(2 * math.sqrt(0.9 * 0.1 / 100))


def test_below_chance_is_no_skill_and_one_class_leaves_no_room() -> None:
    wrong = np.tile([0.0, 1.0], (4, 1))
    assert classification({"y": wrong}, {"y": np.zeros(4, dtype=int)}, chance=0.5)["skill"].value == 0
    assert classification({"y": wrong}, {"y": np.ones(4, dtype=int)}, chance=1.0)["skill"].value == 0


def test_loss_is_the_mean_negative_log_likelihood() -> None:
    logits = np.log(np.array([[0.7, 0.3], [0.2, 0.8]]))
    found = classification({"y": logits + 5}, {"y": np.array([0, 0])}, chance=0.5)["loss"]
    assert found.value == pytest.approx(-(math.log(0.7) + math.log(0.2)) / 2)
    assert found.standard_error == pytest.approx(abs(math.log(0.7) - math.log(0.2)) / 2 / math.sqrt(2))


def test_several_outputs_are_averaged_within_each_example() -> None:
    right, wrong = np.array([[1.0, 0.0]] * 4), np.array([[0.0, 1.0]] * 4)
    classes = np.zeros(4, dtype=int)
    found = classification({"a": right, "b": wrong}, {"a": classes, "b": classes}, chance=0.5)
    assert found["accuracy"].value == 0.5
    assert found["accuracy"].standard_error == 0  # every example is half right


def test_predicting_the_mean_has_no_r2() -> None:
    target = np.arange(10.0)[:, None]
    found = regression({"y": np.full((10, 1), 4.5)}, {"y": target})
    assert found["r2"].value == pytest.approx(0)
    assert found["loss"].value == pytest.approx(np.var(target))
    worse = regression({"y": -target}, {"y": target})
    assert worse["r2"].value < 0
    assert worse["skill"].value == 0
    assert regression({"y": target}, {"y": np.ones((10, 1))})["r2"].value == 0


def test_the_standard_error_of_r2_is_that_of_resampling() -> None:
    generator = np.random.default_rng(0)
    target = generator.normal(size=(400, 1))
    output = target + 0.5 * generator.normal(size=(400, 1))
    error = regression({"y": output}, {"y": target})["r2"].standard_error
    draws = generator.integers(0, 400, size=(300, 400))
    resampled = [regression({"y": output[d]}, {"y": target[d]})["r2"].value for d in draws]
    assert error == pytest.approx(np.std(resampled), rel=0.2)


def test_the_unigram_predictor_has_no_skill_and_a_sure_one_has_all() -> None:
    classes = np.array([0, 0, 0, 1])
    unigram = np.tile(np.log([0.75, 0.25]), (4, 1))
    found = language({"y": unigram}, {"y": classes})
    entropy_bits = -(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25))
    assert found["bits_per_symbol"].value == pytest.approx(entropy_bits)
    assert found["skill"].value == pytest.approx(0)
    sure = language({"y": 100.0 * np.eye(2)[classes]}, {"y": classes})
    assert sure["skill"].value == pytest.approx(1)
    assert language({"y": unigram}, {"y": np.zeros(4, dtype=int)})["skill"].value == 0
