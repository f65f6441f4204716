"""Topologies that a person tried: one from all sides, several in a table, and why a training failed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nasmod.measures.objective import Objective
from nasmod.report.show import network_parts
from nasmod.report.tables import columns_of, empty_table, row, score_of

if TYPE_CHECKING:
    from nasmod.search.trying import Tried


def tried_view(found: Sequence[Tried], objective: Objective, columns: int = 100) -> Iterator[RenderableType]:
    """Everything about a single topology, a table of several; then what is to be said of each in words."""
    if len(found) > 1:
        yield tried_table(found, objective)
    elif found[0].reason is None:
        yield _alone(found[0], objective, columns)
    for tried in found:
        if tried.reason is not None:
            yield Text(f"{tried.name} failed: {tried.reason}")
        yield from (Text(f"{tried.name}: {note}") for note in tried.notes)


def tried_table(found: Sequence[Tried], objective: Objective) -> Table:
    """One row a topology, in the order given."""
    records = [tried.record for tried in found]
    columns = columns_of(records, objective)
    table = empty_table("file", columns, f"{_trainings(found[0])}, ± standard error")
    table.columns[0].justify, table.columns[0].no_wrap, table.columns[0].overflow = "left", False, "fold"
    for tried, record in zip(found, records, strict=True):
        table.add_row(*row(tried.name, record, columns, objective))
    return table


def _alone(tried: Tried, objective: Objective, columns: int) -> Group:
    headline = Text(f"{tried.name}  ", "bold")
    headline.append(f"score {score_of(tried.record, objective)}, {_trainings(tried)}", "not bold")
    return Group(headline, Text(), *network_parts(tried.record, columns))


def _trainings(tried: Tried) -> str:
    return "one training" if tried.seeds == 1 else f"mean of {tried.seeds} trainings"
