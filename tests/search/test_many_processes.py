"""Several machines at one study, any process of which is killed at any time: nothing is lost, nothing trained twice."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time

import pytest

from nasmod.study import records
from nasmod.study.stored import raise_budget, status
from tests.search import racing
from tests.search.groups import (
    Group,
    Watcher,
    at_work,
    check_sound,
    filed,
    groups_of,
    holder,
    kill_one,
    one_of_two_trains,
    patient,
    rows,
    soaked_on_sqlite,
    undisturbed,
    wait_until,
    without_times,
)


@soaked_on_sqlite
def test_eight_workers_on_three_machines_killed_for_half_a_minute_train_the_budget_exactly(
    make_study, storage, tmp_path
):
    seconds = 30.0
    generator = random.Random(11)
    study = patient(make_study(trials=8, epochs=6, strategy="evolution"))
    groups = [Group(tmp_path / f"machine {index}", storage) for index in range(3)]
    workers = dict(zip(groups, (3, 3, 2), strict=True))
    with filed(study, storage) as (stored, context), groups_of(*groups):
        watcher = Watcher(stored)

        def keep_up() -> bool:
            """What a cluster manager does: start again what ended, until the study has."""
            watcher.look()
            ended = status(stored).state == "ended"
            for group in groups:
                if not ended and (group.process is None or group.process.poll() is not None):
                    group.start(workers=workers[group])
            return ended

        keep_up()
        wait_until(lambda: keep_up() or any(len(record.curve) > 1 for record in records.read_records(stored)))
        killed, until, next_kill = 0, time.monotonic() + seconds, 0.0
        while time.monotonic() < until:
            now = status(stored)
            if now.budget - now.trained < 6:  # there is work all the time, however fast this machine is
                raise_budget(stored, now.budget + 4, None)
            keep_up()
            if time.monotonic() >= next_kill:
                next_kill = time.monotonic() + generator.uniform(2.0, 5.0)
                if generator.random() < 0.25:
                    generator.choice(groups).kill()
                    killed += 1
                else:
                    killed += kill_one(generator, stored, *groups) is not None
            time.sleep(0.1)
        assert killed > 4
        wait_until(keep_up, 400)
        for group in groups:
            assert group.wait() == 0, group.said()

        found = check_sound(stored, context)
        assert sum(record.state == "finished" for record in found) == status(stored).budget
        logs = "".join(log.read_text() for log in tmp_path.rglob("*-worker-*.log"))
        claimed = re.findall(r"claimed \d+ \((\w+)\)", logs)
        for row in rows(stored):
            if row.state == "finished":  # a token is one more at every claim and at every end of one but the last
                assert 1 <= claimed.count(row.key[:8]) <= (row.token + 1) // 2
        again = [record for record in found if record.state == "finished" and record.attempts > 1]
        for record in again[:2]:
            assert without_times(record) == undisturbed(study, record, tmp_path)


@soaked_on_sqlite
def test_a_machine_gone_in_mid_training_another_goes_on_from_the_newest_checkpoint(make_study, storage, tmp_path):
    study = patient(make_study(trials=1, epochs=80))
    with one_of_two_trains(study, storage, tmp_path) as (stored, context, first, second):
        first.kill()
        before = rows(stored)[0]
        assert before.state == "running", "it was killed in the middle"
        assert second.wait() == 0, second.said()
        record = check_sound(stored, context)[0]
        assert record.worker != before.worker
        assert (record.attempts, rows(stored)[0].token) == (2, 3)
        assert_went_on(record, before)
        assert without_times(record) == undisturbed(study, record, tmp_path)


@soaked_on_sqlite
def test_a_candidate_handed_back_and_then_killed_goes_on_elsewhere_with_the_same_curve(make_study, storage, tmp_path):
    study = patient(make_study(trials=1, epochs=80))
    with one_of_two_trains(study, storage, tmp_path) as (stored, context, first, second):
        os.kill(first.pid, signal.SIGTERM)
        wait_until(lambda: rows(stored)[0].token > 1)
        handed_back = rows(stored)[0]
        assert handed_back.checkpoint > 0
        wait_until(lambda: rows(stored)[0].state == "running" and rows(stored)[0].checkpoint > handed_back.checkpoint)
        before = rows(stored)[0]
        assert (before.token, before.attempts) == (3, 1)  # a hand-back is no failed attempt
        (seen,) = at_work(stored, second)
        os.kill(seen.process.pid, signal.SIGKILL)
        assert first.wait() == 130
        assert second.wait() == 0, second.said()
        record = check_sound(stored, context)[0]
        assert (record.attempts, rows(stored)[0].token) == (2, 5)
        assert_went_on(record, handed_back)
        assert_went_on(record, before)
        assert without_times(record) == undisturbed(study, record, tmp_path)


@soaked_on_sqlite
def test_a_killed_controller_is_replaced_and_the_search_ends_with_the_same_candidates(make_study, storage, tmp_path):
    study = patient(make_study(trials=8, epochs=20))
    groups = [Group(tmp_path / f"machine {index}", storage) for index in range(2)]
    alone = Group(tmp_path / "alone", str(tmp_path / "alone.db"))
    with filed(study, storage) as (stored, context), filed(study, alone.storage) as (whole, _):
        with groups_of(*groups, alone):
            for group in (*groups, alone):
                group.start()
            wait_until(lambda: status(stored).trained >= 1 and holder(stored) is not None)
            leader = holder(stored)
            killed = next(group for group in groups if group.pid == leader)
            other = next(group for group in groups if group is not killed)
            os.kill(killed.pid, signal.SIGKILL)
            wait_until(lambda: not at_work(stored, killed))  # its workers end with it: their standard input closes
            assert other.wait() == 0, other.said()
            assert alone.wait() == 0, alone.said()
        found = {record.key: record for record in check_sound(stored, context) if record.state == "finished"}
        expected = {record.key: record for record in check_sound(whole, context) if record.state == "finished"}
        assert found.keys() == expected.keys()
        assert len(found) == 8
        for key, record in found.items():
            assert without_times(record) == without_times(expected[key])


@pytest.mark.slow
@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "random"},
        {"name": "evolution", "initial": 4, "sample": 3, "population": 6},
        {"name": "tpe", "initial": 4},
        {"name": "nsga2", "population": 4},
    ],
    ids=lambda strategy: strategy["name"],
)
def test_a_fresh_process_proposes_what_the_one_that_was_there_would_have_proposed(make_study, tmp_path, strategy):
    objective = 'mode = "pareto"' if strategy["name"] == "nsga2" else ""
    study = make_study(trials=100, epochs=1, objective=objective).model_copy(update={"strategy": strategy})
    there, copied = str(tmp_path / "there.db"), str(tmp_path / "copied.db")
    with filed(study, there):
        pass
    context = racing.context()
    found = context.Queue()
    sequences = []
    for target, arguments in ((racing.live, (there, 9, copied, 6)), (racing.go_on, (copied, 6))):
        process = context.Process(target=target, args=(*arguments, found))
        process.start()
        sequences.append(found.get(timeout=300))
        process.join()
    assert len(sequences[0]) >= 15
    assert sequences[0] == sequences[1]
    if strategy["name"] == "nsga2":
        notes = [proposal["origin"]["system_attributes"] for _, proposal in sequences[1]]
        generations = [value for note in notes for key, value in note.items() if "generation" in key]
        assert max(generations) >= 2
        assert generations == sorted(generations)


def assert_went_on(record, before) -> None:
    """No epoch up to the checkpoint was trained again: it took exactly as long as it did before."""
    seconds = [point["seconds"] for point in json.loads(before.curve)][: before.checkpoint]
    assert seconds
    assert [point["seconds"] for point in record.curve][: before.checkpoint] == seconds
