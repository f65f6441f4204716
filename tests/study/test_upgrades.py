"""Databases of every older version are brought forward, on SQLite and PostgreSQL, by one of many at once."""

from __future__ import annotations

import multiprocessing
import random
import shutil
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from sqlalchemy import inspect, select

import nasmod
from nasmod.errors import StudyError
from nasmod.measures import Objective
from nasmod.space import Space, SpaceFile
from nasmod.study import (
    Database,
    Proposal,
    StoredStudy,
    candidate_key,
    candidates,
    open_study,
    recovery,
    status,
    tables,
)
from nasmod.study import records as reading
from nasmod.study.projection import with_json

OLD_FILES = sorted((Path(__file__).parent / "databases").glob("version_*.db"))
INPUTS, OUTPUTS = {"x": (1, 8, 8)}, {"y": (10,)}


def test_every_older_version_has_its_file():
    assert [path.stem for path in OLD_FILES] == [f"version_{number}" for number in range(1, tables.SCHEMA_VERSION)]
    assert sorted(tables.upgrades) == list(range(1, tables.SCHEMA_VERSION))


@pytest.fixture(params=OLD_FILES, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an old database file."""
    return Path(shutil.copy(request.param, tmp_path / "old.db"))


def schema_of(database: Database) -> dict[str, object]:
    """Tables, columns with their kind and nullability, and indexes, in no order."""
    inspector = inspect(database.engine)
    return {
        name: (
            {(column["name"], repr(column["type"]), column["nullable"]) for column in inspector.get_columns(name)},
            {(index["name"], tuple(index["column_names"])) for index in inspector.get_indexes(name)},
            {tuple(unique["column_names"]) for unique in inspector.get_unique_constraints(name)},
        )
        for name in inspector.get_table_names()
    }


def test_an_upgraded_database_has_the_schema_of_a_new_one(old: Path, tmp_path: Path):
    upgraded, new = Database.open(str(old)), Database.create(str(tmp_path / "new.db"))
    assert schema_of(upgraded) == schema_of(new)
    assert upgraded.read(lambda connection: connection.scalar(select(tables.schema.c.version))) == tables.SCHEMA_VERSION
    upgraded.close()
    new.close()


def test_nothing_is_lost_by_an_upgrade(old: Path):
    stored = open_study(Database.open(str(old)), "small", only_to_look=True)
    found = status(stored)
    assert (found.state, found.finished, found.stopped, found.failed, found.queued) == ("ended", 4, 1, 1, 1)
    assert (found.references, found.duplicates, found.budget) == (1, 1, 6)
    records = reading.read_records(stored)
    assert [len(record.curve) for record in records if record.state == "finished"] == [2] * 5
    best = reading.best(records, stored.study.objective)
    assert isinstance(stored.study.objective, Objective)
    assert best.score == max(
        record.score for record in records if record.state == "finished" and record.role == "search"
    )
    kept = [record for record in records if record.weights is not None]
    assert [len(reading.weights(stored, record)) > 1000 for record in kept] == [True]
    study = optuna.load_study(study_name="small", storage=f"sqlite:///{old}")
    assert len(study.trials) == 6
    stored.database.close()


def go_on(stored: StoredStudy) -> None:
    """File, claim, report and finish one more candidate."""
    space = Space(SpaceFile.from_table(stored.study.space), INPUTS, OUTPUTS)
    topology, settings = space.random(random.Random(99))
    key = candidate_key(topology, settings)
    assert candidates.propose(
        stored.database, stored.id, key, Proposal(topology, settings), space.encode(topology, settings)
    )
    assert recovery.retry(stored.database, stored.id) == 1  # the one that failed in the older version
    for _ in range(3):  # what was queued there, the failed one, the new one
        held = candidates.claim(stored.database, stored.id, "w", with_json(space.parameters()))
        assert held is not None
        candidates.report(stored.database, held, [{"epoch": 1.0}], 0.1, checkpoint=b"state")
        result = {"measures": {"flops": 10.0}, "standard_errors": {}, "score": 0.2}
        candidates.finish(stored.database, held, result, [0.2], weights=b"weights")


def test_an_upgraded_study_goes_on(old: Path):
    stored = open_study(Database.open(str(old)), "small", only_to_look=True)
    stored.database.transact(
        lambda connection: connection.execute(tables.studies.update().values(state="searching", trials=20))
    )
    go_on(stored)
    assert (status(stored).trained, status(stored).failed) == (8, 0)
    stored.database.close()


@pytest.mark.slow
def test_a_study_of_another_definition_can_be_looked_at_and_is_joined_by_nothing(old: Path, tmp_path: Path):
    """Its `modularity` is what `parallelism` is now: results of both would not compare."""
    study = nasmod.load("small", storage=old)
    assert study.top()
    assert study.status().trained == 5
    says = "measured by definition 1 of 'modularity', and this nasmod has definition 2"
    for joining in (
        lambda: nasmod.resume("small", storage=old),
        lambda: nasmod.start(study.study, storage=old),
        study.retry,
        lambda: study.rescore({"flops_weight": 0.1}),
    ):
        with pytest.raises(StudyError, match=says):
            joining()
    assert nasmod.load("small", storage=old).status() == study.status()
    study.export(tmp_path / "exported", next(r.key for r in study.records() if r.weights is not None))
    assert (tmp_path / "exported" / "model.py").is_file()


def _open(path: str, ready: multiprocessing.Event) -> None:
    ready.wait()
    Database.open(path).close()


def test_processes_that_open_an_old_database_at_once_upgrade_it_once(old: Path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    processes = [context.Process(target=_open, args=(str(old), ready)) for _ in range(3)]
    for process in processes:
        process.start()
    ready.set()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3


@pytest.mark.slow
def test_an_old_postgresql_is_upgraded_too(tmp_path: Path, empty_postgresql: str):
    """The first version's tables, made on the server from those of its file, with their rows."""
    engine = sqlalchemy.create_engine(f"sqlite:///{shutil.copy(OLD_FILES[0], tmp_path / 'old.db')}")
    server = sqlalchemy.create_engine(empty_postgresql)
    Database.create(empty_postgresql).close()  # Optuna's tables, whose types SQLite does not know
    ours = ["nasmod_schema", "nasmod_studies", "candidates", "rungs", "file_chunks"]
    with engine.connect() as source, server.begin() as target:
        for table in reversed(tables.metadata.sorted_tables):
            if table.name.startswith("nasmod") or table.name in (*ours, "artifacts"):
                table.drop(target)
        old_metadata = sqlalchemy.MetaData()
        old_metadata.reflect(engine, only=ours)
        for table in old_metadata.sorted_tables:
            for column in table.columns:
                column.autoincrement = column.name == "id"
                if isinstance(column.type, sqlalchemy.types.BLOB):
                    column.type = sqlalchemy.LargeBinary()
            table.create(target)
            if rows := source.execute(select(table)).all():
                target.execute(table.insert(), [row._asdict() for row in rows])
            if "id" in table.columns:
                target.execute(sqlalchemy.text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), 1000)"))
    engine.dispose()
    server.dispose()
    stored = open_study(Database.open(empty_postgresql), "small", only_to_look=True)
    assert status(stored).trained == 5
    assert stored.workers_per_device == 1
    assert stored.artifacts is None
    stored.database.close()
