"""Neural architecture search for modular networks: start a study, resume it anywhere, export the best topology.

    import nasmod

    study = nasmod.start("digits")      # or nasmod.resume("digits"), nasmod.load("digits")
    study.best, study.front(), study.dataframe()
    study.export("exported/digits")

Names are imported on first use, so that ``import nasmod`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasmod.api import SearchStudy, compare, load, new, predict, resume, start, try_topology
    from nasmod.errors import NasmodError
    from nasmod.measures.objective import Objective
    from nasmod.registry import register
    from nasmod.study.definition import Study
    from nasmod.topology import Node, Topology

_HOMES = {
    "NasmodError": "nasmod.errors",
    "Node": "nasmod.topology",
    "Objective": "nasmod.measures.objective",
    "SearchStudy": "nasmod.api",
    "Study": "nasmod.study.definition",
    "Topology": "nasmod.topology",
    "compare": "nasmod.api",
    "load": "nasmod.api",
    "new": "nasmod.api",
    "predict": "nasmod.api",
    "register": "nasmod.registry",
    "resume": "nasmod.api",
    "start": "nasmod.api",
    "try_topology": "nasmod.api",
}

__all__ = [
    "NasmodError",
    "Node",
    "Objective",
    "SearchStudy",
    "Study",
    "Topology",
    "compare",
    "load",
    "new",
    "predict",
    "register",
    "resume",
    "start",
    "try_topology",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("nasmod")
    if name not in _HOMES:
        raise AttributeError(f"module 'nasmod' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
