"""No topology of a shipped space fails on shapes: each builds, runs forward and gives every weight a gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nasmod import registry
from nasmod.modules import Shape
from nasmod.networks import build, count_flops, plan
from nasmod.space import Space
from tests.strategies import space_topologies

torch.set_num_threads(1)

SHAPES: dict[str, Shape] = {"flat": (12,), "sequence": (3, 7), "image": (1, 9, 8), "one pixel": (2, 1, 1)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", registry.packaged("search_spaces"))
@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_topology_builds_and_trains(name, shape, data):
    space = Space.load(registry.packaged("search_spaces")[name], {"x": shape}, {"y": (5,)})
    topology, _ = data.draw(space_topologies(space))
    planned = plan(topology, space.inputs, space.outputs)
    assert count_flops(planned) > 0
    network = build(planned)
    outputs = network({"x": torch.rand(3, *shape)})
    assert outputs["y"].shape == (3, 5)
    assert outputs["y"].isfinite().all()
    outputs["y"].square().sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, f"{parameter_name} gets no gradient"
