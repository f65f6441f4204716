"""A topology with every shape resolved (`Plan`), and what reads it: the network, its FLOPs, its lesions."""

from nasmod.networks.adapters import Layer
from nasmod.networks.flops import count_flops, count_parameters
from nasmod.networks.lesions import lesion, module_steps
from nasmod.networks.network import Network, build
from nasmod.networks.plan import Plan, Step, plan

__all__ = [
    "Layer",
    "Network",
    "Plan",
    "Step",
    "build",
    "count_flops",
    "count_parameters",
    "lesion",
    "module_steps",
    "plan",
]
