"""Watching for signs of life: who has shown none for a whole lease, by this process's own monotonic clock.

No two clocks are ever compared: only (token, beat) pairs, seen twice by one process. A long gap between two polls
starts every lease again, so that an outage of the database expires nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Generic, TypeVar

LEASE_SECONDS = 15.0  # who gives no sign of life for so long loses what it holds
Beat = tuple[int, int]  # token, beat
K = TypeVar("K", bound=Hashable)


class Watch(Generic[K]):
    """Remembers since when each (token, beat) has stood unchanged."""

    def __init__(self, lease_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.lease_seconds, self._clock = lease_seconds, clock
        self._since: dict[K, tuple[Beat, float]] = {}
        self._polled: float | None = None

    def expired(self, seen: Mapping[K, Beat]) -> dict[K, Beat]:
        """What of `seen` has not changed for a whole lease; call it several times a lease.

        >>> times = iter([0.0, 1.0, 2.0])
        >>> watch = Watch(2.0, clock=lambda: next(times))
        >>> watch.expired({7: (1, 1)}), watch.expired({7: (1, 1)}), watch.expired({7: (1, 1)})
        ({}, {}, {7: (1, 1)})
        """
        now = self._clock()
        if self._polled is not None and now - self._polled > self.lease_seconds / 2:
            self._since.clear()  # this process was away itself: what it saw before proves nothing
        self._polled = now
        self._since = {
            key: self._since[key] if key in self._since and self._since[key][0] == beat else (beat, now)
            for key, beat in seen.items()
        }
        return {key: beat for key, (beat, since) in self._since.items() if now - since >= self.lease_seconds}
