"""Module kinds: what a node of a topology is. Importing them imports no torch."""

from nasmod.modules.kind import (
    ModuleKind,
    Noted,
    Parameters,
    Shape,
    build,
    check_params,
    gives_outputs,
    has_source,
    is_trained,
    kind,
    network_class,
)

__all__ = [
    "ModuleKind",
    "Noted",
    "Parameters",
    "Shape",
    "build",
    "check_params",
    "gives_outputs",
    "has_source",
    "is_trained",
    "kind",
    "network_class",
]
