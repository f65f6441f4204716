"""What a controller does about candidates that wait at a rung: lets them go on, or ends them with the search."""

from __future__ import annotations

from collections.abc import Iterable

from nasmod.search.stopping import PromotingRule
from nasmod.study import Record, StoredStudy, pausing


def promote(study: StoredStudy, rule: PromotingRule, most: int) -> int:
    """Queue again what the rule lets pass by now, the best by score first, so many at most; returns how many."""
    promoted = 0
    waiting = pausing.paused(study.database, study.id)
    for one in sorted(waiting, key=lambda one: one.rung_results[-1].score, reverse=True):
        if promoted < most and rule.decide(one.rung_results, one.others, one.later) is None:
            promoted += pausing.promote(study.database, study.id, one.id, one.token)
    return promoted


def stop_what_waits(study: StoredStudy, records: Iterable[Record]) -> None:
    """The search is over: what is paused, or was to go on and found no worker, is stopped for good."""
    definition = study.study
    for record in records:
        if record.role == "search" and record.state in ("paused", "queued") and record.score is not None:
            reason = f"{record.reason or 'it waited'}; the search ended before it was its turn to go on"
            settings = definition.training.model_copy(update=dict(record.proposal.settings))
            left = 1 - len(record.curve) / settings.epochs
            values = definition.objective.values(record.measures)
            pausing.stop_waiting(study.database, study.id, record.id, reason, values, left)
