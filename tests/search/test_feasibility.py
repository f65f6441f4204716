"""What is known before anything is trained: whether a study can have candidates, and with which wirings it opens."""

from __future__ import annotations

import random

import pytest
from pydantic import model_validator
from sklearn.datasets import load_diabetes

from nasmod.errors import SpaceError, StudyError
from nasmod.modules import Parameters
from nasmod.search import feasibility
from nasmod.search.context import bring_to_life
from nasmod.search.references import references
from nasmod.search.stopping import StoppingSettings
from nasmod.study import Proposal
from nasmod.topology import Node, Topology


def test_simple_wirings_come_in_every_size_largest_and_smallest_first(make_study):
    context = bring_to_life(make_study(trials=100))
    found = references(context)
    assert len(found) == len({proposal.topology.key for proposal in found}) == 25
    says = [proposal.origin["why"] for proposal in found]
    assert says[:3] == [
        "one dense module of width 128",
        "2 towers that another module fuses, all dense of width 64",
        "a chain of 2 dense modules of width 64",
    ]
    assert "8 parallel dense modules of width 32" in says
    for proposal in found:
        assert context.space.contains(proposal.topology)
        assert context.violation(proposal) is None
        modules = [node for node in proposal.topology.nodes if node.is_module]
        assert len({tuple((k, v) for k, v in node.params.items() if k != "merge") for node in modules}) == 1


@pytest.mark.parametrize("edges", ["free", "chain", "parallel"])
@pytest.mark.parametrize("task", ["xor", "pair"])
def test_with_several_inputs_each_has_a_tower(make_study, tmp_path, edges, task):
    (tmp_path / "wired.toml").write_text(
        f"[modules]\nmax = 4\n[kinds.dense]\nwidth = [8, 16]\n[wiring]\nedges = '{edges}'\n"
    )
    data = {"name": "digit_pairs", "task": task, "digits": 3, "examples": 300}
    context = bring_to_life(make_study(space="wired.toml", trials=100).model_copy(update={"data": data}))
    found = {proposal.origin["reference"]: proposal for proposal in references(context)}
    held = {"free": {"monolith", "towers", "chain", "parallel"}, "chain": {"monolith", "chain"}}
    assert found.keys() == held.get(edges, {"monolith", "parallel"})
    if edges == "free":
        nodes = found["towers"].topology.nodes
        assert [node.inputs for node in nodes if node.is_module] == [(0,), (1,), (2,), (3, 4, 5)]
        assert [node.inputs for node in nodes if node.kind == "output"] == [(6,)] * len(context.dataset.outputs)
        assert found["towers"].origin["why"] == "3 towers that another module fuses, all dense of width 8"


def test_a_space_that_can_never_satisfy_the_budget_is_refused(make_study):
    study = make_study(space="tiny")
    objective = study.objective.model_copy(update={"flops_budget": 100})
    context = bring_to_life(study.model_copy(update={"objective": objective}))
    with pytest.raises(SpaceError, match=r"cannot satisfy the FLOPs budget of 100: the cheapest of all its topologies"):
        feasibility.check(context)
    feasibility.check(bring_to_life(study))


def test_the_study_s_own_training_settings_are_where_the_search_begins(make_study):
    study = make_study(space="small")
    training = study.training.model_copy(update={"learning_rate": 4e-3})
    context = bring_to_life(study.model_copy(update={"training": training}))
    assert context.space.default_settings == {"learning_rate": 4e-3, "label_smoothing": 0.0}
    assert {tuple(made.settings.values()) for made in references(context)} == {(4e-3, 0.0)}


def test_a_setting_that_changes_nothing_on_the_data_is_not_searched(make_study, tmp_path):
    load_diabetes(as_frame=True).frame.to_csv(tmp_path / "diabetes.csv", index=False)
    data = {"name": "csv", "path": str(tmp_path / "diabetes.csv"), "target": "target"}
    of_labels = bring_to_life(make_study(space="small"))
    assert (of_labels.space.settings, of_labels.not_searched) == (("learning_rate", "label_smoothing"), [])
    regression = bring_to_life(make_study(space="small").model_copy(update={"data": data}))
    assert (regression.space.settings, regression.not_searched) == (("learning_rate",), ["label_smoothing"])
    assert "setting.label_smoothing" not in regression.space.parameters()


