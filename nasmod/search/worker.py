"""A worker: a process that claims candidates, trains them one by one, and knows nothing of the other workers.

It is started by `nasmod.search.places` with its orders as one line of JSON on standard input, and ends when the study
has ended, when it is asked to (SIGTERM, SIGINT: the candidate is handed back with its checkpoint), or when the process
that started it is gone (its standard input closes).
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import FrameType

import torch

from nasmod.errors import NasmodError
from nasmod.search.asking import Asked
from nasmod.search.candidate import CandidateTraining, HandBack
from nasmod.search.context import Context, bring_to_life
from nasmod.study import Database, StoredStudy, candidates, open_study, status, stored
from nasmod.study.candidates import Claim, ClaimLost

IDLE_SECONDS = 0.2  # between two looks at an empty queue
USER_ERROR = 2  # exit code: a person must mend something; the last line of the log says what

log = logging.getLogger("nasmod.worker")


@dataclass(frozen=True)
class Orders:
    """What a worker is told: where the study lies, its device, and how often to give a sign of life."""

    storage: str
    study: str
    device: str
    threads: int
    beat_seconds: float

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Orders:
        """What `to_json` gave."""
        return cls(**json.loads(text))


class Worker:
    """Claims and trains until nothing is left to do."""

    def __init__(self, orders: Orders, study: StoredStudy, context: Context) -> None:
        self.orders, self.study, self.context = orders, study, context
        self.database = study.database
        self.name = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.asked_to_end = Asked()
        self.training: CandidateTraining | None = None

    def ask_to_end(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: end after handing back, in the middle of an epoch if need be, never in a transaction."""
        self.asked_to_end.set()
        if self.training is not None and self.training.interruptible:
            self.training.interruptible = False
            raise HandBack

    def run(self) -> None:
        """The loop. Raises `NasmodError` when the database is gone for good."""
        while not self.asked_to_end.is_set():
            held = candidates.claim(self.database, self.study.id, self.name, self.context.distributions)
            if held is None:
                if status(self.study).state == "ended":
                    return
                self.asked_to_end.wait(IDLE_SECONDS)
                continue
            log.info("claimed %s (%s)", held.number if held.number is not None else held.role, held.key[:8])
            self._train(held)

    def _train(self, held: Claim) -> None:
        lost, done = threading.Event(), threading.Event()
        beating = threading.Thread(target=self._beat, args=(held, lost, done), daemon=True)
        beating.start()
        try:
            self.training = CandidateTraining(
                self.context, self.database, held, self.orders.device, self.asked_to_end, lost
            )
            self.training.run()
        except ClaimLost:
            log.warning("lost %s: another worker has it now", held.key[:8])
        finally:
            self.training = None
            done.set()
            beating.join()

    def _beat(self, held: Claim, lost: threading.Event, done: threading.Event) -> None:
        """Signs of life between reports, so that a long epoch is not taken for a death."""
        while not done.wait(self.orders.beat_seconds):
            try:
                candidates.beat(self.database, held)
            except ClaimLost:
                if not done.is_set():
                    lost.set()
                return
            except NasmodError:
                log.exception("no sign of life could be given")


def main() -> None:
    """Entry of the process: orders on standard input, what happens on standard error."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    orders = Orders.from_json(sys.stdin.readline())
    torch.set_num_threads(orders.threads)
    try:
        database = Database.open(orders.storage)
        study = open_study(database, orders.study)
        context = bring_to_life(study.study)
        stored.check_data(study, context.dataset.fingerprint)
        worker = Worker(orders, study, context)
        signal.signal(signal.SIGTERM, worker.ask_to_end)
        signal.signal(signal.SIGINT, worker.ask_to_end)
        threading.Thread(target=_end_with_parent, daemon=True).start()
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
