"""A topology as SVG, light enough that a page holds hundreds, and legible on light and on dark ground."""

from __future__ import annotations

from xml.sax.saxutils import escape

from nasmod.report.appearance import factor_colours, layout_of, module_colour
from nasmod.study.record import Record

COLUMN, ROW = 8, 17  # pixels of a character


def svg(record: Record) -> str:
    """The live part of a record's topology; lines and what is no module have the colour of the text around it."""
    layout, colours = layout_of(record), factor_colours(record)
    left, right = layout.columns
    width, height = (right - left + 3) * COLUMN, (layout.height + 1) * ROW

    def place(column: float, row: float) -> tuple[float, float]:
        return (column - left + 1.5) * COLUMN, (row + 1) * ROW

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">']
    for wire in layout.wires:
        points = " ".join(f"{x:g},{y:g}" for x, y in (place(*point) for point in wire.points))
        parts.append(f'<polyline points="{points}" fill="none" stroke="currentColor"/>')
    for box in layout.boxes:
        x, y = place(box.left, box.top)
        size = f'width="{(box.width - 1) * COLUMN}" height="{(box.height - 1) * ROW}"'
        fill, ink = ("none", "currentColor")
        if box.is_module:
            fill, ink = module_colour(record, box.name, colours), "#111"
        ends = 3 if box.is_module else ROW
        parts.append(f'<rect x="{x:g}" y="{y:g}" {size} rx="{ends}" fill="{fill}" stroke="currentColor"/>')
        for number, line in enumerate(box.lines):
            middle, base = place(box.left + (box.width - 1) / 2, box.top + 1 + number)
            text = f'x="{middle:g}" y="{base + 4:g}" font-size="{11 if number else 13}" fill="{ink}"'
            parts.append(f'<text {text} text-anchor="middle">{escape(line)}</text>')
    return "".join([*parts, "</svg>"])
