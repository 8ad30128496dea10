r"""
Line files cut into lines, each with its line end.

A line ends behind ``b"\n"`` and nowhere else. Reserved kinds:

``tail``
    The last line if no ``b"\n"`` ends it, whatever it holds: it may still grow.

``blank``
    Nothing but white space.

``broken``
    No JSON object in UTF-8: torn, overwritten with zeros, ``NaN``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from castore.limits import MIB
from castore.transcript.reading import (
    MARK,
    READ_SIZE,
    mark_size,
    read_at,
    read_range,
)
from castore.transcript.records import (
    Record,
    Span,
    kind_of,
    native_id_of,
    parse_record,
    scan_record,
    time_of,
)
from castore.transcript.tokens import SPACE


LINE_SIZE = MIB  # bytes above which a line is scanned and not parsed


def line_spans(file: BinaryIO, start: int) -> Iterator[Span]:
    """
    Yield the lines of *file* from *start*, a line's first byte, to the end.

    Memory: a small multiple of `LINE_SIZE`, however long a line is.
    """
    buffer = b""  # begins at start
    while data := read_at(file, start + len(buffer), READ_SIZE):
        buffer += data
        at = 0
        while stop := buffer.find(b"\n", at) + 1:
            yield _span_of(start + at, buffer[at:stop])
            at = stop
        buffer = buffer[at:]
        start += at
        if len(buffer) > LINE_SIZE:
            buffer = b""
            span = _long_span(file, start)
            yield span
            start = span.stop
    if buffer:
        yield _span_of(start, buffer)


def _span_of(start: int, line: bytes) -> Span:
    text = line if start else line.removeprefix(MARK)
    blank = not text.strip(SPACE)
    record = None
    if not blank:
        scan = len(line) > LINE_SIZE
        record = scan_record([text]) if scan else parse_record(text)
    ended = line.endswith(b"\n")
    return _span(start, start + len(line), record, blank=blank, ended=ended)


def _long_span(file: BinaryIO, start: int) -> Span:
    """Return the line at *start*, reading it twice and never holding it whole."""
    stop = start
    ended = False
    while not ended and (data := read_at(file, stop, READ_SIZE)):
        end = data.find(b"\n") + 1
        ended = end > 0
        stop += end or len(data)
    first = start or mark_size(file)
    return _span(
        start,
        stop,
        scan_record(read_range(file, first, stop)),
        blank=not any(data.strip(SPACE) for data in read_range(file, first, stop)),
        ended=ended,
    )


def _span(
    start: int, stop: int, record: Record | None, *, blank: bool, ended: bool
) -> Span:
    if record is None:
        kind = "blank" if blank else "broken"
        return Span(start, stop, kind if ended else "tail", None, None, not blank)
    kind = kind_of(record) if ended else "tail"
    return Span(start, stop, kind, time_of(record), native_id_of(record), False)
