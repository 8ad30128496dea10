"""
Times and names of new sessions: no two alike in one process.
"""

from __future__ import annotations

import itertools
import threading

from collections.abc import Callable

from castore.clock import now_ms


class Clock:
    """
    Milliseconds since 1970 that strictly increase, whatever the machine's clock does.

    May be used by many threads.
    """

    def __init__(self, now_ms: Callable[[], int] = now_ms) -> None:
        self._now_ms = now_ms
        self._last = 0
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def now(self) -> int:
        """Return a time later than all before."""
        with self._lock:
            self._last = max(self._now_ms(), self._last + 1)
            return self._last

    def session_id(self) -> str:
        """Return a new name, ``session-<ms>-<n>``."""
        return f"session-{self.now()}-{next(self._numbers)}"


#: The process's own.
CLOCK = Clock()
