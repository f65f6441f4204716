"""TensorBoard and MLflow hold every candidate that has ended, once, whatever happens to the process that writes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

import nasmod
from nasmod.errors import StudyError
from nasmod.search import loggers
from nasmod.search.loggers import Logbook
from nasmod.study import Study, read
from nasmod.study.record import ENDED

pytest.importorskip("tensorboard")
pytest.importorskip("mlflow")
pytestmark = pytest.mark.filterwarnings("ignore")  # of what these packages use


@pytest.fixture(scope="module")
def records(small_study: Path):
    return nasmod.load("small", storage=small_study / "runs" / "small.db").records()


def study(**to: str) -> Study:
    return read("digits", name="small", logging=to)


def told(records, of: Study) -> None:
    logbook = Logbook(of)
    logbook.tell(records[:3])
    logbook.tell(records)
    logbook.tell(records)
    logbook.close()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}


def test_tensorboard_has_curves_and_measures_of_each(records, tmp_path: Path):
    told(records, study(tensorboard=str(tmp_path)))
    ended = [record for record in records if record.state in ENDED]
    assert len(ended) > 4
    assert len(list((tmp_path / "small").iterdir())) == len(ended)
    best = max(ended, key=lambda record: record.score or 0.0)
    found = scalars(tmp_path / "small" / f"{best.number:05d}")
    assert [step for step, _ in found["curve/validation_accuracy"]] == list(range(1, len(best.curve) + 1))
    assert found["measures/flops"] == [(best.number, pytest.approx(best.measures["flops"]))]


def test_mlflow_has_a_run_of_each(records, tmp_path: Path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    told(records, study(mlflow=uri))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow import MlflowClient

        client = MlflowClient(uri)
        experiment = client.get_experiment_by_name("small")
        runs = {run.data.tags["nasmod.key"]: run for run in client.search_runs([experiment.experiment_id])}
    ended = [record for record in records if record.state in ENDED]
    assert runs.keys() == {record.key for record in ended}
    best = max(ended, key=lambda record: record.score or 0.0)
    run = runs[best.key]
    assert run.data.metrics["final.score"] == pytest.approx(best.score)
    assert run.data.metrics["validation_accuracy"] == pytest.approx(best.curve[-1]["validation_accuracy"])
    assert run.data.params["modules"] == str(best.proposal.topology.module_count)
    failed = next(record for record in ended if record.state == "failed")
    assert runs[failed.key].info.status == "FAILED"
    assert runs[failed.key].data.tags["reason"] == failed.reason


def test_another_process_that_goes_on_writes_nothing_twice(records, tmp_path: Path):
    where = study(tensorboard=str(tmp_path / "board"), mlflow=f"sqlite:///{tmp_path / 'mlflow.db'}")
    told(records[:4], where)
    told(records, where)  # as a new process, which knows nothing of the first
    files = list((tmp_path / "board").rglob("events.*"))
    ended = [record for record in records if record.state in ENDED]
    assert len(files) == len(ended)
    assert len(loggers.MLflow(where, where.logging.mlflow or "").known) == len(ended)


def test_what_cannot_be_written_is_told_once_and_stops_nothing(records, tmp_path: Path, caplog):
    (tmp_path / "file").write_text("no folder")
    told(records, study(tensorboard=str(tmp_path / "file")))
    assert [line.message for line in caplog.records if "not logged any more" in line.message]
    assert len(caplog.records) == 1


def test_a_study_without_loggers_starts_no_thread(records):
    logbook = Logbook(study())
    logbook.tell(records)
    assert logbook._thread is None
    logbook.close()


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_missing_package_is_told_before_anything_is_stored(name: str, monkeypatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(StudyError, match=rf"pip install 'nasmod\[{name}\]'"):
        nasmod.start(study(**{name: str(tmp_path / "log")}), storage=tmp_path / "small.db", workers=1)
    assert not (tmp_path / "small.db").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tensorbord": "x"}, "unknown key 'logging.tensorbord'. Did you mean 'tensorboard'?"),
        ({"mlflow": "http://me:secret@server"}, "leave it to MLFLOW_TRACKING_PASSWORD"),
    ],
)
def test_what_is_wrong_in_the_study_file_is_one_line(given: dict[str, str], words: str):
    with pytest.raises(StudyError) as caught:
        study(**given)
    assert words in str(caught.value)


@pytest.mark.slow
def test_a_real_search_is_logged_while_it_runs(tmp_path: Path):
    changes = {"data": {"name": "digits", "limit": 300}, "finalists": 1, "repeats": 1}
    logged = read("digits", name="logged", trials=4, logging={"tensorboard": str(tmp_path / "board")}, **changes)
    study = nasmod.start(logged, storage=tmp_path / "logged.db", workers=2)
    names = {path.name for path in (tmp_path / "board" / "logged").iterdir()}
    assert {name for name in names if "repeat" not in name} == {f"{number:05d}" for number in range(4)}
    assert f"{study.best.number:05d}-repeat-1" in names
