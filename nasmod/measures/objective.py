"""The objective: what a study wants of a candidate, as one score or as several directions. It imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Direction = Literal["maximize", "minimize"]
# log(B / F) / log 100: a candidate at 1 % of the budget has all there is to have for cheapness
CHEAPEST_SHARE_OF_BUDGET = 0.01


def _skill_modularity_flops(given: dict[str, Any]) -> dict[str, Direction]:
    """Three directions; the first two are the measures that the objective has chosen."""
    chosen = [str(given.get(name, name)) for name in ("skill", "modularity")]
    return {**dict.fromkeys(chosen, "maximize"), "flops": "minimize"}


class Objective(BaseModel):
    """What a study wants: skill, plus up to 10 % of it for modularity and up to 2 % for cheapness.

    In mode ``combined`` candidates are ranked by `score`; in mode ``pareto`` by domination in `directions`, which also
    define the front in both modes. Measures come in as ``{name: value}``: ``skill``, ``modularity``, ``flops`` and
    whatever `floors` and `directions` name. Other measures may take the places of skill (accuracy above chance) and
    modularity: `skill` and `modularity` name them.

    >>> objective = Objective(flops_budget=1_000_000)
    >>> round(objective.score({"skill": 0.9, "modularity": 0.5, "flops": 100_000}), 4)
    0.8518
    >>> objective.violation({"flops": 2_000_000})
    'flops 2000000 is over the budget of 1000000'
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    mode: Literal["combined", "pareto"] = Field(
        default="combined", description="combined: one score; pareto: rank by domination in every direction"
    )
    flops_budget: int = Field(gt=0, description="most FLOPs of one forward pass of one example; above it: infeasible")
    modularity_weight: float = Field(default=0.10, ge=0, allow_inf_nan=False, description="w_m of the score")
    modularity: str = Field(default="modularity", description="the measure that is M in the score, larger is better")
    skill: str = Field(default="skill", description="the measure that is s in the score, from 0 to 1, larger is better")
    flops_weight: float = Field(default=0.02, ge=0, allow_inf_nan=False, description="w_c of the score")
    floors: dict[str, float] = Field(
        default_factory=dict, description="least values of measures; they bind finished candidates only"
    )
    directions: dict[str, Direction] = Field(
        default_factory=_skill_modularity_flops,
        min_length=1,
        description="the directions of the front, and of mode pareto",
    )

    @field_validator("floors")
    @classmethod
    def _floors_are_finite(cls, floors: dict[str, float]) -> dict[str, float]:
        for name, floor in floors.items():
            if not math.isfinite(floor):
                raise ValueError(f"the floor of '{name}' must be a finite number, not {floor}")
        return floors

    @property
    def wanted(self) -> frozenset[str]:
        """Every measured name that the score, the floors or the directions speak of."""
        return frozenset({"skill", self.skill, self.modularity, "flops", *self.floors, *self.directions})

    def values(self, measures: Mapping[str, float]) -> tuple[float, ...]:
        """What an optimiser is told: the score, or in mode ``pareto`` one value a direction.

        An undefined value (missing or NaN) is the worst there can be: infinity, with the direction's sign.

        >>> objective = Objective(flops_budget=9, mode="pareto", directions={"r2": "maximize", "latency": "minimize"})
        >>> objective.values({"r2": 0.5}), objective.values({"latency": 0.1})
        ((0.5, inf), (-inf, 0.1))
        """
        if self.mode == "combined":
            return (self.score(measures),)
        return tuple(_or_worst(measures.get(name), direction) for name, direction in self.directions.items())

    def cheapness(self, flops: float) -> float:
        """c in [0, 1]: 0 at the FLOPs budget, 1 at a hundredth of it and below, by the logarithm in between."""
        if flops <= 0:
            return 1.0
        return _clip(math.log(self.flops_budget / flops) / -math.log(CHEAPEST_SHARE_OF_BUDGET))

    def score(self, measures: Mapping[str, float]) -> float:
        """s (1 + w_m M + w_c c) / (1 + w_m + w_c), in [0, 1]; 0 at chance level and over the FLOPs budget.

        Undefined modularity (missing or NaN) counts 0, and so does undefined skill. Floors change no score.
        """
        if measures["flops"] > self.flops_budget:
            return 0.0
        return self._skill(measures) * self._factor(measures)

    def standard_error(self, measures: Mapping[str, float], standard_errors: Mapping[str, float]) -> float:
        """Standard error of `score`, propagated to first order from those of skill and modularity.

        Both are taken as independent; a missing or undefined standard error counts 0.
        """
        if measures["flops"] > self.flops_budget:
            return 0.0
        by_skill = self._factor(measures)
        by_modularity = self._skill(measures) * self.modularity_weight / self._most()
        return math.hypot(
            by_skill * _defined(standard_errors.get(self.skill)),
            by_modularity * _defined(standard_errors.get(self.modularity)),
        )

    def worth(self, chance: float) -> dict[str, float]:
        """What each weight is worth in points of accuracy, for a network that is right about everything it could be.

        The accuracy (in percent) that such a network may lose and still have the same score, once modularity goes from
        0 to 1, and once FLOPs fall from the budget to a tenth of it. `chance` is what a constant answer gets.

        >>> {name: round(points, 1) for name, points in Objective(flops_budget=1000).worth(chance=0.1).items()}
        {'modularity': 8.2, 'a tenth of the FLOPs': 0.9}
        """
        gains = {
            "modularity": self.modularity_weight,
            "a tenth of the FLOPs": self.flops_weight * self.cheapness(self.flops_budget / 10),
        }
        return {name: 100 * (1 - chance) * gain / (1 + gain) for name, gain in gains.items()}

    def violation(self, measures: Mapping[str, float], *, finished: bool = False) -> str | None:
        """Why a candidate is infeasible, in words, or None. Floors are looked at only for `finished` candidates.

        Before training, `measures` holds the cheap ones: ``flops`` is all it must hold.
        """
        if "flops" not in measures:  # damaged by hand: every trained candidate has them
            return "its flops are not known"
        if measures["flops"] > self.flops_budget:
            return f"flops {measures['flops']:.0f} is over the budget of {self.flops_budget}"
        if not finished:
            return None
        for name, floor in self.floors.items():
            value = _defined(measures.get(name))
            if value < floor:
                return f"{name} {value:.4g} is under its floor of {floor:.4g}"
        return None

    def feasible(self, measures: Mapping[str, float], *, finished: bool = False) -> bool:
        """Whether `violation` finds nothing."""
        return self.violation(measures, finished=finished) is None

    def _skill(self, measures: Mapping[str, float]) -> float:
        return _clip(_defined(measures.get(self.skill)))

    def _factor(self, measures: Mapping[str, float]) -> float:
        modularity = _clip(_defined(measures.get(self.modularity)))
        gain = self.modularity_weight * modularity + self.flops_weight * self.cheapness(measures["flops"])
        return (1 + gain) / self._most()

    def _most(self) -> float:
        return 1 + (self.modularity_weight + self.flops_weight)  # brackets as in the gain: the best scores 1.0


def _or_worst(value: float | None, direction: Direction) -> float:
    if value is None or math.isnan(value):
        return -math.inf if direction == "maximize" else math.inf
    return value


def _defined(value: float | None) -> float:
    return 0.0 if value is None or math.isnan(value) else value


def _clip(value: float) -> float:
    return min(1.0, max(0.0, value))
