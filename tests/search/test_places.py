"""Where workers run: one on each device that may be used, seeing that device alone, with one thread."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nasmod.errors import StorageError, StudyError
from nasmod.search import hardware
from nasmod.search.places import THREADS, LocalWorker, Machine, devices, start_workers
from nasmod.search.run import check_engine
from nasmod.search.worker import USER_ERROR, Orders
from nasmod.study import open_study, processes
from tests.search.test_run import wait_until

CORES = "from nasmod.search.hardware import cores; print(cores())"
V1, V2 = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"


def cores_of(*command: str, **options: object) -> int:
    """What a process started so counts."""
    return int(subprocess.check_output([*command, sys.executable, "-c", CORES], text=True, **options))  # type: ignore[call-overload]  # of any options


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_bound_to_one_core_counts_one():
    one = min(os.sched_getaffinity(0))
    assert cores_of(preexec_fn=lambda: os.sched_setaffinity(0, {one})) == 1


@pytest.fixture
def group() -> Iterator[Path]:
    """A real control group of our own with a limit of half a core; nobody else is in it."""
    name = f"nasmod-{uuid.uuid4().hex[:8]}"
    try:
        if (Path(V1) / "cpu.cfs_quota_us").exists() or (Path(V1) / "cgroup.procs").exists():
            folder = Path(V1) / name
            folder.mkdir()
            (folder / "cpu.cfs_period_us").write_text("100000")
            (folder / "cpu.cfs_quota_us").write_text("50000")
        else:
            folder = Path(V2) / name
            folder.mkdir()
            (folder / "cpu.max").write_text("50000 100000")
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    yield folder
    folder.rmdir()


def test_a_process_in_a_limited_control_group_counts_its_limit(group):
    def enter() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    assert cores_of(preexec_fn=enter) == 1


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        # a Kubernetes pod of version 2 with `limits.cpu: 2`: its own group is the root of what it sees
        ("0::/\n", {f"{V2}/cpu.max": "200000 100000\n"}, 2),
        # version 2 without a group namespace: the path is the host's, and cannot be seen
        ("0::/kubepods/pod1/abc\n", {f"{V2}/cpu.max": "350000 100000\n"}, 4),
        # a limit of the group above binds as well
        (
            "0::/user.slice/job\n",
            {f"{V2}/user.slice/job/cpu.max": "max 100000\n", f"{V2}/user.slice/cpu.max": "300000 100000\n"},
            3,
        ),
        # version 1
        (
            "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n0::/\n",
            {
                f"{V2}/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "150000\n",
                f"{V2}/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        # no limit
        ("1:cpu:/\n0::/\n", {f"{V1}/cpu.cfs_quota_us": "-1\n", f"{V1}/cpu.cfs_period_us": "100000\n"}, 64),
        ("0::/\n", {f"{V2}/cpu.max": "max 100000\n"}, 64),
        ("", {}, 64),
    ],
)
def test_the_limit_of_a_control_group_is_read(monkeypatch, tmp_path, groups, files, limit):
    for name, content in {"/proc/self/cgroup": groups, **files}.items():
        path = tmp_path / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    assert hardware.cores(tmp_path) == limit


@pytest.mark.parametrize(
    ("count", "visible", "seen"),
    [
        (3, None, ["0", "1", "2"]),
        (2, "2,3", ["2", "3"]),
        (2, "GPU-8f2c6b1e, GPU-17a4d1c0", ["GPU-8f2c6b1e", "GPU-17a4d1c0"]),
        (1, "MIG-5c6b5a1f-1c2d", ["MIG-5c6b5a1f-1c2d"]),
        (1, "1,-1,2", ["1"]),  # what follows an invalid entry is hidden
        (0, "", []),
    ],
)
def test_a_worker_gets_one_of_the_gpus_that_its_parent_may_use(count, visible, seen):
    assert hardware.gpus(count, visible) == seen


@pytest.fixture
def two_gpus(monkeypatch) -> None:
    """A machine of four GPUs on which this process may use two."""
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")


def test_one_worker_a_gpu_or_several(two_gpus):
    assert devices("auto", 1) == ["cuda:2", "cuda:3"]
    assert devices("auto", 2) == ["cuda:2", "cuda:3", "cuda:2", "cuda:3"]
    assert devices(3) == ["cuda:2", "cuda:3", "cuda:2"]


@pytest.mark.parametrize(
    ("driver", "each"),
    [
        ("case $1 in --id=2) echo 40536;; --id=3) echo 9000;; esac", [4, 2]),  # MiB, as the driver writes it
        ('echo "No devices were found"; exit 6', [1, 1]),
        ('echo "[N/A]"', [1, 1]),
    ],
)
def test_as_many_workers_share_a_gpu_as_its_memory_and_the_cores_allow(two_gpus, monkeypatch, tmp_path, driver, each):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{driver}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(hardware, "cores", lambda: 8)
    found = devices("auto")
    assert [found.count(gpu) for gpu in ("cuda:2", "cuda:3")] == each
    assert found[:2] == ["cuda:2", "cuda:3"]


def test_without_a_gpu_one_worker_a_core():
    assert devices("auto") == ["cpu"] * hardware.cores()
    assert devices(3) == ["cpu"] * 3
    with pytest.raises(StudyError, match="a number from 1, or 'auto', not '0'"):
        devices(0)


def test_counting_gpus_leaves_cuda_asleep():
    script = "import torch, nasmod.search.places as p\np.devices('auto')\nassert not torch.cuda.is_initialized()"
    subprocess.run([sys.executable, "-c", script], check=True)


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with; for a moment after that it has none."""
    while not (content := Path(f"/proc/{pid}/environ").read_bytes()):
        time.sleep(0.001)
    entries = content.decode().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


