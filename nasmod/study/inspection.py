"""What can be wrong with a database of studies, and what to mend. It changes nothing, and upgrades nothing."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import TrialState
from sqlalchemy import Connection, delete, false, inspect, select, text, update

from nasmod.errors import NasmodError
from nasmod.study import files, processes, tables
from nasmod.study.database import Database
from nasmod.study.mounts import refuse_network
from nasmod.study.overview import silent
from nasmod.study.record import TRAINED
from nasmod.study.tables import candidates, optuna_trials, studies
from nasmod.study.url import sqlite_path, storage_url

Level = Literal["ok", "warning", "wrong"]

OLDEST_SQLITE = (3, 35, 0)  # UPDATE ... RETURNING
OLDEST_POSTGRESQL = 13  # the oldest still cared for
LARGE_WAL_BYTES = 1 << 30
NAMED = 5  # of many mismatches
PROJECTED = {
    "queued": {TrialState.WAITING},
    "running": {TrialState.RUNNING},
    "paused": {TrialState.WAITING},
    "finished": {TrialState.COMPLETE},
    "stopped": {TrialState.PRUNED, TrialState.COMPLETE},  # Optuna knows no PRUNED with several directions
    "failed": {TrialState.FAIL},
}


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to mend."""

    name: str
    level: Level
    says: str
    mend: str | None = None


def inspect_database(storage: str, workers: int) -> Iterator[Check]:
    """Every check of a database, for so many planned workers; what needs a table that is not there is left out."""
    try:
        path = sqlite_path(storage_url(storage))
        if path is not None:
            refuse_network(path)
        if path is not None and (found := no_file(path)):
            yield found
            return
        database = Database.unchecked(storage)
        with database.at_once():
            yield server(database)
            yield from _inspect(database, workers)
        database.close()
    except NasmodError as error:
        yield Check("database", "wrong", str(error), "see that it is running, reached from here, and the one you mean")


def no_file(path: Path) -> Check | None:
    """Whether `nasmod start` could make a database where no file is: tried, and undone. None where there is one."""
    mend = "name the path of a file, in a folder you may write to, with --storage or NASMOD_STORAGE"
    try:
        if path.is_file():
            return None
        if path.exists() or path.is_symlink():
            return Check("database", "wrong", f"'{path}' is {'a folder' if path.is_dir() else 'no file'}", mend)
        there = next(folder for folder in path.parents if folder.exists())
        with tempfile.NamedTemporaryFile(prefix=f".{path.name}.", suffix=".part", dir=there):  # as it is made
            pass
    except OSError as error:
        return Check("database", "wrong", f"'{path}' can neither be opened nor made: {error.strerror}", mend)
    return Check("database", "ok", f"none at '{path}' yet; `nasmod start` makes it")


def _inspect(database: Database, workers: int) -> Iterator[Check]:
    ours = database.read(lambda connection: inspect(connection).has_table(tables.schema.name))
    if not ours and database.path is not None:  # `nasmod start` makes its tables on a server, and in no file it finds
        mend = "name another file with --storage or NASMOD_STORAGE; if it is empty, remove it"
        yield Check("schema", "wrong", f"'{database.shown}' holds no nasmod studies", mend)
        return
    wanted: list[tuple[str, Callable[[], Check]]] = [("rights", partial(rights, database, ours))]
    if database.path is not None:
        wanted += [("soundness", partial(soundness, database)), ("log file", partial(write_ahead_log, database))]
    else:
        wanted += [("encoding", partial(encoding, database))]
        wanted += [("connections", partial(connections, database, workers, ours))]
    if ours:
        wanted += [("schema", partial(schema_version, database)), ("Optuna's schema", partial(optuna_schema, database))]
    for name, check in wanted:
        try:
            yield check()
        except NasmodError as error:  # one check that cannot be made leaves the others
            yield Check(name, "wrong", str(error), "see the server's message")
    if ours and _version(database) == tables.SCHEMA_VERSION:
        wanted_of = (studies.c.id, studies.c.name, studies.c.optuna_study, studies.c.artifacts)
        every = select(*wanted_of).order_by(studies.c.name)
        for row in database.read(lambda connection: connection.execute(every).all()):
            yield in_step(database, row.id, row.name, row.optuna_study)
            yield held_by_the_living(database, row.id, row.name)
            if row.artifacts is not None:
                yield files_in_reach(database, row.id, row.name, row.artifacts)


def files_in_reach(database: Database, study: int, name: str, place: str) -> Check:
    """Whether this machine can write and read a study's files outside the database: tried, and removed."""
    try:
        files.check(database, study, place)
    except NasmodError as error:
        mend = "mount the folder, or set what S3 needs in the environment (AWS_…), on every machine"
        return Check(f"files of {name}", "wrong", str(error), mend)
    return Check(f"files of {name}", "ok", f"can be written to and read from '{place}'")


