"""Faults injected into a real study: how much is lost, doubled or orphaned. Wanted: nothing.

A study of the packaged digits is trained by three process groups of two workers each, as on three machines, on a real
PostgreSQL (started by tests/postgresql.py) and then on an SQLite file, with a lease of 3 seconds. Again and
again, as soon as a candidate has ended since the last, one fault is injected, of a sort drawn by the seed:

- a worker, a supervisor alone, or a whole group is killed (SIGKILL) or asked to end (SIGTERM);
- a worker or a supervisor is frozen (SIGSTOP) for two to three leases and then goes on (SIGCONT);
- a random connection is cut by the server, or the server itself crashes (pg_ctl stop -m immediate) and starts again.

What a group of a real installation would have done for it (Slurm, Kubernetes), this program does: it starts a group
again whose supervisor is gone. The budget is raised whenever it would be reached before the last fault.

After every fault and at the end the whole database is checked (tests/study/invariants.py), and that every result once
stored stays as it was. A broken invariant counts for the sort of the last fault. At the end the weights of everything
kept are loaded into their networks. Kills after every single SQL statement are tests/study/test_every_kill.py, and are
not counted here.

    python benchmarks/faults.py [--faults 200] [--seed 0] [--database both] [--table benchmarks/faults.md]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, select, text

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # what the tests know of PostgreSQL and of the invariants

from nasmod.networks import build  # noqa: E402
from nasmod.search.context import Context, bring_to_life  # noqa: E402
from nasmod.search.controller import KEPT  # noqa: E402
from nasmod.study import Database, Status, StoredStudy, create_or_join, open_study, processes, read, records, stored  # noqa: E402
from nasmod.study.tables import candidates  # noqa: E402
from nasmod.training import load_weights  # noqa: E402
from tests.postgresql import Cluster, cluster  # noqa: E402
from tests.study.invariants import violations  # noqa: E402

GROUPS, WORKERS, LEASE_SECONDS = 3, 2, 3.0
GAP_SECONDS = (0.5, 2.5)  # between two faults
PATIENCE_SECONDS = 10.0  # so long the next fault waits for a candidate to end: a study that stands still loses nothing
TRIALS = 40  # at first, and how many more when they would be trained before the last fault
ENDING_SECONDS = 300.0  # how long the study may take to begin, and to end after the last fault

STUDY = f"""
name = "faults"
trials = {TRIALS}
space = "dense"
references = true
finalists = 1
repeats = 2

[data]
name = "digits"
limit = 500

[training]
epochs = 6
batch_size = 32
learning_rate = 8e-3

[objective]
flops_budget = 40_000

[strategy]
name = "evolution"

[stopping]
name = "halving"
rungs = [2]
"""

GROUP = """
import sys
from nasmod.search.run import run
from nasmod.study import Database, open_study
if __name__ == "__main__":
    study = open_study(Database.open(sys.argv[1]), "faults")
    try:
        print(run(study, workers=int(sys.argv[2]), lease_seconds=float(sys.argv[3])))
    except KeyboardInterrupt:
        print("asked to end")
