"""Commands that a person may run next, fit for a shell."""

from __future__ import annotations

import shlex

from nasmod.study.url import shown, storage_url

STORAGE = "NASMOD_STORAGE"  # the environment variable that stands in for --storage


def again(command: str, storage: str | None) -> str:
    """A command that finds the study in the storage that was named; the password of a URL is never repeated.

    >>> again("nasmod top a", None)
    'nasmod top a'
    >>> again("nasmod top a", "my runs/a.db")
    "nasmod top a --storage 'my runs/a.db'"
    >>> again("nasmod top a", "postgresql+psycopg://me@host/name")
    'nasmod top a --storage postgresql+psycopg://me@host/name'
    >>> again("nasmod top a", "postgresql+psycopg://me:secret@host/name")
    'NASMOD_STORAGE=URL nasmod top a'
    """
    if storage is None:  # it lies in `runs`, or where the environment says
        return command
    if "://" in storage:
        url = storage_url(storage)
        if shown(url).partition("://")[2] != storage.partition("://")[2] and url.get_backend_name() != "sqlite":
            return f"{STORAGE}=URL {command}"
    return f"{command} --storage {shlex.quote(storage)}"
