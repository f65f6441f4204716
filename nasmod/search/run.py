"""Searching with the workers of this machine: start them, steer the study if nobody else does, and end cleanly."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from nasmod.search.asking import Asked
from nasmod.search.context import Context, bring_to_life
from nasmod.search.controller import TICK_SECONDS, Controller
from nasmod.search.places import start_workers
from nasmod.study import Record, Status, StoredStudy, stored
from nasmod.study.database import sqlite_path

LEASE_SECONDS = 15.0
PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """What a person wants to know while a study runs."""

    status: Status
    records: list[Record]
    workers: int
    seconds: float  # since this process joined


def run(
    study: StoredStudy,
    *,
    workers: int | str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
    context: Context | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> str:
    """Search until the study has ended; returns the reason in words.

    SIGINT and SIGTERM end it early: the workers hand their candidates back, and `KeyboardInterrupt` is raised.
    Raises a `NasmodError` when the data have changed or no worker can work.
    """
    if stored.status(study).state == "ended":
        return stored.status(study).reason or "it has ended"
    context = context or bring_to_life(study.study)
    stored.check_data(study, context.dataset.fingerprint)
    name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    began = told = time.monotonic()
    with _interruptible() as asked_to_end:
        machine = start_workers(study.database.url, study.name, workers, lease_seconds / 5, log_folder(study))
        controller = Controller(context, study, name, len(machine.workers), lease_seconds)
        try:
            while not asked_to_end.is_set():
                status = controller.tick()
                machine.watch()
                if on_progress is not None and time.monotonic() - told >= PROGRESS_SECONDS:
                    told = time.monotonic()
                    on_progress(Progress(status, controller.reader.read(), len(machine.workers), told - began))
                if status.state == "ended" and machine.all_ended:
                    return status.reason or "it has ended"
                asked_to_end.wait(TICK_SECONDS)
        finally:
            machine.end()
            controller.release()
    raise KeyboardInterrupt


def log_folder(study: StoredStudy) -> Path:
    """Where this machine's workers of a study write their logs: beside an SQLite file, else in ``runs``."""
    path = sqlite_path(study.database.engine.url)
    folder = path.parent if path is not None else Path("runs")
    return folder / f"{study.name}.logs"


@contextmanager
def _interruptible() -> Iterator[Asked]:
    """A flag that SIGINT and SIGTERM set, instead of breaking into a transaction; the old handlers come back."""
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def handler(number: int, frame: FrameType | None) -> None:
        asked.set()

    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, old in before.items():
            signal.signal(number, old)
