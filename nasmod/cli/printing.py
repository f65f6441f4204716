"""What every command prints with, and how it finds a study."""

from __future__ import annotations

import builtins
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from nasmod.errors import NasmodError, plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from nasmod.api import SearchStudy

PLAIN_COLUMNS = 120  # of tables where the output is no terminal


def print(text: str, **options: Any) -> None:
    """What a person is told, without what would steer a terminal: it may come out of a database."""
    builtins.print(plain(text), **options)


def print_lines(lines: Iterable[str]) -> None:
    """Each as it comes, also where the output is a pipe."""
    for line in lines:
        print(line, flush=True)


def print_json(value: Any) -> None:
    """A value as JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def console_here() -> Console:
    """The terminal, or a console of a fixed width where there is none."""
    from nasmod.report.plain import console

    return console(None if sys.stdout.isatty() else PLAIN_COLUMNS)


def say_next(storage: str | None, *commands: str) -> None:
    """The commands that a person may want next, with the storage they need."""
    from nasmod.report.commands import again

    for index, command in enumerate(commands):
        print(f"{'      ' if index else 'Next: '}{again(command, storage)}")


def load(name: str, storage: str | None, allow_plugins: bool = False) -> SearchStudy:
    """The study of a name in the storage that is meant."""
    from nasmod import api

    return api.load(name, storage=storage_of(storage), allow_plugins=allow_plugins)


def is_stored(name: str, storage: str | None) -> bool:
    """Whether there is a study of this name."""
    try:
        load(name, storage)
    except NasmodError:
        return False
    return True


def storage_of(named: str | None) -> str | None:
    """The storage that is meant: the one named, else that of the environment."""
    return named if named is not None else os.environ.get("NASMOD_STORAGE") or None
