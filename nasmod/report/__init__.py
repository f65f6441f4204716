"""What a person looks at: tables, pictures, curves and progress, as text and rich renderables. It prints nothing."""

from nasmod.report.curve import draw_curve
from nasmod.report.drawing import draw
from nasmod.report.layout import node_names
from nasmod.report.progress import ProgressView
from nasmod.report.rows import full_row, top_rows
from nasmod.report.show import origin, show
from nasmod.report.tables import modules_of, score_of, top_table, with_front

__all__ = [
    "ProgressView",
    "draw",
    "draw_curve",
    "full_row",
    "modules_of",
    "node_names",
    "origin",
    "score_of",
    "show",
    "top_rows",
    "top_table",
    "with_front",
]
