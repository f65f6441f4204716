"""The adversarial trial of modularity: networks taken apart and put together, and changes that leave what they do."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from benchmarks.truth.disguises import LITTLE, NOTHING_GAINED, behind_fronts
from benchmarks.truth.parts import network_of, parts_of
from benchmarks.truth.training import tensors, untrained
from benchmarks.truth.wirings import by_hand
from benchmarks.truth.worlds import World
from benchmarks.truth.worlds import world as load_world
from nasmod.networks import Network
from nasmod.topology import Topology


@cache
def world(task: str) -> World:
    """Loaded once for all tests."""
    return load_world(task)


def made(task: World, name: str, depth: int = 1) -> Network:
    """An untrained network: what is tested holds of any weights."""
    return untrained(by_hand(task.dataset, name, depth=depth), task, seed=0).eval()


@torch.no_grad()
def furthest(one: Network, other: Network, task: World) -> float:
    """The largest distance of two networks' outputs, over the RMS of the first one's."""
    inputs, _ = tensors(task, "validation")
    before, after = one(inputs), other(inputs)
    return max(float((before[name] - after[name]).abs().max() / before[name].square().mean().sqrt()) for name in before)


@pytest.mark.parametrize("name", ["true, each input split over two", "early mixing", "ensemble of 4", "chain"])
@pytest.mark.parametrize(("task", "depth"), [("xor", 1), ("pair", 2)])
def test_parts_put_together_are_the_network_they_were_taken_from(task: str, depth: int, name: str) -> None:
    found = world(task)
    network = made(found, name, depth)
    again = network_of(parts_of(network), found.dataset)
    assert furthest(network, again, found) < 1e-5
    nodes = [Topology(tuple(step.node for step in n.plan.steps)).key for n in (network, again)]
    assert nodes[0] == nodes[1]


@pytest.mark.parametrize("change", NOTHING_GAINED)
@pytest.mark.parametrize(("task", "name", "depth"), [("xor", "early mixing", 2), ("pair", "true", 1)])
def test_changes_that_should_gain_nothing_leave_the_outputs(task: str, name: str, depth: int, change: str) -> None:
    found = world(task)
    network = made(found, name, depth)
    changed = network_of(NOTHING_GAINED[change](parts_of(network), found), found.dataset)
    little = change in ("one-unit modules beside", "identity modules beside")
    moved = furthest(network, changed, found)
    assert LITTLE / 2 < moved < 20 * LITTLE if little else moved < 1e-3
    more = changed.plan.steps[len(network.plan.steps) :]
    assert bool(more) == (change != "rescaled units")


@pytest.mark.parametrize("share", [0.5, 1.0])
@pytest.mark.parametrize("name", ["monolith", "early mixing"])
def test_fronts_that_pass_on_their_input_leave_the_outputs(name: str, share: float) -> None:
    found = world("xor")
    network = made(found, name)
    changed = network_of(behind_fronts(parts_of(network), found, share), found.dataset)
    assert furthest(network, changed, found) < 1e-3
    assert len(changed.plan.steps) == len(network.plan.steps) + 2
