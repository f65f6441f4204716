"""Asked: a flag that a signal handler may set at any moment."""

from __future__ import annotations

import time


class Asked:
    """Whether an end was asked for.

    A `threading.Event` will not do: the code that a signal interrupts may hold its lock, for which the handler would
    then wait for ever. A second signal inside the handler of the first is enough: Ctrl-C and SIGTERM come together.

    >>> asked = Asked()
    >>> asked.set()
    >>> asked.is_set()
    True
    """

    def __init__(self) -> None:
        self._asked = False

    def set(self) -> None:
        """Ask for the end."""
        self._asked = True

    def is_set(self) -> bool:
        """Whether it was asked for."""
        return self._asked

    def wait(self, seconds: float) -> None:
        """Sleep, unless it was asked for already."""
        if not self._asked:
            time.sleep(seconds)
