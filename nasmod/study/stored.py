"""A study as it lies in a database: made, joined, opened, its budget and its state. Candidates have their own file."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from sqlalchemy import Connection, func, insert, select, update

from nasmod import registry
from nasmod.data import Factors, Reading
from nasmod.errors import DataError, StorageError, StudyError, unknown
from nasmod.measures import definition_of
from nasmod.study import projection
from nasmod.study.database import Database, one_at_a_time
from nasmod.study.definition import Study, check, difference, load_plugins, of_tables
from nasmod.study.record import DAMAGED, TRAINED, Record
from nasmod.study.tables import candidates, optuna_studies, studies

LARGEST_ID = 2**31 - 1  # what a database's integer holds
FAILURES_IN_ROW = 20  # end a study: whatever fails every candidate is for a person to mend

# draining: what runs is trained to its end, nothing else is begun; halting: what runs is handed back
StudyState = Literal["searching", "repeating", "draining", "halting", "ended"]
STOPPED = "stopped by a person"  # the reason of a study that was drained


@dataclass(frozen=True)
class StoredStudy:
    """A study in its database. `study` is its definition with the amounts of the moment it was read."""

    database: Database
    id: int
    study: Study
    fingerprint: str
    versions: Mapping[str, str]
    artifacts: str | None = None  # where its files are kept, None: in the database
    workers_per_device: int = 0
    factors: Factors | None = None  # None: of a study that was stored before there were any
    reading: Reading | None = None  # None: of data that come with nasmod, or of an older study
    definitions: Mapping[str, int] = field(default_factory=dict)  # of its measures

    @property
    def name(self) -> str:
        """The study's name in its database."""
        return self.study.name


@dataclass(frozen=True)
class Status:
    """Counts and state of a study. `trained` of the `budget` ran to their end, were stopped or are paused."""

    name: str
    state: StudyState
    reason: str | None
    budget: int
    trained: int
    finished: int
    stopped: int
    paused: int  # wait at a rung, and may go on
    failed: int
    running: int
    queued: int
    duplicates: int
    infeasible: int
    proposals: int
    failures_in_row: int
    seconds: float
    hours: float | None
    references: int  # trained outside the budget
    repeats: int  # likewise

    def to_json(self) -> dict[str, Any]:
        """Plain form."""
        return asdict(self)


def create_or_join(
    database: Database,
    study: Study,
    fingerprint: str,
    versions: Mapping[str, str],
    factors: Factors | None = None,
    reading: Reading | None = None,
) -> StoredStudy:
    """File a new study, or join the one of this name if its definition is the same.

    `factors` are those of its data, `reading` what was read of its file; a study that is joined keeps its own. Raises
    `StudyError` with the difference when it is not, `StorageError` when the name is a foreign Optuna study's.
    """

    def work(connection: Connection) -> bool:
        one_at_a_time(connection)
        if connection.scalar(select(studies.c.id).where(studies.c.name == study.name)) is not None:
            return False
        foreign = select(optuna_studies.c.study_id).where(optuna_studies.c.study_name == study.name)
        if connection.scalar(foreign) is not None:
            raise StorageError(
                f"The database has an Optuna study '{study.name}' that nasmod did not make; choose another --name."
            )
        directions = study.objective.directions if study.objective.mode == "pareto" else {"score": "maximize"}
        connection.execute(
            insert(studies).values(
                id=secrets.randbelow(LARGEST_ID) + 1,  # never a deleted study's: processes of that may be about
                name=study.name,
                optuna_study=projection.create_study(connection, study.name, directions),
                definition=json.dumps(study.definition()),
                fingerprint=fingerprint,
                trials=study.trials,
                hours=study.hours,
                workers_per_device=study.workers_per_device,
                artifacts=study.artifacts,
                state="searching",
                versions=json.dumps(dict(versions)),
                factors=None if factors is None else json.dumps(factors.to_json()),
                reading=None if reading is None else json.dumps(reading.to_json()),
                measures=json.dumps({name: definition_of(name) for name in study.measures}),
            )
        )
        return True

    created = database.transact(work)
    stored = open_study(database, study.name, only_to_look=not created)
    if not created:
        check_measures(stored)
        lines = difference(stored.study.definition(), study.definition())
        if lines:
            more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
            raise StudyError(
                f"A study '{study.name}' with another definition is in {database.shown} (stored -> given): "
                f"{'; '.join(lines[:3])}{more}. Choose another --name, or resume it as it is."
            )
        if study.artifacts not in (None, stored.artifacts):
            kept = "its database" if stored.artifacts is None else f"'{stored.artifacts}'"
            raise StudyError(
                f"Study '{study.name}' keeps its files in {kept}, not in '{study.artifacts}': files do not move. "
                "Start it without other artifacts, or choose another --name."
            )
        check_data(stored, fingerprint)
        load_plugins(stored.study)
    return stored


