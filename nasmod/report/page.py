"""A study as one web page that needs no network: what was asked and found, every candidate, and what was spent."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from nasmod.data import Factors, Reading
from nasmod.errors import StudyError
from nasmod.measures.objective import Objective
from nasmod.report.figures import (
    INFORMATION,
    curve_measure,
    figure,
    front_axes,
    main_measure,
    measure,
    seconds,
    settings,
    with_prefix,
)
from nasmod.report.importance import importances
from nasmod.report.roles import factors_lines, roles_rows
from nasmod.report.show import origin
from nasmod.report.status import state_in_words
from nasmod.report.svg import svg
from nasmod.report.tables import gain_line, modules_of, score_of
from nasmod.study import Study
from nasmod.study import records as reading
from nasmod.study.overview import Overview
from nasmod.study.record import Record

DRAWN = 500  # of the best: of the others there are points and rows
IMPORTANT = 15  # descriptors that are shown
PLOTLY, DATA = "//PLOTLY//", "//DATA//"  # where they go in the page


@dataclass(frozen=True)
class Reported:
    """What a page is made of."""

    study: Study
    overview: Overview
    records: Sequence[Record]
    factors: Factors | None
    reading: Reading | None
    storage: str
    versions: Mapping[str, str]


def write_page(reported: Reported, file: Path) -> None:
    """Write the page. Raises `StudyError` without plotly, and when no candidate has finished."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise StudyError("A report needs plotly: pip install 'nasmod[report]'.") from error
    # in a script element `<` could end it
    content = json.dumps(page_of(reported), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    page = files("nasmod.report").joinpath("page.html").read_text(encoding="utf-8")
    before, rest = page.split(PLOTLY)
    between, after = rest.split(DATA)
    try:
        file.write_text("".join([before, get_plotlyjs(), between, content, after]), encoding="utf-8")
    except OSError as error:
        raise StudyError(f"'{file}' cannot be written: {error.strerror}") from error


def page_of(reported: Reported) -> dict[str, Any]:
    """Everything on the page, as plain values."""
    study, records = reported.study, reported.records
    objective, axes = study.objective, front_axes(study.objective)
    best, front = reading.best(records, objective), reading.front(records, objective)
    simple = reading.references(records, objective)
    first = dict.fromkeys(record.key for record in [*front, *simple, *reading.ranked(records, objective)])
    drawn = set(list(first)[:DRAWN])
    on_front, names = {record.key for record in front}, {record.key: record.reference for record in simple}
    labels = {record.key: record.label for record in records}
    rows = []
    for record in records:
        if record.role == "search" and record.score is not None:
            row = _row(record, axes, objective)
            row |= {"front": True} if record.key in on_front else {}
            row |= {"reference": names[record.key]} if record.key in names else {}
            rows.append(row | (_details(record, labels) if record.key in drawn else {}))
    told = importances(records)
    return {
        "name": study.name,
        "sentences": [asked(study), *found(records, objective)],
        "axes": dict(zip(("across", "upwards", "colour"), axes, strict=True)),
        "best": best.label,
        "rows": rows,
        "facts": _facts(reported),
        "stopped": _stopped(records),
        "importance": told and {"explained": told.explained, "of": told.largest(IMPORTANT)},
        "recipe": json.dumps(study.definition(), indent=1, default=str),
        "versions": dict(reported.versions),
    }


def asked(study: Study) -> str:
    """What a study was to find, in a sentence."""
    objective = study.objective
    if objective.mode == "pareto":
        goal = f"the best front in {', '.join(objective.directions)}"
    else:
        shares = [(objective.modularity_weight, objective.modularity), (objective.flops_weight, "cheapness")]
        extra = " and ".join(f"up to {100 * weight:.3g}\u00a0% of it for {name}" for weight, name in shares if weight)
        goal = f"the best score: skill{f', plus {extra}' if extra else ''}"
    return (
        f"{study.trials:,} topologies were to be trained on {study.data['name']}, up to {study.training.epochs} epochs "
        f"each and within {with_prefix(objective.flops_budget)} FLOPs, for {goal}."
    )


def found(records: Sequence[Record], objective: Objective) -> list[str]:
    """The best, and what the search gained over the simple wirings, a sentence each; none before one has finished."""
    ranked, simple = reading.ranked(records, objective), reading.references(records, objective)
    if not ranked:
        return []
    best, main, modular = ranked[0], main_measure(ranked[:1]), objective.modularity
    test = f", on test {measure(best, f'test_{main}')}" if f"test_{main}" in best.measures else ""
    how = f"the mean of {best.repeats} fresh trainings" if best.repeats else "a single training"
    said = (
        f"The best, {best.label}, has a score of {score_of(best, objective)} ({how}): {main.replace('_', ' ')} "
        f"{measure(best, main)}{test}, {modular} {measure(best, modular)}, {measure(best, 'flops')} FLOPs, made of "
        f"{modules_of(best.proposal.topology)}; {len(reading.front(records, objective))} on the front."
    )
    return [said, *([gain_line(best, simple, objective)] if simple else [])]


def _row(record: Record, axes: tuple[str, str, str | None], objective: Objective) -> dict[str, Any]:
    """A point and a row of the table."""
    names = [name for name in axes if name]
    return {
        "label": record.label,
        "state": record.state,
        "score": _finite(record.score),
        "said": score_of(record, objective),
        "at": [_finite(record.measures.get(name)) for name in names],
        "errors": [_finite(record.standard_errors.get(name)) for name in names],
        "modules": modules_of(record.proposal.topology),
        "epochs": len(record.curve),
        "reason": record.reason,
    }


def _details(record: Record, labels: Mapping[str, str]) -> dict[str, Any]:
    """What a click shows."""
    curve = curve_measure(record)
    measured = [name for name in record.measures if not name.startswith(INFORMATION)]
    roles = []
    for row in roles_rows(record.roles):
        roles.append([*row, figure("information", record.measures.get(f"{INFORMATION}{row[0]}"))])
    return {
        "svg": svg(record),
        "origin": origin(record, labels),
        "settings": settings(record),
        "repeats": record.repeats,
        "measures": [[name.replace("_", " "), measure(record, name)] for name in measured],
        "roles": roles,
        "curve": [_finite(point.get(curve)) for point in record.curve] if curve else [],
        "curve_of": (curve or "").replace("_", " "),
    }


def _facts(reported: Reported) -> list[tuple[str, str]]:
    status, records = reported.overview.status, reported.records
    spent = sum(record.seconds or 0.0 for record in records)
    epochs = sum(len(record.curve) for record in records if record.role == "search")
    whole = max(1, reported.study.training.epochs * status.trained)
    ends = f"{status.finished:,} finished, {status.stopped:,} stopped early, {status.failed:,} failed beside"
    facts = [
        ("state", state_in_words(status)),
        ("trained", f"{status.trained:,} of {status.budget:,}: {ends}"),
        ("trained again", f"{status.repeats:,} trainings of finalists with fresh seeds"),
        ("proposals", f"{status.proposals:,}: {status.duplicates:,} duplicates, {status.infeasible:,} over the budget"),
        ("time", f"{seconds(status.seconds)}; {seconds(spent)} of training in the search, over all workers"),
        ("epochs", f"{epochs:,} in the search, {epochs / whole:.0%} of what training all to their end takes"),
    ]
    for rung in reported.overview.rungs:
        said = f"rank correlation {rung.correlation:.2f} with the end, over the {rung.finished} that finished"
        facts.append((f"rung at epoch {rung.epoch}", said))
    if factors := " ".join(line.strip() for line in factors_lines(reported.factors)):
        facts.append(("factors", factors))
    if reported.reading is not None:
        facts.append(("data", " ".join(line.strip() for line in reported.reading.lines())))
    return [*facts, ("database", reported.storage)]


def _stopped(records: Sequence[Record]) -> list[tuple[str, int]]:
    """Why candidates did not run to their end, with how many each."""
    reasons: Counter[str] = Counter()
    for record in records:
        if record.state == "stopped":
            reasons[f"stopped early after epoch {len(record.curve)}"] += 1
        elif record.state in ("failed", "paused"):
            reasons[f"{record.state}: {record.reason}"] += 1
    return reasons.most_common()


def _finite(value: float | None) -> float | None:
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None
