"""A study in optuna-dashboard (the extra ``nasmod[dashboard]``): each trial with a note and a picture of its topology.

Notes and pictures are written where the dashboard looks for them: in the attributes of Optuna's study, through Optuna's
own storage, and pictures as files in a folder. Trials that have ended are not changed by it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import optuna
from optuna.artifacts import FileSystemArtifactStore

from nasmod.errors import NasmodError, StudyError
from nasmod.measures.objective import Objective
from nasmod.report.figures import INFORMATION, main_measure, measure, settings
from nasmod.report.importance import importances
from nasmod.report.page import IMPORTANT, asked, found
from nasmod.report.roles import roles_rows
from nasmod.report.show import origin
from nasmod.report.svg import svg
from nasmod.report.tables import modules_of, score_of
from nasmod.study import Study
from nasmod.study import records as reading
from nasmod.study.record import ENDED, Record

SECONDS_BETWEEN_LOOKS = 10.0
IMPORTANCE = "nasmod-importance"  # the id of the plot
PICTURE = "picture"  # what follows a trial's number in the name of its file

log = logging.getLogger("nasmod.dashboard")


class Annotator:
    """Writes notes and pictures of a study's trials, each once and again when its figures change."""

    def __init__(self, study: Study, url: str, pictures: Path) -> None:
        self.study, self.pictures = study, pictures
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self.storage = optuna.storages.get_storage(url)
            self.theirs = optuna.load_study(study_name=study.name, storage=self.storage)
        finally:
            optuna.logging.set_verbosity(verbosity)
        self._noted: dict[str, str] = {}  # by a candidate's key: the note it has

    def annotate(self, records: Sequence[Record]) -> int:
        """Note whatever has ended, the best first; how many notes were written."""
        save_note, of_dashboard = _dashboard()
        objective = self.study.objective
        self._say_what_was_found(records)
        trials = {trial.number: trial._trial_id for trial in self.theirs.get_trials(deepcopy=False)}
        labels = {record.key: record.label for record in records}
        written = 0
        for record in _best_first(records, objective):
            trial = trials.get(record.number if record.number is not None else -1)
            if trial is None or record.state not in ENDED:
                continue
            said = note(record, objective, labels)
            if self._noted.get(record.key) != said:
                save_note(optuna.Trial(self.theirs, trial), said)
                self._add_picture(record, trial, of_dashboard(trial))
                self._noted[record.key] = said
                written += 1
        return written

    def _add_picture(self, record: Record, trial: int, prefix: str) -> None:
        """The file of a picture has the same name always, so that it is there once."""
        name = str(uuid5(NAMESPACE_URL, f"nasmod:{record.key}"))
        self.pictures.mkdir(parents=True, exist_ok=True)
        (self.pictures / name).write_text(on_paper(svg(record)), encoding="utf-8")
        told = {
            "artifact_id": name,
            "filename": f"{record.label.lstrip('#')}-{PICTURE}.svg",
            "mimetype": "image/svg+xml",
        }
        attribute = json.dumps({**told, "encoding": None})
        self.storage.set_study_system_attr(self.theirs._study_id, prefix + name, attribute)

    def _say_what_was_found(self, records: Sequence[Record]) -> None:
        sentences = [asked(self.study), *found(records, self.study.objective)]
        said = f"# {self.study.name}\n\n" + "\n\n".join(sentences)
        if self._noted.get("") == said:
            return
        save_note, _ = _dashboard()
        save_note(self.theirs, said)
        self._noted[""] = said
        if (told := importances(records)) is not None:
            from optuna_dashboard import save_plotly_graph_object
            from plotly.graph_objects import Bar, Figure

            shown = told.largest(IMPORTANT)[::-1]
            bars = Bar(x=[value for _, value in shown], y=[name for name, _ in shown], orientation="h")
            explains = f"what tells good candidates from bad ones (explains {told.explained:.0%} out of bag)"
            figure = Figure(bars, layout={"title": explains, "yaxis": {"automargin": True}})
            save_plotly_graph_object(self.theirs, figure, graph_object_id=IMPORTANCE)


def serve(annotator: Annotator, read: Callable[[], Sequence[Record]], host: str, port: int) -> None:
    """Run the dashboard until it is interrupted, noting meanwhile what else has ended."""
    _dashboard()
    from optuna_dashboard import run_server

    ended = threading.Event()

    def look() -> None:
        while not ended.wait(SECONDS_BETWEEN_LOOKS):
            try:
                annotator.annotate(read())
            except NasmodError as error:  # the next look may find the database again
                log.warning("no notes were written: %s", error)

    threading.Thread(target=look, daemon=True, name="annotating").start()
    try:
        run_server(annotator.storage, host, port, FileSystemArtifactStore(annotator.pictures))
    except OSError as error:
        raise StudyError(f"The dashboard cannot listen on {host}:{port}: {error.strerror or error}.") from error
    finally:
        ended.set()


def note(record: Record, objective: Objective, labels: Mapping[str, str]) -> str:
    """What a trial is and how it ended, in Markdown."""
    how = f", the mean of {record.repeats} fresh trainings" if record.repeats else ""
    lines = [f"## {record.label}: {modules_of(record.proposal.topology)}", ""]
    if record.score is not None:
        lines.append(f"- score {score_of(record, objective)}{how}")
    lines.append(f"- {record.state}: {record.reason}" if record.reason else f"- {record.state}: it ran to its end")
    lines.append(f"- {origin(record, labels)}")
    if said := settings(record):
        lines.append(f"- trained with {said}")
    main = main_measure([record])
    names = [main, f"test_{main}", objective.modularity, "flops", "parameters", "latency"]
    lines += [f"- {name.replace('_', ' ')}: {measure(record, name)}" for name in names if name in record.measures]
    if record.roles:
        lines += ["", "| module | reads | carries | information |", "|---|---|---|---|"]
        for module, reads, carries in roles_rows(record.roles):
            lines.append(f"| {module} | {reads} | {carries} | {measure(record, INFORMATION + module)} |")
    return "\n".join(lines)


def on_paper(picture: str) -> str:
    """A picture for a page that gives it no colours: black on white."""
    return picture.replace("<svg ", '<svg style="color:#111;background:#fff" ', 1)


def _best_first(records: Sequence[Record], objective: Objective) -> Iterable[Record]:
    best = reading.ranked(records, objective)
    keys = {record.key for record in best}
    return [*best, *(record for record in records if record.key not in keys)]


def _dashboard() -> tuple[Callable[..., None], Callable[[int], str]]:
    """How a note is saved, and what the names of a trial's artifacts begin with. Raises `StudyError` without them."""
    try:
        from optuna_dashboard import save_note
        from optuna_dashboard.artifact._backend import _dashboard_artifact_prefix
    except ImportError as error:
        raise StudyError("The dashboard needs optuna-dashboard: pip install 'nasmod[dashboard]'.") from error
    prefix: Callable[[int], str] = _dashboard_artifact_prefix
    save: Callable[..., Any] = save_note
    return save, prefix
