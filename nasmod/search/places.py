"""Where workers run: processes of this machine, each pinned to its device. It and `ray` read the environment."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nasmod.errors import StorageError, StudyError
from nasmod.search import hardware
from nasmod.search.candidate import CHECKPOINT_SECONDS
from nasmod.search.worker import HUNG, USER_ERROR, Orders
from nasmod.study import StoredStudy, processes, recovery

QUICK_DEATH_SECONDS = 20.0
QUICK_DEATHS = 3  # so many in a row with no candidate to blame, and a worker is not started again
ENDING_SECONDS = 20.0  # how long workers may take to hand their candidates back


# one thread a worker and a worker a core beats one worker with two threads
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Place(Protocol):
    """Where the workers of one supervisor run: they are started when it is made."""

    @property
    def count(self) -> int:
        """How many workers there are."""

    @property
    def all_ended(self) -> bool:
        """Whether every worker said that there is nothing left to do."""

    def watch(self, more_to_do: bool) -> None:
        """Have those work again that died, or that ended too early. Raises `StudyError` when one cannot work."""

    def end(self) -> None:
        """Ask all to hand back and end, and wait for it, `ENDING_SECONDS` at most."""


def devices(workers: int | str, workers_per_device: int = 0) -> list[str]:
    """One device a worker, as this machine names it: ``cpu``, ``cuda:1``, or ``cuda:`` and the GPU's UUID.

    ``auto``: `workers_per_device` on each GPU (0: as many as its free memory and its share of the cores allow), else
    one on each core; a number shares the GPUs out.
    """
    import torch

    # counts without waking a GPU; CUDA itself, which would hold memory of each, is never touched here
    visible = hardware.gpus(torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))
    gpus = [f"cuda:{name}" for name in visible]
    if workers == "auto":
        share = hardware.cores() / max(1, len(visible))
        each = [workers_per_device or hardware.workers_on(hardware.free_bytes(name), share) for name in visible]
        turns = range(max(each, default=0))
        shared = [gpu for turn in turns for gpu, count in zip(gpus, each, strict=True) if turn < count]
        return shared or ["cpu"] * hardware.cores()
    if not isinstance(workers, int) or workers < 1:
        raise StudyError(f"--workers takes a number from 1, or 'auto', not '{workers}'.")
    return [gpus[index % len(gpus)] if gpus else "cpu" for index in range(workers)]


@dataclass
class LocalWorker:
    """One worker process: started, watched, started again when it died, asked to end.

    `on_death(name, how)` is told of every process that ended for certain without saying goodbye, and how (None: it was
    ended before it could hand back); it returns how many candidates the process held.
    """

    orders: Orders
    log: Path
    on_death: Callable[[str, str | None], int]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = 0
    ended: bool = False  # it said that there is nothing left to do

    def start(self) -> None:
        """Start a process under a new name; its orders go through standard input: no password is in its title."""
        self.orders = dataclasses.replace(self.orders, name=processes.new_name())
        environment = {**os.environ, **dict.fromkeys(THREADS, str(self.orders.threads))}
        environment.pop("NASMOD_STORAGE", None)  # it may hold a password, and the orders say where the study lies
        kind, _, gpu = self.orders.device.partition(":")
        if kind == "cuda":  # a worker sees its own GPU alone
            environment["CUDA_VISIBLE_DEVICES"] = gpu
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            log = self.log.open("ab")
        except OSError as error:
            raise StudyError(f"The workers' log '{self.log}' cannot be written: {error.strerror}.") from error
        try:
            with log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "nasmod.search.worker"],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env=environment,
                )
        except OSError as error:
            raise StudyError(f"A worker's process cannot be started: {error.strerror}.") from error
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died at once: `watch` says so
            self.process.stdin.write((self.orders.to_json() + "\n").encode())
            self.process.stdin.flush()  # and left open: it closes when this process is gone
        self.started, self.ended = time.monotonic(), False

    def watch(self, more_to_do: bool) -> None:
        """Start it again if it died, or ended too early. Raises `StudyError` when it cannot work, with its words."""
        if self.process is None or (self.ended and not more_to_do):
            return
        if self.ended:
            self.start()
            return
        if self.process.poll() is None:
            return
        self._close()
        code = self.process.returncode
        if code == 0:
            self.ended = True
            return
        if code == USER_ERROR:
            raise StudyError(f"A worker cannot work: {self._last_words()}")
        to_blame = self.on_death(self.orders.name, _how(code)) > 0 or code == HUNG
        quick = time.monotonic() - self.started < QUICK_DEATH_SECONDS
        self.quick_deaths = self.quick_deaths + 1 if quick and not to_blame else 0
        if self.quick_deaths >= QUICK_DEATHS:
            raise StudyError(
                f"A worker died {QUICK_DEATHS} times within seconds ({_how(code)}): {self._last_words()} "
                f"Its log: {self.log}"
            )
        self.start()

    def ask_to_end(self) -> None:
        """Send SIGTERM, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()

    def wait(self, deadline: float) -> None:
        """Wait until it has ended, or end it at the deadline (monotonic seconds)."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close()

    def bury(self) -> None:
        """Take what it held, unless it has handed that back."""
        if self.process is not None and self.process.returncode != 0:
            self.on_death(self.orders.name, None)

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing."]
        return lines[-1].partition("nasmod.worker ")[2] or lines[-1]


def _how(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"it exited with {code}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (", as the system does when memory runs out" if name == "SIGKILL" else "")


@dataclass
class Machine:
    """The workers of this machine."""

    workers: list[LocalWorker] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self.workers)

    def watch(self, more_to_do: bool) -> None:
        """Look after every worker."""
        for worker in self.workers:
            worker.watch(more_to_do)

    @property
    def all_ended(self) -> bool:
        """Whether every worker said that there is nothing left to do."""
        return all(worker.ended for worker in self.workers)

    def end(self) -> None:
        """Ask all to hand back and end, and wait for it."""
        for worker in self.workers:
            worker.ask_to_end()
        deadline = time.monotonic() + ENDING_SECONDS
        for worker in self.workers:
            worker.wait(deadline)
        with contextlib.suppress(StorageError):  # the database is away, for all of them: their leases run out
            for worker in self.workers:
                worker.bury()


def start_workers(
    study: StoredStudy,
    workers: int | str,
    beat_seconds: float,
    logs: Path,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
) -> Machine:
    """Start the workers of this machine, each with a log file of its own in `logs`."""

    def on_death(name: str, how: str | None) -> int:
        processes.leave(study.database, study.id, [name])
        return recovery.bury(study.database, study.id, name, how)

    machine = Machine()
    try:
        for index, device in enumerate(devices(workers, study.workers_per_device)):
            log = (logs / f"{processes.machine()}-{os.getpid()}-worker-{index}.log").absolute()
            orders = Orders.of(study, device, beat_seconds, checkpoint_seconds)
            orders = dataclasses.replace(orders, log=str(log))
            worker = LocalWorker(orders, log, on_death)
            machine.workers.append(worker)
            worker.start()
    except BaseException:
        machine.end()
        raise
    return machine
