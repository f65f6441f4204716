"""Roles: what each module does, as its share of each factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Role:
    """A module's share of one factor.

    `reads`: the share of the variance of its activation that the factor moves (1: it sees nothing else), None where
    factors are outputs or classes. `carries`: the share of the factor's effect on the outputs that flows through it,
    both enough and needed.
    """

    reads: float | None
    carries: float


Roles = Mapping[str, Mapping[str, Role]]
"""``{module: {factor: its role}}``"""


def to_json(roles: Roles) -> dict[str, dict[str, list[float | None]]]:
    """Plain form, for the database: ``{module: {factor: [reads, carries]}}``."""
    return {
        module: {factor: [role.reads, role.carries] for factor, role in of_module.items()}
        for module, of_module in roles.items()
    }


def from_json(stored: Mapping[str, Mapping[str, tuple[float | None, float]]]) -> dict[str, dict[str, Role]]:
    """What `to_json` gave.

    >>> from_json({"dense_1": {"a": [0.98, 0.95]}})["dense_1"]["a"].carries
    0.95
    """
    return {
        str(module): {
            str(factor): Role(None if reads is None else float(reads), float(carries))
            for factor, (reads, carries) in of_module.items()
        }
        for module, of_module in stored.items()
    }
