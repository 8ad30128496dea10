"""
How formats refuse.

Spec: spec/verdicts.md.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from castore.codec import decode_record
from castore.errors import CorruptionError, FormatError


MALFORMED = "malformed record"
CORRUPT_FRAME = "corrupt frame"
UNSUPPORTED = "unsupported version"
FOREIGN = "foreign record"


def refusal(what: str, verdict: str = MALFORMED) -> CorruptionError:
    """Return the error for bytes that a page says to refuse, place unknown yet."""
    return CorruptionError(what=what, verdict=verdict, where="")


def need(condition: object, what: str, verdict: str = MALFORMED) -> None:
    """Raise `refusal` unless *condition* holds."""
    if not condition:
        raise refusal(what, verdict)


def record(data: bytes | memoryview, size_max: int, what: str) -> list[Any]:
    """
    Return the array that *data* encodes in the record profile.

    Raises:
        CorruptionError: ``malformed record``: another encoding or no array.
    """
    try:
        value = decode_record(data, size_max=size_max)
    except FormatError as error:
        raise refusal(f"{what}: {error.what}") from error
    need(isinstance(value, list), f"{what} is no array")
    return value


class placed:  # noqa: N801 - called as `contextlib.suppress`, and as often as it can
    """Fill in *where* in a refusal that comes out of the block without one."""

    # Every frame of a store passes several: a generator takes three times as long.
    __slots__ = ("_where",)

    def __init__(self, where: str) -> None:
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, CorruptionError):
            error.where = error.where or self._where


def is_bytes(value: Any, size: int) -> bool:
    """Return whether *value* is a byte string of exactly *size* bytes."""
    return type(value) is bytes and len(value) == size


def is_count(value: Any, *, start: int = 0, stop: int = 1 << 63) -> bool:
    """Return whether *value* is an integer in ``[start, stop)``."""
    return type(value) is int and start <= value < stop


def is_text(value: Any, *, size_min: int, size_max: int) -> bool:
    """Return whether *value* is text of ``[size_min, size_max]`` bytes in UTF-8."""
    if type(value) is not str:
        return False
    # A character has one to four bytes: most answers need no encoding.
    count = len(value)
    if size_min <= count and count * 4 <= size_max:
        return True
    return count <= size_max and size_min <= len(value.encode()) <= size_max
