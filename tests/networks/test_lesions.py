"""Lesions against the same thing done the slow way: forward hooks on the whole network."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasmod.networks import Network, build, lesion, module_steps, plan
from nasmod.topology import Node, Topology
from tests.strategies import shapes, wirings

torch.set_num_threads(1)


def by_hooks(network: Network, inputs: dict, lesioned: frozenset[int]) -> dict[str, torch.Tensor]:
    """Every lesioned module's output overwritten by its mean over the examples, everything run again."""
    with torch.no_grad():
        means = {index: tensor.mean(0, keepdim=True) for index, tensor in network.run(inputs).items()}
        handles = []
        for index in lesioned:
            module = network.get_submodule(network.plan.steps[index].name)
            handles.append(module.register_forward_hook(lambda *a, index=index: means[index].expand_as(a[2])))
        outputs = network(inputs)
    for handle in handles:
        handle.remove()
    return outputs


@settings(max_examples=60)
@given(topology=wirings(("a", "b"), ("y", "z")), sizes=st.tuples(shapes, shapes), batch=st.integers(1, 8))
def test_a_lesion_is_what_forward_hooks_would_do(topology: Topology, sizes: tuple, batch: int) -> None:
    found = plan(topology, {"a": sizes[0], "b": sizes[1]}, {"y": (3,), "z": (2,)})
    network = build(found).eval()
    inputs = {name: torch.randn(6, *shape) for name, shape in found.inputs.items()}
    modules = module_steps(network)
    sets = [frozenset(), *(frozenset(c) for size in (1, 2) for c in combinations(modules, size)), frozenset(modules)]
    for lesioned, outputs in zip(sets, lesion(network, inputs, sets, batch), strict=True):
        expected = by_hooks(network, inputs, lesioned)
        assert outputs.keys() == expected.keys()
        for name in outputs:
            torch.testing.assert_close(outputs[name], expected[name], rtol=1e-3, atol=1e-4)


def chain(length: int) -> Network:
    nodes = [Node("input", (), {"name": "x"}), *(Node("conv", (i,), {"channels": 4}) for i in range(length))]
    topology = Topology((*nodes, Node("output", (length,), {"name": "y"})))
    return build(plan(topology, {"x": (1, 6, 6)}, {"y": (3,)}))


def test_only_what_a_lesion_can_change_is_computed_again() -> None:
    network = chain(4)
    examples = dict.fromkeys(range(1, 5), 0)

    def count(index: int):
        def hook(module, arguments, output) -> None:
            examples[index] += len(output)

        return hook

    for index in examples:
        network.get_submodule(network.plan.steps[index].name).register_forward_hook(count(index))
    list(lesion(network, {"x": torch.randn(10, 1, 6, 6)}, [frozenset({2})], batch=10))
    # the means need steps 1 and 2, the whole network runs once, and after a constant comes one example
    assert examples == {1: 20, 2: 20, 3: 10 + 1, 4: 10 + 1}


@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_left_as_it_was(training: bool) -> None:
    network = chain(2).train(training)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, again = (
        list(lesion(network, {"x": x}, [frozenset(), frozenset({1})]))
        for x in [torch.arange(5 * 36).reshape(5, 1, 6, 6).to(torch.uint8)] * 2
    )
    assert network.training is training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(torch.equal(a["y"], b["y"]) for a, b in zip(first, again, strict=True))


def test_a_chain_says_the_same_for_every_example_once_it_is_cut() -> None:
    (outputs,) = lesion(chain(3), {"x": torch.randn(5, 1, 6, 6)}, [frozenset({2})], batch=2)
    assert outputs["y"].shape == (5, 3)
    torch.testing.assert_close(outputs["y"], outputs["y"][:1].expand(5, 3))
