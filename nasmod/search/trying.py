"""Trying topologies of a person: trained as a study would train them, without a database, and what they reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nasmod.errors import SpaceError, StudyError
from nasmod.measures import Measured, Objective, mean_of
from nasmod.measures.retraining import retrain
from nasmod.measures.roles import Roles
from nasmod.search.context import Context, bring_to_life
from nasmod.search.given import Given, checked, read_topologies
from nasmod.study import Proposal, Record, Study, candidate_key
from nasmod.study.allowed import permit
from nasmod.study.definition import load_plugins
from nasmod.topology import Topology
from nasmod.training import Epoch, derive, why_failed

OnEpoch = Callable[[str, int, Epoch], None]
"""Told the file (or the key of a topology without one), the number of its training, from 1, and the epoch."""


@dataclass(frozen=True)
class Tried:
    """What a topology reached in `seeds` trainings: the mean of each measure, and the standard error of that mean.

    Of a single training they are its own. `score` is that of the means, as for a study's finalists; `roles` say what
    each module does in the first training. `notes` say what the study thinks of the topology beyond its score.
    `reason` says why a training failed: there are no figures then. `topology` has its live part alone and every
    parameter written out, as a study's own have.
    """

    file: str | None
    topology: Topology
    seeds: int
    score: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    standard_errors: Mapping[str, float] = field(default_factory=dict)
    roles: Roles = field(default_factory=dict)
    reason: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its file, or the beginning of its topology's key."""
        return self.file or self.topology.key[:8]

    @property
    def record(self) -> Record:
        """The same as a study would tell of it, but for its curve."""
        return Record(
            None,
            candidate_key(self.topology, {}),
            "finished" if self.reason is None else "failed",
            Proposal(self.topology),
            self.measures,
            self.standard_errors,
            self.score,
            (),
            self.reason,
            None,
            repeats=self.seeds,
            roles=self.roles,
        )


def try_topologies(
    study: Study, topologies: Sequence[Given], *, seeds: int = 3, on_epoch: OnEpoch | None = None
) -> list[Tried]:
    """Train topologies, or those in JSON files, as the study would: its data, factors, settings, measures, objective.

    The seeds are those which the study gives the topology: the first that of its candidate, the others those of the
    candidate's repeats, so that a candidate of the study reaches the same here. Training settings that the study
    searches stand as the study's own. Everything is checked before anything is trained: raises a `NasmodError` of one
    line, which names the file that is no topology or does not fit the study's data. A topology may be outside the
    study's space or over its FLOPs budget: the notes say so. One whose training fails has its reason.
    """
    if seeds < 1:
        raise StudyError(f"A topology is tried with at least 1 seed, not {seeds}.")
    read = read_topologies(topologies)
    permit(study, None, allow=True)  # a person that tries a study trusts what it names
    load_plugins(study)
    context = bring_to_life(study)
    fitting = [(file, checked(context, topology, file or "The topology")) for file, topology in read]
    return [_tried(context, file, topology, seeds, on_epoch) for file, topology in fitting]


def _tried(context: Context, file: str | None, topology: Topology, seeds: int, on_epoch: OnEpoch | None) -> Tried:
    study, objective = context.study, context.objective
    tried = Tried(file, topology, seeds, notes=tuple(_notes_before(context, topology)))
    settings = context.space.default_settings

    def told(number: int, epoch: Epoch) -> None:
        if on_epoch is not None:
            on_epoch(tried.name, number, epoch)

    try:
        trainings = retrain(
            context.plan(topology),
            context.dataset,
            study.training.model_copy(update=dict(settings)),
            study.measures,
            [derive(study.seed, candidate_key(topology, settings, repeat)) for repeat in range(seeds)],
            on_epoch=told,
        )
        measured = [Measured(dict(one.measures), dict(one.standard_errors), one.roles) for one in trainings]
        values, errors, roles = mean_of(measured)
    except (Exception, SystemExit) as error:  # of this topology alone: the others are trained nevertheless
        return replace(tried, reason=why_failed(error))
    notes = *tried.notes, *_notes_after(objective, values)
    score = objective.score(values)
    return replace(tried, score=score, measures=values, standard_errors=errors, roles=roles, notes=notes)


def _notes_before(context: Context, topology: Topology) -> Iterator[str]:
    try:
        context.space.encode(topology)
    except SpaceError as error:
        yield f"Outside the study's space: {error}"
    if settings := context.space.default_settings:
        chosen = ", ".join(f"{name} {value}" for name, value in settings.items())
        yield f"The study searches training settings too: trained with {chosen}."


def _notes_after(objective: Objective, values: Mapping[str, float]) -> Iterator[str]:
    if (reason := objective.violation(values)) is not None:
        yield f"The study would not train it, and its score is 0: {reason}."
    elif (reason := objective.violation(values, finished=True)) is not None:
        yield f"Never the study's best: {reason}."
