"""Deleting a study: everything of it goes, nothing of any other, and nobody who held a piece of it writes again."""

from __future__ import annotations

import random

import pytest
from sqlalchemy import func, select

from nasmod.errors import NasmodError, StudyError
from nasmod.space import Space
from nasmod.study import (
    Database,
    Proposal,
    RungResult,
    StoredStudy,
    candidate_key,
    candidates,
    create_or_join,
    deletion,
    files,
    processes,
    read,
    stored,
    tables,
)
from nasmod.study.candidates import Claim, ClaimLost
from nasmod.study.processes import Process
from nasmod.study.projection import with_json
from tests.study.conftest import RESULT, trials_of

TABLES = [*tables.metadata.sorted_tables, *tables.optuna_studies.metadata.sorted_tables]


def contents(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table."""
    return {
        table.name: sorted(map(tuple, database.read(lambda c, t=table: c.execute(select(t)).all())), key=repr)
        for table in TABLES
    }


def fill(study: StoredStudy, space: Space, seed: int = 0) -> Claim:
    """One candidate finished with weights, one failed, one running with a checkpoint and a rung, one queued."""
    generator = random.Random(seed)
    for _ in range(4):
        file_into(study, space, generator)
    distributions = with_json(space.parameters())

    def claim() -> Claim:
        held = candidates.claim(study.database, study.id, f"{study.name}:1", distributions)
        assert held is not None
        return held

    candidates.finish(study.database, claim(), RESULT, [0.5], weights=b"weights")
    candidates.fail(study.database, claim(), "ValueError: no")
    held = claim()
    point = {"epoch": 1.0, "validation_accuracy": 0.5}
    candidates.report(study.database, held, [point], 0.4, RungResult(1, 0.4), b"checkpoint")
    processes.sign_of_life(study.database, study.id, Process.this("worker", f"{study.name}:1"))
    return held


def file_into(study: StoredStudy, space: Space, generator: random.Random) -> None:
    while True:
        topology, settings = space.random(generator)
        proposal = Proposal(topology, settings, None, {"strategy": "random"})
        key = candidate_key(topology, settings)
        if candidates.propose(study.database, study.id, key, proposal, space.encode(topology, settings)):
            return


def test_another_study_of_the_database_stays_as_it_is(study, space):
    fill(study, space)
    before = contents(study.database)
    other = create_or_join(study.database, read("digits", name="other", trials=3), "f" * 64, {"nasmod": "0"})
    fill(other, space)
    deletion.delete_study(other, force=True)
    assert contents(study.database) == before
    assert stored.names(study.database) == ["digits"]
    assert len(trials_of(study.database)) == 3


def test_the_space_of_a_large_study_is_given_back(study, file_one):
    file_one()

    def write(connection) -> None:
        files.write(
            connection, connection.scalar(select(tables.candidates.c.id)), "weights", random.randbytes(20 << 20)
        )

    study.database.transact(write)

    def pages(connection) -> int:
        if connection.dialect.name == "sqlite":
            return connection.exec_driver_sql("PRAGMA page_count").scalar() * 4096
        return connection.exec_driver_sql("SELECT pg_total_relation_size('file_chunks')").scalar()

    assert study.database.read(pages) > 20_000_000
    deletion.delete_study(study)
    assert study.database.read(pages) < 1_000_000


def test_a_study_that_processes_are_at_work_on_is_deleted_by_force_alone(study, space):
    fill(study, space)
    before = contents(study.database)
    with pytest.raises(StudyError, match=r"1 process is at work on 'digits' .*nasmod stop digits.*--force"):
        deletion.delete_study(study)
    assert contents(study.database) == before
    deletion.delete_study(study, force=True)
    assert stored.names(study.database) == []


def test_processes_that_left_or_fell_silent_do_not_keep_a_study(study, space):
    fill(study, space)
    later = {"seen": tables.processes.c.seen - 60.0}
    study.database.transact(lambda connection: connection.execute(tables.processes.update().values(later)))
    deletion.delete_study(study)
    assert stored.names(study.database) == []


def test_who_held_a_candidate_of_it_can_write_nothing_into_its_successor(study, space):
    """SQLite gives the ids of deleted rows away again: the fence must not depend on them alone."""
    held = fill(study, space)
    deletion.delete_study(study, force=True)
    again = create_or_join(study.database, read("digits", trials=3), "f" * 64, {"nasmod": "0"})
    assert again.id != study.id
    distributions = with_json(space.parameters())
    file_into(again, space, random.Random(5))
    claimed = candidates.claim(again.database, again.id, "b:2", distributions)
    assert claimed is not None
    stale = held.__class__(**{**vars(held), "id": claimed.id, "token": claimed.token})
    for write in (
        lambda: candidates.report(study.database, stale, [{"epoch": 1.0}], 0.1),
        lambda: candidates.report(study.database, stale, [{"epoch": 1.0}], 0.1, None, b"checkpoint"),
        lambda: candidates.finish(study.database, stale, RESULT, [0.5], weights=b"weights"),
        lambda: candidates.fail(study.database, stale, "no"),
        lambda: candidates.hand_back(study.database, stale, [], None),
        lambda: processes.sign_of_life(study.database, study.id, Process.this("worker"), stale),
    ):
        before = contents(study.database)
        with pytest.raises(ClaimLost):
            write()
        assert contents(study.database) == before


def test_whoever_is_at_work_on_a_deleted_study_hears_so(study, space):
    held = fill(study, space)
    deletion.delete_study(study, force=True)
    for ask in (
        lambda: stored.status(study),
        lambda: stored.lease(study),
        lambda: stored.stop(study),
        lambda: stored.raise_budget(study, 10, None),
        lambda: candidates.claim(study.database, study.id, "a:1", {}),
    ):
        with pytest.raises(NasmodError, match="was deleted meanwhile"):
            ask()
    for write in (
        lambda: candidates.finish(study.database, held, RESULT, [0.5], weights=b"weights"),
        lambda: candidates.fail(study.database, held, "no"),
        lambda: candidates.hand_back(study.database, held, [], None),
    ):
        with pytest.raises(ClaimLost):
            write()
    assert processes.sign_of_life(study.database, study.id, Process.this("worker")) == "gone"
    count = select(func.count()).select_from(tables.processes)
    assert study.database.read(lambda connection: connection.scalar(count)) == 0
    deletion.delete_study(study)  # and again: nothing is left to do
