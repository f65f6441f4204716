"""Changes of a trained network, by hand, that leave what it computes as it was or nearly so.

`NOTHING_GAINED` are those by which modularity must gain nothing. `behind_fronts` is the known exception: modules that
only pass on an input of their own, put in front of what is trained, carry that input alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from benchmarks.truth.parts import Part, Parts, network_of
from benchmarks.truth.training import tensors
from benchmarks.truth.worlds import World
from nasmod.topology import OUTPUT

UNITS = 8  # of a module put beside the others
LITTLE = 0.05  # of the outputs' RMS: what trivial modules beside the others move


def rescaled_units(parts: Parts, world: World) -> Parts:
    """Every module's units times a factor, and what reads them divided by it: ReLU lets positive factors through."""
    found, generator = copy.deepcopy(parts), torch.Generator().manual_seed(4)
    for name, part in found.items():
        if part.kind == OUTPUT:
            continue
        factor = torch.exp(2 * torch.randn(part.width, generator=generator))
        if part.later:
            weight, bias = part.later[-1]
            part.later[-1] = weight * factor[:, None], bias * factor
        else:
            part.reads = {source: weight * factor[:, None] for source, weight in part.reads.items()}
            part.bias = part.bias * factor
        for reader in found.values():
            if name in reader.reads:
                reader.reads[name] = reader.reads[name] / factor
    return found


def dead_modules(parts: Parts, world: World) -> Parts:
    """A module for each input that the outputs read with weights of 0."""
    return _beside(parts, _random_modules(world), lambda output, name, width: torch.zeros(output.width, width))


def duplicated_modules(parts: Parts, world: World) -> Parts:
    """Every module twice, with half of the weights that read it for each."""
    found: Parts = {}
    for name, part in copy.deepcopy(parts).items():
        for source in [source for source in part.reads if source in parts]:
            part.reads[source] = part.reads[source] / 2
            part.reads[f"{source} again"] = part.reads[source]
        found[name] = part
        if part.kind != OUTPUT:
            found[f"{name} again"] = copy.deepcopy(part)
    return found


def cancelling_pairs(parts: Parts, world: World) -> Parts:
    """Two equal modules for each input: what one tells the outputs, the other takes back."""
    modules, generator = _random_modules(world), torch.Generator().manual_seed(6)
    told = _beside(
        parts, modules, lambda output, name, width: 3 * torch.randn(output.width, width, generator=generator)
    )
    back = {f"{name} again": part for name, part in modules.items()}
    return _beside(told, back, lambda output, name, width: -output.reads[name.removesuffix(" again")])


def one_unit_modules(parts: Parts, world: World) -> Parts:
    """A module of a single unit for each input, which moves the outputs a little."""
    return _moving_little(parts, world, _random_modules(world, units=1))


def identity_modules(parts: Parts, world: World) -> Parts:
    """A module for each input that passes it on, and moves the outputs a little."""
    return _moving_little(parts, world, {name: front for name, (front, _) in _fronts(world).items()})


NOTHING_GAINED: Mapping[str, Callable[[Parts, World], Parts]] = {
    "rescaled units": rescaled_units,
    "dead modules": dead_modules,
    "duplicated modules": duplicated_modules,
    "cancelling pairs": cancelling_pairs,
    "one-unit modules beside": one_unit_modules,
    "identity modules beside": identity_modules,
}


def behind_fronts(parts: Parts, world: World, share: float = 1.0) -> Parts:
    """A module in front of each input that passes it on, through which this share of every weight reads the input."""
    fronts, rest = _fronts(world), copy.deepcopy(parts)
    for part in rest.values():
        for front, (made, shift) in fronts.items():
            (given,) = made.reads
            if given not in part.reads:
                continue
            weight = part.reads.pop(given)
            part.reads[front] = share * weight
            part.bias = part.bias - share * shift * weight.sum(1)
            if share < 1:
                part.reads[given] = (1 - share) * weight
    return {front: made for front, (made, _) in fronts.items()} | rest


def _fronts(world: World) -> dict[str, tuple[Part, float]]:
    """A module for each input that passes it on, shifted above 0 so that ReLU does nothing; and that shift."""
    found = {}
    for name, shape in world.dataset.inputs.items():
        size = int(torch.Size(shape).numel())
        mean, spread = world.dataset.normalisation[name]
        shift = float((mean / spread).max())  # raw values are 0 or more
        part = Part("dense", {"width": size}, {name: torch.eye(size)}, torch.full((size,), shift))
        found[f"front of {name}"] = part, shift
    return found


def _random_modules(world: World, units: int = UNITS) -> Parts:
    generator = torch.Generator().manual_seed(3)
    found = {}
    for name, shape in world.dataset.inputs.items():
        size = int(torch.Size(shape).numel())
        weight = torch.randn(units, size, generator=generator) / size**0.5
        found[f"beside {name}"] = Part("dense", {"width": units}, {name: weight}, torch.zeros(units))
    return found


def _beside(parts: Parts, modules: Parts, weights: Callable[[Part, str, int], Tensor]) -> Parts:
    """The parts with more modules, which all outputs read with the weights (units of the output, width) given."""
    rest = copy.deepcopy(parts)
    for part in rest.values():
        if part.kind == OUTPUT:
            part.reads |= {name: weights(part, name, module.width) for name, module in modules.items()}
    return {**copy.deepcopy(modules), **rest}


@torch.no_grad()
def _moving_little(parts: Parts, world: World, modules: Parts) -> Parts:
    """The parts with modules beside them that together move each output by `LITTLE` of its RMS."""
    generator = torch.Generator().manual_seed(5)
    found = _beside(parts, modules, lambda output, name, width: torch.randn(output.width, width, generator=generator))
    inputs, _ = tensors(world, "validation")
    before, after = (network_of(these, world.dataset)(inputs) for these in (parts, found))
    for name, output in before.items():
        scale = LITTLE * (output.square().mean() / (after[name] - output).square().mean()).sqrt()
        for module in modules:
            found[name].reads[module] *= scale
    return found
