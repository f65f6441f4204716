"""Commands that search: start, resume, stop, retry, enqueue, try and compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nasmod.cli.options import (
    FAILED,
    INTERRUPTED,
    Address,
    AllowPlugins,
    AsJson,
    Engine,
    Hours,
    Name,
    OnEngine,
    Storage,
    Trials,
    Workers,
    app,
    count_of,
)
from nasmod.cli.printing import console_here, is_stored, load, print, print_json, print_lines, say_next, storage_of
from nasmod.errors import NasmodError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nasmod.api import SearchStudy
    from nasmod.search.run import Progress
    from nasmod.study.definition import Study
    from nasmod.training import Epoch

    Search = Callable[[Callable[[Progress], None]], SearchStudy]


@app.command()
def start(
    study: Annotated[str, typer.Argument(help="A packaged study's name or a study file.", show_default=False)],
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="Name in the database.  [default: the file's]")] = None,
    workers: Workers = "auto",
    trials: Trials = None,
    hours: Hours = None,
    engine: OnEngine = Engine.local,
    address: Address = None,
    artifacts: Annotated[
        str | None,
        typer.Option(metavar="DIR|s3://BUCKET/PREFIX", help="Keep weights and checkpoints there, not in the database."),
    ] = None,
) -> None:
    """Start a study, or join it if it is there already."""
    from nasmod import api
    from nasmod.study.definition import read

    definition = read(study, name=name, trials=trials, hours=hours, artifacts=artifacts)
    named = storage if storage_of(storage) is not None else definition.storage
    _search(
        definition,
        named,
        lambda show: api.start(
            definition,
            storage=storage_of(named),
            workers=count_of(workers),
            trials=trials,
            hours=hours,
            on_progress=show,
            engine=engine,
            address=address,
        ),
    )


@app.command()
def resume(
    name: Name,
    storage: Storage = None,
    workers: Workers = "auto",
    trials: Trials = None,
    hours: Hours = None,
    engine: OnEngine = Engine.local,
    address: Address = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Go on with a study, here or beside other machines; --trials and --hours may only be raised."""
    from nasmod import api

    _search(
        load(name, storage).study,
        storage,
        lambda show: api.resume(
            name,
            storage=storage_of(storage),
            workers=count_of(workers),
            trials=trials,
            hours=hours,
            on_progress=show,
            engine=engine,
            address=address,
            allow_plugins=allow_plugins,
        ),
    )


@app.command()
def stop(
    name: Name,
    storage: Storage = None,
    now: Annotated[bool, typer.Option("--now", help="Hand back what runs, instead of training it to its end.")] = False,
) -> None:
    """End a study's search on every machine; `resume` goes on with it."""
    from nasmod.report.status import WaitingView

    study = load(name, storage)
    before = study.status()
    if before.state == "ended":
        print(f"{name} had ended already: {before.reason}")
        return
    view = WaitingView()
    found = study.stop(now=now, on_progress=lambda status: print_lines(view.lines(status)))
    if found.state != "ended":
        print(f"{name} was resumed meanwhile.")
        return
    print(f"{name} has ended: {found.reason}; {found.trained} of {found.budget} trained.")
    say_next(storage, f"nasmod resume {name}")


@app.command()
def retry(
    name: Name,
    trials: Annotated[list[str] | None, typer.Argument(help="Trial numbers or references.", show_default=False)] = None,
    failed: Annotated[bool, typer.Option("--failed", help="All that failed.")] = False,
    storage: Storage = None,
) -> None:
    """Queue failed candidates again."""
    if failed == bool(trials):
        raise typer.BadParameter("name trial numbers, or --failed for all that failed", param_hint="'TRIALS'")
    study = load(name, storage)
    queued = study.retry(None if failed else trials)
    print(f"Queued {queued} failed candidate{'' if queued == 1 else 's'} of {name} again.")
    now = study.status()
    more = f" --trials {now.budget + queued}" if now.trained >= now.budget else ""  # the budget admits no other
    if queued:
        say_next(storage, f"nasmod resume {name}{more}")


