"""Where a study may lie in a test: empty databases, copies of others, and how the connection to one breaks."""

from __future__ import annotations

import shutil
import sqlite3
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import PoolProxiedConnection, make_url

from nasmod.study import Database, StoredStudy, open_study

COMPILED: dict[Any, Any] = {}
EACH_TABLE = """
DO $$ DECLARE name text; BEGIN
    SET session_replication_role = replica;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP {} END LOOP;
END $$
"""
SAVE = "CREATE SCHEMA saved;" + EACH_TABLE.format(
    "EXECUTE format('CREATE TABLE saved.%I AS TABLE public.%I', name, name);"
)
RESTORE = EACH_TABLE.format(
    "EXECUTE format('DELETE FROM public.%I', name);"
    "EXECUTE format('INSERT INTO public.%I SELECT * FROM saved.%I', name, name);"
)


class Places:
    """Databases of one sort: empty ones, and copies of others."""

    def __init__(self, folder: Path, server: str | None) -> None:
        self.folder, self.server = folder, server
        self.saved: set[str] = set()

    def new(self, like: str | None = None) -> str:
        name = f"kill_{uuid.uuid4().hex[:12]}"
        if self.server is None:
            path = self.folder / f"{name}.db"
            if like is not None:
                shutil.copyfile(like, path)
            return str(path)
        template = "" if like is None else f"TEMPLATE {make_url(like).database}"
        self.administrate(f"CREATE DATABASE {name} {template}")
        return make_url(self.server).set(database=name).render_as_string(hide_password=False)

    def again(self, storage: str, like: str | None = None) -> None:
        """Bring a database of `new` back to what it was like."""
        if self.server is None:
            self.drop(storage)
            if like is not None:
                shutil.copyfile(like, storage)
        elif like is None:
            self.administrate("DROP SCHEMA public CASCADE; CREATE SCHEMA public", storage)
        elif storage not in self.saved:  # its rows are kept beside: a database dropped costs a checkpoint
            self.administrate(SAVE, storage)
            self.saved.add(storage)
        else:
            self.administrate(RESTORE, storage)

    def drop(self, storage: str) -> None:
        if self.server is not None:
            self.administrate(f"DROP DATABASE {make_url(storage).database} WITH (FORCE)")
            return
        for path in Path(storage).parent.glob(f"{Path(storage).name}*"):
            path.unlink()

    def administrate(self, statement: str, storage: str | None = None) -> None:
        """Run SQL on the server, or in a database of it."""
        url = make_url(storage or self.server or "").set(drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            connection.execute(statement)


def opened(storage: str) -> tuple[Database, StoredStudy]:
    """The study in a database, as a process has it that compiled its statements long ago."""
    database = Database.open(storage)
    database.engine = database.engine.execution_options(compiled_cache=COMPILED)
    return database, open_study(database, "digits", only_to_look=True)


def cut(database: Database) -> Callable[[Any], None]:
    """What breaks a connection as a server does that goes away, its driver's own error included."""

    def sqlite(connection: PoolProxiedConnection) -> None:
        raise sqlite3.OperationalError("database is locked")

    def postgresql(connection: PoolProxiedConnection) -> None:
        mine = connection.dbapi_connection
        assert isinstance(mine, psycopg.Connection)
        url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [mine.info.backend_pid])
        mine.execute("SELECT 1")

    return sqlite if database.engine.dialect.name == "sqlite" else postgresql
