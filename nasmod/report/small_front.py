"""The front as a few lines of text: finished candidates as points, those on the front as stars."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nasmod.measures.objective import Objective
from nasmod.report.figures import front_axes, with_prefix
from nasmod.study.record import Record

POINT, STAR = "·", "★"
LOG_FROM = 10.0  # times as large as the smallest: then the axis is logarithmic


def draw_front(
    records: Sequence[Record], front: Sequence[Record], objective: Objective, rows: int = 7, columns: int = 56
) -> str:
    """Candidates over what the objective wants little of (FLOPs), better ones higher; an empty text for under two."""
    across, upwards, _ = front_axes(objective)
    on_front = {record.key for record in front}
    points = [
        (record.measures[across], record.measures[upwards], record.key in on_front)
        for record in records
        if math.isfinite(record.measures.get(across, math.nan))
        and math.isfinite(record.measures.get(upwards, math.nan))
    ]
    if len(points) < 2:
        return ""
    xs, ys = [point[0] for point in points], [point[1] for point in points]
    is_log = min(xs) > 0 and max(xs) / min(xs) >= LOG_FROM
    cells = [[" "] * columns for _ in range(rows)]
    for x, y, is_star in sorted(points, key=lambda point: point[2]):  # stars over points
        column = _place(x, min(xs), max(xs), columns, is_log)
        row = rows - 1 - _place(y, min(ys), max(ys), rows, False)
        cells[row][column] = STAR if is_star else POINT
    top, bottom = f"{max(ys):.3f}", f"{min(ys):.3f}"
    width = max(len(top), len(bottom))
    labels = {0: top, rows - 1: bottom}
    lines = [f"{labels.get(number, ''):>{width}} │{''.join(row)}".rstrip() for number, row in enumerate(cells)]
    lines.append(f"{'':>{width}} └{'─' * columns}")
    first, last = with_prefix(min(xs)), f"{with_prefix(max(xs))} {'FLOPs' if across == 'flops' else across}"
    lines.append(f"{upwards:<{width}}  {first}{last:>{columns - len(first)}}")
    return "\n".join(lines)


def _place(value: float, low: float, high: float, count: int, is_log: bool) -> int:
    if high <= low:
        return count // 2
    share = math.log(value / low) / math.log(high / low) if is_log else (value - low) / (high - low)
    return min(count - 1, max(0, round(share * (count - 1))))
