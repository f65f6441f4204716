"""The kind ``skip``: what it reads, unchanged. It has no parameters to train, so it is never lesioned by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasmod.modules.kind import RANKS, Parameters, Plain, Shape

if TYPE_CHECKING:
    from torch import nn


class SkipParameters(Parameters):
    """There are none."""


class Skip:
    """The identity, on any shape: for places of a fixed wiring that may be passed over.

    >>> Skip().output_shape((8, 4, 4), SkipParameters())
    (8, 4, 4)
    """

    Parameters = SkipParameters
    is_trained = False
    accepts = RANKS

    def output_shape(self, shape: Shape, params: SkipParameters) -> Shape:
        return shape

    def arguments(self, shape: Shape, params: SkipParameters) -> dict[str, Plain]:
        return {}

    def network(self) -> type[nn.Module]:
        import torch
        from torch import nn

        class Skip(nn.Module):
            """The identity: (B, ...) -> (B, ...)."""

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x

        return Skip
