"""Files outside the database: in a real folder, and in S3 spoken over real HTTP; whatever dies, vanishes or is full."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, update

from nasmod import api
from nasmod.errors import ArtifactError, StorageError, StorageFullError, StudyError
from nasmod.search.context import Context, bring_to_life
from nasmod.study import (
    Database,
    StoredStudy,
    artifacts,
    create_or_join,
    files,
    open_study,
    processes,
    read,
    records,
    recovery,
)
from nasmod.study import candidates as protocol
from nasmod.study.candidates import Claim, ClaimLost
from nasmod.study.deletion import delete_study
from nasmod.study.inspection import inspect_database
from nasmod.study.tables import artifacts as rows
from nasmod.study.tables import candidates, chunks, optuna_steps, studies
from tests.study.conftest import RESULT
from tests.study.invariants import violations
from tests.study.operations import (
    CHECKPOINT,
    OPERATIONS,
    WEIGHTS,
    claim,
    curve,
    fill,
    make,
    pause,
    propose,
    recover,
    report,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """A client of an S3 server of this session's own."""
    boto3 = pytest.importorskip("boto3")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "nobody")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield boto3.client("s3")
    server.stop()


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where files may lie: a new folder, or a new bucket."""
    if request.param == "folder":
        (tmp_path / "kept here").mkdir()
        return str(tmp_path / "kept here")
    bucket = f"lab-{uuid.uuid4().hex}"
    request.getfixturevalue("s3").create_bucket(Bucket=bucket)
    return f"s3://{bucket}/nasmod/ours"


@pytest.fixture
def study(place: str, tmp_path: Path) -> Iterator[StoredStudy]:
    """A study that keeps its files there: `operations.make` joins it."""
    with kept_in(tmp_path / "a.db", place) as study:
        yield study


@contextmanager
def kept_in(storage: Path | str, place: str) -> Iterator[StoredStudy]:
    database = Database.create(str(storage))
    definition = read("digits", trials=5, finalists=0, artifacts=place)
    yield create_or_join(database, definition, "f" * 64, {"nasmod": "0"})
    database.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def lying(place: str) -> set[str]:
    """The names of all files there are at a place."""
    if not place.startswith("s3://"):
        return set(os.listdir(place))
    import boto3

    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    found = boto3.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
    assert all(one["Key"].startswith(f"{prefix}/") for one in found)
    return {one["Key"].removeprefix(f"{prefix}/") for one in found}


def kept(study: StoredStudy) -> set[str]:
    """The names of the files that candidates have."""
    query = select(rows.c.id).where(rows.c.kept)
    return set(study.database.read(lambda connection: connection.scalars(query).all()))


def sweep(study: StoredStudy) -> int:
    assert study.artifacts is not None
    return files.sweep(study.database, study.id, study.artifacts)


def fetch(study: StoredStudy, candidate: int, name: files.FileName) -> bytes | None:
    return files.fetch(study.database, study.artifacts, candidate, name)


def holds(study: StoredStudy) -> None:
    """Every invariant; each file that a candidate speaks of is there and is what was written."""
    broken = violations(study)  # it knows of files in the database only
    assert [what for _, what in broken if not what.endswith(": no weights") and "no checkpoint, said" not in what] == []
    everyone = study.database.read(lambda connection: connection.execute(select(candidates)).all())
    for row in everyone:
        assert fetch(study, row.id, "checkpoint") == (CHECKPOINT if row.checkpoint else None)
        assert fetch(study, row.id, "weights") == (WEIGHTS if row.weights else None)
    assert study.database.read(lambda connection: connection.scalar(select(chunks.c.candidate).limit(1))) is None


def running(study: StoredStudy, worker: str = "worker") -> Claim:
    """A candidate at work, without a checkpoint."""
    assert propose(study, 0, 0)
    return claim(study, worker)


def finish(study: StoredStudy, held: Claim, weights: bytes = WEIGHTS) -> None:
    protocol.finish(study.database, held, RESULT, [0.5], weights=weights)


def test_a_study_keeps_its_files_where_it_was_told_to(study: StoredStudy, place: str) -> None:
    fill(study.database)
    holds(study)
    sweep(study)
    assert lying(place) == kept(study)
    assert {len(name) for name in lying(place)} == {32}
    finished = next(record for record in records.read_records(study) if record.state == "finished")
    assert records.weights(study, finished) == WEIGHTS
    recover(study)
    holds(study)
    sweep(study)
    assert lying(place) == kept(study)


def test_it_is_remembered_by_the_study_alone(study: StoredStudy, place: str) -> None:
    again = open_study(study.database, "digits")
    assert again.artifacts == again.study.artifacts == place
    assert "artifacts" not in again.study.definition()
    assert make(study.database).artifacts == place  # joined by a start that names no place


def test_a_checkpoint_is_trained_on_from(study: StoredStudy) -> None:
    held = running(study)
    report(study, held, 1, rung=True, checkpoint=True)
    report(study, held, 2, rung=True)
    protocol.hand_back(study.database, held, curve(3), b"state of the third")
    held = claim(study, "another")
    assert (held.checkpoint, len(held.curve), len(held.rung_results)) == (b"state of the third", 3, 2)
    finish(study, held)
    assert fetch(study, held.id, "checkpoint") is None


def test_replaced_checkpoints_do_not_pile_up(study: StoredStudy, place: str) -> None:
    held = running(study)
    for epoch in range(1, 6):
        report(study, held, epoch, checkpoint=True)
        assert len(lying(place)) <= 2
    assert sweep(study) == 1
    assert lying(place) == kept(study)
    holds(study)


def test_a_sweep_leaves_alone_what_is_just_being_uploaded(study: StoredStudy, place: str) -> None:
    held = running(study)
    announced = study.database.transact(lambda c: files.announce(c, held.id, held.token, "weights", place))
    uploaded = files.upload(announced, WEIGHTS)
    assert sweep(study) == 0
    assert lying(place) == {announced.id}
    recovery.bury(study.database, study.id, "worker", "killed")  # now nobody can keep it any more
    assert sweep(study) == 1
    assert lying(place) == set()
    files.withdraw(study.database, uploaded)  # its worker comes to life again: no error


def test_a_worker_taken_for_dead_leaves_no_file(study: StoredStudy, place: str) -> None:
    held = running(study)
    wanted = protocol.upload(study.database, held, "weights", WEIGHTS)
    recovery.bury(study.database, study.id, "worker", "frozen")
    sweep(study)
    artifacts.store_at(place).put(wanted.id, WEIGHTS)  # written after the sweep
    with pytest.raises(ClaimLost):
        protocol.keep(study.database, lambda connection: protocol.fence(connection, held), wanted)
    assert lying(place) == set()
    for late in (
        lambda: report(study, held, 1, checkpoint=True),
        lambda: finish(study, held),
        lambda: protocol.hand_back(study.database, held, curve(1), CHECKPOINT),
        lambda: pause(study, held),
    ):
        with pytest.raises(ClaimLost):
            late()
    assert lying(place) == set()
    holds(study)


@pytest.mark.parametrize("how", ["removed", "damaged", "folder gone"])
def test_without_its_checkpoint_a_candidate_is_trained_from_its_beginning(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with kept_in(tmp_path / "a.db", str(folder)) as study:
        held = running(study)
        report(study, held, 1, rung=True, checkpoint=True)
        report(study, held, 2, rung=True)
        (file,) = folder.iterdir()
        if how == "removed":
            file.unlink()
        elif how == "damaged":
            file.write_bytes(b"State of an epoch")
        else:
            shutil.rmtree(folder)
        recovery.bury(study.database, study.id, "worker", "killed")
        held = claim(study, "another")
        assert (held.checkpoint, held.curve, held.rung_results) == (None, (), ())
        folder.mkdir(exist_ok=True)
        holds(study)
        assert study.database.read(lambda connection: connection.execute(select(optuna_steps)).first()) is None
        for epoch in (1, 2):
            report(study, held, epoch, rung=True, checkpoint=True)
        finish(study, held)
        sweep(study)
        holds(study)
        assert lying(str(folder)) == kept(study)


def test_a_place_out_of_reach_fails_the_candidate_and_a_hand_back_goes_without(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with kept_in(tmp_path / "a.db", str(folder)) as study:
        held = running(study)
        report(study, held, 1, checkpoint=True)
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(ArtifactError, match="cannot be written to: No such file"):
            report(study, held, 2, checkpoint=True)
        with pytest.raises(ArtifactError, match="cannot be written to"):
            finish(study, held)
        protocol.hand_back(study.database, held, curve(2), CHECKPOINT)
        sweep(study)  # nor does it break the controller
        (tmp_path / "elsewhere").rename(folder)
        held = claim(study, "another")
        assert (held.checkpoint, len(held.curve)) == (CHECKPOINT, 1)
        sweep(study)
        assert lying(str(folder)) == kept(study)


def test_a_full_disk_is_told_and_nothing_half_written_stays(tmp_path: Path, small_disk: Path) -> None:
    with kept_in(tmp_path / "a.db", str(small_disk)) as study:
        held = running(study)
        report(study, held, 1, checkpoint=True)
        with pytest.raises(StorageFullError, match="No space is left in the artifacts folder"):
            finish(study, held, bytes(2_000_000))
        assert lying(str(small_disk)) == kept(study)
        protocol.fail(study.database, held, "No space")
        sweep(study)
        assert lying(str(small_disk)) == set()


@pytest.mark.parametrize("name", ["../victim", "/{victim}", "victim", "a" * 31 + "/", "A" * 32, "", "0" * 32 + "\n"])
def test_a_name_from_a_hostile_database_cannot_escape(tmp_path: Path, name: str) -> None:
    folder, victim = tmp_path / "kept", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("mine")
    (folder / "victim").write_text("mine, too")
    name = name.format(victim=victim)
    with kept_in(tmp_path / "a.db", str(folder)) as study:
        held = running(study)
        with pytest.raises(ArtifactError, match="32 hexadecimal digits"):
            artifacts.store_at(str(folder)).put(name, b"yours")
        row = {"id": name, "study": study.id, "candidate": held.id, "name": "weights", "sha256": None}
        study.database.transact(lambda connection, row=row: connection.execute(insert(rows).values(kept=True, **row)))
        with pytest.raises(ArtifactError, match="32 hexadecimal digits"):
            fetch(study, held.id, "weights")
        study.database.transact(lambda connection: connection.execute(update(rows).values(kept=False)))
        assert sweep(study) == 1
        files.remove_all(study.database, study.id, study.artifacts)
        assert victim.read_text() == "mine"
        assert lying(str(folder)) == {"victim"}


@pytest.mark.parametrize("hostile", ["kept", "../kept", "file:///etc", "s3://a/../b", "s3://me:key@lab/x", "", "\0"])
def test_a_place_from_a_hostile_database_is_refused(tmp_path: Path, hostile: str) -> None:
    (tmp_path / "kept").mkdir()
    with kept_in(tmp_path / "a.db", str(tmp_path / "kept")) as study:
        study.database.transact(lambda c: c.execute(update(studies).values(artifacts=hostile)))
        with pytest.raises(StorageError) as caught:
            files.check(study.database, study.id, open_study(study.database, "digits").artifacts)
        assert "me:key" not in str(caught.value)
        assert "\n" not in str(caught.value)


def test_places_are_written_one_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert artifacts.absolute("kept/") == str(tmp_path / "kept")
    assert artifacts.absolute("kept", tmp_path / "studies") == str(tmp_path / "studies" / "kept")
    assert artifacts.absolute("/a/../b//c") == "/b/c"
    assert artifacts.absolute("s3://lab/deep/prefix//") == "s3://lab/deep/prefix"
    for wrong in ("s3://", "s3://x", "s3://Lab/x", "s3://lab/../x", "s3://lab//x", "s3://u:p@lab", "gs://lab/x", " "):
        with pytest.raises(ArtifactError):
            artifacts.absolute(wrong)


def test_a_place_that_cannot_be_used_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for wrong, said in {
        tmp_path / "no" / "folder": "does not exist",
        tmp_path / "file": "No artifacts can be kept",
        Path("/proc/nothing"): "No artifacts can be kept|does not exist",
        Path("/proc"): "cannot be written to",
    }.items():
        with pytest.raises(ArtifactError, match=said) as caught:
            artifacts.check(str(wrong), new=True)
        assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "boto3", None)  # as where it is not installed
    with pytest.raises(ArtifactError, match=r"pip install 'nasmod\[s3\]'"):
        artifacts.check(f"s3://lab-{uuid.uuid4().hex}", new=True)
    assert lying(str(tmp_path)) == {"file"}


@pytest.mark.slow
def test_a_start_that_cannot_keep_its_files_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "nasmod.cli", "start", "digits", "--artifacts", "no/folder"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "does not exist" in ended.stderr
    assert lying(str(tmp_path)) == set()


@pytest.mark.slow
def test_a_missing_bucket_and_a_missing_server_are_one_line(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArtifactError, match="bucket does not exist"):
        artifacts.check(f"s3://lab-{uuid.uuid4().hex}/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(ArtifactError, match="Could not connect"):
        artifacts.check(f"s3://lab-{uuid.uuid4().hex}/a")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no address")
    with pytest.raises(ArtifactError, match="no address"):
        artifacts.check(f"s3://lab-{uuid.uuid4().hex}/a")


def test_a_start_with_another_place_is_refused(study: StoredStudy, tmp_path: Path) -> None:
    other = read("digits", trials=5, finalists=0, artifacts=str(tmp_path / "other"))
    with pytest.raises(StudyError, match="files do not move") as caught:
        create_or_join(study.database, other, "f" * 64, {})
    assert "\n" not in str(caught.value)


def test_an_unmounted_share_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with kept_in(tmp_path / "a.db", str(folder)) as study:
        files.check(study.database, study.id, study.artifacts)
        finish(study, running(study))
        files.check(study.database, study.id, study.artifacts)
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(ArtifactError, match="is it mounted"):
            files.check(study.database, study.id, study.artifacts)
        folder.mkdir()
        with pytest.raises(ArtifactError, match="is empty"):
            files.check(study.database, study.id, study.artifacts)
        assert lying(str(folder)) == set()


def test_doctor_says_whether_the_files_are_in_reach(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with kept_in(tmp_path / "a.db", str(folder)) as study:
        checks = {check.name: check.level for check in inspect_database(str(tmp_path / "a.db"), 1)}
        assert checks["files of digits"] == "ok"
        assert lying(str(folder)) == set()
        folder.rmdir()
        checks = {check.name: check.level for check in inspect_database(str(tmp_path / "a.db"), 1)}
        assert checks["files of digits"] == "wrong"
        assert sweep(study) == 0


def test_weights_that_nothing_needs_are_swept(study: StoredStudy, place: str) -> None:
    fill(study.database)
    gone = study.database.transact(lambda c: files.sweep_weights(c, study.id, set(), study.artifacts))
    assert gone == 1
    sweep(study)
    assert lying(place) == kept(study)
    finished = next(record for record in records.read_records(study) if record.state == "finished")
    with pytest.raises(StudyError, match="--retrain"):
        records.weights(study, finished)
    holds(study)


def test_a_copy_holds_its_files_itself(study: StoredStudy, place: str, tmp_path: Path) -> None:
    fill(study.database)
    sweep(study)
    original = api.SearchStudy(study)
    original.copy(tmp_path / "copy.db")
    database = Database.open(str(tmp_path / "copy.db"))
    copied = open_study(database, "digits")
    assert copied.artifacts is None
    assert violations(copied) == []
    recover(copied)
    delete_study(copied)
    database.close()
    holds(study)
    assert lying(place) == kept(study)
    held = claim(study, "another")
    artifacts.store_at(place).remove(next(iter(kept(study))))  # as if replaced while the copy was made
    original.copy(tmp_path / "second.db")
    database = Database.open(str(tmp_path / "second.db"))
    assert violations(open_study(database, "digits")) == []
    database.close()
    finish(study, held)


def test_a_copy_without_its_files_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with kept_in(tmp_path / "a.db", str(folder)) as study:
        finish(study, running(study))
        shutil.rmtree(folder)
        with pytest.raises(ArtifactError, match="is it mounted"):
            api.SearchStudy(study).copy(tmp_path / "copy.db")
        assert not (tmp_path / "copy.db").exists()


@pytest.mark.slow
def test_it_holds_on_postgresql(empty_postgresql: str, tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    with kept_in(empty_postgresql, str(folder)) as study:
        fill(study.database)
        holds(study)
        recover(study)
        holds(study)
        assert study.database.transact(lambda c: files.sweep_weights(c, study.id, set(), study.artifacts))
        assert sweep(study) > 0
        assert lying(str(folder)) == kept(study)
        holds(study)
        delete_study(study)
        assert lying(str(folder)) == set()


def test_deleting_a_study_deletes_its_files_and_no_others(study: StoredStudy, place: str) -> None:
    fill(study.database)
    theirs = artifacts.new_id()
    artifacts.store_at(place).put(theirs, b"another study's")
    delete_study(study)
    assert lying(place) == {theirs}


def test_files_in_the_database_cost_no_statement_more(tmp_path: Path) -> None:
    database = Database.create(str(tmp_path / "a.db"))
    said: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: said.append(arguments[2]))
    fill(database)
    assert len(said) > 100
    assert not [statement for statement in said if re.search(r"(FROM|INTO|UPDATE) artifacts", statement)]
    database.close()


KILLED = ["report at a rung, with a checkpoint", "finish", "hand back", "pause", "sweep a second attempt"]


@pytest.mark.slow
@pytest.mark.parametrize("operation", KILLED)
def test_a_kill_at_any_statement_loses_no_file_and_the_next_sweep_removes_orphans(
    tmp_path: Path, operation: str
) -> None:
    """Between upload and commit among them: the store then holds what no candidate has."""
    folder, saved, storage = tmp_path / "kept", tmp_path / "saved", tmp_path / "a.db"
    folder.mkdir()
    with kept_in(storage, str(folder)) as study:
        fill(study.database)
        OPERATIONS[operation].arrange(study)
        sweep(study)
    shutil.copytree(folder, saved)
    template = storage.read_bytes()
    orphans, recovered = 0, []
    deaths = 0
    for died in killed_at_each_point(storage, operation):
        deaths += died
        database = Database.open(str(storage))
        study = open_study(database, "digits", only_to_look=True)
        holds(study)
        assert kept(study) <= lying(str(folder))
        left = len(kept(study)), len(lying(str(folder)))
        orphans += left[1] - left[0]
        sweep(study)
        assert kept(study) <= lying(str(folder))
        holds(study)
        if left not in recovered:
            recovered.append(left)
            recover(study)
            holds(study)
            sweep(study)
            assert lying(str(folder)) == kept(study)
        database.close()
        if not died:
            break
        for path in tmp_path.glob("a.db*"):
            path.unlink()
        storage.write_bytes(template)
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)
    assert deaths > 10
    assert orphans


def killed_at_each_point(storage: Path, operation: str) -> Iterator[bool]:
    """Whether a process that ran the operation was killed before it was over: at the first statement, the second …"""
    command = [sys.executable, "-m", "tests.study.operations"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for point in range(1, 1000):
            order = {"storage": str(storage), "operation": operation, "point": point}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            status = int(process.stdout.readline())
            assert status in (0, signal.SIGKILL), f"{operation} failed at {point}: {status}"
            yield status != 0


STUDY = """
name = "small"
space = "dense"
trials = {trials}
references = false
finalists = 0
{more}
[data]
name = "digits"
limit = 400
[training]
epochs = 3
batch_size = 64
[objective]
flops_budget = 40000
[strategy]
name = "random"
[stopping]
name = "none"
"""


def study_file(folder: Path, trials: int, more: str = "") -> Path:
    path = folder / "small.toml"
    path.write_text(STUDY.format(trials=trials, more=more))
    return path


@pytest.mark.slow
def test_two_workers_search_and_their_best_is_exported(place: str, tmp_path: Path) -> None:
    storage = tmp_path / "a.db"
    api.start(study_file(tmp_path, 2), storage=storage, workers=2, artifacts=place).close()
    found = api.resume("small", storage=storage, workers=2, trials=4)  # it is remembered
    assert found.status().trained == 4
    assert found.stored.artifacts == place
    assert lying(place) == kept(found.stored)
    assert len(lying(place)) == 4
    chunk = found.stored.database.read(lambda c: c.execute(select(chunks.c.candidate).limit(1)).first())
    assert chunk is None
    exported = tmp_path / "exported"
    found.export(exported)
    assert (exported / "weights.safetensors").is_file()
    found.delete()
    assert lying(place) == set()
    found.close()


def with_data(tmp_path: Path) -> tuple[StoredStudy, Context, Path]:
    """A study whose candidates can be trained, and the folder that keeps its files."""
    folder = tmp_path / "kept"
    folder.mkdir()
    definition = read(study_file(tmp_path, 1, f'artifacts = "{folder}"'))
    context = bring_to_life(definition)
    database = Database.create(str(tmp_path / "a.db"))
    return create_or_join(database, definition, context.dataset.fingerprint, {}), context, folder


@pytest.mark.slow
def test_a_training_goes_on_from_the_checkpoint_in_the_folder(tmp_path: Path) -> None:
    """A real training is handed back with its checkpoint in the folder, and another worker ends it with one curve."""
    from nasmod.search.asking import Asked
    from nasmod.search.candidate import CandidateTraining
    from nasmod.search.controller import Controller

    study, context, folder = with_data(tmp_path)
    database = study.database
    controller = Controller(context, study, "controller", 1, 5.0)
    asked = Asked()
    asked.set()  # handed back after the first epoch
    while (held := protocol.claim(database, study.id, "first", context.distributions)) is None:
        controller.tick()
    training = CandidateTraining(context, database, held, "cpu", asked, checkpoint_seconds=0.0)
    training.run()
    assert len(lying(str(folder))) in (1, 2)
    held = protocol.claim(database, study.id, "second", context.distributions)
    assert held is not None
    assert len(held.curve) == 1
    assert protocol.with_checkpoint(database, held).checkpoint is not None
    CandidateTraining(context, database, held, "cpu", Asked()).run()
    (record,) = records.read_records(study)
    assert record.state == "finished"
    assert [point["epoch"] for point in record.curve] == [1, 2, 3]
    sweep(study)
    assert lying(str(folder)) == kept(study)
    assert len(kept(study)) == 1
    database.close()


@pytest.mark.slow
def test_who_waits_for_a_checkpoint_from_afar_gives_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nasmod.search.worker import Orders, Worker

    study, context, _ = with_data(tmp_path)
    database = study.database
    assert propose(study, 0, 0)
    protocol.hand_back(database, claim(study, "first"), [{"epoch": 1.0}], b"far away")
    worker = Worker(Orders("second", database.url, study.name, "cpu", 1, beat_seconds=0.05), study, context)
    guard = threading.Timer(60.0, worker.asked_to_end.set)  # nothing waits for ever for what does not come
    fetch_at_once, signs = files.fetch, set()

    def fetch_slowly(*where: Any) -> bytes | None:
        while len(signs) < 4 and not worker.asked_to_end.is_set():
            signs.update(recovery.running(database, study.id).values())
            time.sleep(0.05)
        worker.asked_to_end.set()
        return fetch_at_once(*where)

    monkeypatch.setattr(files, "fetch", fetch_slowly)
    guard.start()
    worker.run()
    guard.cancel()
    assert len(signs) >= 4
    database.close()


@pytest.mark.slow
def test_a_full_folder_fails_candidates_and_work_goes_on_when_there_is_space(tmp_path: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    storage = tmp_path / "a.db"
    command = [sys.executable, "-m", "nasmod.cli", "start", str(study_file(tmp_path, 3)), "--workers", "2"]
    command += ["--storage", str(storage), "--artifacts", str(small_disk)]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: storage.is_file() and bool(api.studies(storage=storage)), process)
        found = api.load("small", storage=storage)
        # it has looked at the folder, and its workers have yet to import what they need
        wait_until(lambda: bool(processes.at_work(found.stored.database, found.stored.id)), process)
        with pytest.raises(OSError, match="No space left"):
            write_without_end(ballast)
        wait_until(lambda: found.status().failed > 0, process)
        ballast.unlink()
        out, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == 0, out
    assert found.status().trained == 3
    for record in found.records():
        if record.state == "failed":
            assert record.reason is not None
            assert record.reason.startswith("No space is left in the artifacts folder")
    assert lying(str(small_disk)) == kept(found.stored)
    found.close()


def write_without_end(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.stdout and process.stdout.read()
        time.sleep(0.05)


def test_what_a_commit_has_kept_is_not_withdrawn(study: StoredStudy, place: str) -> None:
    """The commit went through, its acknowledgement did not, and whoever tried again found its claim gone."""
    held = running(study)
    announced = study.database.transact(lambda c: files.announce(c, held.id, held.token, "weights", place))
    uploaded = files.upload(announced, WEIGHTS)
    study.database.transact(lambda c: files.write(c, held.id, "weights", uploaded))
    files.withdraw(study.database, uploaded)
    assert fetch(study, held.id, "weights") == WEIGHTS
