"""The database of studies: how it is made, opened and written. It knows nothing of what a study holds.

SQLite ignores FOR UPDATE, so a writing transaction begins with BEGIN IMMEDIATE; a reading one with BEGIN, so that
readers never queue behind a writer. Every transaction is retried whole when the database was locked, deadlocked or
went away, so the work of one must be safe to run again.
"""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import optuna
import sqlalchemy
from sqlalchemy import Connection, Engine, event, exc, inspect, select, text
from sqlalchemy.engine import URL, ExceptionContext

from nasmod.errors import StorageError, StorageFullError
from nasmod.study import tables
from nasmod.study.mounts import refuse_network
from nasmod.study.url import shown, sqlite_path, storage_url

T = TypeVar("T")
log = logging.getLogger("nasmod.database")

BUSY_SECONDS = 60  # how long SQLite waits for another writer
RETRY_SECONDS = 6 * 3600.0  # how long a transaction is tried again before the database counts as gone
LONGEST_PAUSE_SECONDS = 1.0  # between two tries, a small part of a lease: who waited is not taken for dead
CREATION_LOCK = 7_230_641  # PostgreSQL advisory lock held while the tables or a study are made
READ_ONLY = "25006"  # what PostgreSQL says to a writer where it may only be read
# PostgreSQL: a machine that vanished is noticed, and a process frozen in a transaction lets go of its locks
CONNECTION = {
    "connect_timeout": "10",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "application_name": "nasmod",
}
SESSION = ("SET idle_in_transaction_session_timeout = '15s'", "SET lock_timeout = '30s'")


class Database:
    """An open database. Use `Database.open` or `Database.create`; `transact` and `read` run a function in it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        weakref.finalize(self, engine.dispose)  # who forgets to close it leaves no connection open
        self.retry_seconds = RETRY_SECONDS

    @classmethod
    def open(cls, storage: str, retry_seconds: float = 0.0) -> Database:
        """Open a database that is there and ours. Raises `StorageError` in one line otherwise.

        A server that is away is told at once, or waited for by who knows that it was there.
        """
        url = storage_url(storage)
        path = sqlite_path(url)
        with _explained(url):
            if path is not None:
                refuse_network(path)
            if path is not None and path.is_dir():
                raise StorageError(f"'{path}' is a folder, not a database; name a file in it with --storage.")
            if path is not None and not path.is_file():
                raise StorageError(f"No database at '{path}'. Start a study there, or name another with --storage.")
            database = cls(_engine(url))
            database._check_ours(url, retry_seconds)
        return database

    @classmethod
    def create(cls, storage: str) -> Database:
        """Open a database, made first if it is not there. Of several processes at once, one makes it."""
        url = storage_url(storage)
        path = sqlite_path(url)
        with _explained(url):
            if path is not None:
                refuse_network(path)
            if path is not None and not path.exists():
                _create_sqlite(path)
            elif path is None:
                _create_server(url)
        return cls.open(storage)

    @classmethod
    def unchecked(cls, storage: str) -> Database:
        """A database that may not be ours, to be looked at: nothing is checked, made or upgraded."""
        return cls(_engine(storage_url(storage)))

    def transact(self, work: Callable[[Connection], T], *, wait_for_space: bool = True) -> T:
        """Run `work` in one writing transaction, retried whole; its result once it is committed.

        On a full disk it waits until there is space again, or raises `StorageFullError` without `wait_for_space`.
        """
        return self._run(work, writing=True, wait_for_space=wait_for_space)

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one reading transaction."""
        return self._run(work, writing=False, wait_for_space=True)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within it nothing is tried again: a person who has just asked for something wants to hear what is wrong."""
        self.retry_seconds = 0.0
        try:
            yield
        finally:
            self.retry_seconds = RETRY_SECONDS

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @property
    def url(self) -> str:
        """The URL with its password: to be handed to a worker, never to be shown."""
        return self.engine.url.render_as_string(hide_password=False)

    @property
    def path(self) -> Path | None:
        """The file of an SQLite database, None for a server."""
        return sqlite_path(self.engine.url)

    @property
    def shown(self) -> str:
        """What a person may see of the URL: a path, or the URL without its password."""
        return shown(self.engine.url)

    def _run(self, work: Callable[[Connection], T], writing: bool, wait_for_space: bool) -> T:
        began = time.monotonic()
        pause, told = 0.05, False
        while True:
            try:
                with self.engine.connect().execution_options(nasmod_writing=writing) as connection, connection.begin():
                    return work(connection)
            except exc.DBAPIError as error:
                full = _is_full(error)
                if full and not wait_for_space:
                    raise StorageFullError(f"No space is left for the database {_shown(self.engine.url)}.") from error
                # `retry_seconds` is read anew each time: who is asked to end makes it short
                if not (full or _may_pass(error)) or time.monotonic() > began + self.retry_seconds:
                    with _explained(self.engine.url):
                        raise
                if not told and pause == LONGEST_PAUSE_SECONDS:
                    told = True
                    log.warning("the database is away or busy, trying again: %s", _first_line(error))
                time.sleep(pause * (0.5 + random.random()))  # spreads the processes; decides nothing of a study
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _check_ours(self, url: URL, retry_seconds: float) -> None:
        def versions(connection: Connection) -> tuple[int | None, str | None]:
            if not inspect(connection).has_table(tables.schema.name):
                raise StorageError(f"The database {_shown(url)} holds no nasmod studies.")
            optunas = connection.scalar(text("SELECT version_num FROM alembic_version"))
            return connection.scalar(select(tables.schema.c.version)), optunas

        self.retry_seconds = retry_seconds
        version, optunas = self.read(versions)
        self.retry_seconds = RETRY_SECONDS
        if optunas not in tables.optuna_versions():
            raise StorageError(
                f"The database {_shown(url)} has tables of another Optuna ({optunas}) than the one installed here, "
                f"{optuna.__version__}. Install the Optuna that upgraded them."
            )
        if version is None or version > tables.SCHEMA_VERSION:
            raise StorageError(
                f"The database {_shown(url)} is of schema version {version}; this nasmod reads up to "
                f"{tables.SCHEMA_VERSION}. Upgrade nasmod."
            )
        while version < tables.SCHEMA_VERSION:
            step = tables.upgrades[version]
            version += 1
            self.transact(partial(_upgrade, step=step, version=version))


def one_at_a_time(connection: Connection) -> None:
    """Let no other process make anything until this transaction has ended. On SQLite every writer is alone anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": CREATION_LOCK})


