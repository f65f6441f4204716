"""The kind ``attention``: self-attention over a sequence, or over the positions of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from nasmod.modules.kind import Parameters, Plain, Shape

if TYPE_CHECKING:
    from torch import nn


class AttentionParameters(Parameters):
    """What an attention module is made of; its width is ``heads * head_width``, so heads always divide it."""

    heads: int = Field(4, ge=1, le=256)
    head_width: int = Field(16, ge=1, le=1024)
    depth: int = Field(1, ge=1, le=64, description="blocks of attention and MLP")
    mlp_ratio: Literal[1, 2, 3, 4] = Field(2, description="hidden units of the MLP over the width")
    position: Literal["learned", "sinusoidal"] = "learned"


class Attention:
    """Self-attention over a sequence, or over the positions of an image.

    >>> Attention().output_shape((3, 8, 8), AttentionParameters(heads=2, head_width=8))
    (16, 8, 8)
    """

    Parameters = AttentionParameters
    accepts = (2, 3)

    def output_shape(self, shape: Shape, params: AttentionParameters) -> Shape:
        return (params.heads * params.head_width, *shape[1:])

    def arguments(self, shape: Shape, params: AttentionParameters) -> dict[str, Plain]:
        return {"features": shape[0], "positions": math.prod(shape[1:]), **params.model_dump()}

    def network(self) -> type[nn.Module]:
        import torch
        from torch import nn
        from torch.nn import functional as F

        class Attention(nn.Module):
            """Pre-norm transformer blocks: (B, features, *positions) -> (B, heads * head_width, *positions)."""

            class Block(nn.Module):
                def __init__(self, width: int, heads: int, mlp_ratio: int) -> None:
                    super().__init__()
                    self.heads = heads
                    self.attention_norm = nn.LayerNorm(width)
                    self.query_key_value = nn.Linear(width, 3 * width)
                    self.project = nn.Linear(width, width)
                    self.mlp = nn.Sequential(
                        nn.LayerNorm(width),
                        nn.Linear(width, mlp_ratio * width),
                        nn.GELU(),
                        nn.Linear(mlp_ratio * width, width),
                    )

                def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, width)
                    heads = self.query_key_value(self.attention_norm(x)).unflatten(2, (3, self.heads, -1))
                    query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head_width)
                    mixed = F.scaled_dot_product_attention(query, key, value)
                    x = x + self.project(mixed.transpose(1, 2).flatten(2))
                    change: torch.Tensor = self.mlp(x)
                    return x + change

            def __init__(
                self,
                features: int,
                positions: int,
                heads: int = 4,
                head_width: int = 16,
                depth: int = 1,
                mlp_ratio: int = 2,
                position: str = "learned",
            ) -> None:
                super().__init__()
                width = heads * head_width
                self.enter = nn.Linear(features, width)
                if position == "learned":
                    self.position = nn.Parameter(0.02 * torch.randn(positions, width))
                else:
                    half = (width + 1) // 2
                    rate = torch.exp(-math.log(10000.0) / half * torch.arange(half))
                    angle = torch.arange(positions)[:, None] * rate  # (T, half)
                    wave = torch.cat([angle.sin(), angle.cos()], dim=1)[:, :width]
                    self.register_buffer("position", wave, persistent=False)
                self.blocks = nn.ModuleList(self.Block(width, heads, mlp_ratio) for _ in range(depth))
                self.leave = nn.LayerNorm(width)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                places = x.shape[2:]
                x = self.enter(x.flatten(2).transpose(1, 2)) + self.position  # (B, T, width)
                for block in self.blocks:
                    x = block(x)
                x = self.leave(x)
                return x.transpose(1, 2).reshape(x.shape[0], -1, *places)

        return Attention
