"""Commands that look: status, top, show, report, dashboard, draw, rescore, list and schema."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasmod.cli.options import AsJson, Name, Storage, app
from nasmod.cli.printing import console_here, load, print, print_json, print_lines, say_next, storage_of
from nasmod.errors import NasmodError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from nasmod.api import SearchStudy

SECONDS_BETWEEN_LOOKS = 2.0
COLUMNS_WITH_WORTH = 90  # a narrower terminal has no room for what candidates are worth

Noun = StrEnum("Noun", ["kinds", "spaces", "datasets", "strategies", "stopping", "measures", "studies"])  # of `list`


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="The study's name.  [default: list all studies]")] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Say how far a study is and which processes work on it, or list the studies of a storage."""
    from nasmod import api
    from nasmod.report.status import status_lines, status_row, studies_lines

    if name is None:
        every = [(study.status(), study.storage) for study in api.studies(storage=storage_of(storage))]
        if as_json:
            print_json([{**found.to_json(), "storage": place} for found, place in every])
        else:
            print_lines(studies_lines(every) if every else ["No studies yet. Start one with: nasmod start digits"])
        return
    study = load(name, storage)
    found, about = study.overview(), (study.stored.factors, study.stored.reading)
    if as_json:
        print_json({**status_row(found, *about), "gained": study.gain()})
        return
    print_lines(status_lines(found, study.storage, *about))
    if (gain := study.gain()) is not None:
        print_lines([gain])
    if found.status.state != "ended":
        say_next(storage, f"nasmod resume {name}")


@app.command()
def top(
    name: Name,
    storage: Storage = None,
    number: Annotated[int | None, typer.Option("-n", min=1, help="How many.  [default: 10; with --json all]")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it anew every few seconds, until it ends or Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the best candidates by score, the front, and the references beside them."""
    from nasmod.report import top_rows, with_front

    study = load(name, storage)
    if watch:
        _watch_top(study, number or 10)
        return
    if as_json:
        front = study.front()
        print_json(top_rows(with_front(study.top(number), front), front, study.worth()))
        return
    print_top(study, number or 10)
    if study.status().state != "ended" and not study.top(1):
        say_next(storage, f"nasmod resume {name}")


@app.command()
def show(
    name: Name,
    trial: Annotated[str | None, typer.Argument(help="Trial number or reference.  [default: the best]")] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Show one candidate: its topology, measures, learning curve, where it came from, why it stopped."""
    from nasmod.report import full_row
    from nasmod.report import show as shown

    study = load(name, storage)
    record = study.record(trial)
    if as_json:
        print_json(full_row(record, record.key in {other.key for other in study.front()}))
        return
    console = console_here()
    console.print(shown(record, study.records(), study.study.objective, console.width))


@app.command()
def report(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write.  [default: NAME.html]")
    ] = None,
    storage: Storage = None,
) -> None:
    """Write a study as one web page: what was asked and found, every candidate, what was stopped and why."""
    print(f"Wrote {load(name, storage).report(output or Path(f'{name}.html'))}")


@app.command()
def dashboard(
    name: Name,
    host: Annotated[
        str, typer.Option(help="The address to listen on: whoever reaches it can see, change and delete studies.")
    ] = "localhost",
    port: Annotated[int, typer.Option(min=1, max=65535, help="The port to listen on.")] = 8080,
    pictures: Annotated[
        Path | None, typer.Option(help="The folder of the pictures.  [default: runs/NAME.pictures]")
    ] = None,
    storage: Storage = None,
) -> None:
    """Show a study in optuna-dashboard, each trial with a note and a picture, until Ctrl-C."""
    study = load(name, storage)
    print(f"http://{host}:{port}/dashboard shows {name} once its notes are written; Ctrl-C ends it.", flush=True)
    study.dashboard(host, port, pictures)


@app.command("draw")
def draw_(
    name: Name,
    trial: Annotated[str | None, typer.Argument(help="Trial number or reference.  [default: the best]")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write: .svg, .png or .pdf.")] = Path(
        "topology.svg"
    ),
    storage: Storage = None,
) -> None:
    """Draw one candidate's topology into a file, its modules in the colours of what they carry."""
    from nasmod.report.plots import draw_topology

    record = load(name, storage).record(trial)
    draw_topology(record, output)
    print(f"Drew {record.label} of {name}: {output}")


@app.command("list")
def list_(what: Annotated[Noun, typer.Argument(help="What to list.", show_default=False)]) -> None:
    """List what there is to choose from, one line each."""
    from nasmod.report.choices import choice_lines

    print_lines(choice_lines(what.value))


@app.command()
def rescore(
    name: Name,
    objective: Annotated[Path, typer.Option(help="A .toml file with the keys to change.", show_default=False)],
    storage: Storage = None,
    number: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Rank a study's candidates under another objective, without training."""
    from nasmod.measures.front import front_of
    from nasmod.report import top_rows, top_table

    study = load(name, storage)
    wanted = study.objective(objective)
    ranked = study.rescore(wanted)
    front = [ranked[index] for index in front_of([record.measures for record in ranked], wanted)]
    if as_json:
        print_json(top_rows(ranked, front))
        return
    print(f"{name} under {objective}:")
    console_here().print(top_table(ranked[:number], front, [], wanted))


@app.command()
def schema() -> None:
    """Print the JSON schema of study files."""
    from nasmod.study.definition import Study

    print_json(Study.model_json_schema())


def print_top(study: SearchStudy, number: int) -> None:
    """The best, the front, the references, and what was gained."""
    console = console_here()
    for shown in _top_parts(study, number, console):
        console.print(shown)


def _top_parts(study: SearchStudy, number: int, console: Console) -> list[Table | str]:
    from nasmod.report.tables import top_view

    best, front, finished = study.top(number), study.front(), study.status().finished
    worth = study.worth() if console.width >= COLUMNS_WITH_WORTH else {}
    return list(top_view(best, front, study.references(), study.study.objective, finished, worth))


def _watch_top(study: SearchStudy, number: int) -> None:
    """The best, what runs, and the front, on a terminal, until the study has ended or Ctrl-C."""
    from rich.console import Group
    from rich.live import Live

    from nasmod.report.progress import running_lines
    from nasmod.report.small_front import draw_front

    if not sys.stdout.isatty():
        raise NasmodError("--watch needs a terminal; without one, nasmod top says it once.")
    console = console_here()
    with Live(console=console, auto_refresh=False) as live, suppress(KeyboardInterrupt):
        while True:
            status, records = study.status(), study.records()
            front = study.front()
            said = f"{status.trained} of {status.budget} trained, {status.running} running, {status.state}"
            parts = [said, *running_lines(records), *_top_parts(study, number, console)]
            live.update(Group(*parts, draw_front(study.top(None), front, study.study.objective)), refresh=True)
            if status.state == "ended":
                return
            time.sleep(SECONDS_BETWEEN_LOOKS)
