"""Seeds: topologies with which a study opens, from files or from the front of another study.

They are written out when the study file is read, so that no other file and no other study is needed to go on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from nasmod.errors import NasmodError, StudyError, unknown
from nasmod.study.url import default_storage
from nasmod.topology import Parameter, Topology


class Seed(BaseModel):
    """A topology, the training settings with which it did well, and where it comes from, in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    topology: dict[str, Any]
    settings: dict[str, Parameter] = {}
    source: str

    def read(self) -> Topology:
        """The topology as a value."""
        return Topology.from_json(json.dumps(self.topology))


class _OfStudy(BaseModel):
    """The front of another study, or some of its trials. It lies in ``runs/NAME.db`` if nothing else is said."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    study: str
    storage: str | None = None
    trials: list[int] | None = None


def read_seeds(given: Any, folder: Path) -> list[dict[str, Any]]:
    """What ``seeds`` of a study file in a folder names, written out. Raises a `NasmodError` of one line."""
    if not isinstance(given, list):
        raise StudyError('`seeds` is a list of topology files and of { study = "NAME" }.')
    found = [seed for one in given for seed in _read(one, folder)]
    return [seed.model_dump(mode="json") for seed in found]


def _read(given: Any, folder: Path) -> Iterator[Seed]:
    if isinstance(given, str):
        yield _of_file(folder / given, given)
        return
    try:
        other = _OfStudy.model_validate(given)
    except ValidationError as error:
        wrong = [str(problem["loc"][0]) for problem in error.errors() if problem["type"] == "extra_forbidden"]
        why = unknown("key", wrong[0], _OfStudy.model_fields) if wrong else f"not {given!r}."
        form = '{ study = "NAME", storage = "URL or path", trials = [1, 2] }'
        raise StudyError(f"`seeds` names files and {form}: {why}") from error
    yield from _of_records(other, folder)


def _of_file(file: Path, named: str) -> Seed:
    try:
        topology = Topology.from_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"seeds: file '{file}' cannot be read: {error.strerror}.") from error
    except (NasmodError, UnicodeDecodeError) as error:
        raise StudyError(f"seeds: {file}: {error}") from error
    return Seed(topology=json.loads(topology.to_json()), source=named)


def _of_records(other: _OfStudy, folder: Path) -> Sequence[Seed]:
    from nasmod.study.database import Database
    from nasmod.study.records import find, front, read_records
    from nasmod.study.stored import open_study

    storage = other.storage or str(default_storage(other.study))
    if other.storage is not None and "://" not in storage:
        storage = str((folder / storage).absolute())
    try:
        database = Database.open(storage)
        try:
            stored = open_study(database, other.study, only_to_look=True)
            known = read_records(stored)
            if other.trials is None:
                records = front(known, stored.study.objective)
            else:
                records = [find(known, trial) for trial in other.trials]
        finally:
            database.close()
    except NasmodError as error:
        raise StudyError(f"seeds: {error}") from error
    if not records:
        raise StudyError(f"seeds: nothing of study '{other.study}' has finished.")
    return [
        Seed(
            topology=json.loads(record.proposal.topology.to_json()),
            settings=dict(record.proposal.settings),
            source=f"{record.label} of {other.study}",
        )
        for record in records
    ]