def test_a_searched_setting_that_is_none_is_refused(make_study, tmp_path):
    (tmp_path / "odd.toml").write_text(
        "[modules]\nmin = 1\nmax = 2\n[kinds.dense]\nwidth = 8\n[settings]\nlearning_speed = [0.1, 0.2]\n"
    )
    with pytest.raises(SpaceError, match="learning_speed"):
        feasibility.check(bring_to_life(make_study(space="odd.toml")))


@pytest.mark.parametrize(
    ("searched", "words"),
    [
        ("learning_rate = [0.1, -1.0]", "'learning_rate': Input should be greater than 0, got -1.0"),
        ("batch_size = {low = 0, high = 8}", "'batch_size': Input should be greater than or equal to 2, got 0"),
        ("augment = ['none', 'foo']", "'augment': Input should be 'none', 'shift' or 'shift-flip', got 'foo'"),
    ],
)
def test_a_searched_setting_that_may_become_impossible_is_refused(make_study, tmp_path, searched, words):
    (tmp_path / "odd.toml").write_text(f"[modules]\nmax = 2\n[kinds.dense]\nwidth = 8\n[settings]\n{searched}\n")
    with pytest.raises(SpaceError, match=words):
        feasibility.check(bring_to_life(make_study(space="odd.toml")))


class Broken:
    """A user's stopping rule that raises when it is asked, or answers with no epochs."""

    answer: object = None

    def __init__(self, *given: object) -> None: ...

    def rungs(self, epochs: int) -> object:
        return self.answer if self.answer is not None else 1 / 0


@pytest.mark.parametrize(
    ("answer", "words"),
    [(None, "'broken' failed: ZeroDivisionError"), (7, "'broken' failed: TypeError"), (["1"], "are epochs, not")],
)
def test_a_stopping_rule_that_fails_is_named_in_one_line(make_study, monkeypatch, register, answer, words):
    monkeypatch.setattr(Broken, "answer", answer)
    register("stopping", "broken", Broken, StoppingSettings)
    study = make_study().model_copy(update={"stopping": {"name": "broken"}})
    with pytest.raises(StudyError, match=words):
        feasibility.check(bring_to_life(study))


class Dependent(Parameters):
    """Parameters of which one bounds another."""

    width: int = 6
    heads: int = 1

    @model_validator(mode="after")
    def _divides(self) -> Dependent:
        if self.width % self.heads:
            raise ValueError("heads must divide width")
        return self


class Heads:
    """A user's kind that refuses some combinations of what a space offers."""

    Parameters = Dependent
    accepts = (1,)
    arguments = network = None

    def output_shape(self, shape, params):
        return (params.width,)


@pytest.mark.slow
def test_parameters_that_a_kind_refuses_together_are_a_candidates_failure(make_study, register, tmp_path):
    register("kind", "heads", Heads, Dependent)
    (tmp_path / "odd.toml").write_text("[modules]\nmax = 2\n[kinds.heads]\nwidth = [6, 8]\nheads = [1, 3, 2]\n")
    context = bring_to_life(make_study(space="odd.toml"))
    nodes = Node("input", (), {"name": "x"}), Node("heads", (0,), {"width": 8, "heads": 3})
    proposal = context.counted(Proposal(Topology((*nodes, Node("output", (1,), {"name": "y"})))))
    assert proposal.flops is None
    assert context.violation(proposal) is None
    feasibility.check(context)
    assert {p.topology.nodes[1].params["heads"] for p in references(context)} <= {1}  # never of such a combination


