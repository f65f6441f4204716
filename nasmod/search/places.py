"""Where workers run: processes of this machine, each pinned to its device. The only room that reads the environment."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from nasmod.errors import StudyError
from nasmod.search.worker import USER_ERROR, Orders

QUICK_DEATH_SECONDS = 20.0
QUICK_DEATHS = 3  # so many in a row, and a worker is not started again
ENDING_SECONDS = 20.0  # how long workers may take to hand their candidates back


def devices(workers: int | str) -> list[str]:
    """One device a worker: every GPU, else every core with one thread (``auto``); a number of workers shares them."""
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if workers == "auto":
        return gpus or ["cpu"] * cores()
    if not isinstance(workers, int) or workers < 1:
        raise StudyError(f"--workers takes a number from 1, or 'auto', not '{workers}'.")
    return [gpus[index % len(gpus)] if gpus else "cpu" for index in range(workers)]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class LocalWorker:
    """One worker process: started, watched, started again when it died, asked to end."""

    orders: Orders
    gpu: str | None  # what CUDA_VISIBLE_DEVICES is set to
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    quick_deaths: int = 0
    ended: bool = False  # it said that there is nothing left to do

    def start(self) -> None:
        """Start the process; its orders go through standard input, so that no password is in its title."""
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.orders.threads)}
        if self.gpu is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpu
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            self.log.touch()
        except OSError as error:
            raise StudyError(f"The workers' log '{self.log}' cannot be written: {error.strerror}.") from error
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "nasmod.search.worker"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
            )
        assert self.process.stdin is not None
        self.process.stdin.write((self.orders.to_json() + "\n").encode())
        self.process.stdin.flush()  # and left open: it closes when this process is gone
        self.started = time.monotonic()

    def watch(self) -> None:
        """Start it again if it died. Raises `StudyError` when it cannot work, with what it said last."""
        if self.ended or self.process is None or self.process.poll() is None:
            return
        self._close()
        if self.process.returncode == 0:
            self.ended = True
            return
        if self.process.returncode == USER_ERROR:
            raise StudyError(f"A worker cannot work: {self._last_words()}")
        quick = time.monotonic() - self.started < QUICK_DEATH_SECONDS
        self.quick_deaths = self.quick_deaths + 1 if quick else 0
        if self.quick_deaths >= QUICK_DEATHS:
            raise StudyError(
                f"A worker died {QUICK_DEATHS} times within seconds (exit {self.process.returncode}): "
                f"{self._last_words()} Its log: {self.log}"
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

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None and not self.process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing."]
        return lines[-1].partition("nasmod.worker ")[2] or lines[-1]


@dataclass
class Machine:
    """The workers of this machine."""

    workers: list[LocalWorker] = field(default_factory=list)

    def watch(self) -> None:
        """Look after every worker."""
        for worker in self.workers:
            worker.watch()

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


def start_workers(storage: str, study: str, workers: int | str, beat_seconds: float, logs: Path) -> Machine:
    """Start the workers of this machine, each with a log file ``worker-N.log`` in `logs`."""
    machine = Machine()
    for index, device in enumerate(devices(workers)):
        gpu = device.removeprefix("cuda:") if device.startswith("cuda") else None
        # a worker sees only its own GPU, which is the first it sees
        orders = Orders(storage, study, "cuda:0" if gpu is not None else "cpu", 1, beat_seconds)
        worker = LocalWorker(orders, gpu, logs / f"worker-{index}.log")
        machine.workers.append(worker)
        worker.start()
    return machine
