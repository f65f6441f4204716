"""Workers as actors of a Ray cluster: Ray places them and starts their process again; the database keeps the truth.

It alone imports `ray`.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import platform
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nasmod.errors import NasmodError, StorageError, StudyError
from nasmod.search.candidate import CHECKPOINT_SECONDS
from nasmod.search.context import Context
from nasmod.search.places import ENDING_SECONDS, QUICK_DEATH_SECONDS, QUICK_DEATHS, THREADS
from nasmod.search.worker import ENDING_RETRY_SECONDS, IDLE_SECONDS, Orders, Worker
from nasmod.study import StoredStudy, processes, recovery

try:
    import ray
    from ray.exceptions import ActorDiedError, OutOfMemoryError, RayError
except ImportError as error:
    raise StudyError("--engine ray needs Ray: pip install 'nasmod[ray]'") from error

REACHED_SECONDS = 5.0  # Ray itself tries an address for minutes
OPENING_SECONDS = 120.0  # for a database that is away; out of an actor's machine's reach, it is for good, and told
PORT = 6379  # Ray's own, where an address names none
NONE_SEEN = ("auto", "local")  # addresses that name no machine


class ActorWorker(Worker):
    """A worker in a thread of an actor's process, where no signal reaches it: another thread hands back for it."""

    def __init__(self, orders: Orders, study: StoredStudy, context: Context) -> None:
        super().__init__(orders, study, context)
        self.halted = threading.Event()

    def halt(self) -> None:
        """Hand back from another thread. An epoch cannot be broken into: whoever hears of it ends this process."""
        self.asked_to_end.set()
        self.database.retry_seconds = ENDING_RETRY_SECONDS
        if (training := self.training) is not None:
            training.give_back()
        self.halted.set()


class Actor:
    """What runs in an actor's process: one worker. `end` is called beside `work`, in another thread."""

    def __init__(self) -> None:
        self.worker: ActorWorker | None = None

    def work(self, text: str) -> str | None:
        """Work as the orders say until nothing is left to do. Returns what a person must mend, None for nothing."""
        self.end()  # who works here still was out of reach for a while, and taken for dead
        orders = Orders.from_json(text)
        assert orders.log is not None
        _log_to(Path(orders.log))
        if orders.device == "cuda":
            orders = dataclasses.replace(orders, device=f"cuda:{os.environ.get('CUDA_VISIBLE_DEVICES', '0')}")
        try:
            worker = self.worker = ActorWorker.of(orders, OPENING_SECONDS)
            working = ThreadPoolExecutor(1).submit(worker.run)
            while not worker.halted.is_set():
                with suppress(TimeoutError):
                    return working.result(timeout=IDLE_SECONDS)
        except NasmodError as error:
            return str(error)
        return None

    def end(self) -> None:
        """Hand back."""
        if (worker := self.worker) is not None:
            worker.halt()


@dataclass
class RayWorker:
    """One actor as its supervisor sees it: given orders, watched, given orders again when its process died."""

    study: StoredStudy
    orders: Orders
    options: dict[str, Any]
    actor: Any = None
    call: Any = None  # the answer of `Actor.work` to come; None when it has said that there is nothing left to do
    started: float = 0.0
    quick_deaths: int = 0

    def start(self) -> None:
        """Have it work under a new name."""
        if self.actor is None:
            self.actor = ray.remote(**self.options)(Actor).remote()
        self.orders = dataclasses.replace(self.orders, name=processes.new_name())
        # Ray starts the process again, this asks it anew: then who died is known by name, and is buried
        self.call = self.actor.work.options(max_task_retries=0).remote(self.orders.to_json())
        self.started = time.monotonic()

    def watch(self, more_to_do: bool) -> None:
        """Have it work again if it died, or ended too early. Raises `StudyError` when it cannot work."""
        if self.call is None:
            if more_to_do:
                self.start()
            return
        done, _ = ray.wait([self.call], timeout=0)
        if not done:
            return
        try:
            words = ray.get(self.call)
        except RayError as error:
            self._died(error)
            return
        if words is not None:
            raise StudyError(f"A worker cannot work: {words}")
        self.end()
        self.bury(None)

    def end(self) -> None:
        """End its process, which has handed back what it held, or is not going to."""
        ray.kill(self.actor, no_restart=True)
        self.actor = self.call = None

    def bury(self, how: str | None) -> int:
        """Take what its process held; if it lives after all, it can store nothing more of it. None: it was asked to."""
        processes.leave(self.study.database, self.study.id, [self.orders.name])
        return recovery.bury(self.study.database, self.study.id, self.orders.name, how)

    def _died(self, error: RayError) -> None:
        memory = isinstance(error, OutOfMemoryError)
        to_blame = self.bury("killed by Ray: memory ran out" if memory else "its actor died or was out of reach") > 0
        quick = time.monotonic() - self.started < QUICK_DEATH_SECONDS
        self.quick_deaths = self.quick_deaths + 1 if quick and not to_blame else 0
        if self.quick_deaths >= QUICK_DEATHS:
            last = str(error).strip().splitlines()[-1].strip()
            raise StudyError(f"A Ray actor died {QUICK_DEATHS} times within seconds: {last}")
        if isinstance(error, ActorDiedError):
            self.actor = None  # for good: Ray does not start it again
        self.start()


