"""The command line: exit codes, JSON, and one line for every mistake; nothing is written before all is checked."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filled import STUDY, study_file

import nasmod
from nasmod import cli
from nasmod.errors import NasmodError

COMMANDS = [
    "start", "resume", "status", "stop", "retry", "enqueue", "delete", "doctor", "top", "show", "draw", "report",
    "list", "new", "rescore", "copy", "export", "predict", "try", "compare", "schema",
]  # fmt: skip
NASMOD = [sys.executable, "-m", "nasmod.cli"]


@dataclass
class Said:
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `nasmod ARGUMENTS` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["nasmod", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Said(ended.value.code, said.out, said.err)

    return call


@pytest.fixture
def looking(run: Run, small_study: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run`, where ``runs/small.db`` is."""
    monkeypatch.chdir(small_study)
    return run


@pytest.fixture
def own_copy(run: Run, small_study: Path, tmp_path: Path) -> Path:
    """A folder with a study that may be changed."""
    (tmp_path / "runs").mkdir()
    shutil.copy(small_study / "runs" / "small.db", tmp_path / "runs")
    return tmp_path


def check_is_one_line(said: Said, *parts: str) -> None:
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("nasmod: ")
    assert said.err.count("\n") == 1
    for part in parts:
        assert part in said.err


def test_topologies_of_a_person_are_queued(run: Run, own_copy: Path) -> None:
    shown = json.loads(run("show", "small", "1", "--json").out)
    nodes = shown["topology"]["nodes"]
    check_is_one_line(run("enqueue", "small", "nowhere.json"), "'nowhere.json' cannot be read")
    module = next(node for node in nodes if node["kind"] == "dense")
    module["params"]["width"] = 8 if module["params"]["width"] == 16 else 16
    Path("mine.json").write_text(json.dumps({"version": 1, "nodes": nodes}))
    said = run("enqueue", "small", "mine.json")
    assert said.code == 0, said.err
    assert "given by a person in mine.json.\nNext: nasmod resume small\n" in said.out
    assert "2 queued" in run("status", "small").out
    check_is_one_line(run("enqueue", "small", "mine.json"), "is the same candidate")


# -- looking ----------------------------------------------------------------------------------------------------------


def test_help_names_every_command(run: Run) -> None:
    said = run("--help")
    for command in COMMANDS:
        assert f"\n  {command} " in said.out
        assert run(command, "--help").code == 0


def test_version(run: Run) -> None:
    assert run("--version").out == f"{nasmod.__version__}\n"


def test_an_unknown_command_suggests_the_nearest(run: Run) -> None:
    said = run("strat")
    assert said.code == 2
    assert "start" in said.err


def test_help_is_quick() -> None:
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([*NASMOD, "--help"], check=True, capture_output=True)
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(seconds) < 0.5


def test_draw(run: Run, own_copy: Path) -> None:
    best = json.loads(run("top", "small", "--json").out)[0]["number"]
    assert run("draw", "small").out == f"Drew #{best} of small: topology.svg\n"
    assert "<svg" in Path("topology.svg").read_text()
    assert run("draw", "small", "1", "-o", "second.png").code == 0
    before = set(own_copy.iterdir())
    check_is_one_line(run("draw", "small", "-o", "drawn.xyz"), "'drawn.xyz' cannot be drawn: Format 'xyz' is not")
    check_is_one_line(run("draw", "small", "-o", "nowhere/drawn.svg"), "'nowhere/drawn.svg' cannot be drawn")
    check_is_one_line(run("draw", "small", "999"), "No candidate '999'")
    assert set(own_copy.iterdir()) == before


def test_report(run: Run, own_copy: Path) -> None:
    assert run("report", "small").out == "Wrote small.html\n"
    assert "<title>nasmod</title>" in Path("small.html").read_text()
    before = set(own_copy.iterdir())
    check_is_one_line(run("report", "small", "-o", "nowhere/page.html"), "'nowhere/page.html' cannot be written")
    check_is_one_line(run("report", "smal"), "Did you mean")
    assert set(own_copy.iterdir()) == before


