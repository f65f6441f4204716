"""Stopping a study from anywhere: whoever is at work on it ends, and what dead processes held is taken from them.

It needs neither the data nor the plugins of the study, and no controller: every step is one fenced transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from nasmod.study import Status, StoredStudy, recovery, stored
from nasmod.study.watch import LEASE_SECONDS, Watch

POLL_SECONDS = 0.5


def stop(
    study: StoredStudy,
    *,
    now: bool = False,
    wait: bool = True,
    on_progress: Callable[[Status], None] | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> Status:
    """Have nothing begun any more, on no machine, and wait until nothing runs; then the study has ended.

    What runs is trained to its end, or handed back at once for `now`. Without `wait` the processes at work see to the
    rest; where there are none any more, somebody must wait.
    """
    with study.database.at_once():
        status = stored.stop(study, now=now)
    watch: Watch[int] = Watch(lease_seconds)
    while wait and status.state in ("draining", "halting"):
        if on_progress is not None:
            on_progress(status)
        # a write: who waits with the workers for a database that is held up takes their silence for no proof
        stored.move_on(study, status.state, status.state, None)
        before = time.monotonic() + lease_seconds / 2
        for candidate, (token, beat) in watch.expired(recovery.running(study.database, study.id)).items():
            recovery.sweep(study.database, candidate, token, beat, before)
        if not status.running:
            stored.move_on(study, status.state, "ended", None)
        else:
            time.sleep(POLL_SECONDS)
        status = stored.status(study)
    return status
