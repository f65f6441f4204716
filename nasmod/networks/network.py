"""The network of a plan. Its submodules are named as an exported model names them, so both share one state dict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from nasmod.modules import build as build_module
from nasmod.networks.adapters import Layer
from nasmod.networks.plan import Plan, Step


class Gate(nn.Module):
    """A learned weighted mean of several tensors of one shape."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(count))  # before the softmax

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        shares = self.weights.softmax(0)
        mixed = shares[0] * tensors[0]
        for share, tensor in zip(shares[1:], tensors[1:], strict=True):
            mixed = mixed + share * tensor
        return mixed


class Network(nn.Module):
    """Reads raw values (`uint8` or floats), normalises them itself, and gives one tensor (B, size) per output."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        for step in plan.steps:
            if step.is_input:
                per_feature = (step.shape[0], *(1 for _ in step.shape[1:]))
                self.register_buffer(f"{step.name}_mean", torch.zeros(per_feature))
                self.register_buffer(f"{step.name}_std", torch.ones(per_feature))
                continue
            for position, layers in enumerate(step.adapters):
                if layers:
                    self.add_module(plan.adapter_name(step, position), build_adapter(layers))
            if step.merge == "gated":
                self.add_module(f"{step.name}_gate", Gate(len(step.sources)))
            if step.has_head:
                self.add_module(f"{step.name}_head", nn.Linear(step.merged[0], step.shape[0]))
            elif not step.is_output:
                self.add_module(step.name, build_module(step.node.kind, step.merged, step.node.params))

    def normalise(self, normalisation: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
        """Set what is taken from raw values, and what they are divided by: mean and spread per feature (features,)."""
        for name in self.plan.inputs:
            if name in normalisation:
                step = self.plan.steps[self.plan.input_step(name)].name
                for part, values in zip(("mean", "std"), normalisation[name], strict=True):
                    buffer = self.get_buffer(f"{step}_{part}")
                    buffer.copy_(torch.as_tensor(values, dtype=buffer.dtype).reshape(buffer.shape))

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name, from inputs by name (B, *shape)."""
        return self.outputs(self.run(inputs))

    def outputs(self, found: Mapping[int, Tensor]) -> dict[str, Tensor]:
        """Outputs by name, out of what `run` gave."""
        return {name: found[self.plan.output_step(name)] for name in self.plan.outputs}

    def run(
        self,
        inputs: Mapping[str, Tensor],
        replaced: Mapping[int, Tensor] | None = None,
        known: Mapping[int, Tensor] | None = None,
        wanted: Iterable[int] | None = None,
    ) -> dict[int, Tensor]:
        """What the steps give, by index.

        The steps in `replaced` give that tensor whatever they read, those in `known` need not be computed again, and
        with `wanted` only what those steps need is computed. A replacement (1, *shape) stands for every example;
        what depends on such constants alone is computed once, and so has a batch of one too.
        """
        steps = self.plan.steps
        found = {**(known or {}), **(replaced or {})}
        needed = set(range(len(steps)) if wanted is None else wanted)
        for index in reversed(range(len(steps))):
            if index in needed and index not in found:
                needed.update(steps[index].sources)
        for index, step in enumerate(steps):
            if index in needed and index not in found:
                found[index] = self._normalised(step, inputs) if step.is_input else self._step(step, found)
        return found

    def _normalised(self, step: Step, inputs: Mapping[str, Tensor]) -> Tensor:
        values = inputs[str(step.node.params["name"])]
        return (values.float() - self.get_buffer(f"{step.name}_mean")) / self.get_buffer(f"{step.name}_std")

    def _step(self, step: Step, found: Mapping[int, Tensor]) -> Tensor:
        tensors = [found[source] for source in step.sources]
        for position, layers in enumerate(step.adapters):
            if layers:
                tensors[position] = self._call(self.plan.adapter_name(step, position), tensors[position])
        if step.merge == "gated":
            x = self._call(f"{step.name}_gate", *tensors)
        elif step.merge == "sum":
            x = tensors[0]
            for tensor in tensors[1:]:
                x = x + tensor
        elif step.merge == "concat":
            batch = max(len(tensor) for tensor in tensors)
            x = torch.cat([tensor.expand(batch, *tensor.shape[1:]) for tensor in tensors], dim=1)
        else:
            x = tensors[0]
        if step.is_output and not step.has_head:
            return x
        return self._call(f"{step.name}_head" if step.is_output else step.name, x)

    def _call(self, name: str, *tensors: Tensor) -> Tensor:
        found: Tensor = self._modules[name](*tensors)  # type: ignore[misc]  # every name is added in `__init__`
        return found


def build(plan: Plan) -> Network:
    """The network of a plan, its weights drawn from torch's global generator."""
    return Network(plan)


def build_adapter(layers: tuple[Layer, ...]) -> nn.Module:
    """One layer, or several in a row."""
    made = [getattr(nn, layer.name)(**layer.arguments) for layer in layers]
    return made[0] if len(made) == 1 else nn.Sequential(*made)
