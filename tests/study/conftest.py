"""A real study of the packaged digits in a real SQLite file or a real PostgreSQL, and proposals for it."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from sqlalchemy import make_url

from nasmod.space import Space, SpaceFile
from nasmod.study import Database, Proposal, StoredStudy, candidate_key, create_or_join, read
from nasmod.study import candidates as protocol
from nasmod.study.candidates import Claim
from nasmod.study.projection import with_json
from tests.postgresql import binaries, server

INPUTS, OUTPUTS = {"x": (1, 8, 8)}, {"y": (10,)}
RESULT = {"measures": {"flops": 100.0, "skill": 0.5, "accuracy": 0.6}, "standard_errors": {"skill": 0.1}, "score": 0.5}


def trials_of(database: Database) -> list[optuna.trial.FrozenTrial]:
    """The trials as an Optuna user sees them."""
    storage = optuna.storages.RDBStorage(database.url)
    try:
        return optuna.load_study(study_name="digits", storage=storage).trials
    finally:
        storage.engine.dispose()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server for this session's tests."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here; CI installs it")
    with server() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a study may lie: a new file, or a new database of the server."""
    if request.param == "sqlite":
        return str(tmp_path / "a.db")
    return str(request.getfixturevalue("empty_postgresql"))


@pytest.fixture
def empty_postgresql(postgresql: str) -> str:
    """The URL of a new database of the server."""
    url = make_url(postgresql)
    name = f"test_{uuid.uuid4().hex}"
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def study(storage: str) -> Iterator[StoredStudy]:
    database = Database.create(storage)
    yield create_or_join(database, read("digits", trials=3), "f" * 64, {"nasmod": "0"})
    database.close()


@pytest.fixture
def space(study: StoredStudy) -> Space:
    return Space(SpaceFile.from_table(study.study.space), INPUTS, OUTPUTS)


@pytest.fixture
def file_one(study: StoredStudy, space: Space) -> Callable[..., str]:
    """File a random proposal; returns its key."""
    generator = random.Random(0)

    def file(role: str = "search") -> str:
        for _ in itertools.count():
            topology, settings = space.random(generator)
            proposal = Proposal(topology, settings, None, {"strategy": "random", "reference": "monolith"})
            key = candidate_key(topology, settings)
            if protocol.propose(study.database, study.id, key, proposal, space.encode(topology, settings), role):
                return key
        raise AssertionError

    return file


@pytest.fixture
def claim_one(study: StoredStudy, space: Space) -> Callable[[str], Claim | None]:
    """Claim for a worker of this name."""
    distributions = with_json(space.parameters())
    return lambda worker: protocol.claim(study.database, study.id, worker, distributions)
