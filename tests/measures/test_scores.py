"""Scores beside accuracy are scikit-learn's, with errors as repeated samples have, and may judge a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics
from sklearn.datasets import load_digits

import nasmod
from nasmod.data import load_dataset
from nasmod.errors import StudyError
from nasmod.measures.scores import classification_scores, regression_scores
from nasmod.study import read


def drawn(seed: int, count: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits that tell unequal classes rather well."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, size=count, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    return generator.normal(size=(count, classes)) + 1.2 * np.eye(classes)[labels], labels


def scores(logits: np.ndarray, labels: np.ndarray) -> dict:
    return classification_scores({"y": logits}, {"y": labels}, 200, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(5))
def test_they_are_those_of_scikit_learn(seed: int) -> None:
    logits, labels = drawn(seed)
    found = {name: value.value for name, value in scores(logits, labels).items()}
    told, probabilities = logits.argmax(1), softmax(logits, axis=1)
    assert found["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, told))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(labels, told, average="macro"))
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, probabilities))


def test_a_class_without_examples_counts_only_where_it_is_told() -> None:
    logits, labels = drawn(0)
    kept = labels != 1
    found = scores(logits[kept], labels[kept])
    assert found["macro_f1"].value == pytest.approx(
        metrics.f1_score(labels[kept], logits[kept].argmax(1), average="macro")
    )
    assert np.isnan(found["auc"].value)


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "log_loss"])
def test_their_errors_are_those_of_repeated_samples(name: str) -> None:
    found = [scores(*drawn(seed))[name] for seed in range(200)]
    spread = np.std([value.value for value in found])
    assert np.mean([value.standard_error for value in found]) == pytest.approx(spread, rel=0.2)


def test_errors_of_a_regression_are_in_the_datas_own_units(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(300, 3))
    y = 50 + 10 * x[:, 0] + generator.normal(size=300)
    np.savez(tmp_path / "data.npz", x=x, y=y)
    dataset = load_dataset({"name": "npz", "path": str(tmp_path / "data.npz"), "task": "regression"})
    mean, std = dataset.target_normalisation["y"]
    targets = dataset.validation.targets["y"]
    outputs = targets + generator.normal(size=targets.shape) * 0.3
    found = regression_scores({"y": outputs}, {"y": targets}, dataset)
    own, told = targets * std + mean, outputs * std + mean
    assert found["mae"].value == pytest.approx(metrics.mean_absolute_error(own, told), rel=1e-5)
    assert found["rmse"].value == pytest.approx(metrics.root_mean_squared_error(own, told), rel=1e-5)
    assert 0.7 < found["robust_r2"].value < 1
    outputs = outputs.copy()
    outputs[0] += 1000
    spoilt = regression_scores({"y": outputs}, {"y": targets}, dataset)
    assert spoilt["robust_r2"].value == pytest.approx(found["robust_r2"].value, abs=0.05)
    assert spoilt["rmse"].value > 10 * found["rmse"].value


def test_a_measure_of_which_less_is_better_is_no_skill() -> None:
    table = {"flops_budget": 10_000, "skill": "log_loss"}
    with pytest.raises(StudyError, match="'skill' must name a measure of which more is better, not 'log_loss'"):
        read("digits", objective=table, measures={"scores": {}})
    with pytest.raises(StudyError, match="No measured value 'macro_f1'"):
        read("digits", objective={**table, "skill": "macro_f1"})


@pytest.mark.slow
def test_a_study_of_unequal_classes_is_judged_by_macro_f1_with_weighed_classes(tmp_path: Path) -> None:
    images, labels = load_digits(return_X_y=True)
    rare = np.flatnonzero(labels == 3)[:12]
    kept = np.concatenate([np.flatnonzero(labels != 3), rare])
    np.savez(tmp_path / "data.npz", x=images[kept].astype(np.float32), y=(labels[kept] == 3).astype(np.int64))
    file = nasmod.new(tmp_path / "rare.toml", tmp_path / "data.npz")
    changes = {
        "objective": {"flops_budget": 50_000, "skill": "macro_f1"},
        "measures": {"scores": {}},
        "training": {"epochs": 6, "class_weights": "balanced"},
        "finalists": 1,
        "repeats": 1,
    }
    study = nasmod.start(read(file, **changes), storage=tmp_path / "rare.db", workers=2, trials=4)
    best = study.best
    assert best.measures["macro_f1"] > 0.6
    assert best.score == pytest.approx(study.study.objective.score(best.measures))
    assert study.study.objective.directions["macro_f1"] == "maximize"
    assert best.measures["test_macro_f1"] > 0.5
