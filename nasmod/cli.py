"""The command line: parse, call, print. It alone prints and exits; what is heavy is imported when a command runs."""

from __future__ import annotations

import builtins
import json
import os
import re
import sys
import time
import tomllib
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from nasmod.errors import NasmodError, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import Console
    from rich.table import Table

    from nasmod.api import SearchStudy
    from nasmod.measures.retraining import Retrained
    from nasmod.search.run import Progress
    from nasmod.study.definition import Study
    from nasmod.training import Epoch

    Search = Callable[[Callable[[Progress], None]], SearchStudy]

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130
# in a URL: its user and password, and the value of an option such as sslpassword
PASSWORD = re.compile(r"(?<=://)[^/\s]*:[^/\s]*(?=@)|(?<=password=)[^&\s]+", re.IGNORECASE)
PLAIN_COLUMNS = 120  # of tables where the output is no terminal
SECONDS_BETWEEN_LOOKS = 2.0
COLUMNS_WITH_WORTH = 90  # a narrower terminal has no room for what candidates are worth

# click's error of a wrong command line, wherever this version of typer keeps its click
UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    help="Search for modular neural networks: start a study, resume it anywhere, export the best topology.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Engine(StrEnum):
    """Where workers run."""

    local = "local"
    ray = "ray"


Noun = StrEnum("Noun", ["kinds", "spaces", "datasets", "strategies", "stopping", "measures", "studies"])  # of `list`


def _workers(text: str) -> str:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise typer.BadParameter(f"a number from 1, or 'auto', not '{text}'")
    return text


def _hours(hours: float | None) -> float | None:
    if hours is not None and not 0 < hours < float("inf"):
        raise typer.BadParameter(f"a number above 0, not {hours:g}")
    return hours


