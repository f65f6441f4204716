"""The life of a candidate: every step on a real SQLite file, and what a stale worker may not do."""

from __future__ import annotations

import multiprocessing
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from optuna.trial import TrialState
from sqlalchemy import event, select, text

from nasmod.space import Space, SpaceFile
from nasmod.study import Database, Proposal, RungResult, candidate_key, create_or_join, read, recovery, stored
from nasmod.study import candidates as protocol
from nasmod.study import records as reading
from nasmod.study.candidates import ClaimLost
from nasmod.study.files import read as read_file
from nasmod.study.files import sweep_weights
from nasmod.study.projection import with_json
from nasmod.study.tables import candidates as table
from nasmod.study.tables import chunks
from tests.study.conftest import INPUTS, OUTPUTS, RESULT, trials_of


def finish(study, held, **options):
    protocol.finish(study.database, held, RESULT, [0.5], **options)


def test_a_known_key_is_a_duplicate_and_counted(study, space, file_one):
    file_one()
    record = reading.read_records(study)[0]
    again = protocol.propose(study.database, study.id, record.key, record.proposal, {}, "search")
    assert not again
    status = stored.status(study)
    assert (status.proposals - status.duplicates, status.duplicates) == (1, 1)


def test_claims_come_in_the_order_of_filing_and_stop_at_the_budget(study, file_one, claim_one):
    keys = [file_one() for _ in range(5)]
    claims = [claim_one(f"w{index}") for index in range(5)]
    assert [held.key for held in claims if held] == keys[:3]
    assert [held.number for held in claims if held] == [0, 1, 2]
    protocol.fail(study.database, claims[0], "no memory")  # a failed candidate does not count
    assert claim_one("w9").key == keys[3]


def test_references_do_not_count_and_have_no_trial(study, file_one, claim_one):
    file_one("reference")
    held = claim_one("w")
    finish(study, held)
    assert stored.status(study).trained == 0
    assert stored.status(study).references == 1
    assert trials_of(study.database) == []


def test_a_claim_whose_acknowledgement_was_lost_is_found_again(study, file_one, claim_one):
    file_one()
    assert claim_one("w") == claim_one("w")
    assert stored.status(study).running == 1


def test_finish_twice_is_finish_once(study, file_one, claim_one):
    file_one()
    held = claim_one("w")
    finish(study, held, weights=b"weights")
    finish(study, held, weights=b"weights")  # the acknowledgement of the first was lost
    record = reading.read_records(study)[0]
    assert (record.state, record.score) == ("finished", 0.5)
    assert reading.weights(study, record) == b"weights"


@pytest.mark.parametrize("stale", ["report", "finish", "fail", "hand_back", "beat"])
def test_a_stale_worker_can_write_nothing(study, file_one, claim_one, stale):
    file_one()
    old = claim_one("old")
    assert recovery.sweep(study.database, old.id, old.token, 1)
    new = claim_one("new")
    before = everything(study)
    with pytest.raises(ClaimLost):
        {
            "report": lambda: protocol.report(study.database, old, [{"epoch": 1.0}], 0.1, checkpoint=b"stale"),
            "finish": lambda: finish(study, old, weights=b"stale"),
            "fail": lambda: protocol.fail(study.database, old, "stale"),
            "hand_back": lambda: protocol.hand_back(study.database, old, [], b"stale"),
            "beat": lambda: study.database.transact(lambda connection: protocol.fence(connection, old)),
        }[stale]()
    assert everything(study) == before
    finish(study, new)


def everything(study):
    def work(connection):
        rows = connection.execute(select(table)).all()
        return rows, [read_file(connection, row.id, "checkpoint") for row in rows]

    return study.database.read(work)


def test_a_live_candidate_is_never_swept(study, file_one, claim_one):
    file_one()
    held = claim_one("w")
    seen = recovery.running(study.database, study.id)[held.id]
    study.database.transact(lambda connection: protocol.fence(connection, held))
    assert not recovery.sweep(study.database, held.id, *seen)
    finish(study, held)


