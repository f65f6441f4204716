"""How tests run: property tests without deadlines, because wall times on shared cores say nothing."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from nasmod import registry

settings.register_profile("nasmod", deadline=None, max_examples=60)
settings.load_profile("nasmod")


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``runs/small.db``, a study that has every sort of candidate in it. Look, do not touch."""
    from filled import filled_study

    folder = tmp_path_factory.mktemp("small")
    filled_study(folder).database.close()
    return folder


@pytest.fixture
def register() -> Iterator[Callable[..., None]]:
    """`registry.register`; what it registers, and what plugins do, is forgotten after the test."""
    with registry.restored():
        yield registry.register


# the list of allowed Python is this run's own, that of its workers and commands too
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="nasmod-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # small networks: a second thread only gets in the way
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, by the processes of the tests as well
