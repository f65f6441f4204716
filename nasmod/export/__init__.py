"""A trained topology as files that run without nasmod. Importing this room imports no torch; exporting does."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasmod.export.exporting import Exported, export
    from nasmod.export.source import model_source

__all__ = ["Exported", "export", "model_source"]

_WITH_TORCH = {"Exported": "exporting", "export": "exporting", "model_source": "source"}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
