"""Machines of a test: each a real `nasmod` process with its workers, in a process group and a folder of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from sqlalchemy import select

from nasmod import registry
from nasmod.api import allow_list
from nasmod.networks import build
from nasmod.search.asking import Asked
from nasmod.search.candidate import CandidateTraining
from nasmod.search.context import Context, bring_to_life
from nasmod.study import Database, Record, StoredStudy, Study, candidates, create_or_join, processes, records
from nasmod.study import stored as storing
from nasmod.study.allowed import permit
from nasmod.study.definition import Plugin, load_plugins
from nasmod.study.processes import Seen
from nasmod.study.tables import candidates as table
from nasmod.study.tables import studies
from nasmod.training.checkpoints import load_weights
from tests.study.invariants import violations

DRIVER, WAITING = (Path(__file__).with_name(name) for name in ("driver.py", "waiting.py"))
soaked_on_sqlite = pytest.mark.parametrize(
    "storage",
    [pytest.param("postgresql", marks=pytest.mark.slow), pytest.param("sqlite", marks=pytest.mark.soak)],
    indirect=True,
)
LEASE, CHECKPOINT = 10.0, 0.3  # seconds; a shorter lease takes from the living where the machine is overloaded


class Group:
    """One machine of a lab: killed whole, or one process of it, and started again by whoever watches over it."""

    def __init__(
        self, folder: Path, storage: str, environment: Mapping[str, str] | None = None, inside: Sequence[str] = ()
    ) -> None:
        self.folder, self.storage = folder, storage
        self.inside = inside  # a command that runs another one elsewhere
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    def start(self, *arguments: str, workers: int = 1, lease: float = LEASE, checkpoint: float = CHECKPOINT) -> Group:
        """Resume the study ``small`` (or run these arguments) with so many workers."""
        command = arguments or ("resume", "small")
        driver = [*self.inside, sys.executable, str(DRIVER), str(lease), str(checkpoint)]
        with (self.folder / "out.txt").open("ab") as out:
            self.process = subprocess.Popen(
                [*driver, *command, "--storage", self.storage, "--workers", str(workers)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        """Of the supervisor, and of the process group."""
        assert self.process is not None
        return self.process.pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the supervisor and all of its workers."""
        if self.process is not None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return
            if number == signal.SIGKILL:
                self.process.wait()

    def has(self, pid: int) -> bool:
        """Whether a process belongs to this group: nothing else is ever killed."""
        try:
            return self.process is not None and os.getpgid(pid) == self.pid
        except ProcessLookupError:
            return False

    def wait(self, seconds: float = 300.0) -> int:
        """Its exit code, once it has ended by itself."""
        assert self.process is not None
        return self.process.wait(seconds)

    def said(self) -> str:
        """What it printed."""
        return (self.folder / "out.txt").read_text()


@contextmanager
def groups_of(*groups: Group) -> Iterator[None]:
    """None of their processes outlives the test."""
    try:
        yield
    finally:
        for group in groups:
            group.kill(signal.SIGCONT)
            group.kill()


@contextmanager
def filed(study: Study, storage: str) -> Iterator[tuple[StoredStudy, Context]]:
    """A study in a database, and its definition brought to life."""
    torch.set_num_threads(1)  # as a worker does
    context = bring_to_life(study)
    database = Database.create(storage)
    try:
        yield create_or_join(database, study, context.dataset.fingerprint, {}), context
    finally:
        database.close()


def slower(study: Study, batch_size: int = 4) -> Study:
    """The same study in small batches: candidates that take seconds can be killed in the middle."""
    return study.model_copy(update={"training": study.training.model_copy(update={"batch_size": batch_size})})


def patient(study: Study) -> Study:
    """The same study of candidates that wait most of the time: seconds to be killed in, and free cores for others."""
    space = {
        "modules": {"min": 1, "max": 2},
        "kinds": {"waiting": {"width": {"low": 8, "high": 64}, "milliseconds": 15}},
        "wiring": {"edges": "free", "merge": "sum"},
    }
    plugin = Plugin(path=str(WAITING), sha256=registry.read_plugin(WAITING).sha256)
    found = study.model_copy(update={"space": space, "plugins": (plugin,)})
    permit(found, allow_list(), allow=True)
    load_plugins(found)
    return found


