"""The benchmark's tables in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np

from benchmarks.truth.correlations import Correlation
from benchmarks.truth.jobs import Found, figures
from benchmarks.truth.predicting import OUTCOMES, REPAIRS, Predicted, mean_of

Predictions = Mapping[tuple[str, str, str], Predicted | None]  # by world, measure, outcome


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; the first column is text, the others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def by_hand_measures(found: Sequence[Found], measures: Sequence[str]) -> str:
    """Accuracy and every measure of the topologies made by hand, of one world."""
    head = ["wiring", "accuracy", "FLOPs", *measures]
    rows = [
        [row.name, _number(row.accuracy, 3), f"{row.flops:,}", *(_number(row.measures.get(m)) for m in measures)]
        for row in found
    ]
    return markdown(head, rows)


def by_hand_outcomes(found: Sequence[Found]) -> str:
    """What the topologies made by hand are good for, of one world; the controls beside."""
    pairs = {
        "sensor: one / all": ("sensor", "sensor, all"),
        "meaning": ("meaning", "meaning, all"),
        "labels": ("labels", "labels, all"),
        "composition: unseen / seen": ("unseen, classes", "seen, classes"),
        "as a number": ("unseen, regression", "seen, regression"),
        "damage kept: mean / worst / needed": ("damage, mean", "damage, worst", "damage, needed"),
        "swap": ("swap",),
        "upgrade": ("upgrade",),
        "pruned / lost at random": ("pruning", "pruning, at random"),
    }
    known = [figures(row) for row in found]
    pairs = {head: names for head, names in pairs.items() if any(names[0] in row for row in known)}
    rows = [
        [row.name, *(" / ".join(_number(figure.get(name)) for name in names) for names in pairs.values())]
        for row, figure in zip(found, known, strict=True)
    ]
    return markdown(["wiring", *pairs], rows)


def repairs_predicted(predictions: Predictions, worlds: Sequence[str], measures: Sequence[str], kind: str) -> str:
    """Raw or partial correlation of each measure with local repair; for the partial ones their mean over all."""
    places = [(world, outcome) for world in worlds for outcome in REPAIRS]
    head = ["measure", *(f"{world}: {outcome}" for world, outcome in places), "mean", "least"]
    rows = []
    for measure in by_mean(predictions, worlds, measures):
        parts = [predictions.get((world, measure, outcome)) for world, outcome in places]
        cells = [_correlation(part, kind) for part in parts]
        values = [getattr(part, kind).value if part else np.nan for part in parts]
        mean = str(mean_of(parts)) if kind == "partial" else _number(fmean(values))
        rows.append([measure, *cells, mean, _number(min(values))])
    return markdown(head, rows)


def outcome_predicted(predictions: Predictions, worlds: Sequence[str], measures: Sequence[str], outcome: str) -> str:
    """Raw and partial correlations of each measure with one outcome, world by world."""
    head = ["measure", *(f"{world}: {kind}" for world in worlds for kind in ("raw", "partial")), "mean partial"]
    rows = []
    for measure in by_mean(predictions, worlds, measures):
        parts = [predictions.get((world, measure, outcome)) for world in worlds]
        cells = [_correlation(part, kind) for part in parts for kind in ("raw", "partial")]
        rows.append([measure, *cells, str(mean_of(parts))])
    return markdown(head, rows)


def other_outcomes(predictions: Predictions, worlds: Sequence[str], measures: Sequence[str]) -> str:
    """The tables of all outcomes but the repairs of sensor and meaning."""
    known = {outcome for _, _, outcome in predictions}
    return "\n\n".join(
        f"### {outcome[0].upper()}{outcome[1:]}\n\n{outcome_predicted(predictions, worlds, measures, outcome)}"
        for outcome in OUTCOMES
        if outcome in known and outcome not in REPAIRS
    )


def means(predictions: Predictions, worlds: Sequence[str], measures: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Of each measure the mean and the least of its partial correlations with both repairs in all worlds."""
    result = {}
    for measure in measures:
        parts = [predictions.get((world, measure, outcome)) for world in worlds for outcome in REPAIRS]
        values = [part.partial.value if part else float("nan") for part in parts]
        result[measure] = (mean_of(parts).value, float(np.min(values)))
    return result


def by_mean(predictions: Predictions, worlds: Sequence[str], measures: Sequence[str]) -> list[str]:
    """Measures, the best predictor of local repair first; those without a mean last."""
    found = means(predictions, worlds, measures)
    return sorted(measures, key=lambda measure: -np.nan_to_num(found[measure][0], nan=-2.0))


def _correlation(part: Predicted | None, kind: str) -> str:
    found: Correlation | None = getattr(part, kind) if part else None
    return "—" if found is None else str(found)


def _number(value: float | None, digits: int = 2) -> str:
    return "—" if value is None or np.isnan(value) else f"{value:.{digits}f}"
