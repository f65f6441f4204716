"""Factors: the parts of the data's work that modules may divide among them. Declared, or found in the data.

One family at a time, the first of these that holds: what the study declares; two or more inputs; two or more outputs;
groups of input features that vary together; three or more classes (or two or more dimensions of a regression).
How a module's share of a factor is measured is another matter: see `nasmod.measures.modularity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Family = Literal["declared", "inputs", "outputs", "features", "classes", "none"]

STRONG_CORRELATION = 0.5


class DeclaredFactor(BaseModel):
    """A factor that a study names: an input or a slice of it, columns of a table, or an output."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: str | None = Field(None, description="an input of the data")
    features: str | None = Field(None, description='a slice of its flattened features, such as "0:32"')
    columns: list[str] | None = Field(None, min_length=1, description="columns of a table")
    output: str | None = Field(None, description="an output of the data")

    @model_validator(mode="after")
    def _one_thing(self) -> DeclaredFactor:
        if sum(given is not None for given in (self.input, self.columns, self.output)) != 1:
            raise ValueError('needs one of `input`, `columns` and `output`, such as { input = "x", features = "0:32" }')
        if self.features is not None and self.input is None:
            raise ValueError("`features` needs the `input` that they are of")
        return self


@dataclass(frozen=True)
class Factor:
    """A part of the work. `inputs` are permuted across examples: which flattened features of each, None for all.

    `output` is the output that is read, None for all; `column` the class or dimension of it, None for all.
    """

    name: str
    inputs: Mapping[str, tuple[int, ...] | None] = field(default_factory=dict)
    output: str | None = None
    column: int | None = None


@dataclass(frozen=True)
class Factors:
    """The factors of a study. `correlation` is the largest between features of two factors, by absolute value."""

    family: Family
    factors: tuple[Factor, ...]
    correlation: float | None = None

    @property
    def leave_the_data(self) -> bool:
        """Whether permuting one factor makes examples as the data hold none: factors that vary together."""
        return self.correlation is not None and self.correlation >= STRONG_CORRELATION

    def to_json(self) -> dict[str, Any]:
        """Plain form, for the database."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Factors:
        """What `to_json` gave, read back from JSON text."""
        factors = tuple(
            Factor(
                str(factor["name"]),
                {name: None if rows is None else tuple(map(int, rows)) for name, rows in factor["inputs"].items()},
                factor["output"],
                factor["column"],
            )
            for factor in stored["factors"]
        )
        return cls(stored["family"], factors, stored["correlation"])