def open_study(database: Database, name: str, *, only_to_look: bool = False) -> StoredStudy:
    """The stored study of this name, its plugins imported; `StudyError` names the known ones when it is not there.

    A plugin is imported only if this process may (see `nasmod.study.allowed`), `PluginError` otherwise; `only_to_look`
    imports none: the records of a study can be read where its plugins are not, or are not trusted.
    """
    row = database.read(lambda connection: connection.execute(select(studies).where(studies.c.name == name)).first())
    if row is None:
        raise StudyError(unknown("study", name, names(database)))
    where = f"study '{name}' in {database.shown}"
    try:
        table = {**json.loads(row.definition), "trials": row.trials, "hours": row.hours}
        table |= {"workers_per_device": row.workers_per_device, "artifacts": row.artifacts}
        made_with = dict(json.loads(row.versions))
        factors = None if row.factors is None else Factors.from_json(json.loads(row.factors))
        reading = None if row.reading is None else Reading.from_json(json.loads(row.reading))
        definitions = {str(key): int(number) for key, number in json.loads(row.measures or "{}").items()}
    except DAMAGED as error:
        raise StudyError(f"The stored definition of {where} is damaged: {error}.") from error
    study = of_tables(table, where)
    if study.name != name:
        raise StudyError(f"The stored definition of {where} is damaged: it is that of '{study.name}'.")
    stored = StoredStudy(
        database=database,
        id=row.id,
        study=study,
        fingerprint=row.fingerprint,
        versions=made_with,
        artifacts=row.artifacts,
        workers_per_device=row.workers_per_device,
        factors=factors,
        reading=reading,
        definitions=definitions,
    )
    if only_to_look:
        return stored
    load_plugins(study)
    check_measures(stored)
    return replace(stored, study=check(table, where))


def check_measures(stored: StoredStudy) -> None:
    """Refuse to mix results: go on only where every measure is still defined as it was when the study was started."""
    known = registry.names("measure")
    for name in stored.study.measures:
        if name not in known:  # a plugin's that is not loaded to look at a study
            continue
        was, now = stored.definitions.get(name, 1), definition_of(name)
        if was != now:
            raise StudyError(
                f"Study '{stored.name}' was measured by definition {was} of '{name}', and this nasmod has definition "
                f"{now}: results of both do not mix. It can still be looked at and exported; to go on, start it anew "
                "under another --name."
            )


def names(database: Database) -> list[str]:
    """Names of the studies in a database."""
    return list(database.read(lambda connection: connection.scalars(select(studies.c.name)).all()))


def check_data(stored: StoredStudy, fingerprint: str) -> None:
    """Refuse to go on with other data than the study was started with."""
    if fingerprint != stored.fingerprint:
        raise DataError(
            f"Study '{stored.name}' was started with data of fingerprint {stored.fingerprint[:16]}, but what is there "
            f"now has {fingerprint[:16]}. Restore the data, or start a new study."
        )


