"""Where a study's database is: a URL, or the path of an SQLite file. Nothing is opened here."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from nasmod.errors import StorageError

RUNS = Path("runs")  # where studies lie whose storage is not named


def default_storage(name: str) -> Path:
    """The SQLite file of a study whose storage is not named."""
    return RUNS / f"{name}.db"


def storage_url(storage: str) -> URL:
    """A database URL of a URL or of the path of an SQLite file."""
    if not storage:
        raise StorageError("The storage is empty: name a database URL or the path of an SQLite file.")
    if "\0" in storage:
        raise StorageError(f"The storage {storage!r} has a null character, which no path has.")
    try:
        url = make_url(storage) if "://" in storage else URL.create("sqlite", database=str(Path(storage).absolute()))
        url.get_dialect()
    except (exc.ArgumentError, exc.NoSuchModuleError, ValueError) as error:  # ValueError: a port that is no number
        raise StorageError(
            "The storage is neither a path nor a database URL such as sqlite:///runs/a.db or "
            "postgresql+psycopg://user@host/name."
        ) from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StorageError(f"Studies are kept in SQLite or PostgreSQL, not in '{url.get_backend_name()}'.")
    if "@" in (url.host or ""):
        raise StorageError("The database URL has more than one '@'; write those of its user or password as %40.")
    return url


def shown(url: URL) -> str:
    """What a person may see of a URL: a path, or the URL without any password.

    >>> shown(storage_url("postgresql+psycopg://me:secret@host/name?sslpassword=another"))
    'postgresql+psycopg://me:***@host/name?sslpassword=hidden'
    """
    path = sqlite_path(url)
    hidden = {name: "hidden" for name in url.query if "password" in name}
    return str(path) if path else url.update_query_dict(hidden).render_as_string(hide_password=True)


def sqlite_path(url: URL) -> Path | None:
    """The file of an SQLite URL, None for a server."""
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise StorageError("A study outlives its process: an in-memory SQLite database cannot hold it.")
    return Path(url.database)
