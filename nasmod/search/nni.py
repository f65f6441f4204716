"""What NNI calls search spaces and model spaces, to and from ours (the extra ``nasmod[nni]``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nasmod.errors import SpaceError, unknown
from nasmod.modules import Shape
from nasmod.modules.nni import import_nni
from nasmod.networks import build, plan
from nasmod.space import Space
from nasmod.space.distributions import Choice, Distribution, Integer
from nasmod.topology import Parameter
from nasmod.training.settings import TrainingSettings

if TYPE_CHECKING:
    from nni.nas.nn.pytorch import ModelSpace

UNBOUNDED = {"normal", "qnormal", "lognormal", "qlognormal"}


def search_space(space: Space) -> dict[str, Any]:
    """A space as NNI's search-space JSON: every parameter of every slot, whichever a topology uses.

    >>> from nasmod.space import SpaceFile
    >>> table = {"modules": {"max": 1}, "kinds": {"dense": {"width": [8, 16]}}}
    >>> search_space(Space(SpaceFile.from_table(table), {"x": (4,)}, {"y": (2,)}))["dense.width_0"]
    {'_type': 'choice', '_value': [8, 16]}
    """
    return {name: _specification(found) for name, found in space.parameters().items()}


def parameters(space: Space, sample: Mapping[str, Any]) -> dict[str, Parameter]:
    """What NNI chose from a `search_space`, as parameters of the space: plain numbers within their bounds."""
    found: dict[str, Parameter] = {}
    for name, known in space.parameters().items():
        value = sample[name]
        if isinstance(known, Choice):
            found[name] = value
        else:
            number = round(value) if isinstance(known, Integer) else float(value)
            found[name] = min(max(number, known.low), known.high)
    return found


def settings_table(search_space: Mapping[str, Any], names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The table ``[space.settings]`` of a study for NNI's search-space JSON of training settings.

    `names` says what settings are called here where NNI's file calls them otherwise: ``{"lr": "learning_rate"}``.
    Raises `SpaceError` for what is no training setting, or has no bounds.

    >>> settings_table({"lr": {"_type": "loguniform", "_value": [1e-4, 1e-1]}}, {"lr": "learning_rate"})
    {'learning_rate': {'low': 0.0001, 'high': 0.1, 'log': True}}
    """
    found = {}
    for name, specification in search_space.items():
        own = (names or {}).get(name, name)
        if own not in TrainingSettings.model_fields:
            raise SpaceError(unknown("training setting", own, TrainingSettings.model_fields))
        found[own] = _values(name, specification)
    return found


def model_space(space: Space, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> ModelSpace:
    """A space as an NNI ModelSpace: its mutables are the space's parameters, and what it freezes to is a network.

    The network reads a mapping of inputs by name and gives one of outputs by name.
    """
    nni = import_nni()

    class Topologies(nni.nas.nn.pytorch.ModelSpace):  # type: ignore[misc,name-defined]  # an extra without types
        """Every topology of a space."""

        def __init__(self) -> None:
            super().__init__()
            for mutable in mutables(space).values():
                self.add_mutable(mutable)

        def freeze(self, sample: dict[str, Any]) -> Any:
            self.validate(sample)
            topology, _ = space.decode(parameters(space, sample))
            return build(plan(topology, inputs, outputs))

    found: ModelSpace = Topologies()
    return found


def mutables(space: Space) -> dict[str, Any]:
    """The parameters of a space as NNI's mutables, by name."""
    mutable = import_nni().mutable
    found = {}
    for name, known in space.parameters().items():
        if isinstance(known, Choice) or (isinstance(known, Integer) and not known.log):
            found[name] = mutable.Categorical(list(known.values()), label=name)
        else:
            options = {"quantize": 1.0 if isinstance(known, Integer) else None, "log_distributed": known.log}
            found[name] = mutable.Numerical(known.low, known.high, **options, label=name)
    return found


def _specification(found: Distribution) -> dict[str, Any]:
    if isinstance(found, Choice):
        return {"_type": "choice", "_value": list(found.options)}
    if not isinstance(found, Integer):
        return {"_type": "loguniform" if found.log else "uniform", "_value": [found.low, found.high]}
    if found.log:
        return {"_type": "qloguniform", "_value": [found.low, found.high, 1]}
    if found.step == 1:
        return {"_type": "randint", "_value": [found.low, found.high + 1]}
    return {"_type": "choice", "_value": list(found.values())}


def _values(name: str, specification: Mapping[str, Any]) -> Any:
    """A list or a range of a space file."""
    try:
        kind, value = specification["_type"], list(specification["_value"])
        if kind == "choice":
            return value
        low, high = value[0], value[1]
        if kind == "randint":
            return {"low": math.ceil(low), "high": math.ceil(high) - 1}
        if kind in ("uniform", "loguniform"):
            return {"low": float(low), "high": float(high), **({"log": True} if kind == "loguniform" else {})}
        if kind in ("quniform", "qloguniform"):
            step = value[2]
            if all(float(one).is_integer() for one in (low, high, step)):
                stepped = {"log": True} if kind == "qloguniform" else {"step": int(step)}
                return {"low": int(low), "high": int(high), **stepped}
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise SpaceError(f"'{name}' is no entry of an NNI search space: {specification!r:.100}.") from error
    why = "has no bounds" if kind in UNBOUNDED else "steps through fractions" if kind.startswith("q") else "is unknown"
    raise SpaceError(f"'{name}' cannot be searched: NNI's '{kind}' {why} here; write a choice, or a uniform range.")
