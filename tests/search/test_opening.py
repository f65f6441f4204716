"""Seeds: topologies of files and of other studies with which a study opens, checked before anything is stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import nasmod
from nasmod.errors import NasmodError, StudyError
from nasmod.search import feasibility
from nasmod.search.context import bring_to_life
from nasmod.search.opening import opening
from nasmod.study import read
from nasmod.study import records as reading
from nasmod.topology import Node, Topology
from tests.filled import filled_study

ROW = Topology(
    (
        Node("input", (), {"name": "x"}),
        *[Node("dense", (0,), {"width": 16, "activation": "gelu", "residual": True})] * 2,
        Node("output", (1, 2), {"name": "y"}),
    )
)


def test_only_the_first_of_each_sort_of_reference_has_the_studys_own_settings(make_study) -> None:
    context = bring_to_life(make_study(references="true", trials=200))
    made = list(opening(context).values())
    first = {str(one.origin["reference"]): one for one in reversed(made)}
    assert {one.settings == context.space.default_settings for one in first.values()} == {True}
    others = [one for one in made if one not in first.values()]
    rates = [one.settings["learning_rate"] for one in others]
    own = context.space.default_settings["learning_rate"]
    assert 0.25 < sum(rate == own for rate in rates) / len(rates) < 0.75
    assert len({rate for rate in rates if rate != own}) == sum(rate != own for rate in rates)
    assert all(context.space.encode(one.topology, one.settings) for one in made)
    assert [one.settings for one in opening(bring_to_life(context.study)).values()] == [one.settings for one in made]


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """A file with two parallel modules."""
    file = tmp_path / "row.json"
    file.write_text(ROW.to_json())
    return file


def test_seeds_of_files_come_first_and_the_references_after_them(make_study, chain) -> None:
    context = bring_to_life(make_study(top='seeds = ["row.json"]', references="true", trials=8))
    feasibility.check(context)
    first, *others = opening(context).values()
    assert first.origin == {"strategy": "seeds", "why": "a seed, row.json"}
    assert first.topology.nodes[1].params["depth"] == 1  # every parameter is written out, as in the space
    assert first.settings == context.space.default_settings
    assert [made.origin["strategy"] for made in others] == ["references"] * 2
    chain.unlink()
    assert bring_to_life(context.study).study.seeds == context.study.seeds  # no other file is needed to go on


def test_the_front_of_another_study_comes_with_the_settings_it_did_well_with(make_study, tmp_path) -> None:
    other = filled_study(tmp_path, "other")
    records = reading.read_records(other)
    front = reading.front(records, other.study.objective)
    whole = make_study(top='seeds = [{study = "other", storage = "runs/other.db"}]')
    assert [seed.source for seed in whole.seeds] == [f"{record.label} of other" for record in front]
    cheap = next(record for record in records if record.state == "finished" and record.measures["flops"] < 40_000)
    one = f'seeds = [{{study = "other", storage = "runs/other.db", trials = [{cheap.number}]}}]'
    (made,) = opening(bring_to_life(make_study(top=one))).values()
    assert made.topology.key == cheap.proposal.topology.key
    assert made.settings == cheap.proposal.settings
    assert made.origin["why"] == f"a seed, {cheap.label} of other"
    with pytest.raises(NasmodError, match=f"seeds: {cheap.label} of other is outside the study's space"):
        opening(bring_to_life(make_study(top=one, space="tiny")))


@pytest.mark.parametrize(
    ("seeds", "words"),
    [
        ('"row.json"', "is a list"),
        ('["nowhere.json"]', "nowhere.json' cannot be read"),
        ('["broken.json"]', "seeds: .*broken.json: "),
        ('[{study = "other"}]', "seeds: No database at .*runs/other.db"),
        ('[{stdy = "other"}]', "No key 'stdy'. Did you mean 'study'"),
        ("[3]", "not 3"),
        ('[{study = "small", trials = 4}]', "not {'study': 'small', 'trials': 4}"),
    ],
)
def test_seeds_that_cannot_be_read_are_refused_in_one_line(make_study, chain, tmp_path, monkeypatch, seeds, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.json").write_text('{"version": 1')
    with pytest.raises(StudyError, match=words) as error:
        make_study(top=f"seeds = {seeds}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("width", "name", "words"),
    [(17, "y", "outside the study's space"), (16, "z", "seeds: row.json: "), (128, "y", "over the budget")],
)
def test_seeds_that_cannot_be_candidates_are_refused_before_anything_is_stored(
    make_study, chain, tmp_path, width, name, words
) -> None:
    nodes = json.loads(ROW.to_json())
    for node in nodes["nodes"]:
        node["params"] |= {"width": width, "depth": 3} if node["kind"] == "dense" else {}
        node["params"] |= {"name": name} if node["kind"] == "output" else {}
    chain.write_text(json.dumps(nodes))
    with pytest.raises(NasmodError, match=words):
        nasmod.start(make_study(top='seeds = ["row.json"]'), storage=tmp_path / "study.db")
    assert not (tmp_path / "study.db").exists()


@pytest.mark.slow
def test_a_study_trains_its_seeds_first(make_study, chain, tmp_path) -> None:
    study = make_study(top='seeds = ["row.json"]', trials=3)
    found = nasmod.start(study, storage=tmp_path / "study.db", workers=1)
    assert (
        found.record(0).proposal.topology.canonical() == opening(bring_to_life(study)).popitem()[1].topology.canonical()
    )
    trained = [record for record in found.records() if record.state != "queued"]  # one more may have been proposed
    assert [record.state for record in trained] == ["finished"] * 3
    assert read(tmp_path / "small.toml").definition() == found.study.definition()
