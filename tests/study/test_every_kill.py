"""A process killed after every single SQL statement and before every COMMIT, and connections lost there."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, make_url

from nasmod.study import Database, StoredStudy, open_study, processes
from tests.study.invariants import violations
from tests.study.operations import OPERATIONS, PROCESS, claim, fill, make, recover, snapshot

ROOT = Path(__file__).parents[2]
COMPILED: dict[Any, Any] = {}
BEATS = frozenset({"beat", "controller_beat"})  # a sign of life more is harmless


class Places:
    """Databases of one sort: empty ones, and copies of others."""

    def __init__(self, folder: Path, server: str | None) -> None:
        self.folder, self.server = folder, server

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

    def drop(self, storage: str) -> None:
        if self.server is not None:
            self.administrate(f"DROP DATABASE {make_url(storage).database} WITH (FORCE)")
            return
        for path in Path(storage).parent.glob(f"{Path(storage).name}*"):
            path.unlink()

    def administrate(self, statement: str) -> None:
        assert self.server is not None
        url = make_url(self.server).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Places:
    server = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    return Places(tmp_path_factory.mktemp("kills"), server)


@pytest.fixture(scope="module")
def filled(places: Places) -> str:
    """A database with the rich study, closed."""
    storage = places.new()
    database = Database.create(storage)
    fill(database)
    assert violations(open_study(database, "digits")) == []
    database.close()
    return storage


@pytest.fixture(scope="module")
def kill() -> Iterator[Callable[[str, str, int], bool]]:
    """Run an operation in a process that is killed at a point; whether it got so far."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.study.operations"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},  # a fork copies no other thread
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(storage: str, operation: str, point: int) -> bool:
            order = {"storage": storage, "operation": operation, "point": point}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            status = int(process.stdout.readline())
            assert status in (0, 9), f"{operation} failed at {point}: {status}"
            return status == 9

        yield run
        process.stdin.close()


def arranged(places: Places, filled: str, operation: str) -> str:
    """A database in which the operation may come next."""
    storage = places.new(filled)
    database = Database.open(storage)
    OPERATIONS[operation].arrange(open_study(database, "digits"))
    database.close()
    return storage


def opened(storage: str) -> tuple[Database, StoredStudy]:
    """The study in a database, as a process has it that compiled its statements long ago."""
    database = Database.open(storage)
    database.engine = database.engine.execution_options(compiled_cache=COMPILED)
    return database, open_study(database, "digits", only_to_look=True)


def unharmed(places: Places, template: str, operation: str) -> tuple[Any, Any, Any]:
    """What the database holds before and after the operation, and what it returned."""
    storage = places.new(template)
    database, study = opened(storage)
    chosen = OPERATIONS[operation]
    before = snapshot(database)
    result = chosen.run(study, claim(study, chosen.worker) if chosen.worker else None)
    after = snapshot(database)
    database.close()
    places.drop(storage)
    return before, after, result


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_kill_after_every_statement_leaves_all_or_nothing_and_is_recovered(places, filled, kill, operation):
    template = arranged(places, filled, operation)
    before, after, _ = unharmed(places, template, operation)
    recovered = []
    for point in itertools.count(1):
        storage = places.new(template)
        died = kill(storage, operation, point)
        database, study = opened(storage)
        left = snapshot(database)
        assert left in ([before, after] if died else [after])
        processes.sign_of_life(database, study.id, PROCESS)  # no lock was left behind
        if left not in recovered:  # what follows is a function of the state
            recovered.append(left)
            assert violations(study) == []
            recover(study)
            assert violations(study, ended=True) == []
        database.close()
        places.drop(storage)
        if not died:
            break
    assert point > 2  # the points were counted
    places.drop(template)


@pytest.mark.slow
def test_a_kill_at_every_statement_of_a_creation_leaves_what_the_next_process_completes(places, kill):
    for point in itertools.count(1):
        storage = places.new()
        died = kill(storage, "create", point)
        database = Database.create(storage)
        study = make(database)
        assert violations(study) == []
        assert snapshot(database).keys() >= {"candidates", "trials", "alembic_version"}
        recover(study)
        assert violations(study, ended=True) == []
        database.close()
        places.drop(storage)
        if not died:
            break
    assert point > 20


def cut(database: Database) -> Callable[[Any], None]:
    """What breaks a connection as a server does that goes away, its driver's own error included."""

    def sqlite(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("database is locked")

    def postgresql(connection: psycopg.Connection) -> None:
        url = database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.info.backend_pid])
        connection.execute("SELECT 1")

    return sqlite if database.engine.dialect.name == "sqlite" else postgresql


def lose(database: Database, point: int) -> Iterator[int]:
    """Breaks the connection at a point; the points are before each COMMIT, after it, and on a server each statement."""
    points, break_off, commit = itertools.count(1), cut(database), database.engine.dialect.do_commit

    def reached(connection: Any) -> None:
        if next(points) == point:
            break_off(connection)

    def do_commit(connection: Any) -> None:
        reached(connection)
        commit(connection)
        reached(connection)

    database.engine.dialect.do_commit = do_commit  # type: ignore[method-assign]  # no event comes after a COMMIT
    if database.engine.dialect.name == "postgresql":  # on SQLite the file is there or it is not
        event.listen(
            database.engine,
            "after_cursor_execute",
            lambda connection, *_: reached(connection.connection.dbapi_connection),
        )
    return points


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_connection_lost_at_any_moment_leaves_the_operation_done_exactly_once(places, filled, operation):
    """Before each statement's answer, before COMMIT, and after COMMIT before its acknowledgement."""
    template = arranged(places, filled, operation)
    _, after, result = unharmed(places, template, operation)
    for point in itertools.count(1):
        storage = places.new(template)
        database, study = opened(storage)
        chosen = OPERATIONS[operation]
        held = claim(study, chosen.worker) if chosen.worker else None
        points = lose(database, point)
        again = chosen.run(study, held)
        reached = next(points) > point
        assert without(snapshot(database), BEATS) == without(after, BEATS)
        assert again == result
        database.close()
        places.drop(storage)
        if not reached:
            break
    assert point > 2
    places.drop(template)


def without(everything: dict[str, list[dict[str, Any]]], columns: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: sorted(
            ({column: value for column, value in row.items() if column not in columns} for row in rows), key=repr
        )
        for name, rows in everything.items()
    }
