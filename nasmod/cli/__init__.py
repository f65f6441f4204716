"""The command line: parse, call, print. It alone prints and exits; what is heavy is imported when a command runs."""

from __future__ import annotations

import re
import sys
from typing import cast

import typer

from nasmod.cli import searching, looking, keeping  # noqa: F401  # isort: skip  # their commands, in the order of --help
from nasmod.cli.options import INTERRUPTED, USER_ERROR, app
from nasmod.cli.printing import print
from nasmod.errors import NasmodError

# in a URL: its user and password, and the value of an option such as sslpassword
PASSWORD = re.compile(r"(?<=://)[^/\s]*:[^/\s]*(?=@)|(?<=password=)[^&\s]+", re.IGNORECASE)

# click's error of a wrong command line, wherever this version of typer keeps its click
UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])

__all__ = ["PASSWORD", "app", "main"]


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
