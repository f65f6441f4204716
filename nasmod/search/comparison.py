"""What a comparison of strategies found: the runs of each, how their best score rose, and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna._hypervolume import compute_hypervolume

from nasmod.measures.objective import Objective
from nasmod.topology import Parameter


@dataclass(frozen=True)
class Ended:
    """A candidate that a run had trained, when it ended. Costs are those of the whole run until then, pauses included.

    `score` is that of its one training, and `values` those of the directions, where it ran to its end.
    """

    epochs: int
    seconds: float
    flops: float
    score: float | None
    values: tuple[float, ...] | None


@dataclass(frozen=True)
class Run:
    """One variant's search with one study seed.

    `fresh` are the scores of its best candidate in trainings with seeds that no search has seen; `topology` and
    `settings` are that candidate's.
    """

    variant: str
    seed: int
    ended: tuple[Ended, ...]
    topology: str
    settings: Mapping[str, Parameter]
    fresh: tuple[float, ...]

    @property
    def score(self) -> float:
        """The mean of the fresh trainings."""
        return fmean(self.fresh)

    def best_so_far(self) -> list[float]:
        """The best score after each candidate; 0 before one has finished."""
        return [float(best) for best in np.maximum.accumulate([ended.score or 0.0 for ended in self.ended])]

    def trainings_to(self, score: float) -> int | None:
        """How many candidates it trained until its best score was so high."""
        return next((number for number, best in enumerate(self.best_so_far(), 1) if best >= score), None)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Run:
        """What `to_json` gave, read back."""
        ended = (Ended(**{**row, "values": row["values"] and tuple(row["values"])}) for row in stored["ended"])
        return cls(**{**stored, "ended": tuple(ended), "fresh": tuple(stored["fresh"])})


@dataclass(frozen=True)
class Comparison:
    """All runs, and what their study wants."""

    study: str
    objective: Objective
    runs: tuple[Run, ...]

    @property
    def variants(self) -> list[str]:
        """Their names, in the order in which they were given."""
        return list(dict.fromkeys(run.variant for run in self.runs))

    def of(self, variant: str) -> list[Run]:
        """Its runs, one a study seed."""
        return [run for run in self.runs if run.variant == variant]

    def score(self, variant: str) -> tuple[float, float]:
        """The mean over study seeds of its fresh scores, and the standard error of that mean (NaN of one seed)."""
        scores = [run.score for run in self.of(variant)]
        error = stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else math.nan
        return fmean(scores), error

    @property
    def goal(self) -> float:
        """The best score of a single training that every run reached: how soon each did can be compared."""
        return min(run.best_so_far()[-1] for run in self.runs)

    def hypervolumes(self, run: Run) -> list[float]:
        """Of what a run had finished, after each of its candidates, as a share of that of all runs together.

        The reference point is the worst value of each direction in any run. 0 where there is no area.
        """
        every = self._losses(ended for run in self.runs for ended in run.ended)
        if not len(every):
            return [0.0] * len(run.ended)
        worst = every.max(axis=0)
        whole = compute_hypervolume(every, worst)
        found = [0.0]
        for number, ended in enumerate(run.ended, 1):
            if ended.values is None or whole <= 0:
                found.append(found[-1])
            else:
                found.append(float(compute_hypervolume(self._losses(run.ended[:number]), worst) / whole))
        return found[1:]

    def _losses(self, rows: Iterable[Ended]) -> NDArray[np.float64]:
        """(finished candidates, directions), smaller is better; those with an undefined value left out."""
        directions = self.objective.directions.values()
        signs = [-1.0 if direction == "maximize" else 1.0 for direction in directions]
        found = np.array([ended.values for ended in rows if ended.values is not None]).reshape(-1, len(signs)) * signs
        return found[np.isfinite(found).all(axis=1)]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "study": self.study,
            "objective": self.objective.model_dump(mode="json"),
            "runs": [run.to_json() for run in self.runs],
        }
