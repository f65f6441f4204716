"""The key: equal exactly for isomorphic labelled DAGs, the same on every machine and in every process, and quick."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence

import networkx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod.topology import Node, Topology, canonical_order
from tests.strategies import relabelled, topologies


def wired(*sources: Sequence[int]) -> Topology:
    """Equal modules 1, 2 … that read the given nodes; 0 is the input; what nobody reads feeds the output."""
    nodes = [Node("input", (), {"name": "x"}), *(Node("dense", tuple(read), {"width": 8}) for read in sources)]
    unread = set(range(1, len(nodes))) - {source for read in sources for source in read}
    return Topology((*nodes, Node("output", tuple(sorted(unread)), {"name": "y"})))


TWO_TOWERS = wired(*[(0,)] * 4, (1, 2), (1, 2), (3, 4), (3, 4))
RING_OF_EIGHT = wired(*[(0,)] * 4, (1, 2), (2, 3), (3, 4), (4, 1))


def isomorphic(first: Topology, second: Topology) -> bool:
    return networkx.is_isomorphic(
        first.live().to_networkx(),
        second.live().to_networkx(),
        node_match=lambda a, b: a["kind"] == b["kind"] and a["params"] == b["params"],
    )


def test_two_towers_are_not_a_ring_of_eight():
    assert not isomorphic(TWO_TOWERS, RING_OF_EIGHT)
    assert TWO_TOWERS.key != RING_OF_EIGHT.key


@given(topologies(dead=True), topologies(dead=True))
def test_keys_are_equal_exactly_for_isomorphic_topologies(first, second):
    assert (first.key == second.key) == isomorphic(first, second)


@given(st.data())
def test_keys_of_near_topologies_are_equal_exactly_if_isomorphic(data):
    label = [("dense", {"width": 8})]
    first = data.draw(topologies(label, max_inputs=1, max_outputs=1))
    nodes = list(data.draw(relabelled(first)).nodes)
    index = data.draw(st.sampled_from([i for i, node in enumerate(nodes) if node.is_module]))
    nodes[index] = Node("dense", tuple(data.draw(st.sets(st.integers(0, index - 1), min_size=1))), {"width": 8})
    second = Topology(tuple(nodes))
    assert (first.key == second.key) == isomorphic(first, second)


@given(st.data())
def test_relabelling_changes_neither_key_nor_canonical_form(data):
    topology = data.draw(topologies(max_modules=10))
    again = data.draw(relabelled(topology))
    assert again.key == topology.key
    assert again.canonical() == topology.canonical()
    assert again.canonical().to_json() == topology.canonical().to_json()


@given(topologies(dead=True))
def test_canonical_order_is_topological_and_a_fixed_point(topology):
    canonical = topology.canonical()
    assert canonical.key == topology.key
    assert canonical_order(canonical.nodes) == list(range(len(canonical.nodes)))


def test_direction_of_edges_is_part_of_the_key():
    params = {"width": 8}
    first = wired((0,), (0,), (1, 2))
    fan_out = Topology(
        (
            Node("input", (), {"name": "x"}),
            Node("dense", (0,), params),
            Node("dense", (1,), params),
            Node("dense", (1,), params),
            Node("output", (2, 3), {"name": "y"}),
        )
    )
    assert first.key != fan_out.key


def test_kinds_of_values_are_part_of_the_key():
    def with_value(value: object) -> str:
        nodes = Node("input", (), {"name": "x"}), Node("a", (0,), {"b": value}), Node("output", (1,), {"name": "y"})
        return Topology(nodes).key

    assert len({with_value(value) for value in (1, 1.0, True, "1")}) == 4


GOLDEN = {
    "one module": (wired((0,)), "001dd35a8380aca324b097f53b37471dcab47301dd1bbe323c97171fba0a541e"),
    "chain": (wired((0,), (1,), (2,)), "eb533eab71eb17b36274e8f8209ea689a5b949080cba2ba6fd9f22bb15677014"),
    "parallel": (wired((0,), (0,), (0,)), "40ceff4ba7418a033c6f50d100fa6bf2e554ef7f5e97b7e3809337e18effbdf3"),
    "two towers": (TWO_TOWERS, "dbe848c511fb75fe501a8d6edf4527d31e8e9209c1363ce388213b5e66d118d0"),
    "ring of eight": (RING_OF_EIGHT, "63aa2e4944b156fa09733e1e013d47d3fe8260648ce944c0b0bba43fab79b3a0"),
    "two inputs, two outputs, two kinds": (
        Topology(
            (
                Node("input", (), {"name": "left"}),
                Node("input", (), {"name": "right"}),
                Node("conv", (0,), {"channels": 8, "separable": True}),
                Node("dense", (1, 2), {"merge": "sum", "width": 16}),
                Node("output", (2,), {"name": "shape"}),
                Node("output", (3,), {"name": "digit"}),
            )
        ),
        "b49a1a0848a0105e851728e9dfc0504c1665088887ba9e3562190de827c2cb2d",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_keys_never_change(name):
    topology, key = GOLDEN[name]
    assert topology.key == key


def test_keys_do_not_depend_on_the_hash_seed():
    code = "from tests.topology.test_key import RING_OF_EIGHT as r; assert r.key == " + repr(RING_OF_EIGHT.key)
    for seed in ("1", "2"):
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."}, check=True)


SYMMETRIC = {
    "16 parallel": wired(*[(0,)] * 16),
    "16 in a chain": wired(*[(index,) for index in range(16)]),
    "8 pairs": wired(*[(0,)] * 8, *[(index,) for index in range(1, 9)]),
    "4 chains of 4": wired(*[(0,)] * 4, *[(index,) for index in range(1, 13)]),
    "ring of 16": wired(*[(0,)] * 8, *[(index + 1, (index + 1) % 8 + 1) for index in range(8)]),
    "rings of 6 and 10": wired(
        *[(0,)] * 8, (1, 2), (2, 3), (3, 1), *[(index + 4, (index + 1) % 5 + 4) for index in range(5)]
    ),
    "cube": wired(*[(0,)] * 8, *[tuple(1 + (index ^ bit) for bit in (1, 2, 4)) for index in range(8)]),
    "4 layers of rings": wired(
        *[(0,)] * 4, *[(layer + i + 1, layer + (i + 1) % 4 + 1) for layer in (0, 4, 8) for i in range(4)]
    ),
    "two towers": TWO_TOWERS,
    "ring of eight": RING_OF_EIGHT,
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_topologies_of_16_modules_take_milliseconds(name):
    nodes = SYMMETRIC[name].nodes

    def seconds() -> float:
        start = time.process_time()
        canonical_order(nodes)
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.02
