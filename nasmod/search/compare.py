"""Comparing strategies: each searches the same studies, in turn, and what each found is trained anew with equal seeds.

A run is one ordinary study of its own, so that it can be looked at, resumed and exported like any other. Plain Optuna
(`nasmod.search.plain_optuna`) takes part as a strategy of that name. Runs of one study seed follow each other, in
another order for each seed: a machine that is slow for a while is slow for all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from nasmod.errors import StudyError, unknown
from nasmod.registry import names
from nasmod.search import plain_optuna
from nasmod.search.comparison import Comparison, Ended, Run
from nasmod.search.context import Context, bring_to_life
from nasmod.search.trying import try_topologies
from nasmod.study import TRAINED, Record, Study, check_settings
from nasmod.study.definition import difference, of_tables
from nasmod.topology import Parameter, Topology
from nasmod.training import derive

FORWARD_AND_BACK = 3  # a backward pass takes about twice the FLOPs of a forward one
Search = Callable[[Study], Sequence[Record]]
"""Searches a study to its end, in the database of the comparison, and gives its records."""


@dataclass(frozen=True)
class Variant:
    """A strategy with its stopping rule, as the runs of a comparison have them."""

    strategy: str
    stopping: str | None  # None: plain Optuna has its own

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.strategy if self.stopping is None else f"{self.strategy}.{self.stopping}"


@dataclass(frozen=True)
class Trained:
    """What a run trained, be it nasmod's or plain Optuna's: `measures` of one that ran to its end."""

    began: datetime
    ended: datetime
    epochs: int
    topology: Topology
    settings: Mapping[str, Parameter]
    measures: Mapping[str, float] | None


def variants_of(study: Study, strategies: Sequence[str], stopping: Sequence[str] = ()) -> list[Variant]:
    """Every strategy with every stopping rule; plain Optuna once. Raises `StudyError` for a name that is none.

    Without stopping rules all have the study's own.
    """
    _check("strategy", strategies, [*names("strategy"), plain_optuna.NAME])
    _check("stopping rule", stopping, names("stopping"))
    rules = stopping or [study.stopping["name"]]
    found = [Variant(name, None if name == plain_optuna.NAME else rule) for name in strategies for rule in rules]
    return list(dict.fromkeys(found))


def study_of(study: Study, variant: Variant, seed: int) -> Study:
    """The study of one run. Its strategy and rule have the study's own settings where it names them, else defaults.

    Nothing is trained again at its end: the best of every run is, with the same seeds.
    """
    changes: dict[str, Any] = {"name": f"{study.name}.{variant.name}.{seed}", "seed": seed, "finalists": 0}
    chosen = {"strategy": variant.strategy, "stopping": variant.stopping} if variant.stopping is not None else {}
    for noun, name in chosen.items():
        own = getattr(study, noun)
        given = {key: value for key, value in own.items() if key != "name"} if own["name"] == name else {}
        check_settings(noun, str(name), given, noun)
        changes[noun] = {"name": name, **given}
    return of_tables({**study.model_dump(), **changes}, "compare")


def compare(
    study: Study,
    variants: Sequence[Variant],
    seeds: int,
    storage: str,
    kept: Path,
    search: Search,
    *,
    workers: int | str = "auto",
    fresh: int = 3,
    on_run: Callable[[Study], None] = lambda study: None,
    on_progress: Callable[[Study, int], None] = lambda study, trained: None,
) -> Comparison:
    """Run every variant with every study seed, counted from the study's own, and train what each found anew.

    `storage` is the URL of the database for plain Optuna, `search` knows where the others go. `kept` is the file in
    which runs are kept as soon as they have ended: those which it holds are not made again. `on_run` is told of each
    run before it starts, `on_progress` now and then how many candidates plain Optuna has trained. Raises `StudyError`
    when `kept` is of another study.
    """
    context = bring_to_life(study)
    definition = json.loads(json.dumps(_definition(study, fresh)))
    runs = _read(kept, definition)
    for number in range(seeds):
        turn = number % len(variants)
        for variant in (*variants[turn:], *variants[:turn]):
            seed = study.seed + number
            if (variant.name, seed) in runs:
                continue
            own = study_of(study, variant, seed)
            on_run(own)
            if variant.stopping is None:
                candidates = of_trials(plain_optuna.search(own, storage, workers, partial(on_progress, own)))
            else:
                candidates = of_records(search(own), own, storage)
            runs[variant.name, seed] = _run(context, variant, own, candidates, fresh)
            _write(kept, definition, runs)
    wanted = [runs[variant.name, study.seed + number] for variant in variants for number in range(seeds)]
    return Comparison(study.name, study.objective, tuple(wanted))


def _check(noun: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise StudyError(unknown(noun, name, known))


def of_records(records: Sequence[Record], study: Study, storage: str) -> list[Trained]:
    """What the search of a study trained, in the order in which it ended."""
    trials = optuna.load_study(study_name=study.name, storage=storage).get_trials(deepcopy=False)
    found = []
    for record in records:
        if record.role != "search" or record.state not in TRAINED:
            continue
        assert record.number is not None  # it was trained
        proposal, epochs = record.proposal, len(record.curve)
        measures = record.measures if record.state == "finished" else None
        found.append(Trained(*_times(trials[record.number]), epochs, proposal.topology, proposal.settings, measures))
    return sorted(found, key=lambda candidate: candidate.ended)


def of_trials(trials: Sequence[FrozenTrial]) -> list[Trained]:
    """The same of what plain Optuna trained."""
    return [
        Trained(
            *_times(trial),
            trial.user_attrs[plain_optuna.EPOCHS],
            Topology.from_json(trial.user_attrs[plain_optuna.TOPOLOGY]),
            trial.user_attrs[plain_optuna.SETTINGS],
            trial.user_attrs.get(plain_optuna.MEASURES),
        )
        for trial in trials
    ]


def _times(trial: FrozenTrial) -> tuple[datetime, datetime]:
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    return trial.datetime_start, trial.datetime_complete


def _run(context: Context, variant: Variant, study: Study, candidates: Sequence[Trained], fresh: int) -> Run:
    objective = study.objective
    examples = len(next(iter(context.dataset.train.targets.values())))
    ended: list[Ended] = []
    best: tuple[float, Trained] | None = None
    epochs, flops, began = 0, 0.0, min(found.began for found in candidates)
    for found in candidates:
        epochs += found.epochs
        flops += FORWARD_AND_BACK * found.epochs * examples * context.flops(found.topology)
        score = values = None
        if found.measures is not None:
            score = objective.score(found.measures)
            values = tuple(objective.model_copy(update={"mode": "pareto"}).values(found.measures))
            if best is None or score > best[0]:
                best = score, found
        ended.append(Ended(epochs, (found.ended - began).total_seconds(), flops, score, values))
    if best is None:
        raise StudyError(f"{study.name}: no candidate ran to its end, so there is nothing to compare.")
    topology, settings = best[1].topology, best[1].settings
    scores = fresh_scores(context.study, topology, settings, fresh)
    return Run(variant.name, study.seed, tuple(ended), topology.to_json(), dict(settings), scores)


def fresh_scores(
    study: Study, topology: Topology, settings: Mapping[str, Parameter], trainings: int
) -> tuple[float, ...]:
    """Scores of trainings with seeds that no search has seen; 0 where the training fails."""
    training = study.training.model_copy(update=dict(settings))
    found = []
    for number in range(trainings):
        seed = derive(study.seed, "compare", number)
        (tried,) = try_topologies(study.model_copy(update={"training": training, "seed": seed}), [topology], seeds=1)
        found.append(tried.score or 0.0)
    return tuple(found)


def _read(kept: Path, wanted: Mapping[str, Any]) -> dict[tuple[str, int], Run]:
    if not kept.exists():
        return {}
    try:
        stored = json.loads(kept.read_text(encoding="utf-8"))
        definition, runs = stored["definition"], [Run.from_json(row) for row in stored["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StudyError(f"'{kept}' is not what a comparison keeps: {type(error).__name__}: {error}") from error
    if lines := difference(definition, wanted):
        raise StudyError(
            f"'{kept}' has runs of another definition (kept -> given): {lines[0]}. Name another folder with --output."
        )
    return {(run.variant, run.seed): run for run in runs}


def _write(kept: Path, definition: Mapping[str, Any], runs: Mapping[tuple[str, int], Run]) -> None:
    """Write beside it and move into place, so that what is there is always whole."""
    text = json.dumps({"definition": definition, "runs": [run.to_json() for run in runs.values()]})
    part = kept.with_name(f"{kept.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(kept)


def _definition(study: Study, fresh: int) -> dict[str, Any]:
    """What makes two comparisons the same one: the study with its budget, and how often the best is trained anew."""
    return {**study.definition(), "trials": study.trials, "hours": study.hours, "fresh": fresh}
