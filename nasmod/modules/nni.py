"""Model spaces of NNI as module kinds (the extra ``nasmod[nni]``, NNI 3.0): the one door to that package.

A model space is one module whose parameters are its choices: LayerChoice, InputChoice, Repeat, Cell and `nni.choice`
become lists that a search space searches, and a candidate's network is `ModelSpace.freeze`. What its forward gives is
an output as it is where the shapes agree; no linear layer is put after it. A file with model spaces imports this module
before NNI.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from nasmod import registry
from nasmod.errors import PluginError
from nasmod.modules.kind import Parameters, Plain, Shape, kind

if TYPE_CHECKING:
    from torch import nn

os.environ.setdefault("NNI_FRAMEWORK", "none")  # before the first import of NNI: else it asks for PyTorch Lightning
MOST_SUBSETS = 1_000  # of the candidates of an InputChoice
RESERVED = {"name", "merge"}  # what other parameters of a node are called


def import_nni() -> ModuleType:
    """The package, imported with what its model spaces need. Raises `PluginError` where it is missing."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it is of 2023, and warns of newer versions of others
            import nni
            import nni.mutable
            import nni.nas.nn.pytorch
    except ImportError as error:
        raise PluginError(f"NNI cannot be imported ({error}): pip install 'nasmod[nni]'.") from error
    logging.getLogger("nni").setLevel(logging.WARNING)  # it tells of every tuner that is made
    found: ModuleType = nni
    return found


@dataclass(frozen=True, eq=False)
class Choice:
    """One choice of a model space, and how a parameter says what was chosen."""

    label: str  # NNI's
    field: str  # the parameter's name
    declared: tuple[Any, Any]  # its type and pydantic's field
    searched: Any  # what a search space says of it: a list, or a range
    options: Mapping[Plain, Any] | None = None  # what a value stands for; None: for itself


class ModelSpaceKind:
    """What the kinds of model spaces share; `register_model_space` makes one of its own for each."""

    Parameters: type[Parameters]
    accepts: tuple[int, ...]
    make: Callable[[], Any]
    choices: Sequence[Choice]
    gives_outputs = True
    has_source = False

    def output_shape(self, shape: Shape, params: Any) -> Shape:
        import torch

        with torch.device("meta"), torch.no_grad():
            found = self._frozen(params.model_dump()).eval()(torch.zeros(2, *shape))
        return tuple(found.shape[1:])

    def arguments(self, shape: Shape, params: Any) -> dict[str, Plain]:
        return {"choices": params.model_dump_json()}

    def network(self) -> type[nn.Module]:
        from torch import Tensor, nn

        frozen = self._frozen

        class FrozenModelSpace(nn.Module):
            """A model space of NNI with its choices, given as JSON, made."""

            def __init__(self, choices: str) -> None:
                super().__init__()
                self.model = frozen(json.loads(choices))

            def forward(self, x: Tensor) -> Tensor:
                found: Tensor = self.model(x)
                return found

        return FrozenModelSpace

    def note(self, params: Any) -> str:
        """How NNI makes the network."""
        return f"{getattr(self.make, '__name__', 'make')}().freeze({self.sample(params.model_dump())!r})"

    def sample(self, params: Mapping[str, Plain]) -> dict[str, Any]:
        """The choices made, as NNI calls them."""
        values = {one: params[one.field] for one in self.choices}
        return {one.label: value if one.options is None else one.options[value] for one, value in values.items()}

    def _frozen(self, params: Mapping[str, Plain]) -> nn.Module:
        found: nn.Module = self.make().freeze(self.sample(params))
        return found


def register_model_space(name: str, make: Callable[[], Any], *, accepts: tuple[int, ...] = (3,)) -> None:
    """Register what `make` makes (a class of ModelSpace, or a function) as the module kind `name`.

    `accepts` are the ranks of the shapes it reads: 3 images (channels, height, width), 2 sequences, 1 flat. Raises
    `PluginError` for a choice that cannot be a parameter.
    """
    try:
        mutables = _made(make).simplify()
    except PluginError:
        raise
    except Exception as error:  # a user's own may raise anything
        raise PluginError(f"The model space '{name}' cannot be made: {type(error).__name__}: {error}") from error
    choices: dict[str, Choice] = {}
    for label, mutable in mutables.items():
        choice = _choice(f"of the model space '{name}'", label, mutable)
        if choice.field in choices:
            raise PluginError(
                f"The choices '{choices[choice.field].label}' and '{label}' of the model space '{name}' would both be "
                f"the parameter '{choice.field}': give one of them another label."
            )
        choices[choice.field] = choice
    if not choices:
        raise PluginError(f"The model space '{name}' has no choices: there is nothing to search.")
    fields: dict[str, Any] = {field: choice.declared for field, choice in choices.items()}
    model = create_model(f"Choices of {name}", __base__=Parameters, __doc__=f"The choices of {name}.", **fields)
    doc = f"{(make.__doc__ or name).strip().splitlines()[0]} (a model space of NNI)"
    members = {"__doc__": doc, "Parameters": model, "accepts": accepts, "make": staticmethod(make)}
    made = type(name, (ModelSpaceKind,), {**members, "choices": tuple(choices.values())})
    registry.register("kind", name, made, model)


def _made(make: Callable[[], Any]) -> Any:
    """A model space, once NNI can be imported."""
    import_nni()
    return make()


def space_table(name: str) -> dict[str, Any]:
    """The table of a search space over all choices of a registered model space: a study's ``[space]``."""
    found = kind(name)
    if not isinstance(found, ModelSpaceKind):
        raise PluginError(f"The kind '{name}' is no model space of NNI.")
    return {"modules": {"max": 1}, "kinds": {name: {choice.field: choice.searched for choice in found.choices}}}


def _choice(of: str, label: str, mutable: Any) -> Choice:
    known = import_nni().mutable
    field = re.sub(r"\W", "_", label).strip("_")
    field = f"choice_{field}" if not field or field[0].isdigit() or field in RESERVED else field
    if isinstance(mutable, known.Numerical) and math.isfinite(mutable.high - mutable.low):
        low, high = float(mutable.low), float(mutable.high)
        searched = {"low": low, "high": high, "log": bool(mutable.log_distributed)}
        return Choice(label, field, (float, Field(low, ge=low, le=high)), searched)
    options: dict[Plain, Any]
    if isinstance(mutable, known.CategoricalMultiple):
        subsets = list(mutable.grid())
        if len(subsets) > MOST_SUBSETS:
            raise PluginError(
                f"The choice '{label}' {of} has {len(subsets):,} subsets; {MOST_SUBSETS:,} can be searched at most."
            )
        options = {" and ".join(map(str, subset)): subset for subset in subsets}
    elif isinstance(mutable, known.Categorical):
        options = _options(of, label, list(mutable.values))
    else:
        raise PluginError(f"The choice '{label}' {of} cannot be searched: {mutable!r}.")
    values = tuple(options)
    return Choice(label, field, (Literal[values], Field(values[0])), list(values), options)


def _options(of: str, label: str, values: list[Any]) -> dict[Plain, Any]:
    """What is chosen from by what a parameter can be: the values themselves, or the text they read as."""
    if isinstance(values[0], Plain) and all(type(value) is type(values[0]) for value in values):
        return {value: value for value in values}
    texts = [str(value) for value in values]
    if len(set(texts)) < len(texts):
        raise PluginError(f"The choice '{label}' {of} has options that read alike: {values!r:.100}.")
    return dict(zip(texts, values, strict=True))
