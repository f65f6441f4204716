"""Optuna's samplers as strategies: they run on an in-memory mirror of the best and the latest records.

Optuna's own storage needs seconds to hand a sampler thousands of trials; the mirror holds a window of them and is built
anew for every proposal, so that nothing lives outside the database. What a sampler notes on its trials (the generation
of NSGA-II) travels in the proposal's origin and is put back, or it would begin at generation 0 every time.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import Field

from nasmod.measures.objective import Direction, Objective
from nasmod.search.strategies.random import draw
from nasmod.search.strategies.strategy import StrategySettings
from nasmod.space import Space
from nasmod.study import Proposal, Record, to_optuna

BEST_IN_MIRROR, LATEST_IN_MIRROR = 250, 750


class TpeSettings(StrategySettings):
    """How many are drawn at random first, and how many draws TPE compares."""

    initial: int = Field(16, ge=1, description="random candidates before TPE begins")
    draws: int = Field(24, ge=1, description="candidates drawn from the good ones' density for each proposal")


class Nsga2Settings(StrategySettings):
    """The size of a generation, and how its members are crossed."""

    population: int = Field(24, ge=2, description="candidates in a generation")
    crossover: float = Field(0.9, ge=0, le=1, description="chance that a child has two parents")


class Tpe:
    """Optuna's TPE (multivariate, constant liar) on the space's parameters."""

    def __init__(self, settings: TpeSettings, space: Space, generator: random.Random, objective: Objective) -> None:
        self.settings, self.space, self.generator, self.objective = settings, space, generator, objective

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        if _searched(records) < self.settings.initial:
            why = "one of the first, drawn at random"
            return [draw(self.space, self.generator, "tpe", why) for _ in range(count)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # these options are meant
            sampler = TPESampler(
                n_startup_trials=0,
                n_ei_candidates=self.settings.draws,
                multivariate=True,
                group=False,
                constant_liar=True,
                seed=self.generator.getrandbits(32),
            )
        stopped_as = TrialState.PRUNED if self.objective.mode == "combined" else TrialState.COMPLETE
        study = _mirror(records, self.space, self.objective, sampler, stopped_as)
        return [_ask(study, self.space, "tpe") for _ in range(count)]


class Nsga2:
    """Optuna's NSGA-II (non-dominated sorting, crowding distance) on the space's parameters."""

    def __init__(self, settings: Nsga2Settings, space: Space, generator: random.Random, objective: Objective) -> None:
        self.settings, self.space, self.generator, self.objective = settings, space, generator, objective

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        sampler = NSGAIISampler(
            population_size=self.settings.population,
            crossover_prob=self.settings.crossover,
            seed=self.generator.getrandbits(32),
        )
        study = _mirror(records, self.space, self.objective, sampler, TrialState.COMPLETE)
        asked = [_ask(study, self.space, "nsga2") for _ in range(count)]
        if _searched(records) >= self.settings.population:
            return asked
        # the first generation by our own generator, whose draws spread over the number of modules
        why = "of the first generation, drawn at random"
        drawn = [draw(self.space, self.generator, "nsga2", why) for _ in asked]
        return [
            Proposal(new.topology, new.settings, None, {**new.origin, **_system_attributes(old.origin)})
            for new, old in zip(drawn, asked, strict=True)
        ]


def _searched(records: Sequence[Record]) -> int:
    return sum(record.role == "search" for record in records)


def _mirror(
    records: Sequence[Record], space: Space, objective: Objective, sampler: BaseSampler, stopped_as: TrialState
) -> optuna.Study:
    """An in-memory study of the best and the latest search records, oldest first."""
    searched = [record for record in records if record.role == "search" and record.state != "failed"]
    best = sorted((record for record in searched if record.score is not None), key=lambda record: -(record.score or 0))
    chosen = {record.id for record in [*best[:BEST_IN_MIRROR], *searched[-LATEST_IN_MIRROR:]]}
    distributions = {name: to_optuna(distribution) for name, distribution in space.parameters().items()}

    def trial(record: Record) -> FrozenTrial:
        common: dict[str, Any] = {
            "params": dict(record.parameters),
            "distributions": distributions,
            "system_attrs": dict(record.proposal.origin.get("system_attributes", {})),
        }
        if record.score is None:
            return create_trial(state=TrialState.RUNNING, **common)
        values = list(objective.values(record.measures))
        if record.state == "stopped" and stopped_as is TrialState.PRUNED:
            return create_trial(
                state=TrialState.PRUNED, value=values[0], intermediate_values={len(record.curve): values[0]}, **common
            )
        # one early stop is one violated constraint: it teaches, but never dominates what ran to its end
        constraints = {"early_stopped": 1.0 if record.state == "stopped" else 0.0}
        return create_trial(state=TrialState.COMPLETE, values=values, constraints=constraints, **common)

    directions: list[Direction] = list(objective.directions.values()) if objective.mode == "pareto" else ["maximize"]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # a mirror is not worth a line each
    try:
        study = optuna.create_study(directions=directions, sampler=sampler)
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials([trial(record) for record in searched if record.id in chosen])
    return study


def _ask(study: optuna.Study, space: Space, strategy: str) -> Proposal:
    trial = study.ask()
    topology, settings = space.propose(trial)
    noted = study._storage.get_trial_system_attrs(trial._trial_id)  # no public way to what a sampler noted
    why = f"asked of Optuna with {len(study.get_trials(deepcopy=False)) - 1} records"
    return Proposal(topology, settings, None, {"strategy": strategy, "why": why, "system_attributes": noted})


def _system_attributes(origin: Any) -> dict[str, Any]:
    return {"system_attributes": origin["system_attributes"]}
