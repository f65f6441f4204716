"""Databases: made by one of many, opened by all, refused in one line when they are not what they should be."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy
from sqlalchemy import NullPool, select, text

from nasmod.errors import StorageError, StudyError
from nasmod.study import Database, create_or_join, open_study, read, tables
from nasmod.study.database import copy
from nasmod.study.url import storage_url
from nasmod.study.watch import LEASE_SECONDS


def _create(path: str, ready: multiprocessing.Event) -> None:
    ready.wait()
    create_or_join(Database.create(path), read("digits"), "f" * 64, {})


def test_a_database_that_is_forgotten_leaves_no_connection_open(tmp_path: Path):
    database = Database.create(str(tmp_path / "a.db"))
    database.read(lambda connection: connection.scalar(select(tables.studies.c.id)))
    engine = database.engine
    assert engine.pool.checkedin() == 1
    del database
    assert engine.pool.checkedin() == 0


@pytest.mark.slow
def test_processes_that_start_at_once_make_one_database_and_one_study(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    path = str(tmp_path / "runs" / "a.db")
    processes = [context.Process(target=_create, args=(path, ready)) for _ in range(3)]
    for process in processes:
        process.start()
    ready.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM nasmod_studies").fetchone() == (1,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert [path.name for path in (tmp_path / "runs").iterdir() if path.suffix == ".part"] == []


def test_writers_queue_and_readers_do_not(tmp_path: Path):
    database = Database.create(str(tmp_path / "a.db"))
    with database.engine.connect().execution_options(nasmod_writing=True) as writer, writer.begin():
        version = database.read(lambda connection: connection.scalar(select(tables.schema.c.version)))
        assert version == tables.SCHEMA_VERSION
    database.close()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "holds no nasmod studies"),
        (b"not a database at all, but long enough to be read as one" * 40, "not an SQLite database"),
    ],
)
def test_a_file_that_is_not_ours_is_refused_and_left_alone(tmp_path: Path, content: bytes, says: str):
    path = tmp_path / "a.db"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=says) as caught:
        Database.create(str(path))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == content


def test_a_truncated_database_is_refused(tmp_path: Path):
    path = tmp_path / "a.db"
    database = Database.create(str(path))
    create_or_join(database, read("digits"), "f" * 64, {})
    database.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StorageError, match=r"truncated or damaged|holds no nasmod studies"):
        open_study(Database.open(str(path)), "digits")


def test_a_newer_database_is_refused(tmp_path: Path):
    database = Database.create(str(tmp_path / "a.db"))
    database.transact(lambda connection: connection.execute(tables.schema.update().values(version=99)))
    database.close()
    with pytest.raises(StorageError, match=rf"99; this nasmod reads up to {tables.SCHEMA_VERSION}\. Upgrade nasmod"):
        Database.open(str(tmp_path / "a.db"))


def test_a_missing_database_is_refused_and_not_made(tmp_path: Path):
    with pytest.raises(StorageError, match="No database at"):
        Database.open(str(tmp_path / "a.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_database_is_refused():
    """Root may write anywhere, so the test steps down to nobody where it is run as root."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.db")
        Database.create(str(path)).close()
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(StorageError, match="read-only"):
                create_or_join(Database.open(str(path)), read("digits"), "f" * 64, {})
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o755)


@pytest.mark.parametrize("storage", ["mysql://host/name", "nonsense://x", "sqlite://", "sqlite:///:memory:"])
def test_a_storage_that_cannot_hold_a_study_is_refused(storage: str):
    with pytest.raises(StorageError):
        Database.create(storage)


