"""Data from the user's own function: an importable ``module:function``, or ``file.py:function``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from nasmod.data.arrays import ArraySettings, dataset_of
from nasmod.data.checks import check_dataset
from nasmod.data.dataset import Dataset, Task, absolute
from nasmod.errors import DataError, NasmodError, unknown


class PythonSettings(ArraySettings):
    """Which function makes the data, and what it is called with."""

    name: str = "python"
    factory: str = Field(description="'module:function' or 'file.py:function'")
    arguments: dict[str, Any] = Field(default_factory=dict, description="what the function is called with, by name")

    @field_validator("factory")
    @classmethod
    def _names_a_function(cls, value: str, info: ValidationInfo) -> str:
        place, _, function = value.rpartition(":")
        if not place or not function.isidentifier():
            raise ValueError("must be 'module:function' or 'file.py:function'")
        return f"{absolute(place, info) if place.endswith('.py') else place}:{function}"


def load(settings: PythonSettings) -> Dataset:
    """Your own function, which returns a Dataset, or arrays by name (x, y, x_test …) with an optional "task"."""
    place, _, name = settings.factory.rpartition(":")
    module = _module(place)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise DataError(f"'{place}' has no such factory. {unknown('function', name, known)}")
    try:
        made = function(**settings.arguments)
    except NasmodError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise DataError(f"The factory '{settings.factory}' failed: {type(error).__name__}: {error}") from error
    if isinstance(made, Dataset):
        check_dataset(made, f"The data set of '{settings.factory}'")
        return made
    if not isinstance(made, Mapping):
        raise DataError(
            f"The factory '{settings.factory}' must return a Dataset or arrays by name; got {type(made).__name__}."
        )
    arrays = dict(made)
    task = arrays.pop("task", settings.task)
    if task not in get_args(Task):
        raise DataError(f"The factory '{settings.factory}': {unknown('task', str(task), get_args(Task))}")
    try:
        converted = {key: np.asarray(value) for key, value in arrays.items()}
    except ValueError as error:  # rows of different lengths
        raise DataError(f"The factory '{settings.factory}' returned something that is no array: {error}") from error
    return dataset_of(converted, settings, task)


def _module(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        path = Path(place)
        if not path.is_file():
            raise DataError(f"There is no file '{place}'.")
        name = f"nasmod_data_{hashlib.sha256(place.encode()).hexdigest()[:16]}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except NasmodError:
        raise
    except (Exception, SystemExit) as error:  # importing a user's module may raise anything
        raise DataError(f"'{place}' cannot be imported: {type(error).__name__}: {error}") from error
    return module
