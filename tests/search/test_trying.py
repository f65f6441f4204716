"""Trying a topology is training it as the study does, by Python and by `nasmod try`; every training is a real one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import nasmod
from nasmod import cli
from nasmod.errors import StudyError, TopologyError
from nasmod.measures import Measured, mean_of
from nasmod.measures.roles import to_json
from nasmod.modules import check_params
from nasmod.search.asking import Asked
from nasmod.search.candidate import CandidateTraining
from nasmod.study import Proposal, candidate_key, candidates, records
from nasmod.topology import Node, Topology

STUDY = """
space = "dense"
seed = 4
plugins = ["odd.py"]
[data]
name = "digits"
limit = 300
[training]
epochs = 1
batch_size = 8
learning_rate = 1e-2
[objective]
flops_budget = 40_000
"""

# a kind whose network gives what is no number once it is trained
PLUGIN = """
from nasmod import register
from nasmod.modules import Parameters

class NoNumbers:
    class Parameters(Parameters):
        pass

    accepts = (1,)

    def output_shape(self, shape, params):
        return shape

    def arguments(self, shape, params):
        return {"features": shape[0]}

    def network(self):
        from torch import nn

        class Infinite(nn.Linear):
            def __init__(self, features):
                super().__init__(features, features)

            def forward(self, x):
                return super().forward(x) * float("nan")

        return Infinite