def server(database: Database) -> Check:
    """Whether the database answers, and whether it is new enough."""
    if database.path is not None:
        found = database.read(lambda connection: connection.scalar(text("SELECT sqlite_version()")))
        says = f"SQLite {found}, {database.shown}"
        if tuple(int(part) for part in str(found).split(".")) < OLDEST_SQLITE:
            oldest = ".".join(map(str, OLDEST_SQLITE))
            return Check("database", "wrong", says, f"SQLite {oldest} or newer: a newer Python brings it")
        return Check("database", "ok", says)
    version = database.read(lambda connection: connection.scalar(text("SHOW server_version_num")))
    major = int(str(version)) // 10_000
    says = f"PostgreSQL {major}, {database.shown}"
    if major < OLDEST_POSTGRESQL:
        return Check("database", "warning", says, f"PostgreSQL {OLDEST_POSTGRESQL} or newer is what is tested")
    return Check("database", "ok", says)


def encoding(database: Database) -> Check:
    """Whether every text can be stored."""
    found = database.read(lambda connection: connection.scalar(text("SHOW server_encoding")))
    if found != "UTF8":
        return Check("encoding", "wrong", str(found), "make a database with ENCODING 'UTF8' TEMPLATE template0")
    return Check("encoding", "ok", "UTF8")


def rights(database: Database, ours: bool) -> Check:
    """Whether tables can be made and rows be written: tried, and undone."""
    try:
        database.transact(_write_everywhere if ours else _make_a_table)
    except NasmodError as error:
        mend = "GRANT the user SELECT, INSERT, UPDATE and DELETE on the tables" if ours else "GRANT the user CREATE"
        return Check("rights", "wrong", str(error), mend)
    try:
        database.transact(_make_a_table)
    except NasmodError as error:
        return Check("rights", "warning", str(error), "rows can be written; only an upgrade of nasmod makes tables")
    return Check("rights", "ok", "tables can be made and rows be written")


def _make_a_table(connection: Connection) -> None:
    undone = connection.begin_nested()
    connection.execute(text(f"CREATE TABLE nasmod_doctor_{uuid.uuid4().hex} (id INTEGER)"))
    undone.rollback()


def _write_everywhere(connection: Connection) -> None:
    undone = connection.begin_nested()
    for table in [*tables.metadata.sorted_tables, optuna_trials]:
        column = next(iter(table.c))
        connection.execute(update(table).where(false()).values({column: column}))
        connection.execute(table.insert().from_select([column], select(column).where(false())))
        connection.execute(delete(table).where(false()))
    undone.rollback()


def connections(database: Database, workers: int, ours: bool) -> Check:
    """Whether the server admits a connection for each planned worker and a supervisor."""

    def work(connection: Connection) -> tuple[int, int, int]:
        def number(query: str) -> int:
            return int(connection.scalar(text(query)) or 0)

        used = number("SELECT sum(numbackends) FROM pg_stat_database")
        reserved = number("SELECT current_setting('superuser_reserved_connections')")
        reserved += number("SELECT coalesce(current_setting('reserved_connections', true), '0')")
        most = number("SELECT current_setting('max_connections')")
        left = [most - reserved - used]
        user, place = "usename = current_user", "datname = current_database()"
        if (limit := number("SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user")) >= 0:
            left.append(limit - number(f"SELECT count(*) FROM pg_stat_activity WHERE {user}"))
        if (limit := number(f"SELECT datconnlimit FROM pg_database WHERE {place}")) >= 0:
            left.append(limit - number(f"SELECT numbackends FROM pg_stat_database WHERE {place}"))
        registered = number("SELECT count(*) FROM nasmod_processes") if ours else 0
        return max(0, min(left) + 1) + registered, registered, most  # one is this very connection

    room, registered, most = database.read(work)
    needed = max(workers + 1, registered)
    says = (
        f"room for {room} of nasmod, {needed} wanted (a worker one, and one a machine), {registered} at work; "
        f"max_connections is {most}"
    )
    if room < needed:
        mend = f"raise max_connections (or the user's or database's limit) by {needed - room}, or plan fewer workers"
        return Check("connections", "wrong", says, mend)
    return Check("connections", "ok", says)


def soundness(database: Database) -> Check:
    """SQLite's own quick look at the whole file."""
    found = database.read(lambda connection: connection.scalars(text("PRAGMA quick_check(1)")).all())
    if list(found) != ["ok"]:
        return Check(
            "soundness", "wrong", str(found[0]), "restore a copy, or save what can be read with sqlite3 .recover"
        )
    return Check("soundness", "ok", "the file is whole")


