"""NNI's tuners and its evolution of model spaces as strategies (the extra ``nasmod[nni]``, NNI 3.0).

NNI keeps a tuner in memory for as long as an experiment runs. Here it is made for every proposal and told what the
records say, so that another process goes on where one was killed. Its tuners know one value: in mode ``pareto`` they
are told the score too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from nasmod.errors import StudyError
from nasmod.measures.objective import Objective
from nasmod.modules.nni import import_nni
from nasmod.search.nni import mutables, parameters, search_space
from nasmod.search.strategies.mirror import window
from nasmod.search.strategies.random import draw
from nasmod.search.strategies.strategy import StrategySettings
from nasmod.space import Space
from nasmod.study import TRAINED, Proposal, Record, candidate_key
from nasmod.topology import Parameter

TRIES = 200  # to find a sample that is new


class NniRandomSettings(StrategySettings):
    """It has none."""


class NniGridSettings(StrategySettings):
    """It has none."""


class NniTpeSettings(StrategySettings):
    """How many are drawn at random first, and how many draws TPE compares."""

    initial: int = Field(20, ge=1, description="random candidates before TPE begins")
    draws: int = Field(24, ge=1, description="candidates drawn from the good ones' density for each proposal")


class NniEvolutionSettings(StrategySettings):
    """How many candidates are remembered."""

    population: int = Field(32, ge=2, description="the latest trained candidates, of which two compete to be a parent")


class NniAnnealSettings(StrategySettings):
    """How many are drawn at random first."""

    initial: int = Field(10, ge=1, description="random candidates before it begins")


class NniRegularizedEvolutionSettings(StrategySettings):
    """How many stay young, how many compete, and how much of a child changes."""

    population: int = Field(48, ge=1, description="the latest trained candidates that may become parents")
    sample: int = Field(12, ge=1, description="how many of them compete in a tournament")
    mutation: float = Field(0.05, gt=0, le=1, description="probability that a parameter is drawn anew")
    crossover: bool = Field(False, description="whether a child has two parents")

    @model_validator(mode="after")
    def _sample_fits(self) -> NniRegularizedEvolutionSettings:
        if self.sample > self.population:
            raise ValueError(f"the sample ({self.sample}) cannot be larger than the population ({self.population})")
        return self


class _OfNni:
    """What the strategies share: a name, and parameters of the space in and out."""

    name: str

    def __init__(self, settings: Any, space: Space, generator: random.Random, objective: Objective) -> None:
        self.settings, self.space, self.generator = settings, space, generator

    def _drawn(self, why: str) -> Proposal:
        return draw(self.space, self.generator, self.name, why)

    def _proposal(self, sample: Mapping[str, Any], why: str) -> Proposal:
        topology, settings = self.space.decode(parameters(self.space, sample))
        return Proposal(topology, settings, None, {"strategy": self.name, "why": why})

    def _new(self, ask: Callable[[], Mapping[str, Any]], why: str, known: set[str]) -> Proposal:
        """The first sample that is a new candidate: most parameters of a space are of no account to a topology."""
        for _ in range(TRIES):
            found = self._proposal(ask(), why)
            if (key := candidate_key(found.topology, found.settings)) not in known:
                known.add(key)
                return found
        return self._drawn(f"{why} was nothing new: drawn at random")

    def _seed(self) -> int:
        return self.generator.getrandbits(31)


class NniRandom(_OfNni):
    """NNI's random tuner: every parameter is drawn by itself."""

    name = "nni.random"

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        import_nni()
        from nni.algorithms.hpo.random_tuner import RandomTuner

        tuner = RandomTuner(self._seed())
        tuner.update_search_space(search_space(self.space))
        return [self._proposal(tuner.generate_parameters(number), "drawn by NNI at random") for number in range(count)]


class NniGrid(_OfNni):
    """NNI's grid search: every combination in order, ranges on ever finer grids. For small spaces."""

    name = "nni.grid"

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        nni = import_nni()
        from nni.algorithms.hpo.gridsearch_tuner import GridSearchTuner

        tuner = GridSearchTuner()
        tuner.update_search_space(search_space(self.space))
        searched = [record for record in records if record.role == "search"]
        tuner.import_data([{"parameter": dict(record.parameters)} for record in searched])
        known = {record.key for record in searched}
        try:
            return [
                self._new(lambda: tuner.generate_parameters(0), "the next of NNI's grid", known) for _ in range(count)
            ]
        except nni.NoMoreTrialError:
            return [self._drawn("NNI's grid was walked through: drawn at random") for _ in range(count)]


