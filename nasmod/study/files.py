"""Files of a candidate: its weights and, while it runs, its checkpoint; in the database, or where the study says.

In the database they lie in chunks, written by the transaction that needs them. Elsewhere a file is written in three
steps, so that none is ever referred to without being there, and none is forgotten whenever a process dies:

1. `announce`: a row of its id, fenced by the claim's token;
2. `upload`, outside of any transaction;
3. `write`, in the candidate's own transaction: the row is kept, that of the former file no longer.

A row that is not kept, and whose claim holds no longer, names a file that nobody can want any more: `sweep` removes it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from sqlalchemy import Connection, Row, delete, exists, insert, select, update

from nasmod.errors import ArtifactError, StorageError
from nasmod.study import tables
from nasmod.study.artifacts import check as check_place
from nasmod.study.artifacts import is_empty, new_id, store_at
from nasmod.study.database import Database
from nasmod.study.tables import artifacts, candidates, studies

CHUNK_BYTES = 4 * 1024 * 1024
AT_ONCE = 500  # rows named in one statement
FileName = Literal["weights", "checkpoint"]
log = logging.getLogger("nasmod.files")


@dataclass(frozen=True)
class Uploaded:
    """A file outside the database that no candidate refers to yet; `replaced`: those it makes obsolete."""

    place: str
    id: str
    sha256: str = ""
    replaced: tuple[str, ...] = ()


def announce(connection: Connection, candidate: int, token: int, name: FileName, place: str) -> Uploaded:
    """The name of a file that a claim is about to upload; called again, another one."""
    study = select(candidates.c.study).where(candidates.c.id == candidate).scalar_subquery()
    artifact = new_id()
    obsolete = select(artifacts.c.id).where(
        artifacts.c.candidate == candidate, artifacts.c.name == name, ~artifacts.c.kept, artifacts.c.token.is_(None)
    )
    replaced = tuple(connection.scalars(obsolete).all())
    connection.execute(
        insert(artifacts).values(id=artifact, study=study, candidate=candidate, name=name, kept=False, token=token)
    )
    return Uploaded(place, artifact, replaced=replaced)


def upload(announced: Uploaded, content: bytes) -> Uploaded:
    """Put a file where it was announced, what it makes obsolete removed before. Raises what `Store.put` does."""
    store = store_at(announced.place)
    removed = discard(announced.place, announced.replaced)
    store.put(announced.id, content)
    return replace(announced, sha256=hashlib.sha256(content).hexdigest(), replaced=tuple(removed))


def withdraw(database: Database, uploaded: Uploaded) -> None:
    """Remove what was uploaded for a claim that holds no longer: its row may have been swept already.

    What is kept is left alone: then a commit went through whose acknowledgement was lost.
    """
    kept = select(artifacts.c.kept).where(artifacts.c.id == uploaded.id)
    if not database.read(lambda connection: connection.scalar(kept)):
        discard(uploaded.place, [uploaded.id])


def digest(content: bytes | Uploaded) -> str:
    """The SHA-256 of a file that is about to be written."""
    return content.sha256 if isinstance(content, Uploaded) else hashlib.sha256(content).hexdigest()


def write(connection: Connection, candidate: int, name: FileName, content: bytes | Uploaded) -> None:
    """Store a file, or keep one that was uploaded, in place of an older one of the same name.

    The claim is fenced before: who holds the candidate's row is seen to live, however long the file takes.
    """
    if isinstance(content, Uploaded):
        remove(connection, candidate, name, content.place)
        kept = artifacts.c.id == content.id
        connection.execute(update(artifacts).where(kept).values(kept=True, sha256=content.sha256))
        if content.replaced:
            connection.execute(delete(artifacts).where(artifacts.c.id.in_(content.replaced), ~artifacts.c.kept))
        return
    remove(connection, candidate, name, None)
    for number, start in enumerate(range(0, max(len(content), 1), CHUNK_BYTES)):
        part = content[start : start + CHUNK_BYTES]
        connection.execute(insert(tables.chunks).values(candidate=candidate, name=name, number=number, content=part))


def read(connection: Connection, candidate: int, name: FileName, sha256: str | None = None) -> bytes | None:
    """A file in the database, None when there is none. `StorageError` when it is not what was written."""
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


def fetch(
    database: Database, place: str | None, candidate: int, name: FileName, sha256: str | None = None
) -> bytes | None:
    """A file of a candidate, wherever it lies; None when there is none. Never called within a transaction.

    Raises `StorageError` when it is not what was written, `ArtifactError` when it is not where it was written.
    """
    if place is None:
        return database.read(lambda connection: read(connection, candidate, name, sha256))
    query = select(artifacts.c.id, artifacts.c.sha256).where(
        artifacts.c.candidate == candidate, artifacts.c.name == name, artifacts.c.kept
    )
    row = database.read(lambda connection: connection.execute(query).first())
    if row is None:
        return None
    content = store_at(place).get(row.id)
    if hashlib.sha256(content).hexdigest() != (sha256 or row.sha256):
        raise ArtifactError(f"A file of candidate {candidate} in '{place}' is damaged: its SHA-256 differs.")
    return content


def remove(connection: Connection, candidate: int, name: FileName, place: str | None) -> None:
    """Forget a file, if it is there. One outside the database is removed by the next sweep."""
    if place is not None:
        mine = (artifacts.c.candidate == candidate) & (artifacts.c.name == name) & artifacts.c.kept
        connection.execute(update(artifacts).where(mine).values(kept=False, token=None))
        return
    connection.execute(
        delete(tables.chunks).where(tables.chunks.c.candidate == candidate, tables.chunks.c.name == name)
    )


def sweep_weights(
    connection: Connection, study: int, keep: Collection[int], place: str | None, among: Collection[int] | None = None
) -> int:
    """Forget the weights of every candidate of the study that is not kept; returns how many were forgotten.

    `among`: those that were looked at; one that has finished since then may be the best of all.
    """
    stored = connection.scalars(
        select(candidates.c.id).where(candidates.c.study == study, candidates.c.weights.is_not(None))
    ).all()
    gone = [candidate for candidate in stored if candidate not in keep and (among is None or candidate in among)]
    for candidate in gone:
        remove(connection, candidate, "weights", place)
        connection.execute(update(candidates).where(candidates.c.id == candidate).values(weights=None))
    return len(gone)


def check(database: Database, study: int, place: str | None) -> None:
    """Refuse in one line to work where the files of a study cannot be written, or are not."""
    if place is None:
        return
    check_place(place)
    query = select(artifacts.c.id).where(artifacts.c.study == study, artifacts.c.kept).limit(1)
    if is_empty(place) and database.read(lambda connection: connection.scalar(query)) is not None:
        raise ArtifactError(
            f"The artifacts folder '{place}' is empty, but the study has files in it: is it mounted on this machine? "
            "(To go on without them, put any file there.)"
        )


def sweep(database: Database, study: int, place: str) -> int:
    """Remove the files outside the database that nothing refers to and nobody can keep any more; returns how many.

    A claim that holds may be uploading: its files stay. A token never comes again, so what is swept can never be kept.
    """
    held = exists().where(
        candidates.c.id == artifacts.c.candidate,
        candidates.c.state == "running",
        candidates.c.token == artifacts.c.token,
    )
    unwanted = select(artifacts.c.id).where(artifacts.c.study == study, ~artifacts.c.kept, ~held)
    found = database.read(lambda connection: connection.scalars(unwanted).all())
    removed = discard(place, found)
    for start in range(0, len(removed), AT_ONCE):
        database.transact(partial(_forget, ids=removed[start : start + AT_ONCE]))
    return len(removed)


def _forget(connection: Connection, ids: Sequence[str]) -> None:
    connection.execute(delete(artifacts).where(artifacts.c.id.in_(ids)))


def bring_in(storage: str) -> None:
    """Copy every file of a copied database into it: sweeping one of two that share them would rob the other.

    What was replaced since the copy was made is forgotten. `ArtifactError` where a place is out of reach.
    """
    database = Database.open(storage)
    try:
        named = select(studies.c.artifacts).where(studies.c.artifacts.is_not(None)).distinct()
        places = database.read(lambda connection: connection.scalars(named).all())
        for place in places:
            check_place(place)
        if places:
            _bring_all_in(database)
    finally:
        database.close()


def _bring_all_in(database: Database) -> None:
    outside = (
        select(artifacts.c.id, artifacts.c.candidate, artifacts.c.name, artifacts.c.sha256, studies.c.artifacts)
        .join(studies, studies.c.id == artifacts.c.study)
        .where(artifacts.c.kept)
    )
    for row in database.read(lambda connection: connection.execute(outside).all()):
        database.transact(partial(_bring_in, row=row))
    database.transact(lambda connection: connection.execute(delete(artifacts)))
    database.transact(lambda connection: connection.execute(update(studies).values(artifacts=None)))


def _bring_in(connection: Connection, row: Row[*tuple[Any, ...]]) -> None:
    try:
        content = store_at(row.artifacts).get(row.id)
    except ArtifactError:
        content = b""
    if hashlib.sha256(content).hexdigest() == row.sha256:
        write(connection, row.candidate, row.name, content)
        return
    forgotten = {"weights": None} if row.name == "weights" else {"checkpoint": 0}
    connection.execute(update(candidates).where(candidates.c.id == row.candidate).values(forgotten))


def remove_all(database: Database, study: int, place: str | None) -> None:
    """Remove every file of a study that lies outside the database, before its rows go: called again, what is left.

    Raises `ArtifactError` when the place is out of reach: the files of a study that is gone would stay there for ever.
    """
    if place is None:
        return
    store = store_at(place)
    every = select(artifacts.c.id).where(artifacts.c.study == study)
    for artifact in database.read(lambda connection: connection.scalars(every).all()):
        store.remove(artifact)


def discard(place: str, ids: Collection[str]) -> list[str]:
    """Remove files from a place as far as that is possible; returns the names of those that are there no longer."""
    removed: list[str] = []
    try:
        for artifact in ids:
            store_at(place).remove(artifact)
            removed.append(artifact)
    except StorageError as error:
        log.warning("files that are not needed any more stay for now: %s", error)
    return removed
