"""A comparison of strategies as a person reads it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from nasmod.report.figures import figure, seconds, with_prefix

if TYPE_CHECKING:
    from nasmod.search.comparison import Comparison, Run


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


def _spent(runs: Sequence[Run], numbers: Sequence[int]) -> str:
    """What the runs had spent in the mean when so many of their candidates had ended."""
    ended = [run.ended[number - 1] for run, number in zip(runs, numbers, strict=True)]
    epochs, time = fmean(one.epochs for one in ended), fmean(one.seconds for one in ended)
    return f"{fmean(numbers):.0f}, {with_prefix(epochs)} epochs, {seconds(time)}"
