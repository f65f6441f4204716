"""What is wrong with a database is found, named and nothing else: the database is as it was."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy import insert, make_url, text, update

from nasmod.doctor import folder
from nasmod.errors import StorageError
from nasmod.study import Database, StoredStudy, candidates, processes, recovery
from nasmod.study.inspection import Check, inspect_database
from nasmod.study.processes import Process
from nasmod.study.tables import candidates as table
from nasmod.study.tables import optuna_trials, schema
from tests.study.conftest import RESULT
from tests.study.test_deletion import contents


def checks(storage: str, workers: int = 2) -> dict[str, Check]:
    """Each check by its name; of several the worst."""
    levels = ["ok", "warning", "wrong"]
    found = sorted(inspect_database(storage, workers), key=lambda check: levels.index(check.level))
    return {check.name: check for check in found}


def not_ok(storage: str) -> list[Check]:
    return [check for check in inspect_database(storage, 2) if check.level != "ok"]


@pytest.fixture
def busy(study, file_one, claim_one) -> StoredStudy:
    """A study with a candidate in every state, tried again included, and a living worker."""
    for _ in range(5):
        file_one()
    file_one("reference")
    broken = claim_one("a:1")
    candidates.fail(study.database, broken, "ValueError: no")
    recovery.retry(study.database, study.id)
    again = claim_one("a:1")
    candidates.finish(study.database, again, RESULT, [0.5])
    stopped = claim_one("a:1")
    candidates.finish(study.database, stopped, RESULT, [0.5], stopped="under the cut", fraction_left=0.5)
    back = claim_one("a:1")
    candidates.hand_back(study.database, back, [], None)
    assert claim_one("a:1") is not None
    processes.sign_of_life(study.database, study.id, Process.this("worker", "a:1"))
    return study


def test_a_sound_study_has_nothing_to_mend_and_looking_changes_nothing(busy, storage):
    before = contents(busy.database)
    assert not_ok(storage) == []
    found = checks(storage)
    assert "in step" in found["study digits"].says or "1 processes" in found["study digits"].says
    assert contents(busy.database) == before


BROKEN: dict[str, tuple[Callable[[Database], sqlalchemy.Update], str]] = {
    "a trial in another state": (
        lambda _: update(optuna_trials).where(optuna_trials.c.number == 1).values(state=TrialState.FAIL),
        "#1 is finished, its trial FAIL",
    ),
    "a trial that runs without its candidate": (
        lambda _: update(table).where(table.c.number == 3).values(state="queued"),
        "#3 is queued, its trial RUNNING",
    ),
    "a trial of another number": (
        lambda _: update(table).where(table.c.number == 1).values(number=7),
        "is #7, its trial 1",
    ),
    "a candidate without its trial": (
        lambda _: update(table).where(table.c.number == 1).values(trial=None),
        "is finished and has no Optuna trial",
    ),
    "a trial of nobody": (
        lambda _: update(table).where(table.c.number == 1).values(trial=None),
        "trial 1 is COMPLETE and belongs to no candidate",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
def test_candidates_and_trials_out_of_step_are_named(busy, storage, how):
    break_it, says = BROKEN[how]
    busy.database.transact(lambda connection: connection.execute(break_it(busy.database)))
    wrong = not_ok(storage)
    assert [check.level for check in wrong][:1] == ["wrong"]
    assert says in wrong[0].says
    assert wrong[0].mend


def test_of_many_mismatches_a_few_are_named_and_the_rest_counted(study, file_one, storage):
    for _ in range(8):
        file_one()
    study.database.transact(lambda connection: connection.execute(update(table).values(state="running")))
    (wrong, orphans) = not_ok(storage)
    assert wrong.says.count("has no Optuna trial") == 5
    assert wrong.says.endswith("; and 3 more")
    assert (orphans.level, "8 of 8" in orphans.says) == ("warning", True)
    assert "nasmod resume digits" in str(orphans.mend)


def test_a_storage_without_studies_is_in_order(storage, tmp_path):
    if "://" in storage:
        found = checks(storage)
        assert {check.level for check in found.values()} == {"ok"}
        assert "nasmod_schema" not in sqlalchemy_tables(storage)
    else:
        assert [check.level for check in inspect_database(storage, 2)] == ["ok"]
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["folder", "/dev/null", "/proc/a.db", "text.txt/a.db", "link.db", f"{'a' * 250}.db"])
def test_where_no_database_can_be_made_is_wrong_as_a_start_is_refused(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("text.txt").write_text("text")
    Path("link.db").symlink_to("nowhere/a.db")
    before = sorted(tmp_path.rglob("*"))
    (found,) = inspect_database(place, 2)
    assert (found.level, Path(place).name in found.says, found.mend is not None) == ("wrong", True, True)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(StorageError):
        Database.create(place)


@pytest.mark.parametrize("made", ["", "CREATE TABLE another (id INTEGER)"])
def test_a_file_without_our_tables_is_wrong_as_a_start_is_refused_and_is_left_alone(tmp_path, made):
    path = tmp_path / "a.db"
    path.touch()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(made)
    before = path.read_bytes()
    wrong = checks(str(path))["schema"]
    assert (wrong.level, "holds no nasmod studies" in wrong.says) == ("wrong", True)
    assert path.read_bytes() == before
    with pytest.raises(StorageError, match="holds no nasmod studies"):
        Database.create(str(path))


def sqlalchemy_tables(storage: str) -> list[str]:
    engine = sqlalchemy.create_engine(storage)
    try:
        return sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


@pytest.mark.parametrize(("version", "level"), [(1, "ok"), (99, "wrong")])
def test_the_schema_is_told_and_not_upgraded(study, storage, version, level):
    study.database.transact(lambda connection: connection.execute(update(schema).values(version=version)))
    found = checks(storage)["schema"]
    assert (found.level, f"version {version}" in found.says) == (level, True)
    assert study.database.read(lambda connection: connection.scalar(sqlalchemy.select(schema.c.version))) == version


def test_a_damaged_file_is_seen(busy, storage):
    if "://" in storage:
        pytest.skip("of SQLite alone")
    busy.database.transact(
        lambda connection: connection.execute(insert(table), [row_of(busy, index) for index in range(300)])
    )
    busy.database.close()
    content = bytearray(Path(storage).read_bytes())
    for offset in range(20_000, len(content) - 1000, 4096):
        content[offset : offset + 64] = random.Random(0).randbytes(64)
    Path(storage).write_bytes(content)
    assert any(check.level == "wrong" for check in inspect_database(storage, 2))


def row_of(study: StoredStudy, index: int) -> dict[str, object]:
    common = {"study": study.id, "key": f"{index:064d}", "role": "search", "state": "queued"}
    return {**common, "proposal": "{}" + " " * 3000, "curve": "[]"}


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("mysql://a@b/c", "SQLite or PostgreSQL"),
        ("postgresql+psycopg://nobody:secret@127.0.0.1:9/none", "cannot be used"),
        ("text.db", "not an SQLite database"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_wrong_line_without_a_password(tmp_path, monkeypatch, storage, says):
    monkeypatch.chdir(tmp_path)
    Path("text.db").write_text("no database at all, but a good deal longer than the header of one " * 9)
    (found,) = inspect_database(storage, 2)
    assert (found.level, says in found.says, "secret" in found.says) == ("wrong", True, False)


def test_a_file_on_a_network_file_system_is_wrong(tmp_path, monkeypatch):
    table = tmp_path / "mountinfo"
    table.write_text("1 0 8:1 / / rw - nfs4 server:/ rw\n")
    monkeypatch.setattr("nasmod.study.mounts.MOUNTS", table)
    (found,) = inspect_database(str(tmp_path / "a.db"), 2)
    assert (found.level, "nfs4" in found.says) == ("wrong", True)
    assert [check.level for check in folder(tmp_path / "runs")] == ["warning"]


@pytest.mark.slow
def test_rights_and_connections_of_a_user_who_has_few(empty_postgresql):
    database = Database.create(empty_postgresql)
    name = f"reader_{database.engine.url.database}"

    def grant(connection: sqlalchemy.Connection) -> None:
        connection.execute(text(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 2"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"))

    database.transact(grant)
    storage = make_url(empty_postgresql).set(username=name).render_as_string(hide_password=False)
    found = checks(storage, workers=2)
    assert found["rights"].level == "wrong"
    assert "permission denied" in found["rights"].says
    assert "GRANT" in str(found["rights"].mend)
    assert found["connections"].level == "wrong"  # two workers and their supervisor
    assert "max_connections" in str(found["connections"].mend)
    every = f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {name}"
    database.transact(lambda connection: connection.execute(text(every)))
    found = checks(storage, workers=1)
    assert (found["rights"].level, found["connections"].level) == ("warning", "ok")  # no new tables: an upgrade asks
    assert checks(empty_postgresql, workers=500)["connections"].level == "wrong"
    database.close()
