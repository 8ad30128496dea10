"""
Ids of sessions and segments: UUIDs, version 7, monotone within a process.

Spec: spec/conventions.md (RFC 9562, section 5.7).
"""

from __future__ import annotations

import threading

from castore.errors import FormatError


SIZE = 16  # bytes

_TIME_MASK = (1 << 48) - 1
_HIGH_MASK = (1 << 12) - 1
_LOW_MASK = (1 << 62) - 1

_guard = threading.Lock()
_latest = -1  # time and random bits, without version and variant


def make_id(now_ms: int, random: bytes) -> bytes:
    """
    Return a new UUIDv7, greater than each one made before in this process.

    Args:
        now_ms: Milliseconds since 1970.

        random: 10 random bytes.
    """
    global _latest  # noqa: PLW0603 - monotone within the process, RFC 9562 6.2
    bits = int.from_bytes(random)
    high = (now_ms & _TIME_MASK) << 12 | bits >> 64 & _HIGH_MASK
    value = high << 62 | bits & _LOW_MASK
    with _guard:
        value = _latest = max(value, _latest + 1)
    high, low = value >> 62, value & _LOW_MASK
    time, high = high >> 12, high & _HIGH_MASK
    return (time << 80 | 7 << 76 | high << 64 | 2 << 62 | low).to_bytes(16)


def parse_id(value: bytes | str) -> bytes:
    """
    Return the 16 bytes of an id given as such, or as text.

    Raises:
        FormatError: Neither 16 bytes nor 32 hex digits.
    """
    try:
        found = value if isinstance(value, bytes) else bytes.fromhex(value)
    except ValueError:
        found = b""
    if len(found) != SIZE:
        raise FormatError(what="an id is 16 bytes, or 32 hex digits")
    return found
