"""The command line: parse, call, print. It alone prints and exits; what is heavy is imported when a command runs."""

from __future__ import annotations

import json
import shlex
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from nasmod.errors import NasmodError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    from nasmod.api import SearchStudy
    from nasmod.export.retraining import Retrained
    from nasmod.search.run import Progress
    from nasmod.study.definition import Study
    from nasmod.training import Epoch

    Search = Callable[[Callable[[Progress], None]], SearchStudy]

USER_ERROR, INTERRUPTED = 2, 130
PLAIN_COLUMNS = 120  # of tables where the output is no terminal
SECONDS_BETWEEN_FRAMES = 0.4
SECONDS_BETWEEN_LINES = 10.0

# click's error of a wrong command line, wherever this version of typer keeps its click
UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])

app = typer.Typer(
    help="Search for modular neural networks: start a study, resume it anywhere, export the best topology.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Noun(StrEnum):
    """What `list` lists."""

    kinds = "kinds"
    spaces = "spaces"
    datasets = "datasets"
    strategies = "strategies"
    stopping = "stopping"
    measures = "measures"
    studies = "studies"


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
    typer.Option(metavar="URL", help="Database URL or path of an SQLite file.  [default: runs/NAME.db]"),
]
Workers = Annotated[str, typer.Option(metavar="N|auto", callback=_workers, help="Worker processes on this machine.")]
Trials = Annotated[int | None, typer.Option(min=1, help="The study's whole budget: how many candidates are trained.")]
Hours = Annotated[float | None, typer.Option(callback=_hours, help="End the search after so many hours.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
) -> None:
    """Start a study, or join it if it is there already."""
    from nasmod import api
    from nasmod.study.definition import read

    definition = read(study, name=name, trials=trials, hours=hours)
    _search(
        definition,
        storage,
        lambda show: api.start(
            definition, storage=storage, workers=_count(workers), trials=trials, hours=hours, on_progress=show
        ),
    )


@app.command()
def resume(
    name: Name, storage: Storage = None, workers: Workers = "auto", trials: Trials = None, hours: Hours = None
) -> None:
    """Go on with a study, here or beside other machines; --trials and --hours may only be raised."""
    from nasmod import api

    _search(
        _load(name, storage).study,
        storage,
        lambda show: api.resume(
            name, storage=storage, workers=_count(workers), trials=trials, hours=hours, on_progress=show
        ),
    )


@app.command()
def status(name: Name, storage: Storage = None, as_json: AsJson = False) -> None:
    """Say how far a study is."""
    study = _load(name, storage)
    found = study.status()
    if as_json:
        _print_json(found.to_json())
        return
    from nasmod.report.figures import seconds

    print(f"{found.name}: {found.state}{f', {found.reason}' if found.reason else ''}")
    print(f"  {found.trained} of {found.budget} trained: {found.finished} finished, {found.stopped} stopped early")
    print(f"  {found.running} running, {found.queued} queued, {found.failed} failed")
    print(f"  {found.proposals} proposals: {found.duplicates} duplicates, {found.infeasible} over the FLOPs budget")
    print(f"  {found.references} references and {found.repeats} repeats trained beside")
    print(f"  searched {seconds(found.seconds)}, in {study.storage}")
    if found.state != "ended":
        print(f"Next: nasmod resume {name}{_place(storage)}")


@app.command()
def top(
    name: Name,
    storage: Storage = None,
    number: Annotated[int | None, typer.Option("-n", min=1, help="How many.  [default: 10; with --json all]")] = None,
    as_json: AsJson = False,
) -> None:
    """Show the best candidates by score, the front, and the references beside them."""
    from nasmod.report import top_rows

    study = _load(name, storage)
    front = study.front()
    if as_json:
        _print_json(top_rows(_with_front(study.top(number), front), front))
        return
    _print_top(study, number or 10)
    if study.status().state != "ended" and not study.top(1):
        print(f"Next: nasmod resume {name}{_place(storage)}")


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


@app.command("list")
def list_(what: Annotated[Noun, typer.Argument(help="What to list.", show_default=False)]) -> None:
    """List what there is to choose from, one line each."""
    rows = list(_listed(what))
    width = max((len(name) for name, _ in rows), default=0)
    for name, line in rows:
        print(f"{name:<{width}}  {line}".rstrip())


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="The study file to write.", show_default=False)],
    data: Annotated[
        str, typer.Option(help="Your .npz or .csv file, or folder of idx or .npy files.", show_default=False)
    ],
    target: Annotated[str | None, typer.Option(help="The column of a .csv to tell.  [default: the last]")] = None,
) -> None:
    """Write a commented study file for your own data."""
    from nasmod import api

    written = api.new(file, data, target=target)
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
    storage: Storage = None,
) -> None:
    """Export the best topology, or another, as a model that runs without nasmod."""
    study = _load(name, storage)
    record = study.record(trial)
    if seeds > 1 and retrain is None:
        raise typer.BadParameter("it goes with --retrain", param_hint="'--seeds'")
    trainings = None if retrain is None else _retrained(study, record.key, retrain, seeds, output)
    found = study.export(output, record.key, retrain=trainings)
    print(f"Exported {record.label} of {name} to {found.directory}:")
    for file in found.files:
        print(f"  {file}")
    print("Checked in a process that cannot import nasmod:")
    for form, difference in found.differences.items():
        print(
            f"  {form}: largest absolute difference from the trained network {difference:.2g}, "
            f"test {found.score_name} {found.scores[form]:.4f}"
        )
    error = f" ± {found.trained_score.standard_error:.4f}" if found.trained_score.standard_error is not None else ""
    trained = f"{found.trained_score.value:.4f}{error} on {found.examples:,} test examples"
    print(f"  the trained network: test {found.score_name} {trained}")


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


