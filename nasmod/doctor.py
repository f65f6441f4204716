"""What can be wrong with an installation, its devices, its data and its storage, and what to mend."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from nasmod.errors import NasmodError
from nasmod.study.inspection import Check, inspect_database
from nasmod.study.mounts import refuse_network
from nasmod.study.url import RUNS

FREE_BYTES, LEAST_BYTES = 2 << 30, 100 << 20  # free space that is enough, and what is too little to start
NAMED_DATA = ("digits", "fashion-mnist")  # those that need no path
EXTRAS_OF_DEVELOPERS = frozenset({"dev"})
NVIDIA = Path("/proc/driver/nvidia/version")  # there where the kernel's driver is loaded


def examine(storage: str | None = None, workers: int | str = "auto") -> list[Check]:
    """Every check; without a storage those of each SQLite file in ``runs``. `workers` are planned on all machines."""
    found = [check for look in (installation, devices, data, folder) for check in look()]
    places = [storage] if storage is not None else [str(path) for path in sorted(RUNS.glob("*.db"))]
    for place in places:
        found += inspect_database(place, planned(workers))
    return found


def planned(workers: int | str) -> int:
    """How many workers are meant; ``auto`` is what this machine would start."""
    from nasmod.search.places import devices as places

    return len(places(workers))


def installation() -> Iterator[Check]:
    """Python, what nasmod requires, and its optional parts."""
    wanted = SpecifierSet(metadata.metadata("nasmod")["Requires-Python"] or "")
    version = platform.python_version()
    if version in wanted:
        yield Check("python", "ok", f"{version} ({sys.executable})")
    else:
        yield Check("python", "wrong", f"{version}; nasmod needs {wanted}", "make an environment with another Python")
    yield Check("nasmod", "ok", metadata.version("nasmod"))
    extras: dict[str, list[Requirement]] = {}
    for text in metadata.requires("nasmod") or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield package(requirement)
            continue
        for extra in metadata.metadata("nasmod").get_all("Provides-Extra") or []:
            if extra not in EXTRAS_OF_DEVELOPERS and requirement.marker.evaluate({"extra": extra}):
                extras.setdefault(extra, []).append(requirement)
    for extra, requirements in sorted(extras.items()):
        yield optional(extra, requirements)


def package(requirement: Requirement) -> Check:
    """One required package, in a version that is supported."""
    version = installed(requirement.name)
    mend = f"pip install '{requirement.name}{requirement.specifier}'"
    if version is None:
        return Check(requirement.name, "wrong", "not installed", mend)
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(requirement.name, "wrong", f"{version}; supported: {requirement.specifier}", mend)
    return Check(requirement.name, "ok", version)


def optional(extra: str, requirements: list[Requirement]) -> Check:
    """An optional part: installed whole and in supported versions, or not at all."""
    name, mend = f"nasmod[{extra}]", f"pip install 'nasmod[{extra}]'"
    versions = {requirement: installed(requirement.name) for requirement in requirements}
    if not any(versions.values()):
        return Check(name, "ok", f"not installed (if you want it: {mend})")
    wrong = [
        f"{requirement.name} {version or 'is missing'}"
        for requirement, version in versions.items()
        if version is None or not requirement.specifier.contains(version, prereleases=True)
    ]
    if wrong:
        return Check(name, "warning", f"{', '.join(wrong)}; supported: {', '.join(map(str, requirements))}", mend)
    return Check(name, "ok", ", ".join(f"{requirement.name} {version}" for requirement, version in versions.items()))


def installed(name: str) -> str | None:
    """The version of a package, None when it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def devices() -> Iterator[Check]:
    """The cores this process may use and the GPUs that torch sees."""
    from nasmod.search.hardware import cores

    every = os.cpu_count() or cores()
    yield Check("cores", "ok", f"{cores()} usable{f' of {every}' if every != cores() else ''}")
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # OSError: a library of its own that cannot be loaded
        yield Check("GPUs", "wrong", f"torch cannot be imported: {error}", "install torch again: https://pytorch.org")
        return
    if not torch.cuda.is_available():
        if NVIDIA.exists():
            says = f"the machine has an NVIDIA driver, but torch {torch.__version__} sees no GPU"
            mend = "install a torch built for CUDA (https://pytorch.org), or see CUDA_VISIBLE_DEVICES and nvidia-smi"
            yield Check("GPUs", "warning", says, mend)
        else:
            yield Check("GPUs", "ok", "none; workers train on cores")
        return
    for index in range(torch.cuda.device_count()):
        yield gpu(torch, index)
    shared = f"{planned('auto')} share them where a study sets no workers_per_device"
    yield Check("workers", "ok", shared)


def gpu(torch: object, index: int) -> Check:
    """One GPU: its name and memory, and whether a number can be put on it."""
    cuda = torch.cuda  # type: ignore[attr-defined]  # torch is imported late: it is heavy
    try:
        free, total = cuda.mem_get_info(index)
        torch.zeros(1, device=f"cuda:{index}")  # type: ignore[attr-defined]  # likewise
    except RuntimeError as error:
        says = str(error).strip().partition("\n")[0]
        return Check(f"GPU {index}", "wrong", says, "see nvidia-smi: a driver too old for torch, or a GPU in use")
    gib = 1 << 30
    return Check(f"GPU {index}", "ok", f"{cuda.get_device_name(index)}, {free / gib:.1f} of {total / gib:.1f} GiB free")


def data() -> Iterator[Check]:
    """The data sets that can be named without a path."""
    from nasmod.data import load_dataset

    for name in NAMED_DATA:
        try:
            dataset = load_dataset({"name": name, "limit": 100})
        except NasmodError as error:
            yield Check(f"data {name}", "warning", str(error), "only studies of it need it")
        else:
            yield Check(f"data {name}", "ok", f"{dataset.task}, {len(dataset.outputs)} output, loads")


def folder(place: Path = RUNS) -> Iterator[Check]:
    """Whether studies can be kept under the current directory, and how much space is left there."""
    there = next(path for path in (place.absolute(), *place.absolute().parents) if path.exists())
    name = f"folder {place}"
    try:
        with tempfile.TemporaryFile(dir=there):
            free = shutil.disk_usage(there).free
    except OSError as error:
        mend = "go to a folder you may write to, or name a storage with --storage or NASMOD_STORAGE"
        yield Check(name, "warning", f"'{there}' cannot be written: {error.strerror}", mend)
        return
    try:
        refuse_network(place.absolute() / "name.db")
    except NasmodError as error:
        yield Check(name, "warning", str(error), "name a storage with --storage or NASMOD_STORAGE")
        return
    says = f"can be written, {free / 1e9:.1f} GB free"
    if free < LEAST_BYTES:
        yield Check(name, "wrong", says, "free some space: a full disk fails candidates")
    elif free < FREE_BYTES:
        yield Check(name, "warning", says, "a study of thousands of candidates may need more")
    else:
        yield Check(name, "ok", says)
