"""What tells good candidates from bad ones: descriptors of topologies and searched settings, by a random forest."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nasmod.measures.ranks import average_ranks
from nasmod.measures.wiring import depth, wiring_density
from nasmod.search.strategies.surrogate import at_the_end
from nasmod.study.record import TRAINED, Record

FEWEST = 20  # trained candidates from which something is told
MOST = 1_000  # of the latest: more tell no more, and take longer
TREES = 100
SHUFFLES = 5


@dataclass(frozen=True)
class Importances:
    """How much worse the order of candidates is told when a descriptor is permuted, largest first.

    `explained` is the share of the variance of their ranks that the forest explains of candidates it has not seen (out
    of bag); near or below 0 nothing is told, whatever the importances.
    """

    explained: float
    of: dict[str, float]

    def largest(self, count: int) -> list[tuple[str, float]]:
        """So many that are above 0."""
        return [(name, value) for name, value in self.of.items() if value > 0][:count]


def importances(records: Sequence[Record]) -> Importances | None:
    """Permutation importances (Breiman 2001) for the rank of the score at the end; None of too few candidates."""
    trained = [one for one in records if one.role == "search" and one.state in TRAINED and one.score is not None]
    trained = trained[-MOST:]
    if len(trained) < FEWEST:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    rows = [descriptors(record) for record in trained]
    names = sorted({name for row in rows for name in row})
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    varied = table.std(0) > 0
    names, table = [name for name, varies in zip(names, varied, strict=True) if varies], table[:, varied]
    ranks = average_ranks(at_the_end(trained)) / len(trained)
    forest = RandomForestRegressor(TREES, min_samples_leaf=3, oob_score=True, random_state=0).fit(table, ranks)
    found = permutation_importance(forest, table, ranks, n_repeats=SHUFFLES, random_state=0).importances_mean
    order = np.argsort(-found, kind="stable")
    return Importances(float(forest.oob_score_), {names[index]: float(found[index]) for index in order})


def descriptors(record: Record) -> dict[str, float]:
    """Named numbers that describe a topology and its searched settings; sizes on a log scale, in the mean.

    An absent name counts 0.
    """
    nodes = record.proposal.topology.canonical().nodes
    modules = [node for node in nodes if node.is_module]
    found = {"modules": float(len(modules)), "depth": float(depth(nodes)), "wiring density": wiring_density(nodes)}
    for kind, count in Counter(node.kind for node in modules).items():
        found[f"share of {kind}"] = count / len(modules)
    described: dict[str, list[float]] = {}
    for node in modules:
        for name, value in node.params.items():
            for said, number in _number(value).items():
                described.setdefault(f"{node.kind} {name}{said}", []).append(number)
    found |= {name: sum(numbers) / len(numbers) for name, numbers in described.items()}
    for name, value in record.proposal.settings.items():
        found |= {f"{name}{said}": number for said, number in _number(value).items()}
    return found


def _number(value: object) -> dict[str, float]:
    """A number, or 1 under the name of a value that is none."""
    if isinstance(value, int | float):
        return {"": math.log1p(value) if value >= 0 else float(value)}
    return {f" {value}": 1.0}
