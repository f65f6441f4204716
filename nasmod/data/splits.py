"""Which example belongs to which split: seeded, stratified by class. It knows indices only."""

from __future__ import annotations

import numpy as np

from nasmod.data.dataset import Array


def sample(count: int, share: float, seed: int, labels: Array | None = None) -> Array:
    """Indices of about ``share * count`` examples, sorted: of each class its share, to within one example.

    Systematic sampling along the shuffled examples ordered by class. The generator is numpy's frozen legacy one,
    whose stream will never change, so that a split is the same on every machine and version.

    >>> labels = np.array([0] * 10 + [1] * 90)
    >>> np.bincount(labels[sample(100, 0.2, seed=0, labels=labels)]).tolist()
    [2, 18]
    """
    generator = np.random.RandomState(seed)
    order = generator.permutation(count)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    start = generator.random_sample()
    marks = np.floor(np.arange(count + 1) * share + start + 1e-9)  # an example is chosen where a whole number passes
    return np.sort(order[np.diff(marks) > 0])


def split_indices(
    count: int, validation: float, test: float, seed: int, labels: Array | None = None
) -> tuple[Array, Array, Array]:
    """Sorted indices of the training, validation and test examples; `test` may be 0.

    Every class that exists has an example in training: a class too small for its shares gives one back.

    >>> [len(part) for part in split_indices(100, 0.2, 0.2, seed=0)]
    [60, 20, 20]
    """
    part = np.zeros(count, dtype=np.int8)  # 0 train, 1 validation, 2 test
    if test > 0:
        part[sample(count, test, seed, labels)] = 2
    rest = np.flatnonzero(part == 0)
    of_rest = None if labels is None else labels[rest]
    part[rest[sample(len(rest), validation / (1 - test), seed + 1, of_rest)]] = 1
    if labels is not None:
        for label in np.setdiff1d(labels, labels[part == 0]):
            part[np.flatnonzero(labels == label)[0]] = 0
    return np.flatnonzero(part == 0), np.flatnonzero(part == 1), np.flatnonzero(part == 2)