def test_a_second_dead_attempt_fails_the_candidate(study, file_one, claim_one):
    file_one()
    for attempt in (1, 2):
        held = claim_one(f"w{attempt}")
        assert recovery.sweep(study.database, held.id, *recovery.running(study.database, study.id)[held.id])
    record = reading.read_records(study)[0]
    assert record.state == "failed"
    assert "2 attempts" in record.reason
    assert trials_of(study.database)[0].state == TrialState.FAIL


def test_what_is_handed_back_in_order_costs_no_attempt(study, file_one, claim_one):
    file_one()
    for _ in range(3):
        protocol.hand_back(study.database, claim_one("w"), [], None)
    assert reading.read_records(study)[0].attempts == 0
    held = claim_one("w")
    assert recovery.sweep(study.database, held.id, *recovery.running(study.database, study.id)[held.id])
    assert reading.read_records(study)[0].state == "queued"  # its first death


def test_a_death_on_order_is_no_failed_attempt(study, file_one, claim_one):
    file_one()
    for attempt in range(4):
        held = claim_one(f"w{attempt}")
        assert recovery.bury(study.database, study.id, f"w{attempt}", None) == 1
        assert recovery.bury(study.database, study.id, f"w{attempt}", None) == 0
    assert reading.read_records(study)[0].state == "queued"
    with pytest.raises(ClaimLost):
        protocol.fail(study.database, held, "too late")


def test_a_hand_back_keeps_its_checkpoint_and_is_no_failed_attempt(study, file_one, claim_one):
    file_one()
    for _ in range(4):
        held = claim_one("w")
        protocol.report(study.database, held, [{"epoch": 1.0}, {"epoch": 2.0}], 0.2)
        protocol.hand_back(study.database, held, [{"epoch": 1.0}], b"state of epoch 1")
        protocol.hand_back(study.database, held, [{"epoch": 1.0}], b"state of epoch 1")  # acknowledgement lost
        trial = trials_of(study.database)[0]
        assert trial.state == TrialState.WAITING
    again = claim_one("w")
    assert (again.checkpoint, len(again.curve)) == (b"state of epoch 1", 1)
    trial = trials_of(study.database)[0]
    assert (trial.state, list(trial.intermediate_values)) == (TrialState.RUNNING, [])


def test_an_attempt_forgets_the_rungs_after_its_checkpoint(study, file_one, claim_one):
    file_one()
    held = claim_one("w")
    protocol.report(study.database, held, [{"epoch": 1.0}], 0.1, RungResult(1, 0.1), checkpoint=b"one")
    protocol.report(study.database, held, [{"epoch": 1.0}, {"epoch": 2.0}], 0.2, RungResult(2, 0.2))
    recovery.sweep(study.database, held.id, *recovery.running(study.database, study.id)[held.id])
    again = claim_one("v")
    assert [result.epoch for result in again.rung_results] == [1]
    assert len(again.curve) == 1


def test_a_rung_tells_of_the_others_and_not_of_references(study, file_one, claim_one):
    file_one("reference")
    file_one()
    file_one()
    reference, first, second = claim_one("r"), claim_one("a"), claim_one("b")
    for held, score in ((reference, 0.9), (first, 0.3)):
        protocol.report(study.database, held, [{"epoch": 1.0}], score, RungResult(1, score, 0.1, (score,), (0.1,)))
    others = protocol.report(study.database, second, [{"epoch": 1.0}], 0.4, RungResult(1, 0.4))
    assert others == [RungResult(1, 0.3, 0.1, (0.3,), (0.1,))]


def test_large_files_come_back_from_their_chunks(study, file_one, claim_one):
    file_one()
    held = claim_one("w")
    content = random.Random(0).randbytes(9_000_001)
    finish(study, held, weights=content)
    assert reading.weights(study, reading.read_records(study)[0]) == content


def test_what_finishes_while_it_is_decided_which_weights_to_keep_keeps_its_own(study, file_one, claim_one):
    file_one()
    file_one()
    first, second = claim_one("a"), claim_one("b")
    finish(study, first, weights=b"poor")
    looked_at = {record.id for record in reading.read_records(study) if record.state == "finished"}
    finish(study, second, weights=b"the best of all")
    place = study.artifacts
    assert study.database.transact(lambda c: sweep_weights(c, study.id, set(), place, looked_at)) == 1
    records = {record.id: record for record in reading.read_records(study)}
    assert records[first.id].weights is None
    assert reading.weights(study, records[second.id]) == b"the best of all"


