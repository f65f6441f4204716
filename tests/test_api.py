"""The public API on a small real study: the same answers as the command line, as values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import nasmod
from nasmod import NasmodError, Objective, SearchStudy


@pytest.fixture
def study(small_study: Path, monkeypatch: pytest.MonkeyPatch) -> SearchStudy:
    monkeypatch.chdir(small_study)
    return nasmod.load("small")


def test_a_study_tells_what_it_found(study: SearchStudy) -> None:
    assert study.name == "small"
    assert study.status().trained == 5
    assert study.best == study.top()[0] == study.top(1)[0]
    assert study.best in study.front()
    assert [record.reference for record in study.references()] == ["monolith"]
    assert study.record(study.best.number) == study.record(study.best.key) == study.best
    assert len(study.records()) == 7
    assert "5 of 6 trained" in repr(study)


def test_a_data_frame_has_one_row_a_record(study: SearchStudy) -> None:
    frame = study.dataframe()
    assert len(frame) == 7
    assert {"number", "score", "accuracy", "accuracy_se", "modularity", "reason"} <= set(frame.columns)


def test_rescoring_takes_an_objective_a_mapping_or_a_file(study: SearchStudy, tmp_path: Path) -> None:
    file = tmp_path / "objective.toml"
    file.write_text("flops_weight = 50.0\n")
    by_file = study.rescore(file)
    assert by_file == study.rescore({"flops_weight": 50.0})
    wanted = Objective(flops_budget=100_000, flops_weight=50.0)
    assert by_file == study.rescore(wanted)
    assert by_file[0].score == max(wanted.score(record.measures) for record in by_file)
    with pytest.raises(NasmodError, match="flops_weight"):
        study.rescore({"flops_wight": 1.0})


def test_amounts_are_checked_before_anything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong in ({"workers": 0}, {"trials": 0}, {"hours": 0.0}, {"workers": "many"}):
        with pytest.raises(NasmodError):
            nasmod.start("digits", **wrong)
    assert not list(tmp_path.iterdir())


def test_joining_a_study_that_has_ended_returns_it(study: SearchStudy, tmp_path: Path) -> None:
    copied = study.copy(tmp_path / "copy.db")
    assert nasmod.start(study.study, storage=copied).best == study.best
    assert nasmod.resume("small", storage=copied).best == study.best


def test_every_public_name_is_there_and_unknown_ones_are_not() -> None:
    assert set(nasmod.__all__) <= set(dir(nasmod))
    for name in nasmod.__all__:
        assert getattr(nasmod, name) is not None
    with pytest.raises(AttributeError, match="strat"):
        nasmod.strat  # noqa: B018  looking it up is the test


def test_import_costs_next_to_nothing() -> None:
    timed = "import time; began = time.process_time(); import nasmod; print(time.process_time() - began)"
    seconds = [float(subprocess.check_output([sys.executable, "-c", timed])) for _ in range(3)]
    assert min(seconds) < 0.05
