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


@pytest.mark.parametrize(
    ("kinds", "kind", "size", "largest"),
    [
        ("[kinds.pool]\n[kinds.conv]\nkernel = [1, 3]", "conv", "channels", 2048),  # a pool has no size
        ("[kinds.attention]\nheads = 2", "attention", "heads", 256),  # no more are valid
    ],
)
def test_references_are_of_the_first_kind_that_has_a_size(make_study, tmp_path, kinds, kind, size, largest):
    (tmp_path / "odd.toml").write_text(f"[modules]\nmin = 1\nmax = 2\n{kinds}\n")
    study = make_study(space="odd.toml")
    objective = study.objective.model_copy(update={"flops_budget": 10**12})
    found = references(bring_to_life(study.model_copy(update={"objective": objective})))
    assert [proposal.origin["reference"] for proposal in found] == ["monolith", "chain", "parallel"]
    modules = [node for proposal in found for node in proposal.topology.nodes if node.is_module]
    assert {(node.kind, node.params[size]) for node in modules} == {(kind, largest)}


def test_references_of_kinds_without_a_size_are_as_they_are(make_study, tmp_path):
    (tmp_path / "pools.toml").write_text("[modules]\nmin = 1\nmax = 2\n[kinds.pool]\n")
    found = references(bring_to_life(make_study(space="pools.toml")))
    assert [proposal.topology.module_count for proposal in found] == [1, 4, 4]
