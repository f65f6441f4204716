"""Strategies: what to train next. One file each."""

from nasmod.search.strategies.strategy import Strategy, StrategySettings, make

__all__ = ["Strategy", "StrategySettings", "make"]
