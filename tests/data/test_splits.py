"""Laws of the splits: seeded, disjoint, complete, of every class its share."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nasmod.data.splits import sample, split_indices

counts_of_classes = st.lists(st.integers(1, 60), min_size=2, max_size=6)
shares = st.sampled_from([0.1, 0.2, 0.25, 0.4])
seeds = st.integers(0, 1000)


@given(counts_of_classes, shares, shares, seeds)
def test_splits_are_disjoint_complete_and_leave_every_class_in_training(
    counts: list[int], validation: float, test: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    parts = split_indices(len(labels), validation, test, seed, labels)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    assert set(labels[parts[0]]) == set(labels)


@given(counts_of_classes, shares, seeds)
def test_a_sample_takes_of_each_class_its_share_to_within_one(counts: list[int], share: float, seed: int) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    taken = np.bincount(labels[sample(len(labels), share, seed, labels)], minlength=len(counts))
    assert np.all(np.abs(taken - share * np.array(counts)) < 1 + 1e-6)


@given(st.integers(1, 200), shares, seeds)
def test_a_sample_depends_on_its_seed_alone(count: int, share: float, seed: int) -> None:
    assert sample(count, share, seed).tolist() == sample(count, share, seed).tolist()


def test_a_sample_is_known() -> None:
    """Golden: a split must not move with a version of numpy."""
    assert sample(20, 0.25, seed=3).tolist() == [1, 3, 6, 9, 13]