def test_status(looking: Run) -> None:
    found = json.loads(looking("status", "small", "--json").out)
    wanted = {"name", "state", "budget", "trained", "duplicates", "failed", "running", "queued"}
    assert wanted <= found.keys()
    assert (found["name"], found["state"], found["budget"], found["trained"]) == ("small", "ended", 6, 5)
    assert (found["duplicates"], found["failed"], found["running"], found["queued"]) == (1, 1, 0, 1)
    said = looking("status", "small").out
    assert "5 of 6 trained" in said
    assert found["gained"] in said
    assert "simple wiring" in found["gained"]


def test_top(looking: Run) -> None:
    rows = json.loads(looking("top", "small", "--json").out)
    assert len(rows) == 4
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    for row in rows:
        assert row.keys() == {
            "number", "key", "score", "state", "reason", "on_front", "measures", "standard_errors", "worth",
        }  # fmt: skip
        assert row["measures"].keys() >= {
            "accuracy", "modularity", "necessity", "independence", "wiring_density", "flops", "parameters", "latency",
        }  # fmt: skip
        assert "accuracy" in row["standard_errors"]
    assert any(row["on_front"] for row in rows)
    assert "monolith" in looking("top", "small").out


def test_watching_needs_a_terminal(looking: Run) -> None:
    check_is_one_line(looking("top", "small", "--watch"), "--watch needs a terminal")


