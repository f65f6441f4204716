"""A comparison of strategies as a person reads it: a table, and a picture of how the best score rose with each cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from nasmod.errors import StudyError
from nasmod.report.figures import figure, seconds, with_prefix

if TYPE_CHECKING:
    from nasmod.search.comparison import Comparison, Run

COSTS: dict[str, Callable[[Run], list[float]]] = {
    "trained candidates": lambda run: [float(number) for number in range(1, len(run.ended) + 1)],
    "epochs": lambda run: [float(ended.epochs) for ended in run.ended],
    "seconds": lambda run: [ended.seconds for ended in run.ended],
    "FLOPs of training": lambda run: [ended.flops for ended in run.ended],
}
POINTS = 200  # on the axis of a cost at which the runs of a variant are averaged


def comparison_table(comparison: Comparison) -> Table:
    """A row a variant: the fresh score of its best, what it spent, and what it took to the score that all reached."""
    goal = comparison.goal
    seeds = len(comparison.of(comparison.variants[0]))
    each = f"{seeds} study seeds each" if seeds > 1 else "one study seed"
    caption = (
        f"{each}. score: that of the best, in trainings with seeds that no search has seen; hypervolume: of the "
        f"directions, as a share of that of all together; {goal:.3f} is the best single score that every run reached"
    )
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption=caption, caption_justify="left")
    table.add_column("strategy", no_wrap=True)
    for heading in ("score", "hypervolume", "trained", f"until {goal:.3f}"):
        table.add_column(heading, justify="right", no_wrap=heading == "score")
    for variant in sorted(comparison.variants, key=lambda name: -comparison.score(name)[0]):
        runs = comparison.of(variant)
        volume = fmean(comparison.hypervolumes(run)[-1] for run in runs)
        needed = [run.trainings_to(goal) or len(run.ended) for run in runs]  # every run reached it
        whole = [len(run.ended) for run in runs]
        spent = [_spent(runs, numbers) for numbers in (whole, needed)]
        table.add_row(variant, figure("score", *comparison.score(variant)), f"{volume:.3f}", *spent)
    return table


def comparison_row(comparison: Comparison) -> dict[str, object]:
    """The table as plain values."""
    goal = comparison.goal
    rows = {}
    for variant in comparison.variants:
        runs = comparison.of(variant)
        mean, error = comparison.score(variant)
        rows[variant] = {
            "score": mean,
            "standard_error": error if len(runs) > 1 else None,
            "scores": [run.score for run in runs],
            "hypervolume": fmean(comparison.hypervolumes(run)[-1] for run in runs),
            "trained": fmean(len(run.ended) for run in runs),
            "epochs": fmean(run.ended[-1].epochs for run in runs),
            "seconds": fmean(run.ended[-1].seconds for run in runs),
            "trained_to_goal": fmean(run.trainings_to(goal) or len(run.ended) for run in runs),
        }
    return {"study": comparison.study, "goal": goal, "strategies": rows}


def draw_comparison(comparison: Comparison, files: Sequence[Path]) -> None:
    """Score and hypervolume over every cost, the mean of the study seeds with its standard error as a band.

    The format of each file is that of its ending. Raises `StudyError` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise StudyError("A picture needs matplotlib: pip install 'nasmod[plots]'.") from error
    rows: dict[str, Callable[[Run], list[float]]] = {
        "best score": lambda run: run.best_so_far(),
        "hypervolume, share of all": comparison.hypervolumes,
    }
    drawn = Figure(figsize=(4 * len(COSTS), 3.4 * len(rows)), layout="constrained")
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


def _spent(runs: Sequence[Run], numbers: Sequence[int]) -> str:
    """What the runs had spent in the mean when so many of their candidates had ended."""
    ended = [run.ended[number - 1] for run, number in zip(runs, numbers, strict=True)]
    epochs, time = fmean(one.epochs for one in ended), fmean(one.seconds for one in ended)
    return f"{fmean(numbers):.0f}, {with_prefix(epochs)} epochs, {seconds(time)}"


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
