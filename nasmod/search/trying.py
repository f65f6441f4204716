"""Trying topologies of a person: trained as a study would train them, without a database, and what they reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nasmod.errors import NasmodError, SpaceError, StudyError, TopologyError
from nasmod.measures import Measured, Objective, mean_of
from nasmod.measures.retraining import retrain
from nasmod.measures.roles import Roles
from nasmod.modules import check_params
from nasmod.search.context import Context, bring_to_life
from nasmod.study import Proposal, Record, Study, candidate_key
from nasmod.study.allowed import permit
from nasmod.study.definition import load_plugins
from nasmod.topology import Node, Topology
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
    study: Study, topologies: Sequence[Topology | str | Path], *, seeds: int = 3, on_epoch: OnEpoch | None = None
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
    read = [(None, given) if isinstance(given, Topology) else (str(given), _read(Path(given))) for given in topologies]
    permit(study, None, allow=True)  # a person that tries a study trusts what it names
    load_plugins(study)
    context = bring_to_life(study)
    checked = [(file, _checked(context, topology, file or "The topology")) for file, topology in read]
    return [_tried(context, file, topology, seeds, on_epoch) for file, topology in checked]


def _read(file: Path) -> Topology:
    try:
        return Topology.from_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise TopologyError(f"File '{file}' cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise TopologyError(f"{file}: Not a topology, since not a text: {error}.") from error
    except TopologyError as error:
        raise TopologyError(f"{file}: {error}") from error


def _checked(context: Context, topology: Topology, where: str) -> Topology:
    """The live part with every parameter written out, once its plan on the study's data is known to be possible."""
    try:
        written_out = Topology(tuple(_written_out(node) for node in topology.live().nodes))
        context.plan(written_out)
    except NasmodError as error:
        raise TopologyError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:  # a user's kind may raise anything
        raise TopologyError(f"{where}: {why_failed(error)}.") from error
    return written_out


def _written_out(node: Node) -> Node:
    """The node with its parameters as a space would write them: the same network then has the same key."""
    if not node.is_module:
        return node
    merge = {"merge": node.params.get("merge", "concat")} if len(node.inputs) > 1 else {}
    return Node(node.kind, node.inputs, {**check_params(node.kind, node.params).model_dump(), **merge})


def _tried(context: Context, file: str | None, topology: Topology, seeds: int, on_epoch: OnEpoch | None) -> Tried:
    study, objective = context.study, context.objective
    tried = Tried(file, topology, seeds, notes=tuple(_notes_before(context, topology)))

    def told(number: int, epoch: Epoch) -> None:
        if on_epoch is not None:
            on_epoch(tried.name, number, epoch)

    try:
        trainings = retrain(
            context.plan(topology),
            context.dataset,
            study.training,
            study.measures,
            [derive(study.seed, candidate_key(topology, {}, repeat)) for repeat in range(seeds)],
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
    if context.space.settings:
        searched = ", ".join(context.space.settings)
        yield f"The study searches {searched} too: trained with what stands under [training], or its default."


def _notes_after(objective: Objective, values: Mapping[str, float]) -> Iterator[str]:
    if (reason := objective.violation(values)) is not None:
        yield f"The study would not train it, and its score is 0: {reason}."
    elif (reason := objective.violation(values, finished=True)) is not None:
        yield f"Never the study's best: {reason}."
