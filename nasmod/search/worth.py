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
    """By id, as scores: of the trained candidates of a search; empty where there are too few of them.

    Where a candidate was trained again with other seeds, that counts too. Of a large study only the best and the
    latest are looked at.
    """
    trained = [record for record in records if record.state in TRAINED and record.score is not None]
    searched = window([record for record in trained if record.role == "search"])
    if len(searched) < FEWEST:
        return {}
    fitted_to = searched + [record for record in trained if record.role == "repeat"]
    with threadpool_limits(1, user_api="blas"):  # workers have the other cores
        model = fitted(fitted_to, at_the_end(fitted_to))
        means = model.targets(model.own_means[: len(searched)])
    return {record.id: float(mean) for record, mean in zip(searched, means, strict=True)}
