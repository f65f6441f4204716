"""Candidates in a table: best first with standard errors, the simple wirings beside them, what the search gained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from rich import box
from rich.table import Table

from nasmod.measures.objective import Objective
from nasmod.report.figures import NONE, figure, main_measure, measure, settings
from nasmod.study.record import Record
from nasmod.topology import Topology


def top_view(
    best: Sequence[Record],
    front: Collection[Record],
    references: Sequence[Record],
    objective: Objective,
    finished: int,
    worth: Mapping[str, float],
) -> Iterator[Table | str]:
    """The best by score with the whole front and the references, what was gained, and why there are none of a sort.

    `finished` is how many candidates ran to their end, those that an objective's floors rule out included; `worth` is
    what candidates are worth, by key.
    """
    shown = with_front(best, front)
    if shown or references:
        yield top_table(shown, front, references, objective, worth)
    if best and references:
        yield gain_line(best[0], references, objective)
    if not finished:
        yield "No candidate has finished."
    elif not shown:
        yield "No finished candidate meets the floors of the objective."
    elif not front:
        yield "The front is empty: no candidate does better than chance."


def with_front(best: Sequence[Record], front: Collection[Record]) -> list[Record]:
    """The best by score, then what else is on the front."""
    keys = {record.key for record in best}
    return [*best, *(record for record in front if record.key not in keys)]


def top_table(
    records: Sequence[Record],
    front: Collection[Record],
    references: Sequence[Record],
    objective: Objective,
    worth: Mapping[str, float] | None = None,
) -> Table:
    """One row a candidate in the order given, ★ for those on the front; the references below a line.

    Where it is known what candidates are `worth` (by key), a column has it.
    """
    shown = [*records, *references]
    on_front = {record.key for record in front}
    columns = columns_of(shown, objective)
    caption = "★ on the front, ± standard error"
    if worth:
        caption += "; worth: the score without the luck of one training, by all that was trained"
    table = empty_table("trial", columns, caption, worth=bool(worth))
    for number, record in enumerate(shown):
        if number == len(records) and records:
            table.add_section()
        below = number >= len(records)
        label = f"★ {record.label}" if record.key in on_front else record.label
        label = (record.reference or record.label) if below else label
        table.add_row(*row(label, record, columns, objective, worth), style="dim" if below else "")
    return table


def gain_line(best: Record, references: Sequence[Record], objective: Objective) -> str:
    """What the search found beyond the simple wirings with which the study opened: scores, with standard errors."""
    simple = max(references, key=lambda record: record.standing)
    named = f"{simple.label}: {simple.proposal.origin.get('why', simple.reference)}"
    if best.key == simple.key:
        return f"The search found nothing better than a simple wiring, {named}."
    gain = (best.score or 0.0) - (simple.score or 0.0)
    errors = [objective.standard_error(record.measures, record.standard_errors) for record in (best, simple)]
    trainings = " (single trainings, of which the best is lucky)" if not (best.repeats and simple.repeats) else ""
    shown = figure("score", gain, math.hypot(*errors))
    said = f"The search gained {shown}{trainings} over the best simple wiring, {named}."
    if any(best.proposal.topology.key == reference.proposal.topology.key for reference in references):
        said = f"{said} By its training settings alone: its topology is a simple wiring too."
    if best.proposal.settings == simple.proposal.settings:
        return said
    return f"{said} Trained with {settings(best)}; the simple wiring with {settings(simple)}."


def columns_of(records: Sequence[Record], objective: Objective) -> dict[str, str]:
    """The heading of each measure that a table of these records shows beside the score, by its name."""
    main = main_measure(list(records))
    tested = any(f"test_{main}" in record.measures for record in records)
    test = {f"test_{main}": "on test"} if tested else {}
    return {main: main.replace("_", " "), **test, objective.modularity: objective.modularity, "flops": "FLOPs"}


def empty_table(first: str, columns: Mapping[str, str], caption: str, worth: bool = False) -> Table:
    """A table for `row`: what the first column names, the score, the measures of `columns_of`, the modules."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption=caption, caption_justify="left")
    for heading in (first, "score", *["worth"] * worth, *columns.values()):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("modules")
    return table


def row(
    label: str,
    record: Record,
    columns: Mapping[str, str],
    objective: Objective,
    worth: Mapping[str, float] | None = None,
) -> list[str]:
    """The cells of one record."""
    estimated = [figure("score", worth[record.key]) if record.key in worth else NONE] if worth else []
    figures = [score_of(record, objective), *estimated, *(measure(record, name) for name in columns)]
    narrow = [text.replace(" ± 0.", " ±.") for text in figures]  # eighty columns hold them all
    return [label, *narrow, modules_of(record.proposal.topology)]


def score_of(record: Record, objective: Objective) -> str:
    """The score with the standard error that those of its measures give it."""
    if record.score is None:
        return NONE
    known = "flops" in record.measures
    error = objective.standard_error(record.measures, record.standard_errors) if known else None
    return figure("score", record.score, error)


def modules_of(topology: Topology) -> str:
    """The modules of the live part in few words.

    >>> from nasmod.topology import Node
    >>> x, y = Node("input", (), {"name": "x"}), Node("output", (1, 2, 3), {"name": "y"})
    >>> modules_of(Topology((x, Node("dense", (0,)), Node("conv", (0,)), Node("dense", (1,)), y)))
    'conv, 2 dense'
    """
    counts = Counter(node.kind for node in topology.live().nodes if node.is_module)
    parts = [kind if count == 1 else f"{count} {kind}" for kind, count in sorted(counts.items())]
    return ", ".join(parts) or "none"
