"""A searched kind: which parameters of a module kind a space searches, and what the others are fixed at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nasmod import registry
from nasmod.errors import SpaceError
from nasmod.modules import check_params, is_trained
from nasmod.space.distributions import Choice, Distribution, distribution
from nasmod.space.file import Range
from nasmod.topology import INPUT, OUTPUT, Parameter

NONE = "none"  # the kind of an empty slot
UNTRAINED = 0.25  # how likely a kind without parameters to train is drawn, where others count 1
CHECKED_ONE_BY_ONE = 1000  # larger ranges are checked at both ends


@dataclass(frozen=True)
class SearchedKind:
    """One table ``[kinds.<name>]``. A node carries all fields of its kind, so that no later default can change it."""

    name: str
    defaults: Mapping[str, Parameter]
    searched: Mapping[str, Distribution]
    weight: float = 1.0  # how likely it is among the kinds of a random draw

    def params(self, searched: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """All parameters of a node, given the searched ones."""
        return {**self.defaults, **searched}

    def all_params(self) -> Iterator[dict[str, Parameter]]:
        """Every combination of the searched ones; there must be no reals among them."""
        for values in itertools.product(*(found.values() for found in self.searched.values())):
            yield self.params(dict(zip(self.searched, values, strict=True)))

    def read(self, params: Mapping[str, Parameter]) -> dict[str, Parameter]:
        """The searched ones among a node's parameters; `SpaceError` if the space holds no such node."""
        own = {name: value for name, value in params.items() if name != "merge"}
        if own.keys() != self.defaults.keys():
            known = ", ".join(self.defaults)
            raise SpaceError(f"A node of the kind '{self.name}' has {known}, not {', '.join(own) or 'nothing'}.")
        for name, value in own.items():
            fixed = self.defaults[name]
            found = self.searched.get(name)
            if not (found.contains(value) if found else type(value) is type(fixed) and value == fixed):
                raise SpaceError(f"Parameter '{name}' of the kind '{self.name}' is never {value!r} in this space.")
        return {name: own[name] for name in self.searched}


def read_kind(name: str, table: Mapping[str, Any]) -> SearchedKind:
    """A table of a space file, every value checked against the kind's own model; `SpaceError` in one line."""
    if name in (INPUT, OUTPUT, NONE):
        raise SpaceError(f"Search space: '{name}' cannot be a module kind; the word has a meaning of its own.")
    fields = registry.settings("kind", name).model_fields
    try:
        defaults: dict[str, Any] = check_params(
            name, {key: _first(values) for key, values in table.items()}
        ).model_dump()
        for key, value in defaults.items():
            if key == "merge":
                raise SpaceError("No parameter can be called 'merge'; the word has a meaning of its own.")
            if not isinstance(value, Parameter):
                raise SpaceError(f"Parameter '{key}' must be a number, a text, true or false, not {value!r}.")
        searched = {}
        for key, values in table.items():
            if isinstance(values, Parameter) or (isinstance(values, tuple) and len(values) == 1):
                continue
            found = distribution(values, fields[key].default)
            checked = [check_params(name, {**defaults, key: value}).model_dump()[key] for value in _probes(found)]
            searched[key] = distribution(tuple(checked), fields[key].default) if isinstance(found, Choice) else found
        defaults |= {key: found.default for key, found in searched.items()}
    except SpaceError as error:
        raise SpaceError(f"Search space, kinds.{name}: {error}") from error
    return SearchedKind(name, defaults, searched, 1.0 if is_trained(name) else UNTRAINED)


def _first(values: Range | tuple[Parameter, ...] | Parameter) -> Parameter:
    return values.low if isinstance(values, Range) else values[0] if isinstance(values, tuple) else values


def _probes(found: Distribution) -> tuple[Parameter, ...]:
    if isinstance(found, Choice) or found.count <= CHECKED_ONE_BY_ONE:
        return found.values()
    return found.low, found.high
