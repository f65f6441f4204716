"""What the controller and every worker of a study share: its data, its space, its objective, and what they imply."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import cached_property

from nasmod import registry
from nasmod.data import Dataset, Factors, find_factors, load_dataset
from nasmod.errors import NasmodError
from nasmod.measures.objective import Objective
from nasmod.networks import Plan, count_flops, plan
from nasmod.search.counting import Counting
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal, Study
from nasmod.study.candidates import Distributions
from nasmod.study.projection import with_json
from nasmod.topology import Topology
from nasmod.training.settings import WITHOUT_EFFECT

log = logging.getLogger("nasmod.context")


@dataclass(frozen=True)
class Context:
    """A study's definition brought to life. Made by `bring_to_life`, in every process anew."""

    study: Study
    dataset: Dataset
    space: Space

    @property
    def objective(self) -> Objective:
        """What the study wants."""
        return self.study.objective

    @property
    def not_searched(self) -> list[str]:
        """The training settings that the study's space searches, and that change nothing on its data."""
        return sorted(_without_effect(self.dataset) & set(self.study.space.get("settings", {})))

    @cached_property
    def distributions(self) -> Distributions:
        """The space's parameters as Optuna stores them."""
        return with_json(self.space.parameters())

    @cached_property
    def _counting(self) -> Counting:
        return Counting(self.study.plugins)

    def plan(self, topology: Topology) -> Plan:
        """The topology on this study's data."""
        return plan(topology, self.dataset.inputs, self.dataset.output_shapes)

    def flops(self, topology: Topology) -> int:
        """FLOPs of one forward pass of one example. Raises `UncountableError` for a user's kind that cannot be run."""
        return count_flops(self.plan(topology), self._counting)

    def counted(self, proposal: Proposal) -> Proposal:
        """The proposal with its FLOPs, counted unless they are known: a worker then need not count them again.

        Without them where a topology is impossible on the data, or a user's kind raises, crashes or hangs while it is
        counted.
        """
        if proposal.flops is not None:
            return proposal
        try:
            return replace(proposal, flops=self.flops(proposal.topology))
        except NasmodError as error:
            log.info("FLOPs were not counted: %s", error)
        except (Exception, SystemExit) as error:  # a user's kind may raise anything
            kinds = {node.kind for node in proposal.topology.nodes if node.is_module}
            if all(registry.is_built_in("kind", kind) for kind in kinds):
                raise
            log.info("FLOPs were not counted: %s: %s", type(error).__name__, error)
        return proposal

    def violation(self, proposal: Proposal) -> str | None:
        """Why a `counted` proposal is not to be trained, by what is known before any training; None when it may be.

        One whose FLOPs could not be counted is ruled out by nothing: it is filed, and fails with the reason stored,
        where a person will look for it.
        """
        return None if proposal.flops is None else self.objective.violation({"flops": proposal.flops})


def _without_effect(dataset: Dataset) -> frozenset[str]:
    return WITHOUT_EFFECT.get(dataset.task, frozenset())


def bring_to_life(study: Study, dataset: Dataset | None = None, factors: Factors | None = None) -> Context:
    """Load the data (unless it is given) and build the space on it. Raises a `NasmodError` of one line.

    `factors` are those stored with the study; without them they are those that it declares, or found in the data.
    """
    dataset = dataset or load_dataset(study.data)
    if factors is None and study.factors:
        factors = find_factors(dataset, study.factors)
    if factors is not None:
        dataset = dataset.with_factors(factors)
    file = SpaceFile.from_table(study.space)
    searched = {name: values for name, values in file.settings.items() if name not in _without_effect(dataset)}
    file = file.model_copy(update={"settings": searched})
    space = Space.of(file, dataset.inputs, dataset.output_shapes, study.training.model_dump())
    return Context(study, dataset, space)
