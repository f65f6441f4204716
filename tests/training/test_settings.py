"""Training settings, the learning rate and seeds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nasmod.training import TrainingSettings, derive
from nasmod.training.settings import learning_rate


@pytest.mark.parametrize(
    "given_settings",
    [
        {"epochs": 0},
        {"batch_size": 1},
        {"learning_rate": 0},
        {"learning_rate": float("nan")},
        {"label_smoothing": 1},
        {"clip_norm": 0},
        {"augment": "flip"},
        {"optimizer": "sgd"},
        {"epoch": 3},
    ],
)
def test_impossible_settings_are_refused(given_settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings(**given_settings)


@given(st.integers(1, 30), st.integers(1, 40), st.floats(0, 50))
def test_the_learning_rate_rises_to_its_largest_and_falls_towards_zero(epochs: int, steps: int, warmup: float) -> None:
    settings = TrainingSettings(epochs=epochs, warmup_epochs=warmup, learning_rate=0.5)
    rates = [learning_rate(settings, step, steps) for step in range(epochs * steps)]
    assert all(0 < rate <= 0.5 for rate in rates)
    peak = rates.index(max(rates))
    assert max(rates) == pytest.approx(0.5)
    assert rates[:peak] == sorted(rates[:peak])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert peak <= len(rates) / 4 + 1


@given(st.lists(st.integers() | st.text(max_size=5), max_size=4))
def test_seeds_are_63_bits_and_tell_their_parts_apart(parts: list[int | str]) -> None:
    assert 0 <= derive(*parts) < 2**63
    assert derive(*parts) == derive(*parts)
    assert derive(*parts) != derive(*parts, 0)


def test_a_seed_is_known() -> None:
    """Golden: candidates of a running study must not change with a version of nasmod."""
    assert derive(0, "epoch", 1) == 8267552663497258805