def status(stored: StoredStudy) -> Status:
    """Counts and state, in one reading transaction."""

    def work(connection: Connection) -> Status:
        row = connection.execute(select(studies).where(studies.c.id == stored.id)).first()
        if row is None:
            raise _deleted(stored)
        counted = connection.execute(
            select(candidates.c.role, candidates.c.state, func.count())
            .where(candidates.c.study == stored.id)
            .group_by(candidates.c.role, candidates.c.state)
        ).all()
        count = {(role, state): number for role, state, number in counted}
        finished, stopped, paused = (count.get(("search", state), 0) for state in ("finished", "stopped", "paused"))
        return Status(
            name=row.name,
            state=row.state,
            reason=row.reason,
            budget=row.trials,
            trained=finished + stopped + paused,
            finished=finished,
            stopped=stopped,
            paused=paused,
            failed=sum(number for (_, state), number in count.items() if state == "failed"),
            running=sum(number for (_, state), number in count.items() if state == "running"),
            queued=sum(number for (_, state), number in count.items() if state == "queued"),
            duplicates=row.duplicates,
            infeasible=row.infeasible,
            proposals=row.proposals,
            failures_in_row=row.failures_in_row,
            seconds=row.seconds,
            hours=row.hours,
            references=sum(count.get(("reference", state), 0) for state in TRAINED),
            repeats=sum(count.get(("repeat", state), 0) for state in TRAINED),
        )

    return stored.database.read(work)


def proposals(stored: StoredStudy) -> int:
    """How many proposals were drawn so far: what the next one's generator comes from."""
    query = select(studies.c.proposals).where(studies.c.id == stored.id)
    drawn = stored.database.read(lambda connection: connection.scalar(query))
    if drawn is None:
        raise _deleted(stored)
    return int(drawn)


def say_best(stored: StoredStudy, best: Record) -> None:
    """Note on Optuna's study which of its trials is best by the mean of fresh trainings."""
    said = {"number": best.number, "score": best.score, "trainings": best.repeats}

    def work(connection: Connection) -> None:
        optuna_study = connection.scalar(select(studies.c.optuna_study).where(studies.c.id == stored.id))
        if optuna_study is None:
            raise _deleted(stored)
        projection.say_best(connection, optuna_study, said)

    stored.database.transact(work)


def raise_budget(stored: StoredStudy, trials: int | None, hours: float | None) -> None:
    """Set the study's whole budget, which may only grow; an ended study searches on when there is more to do."""

    def work(connection: Connection) -> None:
        row = connection.execute(select(studies).where(studies.c.id == stored.id).with_for_update()).first()
        if row is None:
            raise _deleted(stored)
        if trials is not None and trials < row.trials:
            raise StudyError(
                f"--trials is the study's whole budget and may only be raised: it is {row.trials}, got {trials}."
            )
        if hours is not None and row.hours is not None and hours < row.hours:
            raise StudyError(f"--hours may only be raised: it is {row.hours:g}, got {hours:g}.")
        values: dict[str, Any] = {}
        if trials is not None and trials > row.trials:
            values["trials"] = trials
        if hours is not None and hours != row.hours:
            values["hours"] = hours
        if values:
            connection.execute(
                update(studies)
                .where(studies.c.id == stored.id)
                .values(**values, state="searching", reason=None, failures_in_row=0)
            )

    stored.database.transact(work)


def reopen(stored: StoredStudy) -> None:
    """Search on where a person stopped a study or failures in a row ended it: who resumes it means to go on."""
    ended_by_failures = (studies.c.state == "ended") & (studies.c.failures_in_row >= FAILURES_IN_ROW)
    stopped = studies.c.state.in_(["draining", "halting"]) | (studies.c.reason == STOPPED)
    again = {"state": "searching", "reason": None, "failures_in_row": 0}
    _update(stored, ended_by_failures | stopped, again)


