"""What goes wrong around a study: a database that goes away, a full disk, candidates that crash, hang or eat memory."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nasmod.search.context import bring_to_life
from nasmod.search.places import start_workers
from nasmod.study import Database, Proposal, candidate_key, candidates, create_or_join, processes, records, recovery
from nasmod.study.database import copy
from nasmod.study.stored import raise_budget, status
from nasmod.topology import Node, Topology
from tests.postgresql import Cluster, binaries, cluster
from tests.search.groups import slower
from tests.search.trouble import kinds

SEARCH = """
import logging, sys
from nasmod.search.run import run
from nasmod.study import Database, open_study
from nasmod.study.allowed import permit
if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    database = Database.open(sys.argv[1])
    permit(open_study(database, "small", only_to_look=True).study, None, allow=True)
    study = open_study(database, "small")
    print(run(study, workers=2, lease_seconds=float(sys.argv[2])))
"""


@pytest.fixture
def search(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a search of the study ``small`` by a supervisor and two workers, which do not outlive the test."""
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    started = []

    def start(storage: str, lease_seconds: float = 3.0, **options) -> subprocess.Popen[str]:
        command = [sys.executable, str(script), storage, str(lease_seconds)]
        started.append(
            subprocess.Popen(
                command, stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path, **options
            )
        )
        return started[-1]

    yield start
    for process in started:
        with suppress(ProcessLookupError):  # it has ended, and its workers with it
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_until(condition, process: subprocess.Popen[str], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        assert process.poll() is None, "the search has ended"
        time.sleep(0.05)


def logs_of(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.rglob("*.log")))


