"""The command line's parser: the application, and the arguments and options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from nasmod.cli.printing import print

FAILED, USER_ERROR, INTERRUPTED = 1, 2, 130  # exit codes

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


def check_workers(text: str) -> str:
    """A number of workers or 'auto', as it was given."""
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise typer.BadParameter(f"a number from 1, or 'auto', not '{text}'")
    return text


def count_of(workers: str) -> int | str:
    """The number, or 'auto'."""
    return workers if workers == "auto" else int(workers)


def _hours(hours: float | None) -> float | None:
    if hours is not None and not 0 < hours < float("inf"):
        raise typer.BadParameter(f"a number above 0, not {hours:g}")
    return hours


def _version(wanted: bool) -> None:
    if wanted:
        import nasmod

        print(nasmod.__version__)
        raise typer.Exit


Name = Annotated[str, typer.Argument(help="The study's name.", show_default=False)]
Storage = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Database URL or path of an SQLite file.  [environment: NASMOD_STORAGE; default: runs/NAME.db]",
    ),
]
Workers = Annotated[
    str, typer.Option(metavar="N|auto", callback=check_workers, help="Workers to start, here or with Ray.")
]
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


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command; `main` looks for --debug itself, wherever it stands."""
