"""Reading what a study knows: records by plain SQL, the finalists' repeats folded in, the best and the front."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from nasmod.errors import StudyError
from nasmod.measures import Measured, mean_of
from nasmod.measures.front import front_of
from nasmod.measures.objective import Objective
from nasmod.study import files
from nasmod.study.record import Record, State, StoredText
from nasmod.study.stored import StoredStudy
from nasmod.study.tables import candidates

if TYPE_CHECKING:
    import pandas

Mark = tuple[str, int, int]  # state, token, beat: one of them differs after every change
MARK = (candidates.c.state, candidates.c.token, candidates.c.beat)
PLAIN = ("id", "number", "key", "state", "reason", "weights", "role", "worker", "attempts")
TEXTS: tuple[StoredText, ...] = ("proposal", "curve", "result")
COLUMNS = tuple(candidates.c[name] for name in (*PLAIN, *TEXTS, "token", "beat"))
UNSETTLED: tuple[State, ...] = ("queued", "running", "paused", "failed")
AT_ONCE = 500  # ids in one statement


class RecordReader:
    """Records of a study, read again only where they can have changed; none but its newest are read twice.

    What ran to its end or was stopped never changes but for its weights, which are forgotten now and then. What is
    queued, running, paused or failed (it may be tried again) is read again when its state, token or beat has changed.
    Candidates are filed with the study's row locked, so that no older id appears after a newer one.
    """

    def __init__(self, stored: StoredStudy) -> None:
        self.stored = stored
        self._records: dict[int, Record] = {}
        self._open: dict[int, Mark] = {}  # of what may still change
        self._with_weights: set[int] = set()
        self._reading = threading.Lock()  # one thread steers a study, another looks for what to propose

    def read(self) -> list[Record]:
        """Every candidate's record, in the order they were filed."""
        with self._reading:
            return self._read()

    def _read(self) -> list[Record]:
        newest = next(reversed(self._records), 0)
        table = candidates
        of_study = table.c.study == self.stored.id

        def work(connection: Connection) -> tuple[list[Row[Any]], set[int]]:
            gone: set[int] = set()
            rows: list[Row[Any]] = []
            if newest:
                marks = select(table.c.id, *MARK).where(of_study, table.c.state.in_(UNSETTLED))
                seen = {row.id: tuple(row)[1:] for row in connection.execute(marks)}
                changed = [i for i, mark in self._open.items() if seen.get(i) != mark]
                for part in _in_parts(changed):
                    rows += connection.execute(select(*COLUMNS).where(table.c.id.in_(part))).all()
                for part in _in_parts(sorted(self._with_weights)):
                    swept = select(table.c.id).where(table.c.id.in_(part), table.c.weights.is_(None))
                    gone.update(connection.scalars(swept))
            new = select(*COLUMNS).where(of_study, table.c.id > newest).order_by(table.c.id)
            return [*rows, *connection.execute(new).all()], gone

        rows, gone = self.stored.database.read(work)
        for row in rows:
            self._keep(row)
        for candidate in gone:
            self._with_weights.discard(candidate)
            self._records[candidate] = replace(self._records[candidate], weights=None)
        return list(self._records.values())

    def _keep(self, row: Row[Any]) -> None:
        self._records[row.id] = _record(row)
        if row.state in UNSETTLED:
            self._open[row.id] = (row.state, row.token, row.beat)
        else:
            self._open.pop(row.id, None)
        if row.weights is not None:
            self._with_weights.add(row.id)


def read_records(stored: StoredStudy) -> list[Record]:
    """Every candidate's record, in the order they were filed."""
    return RecordReader(stored).read()


def with_repeats(records: Iterable[Record], objective: Objective) -> list[Record]:
    """Search and reference records; one that was repeated has the means of its finished repeats, with standard errors.

    The training that made a candidate a finalist is not among them: of many it was lucky.
    """
    repeats: dict[str, list[Record]] = {}
    others = []
    for record in records:
        if record.role != "repeat":
            others.append(record)
        elif record.state == "finished":
            repeats.setdefault(str(record.proposal.origin["repeat_of"]), []).append(record)
    return [_mean(record, repeats[record.key], objective) if record.key in repeats else record for record in others]


def ranked(records: Iterable[Record], objective: Objective) -> list[Record]:
    """Finished, feasible search records, best score first; what was repeated ranks by its mean.

    Once finalists were repeated, a single lucky training does not overtake them: they come first.
    """
    rows = [
        record
        for record in with_repeats(records, objective)
        if record.role == "search" and record.state == "finished" and objective.feasible(record.measures, finished=True)
    ]
    return sorted(rows, key=lambda record: (record.repeats == 0, -(record.score or 0.0), record.id))