def write_ahead_log(database: Database) -> Check:
    """How much of the database stands in its write-ahead log."""
    path = database.path
    assert path is not None
    wal = path.with_name(f"{path.name}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    says = f"{size / 1e6:.1f} MB in the write-ahead log"
    if size > LARGE_WAL_BYTES:
        mend = "a program that keeps reading keeps it from being emptied: end it (a dashboard, an open sqlite3)"
        return Check("log file", "warning", says, mend)
    return Check("log file", "ok", says)


def schema_version(database: Database) -> Check:
    """Whether our tables are those of this nasmod."""
    version = _version(database)
    if version is None or version > tables.SCHEMA_VERSION:
        says = f"version {version}; this nasmod reads up to {tables.SCHEMA_VERSION}"
        return Check("schema", "wrong", says, "upgrade nasmod")
    if version < tables.SCHEMA_VERSION:
        return Check("schema", "ok", f"version {version}; the next command brings it to {tables.SCHEMA_VERSION}")
    return Check("schema", "ok", f"version {version}")


def optuna_schema(database: Database) -> Check:
    """Whether Optuna's tables are those of the Optuna that is installed."""
    database.close()  # the one connection of this process
    storage = optuna.storages.RDBStorage(database.url, skip_compatibility_check=True, skip_table_creation=True)
    try:
        found, wanted = storage.get_current_version(), storage.get_head_version()
    finally:
        storage.engine.dispose()
    if found != wanted:
        says = f"version {found}; the installed Optuna has {wanted}"
        return Check(
            "Optuna's schema", "wrong", says, "install the Optuna it was made with, or `optuna storage upgrade`"
        )
    return Check("Optuna's schema", "ok", f"version {found}")


def in_step(database: Database, study: int, name: str, optuna_study: int) -> Check:
    """Whether every claimed candidate has its Optuna trial in the matching state, and no trial runs without one."""
    mine = (candidates.c.study == study) & (candidates.c.role == "search")
    claimed = (
        select(
            candidates.c.id,
            candidates.c.number,
            candidates.c.state,
            optuna_trials.c.number.label("trial_number"),
            optuna_trials.c.state.label("trial_state"),
        )
        .outerjoin(
            optuna_trials,
            (optuna_trials.c.trial_id == candidates.c.trial) & (optuna_trials.c.study_id == optuna_study),
        )
        .where(mine, candidates.c.trial.is_not(None) | candidates.c.state.in_([*TRAINED, "running"]))
        .order_by(candidates.c.id)
    )
    of_candidates = select(candidates.c.trial).where(mine, candidates.c.trial.is_not(None))
    others = (
        select(optuna_trials.c.number, optuna_trials.c.state)
        .where(optuna_trials.c.study_id == optuna_study, optuna_trials.c.trial_id.not_in(of_candidates))
        .order_by(optuna_trials.c.number)
    )

    def work(connection: Connection) -> tuple[int, list[str]]:
        rows = connection.execute(claimed).all()
        wrong = [_mismatch(row) for row in rows]
        # a candidate that was tried again leaves its failed trial behind, and what a user enqueued through Optuna waits
        others_states = (TrialState.FAIL, TrialState.WAITING)
        foreign = [row for row in connection.execute(others).all() if row.state not in others_states]
        wrong += [f"trial {row.number} is {row.state.name} and belongs to no candidate" for row in foreign]
        return len(rows), [words for words in wrong if words is not None]

    count, wrong = database.read(work)
    if wrong:
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        mend = "nasmod's own tables hold what is true: ask, tell and edit its Optuna studies with nothing else"
        return Check(f"study {name}", "wrong", "; ".join(wrong[:NAMED]) + more, mend)
    return Check(f"study {name}", "ok", f"{count} candidates and their Optuna trials are in step")


def _mismatch(row: Any) -> str | None:
    if row.trial_state is None:
        return f"candidate {row.id} is {row.state} and has no Optuna trial"
    if row.number != row.trial_number:
        return f"candidate {row.id} is #{row.number}, its trial {row.trial_number}"
    if row.trial_state not in PROJECTED[row.state]:
        return f"#{row.number} is {row.state}, its trial {row.trial_state.name}"
    return None


def held_by_the_living(database: Database, study: int, name: str) -> Check:
    """Whether each running candidate is held by a process that shows signs of life."""
    alive = {seen.process.name for seen in processes.at_work(database, study) if not silent(seen)}
    query = select(candidates.c.worker).where(candidates.c.study == study, candidates.c.state == "running")
    holders = database.read(lambda connection: connection.scalars(query).all())
    orphans = sum(holder not in alive for holder in holders)
    if orphans:
        says = f"{orphans} of {len(holders)} running candidates are held by no living process"
        return Check(f"study {name}", "warning", says, f"nasmod resume {name} takes them back within a lease")
    return Check(f"study {name}", "ok", f"{len(alive)} processes at work, {len(holders)} candidates running")


def _version(database: Database) -> int | None:
    return database.read(lambda connection: connection.scalar(select(tables.schema.c.version)))
