"""Training one claimed candidate: from its first epoch, or its checkpoint, to a stored result."""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version

import torch

from nasmod import registry
from nasmod.errors import ArtifactError, StorageError, StorageFullError
from nasmod.measures import Measured
from nasmod.measures.roles import to_json
from nasmod.measures.trained import Measures, Trained, measure_network, measure_plan, train_and_measure
from nasmod.networks import Network
from nasmod.search.asking import Asked
from nasmod.search.context import Context
from nasmod.search.stopping import StoppingRule, promoting, rungs_of
from nasmod.search.stopping import make as make_rule
from nasmod.study import Database, RungResult, Study, candidates, pausing
from nasmod.study.candidates import Claim, ClaimLost
from nasmod.training import Epoch, TrainingFailed, TrainingSettings, derive, save_weights, why_failed

CHECKPOINT_SECONDS = 30.0  # a checkpoint is stored at most so often
SNAPSHOT_SECONDS = 1.0  # the state that would be handed back is taken at most so often


class HandBack(Exception):  # noqa: N818  # an event: the worker was asked to end
    """Leave the training where it is and give the candidate back."""


class CandidateTraining:
    """One candidate in training: `run` it, and it is finished, stopped, paused, failed, handed back or lost.

    `asked_to_end` and `lost` are looked at after every epoch; the worker sets them. `progressed_at` is when something
    last happened, in monotonic seconds.
    """

    def __init__(
        self,
        context: Context,
        database: Database,
        held: Claim,
        device: str,
        asked_to_end: Asked,
        checkpoint_seconds: float = CHECKPOINT_SECONDS,
    ) -> None:
        self.context, self.database, self.held, self.device = context, database, held, device
        self.asked_to_end, self.lost = asked_to_end, threading.Event()
        self.checkpoint_seconds = checkpoint_seconds
        self.settings = context.study.training  # until those are read that were searched with it
        self.rule: StoppingRule | None = None  # references and repeats have none: the others are compared with them
        self.rungs: Sequence[int] = ()
        self.rung_results = list(held.rung_results)
        self.known = Measured({}, {})  # before its training
        self.at_rung = self.known  # at its latest rung
        # curve and state that would be handed back: one value, since another thread may do it (`give_back`)
        self.snapshot: tuple[tuple[Mapping[str, float], ...], bytes | None] = held.curve, held.checkpoint
        self.snapshot_at = self.checkpoint_at = self.progressed_at = time.monotonic()
        self.seed = derive(context.study.seed, held.key)
        self.interruptible = False  # true while an epoch is trained: then an order to end may raise `HandBack`

    def run(self) -> None:
        """Train, measure and store. Raises `ClaimLost`, or `StorageError` when the database is gone for good."""
        try:
            self._train()
        except HandBack:
            self.interruptible = False
            with self._storing():
                candidates.hand_back(self.database, self.held, *self.snapshot)
        except (StorageFullError, ArtifactError) as error:  # stored as soon as there is space for so little
            self._fail(str(error))
        except (ClaimLost, StorageError):
            raise
        except TrainingFailed as failure:
            self._fail(failure.reason)
        except (Exception, SystemExit) as error:  # whatever a user's code raises is this candidate's failure, in words
            self._fail(why_failed(error), traceback.format_exc())

    def give_back(self) -> None:
        """Hand the candidate back from another thread than the one that trains it, whose work is then dropped."""
        with suppress(ClaimLost):  # it has just ended, or is another worker's
            candidates.hand_back(self.database, self.held, *self.snapshot)
        self.lost.set()

    def _fail(self, reason: str, detail: str = "") -> None:
        self.interruptible = False
        with self._storing():
            candidates.fail(self.database, self.held, reason, detail)

    @contextmanager
    def _storing(self) -> Iterator[None]:
        """Within it nothing hangs: how long the database or a place for files takes is no candidate's fault."""
        self.progressed_at = math.inf
        try:
            yield
        finally:
            self.progressed_at = time.monotonic()

    def _train(self) -> None:
        with self._storing():
            self.held = candidates.with_checkpoint(self.database, self.held)
        self.rung_results = list(self.held.rung_results)
        self.snapshot = self.held.curve, self.held.checkpoint
        self.settings = TrainingSettings.model_validate(
            {**self.context.study.training.model_dump(), **self.held.proposal.settings}
        )
        if self.held.role == "search":
            self.rule = make_rule(self.context.study)
            self.rungs = rungs_of(self.rule, self.held.key, self.settings.epochs)
        plan = self.context.plan(self.held.proposal.topology)
        dataset, measures = self.context.dataset, self.context.study.measures
        self.known = measure_plan(plan, dataset, measures, self.seed, flops=self.held.proposal.flops)
        if (violation := self.context.objective.violation(self.known.values)) is not None:
            raise TrainingFailed(f"infeasible: {violation}")

        def on_epoch(epoch: Epoch) -> str | None:
            self.interruptible = False
            self.progressed_at = time.monotonic()
            reason = self._report(epoch)
            self.interruptible = reason is None and epoch.number < self.settings.epochs
            return reason

        self.interruptible = True
        trained = train_and_measure(
            plan,
            dataset,
            self.settings,
            measures,
            self.seed,
            on_epoch=on_epoch,
            device=self.device,
            checkpoint=self.held.checkpoint,
            averaged_at=self.rungs,
            known=self.known,
        )
        self.interruptible = False
        self.progressed_at = time.monotonic()
        self._finish(trained)

    def _finish(self, trained: Trained) -> None:
        """Store what was measured at the end, or at the rung where the candidate was stopped or paused."""
        result, objective = trained.result, self.context.objective
        values, errors, roles = self.at_rung if result.stopped else trained.measured
        stored = {
            "measures": {**values, "seconds": result.seconds},
            "standard_errors": dict(errors),
            "roles": to_json(roles),
            "score": objective.score(values),
            "seconds": result.seconds,
            "device": _device_name(self.device),
            "versions": {name: version(name) for name in ("nasmod", "torch", "optuna")},
            "seed": self.seed,
        }
        if result.stopped and promoting(self.rule):
            curve, state = self.snapshot
            assert state is not None
            with self._storing():
                pausing.pause(self.database, self.held, stored, curve, state, result.stopped)
            return
        left = 1 - len(result.curve) / self.settings.epochs
        weights = None if result.stopped else save_weights(trained.network)
        with self._storing():
            candidates.finish(
                self.database,
                self.held,
                stored,
                objective.values(values),
                stopped=result.stopped,
                fraction_left=left if result.stopped else 0.0,
                weights=weights,
            )

    def _report(self, epoch: Epoch) -> str | None:
        """After each epoch: tell the database, compare at a rung, keep what a hand-back needs."""
        if self.lost.is_set():
            raise ClaimLost
        now, last = time.monotonic(), epoch.number == self.settings.epochs
        rung = self._rung_result(epoch) if epoch.number in self.rungs else None
        due = not last and now - self.checkpoint_at >= self.checkpoint_seconds
        if due or now - self.snapshot_at >= SNAPSHOT_SECONDS:
            self.snapshot, self.snapshot_at = (epoch.curve, epoch.state()), now
        if due:
            self.checkpoint_at = now
        checkpoint = self.snapshot[1] if due else None
        with self._storing():
            others = candidates.report(
                self.database, self.held, epoch.curve, epoch.validation_accuracy, rung, checkpoint
            )
        reason = None
        if rung is not None and self.rule is not None:
            self.rung_results.append(rung)
            reason = self.rule.decide(self.rung_results, others)
            if reason is not None and promoting(self.rule):  # from here it would go on
                self.snapshot = epoch.curve, epoch.state()
        if self.asked_to_end.is_set() and reason is None and not last:
            raise HandBack
        return reason

    def _rung_result(self, epoch: Epoch) -> RungResult:
        """What is compared at a rung: measures of the averaged weights, those that the objective speaks of.

        The test split is not looked at.
        """
        assert isinstance(epoch.averaged, Network)
        objective, chosen = self.context.objective, measures_at_rungs(self.context.study)
        found = measure_network(
            epoch.averaged,
            self.context.dataset,
            chosen,
            self.seed,
            device=self.device,
            validation_outputs=epoch.averaged_outputs,
        )
        self.at_rung = self.known.joined(found)
        values, errors, _ = self.at_rung
        return RungResult(
            epoch=epoch.number,
            score=objective.score(values),
            standard_error=objective.standard_error(values, errors),
            values=tuple(objective.values(values)),
            errors=tuple(errors.get(name, 0.0) for name in objective.directions) if objective.mode == "pareto" else (),
        )


def measures_at_rungs(study: Study) -> Measures:
    """Those of a study's measures that its objective speaks of, with their settings."""
    return {
        name: given
        for name, given in study.measures.items()
        if study.objective.wanted & registry.resolve("measure", name).directions.keys()
    }


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
