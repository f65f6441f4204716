"""Files of a candidate in the database, in chunks: its weights and, while it runs, its checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Literal

from sqlalchemy import Connection, delete, insert, select, update

from nasmod.errors import StorageError
from nasmod.study import tables

CHUNK_BYTES = 4 * 1024 * 1024
FileName = Literal["weights", "checkpoint"]


def write(connection: Connection, candidate: int, name: FileName, content: bytes) -> str:
    """Store a file in place of an older one of the same name; returns its SHA-256."""
    remove(connection, candidate, name)
    for number, start in enumerate(range(0, max(len(content), 1), CHUNK_BYTES)):
        part = content[start : start + CHUNK_BYTES]
        connection.execute(insert(tables.chunks).values(candidate=candidate, name=name, number=number, content=part))
    return hashlib.sha256(content).hexdigest()


def read(connection: Connection, candidate: int, name: FileName, sha256: str | None = None) -> bytes | None:
    """A stored file, None when there is none. `StorageError` when it is not what was written."""
    table = tables.chunks
    parts = connection.scalars(
        select(table.c.content).where(table.c.candidate == candidate, table.c.name == name).order_by(table.c.number)
    ).all()
    if not parts:
        return None
    content = b"".join(parts)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise StorageError(f"The stored {name} of candidate {candidate} are damaged: their SHA-256 differs.")
    return content


def remove(connection: Connection, candidate: int, name: FileName) -> None:
    """Forget a file, if it is there."""
    connection.execute(
        delete(tables.chunks).where(tables.chunks.c.candidate == candidate, tables.chunks.c.name == name)
    )


def sweep_weights(connection: Connection, study: int, keep: Collection[int]) -> int:
    """Forget the weights of every candidate of the study that is not kept; returns how many were forgotten."""
    table = tables.candidates
    stored = connection.scalars(select(table.c.id).where(table.c.study == study, table.c.weights.is_not(None))).all()
    gone = [candidate for candidate in stored if candidate not in keep]
    for candidate in gone:
        remove(connection, candidate, "weights")
        connection.execute(update(table).where(table.c.id == candidate).values(weights=None))
    return len(gone)
