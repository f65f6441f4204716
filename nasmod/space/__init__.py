"""What may be proposed: search spaces, and topologies as parameters and back."""

from nasmod.space.distributions import Choice, Distribution, Integer, Real, Suggest
from nasmod.space.file import SpaceFile
from nasmod.space.space import Space

__all__ = ["Choice", "Distribution", "Integer", "Real", "Space", "SpaceFile", "Suggest"]
