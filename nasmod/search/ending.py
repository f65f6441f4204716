"""When a search has what was wanted of it: a target that is reached, or patience that is at its end."""

from __future__ import annotations

from collections.abc import Sequence

from nasmod.measures import measured_names
from nasmod.study import TRAINED, Record, Study
from nasmod.study.records import front, ranked


def enough(study: Study, records: Sequence[Record]) -> str | None:
    """Why the search may end before its budget is reached; None while it may not.

    A target counts as reached by a single training, of which the best are lucky: finalists tell what it is worth.
    """
    if not study.target and study.patience is None:
        return None
    searched = [record for record in records if record.role == "search"]
    best = ranked(searched, study.objective)
    if study.target and (found := next((record for record in best if reaches(study, record)), None)) is not None:
        wanted = ", ".join(f"{name} {value:g}" for name, value in study.target.items())
        return f"the target is reached: {found.label} has {wanted} or better"
    if study.patience is None:
        return None
    leading = front(searched, study.objective) if study.objective.mode == "pareto" else best[:1]
    latest = max((record.id for record in leading), default=0)
    later = sum(record.state in TRAINED and record.id > latest for record in searched)
    if later < study.patience:
        return None
    better = "came to the front" if study.objective.mode == "pareto" else "was better than the best"
    return f"none of the latest {later} candidates {better}"


def reaches(study: Study, record: Record) -> bool:
    """Whether a candidate has everything that the study's target names."""
    directions = measured_names(list(study.measures))
    for name, wanted in study.target.items():
        value = record.score if name == "score" else record.measures.get(name)
        if value is None:
            return False
        if not (value <= wanted if directions.get(name) == "minimize" else value >= wanted):
            return False
    return True
