"""Hyperband: halving in several brackets, of which each leaves out one rung more than the one before.

Li et al. 2018, "Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization", in the asynchronous form of
Li et al. 2020. Where the order after few epochs misleads, halving stops slow starters for good; here some candidates
are not compared before a later rung, and some never are.
"""

from __future__ import annotations

import random

from nasmod.search.stopping.halving import Halving, HalvingSettings


class HyperbandSettings(HalvingSettings):
    """Those of halving. What `first_share` lets pass also sets how many candidates a bracket gets."""


class Hyperband(Halving):
    """Successive halving in brackets: most candidates meet every rung, fewer begin at a later one, some meet none.

    The brackets get about equal shares of the epochs. A candidate's key decides its bracket. It is compared with all
    that were trained for as many epochs, whatever their brackets.
    """

    def rungs_of(self, key: str, epochs: int) -> tuple[int, ...]:
        rungs = self.rungs(epochs)
        weights = bracket_weights(len(rungs), 1 / self.settings.first_share)
        (bracket,) = random.Random(f"bracket {key}").choices(range(len(weights)), weights)
        return rungs[bracket:]


def bracket_weights(rungs: int, factor: float) -> list[float]:
    """How many candidates each bracket gets, from the one that meets every rung to the one that meets none.

    Algorithm 1 of Li et al. 2018: of n rungs, the bracket that meets k of them begins with (n + 1) / (k + 1) factor^k.

    >>> bracket_weights(2, 3)
    [9.0, 4.5, 3.0]
    """
    return [(rungs + 1) / (met + 1) * factor**met for met in range(rungs, -1, -1)]