def wait_until(condition: Callable[[], object], seconds: float = 240.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


def at_work(stored: StoredStudy, *groups: Group) -> list[Seen]:
    """The registered workers of these groups that are alive."""
    seen = processes.at_work(stored.database, stored.id)
    return [one for one in seen if one.process.role == "worker" and any(group.has(one.process.pid) for group in groups)]


def start_together(stored: StoredStudy, *groups: Group, lease: float = LEASE) -> None:
    """Start them; nothing is filed before each has a worker ready, since the test holds the controller's lease."""
    _, token, beat = storing.lease(stored)
    assert storing.take_lease(stored, "test", token, beat)
    for group in groups:
        group.start(lease=lease)
    wait_until(lambda: storing.keep_lease(stored, "test", 0.0) and all(at_work(stored, group) for group in groups))
    storing.release_lease(stored, "test")


def who_trains(stored: StoredStudy, *groups: Group) -> Group:
    """The one of these groups whose worker has the candidate."""
    return next(group for group in groups if any(seen.candidate is not None for seen in at_work(stored, group)))


@contextmanager
def one_of_two_trains(study: Study, storage: str, folder: Path) -> Iterator[tuple[StoredStudy, Context, Group, Group]]:
    """Two machines on one study: the first trains its candidate and has stored a checkpoint, the second is idle."""
    groups = [Group(folder / name, storage) for name in ("one", "other")]
    with filed(study, storage) as (stored, context), groups_of(*groups):
        start_together(stored, *groups)
        wait_until(lambda: rows(stored) and rows(stored)[0].checkpoint > 0)
        first = who_trains(stored, *groups)
        (second,) = set(groups) - {first}
        yield stored, context, first, second


def holder(stored: StoredStudy) -> int | None:
    """The process that steers the study: its pid, None while nobody does."""
    name, _, _ = storing.lease(stored)
    return next(
        (one.process.pid for one in processes.at_work(stored.database, stored.id) if one.process.name == name), None
    )


def rows(stored: StoredStudy) -> list:
    """The candidates as they lie in the database."""
    query = select(table).where(table.c.study == stored.id).order_by(table.c.id)
    return list(stored.database.read(lambda connection: connection.execute(query).all()))


class Watcher:
    """Looks at who holds what: one claim is one worker's, and the budget is never exceeded."""

    def __init__(self, stored: StoredStudy) -> None:
        self.stored = stored
        self.claims: dict[tuple[int, int], str] = {}  # (candidate, token) -> worker

    def look(self) -> None:
        holds = (table.c.state == "running") | table.c.state.in_(["finished", "stopped"])
        query = (
            select(table.c.id, table.c.token, table.c.state, table.c.worker, studies.c.trials)
            .join(studies, studies.c.id == table.c.study)
            .where(table.c.study == self.stored.id, table.c.role == "search", holds)
        )
        found = self.stored.database.read(lambda connection: connection.execute(query).all())
        if found:
            assert len(found) <= found[0].trials
        running = [row for row in found if row.state == "running"]
        assert len({row.worker for row in running}) == len(running), "one worker trains one candidate at a time"
        for row in running:
            assert self.claims.setdefault((row.id, row.token), row.worker) == row.worker


def check_sound(stored: StoredStudy, context: Context) -> list[Record]:
    """What must hold of every study that has ended, whatever was killed; returns its records."""
    assert violations(stored, ended=True) == []
    found = records.read_records(stored)
    epochs = [float(epoch) for epoch in range(1, stored.study.training.epochs + 1)]
    for record in found:
        if record.state == "finished":
            assert [point["epoch"] for point in record.curve] == epochs
            assert {"accuracy", "skill", "flops", "modularity"} <= record.measures.keys()
            if record.weights is not None:
                network = build(context.plan(record.proposal.topology))
                load_weights(network, records.weights(stored, record))
    return found


def undisturbed(study: Study, record: Record, folder: Path) -> list[dict[str, float]]:
    """The curve of a record's candidate trained in one go, in a database of its own, without the seconds."""
    with filed(study, str(folder / f"{record.key[:8]}.db")) as (stored, context):
        candidates.propose(stored.database, stored.id, record.key, record.proposal, record.parameters)
        held = candidates.claim(stored.database, stored.id, "alone", context.distributions)
        assert held is not None
        assert held.key == record.key
        CandidateTraining(context, stored.database, held, "cpu", Asked()).run()
        return without_times(records.read_records(stored)[0])


def without_times(record: Record) -> list[dict[str, float]]:
    """A curve, but for how long each epoch took."""
    return [{name: value for name, value in point.items() if name != "seconds"} for point in record.curve]


def kill_one(generator: random.Random, stored: StoredStudy, *groups: Group) -> str | None:
    """Kill -9 of a random worker; its name."""
    alive = at_work(stored, *groups)
    if not alive:
        return None
    victim = generator.choice(alive).process
    os.kill(victim.pid, signal.SIGKILL)
    return victim.name
