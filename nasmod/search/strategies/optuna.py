"""Optuna's samplers as strategies: they run on an in-memory mirror of the best and the latest records.

Nothing that they need lives outside the database. What a sampler notes on its trials (the generation of NSGA-II)
travels in the proposal's origin and is put back, or it would begin at generation 0 every time.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState
from pydantic import Field

from nasmod.measures.objective import Objective
from nasmod.search.strategies.mirror import Nsga2OfMirror, TpeOfMirror, mirror
from nasmod.search.strategies.random import draw
from nasmod.search.strategies.strategy import StrategySettings
from nasmod.space import Space
from nasmod.study import Proposal, Record

RELATIVE = "tpe:relative_params:"  # a running trial's parameters, which its record has anyway


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
        stopped_as = TrialState.PRUNED if self.objective.mode == "combined" else TrialState.COMPLETE
        known = mirror(self.space, self.objective, stopped_as)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # these options are meant
            sampler = TpeOfMirror(
                known,
                n_startup_trials=0,
                n_ei_candidates=self.settings.draws,
                multivariate=True,
                group=False,
                constant_liar=True,
                seed=self.generator.getrandbits(32),
            )
        study = known.study(records, sampler)
        return [_ask(study, self.space, "tpe") for _ in range(count)]


class Nsga2:
    """Optuna's NSGA-II (non-dominated sorting, crowding distance) on the space's parameters."""

    def __init__(self, settings: Nsga2Settings, space: Space, generator: random.Random, objective: Objective) -> None:
        self.settings, self.space, self.generator, self.objective = settings, space, generator, objective

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        known = mirror(self.space, self.objective, TrialState.COMPLETE)
        sampler = Nsga2OfMirror(
            known,
            population_size=self.settings.population,
            crossover_prob=self.settings.crossover,
            seed=self.generator.getrandbits(32),
        )
        study = known.study(records, sampler)
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


def _ask(study: optuna.Study, space: Space, strategy: str) -> Proposal:
    trial = study.ask()
    topology, settings = space.propose(trial)
    noted = study._storage.get_trial_system_attrs(trial._trial_id)  # no public way to what a sampler noted
    noted = {name: value for name, value in noted.items() if not name.startswith(RELATIVE)}
    why = f"asked of Optuna with {len(study.get_trials(deepcopy=False)) - 1} records"
    return Proposal(topology, settings, None, {"strategy": strategy, "why": why, "system_attributes": noted})


def _system_attributes(origin: Any) -> dict[str, Any]:
    return {"system_attributes": origin["system_attributes"]}
