"""
Lines cut at their large strings, so that a string is stored once however often.

Images, tool outputs and what a compaction repeats stand in lines as JSON strings,
byte for byte the same each time. A line that holds some is put in parts: the string
is a part of its own. Where a line is cut changes nothing of its bytes, its digest
or its entry, so no line need be valid JSON for this.

Spec: spec/blob.md, "Chunk list".
"""

from __future__ import annotations

import itertools
import re

from collections.abc import Iterable, Iterator
from operator import itemgetter

from castore.chunker import SIZE_AVERAGE, chunks
from castore.digest import blob_digest
from castore.limits import BLOB_RECORD_SIZE_MAX, KIB, MIB


ALONE_SIZE = 64 * KIB  # bytes from which a string is always a part of its own
AGAIN_SIZE = 8 * KIB  # ... and from which it is one when it is met again
TEXT_AVERAGE = 8 * KIB  # bytes of a chunk of all else: a talk that went on a bit
TEXT_SIZE = 128 * KIB  # of a line of short strings that is looked at for such chunks
LOOK_SIZE = 512 * MIB  # of a line that is looked at; so its chunk list has room
MET_COUNT_MAX = 1 << 19  # strings that are remembered, some 60 bytes each

# Possessive: a string is read once, whatever follows it.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
#: In a string that is JSON itself: what is large between two escaped quotes.
PLAIN = re.compile(rb'[^"]{%d,}+' % ALONE_SIZE)

#: Bytes of a line, and into chunks of what average they are cut; 0: one part.
Piece = tuple[bytes, int]


class Strings:
    """Cuts lines; remembers the large strings in them, to know them again."""

    def __init__(self) -> None:
        self._met: set[bytes] = set()

    def cut(self, line: bytes) -> list[bytes]:
        """Return *line* in parts: itself, if nothing in it comes again."""
        if len(line) < AGAIN_SIZE:
            return [line]
        pieces = list(self._pieces([line]))
        if any(not average for _, average in pieces):
            return list(_joined(pieces))
        if len(line) < TEXT_SIZE:
            return [line]
        # What a compaction repeats may be many short strings.
        parts = list(chunks([line], average=TEXT_AVERAGE))
        again = [part for part in parts if self._comes_again(part)]
        return parts if 2 * sum(map(len, again)) >= len(line) else [line]

    def cut_stream(self, line: Iterable[bytes]) -> Iterator[bytes]:
        """
        Yield the parts of a line that comes in some; none is above 8 MiB.

        Holds some 16 MiB and the largest of what comes.
        """
        return _joined(self._pieces(line))

    def _pieces(self, line: Iterable[bytes]) -> Iterator[Piece]:
        held = b""
        too_large = False
        looked = 0
        for some in line:
            looked += len(some)
            if looked > LOOK_SIZE:
                yield held + some, SIZE_AVERAGE
                held = b""
                continue
            held += some
            at, start = 0, 0
            if too_large:
                start = held.find(b'"') + 1
                too_large = not start
            while not too_large and (start := held.find(b'"', start)) >= 0:
                stop = _end_of_string(held, start)
                if not stop:
                    break
                if stop - start > AGAIN_SIZE:
                    yield held[at : start + 1], TEXT_AVERAGE
                    yield from self._string(held[start + 1 : stop - 1])
                    at = stop - 1
                start = stop
            # A string that does not end here goes on with what comes next.
            too_large = too_large or 0 <= start < len(held) - _WAIT_SIZE
            stop = len(held) if start < 0 or too_large else start
            yield held[at:stop], SIZE_AVERAGE if too_large else TEXT_AVERAGE
            held = held[stop:]
        yield held, TEXT_AVERAGE

    def _string(self, text: bytes) -> Iterator[Piece]:
        """Yield *text*, what stands between the quotes of one string."""
        if len(text) <= BLOB_RECORD_SIZE_MAX and self._comes_again(text):
            yield text, 0
            return
        at = 0
        for found in PLAIN.finditer(text):
            yield text[at : found.start()], TEXT_AVERAGE
            yield found[0], 0 if len(found[0]) <= BLOB_RECORD_SIZE_MAX else SIZE_AVERAGE
            at = found.end()
        yield text[at:], TEXT_AVERAGE

    def _comes_again(self, text: bytes) -> bool:
        """Return whether *text* was met before, or is surely worth it."""
        name = blob_digest(text)[:16]
        if name in self._met:
            return True
        if len(self._met) < MET_COUNT_MAX:
            self._met.add(name)
        return False


_BACKSLASH = ord("\\")
_WAIT_SIZE = 2 * BLOB_RECORD_SIZE_MAX  # bytes of a string that are waited for


def _end_of_string(data: bytes, start: int) -> int:
    """Return the offset behind the string that begins at *start*, 0 if it goes on."""
    quote = data.find(b'"', start + 1)
    # Nearly always so, and ten times as fast as to look at each byte.
    if quote < 0 or data[quote - 1] != _BACKSLASH:
        return quote + 1
    found = _STRING.match(data, start)
    return found.end() if found else 0


def _joined(pieces: Iterable[Piece]) -> Iterator[bytes]:
    # What is empty neither counts nor comes between.
    filled = filter(itemgetter(0), pieces)
    for average, some in itertools.groupby(filled, itemgetter(1)):
        parts = (piece for piece, _ in some)
        yield from chunks(parts, average=average) if average else parts