@pytest.mark.slow
def test_a_terminal_watches_until_the_study_has_ended(small_study: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    shutil.copy(small_study / "runs" / "small.db", tmp_path / "small.db")
    command = [sys.executable, "-m", "nasmod.cli", "top", "small", "--watch", "--storage", str(tmp_path / "small.db")]
    mine, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # of a terminal that is closed at the other end
            while part := os.read(mine, 4096):
                shown += part
        assert process.wait(120) == 0
    os.close(mine)
    assert b"5 of 6 trained" in shown
    assert "★".encode() in shown


def test_top_with_a_number_keeps_the_front(looking: Run) -> None:
    front = [row["key"] for row in json.loads(looking("top", "small", "--json").out) if row["on_front"]]
    few = json.loads(looking("top", "small", "-n", 1, "--json").out)
    assert {row["key"] for row in few} >= set(front)


def test_show(looking: Run) -> None:
    best = json.loads(looking("top", "small", "--json").out)[0]
    shown = json.loads(looking("show", "small", "--json").out)
    assert shown["key"] == best["key"]
    assert len(shown["curve"]) == 2
    assert shown["topology"]["nodes"][0]["kind"] == "input"
    text = looking("show", "small", best["number"])
    assert text.code == 0
    assert "│ x │" in text.out
    assert "monolith" in looking("show", "small", "monolith").out
    assert "too odd" in looking("show", "small", "4").out


@pytest.mark.parametrize(
    ("what", "known"),
    [
        ("kinds", "dense"),
        ("spaces", "tiny"),
        ("datasets", "digits"),
        ("strategies", "evolution"),
        ("stopping", "halving"),
        ("measures", "modularity"),
        ("studies", "digits"),
    ],
)
def test_list(run: Run, what: str, known: str) -> None:
    lines = run("list", what).out.splitlines()
    assert known in [line.split()[0] for line in lines]
    assert all(len(line.split(maxsplit=1)[1]) > 10 for line in lines)


def test_schema_is_json(run: Run) -> None:
    assert "flops_budget" in json.dumps(json.loads(run("schema").out))


def test_rescore_ranks_anew_and_stores_nothing(looking: Run, tmp_path: Path) -> None:
    before = looking("top", "small", "--json").out
    cheap = tmp_path / "cheap.toml"
    cheap.write_text("[objective]\nmodularity_weight = 0.0\nflops_weight = 50.0\n")
    rows = json.loads(looking("rescore", "small", "--objective", cheap, "--json").out)
    wanted = nasmod.Objective(flops_budget=100_000, modularity_weight=0.0, flops_weight=50.0)
    scores = [wanted.score(row["measures"]) for row in rows]
    assert [row["score"] for row in rows] == scores == sorted(scores, reverse=True)
    assert len(rows) == 4
    assert "#" in looking("rescore", "small", "--objective", cheap).out
    assert looking("top", "small", "--json").out == before
    for text, *parts in [
        ("flops_wieght = 1.0", "flops_wieght", "'flops_weight'"),
        ("objective = 3", "must be a table"),
        ("floors = { acuracy = 0.5 }", "Did you mean 'accuracy'"),
    ]:
        cheap.write_text(text)
        check_is_one_line(looking("rescore", "small", "--objective", cheap), *parts)


def test_copy_is_a_whole_study(looking: Run, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    assert looking("copy", "small", target).code == 0
    assert looking("top", "small", "--storage", target, "--json").out == looking("top", "small", "--json").out
    check_is_one_line(looking("copy", "small", target), "exists already")
    check_is_one_line(looking("copy", "small", "/proc/copy.db"), "Cannot write to '/proc/copy.db'")


# -- exporting --------------------------------------------------------------------------------------------------------


def test_export_writes_and_proves_the_best(looking: Run, tmp_path: Path) -> None:
    said = looking("export", "small", "-o", tmp_path / "best", "--onnx")
    assert said.code == 0
    files = {
        "model.py",
        "weights.safetensors",
        "model.pt2",
        "model.onnx",
        "topology.json",
        "interface.json",
        "README.md",
    }
    assert {path.name for path in (tmp_path / "best").iterdir()} == files
    assert "largest absolute difference" in said.out
    assert '"gained": "The search ' in (tmp_path / "best" / "README.md").read_text()
    check_is_one_line(looking("export", "small", "-o", tmp_path / "best"), "new or empty")
    np.savez(tmp_path / "new.npz", x=np.zeros((3, 8, 8), np.uint8))
    said = looking("predict", tmp_path / "best", tmp_path / "new.npz", "-o", tmp_path / "said.csv")
    assert said.out == f"Wrote 3 predictions to {tmp_path / 'said.csv'}\n"
    assert (tmp_path / "said.csv").read_text().startswith("y,y_probability\n")
    check_is_one_line(looking("predict", tmp_path, tmp_path / "new.npz"), "holds no export")


@pytest.mark.slow
def test_export_trains_again_and_tells_the_spread(looking: Run, tmp_path: Path) -> None:
    said = looking("export", "small", "-o", tmp_path / "again", "--trial", 0, "--retrain", 1, "--seeds", 2)
    assert said.code == 0
    assert "Mean ± standard deviation of 2 trainings of 1 epochs" in said.out
    assert '"trainings": 2' in (tmp_path / "again" / "README.md").read_text()


def test_export_refuses_what_cannot_be(looking: Run, tmp_path: Path) -> None:
    assert looking("export", "small", "-o", tmp_path / "a", "--seeds", 2).code == 2
    check_is_one_line(looking("export", "small", "-o", tmp_path / "a", "--trial", 99), "'99'")
    check_is_one_line(looking("export", "small", "-o", tmp_path / "a", "--trial", 3), "were not kept")
    assert not (tmp_path / "a").exists()


# -- a study of one's own ---------------------------------------------------------------------------------------------


def arrays(folder: Path, kind: str) -> tuple[Path, str]:
    generator = np.random.default_rng(0)
    labels = np.arange(120) % 3
    if kind == "table":
        path = folder / "table.csv"
        rows = [
            f"{a:.3f},{b:.3f},{'xyz'[label]}" for (a, b), label in zip(generator.random((120, 2)), labels, strict=True)
        ]
        path.write_text("\n".join(["length,width,species", *rows]))
        return path, "dense"
    images = generator.integers(0, 255, (120, 8, 8), dtype=np.uint8)
    path = folder / "my.npz"
    if kind == "images":
        np.savez(path, x=images, y=labels)
        return path, "conv"
    np.savez(path, x=generator.random((120, 5)), y=generator.random(120))
    return path, "dense"


@pytest.mark.parametrize(
    "kind", ["table", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("images", "regression"))]
)
def test_new_writes_a_study_that_can_be_started(run: Run, tmp_path: Path, kind: str) -> None:
    from nasmod.search import feasibility
    from nasmod.search.context import bring_to_life
    from nasmod.study import read

    data, space = arrays(tmp_path, kind)
    assert run("new", "my.toml", "--data", data).code == 0
    text = (tmp_path / "my.toml").read_text()
    assert f'space = "{space}"' in text
    assert f'path = "{data.name}"' in text  # both can be moved together
    context = bring_to_life(read(tmp_path / "my.toml"))
    feasibility.check(context)
    assert context.dataset.task == ("regression" if kind == "regression" else "classification")
    check_is_one_line(run("new", "my.toml", "--data", data), "there already")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["a.txt", "--data", "x.npz"], "NAME.toml"),
        (["a.toml", "--data", "x.npz"], "no file or folder 'x.npz'"),
        (["a.toml", "--data", "runs"], "train-images-idx3-ubyte"),
        (["a.toml", "--data", "empty.csv"], "no CSV table"),
    ],
)
def test_new_refuses_what_is_no_data(run: Run, tmp_path: Path, arguments: list[str], part: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "empty.csv").touch()
    check_is_one_line(run("new", *arguments), part)
    assert not (tmp_path / "a.toml").exists()


