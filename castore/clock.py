"""
The time, where a caller gives no clock of its own.
"""

from __future__ import annotations

import time


def now_ms() -> int:
    """Return the time in ms since 1970 UTC."""
    return time.time_ns() // 1_000_000
