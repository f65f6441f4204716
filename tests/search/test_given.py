"""Topologies of a person in a study: filed whole or not at all, and trained like any other candidate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import nasmod
from nasmod.api import SearchStudy
from nasmod.errors import NasmodError
from nasmod.topology import Topology


def chain(*widths: int, **params: object) -> Topology:
    """Dense modules one after the other, in the form of a file of a person: what is left out has its default."""
    modules = [
        {
            "kind": "dense",
            "inputs": [index],
            "params": {"width": width, "activation": "gelu", "residual": True, **params},
        }
        for index, width in enumerate(widths)
    ]
    x = {"kind": "input", "inputs": [], "params": {"name": "x"}}
    y = {"kind": "output", "inputs": [len(widths)], "params": {"name": "y"}}
    return Topology.from_json(json.dumps({"version": 1, "nodes": [x, *modules, y]}))


@pytest.fixture
def study(small_study: Path, tmp_path: Path) -> SearchStudy:
    """A copy of the small study, which has ended."""
    shutil.copy(small_study / "runs" / "small.db", tmp_path / "small.db")
    return nasmod.load("small", storage=tmp_path / "small.db")


@pytest.mark.slow
def test_what_is_enqueued_is_trained_by_whoever_searches(study: SearchStudy, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(chain(16, 8).to_json())
    first, second = study.enqueue(tmp_path / "mine.json", chain(32))
    assert (first.state, second.state) == ("queued", "queued")
    assert first.proposal.origin == {
        "strategy": "enqueued",
        "why": f"given by a person in {tmp_path / 'mine.json'}",
    }
    assert first.proposal.topology.nodes[1].params["depth"] == 1  # written out, as the space's own are
    again = nasmod.resume("small", storage=study.storage, trials=8, workers=1)
    assert [again.record(record.key).state for record in (first, second)] == ["finished"] * 2
    assert again.status().trained == 8


def test_bad_topologies_are_told_in_one_line_and_nothing_is_filed(study: SearchStudy, tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("{")
    known = study.references()[0]  # trained with the study's own settings, as what a person gives is
    before = study.records()
    for given, says in [
        (tmp_path / "no.json", "no.json: "),
        (tmp_path / "nowhere.json", "cannot be read: No such file"),
        (chain(7), "The topology is outside the study's space: Parameter 'width' of the kind 'dense' is never 7"),
        (chain(128, 128, 128, 128, depth=3), "is over the budget of 100000"),
        (known.proposal.topology, "#0 is the same candidate"),
        (chain(16, 16), "another of these files is the same candidate"),
    ]:
        with pytest.raises(NasmodError, match=says) as raised:
            study.enqueue(chain(16, 16), given)
        assert "\n" not in str(raised.value)
    assert study.records() == before