# -- mistakes in a study file -----------------------------------------------------------------------------------------

BAD_STUDIES = {
    "unknown key": (("trials = 6", "trails = 6"), ["trails", "Did you mean 'trials'"]),
    "unknown nested key": (("batch_size = 32", "bach_size = 32"), ["bach_size", "Did you mean 'batch_size'"]),
    "unknown kind": (
        ('space = "dense"', "[space.modules]\nmax = 2\n[space.kinds.dnese]\nwidth = 8"),
        ["dnese", "Did you mean 'dense'"],
    ),
    "unknown space": (('"dense"', '"dnese"'), ["dnese", "Did you mean 'dense'"]),
    "unknown data set": (('"digits"', '"digts"'), ["digts", "Did you mean 'digits'"]),
    "unknown strategy": (("[stopping]", '[strategy]\nname = "evoluton"\n[stopping]'), ["Did you mean 'evolution'"]),
    "unknown stopping rule": (('name = "none"', 'name = "non"'), ["Did you mean 'none'"]),
    "unknown measure": (("[stopping]", "[measures.acuracy]\n[stopping]"), ["Did you mean 'accuracy'"]),
    "wrong type": (("trials = 6", 'trials = "six"'), ["trials", "six"]),
    "impossible number": (("epochs = 2", "epochs = 0"), ["training.epochs"]),
    "impossible range": (
        ('space = "dense"', "[space.modules]\nmax = 2\n[space.kinds.dense]\nwidth = { low = 9, high = 3 }"),
        ["below"],
    ),
    "no FLOPs budget": (("flops_budget = 100_000", ""), ["objective.flops_budget", "required"]),
    "a budget that nothing fits": (("100_000", "10"), ["FLOPs budget of 10"]),
    "an empty split": (("limit = 500", "limit = 3"), ["split"]),
    "a missing plugin": (("trials = 6", 'trials = 6\nplugins = ["mine.py"]'), ["mine.py", "cannot be read"]),
    "more trials than a database counts": (("trials = 6", "trials = 9999999999"), ["'trials'", "2147483647"]),
    "endless hours": (("trials = 6", "hours = inf"), ["'hours'", "finite"]),
    "settings at odds": (
        ("[stopping]", '[strategy]\nname = "evolution"\npopulation = 3\nsample = 9\n[stopping]'),
        ["strategy: the sample (9)"],
    ),
    "not TOML": (("[data]", "[data"), ["not valid TOML"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD_STUDIES)
def test_a_mistake_in_a_study_file_is_one_line_and_nothing_is_written(run: Run, tmp_path: Path, mistake: str) -> None:
    (old, new), parts = BAD_STUDIES[mistake]
    assert old in STUDY
    text = STUDY.replace(old, new)
    if new.startswith("[space"):  # tables follow the plain keys
        text = STUDY.replace(old, "").replace("[data]", f"{new}\n[data]")
    path = study_file(tmp_path, text=text)
    check_is_one_line(run("start", path), *parts)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("x", "y", "part"),
    [
        (np.full((40, 3), np.nan), np.arange(40) % 2, "NaN"),
        (np.ones((40, 3)), np.arange(40) % 2 * 2, "class 1 of 3 has none"),
        (np.ones((40, 3)), np.arange(39) % 2, "same number of examples"),
    ],
)
def test_data_that_cannot_be_used_are_refused(
    run: Run, tmp_path: Path, x: np.ndarray, y: np.ndarray, part: str
) -> None:
    np.savez(tmp_path / "my.npz", x=x, y=y)
    text = STUDY.replace('name = "digits"\nlimit = 500', 'name = "npz"\npath = "my.npz"')
    check_is_one_line(run("start", study_file(tmp_path, text=text)), part)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["start", "digits", "--trials", "0"],
        ["start", "digits", "--trials", "9999999999"],
        ["start", "digits", "--workers", "some"],
        ["start", "digits", "--workers", "0"],
        ["start", "digits", "--hours", "-1"],
        ["start"],
        ["strat"],
        ["start", "digits", "--no-such-option"],
        ["compare", "digits"],
        ["compare", "digits", "--strategies", "evoluton"],
        ["compare", "digits", "--strategies", "random", "--stopping", "halvin"],
        ["compare", "digits", "--strategies", "random", "--seeds", "0"],
        ["list", "things"],
    ],
)
def test_impossible_options_are_refused(run: Run, tmp_path: Path, arguments: list[str]) -> None:
    check_is_one_line(run(*arguments))
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["nasmod", "start", "dgits", "--debug"])
    with pytest.raises(nasmod.NasmodError, match="Did you mean 'digits'"):
        cli.main()
    check_is_one_line(run("start", "dgits"), "Did you mean 'digits'")


