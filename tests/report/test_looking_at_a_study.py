"""Tables, pictures and progress of a real small study: what stands in them, and that it fits the terminal."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

import nasmod
from nasmod.api import SearchStudy
from nasmod.report import ProgressView, draw_curve, full_row, show, top_rows, top_table
from nasmod.report.figures import NONE, figure, seconds
from nasmod.report.progress import running_lines
from nasmod.report.small_front import draw_front
from nasmod.report.tables import gain_line
from nasmod.search.run import Progress


@pytest.fixture(scope="module")
def study(small_study: Path) -> SearchStudy:
    return nasmod.load("small", storage=small_study / "runs" / "small.db")


def text_of(shown: RenderableType, columns: int = 80) -> str:
    text = io.StringIO()
    Console(width=columns, file=text).print(shown)
    return text.getvalue()


def test_the_top_table_fits_eighty_columns_with_the_references_below(study: SearchStudy) -> None:
    text = text_of(top_table(study.top(), study.front(), study.references(), study.study.objective))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    shown = [line for line in lines if "#" in line or "monolith" in line]
    assert [line.split()[0].lstrip("★") or line.split()[1] for line in shown][-1] == "monolith"
    assert len(shown) == 5  # four finished, and the one of them that is a simple wiring again
    assert sum("★" in line for line in shown[:4]) == len(study.front())
    assert all("±" in line for line in shown)


def test_the_small_front_has_a_point_a_candidate_and_its_ends_at_the_axes(study: SearchStudy) -> None:
    text = draw_front(study.top(), study.front(), study.study.objective, rows=5, columns=40)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 48
    skills = [record.measures["skill"] for record in study.top()]
    assert lines[0].startswith(f"{max(skills):.3f} │")
    assert lines[4].startswith(f"{min(skills):.3f} │")
    assert 1 <= text.count("★") <= len(study.front())
    assert lines[-1].endswith(" FLOPs")
    assert draw_front(study.top()[:1], study.front(), study.study.objective) == ""


def test_what_is_trained_at_the_moment_has_a_line(study: SearchStudy) -> None:
    record = replace(study.best, state="running", curve=study.best.curve[:1])
    (line,) = running_lines([record, study.best])
    assert line.startswith(f"  {record.label}: epoch 2, ")
    assert list(running_lines([record] * 10))[-1] == "  and 2 more"


def test_what_candidates_are_worth_has_a_column_where_it_is_known(study: SearchStudy) -> None:
    best, *others = study.top()
    text = text_of(top_table([best, *others], [], [], study.study.objective, {best.key: 0.8765}), 100)
    assert "worth" in text.splitlines()[1]
    (known, *unknown) = [line for line in text.splitlines() if "#" in line]
    assert "0.876" in known or "0.877" in known
    assert unknown
    assert all(NONE in line for line in unknown)
    assert study.worth() == {}  # of so few nothing is estimated
    assert [row["worth"] for row in top_rows([best, *others], [], {best.key: 0.5})] == [0.5] + [None] * len(others)


def test_what_was_gained_over_the_best_simple_wiring_is_told(study: SearchStudy) -> None:
    objective, simple = study.study.objective, study.references()[0]
    assert gain_line(simple, [simple], objective) == (
        f"The search found nothing better than a simple wiring, {simple.label}: one dense module of width 128."
    )
    best, simple = (
        replace(record, key=key, score=score, repeats=3, standard_errors={"skill": 0.03})
        for key, score, record in (("a", 0.9, study.best), ("b", 0.8, simple))
    )
    said = gain_line(best, [replace(simple, score=0.95, repeats=0), simple], objective)  # that one was lucky
    assert re.fullmatch(r"The search gained 0\.100 ± 0\.0\d\d over the best simple wiring, #0: one dense .*\.", said)
    assert "(single trainings, of which the best is lucky)" in gain_line(replace(best, repeats=0), [simple], objective)


def test_training_settings_that_were_searched_are_told(study: SearchStudy) -> None:
    best, simple = (
        replace(record, key=key, proposal=replace(record.proposal, settings={"learning_rate": rate, "batch_size": 64}))
        for key, rate, record in (("a", 0.01234, study.best), ("b", 0.004, study.references()[0]))
    )
    assert gain_line(best, [simple], study.study.objective).endswith(
        " Trained with learning_rate 0.0123, batch_size 64; the simple wiring with learning_rate 0.004, batch_size 64."
    )
    again = replace(best, proposal=replace(simple.proposal, settings=best.proposal.settings))
    assert " By its training settings alone: " in gain_line(again, [simple], study.study.objective)
    assert "trained with: learning_rate 0.0123, batch_size 64" in text_of(show(best, [], study.study.objective))
    plain = replace(best, proposal=replace(best.proposal, settings={}))
    assert "trained with" not in text_of(show(plain, [], study.study.objective))


def test_show_tells_everything_of_a_finished_candidate(study: SearchStudy) -> None:
    record = study.record(1)
    text = text_of(show(record, study.records(), study.study.objective), 100)
    for part in (record.key, "it ran to its end", "random, drawn for a test", "│ x │", "modularity", "over 2 epochs"):
        assert part in text
    modules = record.measures["modules"]
    # each in the table of modules, and in that of roles
    assert sum(line.strip().startswith("dense_") for line in text.splitlines()) == 2 * modules


def test_show_names_the_parent_the_reason_and_the_traceback(study: SearchStudy) -> None:
    objective = study.study.objective
    by_state = {record.state: record for record in study.records()}
    stopped = text_of(show(by_state["stopped"], study.records(), objective), 100)
    assert "stopped: score 0.4 at epoch 1 is under the cut of 0.6" in stopped
    assert "(parent #0)" in stopped
    failed = text_of(show(by_state["failed"], study.records(), objective), 100)
    assert "failed: ValueError: too odd" in failed
    assert "Traceback" in failed
    assert "queued" in text_of(show(by_state["queued"], study.records(), objective), 100)


def test_rows_are_plain_data(study: SearchStudy) -> None:
    record = replace(study.best, measures={**study.best.measures, "odd": float("nan")})
    (row,) = top_rows([record], [record])
    assert row["on_front"]
    assert row["measures"]["odd"] is None
    full = full_row(record, True)
    assert full.keys() > row.keys()
    assert full["topology"]["nodes"]


@pytest.mark.parametrize(
    ("value", "shown"), [(math.inf, "∞"), (-math.inf, "-∞"), (math.nan, NONE), (-4.9184e76, "-4.92e+76")]
)
def test_measures_that_are_not_finite_and_huge_ones_fit_where_others_do(
    study: SearchStudy, value: float, shown: str
) -> None:
    names = ["accuracy", "test_accuracy", "modularity", "test_loss", "information.dense_1"]
    record = replace(
        study.best,
        measures={**study.best.measures, **dict.fromkeys(names, value)},
        standard_errors=dict.fromkeys(names, math.inf),
        curve=tuple({**point, "validation_accuracy": value} for point in study.best.curve),
    )
    table = text_of(top_table([record], [record], [], study.study.objective))
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table
    assert table.count(shown) == 3
    told = text_of(show(record, [record], study.study.objective), 100)
    assert told.count(shown) >= len(names)
    assert "inf" not in told.replace("information", "")


@pytest.mark.parametrize(("value", "shown"), [(math.inf, "∞"), (-math.inf, "-∞"), (math.nan, NONE)])
def test_times_and_counts_that_are_not_finite_are_shown(value: float, shown: str) -> None:
    assert figure("latency", value) == figure("parameters", value) == seconds(value) == shown


def test_a_curve_is_of_its_finite_values() -> None:
    points = [{"epoch": 1, "a": math.nan}, {"epoch": 2, "a": 0.5}, {"epoch": 3, "a": math.inf}, {"epoch": 4, "a": 1.0}]
    assert draw_curve(points, "a") == draw_curve(points[1::2], "a")
    assert draw_curve(points[:1], "a") == "finite in no epoch"


def test_progress_tells_the_counts_and_the_best(study: SearchStudy) -> None:
    view = ProgressView(study.study.objective)
    progress = Progress(study.status(), study.records(), 2, 12.0)
    live = text_of(view.live(progress))
    line = view.line(progress)
    for text in (live, line or ""):
        for part in ("5/6 trained", f"best so far: {study.best.label}", "1 duplicates", "1 failed", "1 stopped early"):
            assert part in " ".join(text.split())


def test_a_plain_line_comes_only_now_and_then(study: SearchStudy) -> None:
    view = ProgressView(study.study.objective)
    progress = Progress(study.status(), study.records(), 2, 12.0)
    assert view.line(progress) is not None
    assert view.line(replace(progress, status=replace(progress.status, trained=6))) is None


def test_progress_of_a_study_without_results(study: SearchStudy) -> None:
    view = ProgressView(study.study.objective)
    queued = [replace(record, state="queued") for record in study.records() if record.reference]
    text = text_of(view.live(Progress(replace(study.status(), state="searching"), queued, 2, 1.0)))
    assert "no candidate has finished yet" in text
    assert "training simple wirings first" in text


def test_a_long_curve_is_thinned_and_its_last_epoch_kept() -> None:
    drawn = draw_curve([{"epoch": n + 1, "a": float(n)} for n in range(500)], "a", columns=40)
    assert max(map(len, drawn.splitlines())) < 60
    assert "500" in drawn
    assert "499" in drawn


def test_a_flat_curve_and_an_empty_one_are_drawn() -> None:
    assert "1.000" in draw_curve([{"epoch": 1, "a": 1.0}], "a")
    assert draw_curve([], "a") == "no epoch trained yet"
