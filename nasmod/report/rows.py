"""Records as plain data: what ``--json`` prints. Numbers that are not finite become null."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from nasmod.measures.roles import to_json
from nasmod.study.record import Record

if TYPE_CHECKING:
    from nasmod.search.trying import Tried


def top_row(record: Record, on_front: bool) -> dict[str, Any]:
    """What ``top`` tells of a candidate."""
    return {
        "number": record.number,
        "key": record.key,
        "score": _finite(record.score),
        "state": record.state,
        "reason": record.reason,
        "on_front": on_front,
        "measures": _all_finite(record.measures),
        "standard_errors": _all_finite(record.standard_errors),
    }


def full_row(record: Record, on_front: bool) -> dict[str, Any]:
    """What ``show`` tells of a candidate: everything."""
    return {
        **top_row(record, on_front),
        "role": record.role,
        "repeats": record.repeats,
        "topology": json.loads(record.proposal.topology.to_json()),
        "settings": dict(record.proposal.settings),
        "parameters": dict(record.parameters),
        "parent": record.proposal.parent,
        "origin": dict(record.proposal.origin),
        "roles": to_json(record.roles),
        "curve": [_all_finite(point) for point in record.curve],
        "seconds": _finite(record.seconds),
        "attempts": record.attempts,
        "worker": record.worker,
        "traceback": record.traceback,
    }


def tried_row(tried: Tried) -> dict[str, Any]:
    """What ``try`` tells of a topology; `reason` says why a training failed."""
    return {
        "file": tried.file,
        "seeds": tried.seeds,
        "score": _finite(tried.score),
        "measures": _all_finite(tried.measures),
        "standard_errors": _all_finite(tried.standard_errors),
        "roles": to_json(tried.roles),
        "reason": tried.reason,
        "notes": list(tried.notes),
    }


def top_rows(
    records: Collection[Record], front: Collection[Record], worth: Mapping[str, float] | None = None
) -> list[dict[str, Any]]:
    """`top_row` of each, best first as they come; where `worth` is given, with what each is worth, null if unknown."""
    keys = {record.key for record in front}
    rows = [top_row(record, record.key in keys) for record in records]
    return rows if worth is None else [{**row, "worth": worth.get(row["key"])} for row in rows]


def _all_finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