def stop(stored: StoredStudy, *, now: bool = False) -> Status:
    """Begin no candidate any more, on no machine: what runs is trained to its end, or handed back for `now`.

    The study has ended once nothing runs; `reopen` goes on. A study that has ended already is left as it is, and one
    that is halting is not softened to draining.
    """

    def work(connection: Connection) -> None:
        # locked first: a claim that is just being made is seen as running, or finds the study stopped
        mine = select(studies.c.state).where(studies.c.id == stored.id)
        before = connection.scalar(mine.with_for_update())
        if before is None:
            raise _deleted(stored)
        running = select(candidates.c.id).where(candidates.c.study == stored.id, candidates.c.state == "running")
        state: StudyState = "halting" if now or before == "halting" else "draining"
        if connection.execute(running.limit(1)).first() is None:
            state = "ended"
        connection.execute(
            update(studies)
            .where(studies.c.id == stored.id, studies.c.state != "ended")
            .values(state=state, reason=STOPPED)
        )

    stored.database.transact(work)
    return status(stored)


def move_on(
    stored: StoredStudy, before: StudyState, after: StudyState, reason: str | None, seen: Status | None = None
) -> None:
    """From one state to the next with, in words, why; nothing happens in another state. The first reason stays.

    Nor does anything happen when what was `seen` holds no longer: a budget raised meanwhile is a budget to be met.
    """
    unchanged = studies.c.state == before
    if seen is not None:
        unchanged &= (studies.c.trials == seen.budget) & studies.c.hours.is_not_distinct_from(seen.hours)
        unchanged &= studies.c.failures_in_row == seen.failures_in_row
    _update(stored, unchanged, {"state": after, "reason": func.coalesce(studies.c.reason, reason)})


def search_on(stored: StoredStudy) -> None:
    """Back from the finalists' repeats: a candidate was queued again in the moment in which the search ended."""
    _update(stored, studies.c.state == "repeating", {"state": "searching", "reason": None})


def lease(stored: StoredStudy) -> tuple[str | None, int, int]:
    """Who holds the controller's lease, with its token and beat: what another process watches."""
    query = select(studies.c.controller, studies.c.controller_token, studies.c.controller_beat)
    row = stored.database.read(lambda connection: connection.execute(query.where(studies.c.id == stored.id)).first())
    if row is None:
        raise _deleted(stored)
    return row.controller, row.controller_token, row.controller_beat


def take_lease(stored: StoredStudy, controller: str, token: int, last_beat: int) -> bool:
    """Become the controller if nobody has shown a sign of life since (token, beat) were seen."""
    free = (studies.c.controller_token == token) & (studies.c.controller_beat == last_beat)
    taken = (studies.c.controller_token == token + 1) & (studies.c.controller == controller)  # unacknowledged
    return _update(stored, free | taken, {"controller": controller, "controller_token": token + 1})


def keep_lease(stored: StoredStudy, controller: str, seconds: float) -> bool:
    """A controller's sign of life, with the seconds it searched since the last; False when another has taken over."""
    written: int | None = None  # the beat of an attempt whose acknowledgement was lost: its seconds count once

    def work(connection: Connection) -> bool:
        nonlocal written
        mine = (studies.c.id == stored.id) & (studies.c.controller == controller)
        beat = connection.scalar(select(studies.c.controller_beat).where(mine).with_for_update())
        if beat is not None and beat != written:
            written = beat + 1
            values = {"controller_beat": written, "seconds": studies.c.seconds + seconds}
            connection.execute(update(studies).where(mine).values(**values))
        return beat is not None

    return stored.database.transact(work)


def release_lease(stored: StoredStudy, controller: str) -> None:
    """Leave the lease to whoever asks next."""
    _update(stored, studies.c.controller == controller, {"controller": None})


def _deleted(stored: StoredStudy) -> StudyError:
    return StudyError(f"Study '{stored.name}' was deleted meanwhile.")


def _update(stored: StoredStudy, condition: Any, values: Mapping[str, Any]) -> bool:
    statement = update(studies).where(studies.c.id == stored.id, condition).values(**values)
    return bool(stored.database.transact(lambda connection: connection.execute(statement)).rowcount)
