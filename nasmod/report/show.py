"""One candidate from all sides: its topology, its measures, how it learned, where it came from, why it stopped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from textwrap import indent

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nasmod.measures.objective import Objective
from nasmod.report.curve import draw_curve
from nasmod.report.drawing import draw
from nasmod.report.figures import INFORMATION, curve_measure, figure, measure, parameters_of, seconds, settings
from nasmod.report.layout import node_names
from nasmod.report.roles import roles_table
from nasmod.report.tables import score_of
from nasmod.study.record import Record


def show(record: Record, records: Sequence[Record], objective: Objective, columns: int = 100) -> RenderableType:
    """Everything that is known of a record. `records` are its study's: a parent is named as a person knows it."""
    parts: list[RenderableType] = [_headline(record, objective), Text()]
    if reason := _ending(record):
        parts.append(Text(reason))
    parts.append(Text(origin(record, {other.key: other.label for other in records})))
    if said := settings(record):
        parts.append(Text(f"trained with: {said}"))
    parts += [Text(), *network_parts(record, columns)]
    if name := curve_measure(record):
        title = f"{name.replace('_', ' ')} over {len(record.curve)} epochs"
        parts += [Text(title, "bold"), _indented(draw_curve(record.curve, name, columns=min(60, columns - 12)))]
    if record.traceback:
        parts += [Text(), Text("traceback", "bold"), Text(record.traceback.rstrip(), "dim")]
    return Group(*parts)


def network_parts(record: Record, columns: int) -> Iterator[RenderableType]:
    """The topology drawn, its modules, what each does, and the measures; an empty line after each."""
    notes = {
        name.removeprefix(INFORMATION): f"{value:.0%}" if math.isfinite(value) else figure(name, value)
        for name, value in record.measures.items()
        if name.startswith(INFORMATION)
    }
    yield from (_indented(draw(record.proposal.topology, notes, columns - 2)), Text(), _modules(record), Text())
    if record.roles:
        yield from (roles_table(record.roles), Text())
    if record.measures:
        yield from (_measures(record), Text())


def origin(record: Record, labels: Mapping[str, str]) -> str:
    """Where a candidate came from, in one line; `labels` are those of its study's records, by their keys."""
    came = record.proposal.origin
    if record.role == "reference":
        return "from: a reference, trained outside the budget"
    if record.reference:
        return f"from: the simple wirings with which the study opened: {record.reference}, {came.get('why', '')}"
    parent = labels.get(record.proposal.parent or "")
    text = f"from: {came.get('strategy', 'unknown')}"
    if why := came.get("why"):
        text += f", {why}"
    return text + (f" (parent {parent})" if parent else "")


def _headline(record: Record, objective: Objective) -> Text:
    text = Text(f"{record.label}  ", "bold")
    text.append(f"{record.state}, score {score_of(record, objective)}", "not bold")
    if record.repeats:
        trainings = "trainings" if record.repeats > 1 else "training"
        text.append(f", mean of {record.repeats} {trainings} with other seeds", "not bold")
    if record.seconds is not None:
        text.append(f", trained in {seconds(record.seconds)}", "not bold")
    return text.append(f"\nkey {record.key}", "not bold dim")


def _ending(record: Record) -> str:
    if record.reason:
        return f"{record.state}: {record.reason}"
    return "finished: it ran to its end" if record.state == "finished" else ""


def _modules(record: Record) -> Table:
    nodes = record.proposal.topology.canonical().nodes
    names = node_names(nodes)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("module", "reads", "parameters", "information"):
        table.add_column(heading)
    for name, node in zip(names, nodes, strict=True):
        if node.is_module:
            merge = f" ({node.params['merge']})" if "merge" in node.params else ""
            reads = ", ".join(names[source] for source in node.inputs) + merge
            table.add_row(name, reads, parameters_of(node), measure(record, INFORMATION + name))
    return table


def _measures(record: Record) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure")
    table.add_column("value", no_wrap=True)
    for name in record.measures:
        if not name.startswith(INFORMATION):
            table.add_row(name, measure(record, name))
    return table


def _indented(text: str) -> Text:
    return Text(indent(text, "  "), no_wrap=True, overflow="ignore")