# -- mistakes with a database -----------------------------------------------------------------------------------------


def test_a_study_that_does_not_exist_lists_the_known(looking: Run) -> None:
    for command in (["status"], ["top"], ["show"], ["resume"], ["export", "-o", "x"]):
        check_is_one_line(looking(command[0], "smal", *command[1:]), "No study 'smal'", "Did you mean 'small'")
    check_is_one_line(looking("status", "smal", "--storage", "runs/small.db"), "Did you mean 'small'")


def test_another_definition_is_refused_with_the_difference(run: Run, own_copy: Path) -> None:
    path = study_file(own_copy, text=STUDY.replace("epochs = 2", "epochs = 3"))
    check_is_one_line(run("start", path), "training.epochs: 2 -> 3")


def test_the_budget_may_only_be_raised(run: Run, own_copy: Path) -> None:
    check_is_one_line(run("resume", "small", "--trials", 5), "may only be raised", "6", "5")


def test_the_same_study_is_joined_and_an_ended_one_shows_its_result(run: Run, own_copy: Path) -> None:
    for command in (["start", study_file(own_copy)], ["resume", "small"]):
        said = run(*command)
        assert said.code == 0
        assert "small has ended: the tests need no more" in said.out
        assert "nasmod export small -o exported/small" in said.out