@pytest.fixture
def begin(tmp_path) -> Iterator[Callable[[str], LocalWorker]]:
    """Start a real worker process with orders of this device; there is no study for it, so it does not stay."""
    begun: list[LocalWorker] = []

    def start(device: str) -> LocalWorker:
        orders = Orders("", str(tmp_path / "none.db"), "none", device, 1, 1.0)
        worker = LocalWorker(orders, tmp_path / "log", lambda name, how: 0)
        begun.append(worker)
        worker.start()
        return worker

    yield start
    for worker in begun:
        worker.wait(0.0)


def test_a_worker_of_a_file_that_is_not_there_says_so_at_once(begin):
    worker = begin("cpu")
    assert worker.process is not None
    assert worker.process.wait(60) == USER_ERROR
    with pytest.raises(StudyError, match="A worker cannot work: No database at"):
        worker.watch(more_to_do=True)


@pytest.mark.parametrize(
    "how",
    [
        "its supervisor is gone",
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_a_worker_waits_for_a_server_that_is_away_until_it_is_asked_to_end(tmp_path, how):
    orders = Orders("", "postgresql+psycopg://me@127.0.0.1:9/x", "none", "cpu", 1, 1.0)
    worker = LocalWorker(orders, tmp_path / "log", lambda name, how: 0)
    worker.start()
    assert worker.process is not None
    assert worker.process.stdin is not None
    try:
        wait_until(lambda: "the database is away or busy, trying again" in worker.log.read_text())
        worker.watch(more_to_do=True)  # nobody takes it for one that cannot work
        if isinstance(how, signal.Signals):
            worker.process.send_signal(how)
        else:
            worker.process.stdin.close()
        assert worker.process.wait(20) == -(how if isinstance(how, signal.Signals) else signal.SIGTERM)
    finally:
        worker.wait(0.0)


def test_a_machine_that_cannot_start_all_its_workers_ends_those_that_it_started(make_study, start, tmp_path):
    stored, _ = start(make_study())
    (tmp_path / "logs" / f"{processes.machine()}-{os.getpid()}-worker-1.log").mkdir(parents=True)
    with pytest.raises(StudyError, match=r"worker-1\.log' cannot be written: Is a directory"):
        start_workers(stored, 2, 0.5, tmp_path / "logs")
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True)
    assert "nasmod.search.worker" not in children.stdout
    assert not processes.at_work(stored.database, stored.id)


def test_a_process_that_cannot_be_started_is_told_in_one_line(monkeypatch, make_study, start, tmp_path):
    stored, _ = start(make_study())
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(StudyError, match=r"^A worker's process cannot be started: No such file or directory\.$"):
        start_workers(stored, 2, 0.5, tmp_path / "logs")


def test_a_machine_that_ends_without_its_database_tries_it_for_one_worker_only(tmp_path):
    tried = []

    def on_death(name: str, how: str | None) -> int:
        tried.append(name)
        raise StorageError("The database is away.")

    orders = Orders("", str(tmp_path / "none.db"), "none", "cpu", 1, 1.0)
    machine = Machine([LocalWorker(orders, tmp_path / f"{index}.log", on_death) for index in range(3)])
    for worker in machine.workers:
        worker.start()
    machine.end()
    assert len(tried) == 1
    assert all(worker.process is not None and worker.process.returncode for worker in machine.workers)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system shows no environments")
@pytest.mark.parametrize(("device", "seen"), [("cuda:3", "3"), ("cuda:GPU-17a4d1c0", "GPU-17a4d1c0"), ("cpu", "7")])
def test_a_worker_sees_its_own_gpu_alone_and_has_one_thread(monkeypatch, begin, device, seen):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    worker = begin(device)
    assert worker.process is not None
    found = environment(worker.process.pid)
    assert found["CUDA_VISIBLE_DEVICES"] == seen
    assert {found[name] for name in THREADS} == {"1"}
    assert worker.orders.torch_device == ("cpu" if device == "cpu" else "cuda:0")


def test_workers_per_device_is_an_amount_that_the_study_keeps(make_study, start, two_gpus):
    study = make_study(top="workers_per_device = 3")
    assert study.definition() == make_study().definition()
    stored, _ = start(study)
    again = open_study(stored.database, "small")
    assert again.workers_per_device == again.study.workers_per_device == 3
    assert devices("auto", again.workers_per_device) == ["cuda:2", "cuda:3"] * 3


@pytest.mark.slow
def test_the_registry_names_the_device_as_the_machine_does(make_study, start, two_gpus, tmp_path):
    stored, _ = start(make_study())
    place = start_workers(stored, 1, 0.5, tmp_path / "logs")
    try:
        assert place.count == 1
        wait_until(lambda: processes.at_work(stored.database, stored.id))
        (seen,) = processes.at_work(stored.database, stored.id)
        assert seen.process.device == "cuda:2"
    finally:
        place.end()
    assert not processes.at_work(stored.database, stored.id)


@pytest.mark.parametrize(
    ("engine", "address", "words"),
    [("slurm", None, "No engine 'slurm'. Known: local, ray."), ("local", "a:1", "--address is where a Ray cluster is")],
)
def test_an_engine_that_cannot_be(engine, address, words):
    with pytest.raises(StudyError, match=words):
        check_engine(engine, address)
