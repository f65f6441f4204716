"""A process killed after every single SQL statement and before every COMMIT, and connections lost there."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from nasmod.study import Database, open_study, processes
from tests.study.invariants import violations
from tests.study.operations import OPERATIONS, PROCESS, claim, fill, make, propose, recover, snapshot
from tests.study.places import Places, cut, opened

ROOT = Path(__file__).parents[2]
BEATS = frozenset({"beat", "controller_beat"})  # a sign of life more is harmless
QUICK = {"propose", "claim what is new", "report at a rung, with a checkpoint", "finish", "pause", "promote", "sweep"}
EACH = [
    pytest.param(operation, marks=() if operation in QUICK else pytest.mark.slow, id=operation)
    for operation in OPERATIONS
]


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


def unharmed(places: Places, template: str, operation: str) -> tuple[Any, Any, Any]:
    """What the database holds before and after the operation, and what it returned."""
    storage = places.new(template)
    database, study = opened(storage)
    chosen = OPERATIONS[operation]
    before = snapshot(database)
    result = chosen.run(study, claim(study, chosen.worker) if chosen.worker else None)
    after = snapshot(database)
    database.close()
    return before, after, result


@pytest.mark.parametrize("operation", EACH)
def test_a_kill_after_every_statement_leaves_all_or_nothing_and_is_recovered(places, filled, kill, operation):
    template = arranged(places, filled, operation)
    before, after, _ = unharmed(places, template, operation)
    recovered, storage = [], places.new(template)
    for point in itertools.count(1):
        places.again(storage, template)
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
        if not died:
            break
    assert point > 2  # the points were counted


@pytest.mark.parametrize(
    "places",
    [pytest.param("postgresql", marks=pytest.mark.slow), pytest.param("sqlite", marks=pytest.mark.soak)],
    indirect=True,
)
def test_a_kill_at_every_statement_of_a_creation_leaves_what_the_next_process_completes(places, kill):
    storage = places.new()
    for point in itertools.count(1):
        places.again(storage)
        died = kill(storage, "create", point)
        database = Database.create(storage)
        study = make(database)
        assert propose(study, 0, 0)
        assert claim(study, "first").number == 0
        assert violations(study) == []
        database.close()
        if not died:
            break
    assert point > 20


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
            lambda connection, *_: reached(connection.connection),
        )
    return points


@pytest.mark.parametrize("operation", EACH)
def test_a_connection_lost_at_any_moment_leaves_the_operation_done_exactly_once(places, filled, operation):
    """Before each statement's answer, before COMMIT, and after COMMIT before its acknowledgement."""
    template = arranged(places, filled, operation)
    _, after, result = unharmed(places, template, operation)
    storage = places.new(template)
    for point in itertools.count(1):
        places.again(storage, template)
        database, study = opened(storage)
        chosen = OPERATIONS[operation]
        held = claim(study, chosen.worker) if chosen.worker else None
        points = lose(database, point)
        again = chosen.run(study, held)
        reached = next(points) > point
        assert without(snapshot(database), BEATS) == without(after, BEATS)
        assert again == result
        database.close()
        if not reached:
            break
    assert point > 2


def without(everything: dict[str, list[dict[str, Any]]], columns: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: sorted(
            ({column: value for column, value in row.items() if column not in columns} for row in rows), key=repr
        )
        for name, rows in everything.items()
    }
