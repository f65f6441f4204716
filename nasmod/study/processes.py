"""The processes at work on a study, as they lie in the database: who they are, and their signs of life.

Supervisors (one per `nasmod resume`) and their workers register, give a sign of life now and then, and leave. Nothing
depends on it but what a person is shown and how many proposals are kept ready: a worker that is missing here still
holds its claim.
"""

from __future__ import annotations

import os
import platform
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Float, delete, func, insert, select, update
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from nasmod.study import candidates as protocol
from nasmod.study.candidates import Claim
from nasmod.study.database import Database
from nasmod.study.tables import candidates, processes, studies

ProcessRole = Literal["supervisor", "worker"]


@dataclass(frozen=True)
class Process:
    """One process at work on a study. `name` is unique for ever: a new process never has an old one's."""

    name: str
    role: ProcessRole
    machine: str
    pid: int
    device: str | None = None
    log: str | None = None

    @classmethod
    def this(
        cls, role: ProcessRole, name: str | None = None, device: str | None = None, log: str | None = None
    ) -> Process:
        """The process that asks, under a new name or the one it was given."""
        return cls(name or new_name(), role, machine(), os.getpid(), device, log)


@dataclass(frozen=True)
class Seen:
    """A process as others see it: seconds since its last sign of life, and the candidate it trains, if any."""

    process: Process
    seconds: float  # between two moments of the database's clock
    candidate: int | None = None  # id
    number: int | None = None
    key: str | None = None
    candidate_role: str | None = None
    epoch: int = 0  # trained so far


def new_name() -> str:
    """A name that no process ever had."""
    return f"{machine()}:{uuid.uuid4().hex[:12]}"


def machine() -> str:
    """The name of this machine."""
    return platform.node() or "localhost"


class database_seconds(FunctionElement[float]):  # noqa: N801  # an SQL function
    """Seconds since the epoch by the database's clock."""

    type = Float()
    inherit_cache = True


@compiles(database_seconds, "sqlite")
def _sqlite_seconds(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(database_seconds, "postgresql")
def _postgresql_seconds(element: Any, compiler: Any, **options: Any) -> str:
    return "EXTRACT(EPOCH FROM clock_timestamp())::float"


def sign_of_life(database: Database, study: int, process: Process, held: Claim | None = None) -> str:
    """Say that a process lives, and that it holds its claim; returns the state of the study ("gone" if deleted).

    Registers the process if it is not. Raises `ClaimLost` when the candidate is another worker's now.
    """

    def work(connection: Connection) -> str:
        if held is not None:
            protocol.fence(connection, held)
        seen: ColumnElement[Any] = database_seconds()
        mine = (processes.c.study == study) & (processes.c.name == process.name)
        changed = connection.execute(update(processes).where(mine).values(beat=processes.c.beat + 1, seen=seen))
        # read after the update: that waited for whoever was deleting the study
        state = connection.scalar(select(studies.c.state).where(studies.c.id == study))
        if state is None:
            return "gone"
        if not changed.rowcount:
            connection.execute(insert(processes).values(study=study, seen=seen, **vars(process)))
        return str(state)

    return database.transact(work)


def leave(database: Database, study: int, names: Collection[str]) -> None:
    """Forget processes that ended."""
    gone = delete(processes).where(processes.c.study == study, processes.c.name.in_(list(names)))
    database.transact(lambda connection: connection.execute(gone))


def beats(database: Database, study: int) -> dict[str, tuple[int, int]]:
    """What a sweeper watches: name of a process -> (id, beat)."""
    query = select(processes.c.name, processes.c.id, processes.c.beat).where(processes.c.study == study)
    return {row.name: (row.id, row.beat) for row in database.read(lambda connection: connection.execute(query).all())}


def count_workers(database: Database, study: int) -> int:
    """How many workers are registered, on all machines."""
    query = select(func.count()).where(processes.c.study == study, processes.c.role == "worker")
    return database.read(lambda connection: connection.scalar(query)) or 0


def at_work(database: Database, study: int) -> list[Seen]:
    """Every registered process with what it trains, by machine and name."""
    query = (
        select(
            processes,
            (database_seconds() - processes.c.seen).label("seconds"),
            candidates.c.id.label("candidate"),
            candidates.c.number,
            candidates.c.key,
            candidates.c.role.label("candidate_role"),
            candidates.c.curve,
        )
        .outerjoin(
            candidates,
            (candidates.c.study == study)
            & (candidates.c.state == "running")
            & (candidates.c.worker == processes.c.name),
        )
        .where(processes.c.study == study)
        .order_by(processes.c.machine, processes.c.name)
    )
    rows = database.read(lambda connection: connection.execute(query).all())
    return [
        Seen(
            process=Process(row.name, row.role, row.machine, row.pid, row.device, row.log),
            seconds=max(0.0, row.seconds),
            candidate=row.candidate,
            number=row.number,
            key=row.key,
            candidate_role=row.candidate_role,
            epoch=row.curve.count('"epoch"') if row.curve else 0,
        )
        for row in rows
    ]