def _one_line(error: Exception) -> str:
    if not isinstance(error, UsageError):
        return " ".join(str(error).split())
    command = error.ctx.command_path if getattr(error, "ctx", None) else "nasmod"  # type: ignore[attr-defined]  # of click
    message = " ".join(error.format_message().split()).replace("Value error, ", "")  # type: ignore[attr-defined]  # likewise
    return f"{message.rstrip('.')}{'' if message.endswith('?') else '.'} See: {command} --help"


def _search(definition: Study, storage: str | None, search: Search) -> None:
    """Run a search with live progress, then show what it found."""
    name = definition.name
    try:
        study = _with_progress(definition, search)
    except KeyboardInterrupt:
        again = f"nasmod resume {name}{_place(storage)}"
        said = f"running candidates were handed back. Go on with: {again}"
        print(f"\nStopped; {said if _is_stored(name, storage) else 'nothing was stored yet.'}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    found = study.status()
    print(f"{name} has ended: {found.reason} (in {study.storage})")
    _print_top(study, 10)
    if not study.top(1):
        return
    print(f"Next: nasmod show {name}{_place(storage)}")
    print(f"      nasmod export {name}{_place(storage)} -o exported/{name}")


def _with_progress(definition: Study, search: Search) -> SearchStudy:
    from rich.live import Live

    from nasmod.report import ProgressView

    view = ProgressView(definition.objective)
    if not sys.stdout.isatty():

        def say(progress: Progress) -> None:
            if line := view.line(progress):
                print(line, flush=True)

        return search(say)

    drawn = {"at": 0.0}
    with Live(console=_console(), auto_refresh=False, transient=True) as live:

        def draw(progress: Progress) -> None:
            if time.monotonic() - drawn["at"] >= SECONDS_BETWEEN_FRAMES:
                drawn["at"] = time.monotonic()
                live.update(view.live(progress), refresh=True)

        return search(draw)


def _retrained(study: SearchStudy, trial: str, epochs: int, seeds: int, output: Path) -> list[Retrained]:
    """Train again with a line now and then, and say what came out."""
    from nasmod.export.exporting import check_free
    from nasmod.export.retraining import mean_and_spread
    from nasmod.report.figures import figure

    check_free(output)
    said = {"at": time.monotonic()}

    def say(number: int, epoch: Epoch) -> None:
        if time.monotonic() - said["at"] >= SECONDS_BETWEEN_LINES or epoch.number == epochs:
            said["at"] = time.monotonic()
            print(
                f"training {number} of {seeds}: epoch {epoch.number} of {epochs}, "
                f"validation accuracy {epoch.validation_accuracy:.4f}",
                flush=True,
            )

    trainings = study.retrain(epochs, trial, seeds=seeds, on_epoch=say)
    print(f"Mean ± standard deviation of {seeds} trainings of {epochs} epochs:")
    for name, (mean, spread) in mean_and_spread(trainings).items():
        if not name.startswith("information."):
            print(f"  {name} {figure(name, mean)}{f' ± {figure(name, spread)}' if spread else ''}")
    return trainings


def _print_top(study: SearchStudy, number: int) -> None:
    from nasmod.report import top_table

    front = study.front()
    shown = _with_front(study.top(number), front)
    if shown or study.references():
        _console().print(top_table(shown, front, study.references(), study.study.objective))
    if not study.status().finished:
        print("No candidate has finished.")
    elif not shown:
        print("No finished candidate meets the floors of the objective.")
    elif not front:
        print("The front is empty: no candidate does better than chance.")


def _with_front(best: list[Any], front: list[Any]) -> list[Any]:
    """The best by score, then what else is on the front."""
    keys = {record.key for record in best}
    return [*best, *(record for record in front if record.key not in keys)]


def _listed(what: Noun) -> Iterator[tuple[str, str]]:
    from nasmod import registry

    if what in (Noun.spaces, Noun.studies):
        folder = "search_spaces" if what is Noun.spaces else "studies"
        for name, path in registry.packaged(folder).items():
            first = path.read_text(encoding="utf-8").partition("\n")[0]
            yield name, first.lstrip("# ")
        return
    noun = {Noun.strategies: "strategy", Noun.stopping: "stopping"}.get(what, what.value.rstrip("s"))
    for name in registry.names(noun):
        yield name, registry.summary(noun, name)


def _load(name: str, storage: str | None) -> SearchStudy:
    from nasmod import api

    return api.load(name, storage=storage)


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_COLUMNS, highlight=False)


def _count(workers: str) -> int | str:
    return workers if workers == "auto" else int(workers)


def _is_stored(name: str, storage: str | None) -> bool:
    try:
        _load(name, storage)
    except NasmodError:
        return False
    return True


def _place(storage: str | None) -> str:
    """The option to repeat in a command, fit for a shell, without the password of a URL."""
    if storage is None:
        return ""
    from nasmod.study.database import shown, storage_url

    return f" --storage {shlex.quote(shown(storage_url(storage)) if '://' in storage else storage)}"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    main()
