"""Stopping rules: which candidates are not worth their remaining epochs. One file each."""

from nasmod.search.stopping.rule import PromotingRule, StoppingRule, StoppingSettings, check, make, promoting

__all__ = ["PromotingRule", "StoppingRule", "StoppingSettings", "check", "make", "promoting"]
