"""Module kinds: what a node of a topology is. Importing them imports no torch."""

from nasmod.modules.kind import ModuleKind, Parameters, Shape, build, check_params, is_trained, kind, network_class

__all__ = ["ModuleKind", "Parameters", "Shape", "build", "check_params", "is_trained", "kind", "network_class"]
