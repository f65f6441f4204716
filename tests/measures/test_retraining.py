"""Training again: what several trainings say together."""

from __future__ import annotations

import math

import pytest

from nasmod.measures.retraining import Retrained, mean_and_spread


@pytest.mark.parametrize(("values", "mean"), [((math.inf, 1.0), math.inf), ((math.nan, 1.0), math.nan)])
def test_what_is_not_finite_in_one_training_is_not_finite_in_the_mean(values, mean):
    trainings = [Retrained(1, 8, {"loss": value}, {}, b"") for value in values]
    found, spread = mean_and_spread(trainings)["loss"]
    assert repr(found) == repr(mean)
    assert not math.isfinite(spread)
