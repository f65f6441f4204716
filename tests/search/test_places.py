"""Where workers run: one on each device that may be used, seeing that device alone, with one thread."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nasmod.errors import StudyError
from nasmod.search import hardware
from nasmod.search.places import THREADS, LocalWorker, devices, start_workers
from nasmod.search.run import check_engine
from nasmod.search.worker import Orders
from nasmod.study import open_study, processes
from tests.search.test_run import wait_until

CORES = "from nasmod.search.hardware import cores; print(cores())"
V1, V2 = "/sys/fs/cgroup/cpu", "/sys/fs/cgroup"


def cores_of(*command: str, **options: object) -> int:
    """What a process started so counts."""
    return int(subprocess.check_output([*command, sys.executable, "-c", CORES], text=True, **options))  # type: ignore[call-overload]


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
    assert devices("auto") == ["cuda:2", "cuda:3"]
    assert devices("auto", 2) == ["cuda:2", "cuda:3", "cuda:2", "cuda:3"]
    assert devices(3) == ["cuda:2", "cuda:3", "cuda:2"]


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