register("kind", "no_numbers", NoNumbers, NoNumbers.Parameters)
"""

X = {"kind": "input", "inputs": [], "params": {"name": "x"}}
DENSE = {"kind": "dense", "inputs": [0], "params": {"width": 8}}
Y = {"kind": "output", "inputs": [1], "params": {"name": "y"}}


def text(*nodes: dict[str, object]) -> str:
    return json.dumps({"version": 1, "nodes": nodes})


GOOD = text(X, DENSE, Y)


@pytest.fixture
def folder(tmp_path: Path, register: Callable[..., None]) -> Path:
    """A folder with a study and a topology; what its plugin registers is forgotten afterwards."""
    (tmp_path / "small.toml").write_text(STUDY)
    (tmp_path / "odd.py").write_text(PLUGIN + f"# {tmp_path}\n")  # content that was loaded once is not loaded again
    (tmp_path / "mine.json").write_text(GOOD)
    return tmp_path


@pytest.fixture
def run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., SimpleNamespace]:
    """Run `nasmod try small.toml ARGUMENTS` in the folder."""
    monkeypatch.chdir(folder)

    def call(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["nasmod", "try", "small.toml", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return SimpleNamespace(code=ended.value.code, out=said.out, err=said.err)

    return call


def steady(values: dict[str, float]) -> dict[str, float]:
    """Measures without those that tell the time."""
    return {name: value for name, value in values.items() if not name.startswith(("latency", "seconds"))}


def test_a_candidate_and_its_repeats_reach_in_the_study_what_they_reach_when_tried(
    make_study: Callable, start: Callable
) -> None:
    stored, context = start(make_study(epochs=1))
    topology, settings = context.space.decode({})
    assert settings == context.space.default_settings != {}
    for repeat in range(2):
        proposal = context.counted(
            Proposal(topology, settings, origin={"repeat_of": candidate_key(topology, settings)})
        )
        key, parameters = candidate_key(topology, settings, repeat), context.space.encode(topology, settings)
        candidates.propose(stored.database, stored.id, key, proposal, parameters)
        held = candidates.claim(stored.database, stored.id, "w", context.distributions)
        CandidateTraining(context, stored.database, held, "cpu", Asked()).run()
    every = records.read_records(stored)
    assert [record.state for record in every] == ["finished"] * 2
    values, errors, roles = mean_of([Measured(dict(r.measures), dict(r.standard_errors), r.roles) for r in every])
    score = context.objective.score(values)
    mean = replace(every[0], measures=values, standard_errors=errors, roles=roles, score=score)

    once, twice = (nasmod.try_topology(context.study, topology, seeds=seeds) for seeds in (1, 2))
    for tried, record in [(once, every[0]), (twice, mean)]:
        assert steady(tried.measures) == steady(record.measures)
        assert steady(tried.standard_errors) == steady(record.standard_errors)
        assert tried.score == record.score
        assert to_json(tried.roles) == to_json(record.roles) != {}
        note = "The study searches training settings too: trained with learning_rate 0.002, label_smoothing 0.0."
        assert (tried.reason, tried.notes, tried.file) == (None, (note,), None)


def test_what_is_left_out_of_a_file_is_written_out_and_what_is_dead_is_left_out(folder: Path) -> None:
    dead = {"kind": "of_nobody", "inputs": [0], "params": {}}
    (folder / "dead.json").write_text(text(X, DENSE, Y, dead))
    whole = Topology(
        (
            Node("input", (), {"name": "x"}),
            Node("dense", (0,), check_params("dense", {"width": 8}).model_dump()),
            Node("output", (1,), {"name": "y"}),
        )
    )
    told = []
    found = nasmod.try_topology(
        folder / "small.toml", folder / "dead.json", seeds=1, on_epoch=lambda *epoch: told.append(epoch)
    )
    assert found.topology.key == whole.key
    assert [(number, epoch.number) for number, epoch in told] == [(1, 1)]
    assert steady(found.measures) == steady(nasmod.try_topology(folder / "small.toml", whole, seeds=1).measures)
    with pytest.raises(StudyError, match="at least 1 seed"):
        nasmod.try_topology(folder / "small.toml", whole, seeds=0)
    with pytest.raises(TopologyError, match=r"The topology: No input of the data 'z'"):
        nasmod.try_topology(
            folder / "small.toml", Topology((Node("input", (), {"name": "z"}), *whole.nodes[1:])), seeds=1
        )
    assert not (folder / "runs").exists()


def test_json_is_all_that_stands_on_standard_output(run: Callable[..., SimpleNamespace], folder: Path) -> None:
    said = run("mine.json", "--seeds", "2", "--json")
    assert said.code == 0
    (found,) = json.loads(said.out)
    assert found.keys() == {
        "file", "seeds", "score", "measures", "standard_errors", "roles", "reason", "notes",
    }  # fmt: skip
    assert (found["file"], found["seeds"], found["reason"]) == ("mine.json", 2, None)
    assert 0 < found["score"] < 1
    assert {"accuracy", "test_accuracy", "modularity", "flops"} <= found["measures"].keys()
    assert "accuracy" in found["standard_errors"]
    (shares,) = found["roles"].values()
    assert all(len(share) == 2 for share in shares.values())
    assert "mine.json: training 2 of 2: epoch 1 of 1" in said.err


def test_one_file_is_shown_from_all_sides(run: Callable[..., SimpleNamespace]) -> None:
    said = run("mine.json", "--seeds", "1")
    assert said.code == 0
    for part in ("training 1 of 1", "one training", "│ x │", "dense_1", "carries", "test_accuracy", "modularity"):
        assert part in said.out
    assert said.err == ""


def test_several_files_are_a_table_and_one_that_fails_keeps_none_from_its_result(
    run: Callable[..., SimpleNamespace], folder: Path
) -> None:
    (folder / "odd.json").write_text(text(X, {"kind": "no_numbers", "inputs": [0], "params": {}}, Y))
    (folder / "large.json").write_text(text(X, {**DENSE, "params": {"width": 400}}, Y))
    said = run("odd.json", "large.json", "mine.json", "--seeds", "1")
    assert said.code == 1
    assert "odd.json failed: Training 1 of 1 failed: The loss is not finite after epoch 1" in said.out
    assert "odd.json: Outside the study's space: No kind of this space 'no_numbers'" in said.out
    assert "large.json: The study would not train it, and its score is 0: flops" in said.out
    heading = next(line for line in said.out.splitlines() if " file " in line)
    assert heading.split() == ["file", "score", "accuracy", "on", "test", "modularity", "FLOPs", "modules"]
    rows = {
        line.split()[0]: line.split()[1:]
        for line in said.out.splitlines()
        if line.strip().endswith(("dense", "numbers"))
    }
    assert rows.keys() == {"odd.json", "large.json", "mine.json"}
    assert rows["large.json"][0] == "0.000"
    assert float(rows["mine.json"][0]) > 0


BAD = {
    "no file": (None, "cannot be read: No such file or directory"),
    "not JSON": ("{", "not JSON"),
    "no text": (b"\xff\xfe", "not a text"),
    "another JSON": ("[]", "'version' is missing"),
    "another form": (text({**DENSE, "inputs": "x"}), "'inputs' must be a list"),
    "a cycle": (text(X, {**DENSE, "inputs": [1]}, Y), "may only read earlier nodes"),
    "an unknown kind": (text(X, {**DENSE, "kind": "dnese"}, Y), "Did you mean 'dense'?"),
    "an unknown parameter": (text(X, {**DENSE, "params": {"widht": 8}}, Y), "Did you mean 'width'?"),
    "a parameter that the kind refuses": (text(X, {**DENSE, "params": {"width": -8}}, Y), "Parameter 'width'"),
    "another input": (text({**X, "params": {"name": "z"}}, DENSE, Y), "No input of the data 'z'"),
    "another output": (text(X, DENSE, {**Y, "params": {"name": "z"}}), "No output of the data 'z'"),
    "an unknown merge": (
        text(X, DENSE, {"kind": "dense", "inputs": [0, 1], "params": {"merge": "add"}}, {**Y, "inputs": [2]}),
        "No merge 'add'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", BAD)
def test_a_bad_file_is_one_line_that_names_it_and_nothing_is_trained(
    run: Callable[..., SimpleNamespace], folder: Path, mistake: str
) -> None:
    content, part = BAD[mistake]
    if content is not None:
        (folder / "bad.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    said = run("mine.json", "bad.json")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("nasmod: ")
    assert said.err.count("\n") == 1
    assert "bad.json" in said.err
    assert part in said.err


@pytest.mark.parametrize(("arguments", "part"), [(["mine.json", "--seeds", "0"], "--seeds"), ([], "TOPOLOGY")])
def test_impossible_arguments_are_refused(run: Callable[..., SimpleNamespace], arguments: list[str], part: str) -> None:
    said = run(*arguments)
    assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert part in said.err


@pytest.mark.slow
def test_an_interrupted_trial_ends_with_one_line(folder: Path) -> None:
    command = [sys.executable, "-m", "nasmod.cli", "try", "small.toml", "mine.json", "--seeds", "100000"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert first.startswith("mine.json: training 1 of 100000")
    assert process.returncode == 130
    assert err.strip() == "Stopped; what was trained is not stored."
