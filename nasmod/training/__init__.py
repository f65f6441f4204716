"""Training: the loop, checkpoints, devices. Importing this room imports no torch; using what needs it does."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nasmod.training.result import Epoch, TrainingFailed, TrainResult, why_failed
from nasmod.training.seeds import derive
from nasmod.training.settings import TrainingSettings

if TYPE_CHECKING:
    from nasmod.training.checkpoints import load_weights, save_weights
    from nasmod.training.devices import device_for
    from nasmod.training.evaluation import accuracy_of, evaluate, loss_of, r_squared
    from nasmod.training.loop import train

__all__ = [
    "Epoch",
    "TrainResult",
    "TrainingFailed",
    "TrainingSettings",
    "accuracy_of",
    "derive",
    "device_for",
    "evaluate",
    "load_weights",
    "loss_of",
    "r_squared",
    "save_weights",
    "train",
    "why_failed",
]

_WITH_TORCH = {
    "accuracy_of": "evaluation",
    "device_for": "devices",
    "evaluate": "evaluation",
    "load_weights": "checkpoints",
    "loss_of": "evaluation",
    "r_squared": "evaluation",
    "save_weights": "checkpoints",
    "train": "loop",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