class NniTpe(_OfNni):
    """NNI's TPE (Bergstra et al. 2011), each parameter by itself; what runs counts as the best so far."""

    name = "nni.tpe"

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        import_nni()
        from nni.algorithms.hpo.tpe_tuner import TpeTuner

        options = {"n_startup_jobs": self.settings.initial, "n_ei_candidates": self.settings.draws}
        tuner = TpeTuner("maximize", self._seed(), options)
        tuner.update_search_space(search_space(self.space))
        tuner.dedup = _NoDeduplication()
        known = window(records)
        best = max((record.score for record in known if record.score is not None), default=0.0)
        tuner.import_data(
            [
                {"parameter": dict(record.parameters), "value": best if record.score is None else record.score}
                for record in known
            ]
        )
        why = f"asked of NNI's TPE with {len(known)} records"
        return [self._proposal(tuner.generate_parameters(number), why) for number in range(count)]


class NniEvolution(_OfNni):
    """NNI's evolution: the better of two at random, with one parameter drawn anew."""

    name = "nni.evolution"

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        import_nni()
        from nni.algorithms.hpo.evolution_tuner import EvolutionTuner, Individual

        searched = [record for record in records if record.role == "search"]
        drawn = sum(record.reference is None for record in searched)
        trained = _trained(searched)[-self.settings.population :]
        if drawn < self.settings.population or len(trained) < 2:
            return [self._drawn("one of the first generation, drawn at random") for _ in range(count)]
        with _seeded(self._seed()):
            tuner = EvolutionTuner("maximize", self.settings.population)
            tuner.update_search_space(search_space(self.space))
            tuner.random_state = np.random.RandomState(self._seed())
            found = []
            for number in range(count):
                tuner.population = [Individual(self._indexed(one.parameters), result=one.score) for one in trained]
                why = f"NNI's evolution of the youngest {len(trained)}"
                found.append(self._proposal(tuner.generate_parameters(number), why))
        return found

    def _indexed(self, values: Mapping[str, Parameter]) -> dict[str, Any]:
        """Parameters as the tuner keeps them: with the place of each option."""
        found: dict[str, Any] = {}
        for name, known in search_space(self.space).items():
            value = values[name]
            is_choice = known["_type"] == "choice"
            found[name] = {"_index": known["_value"].index(value), "_value": value} if is_choice else value
        return found


class NniRegularizedEvolution(_OfNni):
    """NNI's regularised evolution of model spaces (Real et al. 2019): the space's parameters are its mutables."""

    name = "nni.regularized_evolution"

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        nni = import_nni()
        from nni.nas.strategy import RegularizedEvolution
        from nni.nas.strategy.evolution import Individual

        settings = self.settings
        strategy = RegularizedEvolution(
            population_size=settings.population,
            sample_size=settings.sample,
            mutation_prob=settings.mutation,
            crossover=settings.crossover,
            dedup=False,  # a study recognises duplicates itself, whatever their parameters
            seed=self._seed(),
        )
        strategy.initialize(nni.mutable.MutableDict(mutables(self.space)), _NoEngine())
        searched = [record for record in records if record.role == "search"]
        drawn = sum(record.reference is None for record in searched)
        trained = _trained(searched)[-settings.population :]
        if drawn < settings.population or not trained:
            return [self._drawn("one of the first generation, drawn at random") for _ in range(count)]
        state = strategy.state_dict()
        state["population"] = [Individual(dict(record.parameters), record.score) for record in trained]
        strategy.load_state_dict(state)
        known = {record.key for record in searched}
        why = f"NNI's regularised evolution of the youngest {len(trained)}"
        return [self._new(strategy.new_individual, why, known) for _ in range(count)]


class NniAnneal(_OfNni):
    """NNI's annealing, which is hyperopt's: near the best at first widely, then closely."""

    name = "nni.anneal"

    def propose(self, records: Sequence[Record], count: int) -> list[Proposal]:
        import_nni()
        try:
            from nni.algorithms.hpo.hyperopt_tuner import HyperoptTuner
        except ImportError as error:
            raise StudyError(f"The strategy 'nni.anneal' needs hyperopt: pip install hyperopt ({error}).") from error
        known = _trained(window(records))
        if len(known) < self.settings.initial:
            return [self._drawn("one of the first, drawn at random") for _ in range(count)]
        with _seeded(self._seed()):
            tuner = HyperoptTuner("anneal", "maximize")
            tuner.update_search_space(search_space(self.space))
            tuner.rval.rstate = np.random.RandomState(self._seed())
            tuner.import_data([{"parameter": dict(record.parameters), "value": record.score} for record in known])
            why = f"asked of hyperopt's annealing with {len(known)} records"
            return [self._proposal(tuner.generate_parameters(number), why) for number in range(count)]


class _NoDeduplication:
    """A study recognises duplicates itself; what NNI notes for it takes seconds with a thousand records."""

    def add_history(self, sample: object) -> None: ...

    def __call__(self, sample: Any) -> Any:
        return sample


class _NoEngine:
    """Where NNI would train: a strategy is asked here, and runs nothing."""

    def register_model_event_callback(self, event: object, callback: object) -> None: ...


def _trained(records: Sequence[Record]) -> list[Record]:
    return [record for record in records if record.state in TRAINED and record.score is not None]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The generators of `random` and NumPy that NNI draws from without being given one, as they were afterwards."""
    before, of_numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(of_numpy)