def _race(path: str, worker: int, taken: multiprocessing.Queue) -> None:
    database = Database.open(path)
    study = stored.open_study(database, "digits")
    space = Space(SpaceFile.from_table(study.study.space), INPUTS, OUTPUTS)
    distributions = with_json(space.parameters())
    while (held := protocol.claim(database, study.id, f"w{worker}", distributions)) is not None:
        taken.put((held.id, held.token))
        protocol.report(database, held, [{"epoch": 1.0}], 0.1, RungResult(1, 0.1))
        protocol.finish(database, held, RESULT, [0.5])


@pytest.mark.slow
def test_processes_racing_train_the_budget_exactly_and_nothing_twice(tmp_path: Path):
    path = str(tmp_path / "a.db")
    database = Database.create(path)
    study = create_or_join(database, read("digits", trials=12), "f" * 64, {})
    space = Space(SpaceFile.from_table(study.study.space), INPUTS, OUTPUTS)
    generator = random.Random(1)
    for _ in range(20):
        topology, chosen = space.random(generator)
        key = candidate_key(topology, chosen)
        protocol.propose(database, study.id, key, Proposal(topology, chosen), space.encode(topology, chosen))
    context = multiprocessing.get_context("spawn")
    taken = context.Queue()
    processes = [context.Process(target=_race, args=(path, index, taken)) for index in range(6)]
    for process in processes:
        process.start()
    claims = [taken.get(timeout=120) for _ in range(12)]
    for process in processes:
        process.join()
    assert len(set(claims)) == 12
    assert taken.empty()
    trials = trials_of(database)
    assert [trial.number for trial in trials] == list(range(12))
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}
    database.close()


@pytest.mark.parametrize("storage", [pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_who_writes_a_large_file_is_not_swept_and_keeps_nobody_waiting(storage, study, file_one, claim_one):
    """On PostgreSQL: it holds its candidate's row, but its one connection gives no sign of life meanwhile."""
    database, other = study.database, Database.open(storage)
    file_one()
    held = claim_one("w")
    ((candidate, (token, beat)),) = recovery.running(other, study.id).items()
    swept = []

    def look_while_it_writes(connection, cursor, statement, *more):
        if statement.startswith(f"INSERT INTO {chunks.name}"):
            swept.append(recovery.sweep(other, candidate, token, beat))

    event.listen(database.engine, "before_cursor_execute", look_while_it_writes)
    protocol.report(database, held, [{"epoch": 1.0}], None, checkpoint=bytes(10))
    protocol.finish(database, held, RESULT, [0.5], weights=bytes(10))
    assert swept == [False, False]
    assert stored.status(study).finished == 1
    other.close()


@pytest.mark.parametrize("storage", [pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
@pytest.mark.parametrize("ending", ["finish", "fail", "hand_back"])
def test_a_commit_whose_connection_is_lost_is_waited_for(storage, study, file_one, claim_one, ending):
    """On PostgreSQL it may be under way still when its worker tries again, whose claim it is still."""
    again, looking = Database.open(storage), Database.open(storage)
    file_one()
    held = claim_one("w")
    end = {
        "finish": lambda database: protocol.finish(database, held, RESULT, [0.5], weights=b"weights"),
        "fail": lambda database: protocol.fail(database, held, "no memory"),
        "hand_back": lambda database: protocol.hand_back(database, held, [{"epoch": 1.0}], b"checkpoint"),
    }[ending]
    under_way, go_on = threading.Event(), threading.Event()

    def hold_up(connection):
        under_way.set()
        go_on.wait()

    event.listen(study.database.engine, "commit", hold_up)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(end, study.database)
        under_way.wait()
        second = pool.submit(end, again)
        waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        try:
            while not looking.read(lambda connection: connection.scalar(waits)):
                assert not second.done()
        finally:
            go_on.set()
        first.result()
        second.result()
    (record,) = reading.read_records(study)
    assert record.state == {"finish": "finished", "fail": "failed", "hand_back": "queued"}[ending]
    if ending == "finish":
        assert reading.weights(study, record) == b"weights"
    again.close()
    looking.close()
