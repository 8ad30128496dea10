"""
Ids of sessions and segments: UUIDs, version 7, monotone within a process.

Spec: spec/conventions.md (RFC 9562, section 5.7).
"""

from __future__ import annotations

import threading


_guard = threading.Lock()
_latest = 0


def make_id(now_ms: int, random: bytes) -> bytes:
    """
    Return a new UUIDv7, greater than each one made before in this process.

    Args:
        now_ms: Milliseconds since 1970.

        random: 10 random bytes.
    """
    global _latest  # noqa: PLW0603 - monotone within the process, RFC 9562 6.2
    value = (now_ms & ((1 << 48) - 1)) << 80 | int.from_bytes(random)
    with _guard:
        value = max(_settle(value), _settle_above(_latest))
        _latest = value
    return value.to_bytes(16)


def _settle(value: int) -> int:
    """Return *value* with version and variant put in."""
    value &= ~(0xF << 76) & ~(0x3 << 62)
    return value | 0x7 << 76 | 0x2 << 62


def _settle_above(value: int) -> int:
    """Return the least UUIDv7 above *value*; the low 62 bits hold a counter."""
    low = (value & ((1 << 62) - 1)) + 1
    carry = low >> 62
    high = (value >> 64) + carry
    return _settle(high << 64 | low & ((1 << 62) - 1))
