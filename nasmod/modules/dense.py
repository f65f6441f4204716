"""The kind ``dense``: fully connected layers on a flat vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from nasmod.modules.kind import Parameters, Plain, Shape

if TYPE_CHECKING:
    from torch import nn


class DenseParameters(Parameters):
    """What a dense module is made of."""

    width: int = Field(64, ge=1, le=65536, description="units of every layer")
    depth: int = Field(1, ge=1, le=64, description="layers")
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    normalisation: Literal["none", "layer", "batch"] = "none"
    residual: bool = Field(False, description="each layer adds to what it reads, where sizes agree")


class Dense:
    """Fully connected layers on a flat vector.

    >>> Dense().output_shape((64,), DenseParameters(width=32))
    (32,)
    """

    Parameters = DenseParameters
    accepts = (1,)

    def output_shape(self, shape: Shape, params: DenseParameters) -> Shape:
        return (params.width,)

    def arguments(self, shape: Shape, params: DenseParameters) -> dict[str, Plain]:
        return {"features": shape[0], **params.model_dump()}

    def network(self) -> type[nn.Module]:
        import torch
        from torch import nn

        class Dense(nn.Module):
            """Fully connected layers: (B, features) -> (B, width)."""

            def __init__(
                self,
                features: int,
                width: int,
                depth: int = 1,
                activation: str = "relu",
                normalisation: str = "none",
                residual: bool = False,
            ) -> None:
                super().__init__()
                activations = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh}
                normalisations = {"none": nn.Identity, "layer": nn.LayerNorm, "batch": nn.BatchNorm1d}
                self.residual = residual
                self.layers = nn.ModuleList()
                for index in range(depth):
                    linear = nn.Linear(features if index == 0 else width, width)
                    self.layers.append(
                        nn.Sequential(linear, normalisations[normalisation](width), activations[activation]())
                    )

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                for layer in self.layers:
                    y = layer(x)
                    x = x + y if self.residual and x.shape[1:] == y.shape[1:] else y
                return x

        return Dense
