"""Every operation of the protocol on one rich study, what recovers it, and a process that dies at a given point.

    python -m tests.study.operations

reads orders from standard input, one JSON a line: a storage, an operation and a point. For each it forks a child that
kills itself (SIGKILL) after that many SQL statements, the beginning of a COMMIT counted like a statement, and prints
the child's exit status: 9 when it was killed, 0 when the operation was over before.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, Engine, event, select

from nasmod.space import Space, SpaceFile
from nasmod.study import (
    Database,
    Proposal,
    RungResult,
    StoredStudy,
    candidate_key,
    create_or_join,
    open_study,
    pausing,
    processes,
    read,
    recovery,
    stored,
    tables,
)
from nasmod.study import candidates as protocol
from nasmod.study.candidates import Claim
from nasmod.study.processes import Process
from nasmod.study.projection import with_json
from tests.study.conftest import INPUTS, OUTPUTS, RESULT

BUDGET = 5
EPOCHS = 3
POOL = 60  # different proposals to draw from
WEIGHTS, CHECKPOINT = b"weights", b"state of an epoch"


@cache
def space() -> Space:
    return Space(SpaceFile.from_table(read("digits").space), INPUTS, OUTPUTS)


@cache
def distributions() -> Any:
    return with_json(space().parameters())


@cache
def proposals(count: int) -> list[tuple[str, Proposal, dict[str, Any]]]:
    """The same different proposals every time: key, proposal, parameters."""
    generator, found = random.Random(0), {}
    while len(found) < count:
        topology, settings = space().random(generator)
        proposal = Proposal(topology, settings, None, {"strategy": "random"})
        found[candidate_key(topology, settings)] = (proposal, space().encode(topology, settings))
    return [(key, proposal, parameters) for key, (proposal, parameters) in found.items()]


def curve(epochs: int) -> list[dict[str, float]]:
    return [{"epoch": float(epoch), "validation_accuracy": epoch / 10} for epoch in range(1, epochs + 1)]


def propose(study: StoredStudy, number: int, drawn_at: int) -> bool:
    key, proposal, parameters = proposals(POOL)[number % POOL]
    return protocol.propose(study.database, study.id, key, proposal, parameters, drawn_at=drawn_at)


def claim(study: StoredStudy, worker: str) -> Claim:
    held = protocol.claim(study.database, study.id, worker, distributions())
    assert held is not None
    return protocol.with_checkpoint(study.database, held)


def report(study: StoredStudy, held: Claim, epoch: int, rung: bool = False, checkpoint: bool = False) -> int:
    """How many others were at this rung."""
    result = RungResult(epoch, epoch / 10) if rung else None
    content = CHECKPOINT if checkpoint else None
    return len(protocol.report(study.database, held, curve(epoch), epoch / 10, result, content))


def sweep(study: StoredStudy, held: Claim) -> None:
    token, beat = recovery.running(study.database, study.id).get(held.id, (0, 0))
    recovery.sweep(study.database, held.id, token, beat)


def make(database: Database) -> StoredStudy:
    return create_or_join(database, read("digits", trials=BUDGET, finalists=0), "f" * 64, {"nasmod": "0"})


def fill(database: Database) -> None:
    """A study with a candidate in every state; the processes that hold the running ones are dead."""
    study = make(database)
    for number in range(4):
        assert propose(study, number, number)
    held = claim(study, "finisher")
    for epoch in range(1, EPOCHS + 1):
        report(study, held, epoch, rung=epoch == 1)
    protocol.finish(database, held, RESULT, [0.5], weights=WEIGHTS)
    held = claim(study, "failer")
    report(study, held, 1, rung=True, checkpoint=True)
    protocol.fail(database, held, "no memory", "Traceback")
    held = claim(study, "reporter")
    report(study, held, 1, rung=True, checkpoint=True)
    for attempt in (1, 2):
        held = claim(study, "second")
        report(study, held, 1, rung=True, checkpoint=True)
        report(study, held, 2)
        if attempt == 1:
            sweep(study, held)
    assert propose(study, 4, 4)
    assert propose(study, 5, 5)
    held = claim(study, "returner")
    report(study, held, 1, checkpoint=True)
    report(study, held, 2, rung=True)
    protocol.hand_back(database, held, curve(2), CHECKPOINT)
    protocol.hand_back(database, claim(study, "returner"), curve(1), CHECKPOINT)


def told(held: Claim | None) -> Any:
    """What a worker goes by."""
    return held and (held.key, held.token, held.number, len(held.curve), len(held.rung_results), held.checkpoint)


def finish(study: StoredStudy, held: Claim, stopped: str | None) -> None:
    fraction_left = 0.5 if stopped else 0.0
    weights = None if stopped else WEIGHTS
    protocol.finish(study.database, held, RESULT, [0.5], stopped=stopped, fraction_left=fraction_left, weights=weights)


def pause(study: StoredStudy, held: Claim, epochs: int = 1) -> None:
    pausing.pause(study.database, held, RESULT, curve(epochs), CHECKPOINT, "paused at epoch 1")


def promote(study: StoredStudy) -> int:
    """Every paused candidate; returns how many."""
    waiting = pausing.paused(study.database, study.id)
    return sum(pausing.promote(study.database, study.id, one.id, one.token) for one in waiting)


def stop_waiting(study: StoredStudy) -> None:
    """What is paused or was promoted is stopped."""
    every = select(tables.candidates.c.id).where(tables.candidates.c.study == study.id, pausing.WAITS)
    found = study.database.read(lambda connection: connection.scalars(every).all())
    for one in found:
        pausing.stop_waiting(study.database, study.id, one, "it waited", [0.5], 0.5)


@dataclass(frozen=True)
class Operation:
    """`run(study, claim)` is what is killed; `claim` that of `worker`, if one is named; `arrange` comes before."""

    run: Callable[[StoredStudy, Claim], Any]
    worker: str | None = None
    arrange: Callable[[StoredStudy], Any] = lambda study: None


def _claims_twice(study: StoredStudy) -> None:
    claim(study, "first")


def _trained(study: StoredStudy) -> None:
    for epoch in (2, 3):
        report(study, claim(study, "reporter"), epoch)


def _paused(study: StoredStudy) -> None:
    pause(study, claim(study, "reporter"))


def _promoted(study: StoredStudy) -> None:
    _paused(study)
    assert promote(study) == 1


def _drained(study: StoredStudy) -> None:
    stored.stop(study)


def _led(study: StoredStudy) -> None:
    stored.take_lease(study, "leader", 0, 0)


def _broken(study: StoredStudy) -> None:
    _drained(study)
    study.database.transact(
        lambda connection: connection.execute(
            tables.studies.update().values(failures_in_row=20, state="ended", reason="20 candidates failed in a row")
        )
    )


def _registered(study: StoredStudy) -> None:
    processes.sign_of_life(study.database, study.id, PROCESS)


PROCESS = Process("supervisor-1", "supervisor", "here", 1)

OPERATIONS: dict[str, Operation] = {
    "propose": Operation(lambda study, _: propose(study, 6, 6)),
    "propose what is known": Operation(lambda study, _: propose(study, 0, 6)),
    "count infeasible": Operation(lambda study, _: protocol.count_infeasible(study.database, study.id, 6)),
    "claim what was handed back": Operation(lambda study, _: told(claim(study, "new"))),
    "claim what is new": Operation(lambda study, _: told(claim(study, "new")), arrange=_claims_twice),
    "report": Operation(lambda study, held: report(study, held, 2), "reporter"),
    "report at a rung, with a checkpoint": Operation(
        lambda study, held: report(study, held, 2, rung=True, checkpoint=True), "reporter"
    ),
    "report epochs again": Operation(lambda study, held: report(study, held, 2, rung=True), "second"),
    "finish": Operation(lambda study, held: finish(study, held, None), "reporter", _trained),
    "stop early": Operation(lambda study, held: finish(study, held, "under the cut"), "reporter", _trained),
    "pause": Operation(lambda study, held: pause(study, held), "reporter"),
    "promote": Operation(lambda study, _: promote(study), arrange=_paused),
    "claim what was promoted": Operation(lambda study, _: told(claim(study, "new")), arrange=_promoted),
    "stop what is paused": Operation(lambda study, _: stop_waiting(study), arrange=_paused),
    "stop what was promoted": Operation(lambda study, _: stop_waiting(study), arrange=_promoted),
    "fail": Operation(lambda study, held: protocol.fail(study.database, held, "NaN", "Traceback"), "reporter"),
    "hand back": Operation(
        lambda study, held: protocol.hand_back(study.database, held, curve(1), CHECKPOINT), "second"
    ),
    "sweep": Operation(lambda study, held: sweep(study, held), "reporter"),
    "sweep a second attempt": Operation(lambda study, held: sweep(study, held), "second"),
    "bury": Operation(lambda study, _: recovery.bury(study.database, study.id, "reporter", "killed")),
    "bury a second attempt": Operation(lambda study, _: recovery.bury(study.database, study.id, "second", "killed")),
    "retry": Operation(lambda study, _: recovery.retry(study.database, study.id)),
    "stop": Operation(lambda study, _: stored.stop(study)),
    "stop now": Operation(lambda study, _: stored.stop(study, now=True)),
    "reopen": Operation(lambda study, _: stored.reopen(study), arrange=_broken),
    "move on": Operation(lambda study, _: stored.move_on(study, "searching", "repeating", "the budget is reached")),
    "raise the budget": Operation(lambda study, _: stored.raise_budget(study, BUDGET + 3, 2.0), arrange=_drained),
    "take the lease": Operation(lambda study, _: stored.take_lease(study, "leader", 0, 0)),
    "keep the lease": Operation(lambda study, _: stored.keep_lease(study, "leader", 2.0), arrange=_led),
    "release the lease": Operation(lambda study, _: stored.release_lease(study, "leader"), arrange=_led),
    "sign of life": Operation(
        lambda study, held: processes.sign_of_life(study.database, study.id, PROCESS, held), "reporter"
    ),
    "leave": Operation(lambda study, _: processes.leave(study.database, study.id, [PROCESS.name]), arrange=_registered),
}


def recover(study: StoredStudy) -> None:
    """What new processes do when all others are dead: lead, sweep, promote, propose, claim, train; one trial more."""
    database = study.database
    stored.reopen(study)
    stored.raise_budget(study, max(stored.status(study).budget, BUDGET) + 1, None)
    while running := recovery.running(database, study.id):  # one is left while a server still undoes what was killed
        for candidate, (token, beat) in running.items():
            recovery.sweep(database, candidate, token, beat)
    for worker in itertools.count():
        promote(study)
        held = protocol.claim(database, study.id, f"recovering {worker}", distributions())
        if held is None and stored.status(study).trained == stored.status(study).budget:
            return
        if held is None:
            drawn_at = stored.status(study).proposals
            propose(study, drawn_at, drawn_at)
            continue
        held = protocol.with_checkpoint(database, held)
        for epoch in range(len(held.curve) + 1, EPOCHS + 1):
            report(study, held, epoch, rung=epoch == 1, checkpoint=epoch == 2)
        protocol.finish(database, held, RESULT, [0.5], weights=WEIGHTS)


CLOCKED = {"datetime_start", "datetime_complete", "seen"}
SURROGATES = {"param_id", "trial_value_id", "trial_intermediate_value_id", "trial_user_attribute_id"}
RENUMBERED = {"trial": "trial_id", "trial_id": "trial_id", "candidate": "id"}  # by their rank: numbers may be skipped


def snapshot(database: Database) -> dict[str, list[dict[str, Any]]]:
    """All that the database holds but times and surrogate keys, in a fixed order."""
    skipped = CLOCKED | SURROGATES
    everything = [*tables.metadata.tables, *tables.models.BaseModel.metadata.tables]

    def work(connection: Connection) -> dict[str, list[dict[str, Any]]]:
        rows = {name: connection.exec_driver_sql(f"SELECT * FROM {name}").mappings() for name in everything}
        return {name: [dict(row) for row in found] for name, found in rows.items()}

    found = database.read(work)
    ranks = {
        "trial_id": _ranks(row["trial_id"] for row in found["trials"]),
        "id": _ranks(row["id"] for row in found["candidates"]),
    }
    for name, rows in found.items():
        for row in rows:
            for column in (skipped | ({"id"} if name == "nasmod_processes" else set())) & row.keys():
                del row[column]
            for column in row.keys() & ({*RENUMBERED, "id"} if name == "candidates" else RENUMBERED.keys()):
                row[column] = ranks[RENUMBERED.get(column, "id")].get(row[column], row[column])
        rows.sort(key=repr)
    return found


def _ranks(numbers: Iterator[int]) -> dict[int, int]:
    return {number: rank for rank, number in enumerate(sorted(numbers))}


def on_points(reached: Callable[[int, Any], None]) -> None:
    """Call `reached(number, connection)` after every SQL statement and before every COMMIT of every engine."""
    numbers = itertools.count(1)
    event.listen(Engine, "after_cursor_execute", lambda connection, *_: reached(next(numbers), connection))
    event.listen(Engine, "commit", lambda connection: reached(next(numbers), connection))


def _kill(point: int) -> None:
    def reached(number: int, _: Any) -> None:
        if number == point:
            os.kill(os.getpid(), signal.SIGKILL)

    on_points(reached)


def _run(storage: str, operation: str, point: int) -> None:
    if operation == "create":
        _kill(point)
        make(Database.create(storage))
        return
    database = Database.open(storage)
    study = open_study(database, "digits")
    chosen = OPERATIONS[operation]
    held = claim(study, chosen.worker) if chosen.worker else None  # found again, as after a lost acknowledgement
    _kill(point)
    chosen.run(study, held)  # type: ignore[arg-type]


def main() -> None:
    proposals(POOL)
    distributions()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                _run(**json.loads(line))
                status = 0
            finally:
                os._exit(status)
        sys.stdout.write(f"{os.waitpid(child, 0)[1]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