def test_a_fault_of_nasmods_own_does_not_pass_for_feasible(make_study, monkeypatch):
    context = bring_to_life(make_study())
    proposal = Proposal(context.space.random(random.Random(0))[0])
    monkeypatch.setattr("nasmod.search.context.count_flops", lambda *given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        context.counted(proposal)


def test_simple_wirings_are_of_the_kinds_that_have_a_size(make_study, tmp_path):
    (tmp_path / "odd.toml").write_text(
        "[modules]\nmax = 2\n[kinds.pool]\nsize = [2, 3]\n[kinds.conv]\nkernel = [3, 5]\nchannels = [4, 8]\n"
    )
    found = references(bring_to_life(make_study(space="odd.toml", trials=100)))
    assert {proposal.origin["reference"] for proposal in found} == {"monolith", "chain", "parallel"}
    modules = [node for proposal in found for node in proposal.topology.nodes if node.is_module]
    assert {node.kind for node in modules} == {"conv"}
    assert {(node.params["channels"], node.params["kernel"]) for node in modules} == {(4, 3), (4, 5), (8, 3), (8, 5)}


def test_where_a_space_can_pool_its_chains_also_come_with_pooling_between(make_study, tmp_path):
    (tmp_path / "images.toml").write_text("[modules]\nmax = 6\n[kinds.pool]\n[kinds.conv]\nchannels = [2, 4]\n")
    found = references(bring_to_life(make_study(space="images.toml", trials=100)))
    chains = {
        tuple(node.kind for node in proposal.topology.nodes if node.is_module)
        for proposal in found
        if proposal.origin["reference"] == "chain"
    }
    pooled = {("conv", "pool", "conv"), ("conv", "pool", "conv", "pool", "conv")}
    assert pooled < chains
    assert chains - pooled == {("conv",) * length for length in (2, 6)}
    why = {proposal.origin["why"] for proposal in found}
    assert "a chain of 3 conv modules, pool between them, each of channels 4" in why
    assert not [words for words in why if words.startswith(("5 parallel", "4 parallel", "3 parallel"))]


def test_where_a_space_can_pool_and_grow_chains_that_double_their_size_come_too(make_study, tmp_path):
    (tmp_path / "images.toml").write_text(
        "[modules]\nmax = 6\n[kinds.pool]\n[kinds.conv]\nchannels = [2, 4, 8, 12, 16]\n"
    )
    found = references(bring_to_life(make_study(space="images.toml", trials=400)))
    pyramids = {
        tuple(node.params["channels"] for node in proposal.topology.nodes if node.kind == "conv"): proposal
        for proposal in found
        if proposal.origin["reference"] == "pyramid"
    }
    # none of a size that the space lacks, none over the FLOPs budget: (8, 16) is
    assert set(pyramids) == {(2, 4), (4, 8), (2, 4, 8), (4, 8, 16)}
    why = "a chain of 3 conv modules, pool between them, each twice the size of the one before, the first of channels 4"
    assert pyramids[4, 8, 16].origin["why"] == why
    first = {}  # of each wiring, by whether it pools: its largest size comes first, or its smallest
    for proposal in found:
        modules = [node for node in proposal.topology.nodes if node.is_module]
        sort = (proposal.origin["reference"], len(modules), {"pool"} < {node.kind for node in modules})
        first.setdefault(sort, min(int(node.params["channels"]) for node in modules if node.kind == "conv"))
    assert {channels for (*_, pools), channels in first.items() if not pools} == {2}
    assert {channels for (*_, pools), channels in first.items() if pools} > {4}
    assert first["pyramid", 5, True] == 4


def test_a_long_range_of_sizes_is_spread_on_a_log_scale(make_study, tmp_path):
    (tmp_path / "long.toml").write_text("[modules]\nmax = 1\n[kinds.dense]\nwidth = { low = 1, high = 4096 }\n")
    study = make_study(space="long.toml", trials=100)
    objective = study.objective.model_copy(update={"flops_budget": 10**12})
    found = references(bring_to_life(study.model_copy(update={"objective": objective})))
    widths = sorted(int(proposal.topology.nodes[1].params["width"]) for proposal in found)
    assert widths == [1, 3, 8, 23, 64, 181, 512, 1448, 4096]


def test_simple_wirings_of_kinds_without_a_size_are_as_they_are(make_study, tmp_path):
    (tmp_path / "pools.toml").write_text("[modules]\nmin = 1\nmax = 2\n[kinds.pool]\n")
    found = references(bring_to_life(make_study(space="pools.toml", trials=100)))
    assert [proposal.topology.module_count for proposal in found] == [1, 2, 2]
