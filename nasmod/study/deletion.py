"""Deleting a study: its rows, its files and its Optuna study in one transaction; then the space is given back."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence

from sqlalchemy import Connection, delete, exc, select, text

from nasmod.errors import ArtifactError, StudyError
from nasmod.study import files, processes, projection
from nasmod.study.database import Database
from nasmod.study.overview import silent
from nasmod.study.processes import Seen
from nasmod.study.stored import StoredStudy
from nasmod.study.tables import artifacts, candidates, chunks, metadata, optuna_studies, rungs, studies
from nasmod.study.tables import processes as process_table
from nasmod.study.watch import LEASE_SECONDS

RETRY_SECONDS = 60.0  # who deletes crosses who trains: one of two that wait for each other is tried again

log = logging.getLogger("nasmod.database")


def alive(stored: StoredStudy, lease_seconds: float = LEASE_SECONDS) -> list[Seen]:
    """The processes at work on a study that gave a sign of life within a lease."""
    return [seen for seen in processes.at_work(stored.database, stored.id) if not silent(seen, lease_seconds)]


def delete_study(stored: StoredStudy, *, force: bool = False) -> None:
    """Forget a study for good; every other study of the database stays as it is.

    Refused with a `StudyError` while processes are at work on it, and with an `ArtifactError` where its files outside
    the database are out of reach, unless `force`: those processes lose what they hold and end, those files stay.
    """
    at_work = alive(stored)
    if at_work and not force:
        machines = sorted({seen.process.machine for seen in at_work})
        count = "1 process is" if len(at_work) == 1 else f"{len(at_work)} processes are"
        raise StudyError(
            f"{count} at work on '{stored.name}' (on {', '.join(machines)}): stop it first with "
            f"'nasmod stop {stored.name}', or delete it with --force."
        )

    try:
        files.remove_all(stored.database, stored.id, stored.artifacts)
    except ArtifactError as error:
        if not force:
            raise
        log.warning("files of the deleted study stay: %s", error)

    def work(connection: Connection) -> Sequence[str]:
        row = connection.execute(select(studies).where(studies.c.id == stored.id).with_for_update()).first()
        if row is None:
            return []
        mine = select(candidates.c.id).where(candidates.c.study == stored.id)
        # whoever is just writing about a candidate ends first; who comes later finds its claim gone
        connection.execute(mine.where(candidates.c.state == "running").with_for_update()).all()
        written = connection.scalars(select(artifacts.c.id).where(artifacts.c.study == stored.id)).all()
        for table in (rungs, chunks, artifacts):
            connection.execute(delete(table).where(table.c.candidate.in_(mine)))
        connection.execute(delete(candidates).where(candidates.c.study == stored.id))
        connection.execute(delete(process_table).where(process_table.c.study == stored.id))
        connection.execute(delete(studies).where(studies.c.id == stored.id))
        projection.delete_study(connection, row.optuna_study)
        return written

    stored.database.retry_seconds = RETRY_SECONDS
    written = stored.database.transact(work)
    if stored.artifacts is not None:  # what a process that was at work all the same wrote meanwhile
        files.discard(stored.artifacts, written)
    give_back_space(stored.database)


def give_back_space(database: Database) -> bool:
    """Give the space of deleted rows back to the disk, or to the tables where others use them; False if refused.

    PostgreSQL's plain VACUUM locks nobody out: rows at the end of a table are cut off, other space is used again.
    """
    try:
        # outside any transaction, as VACUUM demands
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if database.path is not None:
                raw = connection.connection.dbapi_connection
                assert isinstance(raw, sqlite3.Connection)
                raw.execute("VACUUM")
                raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            else:
                for table in [*metadata.sorted_tables, *optuna_studies.metadata.sorted_tables]:
                    connection.execute(text(f"VACUUM {table.name}"))
    except (exc.DBAPIError, sqlite3.Error) as error:  # a full disk, a lock: the study is gone all the same
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        log.warning("the space of the deleted study was not given back: %s", said)
        return False
    return True
