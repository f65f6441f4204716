"""Commands for what comes in and goes out: new, export, predict, copy, delete and doctor."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nasmod.cli.options import USER_ERROR, AllowPlugins, AsJson, Name, Storage, app, check_workers, count_of
from nasmod.cli.printing import load, print, print_json, print_lines, storage_of

if TYPE_CHECKING:
    from nasmod.api import SearchStudy
    from nasmod.measures.retraining import Retrained


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
        print_lines(read.lines())
    print(f"Wrote {written}. Next: nasmod start {written}")


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

    study = load(name, storage, allow_plugins)
    record = study.record(trial)
    if seeds > 1 and retrain is None:
        raise typer.BadParameter("it goes with --retrain", param_hint="'--seeds'")
    check_free(output, onnx=onnx)
    trainings = None if retrain is None else _retrained(study, record.key, retrain, seeds)
    found = study.export(output, record.key, retrain=trainings, onnx=onnx)
    print_lines(exported_lines(found, f"{record.label} of {name}"))


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


@app.command()
def copy(
    name: Name,
    file: Annotated[Path, typer.Argument(help="Where to, a path where nothing is yet.", show_default=False)],
    storage: Storage = None,
) -> None:
    """Make a sound copy of a study's SQLite file, also while it runs."""
    study = load(name, storage)
    print(f"Copied {study.storage} to {study.copy(file)}")


@app.command()
def delete(
    name: Name,
    storage: Storage = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also while processes are at work on it.")] = False,
) -> None:
    """Remove a study for good, with its candidates, files and Optuna trials."""
    study = load(name, storage)
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
        str, typer.Option(metavar="N|auto", callback=check_workers, help="Workers you plan on all machines together.")
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Check the installation, the devices, the data and the database; say what to mend."""
    from nasmod.doctor import examine
    from nasmod.report.checks import check_lines, check_rows

    found = examine(storage_of(storage), count_of(workers))
    if as_json:
        print_json(check_rows(found))
    else:
        print_lines(check_lines(found))
    if any(check.level == "wrong" for check in found):
        raise typer.Exit(USER_ERROR)


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
    show = lambda number, epoch: print_lines(view.lines(number, epoch))  # noqa: E731  # its types are those of `retrain`
    trainings = study.retrain(epochs, trial, seeds=seeds, on_epoch=show)
    print_lines(spread_lines(trainings, epochs))
    return trainings
