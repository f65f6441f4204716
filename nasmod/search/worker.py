"""A worker: a process that claims candidates, trains them one by one, and knows nothing of the other workers.

It is started by `nasmod.search.places` with its orders as one line of JSON on standard input, and ends when the study
has ended, when it is asked to (by one of `ending_signals`: the candidate is handed back with its checkpoint), or when
the process that started it is gone (its standard input closes).
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Self

import torch

from nasmod import registry
from nasmod.errors import NasmodError, StorageFullError
from nasmod.search.asking import Asked
from nasmod.search.candidate import CHECKPOINT_SECONDS, CandidateTraining, HandBack
from nasmod.search.context import Context, bring_to_life
from nasmod.study import Database, StoredStudy, candidates, files, open_study, processes, stored
from nasmod.study.candidates import Claim, ClaimLost
from nasmod.study.database import RETRY_SECONDS
from nasmod.study.processes import Process

IDLE_SECONDS, LONGEST_IDLE_SECONDS = 0.1, 1.0  # between two looks at an empty queue, longer each time
USER_ERROR = 2  # exit code: a person must mend something; the last line of the log says what
ENDING_RETRY_SECONDS = 10.0  # who is asked to end waits no longer for a database that is away
HUNG = 3  # exit code: its candidate stood still beyond the study's time limit, and was failed for it
HUNG_FACTOR, HUNG_SECONDS = 2.0, 30.0  # so much beyond `seconds_per_epoch` a candidate counts as hanging

log = logging.getLogger("nasmod.worker")


@dataclass(frozen=True)
class Orders:
    """What a worker is told: its name, where the study lies, its device as its machine names it (``cpu``, ``cuda:1``),
    its log, how often to give a sign of life."""

    name: str
    storage: str
    study: str
    device: str
    threads: int
    beat_seconds: float
    log: str | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS  # how often a checkpoint is stored at most
    allowed: tuple[str, ...] = ()  # keys of the Python that it may execute (see `nasmod.registry.Code`)

    @classmethod
    def of(cls, study: StoredStudy, device: str, beat_seconds: float, checkpoint_seconds: float) -> Orders:
        """For a worker of this process, which may execute what this process may; its name and log are still to come."""
        return cls(
            name="",
            storage=study.database.url,
            study=study.name,
            device=device,
            threads=1,
            beat_seconds=beat_seconds,
            checkpoint_seconds=checkpoint_seconds,
            allowed=tuple(sorted(registry.allowed())),
        )

    @property
    def torch_device(self) -> str:
        """Its device as the worker's process sees it, which has no other GPU."""
        return "cuda:0" if self.device.startswith("cuda") else "cpu"

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """What `to_json` gave."""
        return cls(**json.loads(text))


