"""A search ends before its budget when it has what was wanted of it, or when nothing better comes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import nasmod
from nasmod.errors import StudyError
from nasmod.search.ending import enough
from nasmod.space import Space, SpaceFile
from nasmod.study import Proposal, Study, read
from nasmod.testing.strategies import made_up

TABLE = {"modules": {"min": 1, "max": 8}, "kinds": {"dense": {"width": [8, 16]}}}
SPACE = Space(SpaceFile.from_table(TABLE), {"x": (64,)}, {"y": (10,)})


def study(**changes: object) -> Study:
    return read("digits", **changes)


def records(*scores: float | None, **of_all: object):
    """Finished candidates with these scores, in the order in which they were filed; None stands for a failed one."""
    import random

    found = []
    for number, score in enumerate(scores):
        proposal = Proposal(*SPACE.random(random.Random(number)))
        record = made_up(SPACE, proposal, number, study().objective, "failed" if score is None else "finished")
        measures = {"skill": score, "accuracy": score, "flops": 1000.0 + number} if score is not None else {}
        found.append(replace(record, score=score, measures=measures, **of_all))
    return found


def test_a_study_without_either_never_has_enough():
    assert enough(study(), records(*[0.99] * 50)) is None


def test_a_target_is_reached_by_one_candidate_that_has_all_of_it():
    wanted = study(target={"score": 0.9, "flops": 1001})
    assert enough(wanted, []) is None
    assert enough(wanted, records(0.8, 0.89999, 0.95)) is None  # the third has 1,002 FLOPs
    found = enough(wanted, records(0.8, 0.9, 0.95))
    assert found == "the target is reached: #1 has score 0.9, flops 1001 or better"
    assert enough(study(target={"accuracy": 0.9}), records(0.9)) is not None
    assert enough(study(target={"modularity": 0.1}), records(0.9)) is None  # it is not defined there


def test_repeats_and_references_of_old_studies_reach_no_target():
    assert enough(study(target={"score": 0.9}), records(0.95, role="repeat")) is None


def test_patience_counts_what_was_trained_after_the_best():
    patient = study(patience=3)
    assert enough(patient, records(0.8, 0.7, 0.7)) is None
    assert enough(patient, records(0.8, 0.7, None, 0.7)) is None
    assert (
        enough(patient, records(0.8, 0.7, None, 0.7, 0.8)) == "none of the latest 3 candidates was better than the best"
    )
    assert enough(patient, records(0.8, 0.7, 0.7, 0.9)) is None


def test_with_several_directions_patience_counts_what_came_after_the_front():
    objective = study().objective.model_copy(update={"mode": "pareto"})
    patient = study(patience=2).model_copy(update={"objective": objective})
    # each next one has more FLOPs: only what is more accurate too is on the front
    assert enough(patient, records(0.5, 0.6, 0.55)) is None
    assert enough(patient, records(0.5, 0.6, 0.55, 0.6)) == "none of the latest 2 candidates came to the front"
    assert enough(patient, records(0.5, 0.6, 0.55, 0.61)) is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": {"scor": 0.9}}, "target: No measured value 'scor'. Did you mean 'score'?"),
        ({"target": {"test_accuracy": 0.9}}, "target: No measured value 'test_accuracy'"),
        ({"target": 0.9}, "'target'"),
        ({"patience": 0}, "'patience'"),
    ],
)
def test_what_nothing_can_reach_is_refused_in_one_line(changes: dict[str, object], words: str):
    with pytest.raises(StudyError) as caught:
        study(**changes)
    assert words in str(caught.value)


def test_a_real_search_ends_at_its_target_and_its_finalists_are_trained(tmp_path: Path):
    changes = {"data": {"name": "digits", "limit": 300}, "target": {"accuracy": 0.3}, "finalists": 1, "repeats": 1}
    ended = nasmod.start(read("digits", name="early", trials=50, **changes), storage=tmp_path / "early.db", workers=1)
    status = ended.status()
    assert status.state == "ended"
    assert status.trained < 50
    assert status.reason.startswith("the target is reached: #")
    assert ended.best.repeats == 1
    assert nasmod.resume("early", storage=tmp_path / "early.db", workers=1).status().trained == status.trained
