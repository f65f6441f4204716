"""A topology with every shape resolved (`Plan`), and what reads it: the network, its FLOPs, its lesions.

Plans need no torch, and importing this room imports none; using what needs it does.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nasmod.networks.adapters import Layer
from nasmod.networks.plan import Plan, Step, plan

if TYPE_CHECKING:
    from nasmod.networks.flops import count_flops, count_parameters
    from nasmod.networks.lesions import lesion, module_steps
    from nasmod.networks.network import Network, build

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

_WITH_TORCH = {
    "Network": "network",
    "build": "network",
    "count_flops": "flops",
    "count_parameters": "flops",
    "lesion": "lesions",
    "module_steps": "lesions",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