def copy(database: Database, target: Path) -> None:
    """A sound copy of an SQLite study, its write-ahead log included, at a path where nothing is yet."""
    if database.path is None:
        raise StorageError("Only an SQLite study can be copied; use pg_dump for PostgreSQL.")
    if target.exists():
        raise StorageError(f"'{target}' exists already; a copy needs a path where nothing is.")
    if not target.parent.is_dir():
        raise StorageError(f"The folder '{target.parent}' does not exist.")
    part = target.with_name(f"{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        part.touch()
    except OSError as error:
        raise StorageError(f"Cannot write to '{target}': {error.strerror}.") from error
    try:
        with _explained(database.engine.url), database.engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            assert isinstance(raw, sqlite3.Connection)
            raw.execute("VACUUM INTO ?", (str(part),))
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def _engine(url: URL) -> Engine:
    try:
        if url.get_backend_name() != "sqlite":
            given = {name: value for name, value in CONNECTION.items() if name not in url.query}
            # one connection a process; its threads take turns
            engine = sqlalchemy.create_engine(
                url, pool_size=1, max_overflow=0, pool_timeout=RETRY_SECONDS, pool_pre_ping=True, connect_args=given
            )
            # before SQLAlchemy looks at a new connection: it stumbles over another encoding
            event.listen(engine, "connect", partial(_prepare_server, url), insert=True)
            event.listen(engine, "handle_error", _leave_read_only)
            return engine
        engine = sqlalchemy.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    except ImportError as error:
        raise StorageError(
            f"The database driver '{error.name}' is not installed. SQLite needs none (sqlite:///PATH); for PostgreSQL: "
            "pip install 'nasmod[postgresql]' and postgresql+psycopg://…"
        ) from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # the driver begins nothing by itself: `_begin_sqlite` does
    connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000}")
    connection.execute("PRAGMA synchronous=NORMAL")  # with WAL: a killed process loses nothing
    connection.execute("PRAGMA foreign_keys=ON")


