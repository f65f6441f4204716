"""Pictures of a real small study: what is drawn where, in which colour, and files of every format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure

import nasmod
from nasmod.api import SearchStudy
from nasmod.measures.roles import Role
from nasmod.report import node_names
from nasmod.report.appearance import PALE, factor_colours, module_colour
from nasmod.report.plots import draw_topology, plot_topology
from nasmod.study import Record
from nasmod.topology import Node, Topology


@pytest.fixture(scope="module")
def study(small_study: Path) -> SearchStudy:
    return nasmod.load("small", storage=small_study / "runs" / "small.db")


@pytest.fixture
def divided(study: SearchStudy) -> Record:
    """A record of two modules, of which each carries one factor, and a third that carries neither."""
    modules = [Node("dense", (0,), {"width": width}) for width in (8, 16, 32)]
    topology = Topology((Node("input", (), {"name": "x"}), *modules, Node("output", (1, 2, 3), {"name": "y"})))
    roles = {
        "dense_1": {"a": Role(1.0, 1.0), "b": Role(0.0, 0.0)},
        "dense_2": {"a": Role(0.0, 0.0), "b": Role(1.0, 0.9)},
    }
    measures = {"information.dense_1": 1.0, "information.dense_2": 0.2}
    return replace(study.best, proposal=replace(study.best.proposal, topology=topology), roles=roles, measures=measures)


def texts_of(figure: Figure) -> set[str]:
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def test_the_front_stands_where_its_measures_are_and_simple_wirings_by_name(study: SearchStudy):
    axes = study.plot_front()
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("FLOPs", "skill", "log")
    offsets = next(drawn for drawn in axes.collections if drawn.get_label() == "on the front").get_offsets()
    assert offsets.tolist() == [[one.measures["flops"], one.measures["skill"]] for one in study.front()]
    assert {text.get_text() for text in axes.texts} == {record.reference for record in study.references()}


def test_learning_curves_of_the_chosen_are_named_and_all_others_are_there(study: SearchStudy):
    axes = study.plot_curves([study.best.number])
    assert len(axes.lines) == len(study.records())
    (named,) = [line for line in axes.lines if not line.get_label().startswith("_")]
    assert named.get_label() == study.best.label
    assert list(named.get_ydata()) == [point["validation_accuracy"] for point in study.best.curve]


def test_a_topology_shows_every_node_with_its_parameters(divided: Record):
    figure = Figure()
    plot_topology(divided, figure.subplots())
    nodes = divided.proposal.topology.canonical().nodes
    assert texts_of(figure) == {*node_names(nodes), "width 8", "width 16", "width 32"}


def test_a_modules_colour_is_that_of_what_it_carries_and_paler_where_little_is_lost(divided: Record):
    colours = factor_colours(divided)
    assert list(colours) == ["a", "b"]

    def channels(colour: str) -> list[int]:
        return [int(colour[place : place + 2], 16) for place in (1, 3, 5)]

    first, second = (module_colour(divided, name, colours) for name in ("dense_1", "dense_2"))
    assert channels(first).index(max(channels(first))) == channels(colours["a"]).index(max(channels(colours["a"])))
    same_but_needed = replace(divided, measures={"information.dense_2": 1.0})
    needed = module_colour(same_but_needed, "dense_2", colours)
    assert all(pale > deep for pale, deep in zip(channels(second), channels(needed), strict=True))
    assert module_colour(divided, "dense_3", colours) == PALE


def test_files_are_of_the_format_that_their_ending_says(divided: Record, tmp_path: Path):
    for ending, begins in (("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        draw_topology(divided, tmp_path / f"drawn.{ending}")
        assert (tmp_path / f"drawn.{ending}").read_bytes().startswith(begins)
    ElementTree.parse(tmp_path / "drawn.svg")
