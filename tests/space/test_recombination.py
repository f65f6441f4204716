"""Recombined topologies lie in the space, have parts of both, and depend on the keys alone."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmod.errors import SpaceError
from tests.space.test_space import SHIPPED, each_space
from tests.strategies import relabelled, space_topologies


@each_space
@settings(max_examples=25)  # on each space
@given(data=st.data())
def test_it_lies_in_the_space_and_is_neither(space, data):
    (one, _), (other, _) = data.draw(space_topologies(space)), data.draw(space_topologies(space))
    seed = data.draw(st.integers(0, 2**32 - 1))
    try:
        made = space.recombine(one, other, random.Random(seed))
    except SpaceError:
        return
    assert space.contains(made)
    assert made.key not in (one.key, other.key)
    again = space.recombine(data.draw(relabelled(one)), data.draw(relabelled(other)), random.Random(seed))
    assert again.key == made.key


@pytest.mark.parametrize("name", ["cell", "dense"])
def test_most_pairs_can_be_recombined(name):
    space, generator = SHIPPED[name], random.Random(0)
    made = 0
    for _ in range(20):
        one, other = space.random(generator)[0], space.random(generator)[0]
        try:
            space.recombine(one, other, generator)
        except SpaceError:
            continue
        made += 1
    assert made >= 15


def test_equal_topologies_of_a_fixed_wiring_have_none():
    space = SHIPPED["cell"]
    topology, _ = space.random(random.Random(0))
    with pytest.raises(SpaceError, match="has parts of both, in 20 tries"):
        space.recombine(topology, topology, random.Random(1))
