"""Stopping rules: which candidates are not worth their remaining epochs. One file each."""

from nasmod.search.stopping.rule import StoppingRule, StoppingSettings, check, make

__all__ = ["StoppingRule", "StoppingSettings", "check", "make"]
