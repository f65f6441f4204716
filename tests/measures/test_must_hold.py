"""What must hold for any measure offered as `parallelism`, on dense, convolutional and attention networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nasmod.data import Dataset
from nasmod.measures.parallelism import necessity
from nasmod.networks import Network
from nasmod.topology import Topology
from nasmod.training import TrainingSettings

Module = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Kind:
    """Modules of one kind, and how long they need on digits."""

    module: Module
    giant: Module
    tiny: Module
    epochs: int
    strong: float  # head weights by which modules that cancel each other outweigh the others


KINDS = {
    "dense": Kind(
        ("dense", {"width": 24, "depth": 2}),
        ("dense", {"width": 64, "depth": 2}),
        ("dense", {"width": 1, "depth": 2}),
        epochs=12,
        strong=30,
    ),
    "conv": Kind(
        ("conv", {"channels": 6, "depth": 2, "stride": 2, "normalisation": "none"}),
        ("conv", {"channels": 12, "depth": 2, "stride": 2, "normalisation": "none"}),
        ("conv", {"channels": 1, "depth": 2, "stride": 4, "normalisation": "none"}),
        epochs=10,
        strong=30,
    ),
    "attention": Kind(
        ("attention", {"heads": 2, "head_width": 3, "depth": 1}),
        ("attention", {"heads": 2, "head_width": 5, "depth": 1}),
        ("dense", {"width": 1, "depth": 2}),  # a head reads every position, so no attention module is tiny
        epochs=4,
        strong=3,
    ),
}


@dataclass
class Bench:
    """A kind with its trained networks, each made when first asked for."""

    kind: Kind
    data: Dataset
    tools: ModuleType
    found: dict[str, Network]

    def topology(self, name: str) -> Topology:
        wired, module = self.tools.wired, self.kind.module
        return {
            "one": lambda: wired([module], ()),
            "chain": lambda: wired([module] * 3, [(0, 1), (1, 2)]),
            "giant": lambda: wired([self.kind.giant, *[self.kind.tiny] * 3], ()),
            "parallel": lambda: wired([module] * 4, ()),
            "mixed": lambda: wired([module] * 3, [(0, 2)]),  # one feeds another, the third stands beside
        }[name]()

    def network(self, name: str) -> Network:
        """A trained network, to be looked at only."""
        if name not in self.found:
            training = TrainingSettings(epochs=self.kind.epochs, batch_size=64, learning_rate=5e-3)
            self.found[name] = self.tools.trained(self.topology(name), self.data, training, seed=0)
        return self.found[name]

    def score(self, network: Network) -> float:
        return self.measure(network)["parallelism"]

    def measure(self, network: Network) -> dict[str, float]:
        return {name: value.value for name, value in self.tools.measured(network, self.data).items()}

    def outputs(self, network: Network) -> Tensor:
        inputs = {"x": torch.as_tensor(self.data.validation.inputs["x"])}
        with torch.no_grad():
            return network.eval()(inputs)["y"]


@pytest.fixture(scope="module", params=list(KINDS))
def bench(request: pytest.FixtureRequest, digits: Dataset, fixtures: ModuleType) -> Bench:
    return Bench(KINDS[request.param], digits, fixtures, {})


@pytest.mark.parametrize("name", ["one", "chain"])
def test_one_module_and_a_monolith_cut_by_depth_score_zero(bench: Bench, name: str) -> None:
    assert bench.score(bench.network(name)) == 0


def test_a_giant_with_tiny_others_scores_almost_nothing(bench: Bench) -> None:
    assert bench.score(bench.network("giant")) < 0.05


def test_chance_level_scores_zero(bench: Bench) -> None:
    network = bench.tools.made(bench.topology("parallel"), bench.data, seed=1)
    found = bench.measure(network)
    assert found["parallelism"] == found["necessity"] == 0


def test_parallel_modules_that_share_the_work_score(bench: Bench) -> None:
    found = bench.measure(bench.network("parallel"))
    assert found["parallelism"] > 0.15
    assert found["independence"] == pytest.approx(1)  # nothing lies between them but a linear head


def test_replicas_score_almost_nothing(bench: Bench) -> None:
    network = bench.tools.averaged([bench.network("one")] * 4, bench.kind.module, bench.data)
    assert torch.allclose(bench.outputs(network), bench.outputs(bench.network("one")), atol=1e-4)
    assert bench.score(network) < 0.02


# Transformations that keep the function. Each edits a copy in place.


def modules(network: Network) -> list[torch.nn.Module]:
    return [network.get_submodule(step.name) for step in network.plan.steps if step.node.is_module]


def scale_the_head(network: Network, generator: torch.Generator) -> None:
    head = network.get_submodule("y_head")
    head.weight.mul_(10)
    head.bias.mul_(10)


def rescale_units(network: Network, generator: torch.Generator) -> None:
    """Units inside each module times a factor, what reads them divided by it; ReLU lets positive factors through."""
    for module in modules(network):
        if hasattr(module, "layers"):
            first, second = module.layers[0][0], module.layers[1][0]
            factor = torch.exp(2 * torch.randn(first.weight.shape[0], generator=generator))
            first.weight.mul_(per_row(factor, first.weight))
            first.bias.mul_(factor)
            second.weight.div_(per_row(factor, second.weight.transpose(0, 1)).transpose(0, 1))
            continue
        for block in module.blocks:  # values have no activation between them and the projection
            width = block.project.in_features
            factor = torch.exp(2 * torch.randn(width, generator=generator))
            block.query_key_value.weight[2 * width :].mul_(factor[:, None])
            block.query_key_value.bias[2 * width :].mul_(factor)
            block.project.weight.div_(factor)


def permute_units(network: Network, generator: torch.Generator) -> None:
    for module in modules(network):
        for first, second in hidden_layers(module):
            order = torch.randperm(first.weight.shape[0], generator=generator)
            first.weight.copy_(first.weight[order].clone())
            first.bias.copy_(first.bias[order].clone())
            second.weight.copy_(second.weight[:, order].clone())


def hidden_layers(module: torch.nn.Module) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
    if hasattr(module, "layers"):
        return [(module.layers[0][0], module.layers[1][0])]
    return [(block.mlp[1], block.mlp[3]) for block in module.blocks]


def per_row(factor: Tensor, weight: Tensor) -> Tensor:
    return factor.reshape(-1, *[1] * (weight.ndim - 1))


@pytest.mark.parametrize("change", [scale_the_head, rescale_units, permute_units])
@pytest.mark.parametrize("name", ["mixed", "parallel"])
def test_what_keeps_the_function_keeps_the_score(
    bench: Bench, name: str, change: Callable[[Network, torch.Generator], None]
) -> None:
    network = bench.network(name)
    changed = copy.deepcopy(network)
    with torch.no_grad():
        change(changed, torch.Generator().manual_seed(3))
    assert not same_weights(network, changed)
    scale = 10 if change is scale_the_head else 1
    assert torch.allclose(bench.outputs(changed), scale * bench.outputs(network), rtol=1e-3, atol=1e-3 * scale)
    expected, found = bench.measure(network), bench.measure(changed)
    assert expected["parallelism"] > 0
    assert found == pytest.approx(expected, abs=2e-4)


def same_weights(network: Network, other: Network) -> bool:
    return all(map(torch.equal, network.state_dict().values(), other.state_dict().values()))


def test_identity_depth_inside_modules_keeps_the_score(bench: Bench) -> None:
    network = bench.network("mixed")
    kind, params = bench.kind.module
    deeper = (kind, params | {"depth": params["depth"] + 1})
    changed = bench.tools.made(bench.tools.wired([deeper] * 3, [(0, 2)]), bench.data, seed=9)
    changed.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        for module in modules(changed):
            make_last_layer_the_identity(module)
    assert torch.allclose(bench.outputs(changed), bench.outputs(network), atol=1e-4)
    assert bench.measure(changed) == pytest.approx(bench.measure(network), abs=2e-4)


def make_last_layer_the_identity(module: torch.nn.Module) -> None:
    if not hasattr(module, "layers"):  # a residual block that adds nothing
        for layer in (module.blocks[-1].project, module.blocks[-1].mlp[3]):
            layer.weight.zero_()
            layer.bias.zero_()
        return
    layer = module.layers[-1][0]  # a ReLU after a ReLU changes nothing
    layer.bias.zero_()
    if layer.weight.ndim == 2:
        torch.nn.init.eye_(layer.weight)
    else:
        torch.nn.init.dirac_(layer.weight)


@pytest.mark.parametrize("pairs", [1, 4])
def test_modules_that_cancel_each_other_gain_nothing(bench: Bench, pairs: int) -> None:
    """A trained monolith beside untrained modules; what one of a pair tells the head, the other takes back."""
    alone = bench.network("one")
    network = bench.tools.cancelling(alone, bench.kind.module, bench.data, pairs, bench.kind.strong, seed=0)
    assert torch.allclose(bench.outputs(network), bench.outputs(alone), atol=0.05)
    found = bench.measure(network)
    assert len(carried(found)) == 1 + 2 * pairs
    assert necessity(carried(found), modules_wanted=4) > 0.5  # each of them is needed, by the other alone
    assert found["necessity"] < 0.01
    assert found["parallelism"] < 0.01


def test_what_trained_modules_carry_is_not_opposed(bench: Bench) -> None:
    for name in ("parallel", "mixed"):
        found = bench.measure(bench.network(name))
        assert found["necessity"] > 0.05
        assert found["necessity"] == pytest.approx(float(necessity(carried(found), modules_wanted=4)), abs=0.005)


def carried(found: dict[str, float]) -> np.ndarray:
    """The information of each module, opposed or not."""
    return np.array([value for name, value in found.items() if name.startswith("information.")])


def test_the_same_twice(bench: Bench) -> None:
    network = bench.network("mixed")
    first, second = (bench.tools.measured(network, bench.data) for _ in range(2))
    assert first == second  # standard errors too


@pytest.mark.slow
def test_more_randomly_wired_modules_show_no_upward_trend(digits: Dataset, fixtures: ModuleType) -> None:
    setting = fixtures.SETTINGS["digits"]
    training = TrainingSettings(epochs=20, batch_size=64, learning_rate=3e-3)
    means = []
    for count in (4, 8, 12, 16):
        scores = []
        for seed in range(5):
            topology = fixtures.wired([setting.module] * count, fixtures.random_wiring(count, 0.5, seed))
            network = fixtures.trained(topology, digits, training, seed)
            scores.append(fixtures.measured(network, digits)["parallelism"].value)
        means.append(np.mean(scores))
    assert means[-1] < means[0] + 0.05
    assert np.polyfit([4, 8, 12, 16], means, 1)[0] < 0.005  # per module
