"""From settings to a data set, of any kind. The built-in loaders check what they make; a plugin's is checked here."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nasmod import registry
from nasmod.data.checks import check_dataset
from nasmod.data.dataset import Dataset, DataSettings
from nasmod.errors import DataError, NasmodError, PluginError, StudyError


def dataset_settings(data: Mapping[str, Any], folder: Path | str = ".") -> DataSettings:
    """Settings of the data set that ``data["name"]`` names, checked; relative paths start at `folder`.

    Raises `UnknownNameError` for an unknown data set, `PluginError` for settings that do not inherit `DataSettings`,
    `StudyError` in one line for anything else.
    """
    name = data.get("name")
    if not isinstance(name, str):
        raise StudyError(f"A data set needs a name. Known: {', '.join(registry.names('dataset'))}.")
    model = registry.settings("dataset", name)
    if not issubclass(model, DataSettings):
        raise PluginError(
            f"The settings of the data set '{name}' must inherit DataSettings; '{model.__name__}' does not."
        )
    try:
        return model.model_validate(dict(data), context={"folder": folder})
    except ValidationError as error:
        raise StudyError(_one_line(name, error, list(model.model_fields))) from None
    except Exception as error:  # a validator of a user's own may raise anything
        raise StudyError(f"The data set '{name}' refuses its settings: {type(error).__name__}: {error}") from error


def load_dataset(settings: DataSettings | Mapping[str, Any], folder: Path | str = ".") -> Dataset:
    """Load the data set that the settings name.

    Raises `DataError` in one line when the data cannot be used, and what `dataset_settings` raises.

    >>> load_dataset({"name": "digits"}).inputs
    {'x': (1, 8, 8)}
    """
    if not isinstance(settings, DataSettings):
        settings = dataset_settings(settings, folder)
    load = registry.resolve("dataset", settings.name)
    try:
        dataset = load(settings)
        if not isinstance(dataset, Dataset):
            raise DataError(f"The data set '{settings.name}' must return a Dataset; got {type(dataset).__name__}.")
        if not registry.is_built_in("dataset", settings.name):
            check_dataset(dataset, f"Data set '{settings.name}'")
    except NasmodError:
        raise
    except (Exception, SystemExit) as error:  # a user's data set may raise anything, and hold anything
        raise DataError(f"The data set '{settings.name}' failed: {type(error).__name__}: {error}") from error
    return dataset


def _one_line(name: str, error: ValidationError, known: list[str]) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"The data set '{name}' has no setting '{key}'.{hint} Known: {', '.join(known)}."
    if first["type"] == "missing":
        return f"The data set '{name}' needs the setting '{key}'."
    reason = first["msg"].removeprefix("Value error, ")
    where = f" setting '{key}'" if key else ""
    got = f"; got {first['input']!r}" if key else ""
    return f"Data set '{name}'{where}: {reason[0].lower()}{reason[1:]}{got}."
