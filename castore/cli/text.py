"""
Sizes, times and names as people read and write them.
"""

from __future__ import annotations

import argparse
import functools
import re

from datetime import UTC, datetime


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_TIME_MS_MAX = 253_402_300_799_999  # the last that a calendar of four digits has


def size_text(size: float) -> str:
    """Return *size* bytes in the unit that suits it: ``512 B``, ``1.2 MB``."""
    if size < 1000:
        return f"{size:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        size /= 1000
        if size < 999.5 or unit == "TB":
            break
    return f"{size:.1f} {unit}" if size < 9.95 else f"{size:.0f} {unit}"


def time_text(time_ms: int | None) -> str:
    """Return a time in UTC; ``-`` for none."""
    if time_ms is None:
        return "-"
    if time_ms > _TIME_MS_MAX:
        return f"{time_ms} ms"
    minute, second = divmod(time_ms // 1000, 60)
    return f"{_minute_text(minute)}:{second:02}Z"


@functools.lru_cache(maxsize=1024)  # in a listing many times are near each other
def _minute_text(minute: int) -> str:
    return f"{datetime.fromtimestamp(minute * 60, UTC):%Y-%m-%d %H:%M}"


def duration_text(seconds: float) -> str:
    """Return *seconds* in one or two units: ``40 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def count_text(count: int, one: str, many: str | None = None) -> str:
    """Return *count* and the noun that fits it."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def printable(text: str) -> str:
    """
    Return *text* without what moves a terminal's cursor or changes its colours.

    Names come from outside. Control characters and lone surrogates become
    escapes.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


# --- what the command line says ----------------------------------------------


def parse_duration(text: str) -> float:
    """Return seconds from ``0``, ``30m``, ``24h``, ``7d``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if found:
        return float(found[1]) * _UNITS[found[2]]
    if text == "0":
        return 0.0
    raise argparse.ArgumentTypeError(f"{text!r} is no duration; say 0, 30m, 24h or 7d")


def parse_size(text: str) -> int:
    """Return bytes from ``1000``, ``500k``, ``20G``."""
    found = re.fullmatch(r"(\d+)([kmgt]?)b?", text.lower())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; say 500M or 20G")
    return int(found[1]) * _BYTES[found[2]]


def parse_count(text: str) -> int:
    """Return a count, 0 or more."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no count")
    return int(text)


def parse_share(text: str) -> int:
    """Return 7 from ``1/7``."""
    found = re.fullmatch(r"1/([1-9]\d{0,5})", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no share; say 1/7, or 1/1")
    return int(found[1])


def parse_subset(text: str) -> tuple[int, int]:
    """Return (2, 7) from ``2/7``."""
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)
    if not found or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is no share; say 1/7 to 7/7")
    return int(found[1]), int(found[2])


def parse_part(text: str) -> float:
    """Return 0.05 from ``5%``."""
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)%", text)
    if not found or not 0 < float(found[1]) <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no part; say 5% or 0.1%")
    return float(found[1]) / 100


def parse_time(text: str) -> int:
    """Return ms since 1970 from a date, or date and time; UTC unless it says."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; say 2026-01-31 or 2026-01-31T12:00:00"
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return round(found.timestamp() * 1000)


def parse_entry(text: str) -> tuple[str, int] | None:
    """Return segment and index from ``SEGMENT[3]`` or ``SEGMENT@3``; None for else."""
    found = re.fullmatch(r"(.+)(?:\[(-?\d+)\]|@(-?\d+))", text, re.ASCII | re.DOTALL)
    return (found[1], int(found[2] or found[3])) if found else None