class Worker:
    """Claims and trains until nothing is left to do. `training` is what trains one claim."""

    def __init__(
        self,
        orders: Orders,
        study: StoredStudy,
        context: Context,
        training: type[CandidateTraining] = CandidateTraining,
    ) -> None:
        self.orders, self.study, self.context = orders, study, context
        self.database = study.database
        self.process = Process.this("worker", orders.name, orders.device, orders.log)
        self.asked_to_end = Asked()
        self._make_training = training
        self.training: CandidateTraining | None = None

    @classmethod
    def of(cls, orders: Orders, retry_seconds: float = RETRY_SECONDS) -> Self:
        """A worker ready to `run`. Raises `NasmodError` when the study cannot be worked on from here.

        Its supervisor has seen the database: a worker that finds it away waits for it, `retry_seconds` at most.
        """
        torch.set_num_threads(orders.threads)
        registry.allow(orders.allowed)  # what its supervisor may execute, a worker may: it decides nothing itself
        database = Database.open(orders.storage, retry_seconds)
        study = open_study(database, orders.study)
        context = bring_to_life(study.study, factors=study.factors)
        stored.check_data(study, context.dataset.fingerprint)
        with suppress(StorageFullError):  # space may come back; a folder that is not mounted here does not
            files.check(database, study.id, study.artifacts)
        return cls(orders, study, context)

    def ask_to_end(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: end after handing back, in the middle of an epoch if need be, never in a transaction."""
        self.asked_to_end.set()
        self.database.retry_seconds = ENDING_RETRY_SECONDS
        if self.training is not None and self.training.interruptible:
            self.training.interruptible = False
            raise HandBack

    def halt(self) -> None:
        """Ask it to end from a thread of its own process: by the signal that breaks into an epoch."""
        os.kill(os.getpid(), signal.SIGTERM)

    def run(self) -> None:
        """The loop. Raises `NasmodError` when the database is gone for good."""
        done = threading.Event()
        alive = threading.Thread(target=self._show_life, args=(done,), daemon=True)
        alive.start()
        pause, queued, idle = IDLE_SECONDS, True, False
        where = self.database, self.study.id, self.process.name, self.context.distributions
        try:
            while not self.asked_to_end.is_set():
                held = candidates.claim(*where, if_free=idle) if queued else None
                idle = held is None
                if held is not None:
                    log.info("claimed %s (%s)", held.number if held.number is not None else held.role, held.key[:8])
                    self._train(held)
                    pause = IDLE_SECONDS
                    continue
                # a claim locks the study's row: who found nothing looks before it asks again
                self.asked_to_end.wait(pause * (0.5 + random.random()))  # spreads the workers; decides nothing
                pause = min(1.5 * pause, LONGEST_IDLE_SECONDS)
                state, queued = candidates.waiting(self.database, self.study.id)
                if state == "ended":
                    return
        finally:
            done.set()
            alive.join()
            processes.leave(self.database, self.study.id, [self.process.name])

    def _train(self, held: Claim) -> None:
        self.training = self._make_training(
            self.context,
            self.database,
            held,
            self.orders.torch_device,
            self.asked_to_end,
            self.orders.checkpoint_seconds,
        )
        try:
            self.training.run()
        except ClaimLost:
            log.warning("lost %s: another worker has it now", held.key[:8])
        finally:
            self.training = None

    def _show_life(self, done: threading.Event) -> None:
        """Signs of life, between reports too, so that a long epoch is not taken for a death."""
        while True:
            training = self.training
            if training is not None:
                self._end_if_hung(training)
            try:
                state = processes.sign_of_life(
                    self.database, self.study.id, self.process, None if training is None else training.held
                )
                if state in ("halting", "gone"):
                    self.halt()
            except ClaimLost:
                if training is not None:
                    training.lost.set()
            except NasmodError:
                log.exception("no sign of life could be given")
            if done.wait(self.orders.beat_seconds):
                return

    def _end_if_hung(self, training: CandidateTraining) -> None:
        """A candidate that stands still beyond the study's limit fails, and this process with it: nothing else frees
        the thread that trains it."""
        limit = training.settings.seconds_per_epoch
        if limit is None or time.monotonic() - training.progressed_at < HUNG_FACTOR * limit + HUNG_SECONDS:
            return
        reason = f"hung: nothing happened for {HUNG_FACTOR:g} times the {limit:g} seconds that an epoch may take"
        log.error("%s; this worker ends", reason)
        with suppress(ClaimLost, NasmodError):  # another has the candidate, or will find it without signs of life
            candidates.fail(self.database, training.held, reason)
            processes.leave(self.database, self.study.id, [self.process.name])
        logging.shutdown()
        os._exit(HUNG)


def ending_signals() -> list[signal.Signals]:
    """What asks a process to end; SIGHUP (its terminal closed) unless it was started to outlive that, as by nohup."""
    asking = [signal.SIGINT, signal.SIGTERM]
    hangup: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        asking.append(hangup)
    return asking


def main() -> None:
    """Entry of the process: orders on standard input, what happens on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    orders = Orders.from_json(sys.stdin.readline())
    try:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        worker = Worker.of(orders)  # a signal just ends who waits for the database here: it holds nothing yet
        for number in ending_signals():
            signal.signal(number, worker.ask_to_end)
        worker.run()
    except NasmodError as error:
        log.error("%s", error)
        sys.exit(USER_ERROR)
    finally:
        logging.shutdown()


def _end_with_parent() -> None:
    """Standard input closes when the process that started this one is gone, however it went."""
    with suppress(OSError, ValueError):
        while sys.stdin.readline():
            time.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
