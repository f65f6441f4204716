"""What a measure is: a fact about a topology or a trained network, with its standard error where it has one."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from nasmod import registry
from nasmod.errors import PluginError
from nasmod.measures.objective import Direction
from nasmod.measures.roles import Roles

if TYPE_CHECKING:  # measures of records need no torch
    from torch import Tensor

    from nasmod.data import Dataset
    from nasmod.networks import Network, Plan

SplitName = Literal["train", "validation", "test"]
Arrays = dict[str, NDArray[Any]]


class MeasureSettings(BaseModel):
    """What the settings of every measure share: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Value:
    """One measured number. `standard_error` is None where the number has no sampling error."""

    value: float
    standard_error: float | None = None


class Measured(NamedTuple):
    """What several measures say: values, standard errors of those that have one by name, and what each module does."""

    values: dict[str, float]
    standard_errors: dict[str, float]
    roles: Roles = {}  # noqa: RUF012  # never changed

    def joined(self, later: Measured) -> Measured:
        """Both together; where both have a name, the later one's value.

        >>> Measured({"flops": 640.0}, {}).joined(Measured({"skill": 0.9}, {"skill": 0.1}))
        Measured(values={'flops': 640.0, 'skill': 0.9}, standard_errors={'skill': 0.1}, roles={})
        """
        return Measured(
            self.values | later.values, self.standard_errors | later.standard_errors, later.roles or self.roles
        )


def mean_of(trainings: Sequence[Measured]) -> Measured:
    """Several trainings of one topology: the mean of each measure and the standard error of that mean.

    What a single training says stays as it is. Roles are those of the first: modules of two trainings may swap parts.
    The mean of what is not finite in one training is not finite, and has no standard error.

    >>> mean_of([Measured({"skill": 0.5}, {"skill": 0.1}), Measured({"skill": 0.75}, {"skill": 0.1})])
    Measured(values={'skill': 0.625}, standard_errors={'skill': 0.125}, roles={})
    """
    first = trainings[0]
    if len(trainings) == 1:
        return first
    means, errors = {}, {}
    for name in first.values:
        values = [training.values[name] for training in trainings if name in training.values]
        means[name] = float(statistics.mean(values))  # of infinities too, where `fmean` and `stdev` raise
        if len(values) > 1 and (name in first.standard_errors or len(set(values)) > 1):
            deviation = math.hypot(*(value - means[name] for value in values)) / math.sqrt(len(values) - 1)
            if math.isfinite(deviation):
                errors[name] = deviation / math.sqrt(len(values))
    return Measured(means, errors, first.roles)


@dataclass
class Evaluation:
    """What is measured: a plan, its network (None before training) and the data; outputs are computed once a split.

    `seed` feeds the generators of measures that resample. The test split is looked at only `with_test`. `flops` are
    those of the plan and `validation_outputs` those of the network, (N, outputs) by name, where they are known already;
    None where they are still to be computed.
    """

    plan: Plan
    dataset: Dataset
    network: Network | None = None
    device: str = "cpu"
    seed: int = 0
    with_test: bool = False
    flops: int | None = None
    validation_outputs: Mapping[str, Tensor] | None = None
    _outputs: dict[str, tuple[Arrays, Arrays]] = field(default_factory=dict, repr=False)

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits that may be looked at: validation, and test where asked for."""
        return ("validation", "test") if self.with_test else ("validation",)

    @property
    def trained(self) -> Network:
        """The network; only measures that are not cheap may ask for it."""
        assert self.network is not None
        return self.network

    def outputs(self, split: SplitName) -> tuple[Arrays, Arrays]:
        """Outputs of the network in eval mode and their targets, per output name: (N, outputs) and (N, ...)."""
        from nasmod.training import evaluate

        if split not in self._outputs:
            data = self.dataset.split(split)
            outputs = self.validation_outputs if split == "validation" else None
            if outputs is None:
                outputs = evaluate(self.trained, data, self.dataset.task, self.device)
            targets = {name: np.asarray(data.targets[name]) for name in outputs}
            self._outputs[split] = {name: tensor.float().cpu().numpy() for name, tensor in outputs.items()}, targets
        return self._outputs[split]


class Measure(Protocol):
    """A registered measure: made with its settings, called with an `Evaluation`."""

    cheap: ClassVar[bool]  # needs no trained network: measured, and constraints checked, before any training
    directions: ClassVar[Mapping[str, Direction]]  # which way is better; names that may go into an objective

    def __init__(self, settings: Any) -> None: ...

    def __call__(self, evaluation: Evaluation) -> Mapping[str, Value | Roles]: ...  # roles only under that name


def measure(name: str) -> type[Measure]:
    """The measure of a name, to be made with its settings.

    Raises `UnknownNameError` for one that nobody registered and `PluginError` for one without its members.

    >>> measure("cost").cheap
    True
    """
    found = registry.resolve("measure", name)
    for member in ("cheap", "directions"):
        if not hasattr(found, member):
            raise PluginError(f"A measure needs a member '{member}'; the measure '{name}' has none.")
    if not isinstance(found.cheap, bool):
        raise PluginError(
            f"The member 'cheap' of a measure is True or False; the measure '{name}' has {found.cheap!r}."
        )
    known, given = get_args(Direction), found.directions
    if not isinstance(given, Mapping) or not all(isinstance(key, str) and given[key] in known for key in given):
        raise PluginError(
            f"The member 'directions' of a measure says of each name {' or '.join(map(repr, known))}; "
            f"the measure '{name}' has {given!r}."
        )
    checked: type[Measure] = found
    return checked


def measure_all(
    settings: Mapping[str, BaseModel | Mapping[str, Any]], evaluation: Evaluation, *, cheap: bool
) -> Measured:
    """What the measures named in `settings` say that are `cheap`, or those that are not.

    `settings` are ``{measure name: its settings or their plain mapping}``. A standard error that is not finite counts
    as none. Raises what `measure` does, and `PluginError` when two measures report one name.
    """
    values: dict[str, float] = {}
    standard_errors: dict[str, float] = {}
    roles: Roles = {}
    for name, given in settings.items():
        kind = measure(name)
        if kind.cheap != cheap:
            continue
        chosen = given if isinstance(given, BaseModel) else registry.settings("measure", name).model_validate(given)
        for measured, value in kind(chosen)(evaluation).items():
            if measured in values:
                raise PluginError(f"Measure '{name}' reports '{measured}', which another measure already reports.")
            if measured == "roles" and isinstance(value, Mapping):
                roles = value
                continue
            if not isinstance(value, Value):
                raise PluginError(f"Measure '{name}' must give a Value for '{measured}', not {value!r:.100}.")
            values[measured] = float(value.value)
            if value.standard_error is not None and math.isfinite(value.standard_error):
                standard_errors[measured] = float(value.standard_error)
    return Measured(values, standard_errors, roles)


def definition_of(name: str) -> int:
    """Which definition of a measure this nasmod has: one more each time its results no longer compare.

    >>> definition_of("accuracy")
    1
    """
    return int(getattr(measure(name), "definition", 1))


def measured_names(names: list[str]) -> dict[str, Direction]:
    """Which way is better, for everything that the measures of these names report and an objective may use."""
    found: dict[str, Direction] = {}
    for name in names:
        found.update(measure(name).directions)
    return found
