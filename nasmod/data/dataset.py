"""A data set: named inputs and targets in three splits, as a frozen value. It knows nothing of networks or of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from nasmod.data.factors import Factors
from nasmod.data.reading import Reading
from nasmod.data.table import TableSettings
from nasmod.errors import UnknownNameError
from nasmod.registry import Code

Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]
Task = Literal["classification", "regression", "language"]
Normalisation = Mapping[str, tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Split:
    """Examples by name: inputs (N, *shape), raw; targets (N,) class numbers, or (N, dims) real values.

    >>> len(Split({"x": np.zeros((5, 3))}, {"y": np.zeros(5)}))
    5
    """

    inputs: Mapping[str, Array]
    targets: Mapping[str, Array]

    def __len__(self) -> int:
        return len(next(iter(self.targets.values())))

    def rows(self, chosen: Array) -> Split:
        """The chosen examples, in the order given."""
        return Split(
            {name: array[chosen] for name, array in self.inputs.items()},
            {name: array[chosen] for name, array in self.targets.items()},
        )


@dataclass(frozen=True, eq=False)
class Dataset:
    """What is learned from: three splits, the shape of each input, the classes or dimensions of each output.

    `normalisation` holds mean and standard deviation of each input per feature (axis 0 of its shape), measured on the
    training split; the inputs themselves stay raw. Targets of a regression are standardised by the training split:
    ``target_normalisation[name]`` is the (mean, std), each (dims,), that leads back to the user's units.
    """

    name: str
    task: Task
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, int]
    train: Split
    validation: Split
    test: Split
    fingerprint: str
    normalisation: Normalisation
    target_normalisation: Normalisation = field(default_factory=dict)
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    feature_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    reading: Reading | None = None  # what was read of a person's file, in words
    written: TableSettings | None = None  # how its table is written: others to be predicted are read likewise
    stored_factors: Factors | None = None  # those of a study; without them they are found in the data

    @cached_property
    def factors(self) -> Factors:
        """The parts of the work that modules may divide among them."""
        from nasmod.data.finding_factors import find_factors

        return self.stored_factors or find_factors(self)

    def with_factors(self, factors: Factors) -> Dataset:
        """The same data with a study's factors."""
        return replace(self, stored_factors=factors)

    @property
    def output_shapes(self) -> dict[str, Shape]:
        """The shape each output of a network must have, without the batch."""
        return {name: (count,) for name, count in self.outputs.items()}

    @property
    def chance(self) -> float:
        """What a constant answer gets: the share of the largest class in the validation split; 0 for regression.

        Of several outputs, the mean.
        """
        if self.task == "regression":
            return 0.0
        shares = [np.bincount(labels).max() / len(labels) for labels in self.validation.targets.values()]
        return float(np.mean(shares))

    def split(self, name: str) -> Split:
        """The split called ``train``, ``validation`` or ``test``."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        if name not in splits:
            raise UnknownNameError("split", name, splits)
        return splits[name]


def absolute(path: str, info: ValidationInfo) -> str:
    """A path in settings, made absolute: a relative one starts at the study file's folder or the working directory."""
    folder = (info.context or {}).get("folder", ".")
    return str((Path(folder) / Path(path).expanduser()).resolve())


DataPath = Annotated[str, AfterValidator(absolute)]  # absolute once checked, so that a study runs from any directory


class DataSettings(BaseModel):
    """What every data set's settings share; a data set adds its own fields.

    A test or validation set that comes with the data is kept as it is; `validation` is then a share of the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    validation: float = Field(0.2, strict=True, gt=0, lt=1, description="share of the examples that judges candidates")
    test: float = Field(0.2, strict=True, gt=0, lt=1, description="share of the examples kept for the final figures")
    seed: int = Field(0, strict=True, ge=0, lt=2**32, description="draws the splits")
    limit: int | None = Field(
        None, strict=True, ge=1, description="use at most so many examples in all, for quick runs"
    )

    def code(self) -> tuple[Code, ...]:
        """The user's Python files that loading the data executes: read, not executed."""
        return ()

    @model_validator(mode="after")
    def _room_for_training(self) -> DataSettings:
        if self.validation + self.test >= 1:
            raise ValueError(f"validation + test must be below 1; got {self.validation} + {self.test}")
        return self
