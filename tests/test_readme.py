"""README and docs keep up: every command is in them, links lead somewhere, and what they show works as it stands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch
import typer

from nasmod import registry
from nasmod.cli import app
from nasmod.networks import build, plan
from nasmod.space import Space, SpaceFile
from nasmod.topology import Node, Topology

ROOT = Path(__file__).parent.parent
FILES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
TEXT = "\n".join(PAGES.values())


def test_the_readme_is_short_and_names_every_page():
    assert len(PAGES["README.md"].splitlines()) < 200
    assert all(f"]({page})" in PAGES["README.md"] for page in PAGES if page != "README.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str):
    for target in re.findall(r"\]\(([^)#:]+)\)", PAGES[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.mark.parametrize("command", sorted(typer.main.get_group(app).commands))
def test_every_command_is_told(command: str):
    assert f"nasmod {command}" in TEXT


@pytest.mark.parametrize("noun", ["dataset", "strategy", "stopping"])
def test_every_built_in_choice_is_told(noun: str):
    for name in registry.names(noun):
        if registry.entry(noun, name).target.__class__ is str:  # a built-in, not what another test registered
            assert re.search(rf"\b{name}\b", TEXT), name


def test_the_kind_that_is_shown_builds_and_runs(tmp_path: Path):
    (block,) = [code for code in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "class Glu:" in code]
    path = tmp_path / "my_kinds.py"
    path.write_text(block.replace('"glu"', '"glu_of_the_docs"'))
    registry.load_plugin_file(path)
    nodes = (
        Node("input", (), {"name": "x"}),
        Node("glu_of_the_docs", (0,), {"width": 8}),
        Node("output", (1,), {"name": "y"}),
    )
    network = build(plan(Topology(nodes), {"x": (1, 4, 4)}, {"y": (3,)}))
    assert network({"x": torch.zeros(2, 1, 4, 4)})["y"].shape == (2, 3)


def test_the_fixed_wiring_that_is_shown_is_a_space_whose_topologies_train():
    (block,) = [code for code in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL) if "[wiring.places]" in code]
    space = Space.of(SpaceFile.from_table(tomllib.loads(block)), {"x": (1, 8, 8)}, {"y": (3,)})
    found = space.topologies(100)
    assert found is not None
    assert len(found) == 2 * (3 * 3 - 1)  # stem, then left and right: of 8 and 16 channels, or 16 and 8, is the same
    for topology in found:
        network = build(plan(topology, space.inputs, space.outputs))
        assert network({"x": torch.zeros(2, 1, 8, 8)})["y"].shape == (2, 3)


def test_the_cells_that_are_shown_are_a_space_whose_topologies_train():
    blocks = [tomllib.loads(code) for code in re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL) if "[wiring." in code]
    (places,) = [block for block in blocks if "places" in block["wiring"]]
    (cells,) = [block for block in blocks if "cells" in block["wiring"]]
    space = Space.of(SpaceFile.from_table({"kinds": places["kinds"], **cells}), {"x": (1, 8, 8)}, {"y": (3,)})
    found = space.topologies(100)
    assert found is not None
    assert len(found) == 2 * 3 * 2  # the stem, and in both cells alike: left, and past it or not
    for topology in found:
        network = build(plan(topology, space.inputs, space.outputs))
        assert network({"x": torch.zeros(2, 1, 8, 8)})["y"].shape == (2, 3)
