"""The contract of a module kind, and the only way from its name to a network. It knows no kind by name.

A new kind is one file: a `Parameters` subclass, a class with the five members of `ModuleKind`, and a call of
`nasmod.registry.register`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict, ValidationError

from nasmod import registry
from nasmod.errors import NasmodError, PluginError, SpaceError, unknown

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
"""Sizes without the batch, features first: (features,), (features, length) or (channels, height, width)."""

RANKS = (1, 2, 3)
"""Of the shapes there are: flat, sequence, image."""

Plain = int | float | str | bool


class Parameters(BaseModel):
    """What a kind declares: every field has a default and bounds (or is a `Literal`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ModuleKind(Protocol):
    """A kind of module. It reads one tensor: joining several is the same for all kinds (see `nasmod.networks`)."""

    Parameters: type[Any]
    """The `Parameters` subclass that is registered with the kind."""

    accepts: tuple[int, ...]
    """Ranks of the shapes it reads (1 flat, 2 sequence, 3 image), preferred first."""

    def output_shape(self, shape: Shape, params: Any) -> Shape:
        """What comes out when `shape` goes in; never fails on a shape of an accepted rank."""

    def arguments(self, shape: Shape, params: Any) -> dict[str, Plain]:
        """What `network()` is constructed with: plain values, so that an export can print the call."""

    def network(self) -> type[nn.Module]:
        """A class whose source stands alone with the names `math`, `torch`, `nn` and `F`: an export copies it.

        Torch is imported here and not before.
        """


@runtime_checkable
class Noted(Protocol):
    """A kind that has its networks made by other code, and can say how."""

    def note(self, params: Any) -> str:
        """An expression that makes the network of these parameters."""


@functools.cache
def kind(name: str) -> ModuleKind:
    """The kind of a name; `UnknownNameError` suggests the nearest known one.

    >>> kind("dense").accepts
    (1,)
    """
    try:
        found = registry.resolve("kind", name)()
    except NasmodError:
        raise
    except (Exception, SystemExit) as error:  # a user's class may raise anything
        raise PluginError(f"The kind '{name}' cannot be made: {type(error).__name__}: {error}") from error
    for member in ("Parameters", "accepts", "output_shape", "arguments", "network"):
        if not hasattr(found, member):
            raise PluginError(f"A module kind needs a member '{member}'; the kind '{name}' has none.")
    if found.Parameters is not registry.settings("kind", name) or not issubclass(found.Parameters, Parameters):
        raise PluginError(f"The `Parameters` of the kind '{name}' must be what it was registered with.")
    if not isinstance(found.accepts, tuple | list) or not found.accepts or not set(found.accepts) <= set(RANKS):
        raise PluginError(f"What the kind '{name}' accepts must be some of the ranks {RANKS}, not {found.accepts!r}.")
    checked: ModuleKind = found
    return checked


def check_params(name: str, params: Mapping[str, Any]) -> Any:
    """The parameters of a kind, validated, with defaults filled in; ``merge`` is the node's and passed over.

    Raises `SpaceError` in one line.

    >>> check_params("pool", {"size": 3, "merge": "sum"}).model_dump()
    {'mode': 'max', 'size': 3}
    """
    model = kind(name).Parameters
    own = {key: value for key, value in params.items() if key != "merge"}
    try:
        return model(**own)
    except ValidationError as error:
        raise SpaceError(_in_one_line(name, error, model)) from error
    except Exception as error:  # a validator of a user's own may raise anything
        raise SpaceError(f"The kind '{name}' refuses {own}: {type(error).__name__}: {error}") from error


def is_trained(name: str) -> bool:
    """Whether modules of a kind have parameters to train. A kind without says so by ``is_trained = False``.

    >>> is_trained("dense"), is_trained("pool")
    (True, False)
    """
    return bool(getattr(kind(name), "is_trained", True))


def gives_outputs(name: str) -> bool:
    """Whether what modules of a kind give may be an output as it is. A kind that ends in its own last layer says so.

    >>> gives_outputs("dense")
    False
    """
    return bool(getattr(kind(name), "gives_outputs", False))


def has_source(name: str) -> bool:
    """Whether the source of a kind's network class stands alone, so that a `model.py` can have it.

    >>> has_source("dense")
    True
    """
    return bool(getattr(kind(name), "has_source", True))


@functools.cache
def network_class(name: str) -> type[nn.Module]:
    """The network class of a kind, made once."""
    return kind(name).network()


def build(name: str, shape: Shape, params: Mapping[str, Any]) -> nn.Module:
    """A network of the kind that reads (B, *shape); its weights come from torch's global generator."""
    arguments = kind(name).arguments(shape, check_params(name, params))
    return network_class(name)(**arguments)


def _in_one_line(name: str, error: ValidationError, model: type[BaseModel]) -> str:
    found = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            found.append(unknown(f"parameter of the kind '{name}'", key, model.model_fields).rstrip("."))
        else:
            what = f"Parameter '{key}'" if key else "Parameters"  # several together
            rule = problem["msg"].removeprefix("Value error, ")
            found.append(f"{what} of the kind '{name}': {rule}, not {problem['input']!r}")
    return "; ".join(found) + "."
