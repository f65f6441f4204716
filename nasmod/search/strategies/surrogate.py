"""What a surrogate is fitted to: which records, and what each of them would have reached."""

from __future__ import annotations

import functools
import heapq
from collections.abc import Sequence

import numpy as np

from nasmod.search.strategies.features import features
from nasmod.search.strategies.gaussian_process import Floats, GaussianProcess
from nasmod.study import Record

STOPPED_SPREAD = 2.0  # standard deviation of what a stopped candidate would have reached, over that of a whole training
BEST, LATEST = 150, 150  # records that are fitted to: the cost grows with the cube of their number


def window(trained: Sequence[Record]) -> list[Record]:
    """The best and the latest, in the order they were filed."""
    if len(trained) <= BEST + LATEST:
        return list(trained)
    older, latest = trained[:-LATEST], trained[-LATEST:]
    best = {record.id for record in heapq.nlargest(BEST, older, key=lambda record: record.score or 0.0)}
    return [record for record in older if record.id in best] + list(latest)


def fitted(records: Sequence[Record], targets: Floats) -> GaussianProcess:
    """A process over the records' topologies and settings; of what was stopped early it knows less (LOG.md)."""
    seen = [features(record.proposal.topology, record.proposal.settings) for record in records]
    return GaussianProcess(seen, targets, [1.0 if one.state == "finished" else STOPPED_SPREAD for one in records])


def at_the_end(records: Sequence[Record]) -> Floats:
    """Scores; of what was stopped early, plus what those that ran on gained from that epoch to their end."""
    ran_on = [record.curve for record in records if record.state == "finished"]

    @functools.cache
    def gained_after(epochs: int, compared: str) -> float:
        gained = [
            curve[-1]["validation_accuracy"] - curve[epochs - 1][compared]
            for curve in ran_on
            if len(curve) > epochs > 0 and compared in curve[epochs - 1]
        ]
        return float(np.median(gained)) if gained else 0.0

    def reached(record: Record) -> float:
        score = record.score or 0.0
        if record.state == "finished" or not record.curve:
            return score
        compared = "averaged_accuracy" if "averaged_accuracy" in record.curve[-1] else "validation_accuracy"
        return score + gained_after(len(record.curve), compared)

    return np.array([reached(record) for record in records])
