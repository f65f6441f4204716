"""Searching with workers of this machine, or of a Ray cluster: start them, steer the study if nobody else does, end."""

from __future__ import annotations

import importlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from nasmod.data import Reading
from nasmod.errors import StudyError, unknown
from nasmod.search import places
from nasmod.search.asking import Asked
from nasmod.search.candidate import CHECKPOINT_SECONDS
from nasmod.search.context import Context, bring_to_life
from nasmod.search.controller import TICK_SECONDS, Controller
from nasmod.search.loggers import INTERRUPTED_SECONDS, Logbook
from nasmod.search.places import Place
from nasmod.search.worker import ENDING_RETRY_SECONDS, ending_signals
from nasmod.study import Database, Record, Status, StoredStudy, processes, stored
from nasmod.study.processes import Process
from nasmod.study.watch import LEASE_SECONDS

PROGRESS_SECONDS = 0.5
LOGGING_SECONDS = 2.0
ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Progress:
    """What a person wants to know while a study runs."""

    status: Status
    records: list[Record]
    workers: int
    seconds: float  # since this process joined
    chance: float = 0.0  # what a constant answer gets
    reading: Reading | None = None  # what was read of a person's file
    not_searched: Sequence[str] = ()  # training settings of the space that change nothing on the study's data


def run(
    study: StoredStudy,
    *,
    workers: int | str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    context: Context | None = None,
    lease_seconds: float = LEASE_SECONDS,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    engine: str = "local",
    address: str | None = None,
) -> str:
    """Search until the study has ended; returns the reason in words.

    `engine` is where workers run: ``local``, or ``ray`` for the Ray cluster at `address`.
    SIGINT, SIGTERM and SIGHUP end it early: the workers hand their candidates back, and `KeyboardInterrupt` is raised.
    Raises a `NasmodError` when the data have changed or no worker can work.
    """
    if stored.status(study).state == "ended":
        return stored.status(study).reason or "it has ended"
    context = context or bring_to_life(study.study, factors=study.factors)
    stored.check_data(study, context.dataset.fingerprint)
    supervisor = Process.this("supervisor")
    began = told = logged = time.monotonic()
    beaten = 0.0
    with _interruptible(study.database) as asked_to_end:
        place = start_workers(study, workers, lease_seconds / 5, checkpoint_seconds, engine, address)
        controller = Controller(context, study, supervisor.name, place.count, lease_seconds)
        logbook = Logbook(study.study)
        try:
            while not asked_to_end.is_set():
                if time.monotonic() - beaten >= lease_seconds / 5:
                    beaten = time.monotonic()
                    processes.sign_of_life(study.database, study.id, supervisor)
                status = controller.tick()
                place.watch(more_to_do=status.state in ("searching", "repeating"))
                if on_progress is not None and time.monotonic() - told >= PROGRESS_SECONDS:
                    told = time.monotonic()
                    since, records = told - began, controller.reader.read()
                    dataset, not_searched = context.dataset, context.not_searched
                    about = dataset.chance, dataset.reading, not_searched
                    on_progress(Progress(status, records, place.count, since, *about))
                if controller.holds_lease and time.monotonic() - logged >= LOGGING_SECONDS:
                    logged = time.monotonic()
                    logbook.tell(controller.reader.read())
                if status.state == "ended" and place.all_ended:
                    if controller.holds_lease:
                        logbook.tell(controller.reader.read())
                    return status.reason or "it has ended"
                asked_to_end.wait(TICK_SECONDS)
        finally:
            place.end()
            controller.release()
            logbook.close(*([INTERRUPTED_SECONDS] if asked_to_end.is_set() else []))
            processes.leave(study.database, study.id, [supervisor.name])
    raise KeyboardInterrupt


def check_engine(engine: str, address: str | None) -> None:
    """Raise `StudyError` when there is no such engine, it is not installed, or it takes no address."""
    if engine not in ENGINES:
        raise StudyError(unknown("engine", engine, ENGINES))
    if engine == "ray":
        importlib.import_module("nasmod.search.ray")  # says how Ray is installed where it is not
    elif address is not None:
        raise StudyError(f"--address is where a Ray cluster is: it goes with --engine ray, not with '{engine}'.")


def start_workers(
    study: StoredStudy,
    workers: int | str,
    beat_seconds: float,
    checkpoint_seconds: float,
    engine: str,
    address: str | None,
) -> Place:
    """Start the workers of this supervisor where they are to run."""
    check_engine(engine, address)
    given = (study, workers, beat_seconds, log_folder(study), checkpoint_seconds)
    if engine == "ray":
        from nasmod.search import ray

        return ray.start_workers(*given, address)
    return places.start_workers(*given)


def log_folder(study: StoredStudy) -> Path:
    """Where this machine's workers of a study write their logs: beside an SQLite file, else in ``runs``."""
    path = study.database.path
    folder = path.parent if path is not None else Path("runs")
    return folder / f"{study.name}.logs"


@contextmanager
def _interruptible(database: Database) -> Iterator[Asked]:
    """A flag that the signals to end set, instead of breaking into a transaction; the old handlers come back.

    Who is asked to end waits no longer for a database that is away.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handler(number: int, frame: FrameType | None) -> None:
        asked.set()
        database.retry_seconds = ENDING_RETRY_SECONDS

    before = {number: signal.signal(number, handler) for number in ending_signals()}
    try:
        yield asked
    finally:
        for number, old in before.items():
            signal.signal(number, old)
