"""Study: what a study file says, checked when it is read. It knows nothing of databases.

A study's *definition* is what makes two studies the same one: everything here but the amounts (`AMOUNTS`),
with the search space and the hashes of its plugins written out, so that no other file is needed to go on.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from nasmod import registry
from nasmod.data import DeclaredFactor, dataset_settings
from nasmod.errors import StudyError, unknown
from nasmod.measures import Objective, measured_names
from nasmod.space import SpaceFile
from nasmod.study.artifacts import absolute
from nasmod.study.seeds import Seed, read_seeds
from nasmod.training.settings import TrainingSettings

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
# may change while a study lives: not part of its definition
AMOUNTS = frozenset({"trials", "hours", "workers_per_device", "artifacts"})
MOST_TRIALS = 2**31 - 1  # what a database's integer holds

DEFAULT_MEASURES: dict[str, dict[str, Any]] = {
    "accuracy": {},
    "cost": {},
    "wiring": {},
    "latency": {},
    "modularity": {},
    "parallelism": {},
}


class Plugin(BaseModel):
    """A user's Python file: where it lies and what it held when the study was started; never its code."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    sha256: str


class LoggingSettings(BaseModel):
    """Where else candidates are written to, beside the database."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensorboard: str | None = Field(None, description="a folder, from where nasmod is started")
    mlflow: str | None = Field(None, description="a tracking server's URI, or that of a database")

    @field_validator("mlflow")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        if value is not None and re.search(r"//[^/@]*:[^/@]*@", value):
            raise ValueError("a password is stored with the study: leave it to MLFLOW_TRACKING_PASSWORD")
        return value


class Study(BaseModel):
    """What a study file says. Unknown keys are refused with the nearest known one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=NAME_PATTERN, description="the study's name in its database")
    seed: int = Field(0, strict=True, ge=0, description="every generator of the study is derived from it")
    trials: int = Field(
        100, strict=True, ge=1, le=MOST_TRIALS, description="budget: how many candidates are trained, over all workers"
    )
    hours: float | None = Field(
        None, strict=True, gt=0, allow_inf_nan=False, description="end the search after so many hours of searching"
    )
    target: dict[str, float] = Field(
        {}, description="end the search once a candidate has all of these: `score`, or any measured value"
    )
    patience: int | None = Field(
        None, strict=True, ge=1, description="end the search after so many candidates in a row that were not better"
    )
    workers_per_device: int = Field(
        0,
        strict=True,
        ge=0,
        le=100,
        description="how many workers share a GPU with `--workers auto`; 0: as its free memory and the cores allow",
    )
    space: dict[str, Any] = Field(description="the search space: a packaged name, a path, or its tables written out")
    data: dict[str, Any] = Field(description="the data set: `name` and its settings")
    training: TrainingSettings = TrainingSettings()
    objective: Objective
    strategy: dict[str, Any] = {"name": "graph_bo"}
    stopping: dict[str, Any] = {"name": "halving"}
    measures: dict[str, dict[str, Any]] = Field({}, validate_default=True, description="more measures, or settings")
    references: bool = Field(
        True,
        strict=True,
        description="open with simple wirings: monolith, chains, equal parallel modules, towers that fuse",
    )
    finalists: int = Field(
        3, strict=True, ge=0, description="how many of the best are trained again with other seeds at the end"
    )
    repeats: int = Field(
        3, strict=True, ge=1, description="how often a finalist is trained again: its figures come from these alone"
    )
    seeds: tuple[Seed, ...] = Field(
        (), description='topologies to open with: files, and fronts of other studies, { study = "NAME" }'
    )
    factors: dict[str, DeclaredFactor] = Field(
        {}, description="the parts of the work that modularity speaks of; without them they are found in the data"
    )
    logging: LoggingSettings = LoggingSettings()
    plugins: tuple[Plugin, ...] = ()
    storage: str | None = Field(
        None,
        exclude=True,  # it may hold a password: it is never part of what is stored or compared
        repr=False,
        description="where `start` keeps it: a database URL, or an SQLite file's path from this file's folder",
    )

    artifacts: str | None = Field(
        None, description="keep weights and checkpoints in a folder or s3://bucket/prefix, not in the database"
    )

    @field_validator("artifacts")
    @classmethod
    def _remembered_from_anywhere(cls, value: str | None) -> str | None:
        return None if value is None else absolute(value)

    @field_validator("data", "strategy", "stopping")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("name"), str):
            raise ValueError("needs a `name`")
        return value

    @field_validator("measures")
    @classmethod
    def _with_defaults(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {**{name: {} for name in DEFAULT_MEASURES}, **value}

    def definition(self) -> dict[str, Any]:
        """The study without its amounts: equal for two starts of the same study."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key not in AMOUNTS}


def find(study: str | Path) -> Path:
    """The file of a packaged study's name, or of a path."""
    packaged = registry.packaged("studies")
    path = Path(study)
    with suppress(OSError):  # a name that is too long for a path
        if path.suffix == ".toml" or path.is_file():
            return path
    if str(study) in packaged:
        return packaged[str(study)]
    known = ", ".join(sorted(packaged))
    near = difflib.get_close_matches(str(study), packaged, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise StudyError(f"No study '{study}': neither a packaged name nor a file.{hint} Packaged: {known}.")


def read(study: str | Path, **changes: Any) -> Study:
    """Read a study file and everything it names: its space is written out, its plugins are imported and hashed.

    `changes` replace top-level keys of the file. Raises a `NasmodError` of one line.
    """
    path = find(study)
    table = read_toml(path)
    table.setdefault("name", path.stem)
    if isinstance(table.get("artifacts"), str):
        table["artifacts"] = absolute(table["artifacts"], path.parent)
    table.update({key: value for key, value in changes.items() if value is not None})
    here = path.parent
    plugins = table.get("plugins", [])
    if not isinstance(plugins, list) or not all(isinstance(plugin, str) for plugin in plugins):
        raise StudyError(f"{path}: 'plugins' must be a list of Python files.")
    places = [(here / plugin).resolve() for plugin in plugins]
    table["plugins"] = [{"path": str(place), "sha256": registry.load_plugin_file(place)} for place in places]
    if "seeds" in table:
        table["seeds"] = read_seeds(table["seeds"], here)
    if isinstance(table.get("space"), str):
        table["space"] = read_space(table["space"], here)
    if isinstance(table.get("data"), dict) and "name" in table["data"]:
        # paths beside the study file become absolute: the study is resumed from anywhere
        settings = dataset_settings(table["data"], here)
        registry.allow(part.key for part in settings.code())  # as the plugins above: the user's own file names it
        table["data"] = settings.model_dump(mode="json", exclude_unset=True)
    if isinstance(table.get("storage"), str) and table["storage"] and "://" not in table["storage"]:
        table["storage"] = str((here / table["storage"]).absolute())
    return check(table, str(path))


def read_space(name: str, here: Path) -> dict[str, Any]:
    """The tables of a packaged space or of a file beside the study file."""
    packaged = registry.packaged("search_spaces")
    if name in packaged:
        return read_toml(packaged[name])
    if name.endswith(".toml"):
        return read_toml(here / name)
    near = difflib.get_close_matches(name, packaged, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise StudyError(
        f"No search space '{name}'.{hint} Known: {', '.join(sorted(packaged))}, or a path to a .toml file."
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; `StudyError` says what is wrong with it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StudyError(f"File '{path}' cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise StudyError(f"File '{path}' is not valid TOML: {error}.") from error


def check(table: Mapping[str, Any], where: str) -> Study:
    """A `Study` of plain tables, every name in it looked up and every setting checked, without importing torch."""
    study = of_tables(table, where)
    try:
        for noun, section in [("dataset", "data"), ("strategy", "strategy"), ("stopping", "stopping")]:
            settings = dict(getattr(study, section))
            check_settings(noun, settings.pop("name"), settings, f"{where}: {section}")
        for name, settings in study.measures.items():
            check_settings("measure", name, settings, f"{where}: measures.{name}")
        _check_objective(study, where)
        SpaceFile.from_table(study.space)
    except ValidationError as error:
        raise StudyError(f"{where}: {one_line(error, Study)}") from error
    return study


def _check_objective(study: Study, where: str) -> None:
    """Every name that the objective speaks of is measured."""
    measured = measured_names(list(study.measures))
    for place in ("skill", "modularity"):
        if measured.get(named := getattr(study.objective, place)) == "minimize":
            raise StudyError(
                f"{where}: objective: '{place}' must name a measure of which more is better, not '{named}'."
            )
    for name in sorted(study.objective.wanted - measured.keys()):
        raise StudyError(f"{where}: objective: {unknown('measured value', name, measured)}")
    known = ["score", *(name for name in measured if not name.startswith("test_"))]  # no search sees the test split
    for name in sorted(study.target.keys() - set(known)):
        raise StudyError(f"{where}: target: {unknown('measured value', name, known)}")


def of_tables(table: Mapping[str, Any], where: str) -> Study:
    """A `Study` of plain tables whose names are not looked up: enough to look at one whose plugins are not here."""
    try:
        return Study.model_validate(dict(table))
    except ValidationError as error:
        raise StudyError(f"{where}: {one_line(error, Study)}") from error


def check_settings(noun: str, name: str, settings: Mapping[str, Any], where: str) -> BaseModel:
    """The checked settings of a registered name; raises `StudyError` naming the key to mend."""
    model = registry.settings(noun, name)
    given = {**settings, "name": name} if "name" in model.model_fields else dict(settings)
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise StudyError(f"{where}: {one_line(error, model)}") from error
    except Exception as error:  # a validator of a user's own may raise anything
        raise StudyError(f"{where}: '{name}' refuses {given}: {type(error).__name__}: {error}") from error


def load_plugins(study: Study) -> None:
    """Import a stored study's plugins; `PluginError` when one is missing, has changed, or is not allowed here."""
    for plugin in study.plugins:
        registry.load_plugin_file(Path(plugin.path), plugin.sha256)


def one_line(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of pydantic as one line: the key, the rule, what was got, the nearest known key."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = sorted(_fields(model, first["loc"][:-1]))
        near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"unknown key '{key}'.{hint} Known: {', '.join(known)}.{more}"
    if first["type"] == "missing":
        return f"'{key}' is required.{more}"
    rule = first["msg"].removeprefix("Value error, ")
    return f"'{key}': {rule}, got {first['input']!r}.{more}" if key else f"{rule}.{more}"  # no key: of several together


def _fields(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The known keys at a place in a model: through models, and through mappings of a name to a model."""
    found: Any = model
    for part in location:
        if get_origin(found) is dict:
            found = get_args(found)[1]
        elif isinstance(found, type) and issubclass(found, BaseModel) and str(part) in found.model_fields:
            found = found.model_fields[str(part)].annotation
        else:
            return []
    return list(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else []


def difference(stored: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two definitions: ``key: stored -> given``, one entry a key."""
    lines = []
    for key in sorted(stored.keys() | given.keys()):
        old, new = stored.get(key), given.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += difference(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} -> {new!r}")
    return lines
