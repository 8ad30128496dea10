"""
Large strings inside of lines.
"""

from __future__ import annotations

import re

from collections.abc import Iterator

from castore.importer.strings import PLAIN


STRING_SIZE_MIN = 4096  # bytes, as they stand in the line
# A quote that no backslash stands before. One behind an escaped backslash ends a
# string too and is passed over: then a little of what follows is taken with it.
_QUOTE = re.compile(rb'"(?<!\\")')


def large_strings(data: bytes) -> Iterator[tuple[int, int]]:
    """
    Yield (start, stop) of what stands between two quotes and is large, in order.

    Six times as fast as a tokenizer, and right for what is JSON but for rare
    endings of strings; of other data, runs without a quote.
    """
    if len(data) < STRING_SIZE_MIN:
        return
    start = 0
    for found in _QUOTE.finditer(data):
        stop = found.start()
        if stop - start >= STRING_SIZE_MIN:
            yield start, stop
        start = stop + 1


def plain_runs(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """
    Yield (start, stop) of what is large and without any quote in a string: images
    in a string that is JSON itself. Nothing if that is the whole string.
    """
    for found in PLAIN.finditer(data, start, stop):
        if found.span() != (start, stop):
            yield found.span()


def part_end(data: bytes) -> int:
    """
    Return where to cut *data*, which is not the end of a line: before the last
    quote, so that no string is cut that is shorter than all of *data*.
    """
    at = data.rfind(b'"')
    while at > 0 and data[at - 1 : at] == b"\\":
        at = data.rfind(b'"', 0, at)
    return at if at > 0 else len(data)
