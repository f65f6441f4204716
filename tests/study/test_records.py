"""What is read of a study: repeats folded in, the best, the front, and names for candidates."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod.errors import StudyError
from nasmod.measures import Objective
from nasmod.report import full_row, top_rows
from nasmod.search.stopping.halving import Halving, HalvingSettings
from nasmod.study import Proposal, Record, RungResult
from nasmod.study import candidates as protocol
from nasmod.study import records as reading
from nasmod.topology import Node, Topology

OBJECTIVE = Objective(flops_budget=1000)
FLOORED = Objective(flops_budget=1000, floors={"modularity": 0.3})
TOPOLOGY = Topology((Node("input", (), {"name": "x"}), Node("dense", (0,), {"width": 8}),
                     Node("output", (1,), {"name": "y"})))  # fmt: skip


def record(number: int, skill: float, role: str = "search", state: str = "finished", **origin: object) -> Record:
    measures = {"skill": skill, "modularity": 0.5, "flops": 100.0}
    return Record(
        number=number if role == "search" else None,
        key=f"{role}{number}",
        state=state,
        proposal=Proposal(TOPOLOGY, {}, None, origin),
        measures=measures,
        standard_errors={"skill": 0.01},
        score=OBJECTIVE.score(measures),
        curve=(),
        reason=None,
        weights=None,
        role=role,
        id=number,
    )


def test_a_finalist_has_the_means_of_its_repeats_alone_with_their_standard_error():
    rows = [
        record(0, 0.99),  # the lucky training that made it a finalist
        record(1, 0.7, "repeat", repeat_of="search0"),
        record(2, 0.8, "repeat", repeat_of="search0"),
        record(3, 0.9, "repeat", repeat_of="search0"),
    ]
    (mean,) = reading.with_repeats(rows, OBJECTIVE)
    assert mean.repeats == 3
    assert mean.measures["skill"] == pytest.approx(0.8)
    assert mean.standard_errors["skill"] == pytest.approx(0.1 / math.sqrt(3))
    assert mean.score == pytest.approx(OBJECTIVE.score(mean.measures))


@pytest.mark.parametrize(
    ("values", "mean"),
    [
        ([math.inf, 1.0], math.inf),
        ([-math.inf, -math.inf], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([1.0, math.nan], math.nan),
        ([1.7e308, -1.7e308], 0.0),  # its deviation is beyond what a float holds
    ],
)
def test_what_is_not_finite_in_one_training_has_a_mean_and_no_standard_error(values: list[float], mean: float):
    repeats = [record(number, 0.9 - number / 10, "repeat", repeat_of="search0") for number in range(2)]
    for index, value in enumerate(values):
        repeats[index] = replace(repeats[index], measures={**repeats[index].measures, "test_loss": value})
    rows = [record(0, 0.9), *repeats, record(2, 0.5)]
    folded = reading.with_repeats(rows, OBJECTIVE)[0]
    assert folded.measures["test_loss"] == pytest.approx(mean, nan_ok=True)
    assert "test_loss" not in folded.standard_errors
    assert folded.standard_errors["skill"] == pytest.approx(0.05)
    assert [found.number for found in reading.ranked(rows, OBJECTIVE)] == [0, 2]
    assert [found.number for found in reading.worth_keeping(rows, OBJECTIVE, 1, 0)] == [0, 0]
    assert reading.dataframe([folded])["test_loss"][0] == pytest.approx(mean, nan_ok=True)
    json.dumps([top_rows([folded], [folded]), full_row(folded, True)], allow_nan=False)


def test_a_lucky_single_training_does_not_overtake_what_was_repeated():
    rows = [record(0, 0.9), record(1, 0.95), record(2, 0.8, "repeat", repeat_of="search0")]
    assert [found.number for found in reading.ranked(rows, OBJECTIVE)] == [0, 1]
    assert [found.number for found in reading.finalists(rows, OBJECTIVE, 1)] == [1]


def test_the_best_simple_wiring_is_repeated_and_shown_whatever_else_is_best():
    rows = [record(0, 0.5, reference="chain"), record(1, 0.6, reference="chain"), record(2, 0.55, reference="towers")]
    rows += [record(3, 0.9), record(4, 0.8), record(5, 0.99, state="stopped", reference="monolith")]
    assert [found.number for found in reading.references(rows, OBJECTIVE)] == [1, 2]
    assert [found.number for found in reading.finalists(rows, OBJECTIVE, 1)] == [3, 1]
    assert [found.number for found in reading.finalists(rows, OBJECTIVE, 3)] == [3, 4, 1]
    assert {found.number for found in reading.worth_keeping(rows, OBJECTIVE, 1, 0)} == {1, 2, 3}
    rows.append(record(6, 0.1, "repeat", reference="chain", repeat_of="search1"))  # it was lucky
    (chain, towers) = reading.references(rows, OBJECTIVE)
    assert (chain.number, chain.measures["skill"], towers.number) == (1, 0.1, 2)
    assert reading.best_reference(rows, OBJECTIVE) == chain


def measured(measures: dict[str, float], *args: object, **origin: object) -> Record:
    found = replace(record(*args, **origin), measures=measures)
    return replace(found, score=FLOORED.score(measures))


@given(st.randoms(use_true_random=False), st.integers(0, 3))
def test_whatever_finalists_turn_out_to_be_the_best_and_the_front_were_kept(random: Random, place: int):
    def measures(good: float) -> dict[str, float]:
        skill, modularity = good * random.random() ** 0.5, good * random.random() ** 0.5
        return {"skill": skill, "modularity": modularity, "flops": random.uniform(500, 1000)}

    rows = [measured(measures(random.random()), number, 0.5) for number in range(30)]
    kept = {found.key for found in reading.worth_keeping(rows, FLOORED, 2, 2)}
    for finalist in reading.ranked(rows, FLOORED)[place : place + 2]:
        number = 100 + finalist.id
        kept.add(finalist.key)  # only what was kept is trained again
        rows.append(measured(measures(0.5), number, 0.5, "repeat", repeat_of=finalist.key))
    best = [found.key for found in reading.ranked(rows, FLOORED)[:2]]
    assert kept.issuperset([*best, *(found.key for found in reading.front(rows, FLOORED))])


def test_best_and_front_speak_of_finished_candidates():
    rows = [record(0, 0.5), record(1, 0.9, state="stopped"), record(2, 0.95, "reference")]
    assert reading.best(rows, OBJECTIVE).number == 0
    assert [found.number for found in reading.front(rows, OBJECTIVE)] == [0]
    with pytest.raises(StudyError, match="No finished candidate"):
        reading.best(rows[1:], OBJECTIVE)


def test_candidates_are_found_by_number_by_reference_and_by_key():
    rows = [record(0, 0.5), record(12, 0.6), record(5, 0.7, "reference", reference="chain")]  # of an older study
    assert reading.find(rows, 12).number == 12
    assert reading.find(rows, "#0").number == 0
    assert reading.find(rows, "chain").role == "reference"
    assert reading.find(rows, "search12").number == 12
    with pytest.raises(StudyError, match=r"No candidate '3'.*trials 0 to 12, but for those of candidates to be"):
        reading.find(rows, 3)
    with pytest.raises(StudyError, match="More than one"):
        reading.find(rows, "search")


def test_another_objective_ranks_without_training():
    rows = reading.rescored([record(0, 0.5)], Objective(flops_budget=50))
    assert rows[0].score == 0.0


def test_a_reader_keeps_what_cannot_change_and_sees_what_does(study, file_one, claim_one):
    reader = reading.RecordReader(study)
    file_one()
    assert [found.state for found in reader.read()] == ["queued"]
    held = claim_one("w")
    protocol.report(study.database, held, [{"epoch": 1.0}], 0.5)
    assert [(found.state, len(found.curve)) for found in reader.read()] == [("running", 1)]
    protocol.finish(study.database, held, {"measures": {"a": 1.0}, "standard_errors": {}, "score": 0.1}, [0.1],
                    weights=b"w")  # fmt: skip
    first = reader.read()
    assert first == reading.read_records(study)
    assert first[0].weights is not None
    file_one()
    assert [found.state for found in reader.read()] == ["finished", "queued"]


def test_infinite_values_are_compared_at_a_rung(study, file_one, claim_one):
    objective = Objective(flops_budget=1000, mode="pareto", directions={"skill": "maximize", "latency": "minimize"})
    rule = Halving(HalvingSettings(rungs=(1,), results=2, first_share=0.5), objective)
    others: list[RungResult] = []
    for value in (math.inf, 0.1, math.inf):
        file_one()
        rung = RungResult(1, 0.5, 0.1, objective.values({"skill": 0.5, "latency": value}), (0.1, 0.0))
        held = claim_one(f"w{len(others)}")
        found = protocol.report(study.database, held, [{"epoch": 1.0}], 0.5, rung)
        assert found == others[::-1]
        others.append(rung)
    assert rule.decide([others[1]], [others[0], others[2]]) is None
    assert "2 of 3 are ahead" in str(rule.decide([others[0]], [others[1], replace(others[1])]))


def test_a_data_frame_has_a_row_a_candidate(study, file_one):
    file_one()
    frame = reading.dataframe(reading.read_records(study))
    assert len(frame) == 1
    assert {"number", "state", "score", "kind_0"} <= set(frame.columns)


def test_a_proposal_keeps_its_flops_and_one_of_a_version_that_counted_none_is_read():
    proposal = Proposal(TOPOLOGY, flops=640)
    stored = proposal.to_json()
    assert Proposal.from_json(stored) == proposal
    del stored["flops"]
    assert Proposal.from_json(stored) == Proposal(TOPOLOGY)
    for flops in (-1, 2.5, True, "640", [640]):
        with pytest.raises(TypeError, match="FLOPs of a proposal"):
            Proposal.from_json({**stored, "flops": flops})
