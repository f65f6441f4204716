"""A study in memory for Optuna's samplers: the best and the latest records as trials, made anew for every proposal.

Optuna's own storage needs seconds to hand a sampler thousands of trials, and its in-memory one copies each deeply.
Here a record becomes a trial once and stays one until the record changes. Which of them are in the mirror, and what is
proposed from it, follows from the records alone: a process that begins with none proposes the same.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from nasmod.measures.objective import Direction, Objective
from nasmod.space import Space
from nasmod.study import TRAINED, Record, to_optuna

BEST, LATEST = 250, 750
GENERATIONS = 10  # of NSGA-II that are selected from one by one; what is older, at once
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None)  # Optuna asks for times; no sampler reads them

Distributions = dict[str, BaseDistribution]


class MirroredTrial(FrozenTrial):
    """A record as a trial. In memory it is its own copy: no sampler changes a trial that it did not ask for."""

    internal: NDArray[np.float64] | None = (
        None  # its parameters as Optuna computes with them, in the sorted order of names
    )

    def __deepcopy__(self, memo: dict[int, Any]) -> MirroredTrial:
        return self


class Mirror:
    """The records of one space as trials; one per space, objective and way to say that a trial was stopped."""

    def __init__(self, space: Space, objective: Objective, stopped_as: TrialState) -> None:
        self.objective, self.stopped_as = objective, stopped_as
        self.distributions = {name: to_optuna(found) for name, found in space.parameters().items()}
        self.searched = {name: found for name, found in sorted(self.distributions.items()) if not found.single()}
        self._trials: dict[int, tuple[Record, MirroredTrial]] = {}

    def study(self, records: Sequence[Record], sampler: BaseSampler) -> optuna.Study:
        """An in-memory study of the best and the latest search records, oldest first."""
        directions: list[Direction] = ["maximize"]
        if self.objective.mode == "pareto":
            directions = list(self.objective.directions.values())
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # a mirror is not worth a line each
        try:
            study = optuna.create_study(directions=directions, sampler=sampler)
        finally:
            optuna.logging.set_verbosity(verbosity)
        kept = {}
        for record in window(records):
            known = self._trials.get(record.id)
            kept[record.id] = known if known is not None and known[0] is record else (record, self._trial(record))
            # `Study.add_trial` would check each trial's parameters again
            study._storage.create_new_trial(study._study_id, template_trial=kept[record.id][1])
        self._trials = kept
        return study

    def _trial(self, record: Record) -> MirroredTrial:
        state, values, steps = TrialState.RUNNING, None, {}
        attributes = dict(record.proposal.origin.get("system_attributes", {}))
        if record.score is not None:
            state, values = TrialState.COMPLETE, list(self.objective.values(record.measures))
            if record.state != "finished" and self.stopped_as is TrialState.PRUNED:
                state, steps = TrialState.PRUNED, {len(record.curve): values[0]}
            else:
                # one early stop is one violated constraint: it teaches, but never dominates what ran to its end
                attributes["constraints:early_stopped"] = 0.0 if record.state == "finished" else 1.0
        return MirroredTrial(
            number=-1,
            trial_id=-1,
            state=state,
            value=None,
            values=values,
            datetime_start=LONG_AGO,
            datetime_complete=None if state is TrialState.RUNNING else LONG_AGO,
            params=dict(record.parameters),
            distributions=self.distributions,
            user_attrs={},
            system_attrs=attributes,
            intermediate_values=steps,
        )


_mirrors: WeakKeyDictionary[Space, dict[tuple[str, TrialState], Mirror]] = WeakKeyDictionary()


def mirror(space: Space, objective: Objective, stopped_as: TrialState) -> Mirror:
    """The mirror of a space: the one that this process has, or a new one."""
    of_space = _mirrors.setdefault(space, {})
    key = objective.model_dump_json(), stopped_as
    if key not in of_space:
        of_space[key] = Mirror(space, objective, stopped_as)
    return of_space[key]


def window(records: Sequence[Record]) -> list[Record]:
    """The best and the latest search records that did not fail, in the order they were filed."""
    searched = [record for record in records if record.role == "search" and record.state != "failed"]
    if len(searched) <= LATEST:
        return searched
    older, latest = searched[:-LATEST], searched[-LATEST:]
    scored = (record for record in searched if record.state in TRAINED and record.score is not None)
    best = {record.id for record in heapq.nlargest(BEST, scored, key=lambda record: record.score or 0.0)}
    return [record for record in older if record.id in best] + latest


class TpeOfMirror(TPESampler):
    """Optuna's TPE, told what it would find out anew from every trial: the search space, and parameters as numbers."""

    def __init__(self, mirror: Mirror, **options: Any) -> None:
        super().__init__(**options)
        self._mirror = mirror

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Distributions:
        return self._mirror.searched

    def _get_internal_repr(
        self, trials: list[FrozenTrial], search_space: Distributions, study: optuna.Study
    ) -> dict[str, NDArray[np.float64]]:
        if search_space is not self._mirror.searched:  # a parameter that it samples alone
            return super()._get_internal_repr(trials, search_space, study)
        rows = []
        for trial in trials:
            if not isinstance(trial, MirroredTrial):  # asked before in this very study
                rows.append(_internal(self._get_params(trial, study), search_space))
                continue
            if trial.internal is None:
                trial.internal = _internal(trial.params, search_space)
            rows.append(trial.internal)
        table = np.array(rows).reshape(len(rows), len(search_space))
        return {name: table[:, column] for column, name in enumerate(search_space)}


class Nsga2OfMirror(NSGAIISampler):
    """Optuna's NSGA-II, told the search space, and selecting from old generations at once.

    Optuna selects the parents of each generation from the one before, back to the first: after thousands of candidates
    hundreds of selections for one proposal, each inside another: from about 500 on, too deep for Python. Here the
    parents of the generation `GENERATIONS` back are selected from everything older in the mirror.
    """

    def __init__(self, mirror: Mirror, **options: Any) -> None:
        super().__init__(**options)
        self._mirror = mirror

    @classmethod
    def _get_generation_key(cls) -> str:
        return NSGAIISampler._get_generation_key()  # Optuna makes it of the class's name, and it is stored

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> Distributions:
        return self._mirror.searched

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        key = self._get_generation_key()
        newest = max((trial.system_attrs.get(key, 0) for trial in trials), default=0)
        first = newest - GENERATIONS
        if 0 < generation <= first:
            older = [trial for trial in trials if trial.system_attrs.get(key, 0) < generation]
            return self._elite_population_selection_strategy(study, older)
        return super().get_parent_population(study, generation)


def _internal(parameters: dict[str, Any], searched: Distributions) -> NDArray[np.float64]:
    return np.array([found.to_internal_repr(parameters[name]) for name, found in searched.items()], dtype=float)
