"""A search while it runs: a few live lines on a terminal, one plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nasmod.measures.objective import Objective
from nasmod.report.figures import main_measure, measure, seconds
from nasmod.report.small_front import draw_front
from nasmod.report.tables import modules_of, score_of
from nasmod.study import Status
from nasmod.study import records as reading
from nasmod.study.overview import seconds_left
from nasmod.study.record import Record

if TYPE_CHECKING:
    from nasmod.search.run import Progress

SECONDS_BETWEEN_FRAMES = 0.4
SECONDS_BETWEEN_LINES = 10.0
RUNNING_SHOWN = 8


def weights_line(objective: Objective, chance: float) -> str:
    """The weights of the score in points of accuracy (100 R² in a regression, whose chance is 0).

    >>> weights_line(Objective(flops_budget=1000), chance=0.1)
    'score: all of modularity is worth 8.2 points of accuracy, a tenth of the FLOPs 0.9'
    """
    worth = objective.worth(chance)
    return (
        f"score: all of {objective.modularity} is worth {worth['modularity']:.1f} points of accuracy, "
        f"a tenth of the FLOPs {worth['a tenth of the FLOPs']:.1f}"
    )


def running_lines(records: Sequence[Record]) -> Iterator[str]:
    """What is trained at the moment, a line each, of many some: its epochs and its modules."""
    running = [record for record in records if record.state == "running"]
    for record in running[:RUNNING_SHOWN]:
        name = f"{record.label} again" if record.role == "repeat" else record.label
        yield f"  {name}: epoch {len(record.curve) + 1}, {modules_of(record.proposal.topology)}"
    if len(running) > RUNNING_SHOWN:
        yield f"  and {len(running) - RUNNING_SHOWN} more"


def _left(status: Status) -> str:
    pace = status.trained / status.seconds if status.trained and status.seconds else None
    left = seconds_left(status, pace)
    return "" if left is None else f"about {seconds(left)} left"


class ProgressView:
    """What a person sees of a `Progress`. It keeps the last best and front: they change only when a training ends."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._judged: tuple[int, Record | None, int] = (-1, None, 0)
        self._front_drawn = ""
        self._last_line: tuple[float, str] = (-SECONDS_BETWEEN_LINES, "")
        self._opened = False

    @contextmanager
    def showing(self, console: Console | None, say: Callable[[str], None]) -> Iterator[Callable[[Progress], None]]:
        """What is to be called with each `Progress`: it draws on a terminal's console, or says a line now and then."""
        if console is None:

            def tell(progress: Progress) -> None:
                for line in (*self._opening(progress), self.line(progress)):
                    if line:
                        say(line)

            yield tell
            return
        drawn_at = -SECONDS_BETWEEN_FRAMES
        with Live(console=console, auto_refresh=False, transient=True) as live:

            def draw(progress: Progress) -> None:
                nonlocal drawn_at
                if time.monotonic() - drawn_at >= SECONDS_BETWEEN_FRAMES:
                    drawn_at = time.monotonic()
                    for line in self._opening(progress):
                        console.print(line)
                    live.update(self.live(progress), refresh=True)

            yield draw

    def live(self, progress: Progress) -> RenderableType:
        """Bar with the time left, counts, the best so far, what runs, and a small front, for a terminal."""
        status = progress.status
        head = Table.grid(padding=(0, 1))
        head.add_row(
            Text(status.name, "bold"),
            ProgressBar(total=status.budget, completed=status.trained, width=40),
            f"{status.trained}/{status.budget} trained",
            Text(seconds(progress.seconds), "dim"),
            Text(_left(status), "dim"),
        )
        parts: list[RenderableType] = [head, Text(self._counts(progress), "dim"), Text(self._best(progress.records))]
        parts += [Text(line, "dim") for line in running_lines(progress.records)]
        if self._front_drawn:
            parts.append(Text(self._front_drawn))
        return Group(*parts)

    def line(self, progress: Progress) -> str | None:
        """One plain line, or None when the last was less than `SECONDS_BETWEEN_LINES` ago or nothing is new."""
        status = progress.status
        now = time.monotonic()
        said_at, said = self._last_line
        news = f"{status.trained}/{status.budget} trained, {self._counts(progress)}; {self._best(progress.records)}"
        if now - said_at < SECONDS_BETWEEN_LINES or news == said:
            return None
        self._last_line = (now, news)
        return f"{status.name}: {news}; {seconds(progress.seconds)}"

    def _opening(self, progress: Progress) -> Iterator[str]:
        """Said once: what was read of the data, what the score's weights are worth, and what is not searched."""
        if self._opened:
            return
        self._opened = True
        if progress.reading is not None:
            yield from progress.reading.lines()
        if self.objective.mode == "combined":  # in mode `pareto` there is no score
            yield weights_line(self.objective, progress.chance)
        for name in progress.not_searched:
            yield f"{name} is not searched: it changes nothing on data of this task"

    def _counts(self, progress: Progress) -> str:
        status = progress.status
        opening = status.state == "searching" and all(record.reference for record in progress.records)
        parts = ["training simple wirings first"] if opening else []
        parts += [f"{status.running} running", f"front of {self._judge(progress.records)[2]}"]
        parts += [f"{status.stopped} stopped early", f"{status.duplicates} duplicates"]
        if status.paused:
            parts.append(f"{status.paused} paused")
        if status.failed:
            parts.append(f"{status.failed} failed")
        if status.state == "repeating":
            parts.append("training the finalists again with other seeds")
        return ", ".join(parts)

    def _best(self, records: list[Record]) -> str:
        best = self._judge(records)[1]
        if best is None:
            return "no candidate has finished yet"
        main, modular = main_measure([best]), self.objective.modularity
        return (
            f"best so far: {best.label} score {score_of(best, self.objective)}, "
            f"{main.replace('_', ' ')} {measure(best, main)}, {modular} {measure(best, modular)}, "
            f"{modules_of(best.proposal.topology)}"
        )

    def _judge(self, records: list[Record]) -> tuple[int, Record | None, int]:
        finished = sum(record.state == "finished" for record in records)
        if finished != self._judged[0]:
            rows = reading.ranked(records, self.objective)
            front = reading.front(records, self.objective)
            self._judged = (finished, rows[0] if rows else None, len(front))
            self._front_drawn = draw_front(rows, front, self.objective)
        return self._judged