def test_a_study_without_a_finished_candidate_exports_nothing(run: Run, own_copy: Path) -> None:
    with sqlite3.connect(own_copy / "runs" / "small.db") as connection:
        connection.execute("UPDATE candidates SET state = 'failed' WHERE role = 'search'")
    connection.close()
    check_is_one_line(run("export", "small", "-o", "x"), "No finished candidate")
    assert json.loads(run("top", "small", "--json").out) == []
    assert "No candidate has finished" in run("top", "small").out


def test_why_there_is_nothing_to_show_is_said_truly(run: Run, own_copy: Path) -> None:
    floors = own_copy / "floors.toml"
    floors.write_text("floors = { accuracy = 1.5 }")
    assert json.loads(run("rescore", "small", "--objective", floors, "--json").out) == []
    with sqlite3.connect(own_copy / "runs" / "small.db") as connection:
        connection.execute(
            "UPDATE candidates SET result = json_set(result, '$.measures.skill', 0.0) WHERE role = 'search'"
        )
    connection.close()
    assert "no candidate does better than chance" in run("top", "small").out
    with sqlite3.connect(own_copy / "runs" / "small.db") as connection:
        connection.execute(
            "UPDATE nasmod_studies SET definition = json_set(definition, '$.objective.floors.accuracy', 1.5)"
        )
    connection.close()
    said = run("top", "small").out
    assert "meets the floors" in said
    assert "nasmod resume" not in said


def test_other_data_are_refused_with_both_fingerprints(run: Run, own_copy: Path) -> None:
    with sqlite3.connect(own_copy / "runs" / "small.db") as connection:
        connection.execute("UPDATE nasmod_studies SET fingerprint = ?, state = 'searching'", ("f" * 64,))
    connection.close()
    check_is_one_line(run("resume", "small"), "f" * 16, "fingerprint")


def make_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def make_text(path: Path) -> None:
    path.write_text("no database at all, but a good deal longer than the header of one, which has a hundred bytes" * 3)


def make_foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (name TEXT)")
    connection.close()


def make_newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE nasmod_schema SET version = 99")
    connection.close()


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (make_truncated, "truncated"),
        (make_text, "not an SQLite database"),
        (make_foreign, "holds no nasmod studies"),
        (make_newer, "version 99"),
    ],
)
def test_a_database_that_cannot_be_used(run: Run, own_copy: Path, make: Callable[[Path], None], part: str) -> None:
    database = own_copy / "runs" / "small.db"
    make(database)
    before = database.read_bytes()
    for command in (["status", "small"], ["resume", "small"], ["start", study_file(own_copy)]):
        check_is_one_line(run(*command), part)
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    ("storage", "part"),
    [
        ("nowhere.db", "No database at"),
        ("postgresql+psycopg://nobody@127.0.0.1:9/none", "cannot be used"),
        ("mysql://nobody@127.0.0.1:9/none", "SQLite or PostgreSQL"),
        ("postgresql://nobody:secret@127.0.0.1:port/none", "neither a path nor"),
        ("postgresql+psycopg://nobody:secret@127.0.0.1:9/none", "cannot be used"),
        ("postgresql+psycopg://nobody:a@secret@127.0.0.1:9/none", "more than one '@'"),
        ("postgresql+psycopg://127.0.0.1:9/none?password=secret", "cannot be used"),
        ("sqlite://", "in-memory"),
        ("postgresql+pg8000://127.0.0.1:9/none", "driver 'pg8000'"),
        ("", "is empty"),
        (".", "is a folder"),
        ("a" * 300, "File name too long"),
        ("a\0b", "has a null character"),
    ],
)
def test_a_storage_that_is_not_there(run: Run, storage: str, part: str) -> None:
    said = run("status", "small", "--storage", storage)
    check_is_one_line(said, part)
    assert "secret" not in said.err