Name = Annotated[str, typer.Argument(help="The study's name.", show_default=False)]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Database URL or path of an SQLite file.  [environment: NASMOD_STORAGE; default: runs/NAME.db]",
    ),
]
Workers = Annotated[str, typer.Option(metavar="N|auto", callback=_workers, help="Workers to start, here or with Ray.")]
OnEngine = Annotated[Engine, typer.Option("--engine", help="Where workers run: on this machine, or on a Ray cluster.")]
Address = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Where the Ray cluster is.  [default: what Ray finds, or a new one]"),
]
Trials = Annotated[int | None, typer.Option(min=1, help="The study's whole budget: how many candidates are trained.")]
Hours = Annotated[float | None, typer.Option(callback=_hours, help="End the search after so many hours.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AllowPlugins = Annotated[
    bool, typer.Option("--allow-plugins", help="Execute the Python files that the study names, now and later.")
]


def print(text: str, **options: Any) -> None:
    """What a person is told, without what would steer a terminal: it may come out of a database."""
    builtins.print(plain(text), **options)


def _version(wanted: bool) -> None:
    if wanted:
        import nasmod

        print(nasmod.__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command; `main` looks for --debug itself, wherever it stands."""


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
    named = storage if _storage(storage) is not None else definition.storage
    _search(
        definition,
        named,
        lambda show: api.start(
            definition,
            storage=_storage(named),
            workers=_count(workers),
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
        _load(name, storage).study,
        storage,
        lambda show: api.resume(
            name,
            storage=_storage(storage),
            workers=_count(workers),
            trials=trials,
            hours=hours,
            on_progress=show,
            engine=engine,
            address=address,
            allow_plugins=allow_plugins,
        ),
    )


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="The study's name.  [default: list all studies]")] = None,
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Say how far a study is and who works on it, or list the studies of a storage."""
    from nasmod import api
    from nasmod.report.status import status_lines, status_row, studies_lines

    if name is None:
        every = [(study.status(), study.storage) for study in api.studies(storage=_storage(storage))]
        if as_json:
            _print_json([{**found.to_json(), "storage": place} for found, place in every])
        else:
            _print_lines(studies_lines(every) if every else ["No studies yet. Start one with: nasmod start digits"])
        return
    study = _load(name, storage)
    found, about = study.overview(), (study.stored.factors, study.stored.reading)
    if as_json:
        _print_json({**status_row(found, *about), "gained": study.gain()})
        return
    _print_lines(status_lines(found, study.storage, *about))
    if (gain := study.gain()) is not None:
        _print_lines([gain])
    if found.status.state != "ended":
        _say_next(storage, f"nasmod resume {name}")


@app.command()
def stop(
    name: Name,
    storage: Storage = None,
    now: Annotated[bool, typer.Option("--now", help="Hand back what runs, instead of training it to its end.")] = False,
) -> None:
    """End a study's search on every machine; `resume` goes on with it."""
    from nasmod.report.status import WaitingView

    study = _load(name, storage)
    before = study.status()
    if before.state == "ended":
        print(f"{name} had ended already: {before.reason}")
        return
    view = WaitingView()
    found = study.stop(now=now, on_progress=lambda status: _print_lines(view.lines(status)))
    if found.state != "ended":
        print(f"{name} was resumed meanwhile.")
        return
    print(f"{name} has ended: {found.reason}; {found.trained} of {found.budget} trained.")
    _say_next(storage, f"nasmod resume {name}")


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
    study = _load(name, storage)
    queued = study.retry(None if failed else trials)
    print(f"Queued {queued} failed candidate{'' if queued == 1 else 's'} of {name} again.")
    now = study.status()
    more = f" --trials {now.budget + queued}" if now.trained >= now.budget else ""  # the budget admits no other
    if queued:
        _say_next(storage, f"nasmod resume {name}{more}")


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
    study = _load(name, storage, allow_plugins)
    for record in study.enqueue(*topologies):
        print(f"Queued {record.label}, {record.proposal.origin['why']}.")
    now = study.status()
    more = f" --trials {now.budget + len(topologies)}" if now.trained >= now.budget else ""
    if now.state == "ended":
        _say_next(storage, f"nasmod resume {name}{more}")


@app.command()
def delete(
    name: Name,
    storage: Storage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also while processes are at work on it.")] = False,
) -> None:
    """Remove a study for good, with its candidates, files and Optuna trials."""
    study = _load(name, storage)
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("where nobody can be asked, deleting needs it", param_hint="'--yes'")
        found = study.status()
        typer.confirm(f"Delete {name} with {found.trained} trained candidates from {study.storage}?", abort=True)
    study.delete(force=force)
    print(f"Deleted {name} from {study.storage}.")


@app.command()
def doctor(
    storage: Storage = None,
    workers: Annotated[
        str, typer.Option(metavar="N|auto", callback=_workers, help="Workers you plan on all machines together.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Check the installation, the devices, the data and the database; say what to mend."""
    from nasmod.doctor import examine
    from nasmod.report.checks import check_lines, check_rows

    found = examine(_storage(storage), _count(workers))
    if as_json:
        _print_json(check_rows(found))
    else:
        _print_lines(check_lines(found))
    if any(check.level == "wrong" for check in found):
        raise typer.Exit(USER_ERROR)


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

    study = _load(name, storage)
    if watch:
        _watch_top(study, number or 10)
        return
    front = study.front()
    if as_json:
        _print_json(top_rows(with_front(study.top(number), front), front, study.worth()))
        return
    _print_top(study, number or 10)
    if study.status().state != "ended" and not study.top(1):
        _say_next(storage, f"nasmod resume {name}")


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

    study = _load(name, storage)
    record = study.record(trial)
    if as_json:
        _print_json(full_row(record, record.key in {other.key for other in study.front()}))
        return
    console = _console()
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
    print(f"Wrote {_load(name, storage).report(output or Path(f'{name}.html'))}")


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
    study = _load(name, storage)
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

    record = _load(name, storage).record(trial)
    draw_topology(record, output)
    print(f"Drew {record.label} of {name}: {output}")


@app.command("list")
def list_(what: Annotated[Noun, typer.Argument(help="What to list.", show_default=False)]) -> None:
    """List what there is to choose from, one line each."""
    from nasmod.report.choices import choice_lines

    _print_lines(choice_lines(what.value))


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="The study file to write.", show_default=False)],
    data: Annotated[
        str, typer.Option(help="Your .npz or .csv file, or folder of idx or .npy files.", show_default=False)
    ],
    target: Annotated[str | None, typer.Option(help="The column of a .csv to tell.  [default: the last]")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A setting of the data set, such as decimal=, or header=false.")
    ] = None,
) -> None:
    """Write a commented study file for your own data, and say what was read of them."""
    from nasmod.report.study_file import write_study_file

    written, read = write_study_file(file, data, target, _settings_of(settings or []))
    if read is not None:
        _print_lines(read.lines())
    print(f"Wrote {written}. Next: nasmod start {written}")


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

    study = _load(name, storage)
    wanted = study.objective(objective)
    ranked = study.rescore(wanted)
    front = [ranked[index] for index in front_of([record.measures for record in ranked], wanted)]
    if as_json:
        _print_json(top_rows(ranked, front))
        return
    print(f"{name} under {objective}:")
    _console().print(top_table(ranked[:number], front, [], wanted))


@app.command()
def copy(
    name: Name,
    file: Annotated[Path, typer.Argument(help="Where to, a path where nothing is yet.", show_default=False)],
    storage: Storage = None,
) -> None:
    """Make a sound copy of a study's SQLite file, also while it runs."""
    study = _load(name, storage)
    print(f"Copied {study.storage} to {study.copy(file)}")


@app.command()
def export(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="A new or empty folder.", show_default=False)],
    trial: Annotated[str | None, typer.Option(help="Trial number or reference.  [default: the best]")] = None,
    retrain: Annotated[
        int | None, typer.Option(min=1, metavar="EPOCHS", help="Train its topology again for so many epochs first.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="With --retrain: how often, each with another seed.")] = 1,
    onnx: Annotated[bool, typer.Option("--onnx", help="Write model.onnx too.")] = False,
    storage: Storage = None,
    allow_plugins: AllowPlugins = False,
) -> None:
    """Export the best topology, or another, as a model that runs without nasmod."""
    from nasmod.export.exporting import check_free
    from nasmod.report.exported import exported_lines

    study = _load(name, storage, allow_plugins)
    record = study.record(trial)
    if seeds > 1 and retrain is None:
        raise typer.BadParameter("it goes with --retrain", param_hint="'--seeds'")
    check_free(output, onnx=onnx)
    trainings = None if retrain is None else _retrained(study, record.key, retrain, seeds)
    found = study.export(output, record.key, retrain=trainings, onnx=onnx)
    _print_lines(exported_lines(found, f"{record.label} of {name}"))


@app.command()
def predict(
    directory: Annotated[Path, typer.Argument(help="The folder of an export.", show_default=False)],
    file: Annotated[
        Path, typer.Argument(help="A .csv, an .npz, a folder of .npy files, or idx images.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The table to write.")] = Path("predictions.csv"),
    separator: Annotated[str | None, typer.Option(help="Between the columns of a .csv.  [default: recognised]")] = None,
) -> None:
    """Write what an exported model says of new examples; no Python out of its folder is executed."""
    from nasmod import api

    print(f"Wrote {api.predict(directory, file, output, separator=separator)} predictions to {output}")


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
            storage=_storage(storage),
            workers=_count(workers),
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
        _print_json(comparison_row(found))
    else:
        _console().print(comparison_table(found))
        print(f"In {folder}: {', '.join(path.name for path in (folder / 'comparison.json', *pictures))}")


@app.command()
def schema() -> None:
    """Print the JSON schema of study files."""
    from nasmod.study.definition import Study

    _print_json(Study.model_json_schema())


def main() -> None:
    """The command `nasmod`. A user's mistake is one line on standard error and exit code 2."""
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    given = [argument for argument in arguments if argument != "--debug"]
    _hide_passwords(arguments)
    try:
        code = app(given or ["--help"], prog_name="nasmod", standalone_mode=False)
    except (NasmodError, UsageError) as error:
        if debug:
            raise
        print(f"nasmod: {_one_line(error)}", file=sys.stderr)
        sys.exit(USER_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(INTERRUPTED)
    sys.exit(code or 0)


def _hide_passwords(arguments: list[str]) -> None:
    """Take the passwords of URLs out of the process's title, which every user of this machine can read."""
    hidden = [PASSWORD.sub("***", argument) for argument in arguments]
    if hidden != arguments:
        from setproctitle import setproctitle

        setproctitle(" ".join(["nasmod", *hidden]))


def _one_line(error: Exception) -> str:
    if not isinstance(error, UsageError):
        return " ".join(str(error).split())
    command = error.ctx.command_path if getattr(error, "ctx", None) else "nasmod"  # type: ignore[attr-defined]  # of click
    message = " ".join(error.format_message().split()).replace("Value error, ", "")  # type: ignore[attr-defined]  # likewise
    return f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} See: {command} --help"


def _search(definition: Study, storage: str | None, search: Search) -> None:
    """Run a search with live progress, then show what it found."""
    from nasmod.report import ProgressView
    from nasmod.report.commands import again
    from nasmod.study.stored import STOPPED

    name = definition.name
    live_on = _console() if sys.stdout.isatty() else None
    try:
        with ProgressView(definition.objective).showing(live_on, lambda line: print(line, flush=True)) as show:
            study = search(show)
    except KeyboardInterrupt:
        said = f"running candidates were handed back. Go on with: {again(f'nasmod resume {name}', storage)}"
        print(f"\nStopped; {said if _is_stored(name, storage) else 'nothing was stored yet.'}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    found = study.status()
    print(f"{name} has ended: {found.reason} (in {study.storage})")
    _print_top(study, 10)
    commands = [f"nasmod show {name}", f"nasmod export {name} -o exported/{name}"] if study.top(1) else []
    if found.reason == STOPPED:
        commands.insert(0, f"nasmod resume {name}")
    _say_next(storage, *commands)


def _lines_of_runs(definition: Study, say: Callable[[str], None]) -> Callable[[Progress], None]:
    """A plain line now and then of whichever run is under way."""
    from nasmod.report import ProgressView

    view = ProgressView(definition.objective)

    def tell(progress: Progress) -> None:
        if line := view.line(progress):
            say(line)

    return tell


def _settings_of(given: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` each, the value as TOML has it, or a text."""
    found: dict[str, Any] = {}
    for one in given:
        key, sign, value = one.partition("=")
        if not sign:
            raise typer.BadParameter(f"KEY=VALUE, not '{one}'", param_hint="--set")
        try:
            found[key] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[key] = value
    return found


def _retrained(study: SearchStudy, trial: str, epochs: int, seeds: int) -> list[Retrained]:
    """Train again with a line now and then, and say what came out."""
    from nasmod.report.exported import RetrainingView, spread_lines

    view = RetrainingView(epochs, seeds)
    show = lambda number, epoch: _print_lines(view.lines(number, epoch))  # noqa: E731  # its types are those of `retrain`
    trainings = study.retrain(epochs, trial, seeds=seeds, on_epoch=show)
    _print_lines(spread_lines(trainings, epochs))
    return trainings


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
        _print_json([tried_row(tried) for tried in found])
    else:
        console = _console()
        for shown in tried_view(found, definition.objective, console.width):
            console.print(shown)
    return any(tried.reason is not None for tried in found)


def _print_top(study: SearchStudy, number: int) -> None:
    console = _console()
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
    console = _console()
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


def _load(name: str, storage: str | None, allow_plugins: bool = False) -> SearchStudy:
    from nasmod import api

    return api.load(name, storage=_storage(storage), allow_plugins=allow_plugins)


def _storage(named: str | None) -> str | None:
    """The storage that is meant: the one named, else that of the environment."""
    return named if named is not None else os.environ.get("NASMOD_STORAGE") or None


def _console() -> Console:
    from nasmod.report.plain import console

    return console(None if sys.stdout.isatty() else PLAIN_COLUMNS)


def _count(workers: str) -> int | str:
    return workers if workers == "auto" else int(workers)


def _is_stored(name: str, storage: str | None) -> bool:
    try:
        _load(name, storage)
    except NasmodError:
        return False
    return True


def _say_next(storage: str | None, *commands: str) -> None:
    from nasmod.report.commands import again

    for index, command in enumerate(commands):
        print(f"{'      ' if index else 'Next: '}{again(command, storage)}")


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    main()
