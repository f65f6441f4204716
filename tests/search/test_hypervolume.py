"""Gains of hypervolume: what the definition says, and Optuna's own figure for two directions."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from nasmod.search.strategies.hypervolume import DRAWN, MARGIN, hypervolume_gains

values = st.integers(0, 8).map(float)
rows = st.lists(st.tuples(values, values), min_size=1, max_size=8).map(np.array)


@given(known=rows, points=rows)
def test_it_is_what_the_hypervolume_grows_by(known, points):
    front = np.array([row for row in known if not any((other >= row).all() and (other > row).any() for other in known)])
    best = np.maximum(front.max(0), points.max(0))
    worst = front.min(0) - MARGIN * (best - front.min(0))
    box = float(np.prod(best - worst))
    assume(box > 0)

    def volume(of: np.ndarray) -> float:
        inside = of[(of > worst).all(1)]
        return float(compute_hypervolume(-inside, -worst)) if len(inside) else 0.0

    gains = hypervolume_gains(points[None], known, random.Random(0))
    assert gains.shape == (1, len(points))
    for point, gain in zip(points, gains[0], strict=True):
        expected = (volume(np.vstack([known, point])) - volume(known)) / box
        assert abs(gain - expected) < 6 * 0.5 / DRAWN**0.5  # six standard deviations of a share, at their largest


@given(known=rows, point=st.tuples(values, values), directions=st.integers(1, 3))
def test_what_is_dominated_gains_nothing_whatever_the_number_of_directions(known, point, directions):
    known, point = (np.tile(values, 2)[..., :directions] for values in (known, np.array(point)))
    dominated = np.minimum(point, known[0])
    assert hypervolume_gains(dominated[None, None], known, random.Random(0)).tolist() == [[0.0]]
