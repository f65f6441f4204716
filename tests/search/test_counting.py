"""Users' kinds are counted in a process apart: one that crashes or hangs costs the search nothing."""

from __future__ import annotations

import pytest

from nasmod import registry
from nasmod.networks.flops import module_flops
from nasmod.search import counting, feasibility
from nasmod.search.context import Context, bring_to_life
from nasmod.search.counting import Counting, UncountableError
from nasmod.search.references import references
from nasmod.study import Proposal
from nasmod.study.definition import read
from nasmod.topology import Node, Topology
from tests.search.trouble import kinds

TROUBLES = kinds(
    'trouble("crashing", lambda x: ctypes.string_at(0), counted=False)',
    'trouble("endless", lambda x: time.sleep(10_000), counted=False)',
    'trouble("raising", lambda x: 1 / 0, counted=False)',
    'trouble("talking", lambda x: print("no answer") or x @ x.new_ones(64, 64), counted=False)',
)
SPACE = """
[modules]
min = 1
max = 2
[kinds.crashing]
[kinds.talking]
"""

STUDY = """
name = "odd"
space = "odd.toml"
trials = 2
plugins = ["kinds.py"]
[data]
name = "digits"
[objective]
flops_budget = 20_000
"""


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "kinds.py").write_text(TROUBLES)
    (folder / "odd.toml").write_text(SPACE)
    (folder / "study.toml").write_text(STUDY)
    with registry.restored():
        yield bring_to_life(read(folder / "study.toml"))


def of(*kinds: str) -> Topology:
    """A chain of these kinds."""
    modules = [Node(kind, (index,)) for index, kind in enumerate(kinds)]
    return Topology((Node("input", (), {"name": "x"}), *modules, Node("output", (len(kinds),), {"name": "y"})))


def counted(context: Context, *kinds: str) -> Proposal:
    """A proposal of such a chain, as it is filed."""
    return context.counted(Proposal(of(*kinds)))


def test_a_kind_is_counted_as_it_is_here(context):
    head = 2 * 64 * 10
    assert context.flops(of("talking", "talking")) == 2 * module_flops("talking", (64,), ()) + head == 2 * 8192 + head
    assert "over the budget" in context.violation(counted(context, "talking", "talking", "talking"))


@pytest.mark.slow
def test_a_kind_that_crashes_hangs_or_raises_rules_nothing_out_and_is_asked_once(context, monkeypatch):
    monkeypatch.setattr(counting, "SECONDS", 1.0)
    for kind in ("crashing", "endless", "raising"):
        assert context.violation(counted(context, kind)) is None
    monkeypatch.delattr(Counting, "_ask")
    for kind in ("crashing", "endless", "raising"):
        assert context.violation(counted(context, "talking", kind)) is None
        with pytest.raises(UncountableError, match=kind):
            context.flops(of(kind))


@pytest.mark.slow
def test_a_space_of_such_kinds_can_be_searched(context):
    feasibility.check(context)
    (only,) = references(context)  # what cannot be counted opens no study
    assert only.topology == of("talking")


def test_no_process_is_started_for_the_kinds_of_nasmod(make_study, monkeypatch):
    monkeypatch.delattr(Counting, "_start")
    feasibility.check(bring_to_life(make_study()))


def test_the_process_ends_with_what_asked_it(context):
    asking = Counting(context.study.plugins)
    assert asking("talking", (64,), ()) == 8192
    process = asking._process
    assert process.poll() is None
    del asking
    assert process.poll() is not None