@app.command()
def enqueue(
    name: Name,
    topologies: Annotated[
        list[Path],
        typer.Argument(
            help="Topologies in JSON, as an export's topology.json.", metavar="TOPOLOGY", show_default=False
        ),
    ],
    storage: Storage = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """File topologies of your own as candidates of a study."""
    study = load(name, storage, allow_plugins)
    for record in study.enqueue(*topologies):
        print(f"Queued {record.label}, {record.proposal.origin['why']}.")
    now = study.status()
    more = f" --trials {now.budget + len(topologies)}" if now.trained >= now.budget else ""
    if now.state == "ended":
        say_next(storage, f"nasmod resume {name}{more}")


@app.command("try")
def try_(
    study: Annotated[str, typer.Argument(help="A packaged study's name or a study file.", show_default=False)],
    topologies: Annotated[
        list[Path],
        typer.Argument(
            help="Topologies in JSON, as an export's topology.json.", metavar="TOPOLOGY", show_default=False
        ),
    ],
    seeds: Annotated[int, typer.Option(min=1, help="How often each is trained, each time with another seed.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Train topologies of your own as a study would, and show their measures, score and roles."""
    try:
        failed = _try(study, topologies, seeds, as_json)
    except KeyboardInterrupt:
        print("\nStopped; what was trained is not stored.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def compare(
    study: Annotated[str, typer.Argument(help="A packaged study's name or a study file.", show_default=False)],
    strategies: Annotated[
        str, typer.Option(metavar="A,B,…", help="Which; optuna-tpe-median is plain Optuna.", show_default=False)
    ],
    stopping: Annotated[
        str, typer.Option(metavar="A,B,…", help="With which stopping rules.  [default: the study's own]")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, help="With how many study seeds each.")] = 3,
    fresh: Annotated[int, typer.Option(min=1, help="How often what each finds is trained again.")] = 3,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder of results.  [default: compared/NAME]")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Where the runs lie, each a study.  [environment: NASMOD_STORAGE; default: runs/compare-NAME.db]",
        ),
    ] = None,
    workers: Workers = "auto",
    trials: Trials = None,
    hours: Hours = None,
    as_json: AsJson = False,
) -> None:
    """Search a study with several strategies and show what each found and what it cost."""
    from nasmod import api
    from nasmod.report.compared import comparison_row, comparison_table
    from nasmod.report.plots import draw_comparison
    from nasmod.study.definition import read

    definition = read(study)
    folder = output or Path("compared") / definition.name

    def say(line: str) -> None:
        print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    try:
        found = api.compare(
            definition,
            [name.strip() for name in strategies.split(",")],
            stopping=[name.strip() for name in stopping.split(",") if name.strip()],
            seeds=seeds,
            fresh=fresh,
            output=folder,
            storage=storage_of(storage),
            workers=count_of(workers),
            trials=trials,
            hours=hours,
            on_progress=_lines_of_runs(definition, say),
            on_run=lambda own: say(f"{own.name}: {own.trials} candidates"),
            on_plain=lambda own, trained: say(f"{own.name}: {trained}/{own.trials} trained"),
        )
    except KeyboardInterrupt:
        print("\nStopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    pictures = [folder / "comparison.png", folder / "comparison.svg"]
    try:
        draw_comparison(found, pictures)
    except NasmodError as error:
        print(f"No picture: {error}", file=sys.stderr)
        pictures = []
    if as_json:
        print_json(comparison_row(found))
    else:
        console_here().print(comparison_table(found))
        print(f"In {folder}: {', '.join(path.name for path in (folder / 'comparison.json', *pictures))}")


def _search(definition: Study, storage: str | None, search: Search) -> None:
    """Run a search with live progress, then show what it found."""
    from nasmod.cli.looking import print_top
    from nasmod.report import ProgressView
    from nasmod.report.commands import again
    from nasmod.study.stored import STOPPED

    name = definition.name
    live_on = console_here() if sys.stdout.isatty() else None
    try:
        with ProgressView(definition.objective).showing(live_on, lambda line: print(line, flush=True)) as show:
            study = search(show)
    except KeyboardInterrupt:
        said = f"running candidates were handed back. Go on with: {again(f'nasmod resume {name}', storage)}"
        print(f"\nStopped; {said if is_stored(name, storage) else 'nothing was stored yet.'}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    found = study.status()
    print(f"{name} has ended: {found.reason} (in {study.storage})")
    print_top(study, 10)
    commands = [f"nasmod show {name}", f"nasmod export {name} -o exported/{name}"] if study.top(1) else []
    if found.reason == STOPPED:
        commands.insert(0, f"nasmod resume {name}")
    say_next(storage, *commands)


def _lines_of_runs(definition: Study, say: Callable[[str], None]) -> Callable[[Progress], None]:
    """A plain line now and then of whichever run is under way."""
    from nasmod.report import ProgressView

    view = ProgressView(definition.objective)

    def tell(progress: Progress) -> None:
        if line := view.line(progress):
            say(line)

    return tell


def _try(study: str, files: list[Path], seeds: int, as_json: bool) -> bool:
    """Try topologies with a line now and then, print what they reached, and say whether one failed."""
    from nasmod.report.exported import RetrainingView
    from nasmod.report.rows import tried_row
    from nasmod.report.tried import tried_view
    from nasmod.search.trying import try_topologies
    from nasmod.study.definition import read

    definition = read(study)
    view = RetrainingView(definition.training.epochs, seeds)

    def show(file: str, number: int, epoch: Epoch) -> None:
        for line in view.lines(number, epoch, f"{file}: "):
            print(line, file=sys.stderr if as_json else sys.stdout, flush=True)

    found = try_topologies(definition, files, seeds=seeds, on_epoch=show)
    if as_json:
        print_json([tried_row(tried) for tried in found])
    else:
        console = console_here()
        for shown in tried_view(found, definition.objective, console.width):
            console.print(shown)
    return any(tried.reason is not None for tried in found)
