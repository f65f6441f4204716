"""TensorBoard and MLflow: curves and measures of every candidate that has ended, as the study's ``[logging]`` says.

The process that steers a study writes what all machines trained, on a thread of its own: no training waits for it. What
is there already is not written again, so that a study that goes on, here or steered by another machine, has each
candidate once.
"""

from __future__ import annotations

import importlib
import json
import logging
import math
import queue
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from nasmod.errors import StudyError
from nasmod.study import Record, Study
from nasmod.study.record import ENDED

log = logging.getLogger("nasmod.loggers")
INTERRUPTED_SECONDS = 2.0  # and where a person asked for the end
CLOSING_SECONDS = 60.0  # how long what is still to be written is waited for at the end
KEY = "nasmod.key"  # the tag by which a run of MLflow is known


class Logger(Protocol):
    """Where candidates are written to."""

    def write(self, record: Record, name: str) -> None:
        """Write a candidate that has ended, unless it is there already."""


class TensorBoard:
    """A folder a candidate in ``FOLDER/STUDY``: its curve, its measures, its settings as hyperparameters."""

    def __init__(self, study: Study, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        self._writer: Any = SummaryWriter
        self._hparams: Any = hparams
        self.folder = folder / study.name

    def write(self, record: Record, name: str) -> None:
        folder, part = self.folder / name, self.folder / f".{name}.part"
        if folder.exists():
            return
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        writer = self._writer(str(part))
        for step, found in _curve(record):
            for measure, value in found.items():
                writer.add_scalar(f"curve/{measure}", value, step)
        for measure, value in _measures(record).items():
            writer.add_scalar(f"measures/{measure}", value, record.number or 0)
        writer.add_text(
            "candidate", f"{record.state}{f': {record.reason}' if record.reason else ''}\n\n{_topology(record)}"
        )
        score = {"score": record.score if record.score is not None else math.nan}
        modules = {"modules": record.proposal.topology.module_count}
        for summary in self._hparams({**modules, **record.proposal.settings}, score):
            writer._get_file_writer().add_summary(summary)  # `add_hparams` would make a folder for each
        writer.close()
        part.rename(folder)


class MLflow:
    """A run a candidate in the experiment of the study's name, on the tracking server or database at `uri`."""

    def __init__(self, study: Study, uri: str) -> None:
        with _quiet():
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param, RunTag

            self._metric, self._param, self._tag = Metric, Param, RunTag
            self.client = MlflowClient(uri)
            found = self.client.get_experiment_by_name(study.name)
            self.experiment = found.experiment_id if found is not None else self.client.create_experiment(study.name)
            self.known = set(self._keys())

    def _keys(self) -> Iterator[str]:
        token = None
        while True:
            runs = self.client.search_runs([self.experiment], page_token=token, max_results=1000)
            yield from (run.data.tags.get(KEY, "") for run in runs)
            if not (token := runs.token):
                return

    def write(self, record: Record, name: str) -> None:
        if record.key in self.known:
            return
        with _quiet():
            tags = {
                KEY: record.key,
                "state": record.state,
                "reason": record.reason or "",
                "topology": _topology(record),
            }
            run = self.client.create_run(self.experiment, run_name=name).info.run_id
            metrics = [
                self._metric(measure, value, 0, step)
                for step, found in _curve(record)
                for measure, value in found.items()
            ]
            last = {"score": record.score, **_measures(record)}
            metrics += [self._metric(f"final.{n}", v, 0, 0) for n, v in last.items() if v is not None]
            params = {"modules": record.proposal.topology.module_count, **record.proposal.settings}
            for part in range(0, max(1, len(metrics)), 500):  # so many at once are allowed
                self.client.log_batch(
                    run,
                    metrics=metrics[part : part + 500],
                    params=[self._param(n, str(v)) for n, v in params.items()] if part == 0 else [],
                    tags=[self._tag(n, str(v)[:5000]) for n, v in tags.items()] if part == 0 else [],
                )
            self.client.set_terminated(run, "FAILED" if record.state == "failed" else "FINISHED")
        self.known.add(record.key)


class Logbook:
    """Hands candidates that have ended to the study's loggers, which write on another thread."""

    def __init__(self, study: Study) -> None:
        self._study, self._wanted = study, _wanted(study)
        self._told: set[int] = set()
        self._waiting: queue.SimpleQueue[tuple[Record, str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def tell(self, records: Sequence[Record]) -> None:
        """What is known of a study: whatever has ended since the last call is written soon."""
        if not self._wanted:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, daemon=True, name="logging")
            self._thread.start()
        labels = {record.key: record.label for record in records}
        for record in records:
            if record.state in ENDED and record.id not in self._told:
                self._told.add(record.id)
                self._waiting.put((record, _name(record, labels)))

    def close(self, seconds: float = CLOSING_SECONDS) -> None:
        """Wait for what is to be written, for a while."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(seconds)

    def _write(self) -> None:
        """Until the end; what cannot be written is told once, and the search goes on without it."""
        loggers: list[Logger] = []
        try:
            loggers += [make(self._study) for make in self._wanted]
            while (told := self._waiting.get()) is not None:
                for logger in loggers:
                    logger.write(*told)
        except Exception as error:  # of a server that is away, a full disk
            log.warning("candidates are not logged any more: %s: %s", type(error).__name__, error)
            log.debug("where logging failed", exc_info=error)


def check(study: Study) -> None:
    """Raise `StudyError` when a package is missing that the study's loggers need."""
    needed = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
    for name, package in needed.items():
        if getattr(study.logging, name) is not None:
            try:
                with _quiet():
                    importlib.import_module(package)
            except ImportError as error:
                raise StudyError(f"logging.{name} needs {package}: pip install 'nasmod[{name}]'.") from error


def _wanted(study: Study) -> list[Callable[[Study], Logger]]:
    found: list[Callable[[Study], Logger]] = []
    if (folder := study.logging.tensorboard) is not None:
        found.append(lambda study: TensorBoard(study, Path(folder)))
    if (uri := study.logging.mlflow) is not None:
        found.append(lambda study: MLflow(study, uri))
    return found


def _name(record: Record, labels: Mapping[str, str]) -> str:
    """A folder's name: ``00012``, ``00012-repeat-1``, or the beginning of a key."""
    of = str(record.proposal.origin.get("repeat_of", record.key))
    label = labels.get(of, of[:8]).lstrip("#")
    name = label.zfill(5) if label.isdecimal() else label
    return f"{name}-repeat-{record.proposal.origin['repeat']}" if record.role == "repeat" else name


def _curve(record: Record) -> Iterator[tuple[int, dict[str, float]]]:
    for point in record.curve:
        found = {name: value for name, value in point.items() if name != "epoch" and math.isfinite(value)}
        yield int(point["epoch"]), found


def _measures(record: Record) -> dict[str, float]:
    return {name: value for name, value in record.measures.items() if math.isfinite(value)}


def _topology(record: Record) -> str:
    return json.dumps(json.loads(record.proposal.topology.to_json()))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what a package says of the packages that it uses."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
