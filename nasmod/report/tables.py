"""Candidates in a table: best first with standard errors, the references beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from rich import box
from rich.table import Table

from nasmod.measures.objective import Objective
from nasmod.report.figures import NONE, figure, main_measure, measure
from nasmod.study.record import Record
from nasmod.topology import Topology


def top_view(
    best: Sequence[Record],
    front: Collection[Record],
    references: Sequence[Record],
    objective: Objective,
    finished: int,
) -> Iterator[Table | str]:
    """The best by score with the whole front and the references, and why there are none of a sort.

    `finished` is how many candidates ran to their end, those that an objective's floors rule out included.
    """
    shown = with_front(best, front)
    if shown or references:
        yield top_table(shown, front, references, objective)
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
    records: Sequence[Record], front: Collection[Record], references: Sequence[Record], objective: Objective
) -> Table:
    """One row a candidate in the order given, ★ for those on the front; the references below a line."""
    shown = [*records, *references]
    on_front = {record.key for record in front}
    main = main_measure(shown)
    tested = any(f"test_{main}" in record.measures for record in shown)
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        caption="★ on the front, ± standard error",
        caption_justify="left",
    )
    table.add_column("trial", justify="right", no_wrap=True)
    for heading in ["score", main.replace("_", " "), *(["on test"] if tested else []), objective.modularity]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("FLOPs", justify="right", no_wrap=True)
    table.add_column("modules")
    for number, record in enumerate(shown):
        if number == len(records) and records:
            table.add_section()
        star = "★ " if record.key in on_front else ""
        names = [main, *([f"test_{main}"] if tested else []), objective.modularity, "flops"]
        figures = [score_of(record, objective), *(measure(record, name) for name in names)]
        narrow = [text.replace(" ± 0.", " ±.") for text in figures]  # eighty columns hold them all
        modules = modules_of(record.proposal.topology)
        table.add_row(star + record.label, *narrow, modules, style="" if record.role == "search" else "dim")
    return table


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
