"""Pictures drawn with matplotlib (the extra `plots`): the front, learning curves, a topology, a comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nasmod.errors import StudyError
from nasmod.measures.objective import Objective
from nasmod.report.appearance import COLOURS, factor_colours, layout_of, module_colour
from nasmod.report.figures import curve_measure, front_axes
from nasmod.study.record import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes  # the API names it too
    from matplotlib.figure import Figure

    from nasmod.search.comparison import Comparison, Run

COSTS: dict[str, Callable[[Run], list[float]]] = {
    "trained candidates": lambda run: [float(number) for number in range(1, len(run.ended) + 1)],
    "epochs": lambda run: [float(ended.epochs) for ended in run.ended],
    "seconds": lambda run: [ended.seconds for ended in run.ended],
    "FLOPs of training": lambda run: [ended.flops for ended in run.ended],
}
MISSING = "A picture needs matplotlib: pip install 'nasmod[plots]'."
POINTS = 200  # on the axis of a cost at which the runs of a variant are averaged
PLAIN = "#8c8c8c"
LINE = 2.0  # how many columns of characters a row of them is high
INCHES = 0.085  # a column of characters
LEGEND_INCHES = 1.4


def new_figure(width: float = 6.4, height: float = 4.8) -> Figure:
    """An empty figure of so many inches. Raises `StudyError` without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StudyError(MISSING) from error
    return Figure(figsize=(width, height), layout="constrained")


