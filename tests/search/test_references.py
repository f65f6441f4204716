"""References and feasibility: known before anything is trained."""

from __future__ import annotations

import pytest

from nasmod.errors import SpaceError
from nasmod.search import feasibility
from nasmod.search.context import bring_to_life
from nasmod.search.references import references


def test_the_references_use_the_flops_budget_as_far_as_their_sizes_go(make_study):
    context = bring_to_life(make_study())
    found = references(context)
    assert [proposal.origin["reference"] for proposal in found] == ["monolith", "chain", "parallel"]
    assert [proposal.topology.module_count for proposal in found] == [1, 4, 4]
    for proposal in found:
        assert 0.9 * 40_000 < context.flops(proposal.topology) <= 40_000


def test_a_space_that_can_never_satisfy_the_budget_is_refused(make_study):
    study = make_study(space="tiny")
    objective = study.objective.model_copy(update={"flops_budget": 100})
    context = bring_to_life(study.model_copy(update={"objective": objective}))
    with pytest.raises(SpaceError, match=r"cannot satisfy the FLOPs budget of 100: the cheapest of all its topologies"):
        feasibility.check(context)
    feasibility.check(bring_to_life(study))


def test_a_searched_setting_that_is_none_is_refused(make_study, tmp_path):
    (tmp_path / "odd.toml").write_text(
        "[modules]\nmin = 1\nmax = 2\n[kinds.dense]\nwidth = 8\n[settings]\nlearning_speed = [0.1, 0.2]\n"
    )
    with pytest.raises(SpaceError, match="learning_speed"):
        feasibility.check(bring_to_life(make_study(space="odd.toml")))
