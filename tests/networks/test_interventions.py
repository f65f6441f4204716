"""Interventions against the same thing done the slow way: forward hooks on the whole network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmod.networks import Network, build, module_steps, plan
from nasmod.networks.interventions import intervene
from nasmod.networks.lesions import FEWEST_EXAMPLES, MOST_EXAMPLES, examples_at_a_time
from nasmod.topology import Node, Topology
from tests.strategies import shapes, wirings

torch.set_num_threads(1)


def by_hook(network: Network, inputs: dict, step: int, given: torch.Tensor) -> dict[str, torch.Tensor]:
    """One module's output overwritten, everything else run as ever."""
    module = network.get_submodule(network.plan.steps[step].name)
    handle = module.register_forward_hook(lambda *_: given)
    with torch.no_grad():
        outputs = network(inputs)
    handle.remove()
    return outputs


@settings(max_examples=60)
@given(
    topology=wirings(("a", "b"), ("y", "z")),
    sizes=st.tuples(shapes, shapes),
    changed=st.sampled_from([("a",), ("b",), ("a", "b")]),
    batch=st.integers(1, 8),
)
def test_an_intervention_is_what_forward_hooks_would_do(
    topology: Topology, sizes: tuple, changed: tuple[str, ...], batch: int
) -> None:
    found = plan(topology, {"a": sizes[0], "b": sizes[1]}, {"y": (3,), "z": (2,)})
    network = build(found).eval()
    inputs = {name: torch.randn(6, *shape) for name, shape in found.inputs.items()}
    change = {name: torch.randn(inputs[name].shape) for name in changed if name in inputs}
    steps = module_steps(network)
    whole, (seen,) = intervene(network, inputs, [change], steps, batch)

    with torch.no_grad():
        before, after = network.run(inputs), network.run({**inputs, **change})
    expected = [(whole, network.outputs(before)), (seen.changed, network.outputs(after))]
    for position, step in enumerate(steps):
        expected.append((seen.through[position], by_hook(network, inputs, step, after[step])))
        expected.append((seen.around[position], by_hook(network, {**inputs, **change}, step, before[step])))
    for outputs, wanted in expected:
        assert outputs.keys() == wanted.keys()
        for name in outputs:
            torch.testing.assert_close(outputs[name], wanted[name], rtol=1e-3, atol=1e-4)


def calls(topology: Topology) -> list[int]:
    """How often each module is called when one change is followed through all of them."""
    network = build(plan(topology, {"x": (4,)}, {"y": (3,)}))
    steps = module_steps(network)
    counted = dict.fromkeys(steps, 0)

    def count(step: int):
        def hook(*_: object) -> None:
            counted[step] += 1

        return hook

    for step in steps:
        network.get_submodule(network.plan.steps[step].name).register_forward_hook(count(step))
    intervene(network, {"x": torch.randn(10, 4)}, [{"x": torch.randn(10, 4)}], steps)
    return list(counted.values())


def test_behind_a_module_that_everything_passes_nothing_is_computed_again() -> None:
    nodes = [Node("input", (), {"name": "x"}), *(Node("dense", (i,), {"width": 4}) for i in range(3))]
    assert calls(Topology((*nodes, Node("output", (3,), {"name": "y"})))) == [2, 2, 2]  # as it is, and changed


def test_where_two_ways_meet_it_is_computed_once_for_each_module_through_and_around() -> None:
    modules = [
        Node("dense", (0,), {"width": 4}),
        Node("dense", (0,), {"width": 4}),
        Node("dense", (1, 2), {"width": 4}),
    ]
    topology = Topology((Node("input", (), {"name": "x"}), *modules, Node("output", (3,), {"name": "y"})))
    assert calls(topology) == [2, 2, 2 + 4]


@pytest.mark.parametrize(("channels", "side"), [(1, 4), (8, 28), (64, 64)])
def test_fewer_examples_of_a_larger_network_are_run_at_a_time(channels: int, side: int) -> None:
    nodes = (Node("input", (), {"name": "x"}), Node("conv", (0,), {"channels": channels}))
    network = build(plan(Topology((*nodes, Node("output", (1,), {"name": "y"}))), {"x": (1, side, side)}, {"y": (3,)}))
    expected = {1: MOST_EXAMPLES, 8: 2**21 // (9 * 28 * 28 + 3), 64: FEWEST_EXAMPLES}
    assert examples_at_a_time(network) == expected[channels]
