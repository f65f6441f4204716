"""Random wirings are DAG edges, the same for the same seed, and of the family they say."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasmod.errors import UnknownNameError
from nasmod.topology import FAMILIES, random_edges


@given(st.sampled_from(sorted(FAMILIES)), st.integers(1, 16), st.integers())
def test_edges_lead_forwards_and_depend_on_the_seed_alone(family, n, seed):
    edges = random_edges(family, n, random.Random(seed))
    assert all(0 <= source < reader < n for source, reader in edges)
    assert edges == random_edges(family, n, random.Random(seed))


def test_every_dag_can_be_drawn():
    generator = random.Random(0)
    assert len({frozenset(random_edges("erdos_renyi", 3, generator)) for _ in range(500)}) == 2**3


@given(st.integers(2, 16), st.integers())
def test_barabasi_albert_is_connected(n, seed):
    edges = random_edges("barabasi_albert", n, random.Random(seed))
    assert {node for edge in edges for node in edge} == set(range(n))


def test_an_unknown_family_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'chain'"):
        random_edges("chian", 3, random.Random(0))
