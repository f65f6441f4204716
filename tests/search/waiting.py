"""A kind with modules that wait at every step: its candidates take a while and leave the cores to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from nasmod.modules import Parameters, Shape
from nasmod.registry import register

if TYPE_CHECKING:
    from torch import nn


class WaitingParameters(Parameters):
    width: int = Field(16, ge=1, le=1024)
    milliseconds: int = Field(15, ge=0, le=1000, description="of waiting at each step of training")


class Waiting:
    """A layer that waits before it computes, as a worker waits for its GPU."""

    Parameters = WaitingParameters
    accepts = (1,)

    def output_shape(self, shape: Shape, params: WaitingParameters) -> Shape:
        return (params.width,)

    def arguments(self, shape: Shape, params: WaitingParameters) -> dict[str, Any]:
        return {"features": shape[0], "width": params.width, "seconds": params.milliseconds / 1000}

    def network(self) -> type[nn.Module]:
        import time

        import torch
        from torch import nn

        class Waiting(nn.Module):
            def __init__(self, features: int, width: int, seconds: float) -> None:
                super().__init__()
                self.linear, self.seconds = nn.Linear(features, width), seconds

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                if self.training:
                    time.sleep(self.seconds)
                return torch.tanh(self.linear(x))

        return Waiting


register("kind", "waiting", Waiting, WaitingParameters)