@dataclass
class Cluster:
    """The workers of a Ray cluster that this process supervises."""

    workers: list[RayWorker] = field(default_factory=list)
    connected_here: bool = True  # else whoever calls nasmod has, and goes on with Ray

    @property
    def count(self) -> int:
        """How many workers there are."""
        return len(self.workers)

    @property
    def all_ended(self) -> bool:
        """Whether every worker said that there is nothing left to do."""
        return all(worker.call is None for worker in self.workers)

    def watch(self, more_to_do: bool) -> None:
        """Look after every worker."""
        for worker in self.workers:
            worker.watch(more_to_do)

    def end(self) -> None:
        """Ask all to hand back, wait for it, and end them."""
        asked = [worker.actor.end.remote() for worker in self.workers if worker.call is not None]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=ENDING_SECONDS)
        try:
            living = [worker for worker in self.workers if worker.actor is not None]
            for worker in living:
                worker.end()
            with suppress(StorageError):  # the database is away, for all of them: their leases run out
                for worker in living:
                    worker.bury(None)
        finally:
            if self.connected_here:
                ray.shutdown()


def start_workers(
    study: StoredStudy,
    workers: int | str,
    beat_seconds: float,
    logs: Path,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    address: str | None = None,
) -> Cluster:
    """Start workers on the cluster at `address`, on the one that Ray finds without, or else on one of this machine.

    ``auto``: `workers_per_device` of the study (one where it says none) on each of the cluster's GPUs, else one on
    each of its cores. Raises
    `StudyError` in one line when the cluster cannot be used.
    """
    cluster = Cluster(connected_here=_connect(address))
    try:
        path = study.database.path
        nodes = [str(node["NodeManagerHostname"]) for node in ray.nodes() if node["Alive"]]
        if path is not None:
            check_reach(str(path), nodes, platform.node())
        resources = ray.cluster_resources()
        kind, count, share = shares(
            workers, max(1, study.workers_per_device), resources.get("GPU", 0), resources["CPU"]
        )
        here = f"{processes.machine()}-{os.getpid()}"
        device = "cuda" if kind == "num_gpus" else "cpu"  # which GPU, Ray tells the actor
        orders = Orders.of(study, device, beat_seconds, checkpoint_seconds)
        options = {"num_cpus": 0, kind: share, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 2}
        for index in range(count):
            log = str((logs / f"{here}-ray-{index}.log").absolute())
            cluster.workers.append(RayWorker(study, dataclasses.replace(orders, log=log), options))
            cluster.workers[-1].start()
    except BaseException:
        cluster.end()
        raise
    return cluster


def shares(workers: int | str, workers_per_device: int, num_gpus: float, num_cpus: float) -> tuple[str, int, float]:
    """What is shared out (``num_gpus``, or ``num_cpus`` where there is no GPU), to how many workers, how much to each.

    More workers than devices share them evenly, so that none waits for a place for ever.

    >>> shares("auto", 4, 2, 16), shares("auto", 1, 0, 16), shares(3, 1, 2, 16), shares(1, 4, 2, 16)
    (('num_gpus', 8, 0.25), ('num_cpus', 16, 1.0), ('num_gpus', 3, 0.5), ('num_gpus', 1, 0.25))
    """
    kind, devices, each = ("num_gpus", num_gpus, workers_per_device) if num_gpus >= 1 else ("num_cpus", num_cpus, 1)
    devices = max(1, int(devices))
    count = devices * each if workers == "auto" else int(workers)
    return kind, count, 1 / max(each, math.ceil(count / devices))


def check_reach(path: str, nodes: list[str], here: str) -> None:
    """Refuse an SQLite file when the cluster has machines other than this one."""
    others = sorted(set(nodes) - {here})
    if others:
        raise StudyError(
            f"The study lies in the file '{path}' of this machine, which workers on {', '.join(others[:3])} cannot "
            "use; name a PostgreSQL database with --storage."
        )


def _connect(address: str | None) -> bool:
    """Connect this process to Ray; False if it was connected already."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports what it is used for, unless told not to
    named = address or os.environ.get("RAY_ADDRESS")
    if named and named not in NONE_SEEN:
        _check_answers(named)
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(
            address=address,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": dict.fromkeys(THREADS, "1")},
        )
    except (RayError, RuntimeError, ValueError, OSError) as error:
        where = f" at '{address}'" if address else ""
        raise StudyError(f"Ray{where} cannot be used: {' '.join(str(error).split())}") from error
    finally:
        if in_main:  # Ray's handler would end this process before its workers have handed back
            signal.signal(signal.SIGTERM, before)
    return True


def _check_answers(address: str) -> None:
    """Raise `StudyError` when nobody listens at an address."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        socket.create_connection((parts.hostname or "", parts.port or PORT), REACHED_SECONDS).close()
    except (OSError, ValueError) as error:  # ValueError: a port that is no number
        raise StudyError(
            f"No Ray cluster answers at '{address}' (HOST:{PORT} or ray://HOST:10001): {error}."
        ) from error


def _log_to(path: Path) -> None:
    """Write the worker's log to a file of its machine; where that cannot be, to the actor's own, which Ray keeps."""
    handler: logging.Handler
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(path)
    except OSError:
        handler = logging.StreamHandler()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s", handlers=[handler], force=True)
