"""SpaceFile: what a search space file says, checked when it is read. It knows no kind and no training setting."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from nasmod.errors import SpaceError, unknown
from nasmod.topology import FAMILIES, USUAL_MERGE

MAX_MODULES = 16  # what the canonical key is made for
Merge = Literal["sum", "concat", "gated"]
Number = Annotated[StrictInt | StrictFloat, Field(allow_inf_nan=False)]
Plain = StrictBool | StrictInt | StrictFloat | StrictStr


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Section):
    """Every number from `low` to `high`: whole ones if both are whole, in steps or on a logarithmic scale."""

    low: Number
    high: Number
    step: StrictInt | None = Field(default=None, ge=1, description="whole numbers only")
    log: StrictBool = Field(default=False, description="every order of magnitude as likely as another")

    @model_validator(mode="after")
    def _possible(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, not {self.low} and {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs `low` above 0, not {self.low}")
        if self.step is not None:
            if self.log:
                raise ValueError("`step` and `log` exclude each other")
            if not isinstance(self.low, int) or not isinstance(self.high, int):
                raise ValueError("`step` needs whole numbers")
            if (self.high - self.low) % self.step:
                raise ValueError(f"steps of {self.step} from {self.low} never meet {self.high}")
        return self


def _form(value: Any) -> str:
    return "range" if isinstance(value, dict | Range) else "options" if isinstance(value, list | tuple) else "value"


Options = Annotated[tuple[Plain, ...], Field(min_length=1)]
Searched = Annotated[Annotated[Range, Tag("range")] | Annotated[Options, Tag("options")], Discriminator(_form)]
Values = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Options, Tag("options")] | Annotated[Plain, Tag("value")],
    Discriminator(_form),
]
"""A list is a choice, ``{low, high}`` a range, a single value is fixed."""


class ModulesSection(_Section):
    """How many modules a topology may have."""

    min: StrictInt = Field(default=1, ge=1, le=MAX_MODULES)
    max: StrictInt = Field(ge=1, le=MAX_MODULES)

    @model_validator(mode="after")
    def _ordered(self) -> ModulesSection:
        if self.min > self.max:
            raise ValueError(f"`min` must not exceed `max`, not {self.min} and {self.max}")
        return self


class PlaceSection(_Section):
    """A named place of a fixed wiring: what it reads, and which kinds may fill it (``none``: it may stay empty)."""

    reads: tuple[StrictStr, ...] = Field(min_length=1, description="inputs, or places named before")
    kinds: tuple[StrictStr, ...] | None = Field(default=None, min_length=1, description="all kinds of the space")
    like: StrictStr | None = Field(default=None, description="a place named before: both are filled the same")

    @field_validator("reads", "kinds")
    @classmethod
    def _distinct(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return names and _without_repeats(names)

    @model_validator(mode="after")
    def _one_source_of_kinds(self) -> PlaceSection:
        if self.like is not None and self.kinds is not None:
            raise ValueError(f"a place like '{self.like}' has the kinds of that place, and none of its own")
        return self


class CellSection(_Section):
    """A cell of a fixed wiring: places as those of `places`, which may read ``in``, what the cell before gives."""

    places: dict[str, PlaceSection] = Field(min_length=1, max_length=MAX_MODULES, description="in order")
    gives: tuple[StrictStr, ...] = Field(min_length=1, description="the places that the next cell or the outputs read")

    @field_validator("gives")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _without_repeats(names)


class WiringSection(_Section):
    """Which edges there may be, how inputs merge, and which families of graphs random proposals are drawn from."""

    edges: Literal["free", "chain", "parallel", "fixed"] = "free"
    places: dict[str, PlaceSection] = Field(default={}, max_length=MAX_MODULES, description="of fixed edges, in order")
    outputs: dict[str, tuple[StrictStr, ...]] = Field(default={}, description="of fixed edges: the places each reads")
    cells: dict[str, CellSection] = Field(default={}, description="of fixed edges, instead of places and outputs")
    stack: tuple[StrictStr, ...] = Field(default=(), description="the cells from the inputs to the outputs, in order")
    merge: tuple[Merge, ...] = Field(default=("concat",), min_length=1)
    output_merge: Merge = Field(default=USUAL_MERGE, description="how outputs join several modules")
    generators: tuple[str, ...] = Field(default=tuple(FAMILIES), min_length=1)

    @field_validator("merge", mode="before")
    @classmethod
    def _one_or_more(cls, merge: Any) -> Any:
        return (merge,) if isinstance(merge, str) else merge

    @field_validator("merge", "generators")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _without_repeats(names)

    @field_validator("generators")
    @classmethod
    def _known(cls, generators: tuple[str, ...]) -> tuple[str, ...]:
        for family in generators:
            if family not in FAMILIES:
                raise ValueError(unknown("generator family", family, FAMILIES).rstrip("."))
        return generators

    @model_validator(mode="after")
    def _fixed_or_not(self) -> WiringSection:
        places, cells = bool(self.places or self.outputs), bool(self.cells or self.stack)
        if self.edges != "fixed":
            if places or cells:
                said = "`cells` and `stack`" if cells else "`places` and `outputs`"
                raise ValueError(f'{said} go with `edges = "fixed"`, not with "{self.edges}"')
        elif places and cells:
            raise ValueError(
                "fixed edges have either `places` and `outputs` or `cells` and a `stack` of them, not both"
            )
        elif cells and not (self.cells and self.stack):
            raise ValueError(
                "`cells` need a `stack`, their names in order from inputs to outputs, and a `stack` needs `cells`"
            )
        elif not cells and not (self.places and self.outputs):
            raise ValueError("fixed edges need `places`, each with what it reads, and `outputs`, with what each reads")
        return self


class SpaceFile(_Section):
    """The tables of a search space file; `nasmod.space.Space` checks the kinds and their parameters.

    >>> SpaceFile.from_table({"modules": {"mx": 4}, "kinds": {"dense": {}}})
    Traceback (most recent call last):
    nasmod.errors.SpaceError: Search space: modules: No key 'mx'. Did you mean 'max'? Known: max, min.
    """

    modules: ModulesSection | None = Field(default=None, description="not of fixed edges, whose places are all named")
    kinds: dict[str, dict[str, Values]] = Field(min_length=1, description="searched and fixed parameters by kind")
    wiring: WiringSection = WiringSection()
    settings: dict[str, Searched] = Field(default={}, description="training settings that are searched too")

    @field_validator("kinds", "settings")
    @classmethod
    def _distinct(cls, tables: dict[str, Any]) -> dict[str, Any]:
        for values in tables.values():
            for options in values.values() if isinstance(values, dict) else [values]:
                if isinstance(options, tuple):
                    _without_repeats(options)
        return tables

    @model_validator(mode="after")
    def _counted(self) -> SpaceFile:
        if self.wiring.edges == "fixed" and self.modules is not None:
            raise ValueError("fixed edges have no table [modules]: their places are named")
        if self.wiring.edges != "fixed" and self.modules is None:
            raise ValueError("the table [modules] is missing, with the `max` of a topology's modules")
        return self

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> SpaceFile:
        """The tables, checked; `SpaceError` in one line."""
        try:
            return cls.model_validate(dict(table))
        except ValidationError as error:
            raise SpaceError(f"Search space: {_in_one_line(error)}") from error

    @classmethod
    def load(cls, path: str | Path) -> SpaceFile:
        """A file, read and checked; `SpaceError` in one line."""
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise SpaceError(f"Search space '{path}' cannot be read: {error.strerror}.") from error
        except ValueError as error:  # of TOML or of UTF-8
            raise SpaceError(f"Search space '{path}' is not valid TOML: {error}.") from error
        return cls.from_table(table)


def _without_repeats(options: tuple[Any, ...]) -> tuple[Any, ...]:
    for index, option in enumerate(options):
        if option in options[:index]:
            raise ValueError(f"{option!r} is given twice")
    return options


def _in_one_line(error: ValidationError) -> str:
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")  # the cause of a missing key
    place = [str(part) for part in problem["loc"] if part not in ("range", "options", "value")]
    if problem["type"] == "extra_forbidden":
        *table, key = place
        models: dict[tuple[str, ...], type[BaseModel]] = {
            (): SpaceFile,
            ("modules",): ModulesSection,
            ("wiring",): WiringSection,
        }
        if table[:2] == ["wiring", "cells"]:
            models[tuple(table)] = CellSection if len(table) == 3 else PlaceSection
        elif table[:2] == ["wiring", "places"]:
            models[tuple(table)] = PlaceSection
        return (f"{'.'.join(table)}: " if table else "") + unknown(
            "key", key, models.get(tuple(table), Range).model_fields
        )
    message = problem["msg"].removeprefix("Value error, ")
    got = "" if problem["type"] in ("value_error", "missing") else f", not {problem['input']!r}"
    return (f"{'.'.join(place)}: " if place else "") + f"{message}{got}."
