"""The page of a study: what stands on it, that it needs no network, and that a browser shows it."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

import nasmod
from nasmod.api import SearchStudy
from nasmod.errors import StudyError
from nasmod.report.importance import FEWEST, descriptors, importances
from nasmod.report.notebook import study_html
from nasmod.report.page import DRAWN, Reported, page_of, write_page
from nasmod.report.svg import svg
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal
from nasmod.testing.strategies import made_up
from nasmod.topology import Topology


@pytest.fixture(scope="module")
def study(small_study: Path) -> SearchStudy:
    return nasmod.load("small", storage=small_study / "runs" / "small.db")


@pytest.fixture(scope="module")
def reported(study: SearchStudy) -> Reported:
    stored = study.stored
    return Reported(
        study.study, study.overview(), study.records(), stored.factors, None, study.storage, stored.versions
    )


def data_of(page: str) -> dict:
    """What stands in the page's JSON element, as a browser reads it."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_every_trained_candidate_is_on_the_page_and_the_best_are_drawn(reported: Reported, study: SearchStudy):
    page = page_of(reported)
    rows = {row["label"]: row for row in page["rows"]}
    assert rows.keys() == {record.label for record in study.records() if record.score is not None}
    assert page["best"] == study.best.label
    assert {label for label, row in rows.items() if row.get("front")} == {one.label for one in study.front()}
    assert {row.get("reference") for row in rows.values()} - {None} == {one.reference for one in study.references()}
    for record in study.top():
        row = rows[record.label]
        assert row["at"][:2] == pytest.approx([record.measures["flops"], record.measures["skill"]], rel=1e-5)
        assert row["svg"].startswith("<svg")
        assert len(row["curve"]) == len(record.curve)


def test_the_sentences_say_what_was_asked_and_found(reported: Reported, study: SearchStudy):
    asked, found, gain = page_of(reported)["sentences"]
    assert asked.startswith(f"{study.study.trials} topologies were to be trained on digits, up to ")
    assert found.startswith(f"The best, {study.best.label}, has a score of ")
    assert gain == study.gain()


def test_the_page_needs_no_network_and_runs_no_text(reported: Reported, tmp_path: Path):
    hostile = "</script><script>alert(1)</script><!--"
    records = [replace(record, reason=hostile) for record in reported.records]
    write_page(replace(reported, records=records), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert hostile not in page
    assert data_of(page)["rows"][0]["reason"] == hostile


def test_text_in_a_picture_is_escaped(study: SearchStudy):
    topology = study.best.proposal.topology
    first, *others = topology.nodes
    named = Topology((replace(first, params={"name": "<b>&"}), *others))
    record = replace(study.best, proposal=replace(study.best.proposal, topology=named))
    assert "&lt;b&gt;&amp;</text>" in svg(record)
    assert "<b>" not in svg(record)


def test_a_notebook_shows_what_was_asked_and_found_and_the_best(study: SearchStudy):
    shown = study._repr_html_()
    root = ElementTree.fromstring(shown)
    paragraphs = [paragraph.text for paragraph in root.iter("p")]
    assert paragraphs[0].startswith("6 topologies were to be trained on digits")
    assert paragraphs[2].startswith(f"The best, {study.best.label}, has a score of ")
    assert svg(study.best) in shown
    assert repr(study.best).startswith(f"<Record {study.best.label}: finished, score 0.")


def test_a_notebook_shows_a_study_in_which_nothing_has_finished(study: SearchStudy):
    shown = study_html(study.study, study.status(), [replace(record, state="stopped") for record in study.records()])
    assert "topologies were to be trained" in shown
    assert "svg" not in shown


def test_a_study_without_a_finished_candidate_has_no_page(reported: Reported, tmp_path: Path):
    unfinished = [replace(record, state="stopped") for record in reported.records]
    with pytest.raises(StudyError, match="No finished candidate yet"):
        write_page(replace(reported, records=unfinished), tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def many(reported: Reported) -> Reported:
    """A page of ten thousand made-up candidates."""
    table = {"modules": {"min": 1, "max": 6}, "kinds": {"dense": {"width": [8, 16, 32, 64], "depth": [1, 2, 3]}}}
    space, generator = Space(SpaceFile.from_table(table), {"x": (64,)}, {"y": (10,)}), random.Random(0)
    drawn = (Proposal(*space.random(generator)) for _ in range(10_000))
    made = (made_up(space, proposal, number, reported.study.objective) for number, proposal in enumerate(drawn))
    records = [replace(record, key=f"{record.key} {record.id}") for record in made]  # as if none came twice
    return replace(reported, records=records)


def test_of_ten_thousand_candidates_the_best_are_drawn_and_the_page_is_small(many: Reported, tmp_path: Path):
    write_page(many, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < 15e6
    rows = data_of((tmp_path / "page.html").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == 10_000
    assert sum("svg" in row for row in rows) == DRAWN


def test_what_decides_the_score_is_most_important(many: Reported):
    found = importances(many.records[:200])  # their score is made of the number of modules
    assert found.explained > 0.8
    assert next(iter(found.of)) == "modules"
    assert importances(many.records[: FEWEST - 1]) is None


def test_descriptors_speak_of_kinds_sizes_and_settings(study: SearchStudy):
    record = replace(study.best, proposal=replace(study.best.proposal, settings={"augment": "shift", "batch_size": 64}))
    found = descriptors(record)
    assert {"modules", "depth", "wiring density", "share of dense", "dense width", "augment shift"} < found.keys()
    assert found["share of dense"] == 1.0
