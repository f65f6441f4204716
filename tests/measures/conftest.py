"""What tests of measures share: digits, and the topologies and training of the fixture benchmark."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from nasmod.data import Dataset, load_dataset


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks are fastest, and always the same, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset({"name": "digits"})


@pytest.fixture(scope="session")
def fixtures() -> ModuleType:
    """`benchmarks/parallelism_fixtures.py`, which is no package."""
    path = Path(__file__).parents[2] / "benchmarks" / "parallelism_fixtures.py"
    spec = importlib.util.spec_from_file_location("parallelism_fixtures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