def test_an_unreachable_server_is_refused_without_its_password():
    with pytest.raises(StorageError, match="cannot be used") as caught:
        Database.open("postgresql+psycopg://me:secret@127.0.0.1:9/x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_is_not_utf8_is_refused_with_what_to_do(empty_postgresql: str, encoding: str):
    administrator = sqlalchemy.create_engine(empty_postgresql, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = f"encoded_as_{encoding.lower()}"
    with administrator.connect() as connection:
        how = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        connection.execute(text(f"CREATE DATABASE {name} {how}"))
    url = administrator.url.set(database=name).render_as_string(hide_password=False)
    try:
        for use in (Database.create, Database.open):
            with pytest.raises(StorageError, match=f"{name}.* is encoded as {encoding}.*createdb --encoding UTF8"):
                use(url)
    finally:
        with administrator.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name}"))


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds waited before each new try, by a clock that goes on in these pauses alone."""
    seconds: list[float] = []
    clock = SimpleNamespace(sleep=seconds.append, monotonic=lambda: sum(seconds))
    monkeypatch.setattr("nasmod.study.database.time", clock)
    return seconds


def test_a_server_that_is_away_is_waited_for_by_who_knows_that_it_was_there(pauses: list[float]):
    """And is looked for many times a lease: who waits a little longer than others must not seem dead to them."""
    with pytest.raises(StorageError, match="cannot be used"):
        Database.open("postgresql+psycopg://me@127.0.0.1:9/x", retry_seconds=60.0)
    assert 60.0 < sum(pauses) < 60.0 + LEASE_SECONDS
    assert max(pauses) < LEASE_SECONDS / 5


def test_a_file_that_is_not_there_is_not_waited_for(tmp_path: Path, pauses: list[float]):
    with pytest.raises(StorageError, match="No database at"):
        Database.open(str(tmp_path / "a.db"), retry_seconds=60.0)
    assert not pauses


@pytest.mark.slow
def test_a_server_that_may_only_be_read_for_a_while_is_waited_for(empty_postgresql: str):
    """As in a failover; a person is told at once. The server's words hold for connections made after them."""
    database = Database.create(empty_postgresql)
    name = database.engine.url.database
    administrator = sqlalchemy.create_engine(empty_postgresql, isolation_level="AUTOCOMMIT", poolclass=NullPool)

    def writable(is_writable: bool) -> None:
        with administrator.connect() as connection:
            connection.execute(text("SET default_transaction_read_only = off"))
            connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = {not is_writable}"))

    def write() -> None:
        database.transact(lambda connection: connection.execute(tables.schema.update().values(version=2)))

    writable(False)
    database.close()
    with database.at_once(), pytest.raises(StorageError, match="read-only"):
        write()
    again = threading.Timer(1.0, writable, [True])
    again.start()
    write()
    again.join()
    database.close()


@pytest.mark.slow
def test_tables_may_take_longer_to_make_than_a_transaction_may_idle(monkeypatch, empty_postgresql: str):
    """As on a server far away: the connection that keeps others from making them idles all the while."""
    monkeypatch.setattr("nasmod.study.database.SESSION", ("SET idle_in_transaction_session_timeout = '100ms'",))
    Database.create(empty_postgresql).close()


def test_a_copy_is_sound_while_others_write(tmp_path: Path):
    database = Database.create(str(tmp_path / "a.db"))
    create_or_join(database, read("digits"), "f" * 64, {})
    copy(database, tmp_path / "b.db")
    assert open_study(Database.open(str(tmp_path / "b.db")), "digits").name == "digits"
    with pytest.raises(StorageError, match="exists already"):
        copy(database, tmp_path / "b.db")
    database.close()


def test_a_process_killed_within_a_transaction_leaves_nothing_of_it(tmp_path: Path):
    database = Database.create(str(tmp_path / "a.db"))
    study = create_or_join(database, read("digits"), "f" * 64, {})
    script = """
import os, sys
from sqlalchemy import update
from nasmod.study import Database, tables
def work(connection):
    connection.execute(update(tables.studies).values(duplicates=7))
    os.kill(os.getpid(), 9)
Database.open(sys.argv[1]).transact(work)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.db")], check=False)
    assert done.returncode == -9
    assert database.read(lambda connection: connection.scalar(select(tables.studies.c.duplicates))) == 0
    assert study.name == "digits"
    database.close()


def test_a_foreign_optuna_study_of_the_same_name_is_refused(tmp_path: Path):
    import optuna

    database = Database.create(str(tmp_path / "a.db"))
    optuna.create_study(study_name="digits", storage=optuna.storages.RDBStorage(database.url))
    with pytest.raises(StorageError, match="nasmod did not make"):
        create_or_join(database, read("digits"), "f" * 64, {})
    database.close()


def test_a_study_that_is_not_there_names_the_known_ones(tmp_path: Path):
    database = Database.create(str(tmp_path / "a.db"))
    create_or_join(database, read("digits"), "f" * 64, {})
    with pytest.raises(StudyError, match=r"No study 'digit'\. Did you mean 'digits'"):
        open_study(database, "digit")
    database.close()


def test_a_plain_path_is_an_sqlite_file(tmp_path: Path):
    assert storage_url(str(tmp_path / "a.db")).database == str(tmp_path / "a.db")
