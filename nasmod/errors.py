"""What a user can cause and mend: each error is one line that states the rule, what was got and what is known."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable


class NasmodError(Exception):
    """A mistake a user can mend. The command line prints it as one line and exits with code 2."""


class TopologyError(NasmodError):
    """A graph that is no topology: an unknown input, a second output of the same name, an unreached output."""


class SpaceError(NasmodError):
    """A search space that cannot be read, contradicts itself, or cannot hold a topology."""


class DataError(NasmodError):
    """Data that is missing, malformed, or not what the study was started with."""


class StudyError(NasmodError):
    """A study file or definition that cannot be used, or a study that does not exist or differs."""


class StorageError(NasmodError):
    """A database that cannot be reached, read or written, or that is not ours."""


class StorageFullError(StorageError):
    """The disk of the database is full: what was being written was not."""


class ArtifactError(StorageError):
    """A folder or S3, where a study keeps its files, that cannot be used, or a file that is not there."""


class ExportError(NasmodError):
    """An export that cannot be made, or whose files do not behave like the trained network."""


class PluginError(NasmodError):
    """A plugin that is missing, changed, or registers something impossible."""


class UnknownNameError(NasmodError):
    """A name that nothing is registered under; the nearest known name is suggested."""

    def __init__(self, noun: str, got: str, known: Iterable[str]) -> None:
        super().__init__(unknown(noun, got, known))


def plain(text: str) -> str:
    r"""Text that cannot steer a terminal: what is not printed is written as JSON would, but for line ends.

    Names and reasons out of a database may hold anything, a terminal's escape sequences included.

    >>> print(plain("red: \x1b[31m"))
    red: \u001b[31m
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def unknown(noun: str, got: str, known: Iterable[str]) -> str:
    """One line for a name that is not known.

    >>> unknown("module kind", "cnov", ["dense", "conv"])
    "No module kind 'cnov'. Did you mean 'conv'? Known: conv, dense."
    """
    names = sorted(known)
    near = difflib.get_close_matches(got, names, n=1, cutoff=0.5)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"No {noun} '{got}'.{hint} Known: {', '.join(names) or 'none'}."