def new_axes() -> Axes:
    """Axes of a new figure of pyplot, which a notebook shows. Raises `StudyError` without matplotlib."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise StudyError(MISSING) from error
    return pyplot.subplots(layout="constrained")[1]


def plot_front(
    records: Sequence[Record], front: Sequence[Record], references: Sequence[Record], objective: Objective, axes: Axes
) -> None:
    """Every finished candidate over its FLOPs, those on the front with standard errors, the simple wirings by name.

    Without FLOPs among the directions the last of these takes their place; a third direction is the colour.
    """
    from matplotlib.ticker import EngFormatter, LogLocator

    across, upwards, colour = front_axes(objective)
    finished = [one for one in records if one.state == "finished" and one.role == "search"]
    axes.plot(*_columns(finished, across, upwards), ".", color=PLAIN, alpha=0.5, label="finished")
    for record in references:
        place = record.measures.get(across, math.nan), record.measures.get(upwards, math.nan)
        axes.plot(*place, "x", color="black")
        axes.annotate(str(record.reference), place, xytext=(4, 4), textcoords="offset points", fontsize="small")
    x, y = _columns(front, across, upwards)
    errors = {name: [record.standard_errors.get(name, 0.0) for record in front] for name in (across, upwards)}
    axes.errorbar(x, y, errors[upwards], errors[across], fmt="none", ecolor=PLAIN, elinewidth=1, zorder=1)
    shade = [record.measures.get(colour, math.nan) for record in front] if colour else COLOURS[0]
    drawn = axes.scatter(x, y, c=shade, zorder=3, label="on the front")
    if colour and axes.figure is not None and front:
        axes.figure.colorbar(drawn, ax=axes, label=colour)
    if across == "flops":
        axes.set_xscale("log")
        for which in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            which(EngFormatter())
        axes.xaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
    axes.set(xlabel="FLOPs" if across == "flops" else across, ylabel=upwards)
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize="small")


def plot_curves(records: Sequence[Record], chosen: Sequence[Record], axes: Axes) -> None:
    """How the chosen candidates learned, epoch by epoch, before all others of the study in grey.

    The axis begins where theirs do: what learned nothing would make all others look alike.
    """
    name = next((found for record in [*chosen, *records] if (found := curve_measure(record))), "validation_accuracy")
    keys = {record.key for record in chosen}
    for record in records:
        if record.key not in keys:
            axes.plot(*_curve(record, name), color=PLAIN, alpha=0.25, linewidth=0.8)
    for record in chosen:
        axes.plot(*_curve(record, name), label=record.label)
    axes.set(xlabel="epoch", ylabel=name.replace("_", " "))
    axes.grid(alpha=0.3)
    if chosen:
        axes.legend(loc="best", fontsize="small")
    known = [value for record in chosen for value in _curve(record, name)[1] if math.isfinite(value)]
    if known:
        margin = 0.05 * (max(known) - min(known))
        axes.set_ylim(min(known) - margin, max(known) + margin)


def plot_topology(record: Record, axes: Axes) -> None:
    """The live part of a record's topology. A module's colour says which factors' effects it carries.

    The colour is the paler the less information is lost without the module.
    """
    from matplotlib.patches import FancyBboxPatch

    layout, colours = layout_of(record), factor_colours(record)
    for wire in layout.wires:
        columns, rows = zip(*wire.points, strict=True)
        axes.plot(columns, [-LINE * row for row in rows], color="black", linewidth=1, zorder=1)
    for box in layout.boxes:
        width, height = box.width - 1, LINE * (box.height - 1)
        style = f"round,pad=0,rounding_size={0.4 if box.is_module else LINE}"
        face = module_colour(record, box.name, colours) if box.is_module else "white"
        corner = box.left, -LINE * box.bottom
        axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, fc=face, ec="black", zorder=2))
        for number, line in enumerate(box.lines):
            place = box.left + width / 2, -LINE * (box.top + 1 + number)
            axes.text(*place, line, ha="center", va="center", zorder=3, fontsize="x-small" if number else "small")
    for name, colour in colours.items():
        axes.scatter([], [], color=colour, marker="s", label=name)
    if colours:
        axes.legend(title="carries", loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
    left, right = layout.columns
    axes.set(xlim=(left - 1, right + 1), ylim=(-LINE * layout.height, LINE), aspect="equal")
    axes.set_axis_off()


def draw_topology(record: Record, file: Path) -> None:
    """`plot_topology` as a file, as large as the topology wants; its format is that of its ending.

    Raises `StudyError` without matplotlib, and where the file cannot be written.
    """
    layout = layout_of(record)
    left, right = layout.columns
    width, height = INCHES * (right - left + 3), INCHES * LINE * (layout.height + 1)
    drawn = new_figure(width + LEGEND_INCHES * bool(record.roles), height)
    plot_topology(record, drawn.subplots())
    try:
        drawn.savefig(file, dpi=200)
    except (OSError, ValueError) as error:  # a format that matplotlib does not know is a ValueError
        raise StudyError(f"'{file}' cannot be drawn: {str(error).splitlines()[0]}") from error


def draw_comparison(comparison: Comparison, files: Sequence[Path]) -> None:
    """Score and hypervolume over every cost, the mean of the study seeds with its standard error as a band.

    The format of each file is that of its ending. Raises `StudyError` without matplotlib.
    """
    rows: dict[str, Callable[[Run], list[float]]] = {
        "best score": lambda run: run.best_so_far(),
        "hypervolume, share of all": comparison.hypervolumes,
    }
    drawn = new_figure(4 * len(COSTS), 3.4 * len(rows))
    axes = drawn.subplots(len(rows), len(COSTS), squeeze=False)
    for row, (quantity, of_run) in enumerate(rows.items()):
        for column, (cost, cost_of) in enumerate(COSTS.items()):
            axis = axes[row][column]
            for variant in comparison.variants:
                curves = [(cost_of(run), of_run(run)) for run in comparison.of(variant)]
                places, mean, spread = _banded(curves)
                (line,) = axis.plot(places, mean, label=variant, drawstyle="steps-post")
                axis.fill_between(places, mean - spread, mean + spread, step="post", alpha=0.2, color=line.get_color())
            axis.set_xlabel(cost)
            axis.set_ylabel(quantity if column == 0 else "")
            axis.grid(alpha=0.3)
    best = [run.best_so_far()[-1] for run in comparison.runs]
    for axis in axes[0]:  # the end of the climb tells strategies apart, not its foot
        axis.set_ylim(min(best) - 0.1, max(best) + 0.01)
    axes[0][0].legend(loc="lower right")
    drawn.suptitle(f"{comparison.study}: the best of a single training, over {len(curves)} study seeds")
    for file in files:
        drawn.savefig(file, dpi=150)


def _banded(
    curves: Sequence[tuple[list[float], list[float]]],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Steps over a cost, averaged: places up to where the shortest run ended, the mean there, its standard error."""
    places = np.linspace(0.0, min(costs[-1] for costs, _ in curves), POINTS)
    rows = []
    for costs, values in curves:
        index = np.searchsorted(costs, places, side="right")
        rows.append(np.concatenate([[0.0], values])[index])
    found = np.array(rows)
    spread = found.std(axis=0, ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.zeros_like(places)
    return places, found.mean(axis=0), spread


def _columns(records: Sequence[Record], *names: str) -> list[list[float]]:
    return [[record.measures.get(name, math.nan) for record in records] for name in names]


def _curve(record: Record, name: str) -> tuple[range, list[float]]:
    return range(1, len(record.curve) + 1), [point.get(name, math.nan) for point in record.curve]
