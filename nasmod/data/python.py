"""Data from the user's own function: an importable ``module:function``, or ``file.py:function``.

The function's file is executed only if its content, and this function of it, were allowed (see `nasmod.registry`). So
the file of a module is found without importing anything, the packages that it lies in included.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from nasmod import registry
from nasmod.data.arrays import ArraySettings, dataset_of
from nasmod.data.checks import check_dataset
from nasmod.data.dataset import Dataset, Task, absolute
from nasmod.errors import DataError, NasmodError, unknown
from nasmod.registry import Code


class PythonSettings(ArraySettings):
    """Which function makes the data, and what it is called with."""

    name: str = "python"
    factory: str = Field(description="'module:function' or 'file.py:function'")
    arguments: dict[str, Any] = Field(default_factory=dict, description="what the function is called with, by name")
    seconds: float = Field(1800.0, gt=0, description="how long the function may take; one that hangs is given up")

    @field_validator("factory")
    @classmethod
    def _names_a_function(cls, value: str, info: ValidationInfo) -> str:
        place, _, function = value.rpartition(":")
        if not place or not function.isidentifier():
            raise ValueError("must be 'module:function' or 'file.py:function'")
        return f"{absolute(place, info) if place.endswith('.py') else place}:{function}"

    def code(self) -> tuple[Code, ...]:
        """The function's file, after those of the packages that it lies in."""
        return tuple(part.code for part in _parts(self.factory) if part.code is not None)


def load(settings: PythonSettings) -> Dataset:
    """Your own function, which returns a Dataset, or arrays by name (x, y, x_test …) with an optional "task"."""
    place, _, name = settings.factory.rpartition(":")
    module = _module(settings.factory)
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise DataError(f"'{place}' has no such factory. {unknown('function', name, known)}")
    made = _called(function, settings)
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


def _called(function: Callable[..., Any], settings: PythonSettings) -> Any:
    """What the function returns, in a thread that is left behind when it hangs."""
    returned: Future[Any] = Future()

    def call() -> None:
        try:
            returned.set_result(function(**settings.arguments))
        except BaseException as error:  # a user's function may raise anything; it is raised again below
            returned.set_exception(error)

    threading.Thread(target=call, name="data factory", daemon=True).start()
    try:
        return returned.result(settings.seconds)
    except NasmodError:
        raise
    except (Exception, SystemExit) as error:
        if not returned.done():
            raise DataError(
                f"The factory '{settings.factory}' took longer than {settings.seconds:g} seconds and was given up. "
                "If it needs more, set `seconds` in [data]."
            ) from None
        raise DataError(f"The factory '{settings.factory}' failed: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class _Part:
    """A module on the way to the function, from the outermost package on; a package may have no file of its own."""

    name: str
    code: Code | None
    folders: tuple[str, ...]  # of its submodules


def _parts(factory: str) -> list[_Part]:
    """What is executed to get at a factory, in order. Nothing is imported; `DataError` when something is missing."""
    place, _, function = factory.rpartition(":")
    if place.endswith(".py"):
        name = f"nasmod_data_{hashlib.sha256(place.encode()).hexdigest()[:16]}"
        try:
            return [_Part(name, registry.read_code(Path(place), function), ())]
        except FileNotFoundError as error:
            raise DataError(f"There is no file '{place}'.") from error
        except OSError as error:
            raise DataError(f"The file '{place}' cannot be read: {error.strerror}.") from error
    found: list[_Part] = []
    names = place.split(".")
    if not all(name.isidentifier() for name in names):
        raise DataError(f"'{place}' cannot be imported: it is neither the name of a module nor a file.py.")
    for count in range(1, len(names) + 1):
        name = ".".join(names[:count])
        spec = _spec(name, found[-1].folders if found else None)
        if spec is None or (found and not found[-1].folders):
            raise DataError(f"'{place}' cannot be imported: there is no module '{name}'.")
        folders = tuple(spec.submodule_search_locations or ())
        code = None
        if spec.has_location or not folders:
            if not (spec.has_location and spec.origin and spec.origin.endswith(".py")):
                raise DataError(f"The factory '{factory}' must lie in Python files; '{name}' does not.")
            code = registry.read_code(Path(spec.origin), function if count == len(names) else None)
        found.append(_Part(name, code, folders))
    return found


def _spec(name: str, folders: tuple[str, ...] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:  # `importlib.util.find_spec` would import the packages around it
        try:
            spec = finder.find_spec(name, folders)
        except KeyError:  # a package without a file of its own asks for the one around it, which is not imported yet
            spec = ModuleSpec(name, None, is_package=True)
            places = [Path(folder) / name.rpartition(".")[2] for folder in folders or ()]
            spec.submodule_search_locations = [str(place) for place in places if place.is_dir()]
        if spec is not None:
            return spec
    return None


def _module(factory: str) -> ModuleType:
    """The module of a factory. Raises `PluginError` when it is not allowed, `DataError` when it cannot be imported."""
    place, _, _ = factory.rpartition(":")
    try:
        parts = _parts(factory)
        for part in parts:  # a module that is imported already is not called either if it is not allowed
            if part.code is not None:
                registry.check_allowed(part.code)
        for part in parts:
            if part.name in sys.modules and not place.endswith(".py"):
                continue
            if part.code is None:
                module = importlib.import_module(part.name)  # no more than folders
            else:
                module = registry.execute(part.code, part.name, part.folders)
            outer, _, inner = part.name.rpartition(".")
            if outer:
                setattr(sys.modules[outer], inner, module)
        return sys.modules[parts[-1].name]
    except NasmodError:
        raise
    except (Exception, SystemExit) as error:  # importing a user's module may raise anything
        raise DataError(f"'{place}' cannot be imported: {type(error).__name__}: {error}") from error
