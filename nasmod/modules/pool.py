"""The kind ``pool``: a smaller image. It has no parameters to train, so it is never lesioned by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nasmod.modules.kind import Parameters, Plain, Shape

if TYPE_CHECKING:
    from torch import nn


class PoolParameters(Parameters):
    """What a pooling module is made of."""

    mode: Literal["max", "mean"] = "max"
    size: Literal[2, 3] = 2


class Pool:
    """Pooling of an image by windows that do not overlap.

    >>> Pool().output_shape((8, 7, 1), PoolParameters(size=2))
    (8, 4, 1)
    """

    Parameters = PoolParameters
    is_trained = False
    accepts = (3,)

    def output_shape(self, shape: Shape, params: PoolParameters) -> Shape:
        channels, height, width = shape
        return (channels, -(-height // params.size), -(-width // params.size))

    def arguments(self, shape: Shape, params: PoolParameters) -> dict[str, Plain]:
        return dict(params.model_dump())

    def network(self) -> type[nn.Module]:
        import torch
        from torch import nn
        from torch.nn import functional as F

        class Pool(nn.Module):
            """Pooling: (B, C, H, W) -> (B, C, ceil(H / size), ceil(W / size))."""

            def __init__(self, mode: str = "max", size: int = 2) -> None:
                super().__init__()
                self.mode = mode
                self.size = size

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                pool = F.max_pool2d if self.mode == "max" else F.avg_pool2d
                return pool(x, self.size, ceil_mode=True)

        return Pool
