"""Channels last changes where numbers lie, never what they are."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from nasmod.training.layout import channels_last


def test_gradients_are_the_same_and_lie_with_channels_last() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    turned = copy.deepcopy(plain)
    images = torch.randn(5, 3, 8, 8)
    seen: list[Tensor] = []
    plain(images).square().sum().backward()
    with channels_last(turned):
        turned[2].register_full_backward_hook(lambda module, given, received: seen.append(received[0]))
        turned(images).square().sum().backward()
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    for ours, theirs in zip(turned.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-5)
    assert not turned[3]._forward_pre_hooks
