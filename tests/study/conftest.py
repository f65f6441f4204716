"""A real study of the packaged digits in a real SQLite file, and proposals for it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nasmod.space import Space, SpaceFile
from nasmod.study import Database, Proposal, StoredStudy, candidate_key, create_or_join, read
from nasmod.study import candidates as protocol
from nasmod.study.candidates import Claim
from nasmod.study.projection import with_json

INPUTS, OUTPUTS = {"x": (1, 8, 8)}, {"y": (10,)}
RESULT = {"measures": {"flops": 100.0, "skill": 0.5, "accuracy": 0.6}, "standard_errors": {"skill": 0.1}, "score": 0.5}


@pytest.fixture
def study(tmp_path: Path) -> Iterator[StoredStudy]:
    database = Database.create(str(tmp_path / "a.db"))
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