@pytest.fixture
def postgresql_cluster() -> Iterator[Cluster]:
    """A server of the test's own, to be stopped in the middle."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed here; CI installs it")
    with cluster() as made:
        yield made


def workers_of(stored) -> set[str]:
    return {seen.process.name for seen in processes.at_work(stored.database, stored.id)}


@pytest.mark.slow
def test_a_server_that_restarts_and_goes_away_for_a_minute_costs_nothing(
    make_study, search, postgresql_cluster, tmp_path
):
    """No process dies, no lease is taken, no epoch is trained twice, though the outage is twenty leases long."""
    study = make_study(trials=6, epochs=150, strategy="evolution", references="true")
    database = Database.create(postgresql_cluster.url)
    stored = create_or_join(database, study, bring_to_life(study).dataset.fingerprint, {})
    process = search(postgresql_cluster.url)

    def epochs() -> int:
        return sum(len(record.curve) for record in records.read_records(stored))

    wait_until(lambda: epochs() > 5 and len(workers_of(stored)) == 3, process)
    before, trained = workers_of(stored), epochs()
    for mode in ("fast", "immediate"):  # an order, then a crash
        postgresql_cluster.stop(mode)
        postgresql_cluster.start()
        wait_until(lambda trained=trained: epochs() > trained, process)
        trained = epochs()
    postgresql_cluster.stop("fast")
    time.sleep(60)
    assert process.poll() is None
    postgresql_cluster.start()
    wait_until(lambda: epochs() > trained, process)
    assert workers_of(stored) == before
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, logs_of(tmp_path)
    assert "6 candidates were trained" in out
    found = records.read_records(stored)
    assert {record.attempts for record in found if record.state in ("finished", "stopped")} == {1}
    for record in found:
        if record.state in ("finished", "stopped"):
            assert [point["epoch"] for point in record.curve] == list(range(1, len(record.curve) + 1))
    assert status(stored).running == 0
    assert "Traceback" not in logs_of(tmp_path)
    database.close()


@pytest.mark.slow
def test_a_worker_that_starts_while_the_server_is_away_works_when_it_is_back(make_study, postgresql_cluster, tmp_path):
    study = make_study()
    database = Database.create(postgresql_cluster.url)
    stored = create_or_join(database, study, bring_to_life(study).dataset.fingerprint, {})
    postgresql_cluster.stop("fast")
    machine = start_workers(stored, 1, 0.5, tmp_path / "logs")
    try:
        (worker,) = machine.workers
        wait_until(lambda: "trying again" in logs_of(tmp_path), worker.process)
        postgresql_cluster.start()
        wait_until(lambda: workers_of(stored) == {worker.orders.name}, worker.process)
    finally:
        machine.end()
    assert worker.process.returncode == 0
    assert not workers_of(stored)
    database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(path: Path) -> None:
    """Write until nothing can be written."""
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


LARGE = """
[modules]
min = 1
max = 1
[kinds.dense]
width = [8, 12, 1024]
depth = 3
[wiring]
edges = "free"
merge = "sum"
"""


@pytest.mark.slow
def test_a_full_disk_fails_the_candidate_and_work_goes_on_when_there_is_space_again(
    make_study, search, small_disk, tmp_path
):
    """What needs little waits while there is no space at all; weights of 8 MB find none, and their candidate fails."""
    (tmp_path / "large.toml").write_text(LARGE)
    study = slower(make_study(space="large.toml", trials=2, epochs=50), batch_size=16)
    study = study.model_copy(update={"objective": study.objective.model_copy(update={"flops_budget": 10_000_000})})
    database = Database.create(str(small_disk / "small.db"))
    context = bring_to_life(study)
    stored = create_or_join(database, study, context.dataset.fingerprint, {})
    small, large = (file_dense(stored, context, {"width": width, "depth": 3}) for width in (8, 1024))

    def record_of(key: str):
        return next(record for record in records.read_records(stored) if record.key == key)

    process = search(database.url)
    wait_until(lambda: record_of(small).curve, process)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"):
        fill(ballast)
    time.sleep(12)  # several leases: nobody can write, so nobody shows a sign of life
    assert process.poll() is None
    with sqlite3.connect(f"file:{small_disk / 'small.db'}?mode=ro", uri=True) as reader:
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    reader.close()
    ballast.unlink()
    out, _ = process.communicate(timeout=300)
    assert "2 candidates were trained" in out, logs_of(tmp_path) + logs_of(small_disk)
    assert (record_of(small).state, record_of(small).attempts) == ("finished", 1)
    assert (record_of(large).state, record_of(large).attempts) == ("failed", 1), logs_of(small_disk)
    assert record_of(large).reason.startswith("No space is left for the database")

    subprocess.run(["mount", "-o", "remount,size=60m", small_disk], check=True)
    assert recovery.retry(database, stored.id) == 1  # there is space for it now
    raise_budget(stored, trials=3, hours=None)
    process = search(database.url)
    out, _ = process.communicate(timeout=300)
    assert "3 candidates were trained" in out, logs_of(tmp_path) + logs_of(small_disk)
    assert record_of(large).state == "finished"
    copy(database, tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as reader:
        assert reader.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    reader.close()
    database.close()


def file_dense(stored, context, params) -> str:
    """File a network of one dense module; returns its key."""
    params = {"width": 16, "depth": 1, "activation": "relu", "normalisation": "none", "residual": False, **params}
    return file_one(stored, context, "dense", params)


def file_one(stored, context, kind, params) -> str:
    """File a network of one module; returns its key."""
    nodes = (Node("input", (), {"name": "x"}), Node(kind, (0,), params), Node("output", (1,), {"name": "y"}))
    topology = Topology(nodes)
    key = candidate_key(topology, {})
    parameters = context.space.encode(topology, {})
    assert candidates.propose(stored.database, stored.id, key, Proposal(topology), parameters)
    return key


TROUBLES = kinds(
    'trouble("crashing", lambda x: ctypes.string_at(0))',
    'trouble("fragile", lambda x: ctypes.string_at(0), counted=False)',
    'trouble("endless", lambda x: time.sleep(10_000))',
    'trouble("greedy", lambda x: x.new_ones(10**11).sum())',
    'trouble("undefined", lambda x: x * math.nan)',
)

SPACE = """
[modules]
min = 1
max = 2
[kinds.dense]
width = [8, 16, 32]
[kinds.crashing]
[kinds.fragile]
[kinds.endless]
[kinds.greedy]
[kinds.undefined]
[wiring]
edges = "free"
merge = "sum"
"""

WORKER_BYTES = 12 * 2**30  # of address space; a worker needs a part of it, 10^11 numbers need 400 GB


@pytest.mark.slow
def test_candidates_that_crash_hang_or_eat_memory_fail_with_their_reason(make_study, search, start, tmp_path):
    """They come first in the queue; the study goes on and trains what can be trained."""
    (tmp_path / "troubles.py").write_text(TROUBLES)
    (tmp_path / "troubles.toml").write_text(SPACE)
    values = {"space": "troubles.toml", "top": "plugins = ['troubles.py']", "trials": 1}
    study = make_study(**values)
    study = study.model_copy(update={"training": study.training.model_copy(update={"seconds_per_epoch": 5.0})})
    stored, context = start(study)
    keys = {
        kind: file_one(stored, context, kind, {}) for kind in ("crashing", "fragile", "endless", "greedy", "undefined")
    }
    keys["dense"] = file_dense(stored, context, {})

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (WORKER_BYTES, WORKER_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    process = search(stored.database.url, lease_seconds=15.0, preexec_fn=limit)
    out, _ = process.communicate(timeout=400)
    assert process.returncode == 0, logs_of(tmp_path)
    assert "1 candidates were trained" in out
    found = {record.key: record for record in records.read_records(stored)}
    reasons = {kind: (found[key].state, found[key].attempts, found[key].reason) for kind, key in keys.items()}
    assert reasons["dense"][0] == "finished"
    for kind in ("crashing", "fragile"):  # the second already when its FLOPs are counted
        died = "its worker died in 2 attempts, the last time: killed by SIGSEGV"
        assert reasons[kind] == ("failed", 2, died)
    assert reasons["endless"][:2] == ("failed", 1)
    assert "hung: nothing happened for" in reasons["endless"][2]
    assert reasons["greedy"][:2] == ("failed", 1)
    assert reasons["greedy"][2].startswith("Out of memory on cpu")
    assert reasons["undefined"][:2] == ("failed", 1)
    assert "not finite" in reasons["undefined"][2]
