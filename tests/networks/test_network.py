"""Networks of random plans, and what `run` promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmod.networks import build, count_flops, count_parameters, module_steps, plan
from nasmod.topology import Node, Topology
from tests.strategies import shapes, wirings

torch.set_num_threads(1)
X = Node("input", (), {"name": "x"})


@settings(max_examples=150)
@given(topology=wirings(), shape=shapes)
def test_no_wiring_fails(topology: Topology, shape: tuple[int, ...]) -> None:
    runs_forward_and_backward(topology, {"x": shape}, {"y": (3,)})


@settings(max_examples=100)
@given(topology=wirings(("a", "b"), ("y", "z")), sizes=st.tuples(shapes, shapes))
def test_no_wiring_of_two_inputs_and_two_outputs_fails(topology: Topology, sizes: tuple) -> None:
    runs_forward_and_backward(topology, {"a": sizes[0], "b": sizes[1]}, {"y": (3,), "z": (1,)})


def runs_forward_and_backward(topology: Topology, inputs: dict, outputs: dict) -> None:
    found = plan(topology, inputs, outputs)
    network = build(found)
    raw = {name: torch.randint(0, 256, (3, *shape), dtype=torch.uint8) for name, shape in found.inputs.items()}
    network.normalise({name: (np.full(shape[0], 127.0), np.full(shape[0], 74.0)) for name, shape in inputs.items()})
    activations = network.run(raw)
    for index, step in enumerate(found.steps):
        assert activations[index].shape == (3, *step.shape)
    given_out = network(raw)
    assert {name: tuple(tensor.shape) for name, tensor in given_out.items()} == {n: (3, *s) for n, s in outputs.items()}
    sum(tensor.square().sum() for tensor in given_out.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert count_flops(found) > 0
    assert count_parameters(network) == sum(p.numel() for p in network.parameters())


def two_towers(**params) -> Topology:
    nodes = (X, Node("conv", (0,), params), Node("conv", (0,), {**params, "kernel": 5}))
    return Topology((*nodes, Node("output", (1, 2), {"name": "y"})))


def test_the_state_dict_is_named_after_the_steps() -> None:
    merged = Node("attention", (0, 1), {"merge": "gated", "heads": 1, "head_width": 2})
    topology = Topology((X, Node("dense", (0,), {"width": 5}), merged, Node("output", (1, 2), {"name": "y"})))
    network = build(plan(topology, {"x": (3, 4)}, {"y": (2,)}))
    parts = {name.split(".")[0] for name in network.state_dict()}
    assert parts == {"x_mean", "x_std", "dense_1", "attention_1_from_x", "attention_1_gate", "attention_1", "y_head"}


def test_raw_values_are_normalised_per_feature() -> None:
    topology = Topology((X, Node("output", (0,), {"name": "y"})))
    network = build(plan(topology, {"x": (2, 3, 3)}, {"y": (2,)}))
    network.normalise({"x": (np.array([1.0, 2.0]), np.array([2.0, 4.0])), "unused": (np.zeros(1), np.ones(1))})
    found = network.run({"x": torch.full((1, 2, 3, 3), 9, dtype=torch.uint8)})[0]
    assert found[0, 0].unique().tolist() == [4.0]
    assert found[0, 1].unique().tolist() == [1.75]


def test_the_same_seed_gives_the_same_weights() -> None:
    found = plan(two_towers(), {"x": (1, 8, 8)}, {"y": (10,)})
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(build(found).state_dict()["y_head.weight"])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_channels_last_changes_no_output() -> None:
    torch.manual_seed(0)
    network = build(plan(two_towers(depth=2), {"x": (3, 8, 8)}, {"y": (10,)})).eval()
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        before = network({"x": x})["y"]
        network.to(memory_format=torch.channels_last)
        after = network({"x": x.contiguous(memory_format=torch.channels_last)})["y"]
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


def test_known_steps_are_not_computed_and_replaced_ones_are_believed() -> None:
    network = build(plan(two_towers(), {"x": (1, 8, 8)}, {"y": (10,)})).eval()
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        whole = network.run({"x": x})
        zeros = torch.zeros(1, *network.plan.steps[1].shape)
        again = network.run({}, replaced={1: zeros}, known={2: whole[2]}, wanted=[3])
        expected = network.y_head(torch.cat([zeros.expand(4, -1, -1, -1).flatten(1), whole[2].flatten(1)], 1))
    torch.testing.assert_close(again[3], expected)
    assert 0 not in again


def test_modules_with_parameters_can_be_lesioned() -> None:
    nodes = [X, Node("conv", (0,)), Node("pool", (1,)), Node("pool", (0, 1), {"merge": "sum"})]
    topology = Topology((*nodes, Node("output", (2, 3), {"name": "y"})))
    network = build(plan(topology, {"x": (1, 8, 8)}, {"y": (10,)}))
    names = [network.plan.steps[index].name for index in module_steps(network)]
    reads_two = next(step for step in network.plan.steps if len(step.sources) == 2 and step.node.kind == "pool")
    assert sorted(names) == sorted(["conv_1", reads_two.name])  # the second pool has a projection of its own


@pytest.mark.parametrize(
    ("nodes", "shape", "expected"),
    [
        # a head alone: 2 * 64 * 10
        ([], (64,), 2 * 64 * 10),
        # two layers of 32 and the head
        ([Node("dense", (0,), {"width": 32, "depth": 2})], (64,), 2 * (64 * 32 + 32 * 32 + 32 * 10)),
        # a 3x3 convolution, stride 2, on 8x8: 4x4 positions
        ([Node("conv", (0,), {"channels": 4, "stride": 2})], (3, 8, 8), 2 * (16 * 4 * 27 + 64 * 10)),
        # depthwise 3x3, then pointwise
        (
            [Node("conv", (0,), {"channels": 4, "separable": True})],
            (3, 8, 8),
            2 * (64 * 3 * 9 + 64 * 3 * 4 + 256 * 10),
        ),
        # width 8, 5 positions: enter, query-key-value, two products, project, MLP of ratio 2, head of 40
        (
            [Node("attention", (0,), {"heads": 2, "head_width": 4, "mlp_ratio": 2})],
            (3, 5),
            2 * (5 * 3 * 8 + 5 * 8 * 24 + 2 * 2 * 5 * 5 * 4 + 5 * 8 * 8 + 2 * 5 * 8 * 16 + 40 * 10),
        ),
        # the sum projects 3 features to 16 in an adapter
        (
            [Node("dense", (0,), {"width": 16}), Node("dense", (0, 1), {"width": 4, "merge": "sum"})],
            (3,),
            2 * (3 * 16 + 3 * 16 + 16 * 4 + 4 * 10),
        ),
    ],
)
def test_flops_worked_by_hand(nodes: list[Node], shape: tuple[int, ...], expected: int) -> None:
    topology = Topology((X, *nodes, Node("output", (len(nodes),), {"name": "y"})))
    assert count_flops(plan(topology, {"x": shape}, {"y": (10,)})) == expected