@pytest.mark.parametrize("storage", ["small.toml/a.db", "/proc/a.db", "/proc/none/a.db"])
def test_a_place_where_no_database_can_be_made(run: Run, tmp_path: Path, storage: str) -> None:
    check_is_one_line(run("start", study_file(tmp_path), "--storage", storage), "cannot be used")
    assert [found.name for found in tmp_path.iterdir()] == ["small.toml"]


def test_a_locked_database_is_not_waited_for_long(run: Run, own_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nasmod.study.database.BUSY_SECONDS", 1)
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: pytest.fail("it is tried again"))
    monkeypatch.setattr("nasmod.study.database.time", clock)
    other = sqlite3.connect(own_copy / "runs" / "small.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    for command in (["start", study_file(own_copy)], ["resume", "small"]):
        check_is_one_line(run(*command), "locked")
    other.close()


def test_where_no_log_can_be_written_nothing_is_searched(run: Run, own_copy: Path) -> None:
    (own_copy / "runs" / "small.logs").write_text("no folder")
    check_is_one_line(run("resume", "small", "--trials", 7, "--workers", 1), "log", "cannot be written")


# -- plugins ----------------------------------------------------------------------------------------------------------

BAD_PLUGINS = {
    "a mistake of syntax": ("def f(:", "cannot be imported: SyntaxError"),
    "one that raises": ("raise RuntimeError('one\\ntwo')", "cannot be imported: RuntimeError: one two"),
    "one that exits": ("import sys; sys.exit(0)", "cannot be imported: SystemExit"),
    "one without settings": (
        "from nasmod import registry\nregistry.register('strategy', 'no-settings', int, int)",
        "must be a pydantic model class",
    ),
    "one that names nothing": (
        "from nasmod import registry\nregistry.register('strategy', 'no-target', 'none:a', 'none:b')",
        "is not to be found in 'none:b'",
    ),
}


@pytest.mark.parametrize("mistake", BAD_PLUGINS)
@pytest.mark.usefixtures("register")
def test_a_plugin_that_cannot_be_used(run: Run, tmp_path: Path, mistake: str) -> None:
    source, part = BAD_PLUGINS[mistake]
    (tmp_path / "mine.py").write_text(source)
    text = 'plugins = ["mine.py"]\n' + STUDY
    for name in ("no-settings", "no-target"):
        if name in source:
            text += f'\n[strategy]\nname = "{name}"\n'
    check_is_one_line(run("start", study_file(tmp_path, text=text)), part)
    assert not (tmp_path / "runs").exists()


# -- searching for real -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_start_interrupt_resume_and_export_in_processes_of_their_own(tmp_path: Path) -> None:
    study_file(tmp_path, "real", STUDY.replace("trials = 6", "trials = 30"))
    process = subprocess.Popen(
        [*NASMOD, "start", "real.toml", "--workers", "2"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )

    def status() -> dict[str, object]:
        done = subprocess.run(
            [*NASMOD, "status", "real", "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def trained() -> int:
        try:
            found = nasmod.load("real", storage=tmp_path / "runs" / "real.db")
        except NasmodError:  # its database is not there yet
            return 0
        with closing(found):
            return found.status().trained

    deadline = time.monotonic() + 120
    while not trained() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "nasmod resume real" in err
    assert "Traceback" not in err
    assert status()["running"] == 0

    def call(*arguments: str) -> str:
        done = subprocess.run([*NASMOD, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    said = call("resume", "real", "--workers", "2")
    assert "30/30 trained" in said or "the budget is reached: 30" in said
    assert status()["trained"] == 30
    assert "largest absolute difference" in call("export", "real", "-o", "exported/real")


@pytest.mark.slow
def test_a_new_study_of_own_data_runs(tmp_path: Path) -> None:
    arrays(tmp_path, "table")
    for arguments in (["new", "my.toml", "--data", "table.csv"], ["start", "my.toml", "--trials", "3"]):
        done = subprocess.run([*NASMOD, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "the budget is reached: 3 candidates were trained" in done.stdout
