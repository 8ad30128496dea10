r"""
Lines that name the hash of the line before.

A line of a hash-chained log is ``{"hash":"..","prev_hash":"..",`` and an entry's
own members. Its hash is SHA-256 over the hash before, 32 zero bytes if there is
none, and the text of the entry: ``{`` and the line behind its ``prev_hash``, byte
for byte, without the line's end. Nothing is ever written again to be hashed.

A line whose hash is not that, or that does not follow the one before, is of the
reserved kind ``altered``. It is kept as it is, like all others.
"""

from __future__ import annotations

import hashlib
import re

from collections.abc import Iterable, Iterator
from typing import BinaryIO

import attrs

from castore.transcript.lines import line_spans
from castore.transcript.reading import READ_SIZE, read_at, read_range
from castore.transcript.records import Span


ALTERED = "altered"
_FRONT = re.compile(
    rb'\{"hash":"([0-9a-f]{64})","prev_hash":(?:null|"([0-9a-f]{64})"),'
)
_FRONT_SIZE = 256  # bytes; the front itself has 162 at most
_UNHASHED = frozenset({"blank", "broken", "tail"})


class Chain:
    """
    The chain of a log, line by line.

    Attributes:
        last: Hash that the next line must name; None before the first.

        is_open: Whether the next line may name any: the one before is no line.
    """

    def __init__(self) -> None:
        self.last: bytes | None = None
        self.is_open = False

    def take(self, chunks: Iterable[bytes]) -> str | None:
        """
        Take in a line that comes in *chunks*, without its end.

        Returns:
            What is wrong with it, None if nothing is.
        """
        coming = iter(chunks)
        first = b""
        while len(first) < _FRONT_SIZE and (data := next(coming, b"")):
            first += data
        front = _FRONT.match(first)
        if front is None:
            self.is_open = True
            return "names no hash"
        told, before = (bytes.fromhex(text.decode()) for text in front.groups(b""))
        whole = hashlib.sha256((before or bytes(32)) + b"{" + first[front.end() :])
        for data in coming:
            whole.update(data)
        follows = self.is_open or before == (self.last or b"")
        self.last, self.is_open = told, False
        if whole.digest() != told:
            return "has another hash than it says"
        return None if follows else "does not follow the line before"


def chained_spans(file: BinaryIO, start: int) -> Iterator[Span]:
    """Yield the lines of *file* from *start*, as `line_spans`; look at their hashes."""
    chain = Chain()
    if start:
        chain.take(_line_before(file, start))
    for span in line_spans(file, start):
        if span.kind in _UNHASHED:
            chain.is_open |= span.kind == "broken"
            yield span
        elif chain.take(read_range(file, span.start, span.stop - 1)):
            yield attrs.evolve(span, kind=ALTERED, bad=True)
        else:
            yield span


def _line_before(file: BinaryIO, stop: int) -> Iterator[bytes]:
    """Yield the last line before *stop* that is not empty, or as much as is read."""
    data = read_at(file, max(0, stop - READ_SIZE), min(stop, READ_SIZE))
    while data.endswith(b"\n"):
        data = data[:-1].rstrip(b" \t\r")
    yield data.rpartition(b"\n")[2]
