"""AdamW on a whole network as one tensor: its trainable parameters, their gradients and their moments.

Zeroing, clipping and the step then cost one operation each instead of one per parameter, a third of a step of the small
networks that a search trains. The arithmetic is torch's own fused kernel, the values those of plain parameters. A
running average of the parameters, where one is wanted, costs one operation more.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from nasmod.training.devices import fused_optimizer

ALIGNMENT = 16  # numbers: 64 bytes, what vector instructions like
BETAS, EPSILON = (0.9, 0.999), 1e-8


class FlatAdamW:
    """A context: inside it the parameters of a network are views of one tensor, after it tensors of their own."""

    def __init__(self, network: nn.Module, weight_decay: float, average_over: float | None = None) -> None:
        """`average_over` is how many steps back the running average of the parameters reaches; None: none is kept."""
        self._parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        types = {(parameter.dtype, parameter.device) for parameter in self._parameters}
        assert len(types) == 1, f"trainable parameters must be of one type on one device; got {types}"
        self._offsets = []
        end = 0
        for parameter in self._parameters:
            self._offsets.append(end)
            end += -(-parameter.numel() // ALIGNMENT) * ALIGNMENT
        self._weight_decay = weight_decay
        self._fused = fused_optimizer(self._parameters[0].device)
        self.values = torch.zeros(end, dtype=self._parameters[0].dtype, device=self._parameters[0].device)
        self.gradient, self.mean, self.square = (torch.zeros_like(self.values) for _ in range(3))
        self.steps = torch.zeros((), device=self.values.device)
        self._average_over = average_over
        self.average = None if average_over is None else torch.zeros_like(self.values)
        self._taken = 0  # steps, as a plain number: reading `steps` would wait for a GPU

    def __enter__(self) -> FlatAdamW:
        self.gather()
        return self

    def __exit__(self, *_: object) -> None:
        for parameter in self._parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None

    def gather(self) -> None:
        """Start from a clean gradient, and take in every parameter that someone has replaced meanwhile."""
        self.gradient.zero_()
        for parameter, offset in zip(self._parameters, self._offsets, strict=True):
            view = _view(self.values, offset, parameter)
            if parameter.data_ptr() != view.data_ptr():
                view.copy_(parameter.detach())
                parameter.data = view
            parameter.grad = _view(self.gradient, offset, parameter)

    @torch.no_grad()
    def step(self, learning_rate: float, clip_norm: float | None) -> None:
        """One step of AdamW along the gradient, scaled down to a norm of at most `clip_norm`; forgets the gradient."""
        too_long = None  # how many times the norm that is allowed; the kernel divides by it
        if clip_norm is not None:
            too_long = torch.linalg.vector_norm(self.gradient).div_(clip_norm).clamp_min_(1.0)
            if not self._fused:
                self.gradient.div_(too_long)
        adamw(
            [self.values],
            [self.gradient],
            [self.mean],
            [self.square],
            [],
            [self.steps],
            fused=self._fused,
            foreach=False,
            grad_scale=too_long if self._fused else None,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )
        self.gradient.zero_()
        if self.average is not None and self._average_over is not None:
            self._taken += 1
            self.average.lerp_(self.values, 1 / min(self._taken, self._average_over))  # at first of all steps alike

    @torch.no_grad()
    def put_average(self, copy: nn.Module) -> None:
        """Give a copy of the network the averaged parameters."""
        assert self.average is not None, "no average is kept"
        own = [parameter for parameter in copy.parameters() if parameter.requires_grad]
        for parameter, offset in zip(own, self._offsets, strict=True):
            parameter.copy_(_view(self.average, offset, parameter))

    def state(self) -> dict[str, Tensor]:
        """What it remembers from step to step, besides the parameters themselves."""
        state = {"mean": self.mean, "square": self.square, "steps": self.steps}
        return state if self.average is None else {**state, "average": self.average}

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Remember what `state` told; ValueError if that was another network's."""
        own = self.state()
        if "average" in own and "average" not in state:  # a checkpoint of a version that kept none
            state = {**state, "average": self.values}
        if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in own.items()}:
            raise ValueError("The optimizer's state does not fit the network.")
        for name, value in own.items():
            value.copy_(state[name])
        self._taken = int(self.steps)


def _view(flat: Tensor, offset: int, parameter: Tensor) -> Tensor:
    stride = parameter.stride()
    if not (parameter.is_contiguous() or parameter.is_contiguous(memory_format=torch.channels_last)):
        stride = torch.empty(parameter.shape, device="meta").stride()
    return flat.as_strided(parameter.shape, stride, offset)
