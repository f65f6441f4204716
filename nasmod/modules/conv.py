"""The kind ``conv``: convolutions on an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from nasmod.modules.kind import Parameters, Plain, Shape

if TYPE_CHECKING:
    from torch import nn


class ConvParameters(Parameters):
    """What a convolutional module is made of."""

    channels: int = Field(16, ge=1, le=8192, description="channels of every layer")
    depth: int = Field(1, ge=1, le=64, description="layers")
    kernel: Literal[1, 3, 5, 7] = 3
    stride: Literal[1, 2, 3, 4] = Field(1, description="of the first layer; the others keep the size")
    separable: bool = Field(False, description="depthwise, then pointwise: fewer FLOPs")
    activation: Literal["relu", "leaky_relu", "gelu", "silu"] = "relu"
    normalisation: Literal["batch", "none"] = "batch"
    residual: bool = Field(False, description="each layer adds to what it reads, where sizes agree")


class Conv:
    """Convolutions on an image, padded so that only the stride changes its size.

    >>> Conv().output_shape((3, 7, 7), ConvParameters(channels=16, stride=2))
    (16, 4, 4)
    """

    Parameters = ConvParameters
    accepts = (3,)

    def output_shape(self, shape: Shape, params: ConvParameters) -> Shape:
        _, height, width = shape
        return (params.channels, -(-height // params.stride), -(-width // params.stride))

    def arguments(self, shape: Shape, params: ConvParameters) -> dict[str, Plain]:
        return {"features": shape[0], **params.model_dump()}

    def network(self) -> type[nn.Module]:
        import torch
        from torch import nn

        class Conv(nn.Module):
            """Convolutions: (B, features, H, W) -> (B, channels, ceil(H / stride), ceil(W / stride))."""

            def __init__(
                self,
                features: int,
                channels: int,
                depth: int = 1,
                kernel: int = 3,
                stride: int = 1,
                separable: bool = False,
                activation: str = "relu",
                normalisation: str = "batch",
                residual: bool = False,
            ) -> None:
                super().__init__()
                activations = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU, "gelu": nn.GELU, "silu": nn.SiLU}
                bias = normalisation == "none"  # a batch norm has its own
                self.residual = residual
                self.layers = nn.ModuleList()
                for index in range(depth):
                    read = features if index == 0 else channels
                    step = stride if index == 0 else 1
                    layer = nn.Sequential()
                    if separable:
                        layer.append(nn.Conv2d(read, read, kernel, step, kernel // 2, groups=read, bias=False))
                        layer.append(nn.Conv2d(read, channels, 1, bias=bias))
                    else:
                        layer.append(nn.Conv2d(read, channels, kernel, step, kernel // 2, bias=bias))
                    if normalisation == "batch":
                        layer.append(nn.BatchNorm2d(channels))
                    layer.append(activations[activation]())
                    self.layers.append(layer)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                for layer in self.layers:
                    y = layer(x)
                    x = x + y if self.residual and x.shape[1:] == y.shape[1:] else y
                return x

        return Conv
