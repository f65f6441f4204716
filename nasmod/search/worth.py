"""What candidates are worth: their scores without the luck of one training, estimated from all that was trained.

The best single training of a hundred is mostly a lucky one. A Gaussian process over topologies and training settings
shares strength between neighbours: a candidate whose neighbours did well too is worth more than one that stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from threadpoolctl import threadpool_limits

from nasmod.search.strategies.surrogate import at_the_end, fitted, window
from nasmod.study import TRAINED, Record

FEWEST = 30  # trained candidates from which something is learned about their neighbours


def worth(records: Sequence[Record]) -> dict[int, float]:
    """By id, as normal scores: of the trained candidates of a search; empty where there are too few of them."""
    trained = [record for record in records if record.role == "search" and record.state in TRAINED]
    fitted_to = window([record for record in trained if record.score is not None])
    if len(fitted_to) < FEWEST:
        return {}
    with threadpool_limits(1, user_api="blas"):  # workers have the other cores
        means = fitted(fitted_to, at_the_end(fitted_to)).own_means
    return {record.id: float(mean) for record, mean in zip(fitted_to, means, strict=True)}
