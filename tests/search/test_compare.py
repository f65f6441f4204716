"""Comparing strategies: what a comparison says of its runs, and real ones, made again where they were broken off."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import nasmod
from nasmod.errors import StudyError
from nasmod.measures import Objective
from nasmod.report.compared import comparison_row, comparison_table
from nasmod.report.plots import draw_comparison
from nasmod.search.compare import Variant, study_of, variants_of
from nasmod.search.comparison import Comparison, Ended, Run
from nasmod.study import Study, read
from tests.search.groups import wait_until

OBJECTIVE = Objective(flops_budget=1000, directions={"skill": "maximize", "flops": "minimize"})
STUDY = """
space = "tiny"
trials = 6
[data]
name = "digits"
limit = 300
[training]
epochs = 3
batch_size = 64
learning_rate = 8e-3
[objective]
flops_budget = 20_000
directions = { skill = "maximize", flops = "minimize" }
[strategy]
name = "evolution"
initial = 4
[stopping]
name = "none"
"""


def run(variant: str = "random", seed: int = 0, candidates: int = 8, stopped: float = 0.3) -> Run:
    """A run as a search leaves it, with some candidates stopped early."""
    generator = random.Random(f"{variant} {seed}")
    ended = []
    for number in range(1, candidates + 1):
        skill, flops = generator.random(), float(generator.randint(100, 900))
        finished = number == 1 or generator.random() > stopped
        score = OBJECTIVE.score({"skill": skill, "flops": flops}) if finished else None
        values = (skill, flops) if finished else None
        ended.append(Ended(4 * number, 2.0 * number, 1e6 * number, score, values))
    return Run(variant, seed, tuple(ended), "{}", {}, (0.5, 0.6))


def comparison(*runs: Run) -> Comparison:
    return Comparison("digits", OBJECTIVE, runs)


@given(st.integers(0, 50), st.integers(1, 12))
def test_best_scores_and_hypervolumes_never_fall_and_are_those_of_what_finished(seed: int, candidates: int) -> None:
    one, other = run("a", seed, candidates), run("b", seed, candidates)
    both = comparison(one, other)
    for made in (one, other):
        best, volumes = made.best_so_far(), both.hypervolumes(made)
        assert best == sorted(best)
        assert best[-1] == max(ended.score for ended in made.ended if ended.score is not None)
        assert volumes == sorted(volumes)
        assert 0 <= volumes[-1] <= 1 + 1e-9
    assert both.goal == min(one.best_so_far()[-1], other.best_so_far()[-1])
    assert all(made.trainings_to(both.goal) is not None for made in (one, other))
    assert Run.from_json(json.loads(json.dumps(one.to_json()))) == one


def test_the_hypervolume_is_that_of_all_runs_together() -> None:
    better = (Ended(1, 1, 1, 0.9, (0.9, 100.0)), Ended(2, 2, 2, 0.5, (0.5, 900.0)))
    worse = (Ended(1, 1, 1, 0.7, (0.7, 500.0)), Ended(2, 2, 2, None, None))
    both = comparison(Run("a", 0, better, "{}", {}, (0.9,)), Run("b", 0, worse, "{}", {}, (0.7,)))
    assert both.hypervolumes(both.runs[0]) == pytest.approx([1.0, 1.0])
    assert both.hypervolumes(both.runs[1]) == pytest.approx([0.25, 0.25])  # (.7 - .5) / .4 of the skill, half the FLOPs


def test_the_table_and_the_picture_have_every_strategy(tmp_path: Path) -> None:
    found = comparison(run("random", 0), run("random", 1), run("evolution", 0), run("evolution", 1))
    text = io.StringIO()
    Console(width=120, file=text).print(comparison_table(found))
    assert "0.550 ± 0.000" in text.getvalue()
    assert "2 study seeds each" in text.getvalue()
    assert set(json.loads(json.dumps(comparison_row(found)))["strategies"]) == {"random", "evolution"}
    files = [tmp_path / "comparison.png", tmp_path / "comparison.svg"]
    draw_comparison(found, files)
    assert files[0].read_bytes().startswith(b"\x89PNG")
    assert "evolution" in files[1].read_text() or b"<svg" in files[1].read_bytes()
    draw_comparison(comparison(run("random", 0)), files)  # one study seed has no band


@pytest.fixture
def study(tmp_path: Path) -> Study:
    path = tmp_path / "small.toml"
    path.write_text(STUDY)
    return read(path)


def test_a_run_has_the_study_s_settings_where_it_names_the_same_strategy(study: Study) -> None:
    own, other, plain = variants_of(study, ["evolution", "random", "optuna-tpe-median"])
    assert [variant.name for variant in (own, other, plain)] == ["evolution.none", "random.none", "optuna-tpe-median"]
    assert study_of(study, own, 7).strategy == {"name": "evolution", "initial": 4}
    made = study_of(study, other, 7)
    assert (made.name, made.seed, made.finalists, made.strategy) == ("small.random.none.7", 7, 0, {"name": "random"})
    assert variants_of(study, ["random", "optuna-tpe-median"], ["halving", "none"]) == [
        Variant("random", "halving"), Variant("random", "none"), Variant("optuna-tpe-median", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"strategies": ["evoluton"]}, "No strategy 'evoluton'. Did you mean 'evolution'?"),
        ({"strategies": ["random"], "stopping": ["halvin"]}, "No stopping rule 'halvin'. Did you mean 'halving'?"),
        ({"strategies": ["random"], "seeds": 0}, "at least one study seed"),
        ({"strategies": ["random"], "workers": 0}, "from 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(study, tmp_path, asked, words) -> None:
    with pytest.raises(StudyError, match=words):
        nasmod.compare(study, output=tmp_path / "out", storage=tmp_path / "runs.db", **asked)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs.db").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"definition": {}, "runs": [{"variant": 3}]}'])
def test_a_damaged_file_of_runs_is_named_in_one_line(study: Study, tmp_path: Path, text: str) -> None:
    (tmp_path / "comparison.json").write_text(text)
    with pytest.raises(StudyError, match=r"comparison.json' is not what a comparison keeps"):
        nasmod.compare(study, ["random"], output=tmp_path, storage=tmp_path / "runs.db")


@pytest.mark.slow
def test_a_comparison_killed_at_any_time_goes_on_and_keeps_what_it_had(study: Study, tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "nasmod.cli", "compare", str(tmp_path / "small.toml"), "--seeds", "1", "--fresh", "2"),
        *("--strategies", "random,evolution,optuna-tpe-median", "--workers", "2"),
    ]
    with (tmp_path / "log").open("w") as log:
        killed = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    kept = tmp_path / "compared" / "small" / "comparison.json"
    wait_until(lambda: kept.exists() or killed.poll() is not None)
    assert killed.poll() is None, (tmp_path / "log").read_text()
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    before = json.loads(kept.read_text())["runs"]
    assert [made["variant"] for made in before] == ["random.none"]

    told: list[str] = []
    chosen = {"seeds": 1, "fresh": 2, "output": kept.parent, "storage": tmp_path / "runs" / "compare-small.db"}
    strategies = ["random", "evolution", "optuna-tpe-median"]
    found = nasmod.compare(study, strategies, workers=2, on_run=lambda own: told.append(own.name), **chosen)
    assert told == ["small.evolution.none.0", "small.optuna-tpe-median.0"]
    assert [made.to_json() for made in found.of("random.none")] == [Run.from_json(before[0]).to_json()]
    assert [len(made.ended) for made in found.runs] == [6, 6, 6]
    assert all(len(made.fresh) == 2 and min(made.fresh) > 0 for made in found.runs)
    assert all(ended.epochs > 0 and ended.flops > 0 for made in found.runs for ended in made.ended)
    for variant in ("random.none", "evolution.none"):  # an ordinary study: its records say the same
        records = nasmod.load(f"small.{variant}.0", storage=chosen["storage"]).records()
        (made,) = found.of(variant)
        assert max(record.score for record in records if record.state == "finished") == made.best_so_far()[-1]
    trials = optuna.load_study(
        study_name="small.optuna-tpe-median.0", storage=f"sqlite:///{chosen['storage']}"
    ).get_trials()
    assert max(trial.value for trial in trials if trial.state.name == "COMPLETE") >= found.runs[-1].best_so_far()[-1]
    with pytest.raises(StudyError, match=r"runs of another definition .*trials: 6 -> 7"):
        nasmod.compare(study, strategies, trials=7, **chosen)