def finalists(
    records: Iterable[Record], objective: Objective, count: int, worth: Mapping[int, float] | None = None
) -> list[Record]:
    """The best few, and the best simple wiring: what is trained again before it is judged.

    The best are those `worth` most (by id), those without one last; without any worth, by their first training.
    """
    first = [record for record in records if record.role == "search"]
    found = ranked(first, objective)
    found = sorted(found, key=lambda record: -(worth or {}).get(record.id, -math.inf))[:count]
    reference = best_reference(first, objective)
    if found and reference is not None and all(record.key != reference.key for record in found):
        found.append(reference)
    return found


def references(records: Iterable[Record], objective: Objective) -> list[Record]:
    """The best of each simple wiring with which the study opened, in the order in which they were first filed."""
    best: dict[str, Record] = {}
    for record in with_repeats(records, objective):
        name = record.reference
        if name is not None and record.state == "finished" and objective.feasible(record.measures, finished=True):
            known = best.setdefault(name, record)
            if record.standing > known.standing:
                best[name] = record
    return list(best.values())


def best_reference(records: Iterable[Record], objective: Objective) -> Record | None:
    """The simple wiring with the best score, those that were repeated first; None when none has finished."""
    return max(references(records, objective), key=lambda record: record.standing, default=None)


def front(records: Iterable[Record], objective: Objective) -> list[Record]:
    """The finished, feasible, useful search records that no other beats in every direction, best score first."""
    rows = ranked(records, objective)
    return [rows[index] for index in front_of([record.measures for record in rows], objective)]


def worth_keeping(records: Sequence[Record], objective: Objective, count: int, repeated: int) -> list[Record]:
    """What an export may want: the best few, the front, and the references, now or when some were trained again.

    At most `repeated` will be: their means may be lower than what selected them, and others take their places.
    """
    rows = ranked(records, objective)
    on_front = front_of([record.measures for record in rows], objective, without=repeated)
    return [*rows[: count + repeated], *(rows[index] for index in on_front), *references(records, objective)]


def best(records: Iterable[Record], objective: Objective) -> Record:
    """The first of `ranked`; `StudyError` when no candidate has finished."""
    rows = ranked(records, objective)
    if not rows:
        raise StudyError(
            "No finished candidate yet, or none that meets the floors of the objective: there is no best one."
        )
    return rows[0]


def find(records: Sequence[Record], wanted: str | int) -> Record:
    """The record of a trial number, or of the beginning of a key."""
    text = str(wanted).removeprefix("#")
    found = [record for record in records if text.isdecimal() and record.number == int(text)]
    found = found or [record for record in records if record.label == text or record.key.startswith(text)]
    if len(found) != 1:
        numbers = [record.number for record in records if record.number is not None]
        known = f"trials {min(numbers)} to {max(numbers)}" if numbers else "no trials yet"
        if numbers and len(numbers) <= max(numbers) - min(numbers):
            known += ", but for those of candidates to be tried again, which get new ones"
        raise StudyError(f"{'No' if not found else 'More than one'} candidate '{wanted}'. Known: {known}.")
    return found[0]


def rescored(records: Iterable[Record], objective: Objective) -> list[Record]:
    """The records as another objective scores them; nothing is trained."""
    return [
        replace(record, score=objective.score(record.measures)) if "flops" in record.measures else record
        for record in records
    ]


def weights(stored: StoredStudy, record: Record) -> bytes:
    """The stored weights (safetensors) of a record; `StudyError` when they were not kept.

    `ArtifactError` when they are not where they were kept.
    """
    content = files.fetch(stored.database, stored.artifacts, record.id, "weights", record.weights)
    if content is None:
        raise StudyError(
            f"The weights of {record.label} were not kept (kept: the front and the best); export it with --retrain."
        )
    return content


def dataframe(records: Iterable[Record]) -> pandas.DataFrame:
    """One row a candidate: what it is, its score, its measures and their ``<measure>_se``, its parameters."""
    import pandas

    rows = [
        {
            "number": record.number,
            "key": record.key,
            "role": record.role,
            "state": record.state,
            "score": record.score,
            "reason": record.reason,
            "parent": record.proposal.parent,
            "strategy": record.proposal.origin.get("strategy"),
            "epochs": len(record.curve),
            **record.measures,
            **{f"{name}_se": error for name, error in record.standard_errors.items()},
            **record.parameters,
        }
        for record in records
    ]
    return pandas.DataFrame(rows)


def _record(row: Row[Any]) -> Record:
    plain = len(PLAIN)
    return Record.stored(dict(zip(PLAIN, row[:plain], strict=True)), dict(zip(TEXTS, row[plain:-2], strict=True)))


def _in_parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


def _mean(first: Record, trainings: Sequence[Record], objective: Objective) -> Record:
    """The record with the means of its repeats, and the standard error of each mean."""
    found = mean_of([Measured(dict(record.measures), dict(record.standard_errors)) for record in trainings])
    score = objective.score(found.values) if "flops" in found.values else first.score
    return replace(
        first, measures=found.values, standard_errors=found.standard_errors, score=score, repeats=len(trainings)
    )