"""


class Groups:
    """Supervisors with their workers, each in a process group of its own; started again when they are gone."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.processes = [self._start(index) for index in range(GROUPS)]
        self.started_again: Counter[str] = Counter()

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        place = self.folder / f"machine-{index}"  # another working directory each
        place.mkdir(exist_ok=True)
        with (place / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", GROUP, self.url, str(WORKERS), str(LEASE_SECONDS)],
                stdout=log,
                stderr=log,
                cwd=place,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def keep_up(self) -> None:
        """Start again what is gone, as the scheduler of a cluster does."""
        for index, process in enumerate(self.processes):
            if process.poll() is not None:
                self.started_again[_ending(process.returncode)] += 1
                self.processes[index] = self._start(index)

    def supervisors(self) -> list[int]:
        return [process.pid for process in self.processes if process.poll() is None]

    def workers(self) -> list[int]:
        return [child for pid in self.supervisors() for child in _children(pid)]

    def kill(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _ending(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


@dataclasses.dataclass
class Faults:
    """What can be injected, by name: how often, and a function that says whether there was anything to hit."""

    groups: Groups
    study: StoredStudy
    generator: random.Random
    server: Cluster | None  # None: SQLite
    frozen: dict[int, float] = dataclasses.field(default_factory=dict)  # process -> when it goes on

    def sorts(self) -> dict[str, tuple[int, Callable[[], bool]]]:
        """Name -> (how often, what it does)."""
        workers, supervisors = self._workers, self.groups.supervisors
        found: dict[str, tuple[int, Callable[[], bool]]] = {
            "SIGKILL to a worker": (8, lambda: self._signal(workers(), signal.SIGKILL)),
            "SIGKILL to a supervisor alone": (2, lambda: self._signal(supervisors(), signal.SIGKILL)),
            "SIGKILL to a whole group": (1, lambda: self._signal(supervisors(), signal.SIGKILL, os.killpg)),
            "SIGTERM to a worker": (3, lambda: self._signal(workers(), signal.SIGTERM)),
            "SIGTERM to a supervisor": (1, lambda: self._signal(supervisors(), signal.SIGTERM)),
            "a worker frozen beyond its lease": (3, lambda: self._freeze(workers())),
            "a supervisor frozen beyond its lease": (2, lambda: self._freeze(supervisors())),
        }
        if self.server is not None:
            found["a connection cut by the server"] = (8, self._cut)
            found["PostgreSQL crashed and started again"] = (2, self._restart)
        return found

    def thaw(self, everything: bool = False) -> None:
        """Let go on whoever was frozen long enough."""
        for pid, until in list(self.frozen.items()):
            if everything or time.monotonic() >= until:
                del self.frozen[pid]
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _workers(self) -> list[int]:
        """Those that are at work, on a candidate if possible: a process that still starts has little to lose."""
        children = set(self.groups.workers())
        seen = [one for one in processes.at_work(self.study.database, self.study.id) if one.process.pid in children]
        training = [one.process.pid for one in seen if one.candidate is not None]
        return training or [one.process.pid for one in seen if one.process.role == "worker"]

    def _signal(self, among: list[int], number: int, kill: Callable[[int, int], None] = os.kill) -> bool:
        awake = [pid for pid in among if pid not in self.frozen]
        if not awake:
            return False
        try:
            kill(self.generator.choice(awake), number)
        except ProcessLookupError:
            return False
        return True

    def _freeze(self, among: list[int]) -> bool:
        awake = [pid for pid in among if pid not in self.frozen]
        if len(self.frozen) > 1 or not awake:
            return False
        pid = self.generator.choice(awake)
        if not self._signal([pid], signal.SIGSTOP):
            return False
        self.frozen[pid] = time.monotonic() + LEASE_SECONDS * self.generator.uniform(2.0, 3.0)
        return True

    def _cut(self) -> bool:
        query = text(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE application_name = 'nasmod' "
            "AND datname = current_database() ORDER BY pid OFFSET :skip LIMIT 1) AS one"
        )
        skip = self.generator.randrange(GROUPS * (WORKERS + 1))
        return bool(self.study.database.read(lambda connection: connection.scalar(query, {"skip": skip})))

    def _restart(self) -> bool:
        assert self.server is not None
        self.server.stop("immediate")  # as a crash
        self.server.start()
        return True


class Results:
    """What was stored once must stay: neither gone nor written again by another claim."""

    def __init__(self, study: StoredStudy) -> None:
        self.study = study
        self.known: dict[int, tuple[Any, ...]] = {}

    def broken(self) -> Iterator[tuple[str, str]]:
        table = candidates
        query = select(table.c.id, table.c.state, table.c.token, table.c.result, table.c.curve).where(
            table.c.study == self.study.id
        )
        now = {
            row.id: tuple(row) for row in self.study.database.read(lambda connection: connection.execute(query).all())
        }
        for candidate, before in self.known.items():
            if candidate not in now:
                yield "lost", f"candidate {candidate} is gone"
            elif now[candidate] != before:
                yield "doubled", f"candidate {candidate} had ended and was written again"
        self.known = {number: row for number, row in now.items() if row[1] in ("finished", "stopped", "failed")}


def _unloadable(study: StoredStudy, context: Context) -> Iterator[tuple[str, str]]:
    """The kept candidates whose weights are missing or do not load."""
    reader = records.read_records(study)
    ranked = records.ranked(reader, study.study.objective)
    kept = {record.key for record in [*ranked[:KEPT], *records.front(reader, study.study.objective)]}
    for record in reader:
        if record.weights is None and not (record.key in kept and record.state == "finished"):
            continue
        try:
            load_weights(build(context.plan(record.proposal.topology)), records.weights(study, record))
        except Exception as error:  # whatever it is, the weights are of no use
            yield "lost", f"the weights of {record.label}: {error}"


def run(server: Cluster | None, faults: int, seed: int, folder: Path) -> dict[str, Any]:
    """A study with so many faults; the counts."""
    began = time.monotonic()
    generator = random.Random(seed)
    storage = str(folder / "faults.db") if server is None else server.url
    (folder / "faults.toml").write_text(STUDY)
    definition = read(folder / "faults.toml")
    context = bring_to_life(definition)
    made = Database.create(storage)
    create_or_join(made, definition, context.dataset.fingerprint, {})
    url = made.url
    made.close()
    database = _watching(url)
    study = open_study(database, "faults")
    results, groups = Results(study), Groups(url, folder)
    injector = Faults(groups, study, generator, server)
    injected, broken = Counter[str](), Counter[tuple[str, str]]()
    seen: set[tuple[str, str]] = set()

    def check(sort: str, ended: bool = False) -> None:
        for kind, words in [*violations(study, ended=ended), *results.broken()]:
            if (kind, words) not in seen:
                seen.add((kind, words))
                broken[sort, kind] += 1
                print(f"{kind}: {words} (after: {sort})", flush=True)

    try:
        sorts, last = injector.sorts(), "none"
        _wait_for_workers(study)
        while sum(injected.values()) < faults:
            status = stored.status(study)
            if status.state == "ended" and status.reason and "budget" not in status.reason:
                raise SystemExit(f"The study ended early: {status.reason}")
            if status.trained + status.running > status.budget - 2 * GROUPS * WORKERS:
                stored.raise_budget(study, status.budget + TRIALS, None)
            name = generator.choices(list(sorts), [often for often, _ in sorts.values()])[0]
            if sorts[name][1]():
                last = name
                injected[name] += 1
                print(f"{sum(injected.values())}: {name}; {status.trained} trained", flush=True)
            hit = time.monotonic()
            gap = generator.uniform(*GAP_SECONDS)
            while time.monotonic() < hit + gap or (
                time.monotonic() < hit + PATIENCE_SECONDS and _ended(stored.status(study)) <= _ended(status)
            ):
                injector.thaw()
                groups.keep_up()
                time.sleep(0.2)
            groups.keep_up()
            check(last)
        deadline = time.monotonic() + ENDING_SECONDS
        while stored.status(study).state != "ended" and time.monotonic() < deadline:
            injector.thaw()
            groups.keep_up()
            time.sleep(0.2)
        injector.thaw(everything=True)
        for process in groups.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60.0)
        left = sum(process.poll() != 0 for process in groups.processes)
        check("the end", ended=True)
        for kind, words in _unloadable(study, context):
            broken["the end", kind] += 1
            print(f"{kind}: {words}", flush=True)
    finally:
        injector.thaw(everything=True)
        groups.kill()
    status = stored.status(study)
    database.close()
    return {
        "database": "SQLite" if server is None else "PostgreSQL",
        "faults": sum(injected.values()),
        "by_sort": {
            name: {
                "faults": injected[name],
                **{kind: broken[name, kind] for kind in ("lost", "doubled", "orphaned")},
            }
            for name in [*sorts, "the end"]
        },
        "lost": sum(count for (_, kind), count in broken.items() if kind == "lost"),
        "doubled": sum(count for (_, kind), count in broken.items() if kind == "doubled"),
        "orphaned": sum(count for (_, kind), count in broken.items() if kind == "orphaned"),
        "state": status.state,
        "reason": status.reason,
        "budget": status.budget,
        "trained": status.trained,
        "failed": status.failed,
        "groups_that_did_not_end_by_themselves": left,
        "groups_started_again": dict(groups.started_again),
        "seconds": round(time.monotonic() - began),
    }


def _ended(status: Status) -> int:
    return status.trained + status.references + status.failed


def _watching(url: str) -> Database:
    """The study's database as this program reads it: each check in one snapshot, its own connection spared."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return Database.open(url)
    parsed = parsed.update_query_dict({"application_name": "watching"})
    database = Database.open(parsed.render_as_string(hide_password=False))
    database.engine = database.engine.execution_options(isolation_level="REPEATABLE READ")
    return database


def _wait_for_workers(study: StoredStudy) -> None:
    deadline = time.monotonic() + ENDING_SECONDS
    while stored.status(study).trained < 2:
        if time.monotonic() > deadline:
            raise SystemExit("No worker trained anything in five minutes.")
        time.sleep(0.2)


def table(runs: list[dict[str, Any]], command: str) -> str:
    """The result as markdown."""
    total = sum(run["faults"] for run in runs)
    trained = ", ".join(f"{run['database']}: {run['trained']} of {run['budget']} trained" for run in runs)
    lines = [
        f"{total} faults, {GROUPS} process groups of {WORKERS} workers, a lease of {LEASE_SECONDS} s "
        f"({trained}); "
        f"`{command}`, Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{sum(run['seconds'] for run in runs)} s.",
        "",
        "| fault | database | injected | lost | doubled | orphaned |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for run in runs:
        for name, counts in run["by_sort"].items():
            injected = counts["faults"] if name != "the end" else "—"
            lines.append(
                f"| {name} | {run['database']} | {injected} | {counts['lost']} | {counts['doubled']} "
                f"| {counts['orphaned']} |"
            )
    summed = [sum(run[kind] for run in runs) for kind in ("lost", "doubled", "orphaned")]
    lines.append(f"| **all** | | **{total}** | **{summed[0]}** | **{summed[1]}** | **{summed[2]}** |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", choices=["both", "postgresql", "sqlite"], default="both")
    parser.add_argument("--table", type=Path, help="also write the result there, as markdown")
    options = parser.parse_args()
    shares = {"both": [("postgresql", 0.6), ("sqlite", 0.4)]}.get(options.database, [(options.database, 1.0)])
    runs = []
    for database, share in shares:
        place = cluster() if database == "postgresql" else contextlib.nullcontext()
        with tempfile.TemporaryDirectory() as name, place as server:
            runs.append(run(server, round(share * options.faults), options.seed, Path(name)))
            print(json.dumps(runs[-1]), flush=True)
    if options.table is not None:
        command = f"python benchmarks/faults.py --faults {options.faults} --seed {options.seed}"
        options.table.write_text(table(runs, command + f" --database {options.database}"))
    print(
        json.dumps(
            {
                "name": "faults",
                "faults": sum(run["faults"] for run in runs),
                **{kind: sum(run[kind] for run in runs) for kind in ("lost", "doubled", "orphaned")},
                "exact_budget": all(run["trained"] == run["budget"] and run["state"] == "ended" for run in runs),
                "runs": runs,
                "conditions": {
                    "groups": GROUPS,
                    "workers_per_group": WORKERS,
                    "lease_seconds": LEASE_SECONDS,
                    "cores": os.cpu_count(),
                    "python": platform.python_version(),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
