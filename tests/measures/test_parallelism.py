"""The mathematics of parallelism on records made by hand, and what the measure makes of outputs and tasks."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nasmod.data import Dataset, Split
from nasmod.measures import Evaluation
from nasmod.measures.parallelism import (
    LesionRecord,
    Parallelism,
    ParallelismSettings,
    independence,
    information,
    necessity,
    opposed,
    parallelism,
)
from nasmod.networks import build, plan
from nasmod.topology import Node, Topology
from nasmod.training import TrainingSettings

COUNT = 400


def record(lost: list[float], noise: float = 0.0, **changes: Any) -> LesionRecord:
    """Modules that lose so many nats each, of one nat known; their effects are orthogonal, of size 1."""
    generator = np.random.default_rng(0)
    modules = len(lost)
    pairs = modules * (modules - 1) // 2
    loss = 0.5 + noise * generator.normal(size=COUNT)
    made = LesionRecord(
        prior=np.full(COUNT, 1.5),
        loss=loss,
        lesioned=loss + np.array(lost)[:, None] + noise * generator.normal(size=(modules, COUNT)),
        squares=np.ones((modules, COUNT // 4)),
        interactions=np.zeros((pairs, COUNT // 4)),
        inner=np.zeros((pairs, COUNT // 4)),
        pair_examples=np.arange(0, COUNT, 4),
    )
    return dataclasses.replace(made, **changes)


def values(found: LesionRecord, modules_wanted: int = 4) -> dict[str, float]:
    scored = parallelism(found, modules_wanted, np.random.default_rng(0))
    return {name: value.value for name, value in scored.items()}


def test_numbers_worked_by_hand() -> None:
    # p = 1/4 each, exp(entropy) = 4, g = .2 / .21
    found = values(record([0.2] * 4))
    assert found["necessity"] == pytest.approx(0.2 / 0.21)
    assert found["independence"] == 1
    assert found["parallelism"] == pytest.approx(0.2 / 0.21)
    # two of them: exp(entropy) - 1 = 1 of the 3 that four wanted modules make
    assert values(record([0.2, 0.2]))["necessity"] == pytest.approx(0.2 / 0.21 / 3)
    assert values(record([0.2, 0.2]), modules_wanted=2)["necessity"] == pytest.approx(0.2 / 0.21)
    # eight modules are judged against eight
    assert values(record([0.2] * 4 + [0.0] * 4))["necessity"] == pytest.approx(0.2 / 0.21 * 3 / 7)


def test_information_is_what_is_lost_beyond_its_standard_error() -> None:
    shares, errors = information(record([0.3, -0.2], noise=0.2))
    lost = record([0.3, -0.2], noise=0.2)
    known = (lost.prior - lost.loss).mean()
    difference = lost.lesioned[0] - lost.loss
    error = difference.std() / math.sqrt(COUNT)
    assert shares[0] == pytest.approx((difference.mean() - error) / known)
    assert errors[0] == pytest.approx(error / known)
    assert shares[1] == 0


def test_at_chance_level_nothing_is_needed() -> None:
    generator = np.random.default_rng(0)
    loss = 1.5 + generator.normal(size=COUNT)
    found = record([0.5, 0.5], loss=loss - loss.mean() + 1.5 - 2.9 / math.sqrt(COUNT) * loss.std())
    assert values(found)["parallelism"] == values(found)["necessity"] == 0
    assert information(found)[0].tolist() == [0, 0]
    above = dataclasses.replace(found, loss=found.loss - 0.2 / math.sqrt(COUNT) * loss.std())
    above = dataclasses.replace(above, lesioned=above.loss + 0.5 * np.ones((2, 1)))
    assert values(above)["necessity"] > 0


def test_no_needed_module_no_parallelism() -> None:
    assert values(record([0.0, 0.0, 0.0]))["parallelism"] == 0
    assert necessity(np.zeros(1), 4) == 0
    assert necessity(np.ones(1), 4) == 0


@pytest.mark.parametrize(
    ("interaction", "inner", "expected"),
    [(0.0, 0.0, 1.0), (0.25, 0.0, 0.75), (0.0, -0.25, 0.5), (0.0, 0.9, 1.0), (1.0, 1.0, 0.0), (3.0, 0.0, 0.0)],
)
def test_independence_worked_by_hand(interaction: float, inner: float, expected: float) -> None:
    squares, pair = np.array([1.0, 4.0]), np.ones(1)
    assert independence(squares, interaction * pair, inner * pair) == pytest.approx(expected)


def test_effects_on_nothing_are_no_independence() -> None:
    assert independence(np.zeros(2), np.zeros(1), np.zeros(1)) == 0


@given(st.lists(st.floats(0, 2), min_size=2, max_size=9), st.integers(2, 9))
def test_necessity_lies_between_zero_and_one_and_ignores_order(shares: list[float], modules_wanted: int) -> None:
    found = float(necessity(np.array(shares), modules_wanted))
    assert 0 <= found <= 1
    assert found == pytest.approx(float(necessity(np.array(shares[::-1]), modules_wanted)))


def test_opposed_worked_by_hand() -> None:
    # pairs in order: 01, 02, 12
    squares, inner = np.array([1.0, 2.0, 0.5]), np.array([-0.25, 0.9, -0.5])
    assert opposed(squares, inner).tolist() == [0.25, 0.75 / 2, 1]
    assert opposed(np.zeros(2), np.zeros(1)).tolist() == [0, 0]  # no effect, nothing to oppose
    assert opposed(np.ones((7, 3)), np.zeros((7, 3))).shape == (7, 3)


def test_what_others_oppose_is_not_needed() -> None:
    half, whole = np.full((1, COUNT // 4), -0.5), np.full((1, COUNT // 4), -1.0)
    # u = .1 each: in p, in g and in the entropy
    assert values(record([0.2, 0.2], inner=half))["necessity"] == pytest.approx(0.1 / 0.11 / 3)
    assert values(record([0.2, 0.2], inner=whole))["necessity"] == pytest.approx(0, abs=1e-9)
    assert values(record([0.2, 0.2], inner=-whole))["necessity"] == pytest.approx(0.2 / 0.21 / 3)
    # the first loses all it carries, the second the half: only one is needed
    squares = np.array([0.5, 1.0])[:, None] * np.ones(COUNT // 4)
    assert values(record([0.2, 0.2], squares=squares, inner=half))["necessity"] == pytest.approx(0, abs=1e-9)
    assert information(record([0.2, 0.2], inner=whole))[0] == pytest.approx([0.2, 0.2])  # carried all the same


@pytest.mark.parametrize("opposing", [0.0, 0.4])
def test_standard_errors_are_those_of_other_probes(opposing: float) -> None:
    """The spread over independent probes of the same size, against the bootstrap of one."""
    scores, errors = [], []
    for seed in range(60):
        generator = np.random.default_rng(seed)
        lost = np.array([0.3, 0.2, 0.1])[:, None] + generator.normal(size=(3, COUNT))
        effects = np.abs(1 + 0.5 * generator.normal(size=(3, COUNT // 4)))
        found = record(
            [0, 0, 0],
            lesioned=0.5 + lost,
            squares=effects,
            interactions=0.3 * np.abs(1 + generator.normal(size=(3, COUNT // 4))),
            inner=opposing * (np.array([-1, 1, 1])[:, None] + 5 * generator.normal(size=(3, COUNT // 4))),
        )
        value = parallelism(found, 4, np.random.default_rng(seed))["parallelism"]
        scores.append(value.value)
        errors.append(value.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(scores), rel=0.3)


def test_standard_errors_shrink_with_examples() -> None:
    def error(count: int) -> float:
        generator = np.random.default_rng(1)
        found = LesionRecord(
            prior=np.full(count, 1.5),
            loss=np.full(count, 0.5),
            lesioned=0.8 + generator.normal(size=(2, count)),
            squares=np.ones((2, count)),
            interactions=np.zeros((1, count)),
            inner=np.zeros((1, count)),
            pair_examples=np.arange(count),
        )
        return parallelism(found, 4, generator)["parallelism"].standard_error or 0

    assert error(4000) < error(400) / 2


# On networks


def two_outputs(digits: Dataset) -> Dataset:
    """Digits, and whether they are even, as two outputs."""

    def both(split: Split) -> Split:
        return Split(split.inputs, {"digit": split.targets["y"], "even": split.targets["y"] % 2})

    return dataclasses.replace(
        digits,
        outputs={"digit": 10, "even": 2},
        train=both(digits.train),
        validation=both(digits.validation),
        test=both(digits.test),
    )


def as_regression(digits: Dataset) -> Dataset:
    """How much ink the upper and the lower half of a digit hold, standardised."""

    def ink(split: Split) -> Split:
        halves = split.inputs["x"].reshape(len(split), 2, -1).sum(2).astype(np.float32)
        return Split(split.inputs, {"y": (halves - 150) / 20})

    return dataclasses.replace(
        digits,
        task="regression",
        outputs={"y": 2},
        train=ink(digits.train),
        validation=ink(digits.validation),
        test=ink(digits.test),
    )


def test_scaling_one_of_several_heads_changes_nothing(digits: Dataset, fixtures: ModuleType) -> None:
    data = two_outputs(digits)
    module = ("dense", {"width": 16, "depth": 1})
    x, outputs = Node("input", (), {"name": "x"}), ("digit", "even")
    modules = [Node(module[0], (0,), module[1])] * 3
    ends = [Node("output", (1, 2, 3), {"name": name}) for name in outputs]
    network = fixtures.trained(
        Topology((x, *modules, *ends)), data, TrainingSettings(epochs=6, learning_rate=5e-3), seed=0
    )
    before = {name: value.value for name, value in fixtures.measured(network, data).items()}
    assert before["parallelism"] > 0.05
    with torch.no_grad():
        head = network.get_submodule("even_head")
        head.weight.mul_(20)
        head.bias.mul_(20)
    after = {name: value.value for name, value in fixtures.measured(network, data).items()}
    assert after == pytest.approx(before, abs=1e-4)


def test_regression_knows_parallel_modules_from_a_chain(digits: Dataset, fixtures: ModuleType) -> None:
    data = as_regression(digits)
    training = TrainingSettings(epochs=8, learning_rate=5e-3)
    module = ("dense", {"width": 8, "depth": 1})
    parallel = fixtures.trained(fixtures.wired([module] * 4, ()), data, training, seed=0)
    chain = fixtures.trained(fixtures.wired([module] * 2, [(0, 1)]), data, training, seed=0)
    found = fixtures.measured(parallel, data)
    assert found["parallelism"].value > 0.3
    assert found["independence"].value == pytest.approx(1)
    assert fixtures.measured(chain, data)["parallelism"].value == 0
    with torch.no_grad():
        parallel.get_submodule("y_head").bias.add_(3)
    moved = fixtures.measured(parallel, data)
    assert moved["parallelism"].value == pytest.approx(found["parallelism"].value, abs=1e-4)


def test_modules_are_named_and_bounded_probes_are_used(digits: Dataset, fixtures: ModuleType) -> None:
    network = fixtures.made(fixtures.wired([("dense", {"width": 8})] * 2, ()), digits, seed=0)
    evaluation = Evaluation(plan=network.plan, dataset=digits, network=network)
    for examples, pairs in [(1024, 256), (50, 10), (10, 100)]:
        found = Parallelism(ParallelismSettings(examples=examples, pair_examples=pairs))(evaluation)
        assert {"information.dense_1", "information.dense_2"} < set(found)


def test_a_module_without_parameters_is_no_module(digits: Dataset) -> None:
    nodes = (
        Node("input", (), {"name": "x"}),
        Node("pool", (0,)),
        Node("dense", (1,), {"width": 8}),
        Node("output", (2,), {"name": "y"}),
    )
    network = build(plan(Topology(nodes), digits.inputs, digits.output_shapes))
    found = Parallelism(ParallelismSettings())(Evaluation(plan=network.plan, dataset=digits, network=network))
    assert found["parallelism"].value == 0
    assert not any(name.startswith("information") for name in found)
