"""Plain Optuna as a rival: its default sampler and pruner on a study's space, trainer and score, and nothing of ours.

What a user of Optuna would write in an afternoon: processes that share one Optuna study, a topology asked of the trial,
the median pruner told the validation accuracy of every epoch. No duplicates are recognised, nothing is repeated.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable
from dataclasses import dataclass

import optuna
import torch
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from nasmod import registry
from nasmod.measures.trained import train_and_measure
from nasmod.search import places
from nasmod.search.candidate import measures_at_rungs
from nasmod.search.context import Context, bring_to_life
from nasmod.study import Study, candidate_key
from nasmod.study.stored import FAILURES_IN_ROW
from nasmod.training import Epoch, TrainingSettings, derive

NAME = "optuna-tpe-median"
SECONDS_BETWEEN_NEWS = 10.0
MEASURES, TOPOLOGY, SETTINGS, EPOCHS = "measures", "topology", "settings", "epochs"  # attributes of a trial


@dataclass(frozen=True)
class Orders:
    """What a process is told: the study, where Optuna's study of its name lies, what it may execute."""

    study: Study
    storage: str
    on_gpu: bool
    allowed: tuple[str, ...]


def search(
    study: Study, storage: str, workers: int | str = "auto", on_progress: Callable[[int], None] = lambda trained: None
) -> list[FrozenTrial]:
    """Optimise an Optuna study of the study's name, made if it is not there, until `trials` of it were trained.

    Returns the trials that were trained, in the order in which they ended. It goes on where an earlier call was ended;
    what was under way then is lost. `on_progress` is told now and then how many were trained.
    """
    logging.getLogger("optuna").setLevel(logging.WARNING)
    wanted = ["maximize"] if study.objective.mode == "combined" else study.objective.directions.values()
    directions = [StudyDirection[direction.upper()] for direction in wanted]
    found = optuna.create_study(study_name=study.name, storage=storage, directions=directions, load_if_exists=True)
    if len(trained(found)) < study.trials:
        allowed = tuple(sorted(registry.allowed()))
        devices = places.devices(workers, study.workers_per_device)
        orders = [Orders(study, storage, device != "cpu", allowed) for device in devices]
        _work_through(orders, lambda: on_progress(min(len(trained(found)), study.trials)))
    return trained(found)[: study.trials]


def trained(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that were trained to their end or pruned, in the order in which they ended."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    ended = [trial for trial in study.get_trials(deepcopy=False, states=states) if EPOCHS in trial.user_attrs]
    return sorted(ended, key=lambda trial: str(trial.datetime_complete))


def _work_through(orders: list[Orders], on_wait: Callable[[], None]) -> None:
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_work, args=(order, number)) for number, order in enumerate(orders)]
    try:
        for process in processes:
            process.start()
        for process in processes:
            while process.exitcode is None:
                process.join(SECONDS_BETWEEN_NEWS)
                on_wait()
    finally:
        for process in processes:
            process.terminate()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"A process of plain Optuna ended with {[process.exitcode for process in processes]}.")


def _work(orders: Orders, number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it, which ends it
    torch.set_num_threads(1)
    logging.getLogger("optuna").setLevel(logging.WARNING)
    registry.allow(orders.allowed)
    context = bring_to_life(orders.study)
    several = context.objective.mode == "pareto"
    study = optuna.load_study(
        study_name=orders.study.name,
        storage=orders.storage,
        sampler=optuna.samplers.TPESampler(seed=derive(orders.study.seed, NAME, number) % 2**32),
        pruner=optuna.pruners.NopPruner() if several else optuna.pruners.MedianPruner(),
    )

    def enough(study: optuna.Study, _: FrozenTrial) -> None:
        latest = study.get_trials(deepcopy=False)[-FAILURES_IN_ROW:]
        only_failures = len(latest) == FAILURES_IN_ROW and all(trial.state is TrialState.FAIL for trial in latest)
        if len(trained(study)) >= orders.study.trials or only_failures:
            study.stop()

    device = f"cuda:{number % torch.cuda.device_count()}" if orders.on_gpu else "cpu"
    objective = Training(context, device, prunes=not several)
    study.optimize(objective, callbacks=[enough], catch=(Exception,))  # a training that fails is a trial that failed


@dataclass(frozen=True)
class Training:
    """The objective that Optuna optimises: what a topology asked of a trial reaches."""

    context: Context
    device: str
    prunes: bool

    def __call__(self, trial: Trial) -> tuple[float, ...]:
        topology, settings = self.context.space.propose(trial)
        if self.context.flops(topology) > self.context.objective.flops_budget:
            raise optuna.TrialPruned
        study = self.context.study
        trial.set_user_attr(TOPOLOGY, topology.to_json())
        trial.set_user_attr(SETTINGS, settings)
        training = TrainingSettings.model_validate({**study.training.model_dump(), **settings})

        def told(epoch: Epoch) -> str | None:
            trial.set_user_attr(EPOCHS, epoch.number)
            if self.prunes:
                trial.report(epoch.validation_accuracy, epoch.number)
            return "the median was better" if self.prunes and trial.should_prune() else None

        made = train_and_measure(
            self.context.plan(topology),
            self.context.dataset,
            training,
            measures_at_rungs(study),
            derive(study.seed, candidate_key(topology, settings)),
            on_epoch=told,
            device=self.device,
        )
        if made.result.stopped is not None:
            raise optuna.TrialPruned
        trial.set_user_attr(MEASURES, dict(made.measured.values))
        return self.context.objective.values(made.measured.values)
