"""Leases: only what stood unchanged for a whole lease, watched without a gap, has expired."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nasmod.study.watch import Watch


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.booleans()), min_size=1, max_size=60))
def test_nothing_expires_before_a_lease_of_unbroken_polls_without_a_beat(steps: list[tuple[float, bool]]):
    now, beat = 0.0, 0
    watch = Watch(4.0, clock=lambda: now)
    unchanged_since = 0.0
    watch.expired({1: (1, beat)})
    for pause, beats in steps:
        before, now = now, now + pause
        if beats:
            beat += 1
        if beats or now - before > 2.0:  # a gap of more than half a lease: this process was away
            unchanged_since = now
        expired = watch.expired({1: (1, beat)})
        assert (1 in expired) == (now - unchanged_since >= 4.0)
