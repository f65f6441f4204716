"""Stopping rules: which candidates are not worth their remaining epochs. One file each."""

from nasmod.search.stopping.rule import (
    BracketedRule,
    PromotingRule,
    StoppingRule,
    StoppingSettings,
    check,
    make,
    promoting,
    rungs_of,
)

__all__ = [
    "BracketedRule",
    "PromotingRule",
    "StoppingRule",
    "StoppingSettings",
    "check",
    "make",
    "promoting",
    "rungs_of",
]
