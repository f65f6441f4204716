"""A slot: a module by itself, without its place in a topology."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nasmod.topology import Parameter


@dataclass(frozen=True)
class Slot:
    """What fills a slot: a kind, all its parameters, and how it merges if it reads several nodes."""

    kind: str
    params: Mapping[str, Parameter]
    merge: str
