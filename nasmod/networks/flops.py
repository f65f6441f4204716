"""What a plan costs: floating point operations (2 per multiply-add) and parameters, without running it."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nasmod.networks.network import build
from nasmod.networks.plan import Plan


def count_flops(plan: Plan) -> int:
    """Operations of one forward pass of one example: convolutions, products and attention."""
    with torch.device("meta"), torch.no_grad():
        network = build(plan).eval()
        example = {name: torch.zeros(1, *shape) for name, shape in plan.inputs.items()}
        with FlopCounterMode(display=False) as counter:
            network(example)
    return int(counter.get_total_flops())


def count_parameters(network: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(parameter.numel() for parameter in network.parameters())