def _prepare_server(url: URL, connection: Any, _record: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        (encoding,) = cursor.fetchone()
        encoding = encoding.decode("ascii") if isinstance(encoding, bytes) else encoding
        if encoding != "UTF8":
            raise StorageError(
                f"The database {_shown(url)} is encoded as {encoding}; a study needs UTF-8. Make one with: "
                "createdb --encoding UTF8 --template template0 NAME"
            )
        for statement in SESSION:
            cursor.execute(statement)
    connection.commit()


def _leave_read_only(context: ExceptionContext) -> None:
    """In a failover a server may be read but not written for a while: the next try connects anew, to its successor."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("nasmod_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _create_sqlite(path: Path) -> None:
    """Built aside and linked into place, so that nobody ever opens half a database; the loser takes the winner's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    os.close(handle)
    part = Path(name)
    try:
        _create_tables(URL.create("sqlite", database=name))
        with sqlite3.connect(name) as connection:
            connection.execute("PRAGMA journal_mode=WAL")  # remembered by the file
        connection.close()
        try:
            os.link(part, path)
        except FileExistsError:
            return
    finally:
        part.unlink(missing_ok=True)


def _create_server(url: URL) -> None:
    engine = _engine(url)
    try:
        with engine.connect() as connection, connection.begin():
            # it idles while another connection makes the tables, on a far server for longer than others may
            connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            one_at_a_time(connection)
            if not inspect(connection).has_table(tables.schema.name):
                _create_tables(url)
    finally:
        engine.dispose()


def _create_tables(url: URL) -> None:
    storage = optuna.storages.RDBStorage(url.render_as_string(hide_password=False))  # makes Optuna's tables
    try:
        with storage.engine.connect() as connection, connection.begin():
            tables.metadata.create_all(connection)
            connection.execute(tables.schema.insert().values(version=tables.SCHEMA_VERSION))
    finally:
        storage.engine.dispose()


def _upgrade(connection: Connection, step: Callable[[Connection], None], version: int) -> None:
    """One step to a version of the schema, unless another process was first."""
    if connection.scalar(select(tables.schema.c.version).with_for_update()) != version - 1:
        return
    step(connection)
    connection.execute(tables.schema.update().values(version=version))


def _may_pass(error: exc.DBAPIError) -> bool:
    """Whether trying again may help: locks, deadlocks, a connection or a server that went away or fails over."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in ("25P03", "40001", "40P01", "53300", "55P03") or state.startswith(("08", "57P"))
    message = str(error.orig)
    return isinstance(error, exc.OperationalError) and (
        "locked" in message
        or "busy" in message
        or (error.orig is not None and "sqlite" not in type(error.orig).__module__)
    )


def _is_full(error: exc.DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "53100" or "disk is full" in str(error.orig)


def _first_line(error: exc.DBAPIError) -> str:
    return (str(error.orig).strip() or type(error.orig).__name__).splitlines()[0]


def _shown(url: URL) -> str:
    return f"'{shown(url)}'"


@contextmanager
def _explained(url: URL) -> Iterator[None]:
    """Turns what a driver says of a bad database into one `StorageError`."""
    try:
        yield
    except (exc.DBAPIError, sqlite3.DatabaseError, optuna.exceptions.StorageInternalError) as error:
        cause = getattr(error, "orig", None) or error.__cause__ or error
        message = " ".join(str(cause).split())
        if "locked" in message:
            message = f"it stayed locked for {BUSY_SECONDS} s; is another program writing to it?"
        elif "readonly" in message or "read-only" in message or "unable to open" in message:
            message = "it is read-only; a study must be able to write to it and beside it."
        elif "not a database" in message:
            message = "the file is not an SQLite database."
        elif "malformed" in message or "disk image" in message:
            message = "the file is truncated or damaged; restore a copy."
        raise StorageError(f"The database {_shown(url)} cannot be used: {message}") from error
    except RuntimeError as error:  # Optuna's own schema is of another version
        raise StorageError(f"The database {_shown(url)} cannot be used: {error}") from error
    except OSError as error:
        raise StorageError(f"The database {_shown(url)} cannot be used: {error.strerror}.") from error
