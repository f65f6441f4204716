"""The commands of whoever looks after a study: where it lies, how far it is, stop, retry, delete, doctor."""

# ruff: noqa: F811  # the fixtures are those of test_cli

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from filled import STUDY, study_file
from test_cli import NASMOD, Run, check_is_one_line, looking, own_copy, run  # noqa: F401

import nasmod
from nasmod import doctor
from nasmod.api import studies
from nasmod.errors import StudyError
from nasmod.study import Database, candidates, open_study, processes, read
from nasmod.study.processes import Process


def sql(database: Path, statement: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.execute(statement)
    connection.close()


def runs(folder: Path) -> Path:
    return folder / "runs" / "small.db"


@pytest.fixture
def searching(own_copy: Path) -> Path:
    """A study that has not ended, with a queued candidate."""
    sql(runs(own_copy), "UPDATE nasmod_studies SET state = 'searching', reason = NULL")
    return own_copy


def claim(folder: Path, worker: str = "a:1") -> None:
    """A candidate is running, held by a process that does not exist."""
    study = nasmod.load("small", storage=runs(folder))
    context = study._context()
    assert candidates.claim(study.stored.database, study.stored.id, worker, context.distributions) is not None
    study.close()


def sign_of_life(folder: Path, process: Process) -> None:
    study = nasmod.load("small", storage=runs(folder))
    processes.sign_of_life(study.stored.database, study.stored.id, process)
    study.close()


# -- where a study lies -----------------------------------------------------------------------------------------------


def test_the_option_wins_over_the_environment_and_that_over_runs(
    run: Run,
    searching: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    shutil.copy(runs(searching), elsewhere)
    sql(elsewhere, "UPDATE nasmod_studies SET trials = 7")
    assert "of 6 trained" in run("status", "small").out
    monkeypatch.setenv("NASMOD_STORAGE", str(elsewhere))
    said = run("status", "small").out
    assert "of 7 trained" in said
    assert said.endswith("Next: nasmod resume small\n")  # the environment says where
    said = run("status", "small", "--storage", "runs/small.db").out
    assert "of 6 trained" in said
    assert said.endswith("Next: nasmod resume small --storage runs/small.db\n")
    monkeypatch.setenv("NASMOD_STORAGE", "nowhere.db")
    check_is_one_line(run("status", "small"), "No database at", "nowhere.db")
    monkeypatch.setenv("NASMOD_STORAGE", "")
    assert "of 6 trained" in run("status", "small").out


def test_help_names_the_environment_variable(run: Run) -> None:
    for command in ("start", "resume", "status", "stop", "doctor"):
        assert "NASMOD_STORAGE" in " ".join(run(command, "--help").out.split())


def test_a_study_file_names_its_storage_and_no_database_remembers_it(
    run: Run,
    own_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(runs(own_copy), folder / "kept.db")
    path = study_file(folder, text='storage = "kept.db"\n' + STUDY)
    said = run("start", path)
    assert said.code == 0, said.err
    assert f"(in {folder}/kept.db)" in said.out  # from the study file's folder, not from here
    assert f"nasmod show small --storage {folder}/kept.db" in said.out
    monkeypatch.setenv("NASMOD_STORAGE", str(runs(own_copy)))
    said = run("start", path)
    assert f"(in {runs(own_copy)})" in said.out
    assert "--storage" not in said.out
    secret = study_file(folder, text='storage = "postgresql+psycopg://me:geheim@127.0.0.1:9/none"\n' + STUDY)
    found = read(secret)
    assert found.storage == "postgresql+psycopg://me:geheim@127.0.0.1:9/none"
    assert found.definition() == read(path).definition()
    assert "geheim" not in json.dumps(found.model_dump(mode="json")) + repr(found)
    monkeypatch.delenv("NASMOD_STORAGE")
    said = run("start", secret)
    check_is_one_line(said, "cannot be used")
    assert "geheim" not in said.err
    check_is_one_line(run("start", study_file(folder, text="storage = 5\n" + STUDY)), "'storage'")


# -- status -----------------------------------------------------------------------------------------------------------


def test_status_without_a_name_lists_the_studies_of_a_storage(looking: Run, small_study: Path) -> None:
    (line,) = looking("status").out.splitlines()
    place = str(small_study / "runs" / "small.db")
    assert line == f"small  5 of 6 trained, ended, the tests need no more (in {place})"
    assert looking("status", "--storage", "runs/small.db").out.startswith("small  5 of 6")
    (row,) = json.loads(looking("status", "--json").out)
    assert (row["name"], row["trained"], row["storage"]) == ("small", 5, place)
    assert [study.name for study in studies()] == ["small"]


def test_status_without_a_study_says_how_to_begin(run: Run) -> None:
    assert "nasmod start digits" in run("status").out


def test_status_shows_who_is_at_work(run: Run, searching: Path) -> None:
    claim(searching)
    sign_of_life(searching, Process("a:1", "worker", "big", 12, "cuda:0", "/there/worker-0.log"))
    sign_of_life(searching, Process("b:1", "worker", "small", 13, "cpu", None))
    sql(runs(searching), "UPDATE nasmod_processes SET seen = seen - 3600 WHERE name = 'b:1'")
    said = run("status", "small").out
    for part in ("2 workers on 2 machines", "on cuda:0: #", "epoch 0 of 2", "(silent)", "big: /there/worker-0.log"):
        assert part in said
    row = json.loads(run("status", "small", "--json").out)
    assert [process["silent"] for process in row["processes"]] == [False, True]
    assert row["unattended"] == 0


# -- stop -------------------------------------------------------------------------------------------------------------


def test_a_study_at_which_nothing_runs_stops_at_once_and_an_ended_one_had(run: Run, searching: Path) -> None:
    said = run("stop", "small")
    assert (said.code, said.out.splitlines()) == (
        0,
        ["small has ended: stopped by a person; 5 of 6 trained.", "Next: nasmod resume small"],
    )
    assert run("stop", "small", "--now").out == "small had ended already: stopped by a person\n"
    said = run("start", study_file(searching))
    assert "small has ended: stopped by a person" in said.out
    assert "Next: nasmod resume small" in said.out  # to start it again is not to go on with it
    check_is_one_line(run("stop", "smal", "--storage", "runs/small.db"), "Did you mean 'small'")


def test_what_dead_processes_held_does_not_keep_a_study_from_stopping(
    run: Run,
    searching: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from nasmod.search.draining import stop

    claim(searching)
    monkeypatch.setitem(stop.__kwdefaults__, "lease_seconds", 2.0)
    said = run("stop", "small")
    assert said.code == 0
    assert "waiting until 1 running are trained to the end" in said.out
    assert "small has ended: stopped by a person; 5 of 6 trained." in said.out
    row = json.loads(run("status", "small", "--json").out)
    assert (row["state"], row["running"], row["queued"]) == ("ended", 0, 1)


def test_halting_is_not_softened(searching: Path) -> None:
    claim(searching)
    study = nasmod.load("small", storage=runs(searching))
    assert study.stop(wait=False).state == "draining"
    assert study.stop(now=True, wait=False).state == "halting"
    assert study.stop(wait=False).state == "halting"
    study.close()


# -- retry ------------------------------------------------------------------------------------------------------------


def test_failed_candidates_are_queued_again_all_or_by_number(run: Run, own_copy: Path, tmp_path: Path) -> None:
    shutil.copy(runs(own_copy), tmp_path / "other.db")
    for arguments in (["--failed"], ["4", "--storage", "other.db"]):
        where = "".join(f" {argument}" for argument in arguments[1:])
        said = run("retry", "small", *arguments)
        assert said.out.splitlines() == [
            "Queued 1 failed candidate of small again.",
            f"Next: nasmod resume small{where}",
        ]
        row = json.loads(run("status", "small", "--json", *arguments[1:]).out)
        assert (row["failed"], row["queued"], row["state"]) == (0, 2, "searching")
    assert run("retry", "small", "--failed").out == "Queued 0 failed candidates of small again.\n"
    check_is_one_line(run("retry", "small"), "--failed")
    check_is_one_line(run("retry", "small", "4", "--failed"), "--failed")
    check_is_one_line(run("retry", "small", "0"), "#0 is finished")
    check_is_one_line(run("retry", "small", "99"), "No candidate '99'")


def test_where_the_budget_is_reached_it_says_by_how_much_to_raise_it(run: Run, own_copy: Path) -> None:
    sql(runs(own_copy), "UPDATE nasmod_studies SET trials = 5")
    assert run("retry", "small", "4").out.endswith("Next: nasmod resume small --trials 6\n")


# -- delete -----------------------------------------------------------------------------------------------------------


def test_a_study_is_deleted_only_when_that_is_meant(run: Run, own_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody can be asked
    check_is_one_line(run("delete", "small"), "--yes")
    check_is_one_line(run("delete", "smal", "--yes", "--storage", "runs/small.db"), "Did you mean 'small'")
    sign_of_life(own_copy, Process.this("supervisor"))
    check_is_one_line(run("delete", "small", "--yes"), "1 process is at work", "nasmod stop small", "--force")
    said = run("delete", "small", "--yes", "--force")
    assert (said.code, said.out) == (0, f"Deleted small from {runs(own_copy)}.\n")
    check_is_one_line(run("status", "small"), "No study 'small'")
    said = run("start", study_file(own_copy), "--workers", "0")
    assert said.code == 2
    assert studies() == []


@pytest.mark.parametrize("answer", ["y", pytest.param("n", marks=pytest.mark.slow)])
def test_on_a_terminal_it_asks(own_copy: Path, answer: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*NASMOD, "delete", "small"], cwd=own_copy, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    os.write(ours, f"{answer}\n".encode())
    out, err = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert f"Delete small with 5 trained candidates from {runs(own_copy)}?" in (out + err).decode()
    assert process.returncode == (0 if answer == "y" else 130)
    database = Database.open(str(runs(own_copy)))
    if answer == "n":
        assert open_study(database, "small").name == "small"
    else:
        with pytest.raises(StudyError):
            open_study(database, "small")
    database.close()


# -- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_finds_a_sound_study_in_order_and_a_broken_one_not(run: Run, own_copy: Path) -> None:
    said = run("doctor")
    assert said.code == 0, said.out
    for part in ("ok       python", "ok       torch", "cores", "GPU", "data digits", "folder runs", "SQLite"):
        assert part in said.out
    sql(runs(own_copy), "UPDATE trials SET state = 'RUNNING' WHERE number = 2")
    said = run("doctor", "--storage", "runs/small.db")
    assert said.code == 2
    assert "wrong    study small" in said.out
    assert "#2 is finished, its trial RUNNING" in said.out
    checks = json.loads(run("doctor", "--json").out)
    (wrong,) = [check for check in checks if check["level"] == "wrong"]
    assert wrong["mend"]


def test_doctor_creates_nothing(run: Run, tmp_path: Path) -> None:
    assert run("doctor").code == 0
    assert run("doctor", "--storage", "none.db").code == 0
    assert list(tmp_path.iterdir()) == []


def test_doctor_says_of_a_database_that_cannot_be_used_what_is_wrong_without_a_password(run: Run) -> None:
    said = run("doctor", "--storage", "postgresql+psycopg://me:geheim@127.0.0.1:9/none")
    assert said.code == 2
    assert "wrong    database" in said.out
    assert "geheim" not in said.out + said.err


def test_a_package_of_another_version_or_none_is_wrong_and_a_broken_extra_a_warning() -> None:
    from packaging.requirements import Requirement

    assert doctor.package(Requirement("optuna>=99")).level == "wrong"
    assert doctor.package(Requirement("no-such-package>=1")).mend == "pip install 'no-such-package>=1'"
    assert doctor.package(Requirement("optuna>=5")).level == "ok"
    assert doctor.optional("none", [Requirement("no-such-package")]).level == "ok"
    assert doctor.optional("half", [Requirement("optuna"), Requirement("no-such-package")]).level == "warning"
    assert doctor.optional("old", [Requirement("optuna>=99")]).level == "warning"


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    assert [check.level for check in doctor.folder(tmp_path / "runs")] == ["ok"]
    assert [check.level for check in doctor.folder(Path("/proc/runs"))] == ["warning"]
    assert list(tmp_path.iterdir()) == []
