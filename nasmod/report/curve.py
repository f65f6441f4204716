"""A learning curve as a few lines of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

DOTS = "⡀⠄⠂⠁"  # a quarter of a line each, lowest first


def draw_curve(curve: Sequence[Mapping[str, float]], name: str, rows: int = 6, columns: int = 60) -> str:
    """The finite values of `name` over the epochs, the axis labelled with the smallest and the largest.

    >>> print(draw_curve([{"epoch": n + 1, "a": n / 4} for n in range(5)], "a", rows=3))
    1.000 ┤   ⡀⠁
          │  ⠂
    0.000 ┤⡀⠁
          └─────
           1   5
    """
    known = [(int(point.get("epoch", n)), point[name]) for n, point in enumerate(curve, 1) if name in point]
    if not known:
        return "no epoch trained yet"
    points = [(epoch, value) for epoch, value in known if math.isfinite(value)]
    if not points:
        return "finite in no epoch"
    if len(points) > columns:  # the last always shows
        chosen = [round(n * (len(points) - 1) / (columns - 1)) for n in range(columns)]
        points = [points[n] for n in chosen]
    epochs, values = zip(*points, strict=True)
    low, high = min(values), max(values)
    height = rows * len(DOTS)
    cells = [[" "] * len(values) for _ in range(rows)]
    for column, value in enumerate(values):
        level = round((value - low) / (high - low) * (height - 1)) if high > low else height // 2
        row, dot = divmod(level, len(DOTS))
        cells[rows - 1 - row][column] = DOTS[dot]
    top, bottom = f"{high:.3f}", f"{low:.3f}"
    width = max(len(top), len(bottom))
    labels = {0: top, rows - 1: bottom}
    lines = []
    for number, row_cells in enumerate(cells):
        label = labels.get(number, "")
        lines.append(f"{label:>{width}} {'┤' if label else '│'}{''.join(row_cells)}".rstrip())
    lines.append(f"{'':>{width}} └{'─' * len(values)}")
    first, last = str(epochs[0]), str(epochs[-1])
    room = len(values) - len(first)
    lines.append(f"{'':>{width}}  {first}{last:>{room}}" if room >= len(last) else f"{'':>{width}}  {first}")
    return "\n".join(lines)
