"""What measures predict: correlations of every measure with every outcome over the topologies that solve their task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.truth.correlations import (
    Correlation,
    agreement,
    interval,
    partial,
    resampled,
    spearman,
)
from benchmarks.truth.jobs import Found, figures, regained

Floats = NDArray[np.float64]
REPAIRS = ("sensor", "meaning")  # those that the mean is taken over
OUTCOMES = (
    *REPAIRS,
    "labels",
    "composition",
    "damage, mean",
    "damage, worst",
    "damage, needed",
    "swap",
    "upgrade",
    "pruning",
)
SOLVES = 0.5  # of the best skill of the task


@dataclass(frozen=True)
class Predicted:
    """How a measure goes with an outcome in a world: raw, and partial at equal accuracy, FLOPs and module count."""

    raw: Correlation
    partial: Correlation
    count: int  # topologies
    resamples: Floats  # of the partial correlation; the first is the sample itself


def solving(found: Sequence[Found]) -> list[Found]:
    """Those with at least half of the best skill in their world."""
    best: dict[str, float] = {}
    for row in found:
        best[row.world] = max(best.get(row.world, 0.0), row.skill)
    return [row for row in found if row.skill >= SOLVES * best[row.world]]


def predicted(found: Sequence[Found], measure: str, outcome: str, seed: int = 0) -> Predicted | None:
    """Of topologies of one world; None where fewer than 8 have both figures."""
    rows = [
        (row.measures[measure], figures(row).get(outcome, np.nan), row.accuracy, row.flops, row.modules)
        for row in found
        if measure in row.measures
    ]
    table = np.array([row for row in rows if np.isfinite(row).all()], dtype=np.float64)
    if len(table) < 8:
        return None
    drawn = resampled(len(table), seed)
    first, second, *controls = table[drawn].transpose(2, 0, 1)  # each (1 + replicates, N)
    resamples = partial(first, second, np.stack(controls, axis=-2))
    return Predicted(interval(spearman(first, second)), interval(resamples), len(table), resamples)


def mean_of(parts: Sequence[Predicted | None]) -> Correlation:
    """The mean of partial correlations, each world resampled on its own; NaN where one of them is missing."""
    if not parts or any(part is None for part in parts):
        return Correlation(*[float("nan")] * 3)
    return interval(np.mean([part.resamples for part in parts if part is not None], axis=0))


def agreements(found: Sequence[Found]) -> dict[str, float]:
    """How far the repairs of a world would agree with as many others, by kind (`agreement`)."""
    result = {}
    for kind in REPAIRS:
        rows = [[row for row in topology.outcomes["repair"] if row["change"]["kind"] == kind] for topology in found]
        if not rows or not rows[0]:
            continue
        numbers = sorted({row["change"]["repetition"] for row in rows[0]})
        table = np.array(
            [[regained(_numbered(of_one, number), "best_module") for of_one in rows] for number in numbers]
        )
        result[kind] = agreement(table[:, np.isfinite(table).all(0)])
    return result


def _numbered(rows: Sequence[Mapping[str, Any]], number: int) -> list[dict[str, Any]]:
    return [dict(row) for row in rows if row["change"]["repetition"] == number]
