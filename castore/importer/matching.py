"""
Which log begins with the pieces of a file, and how far.

A segment's start entry has a payload of role ``prefix``: it stands for the first
k pieces of the file, k being the largest power of two up to `COMMON_COUNT_MIN`
that the file had when the segment began. So the logs that may share as many
pieces as make a fork are found with one look-up for each power.

Of these, the one that goes along furthest is found in one pass over the file. A
log that inherits from another that is compared too is read from its fork index
on, and only if the other one got there: of a tree of forks each entry is read
once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from castore.digest import blob_digest
from castore.formats.entry import START, Entry
from castore.importer.finding import labelled
from castore.importer.source import TAIL, Piece
from castore.segment import Segment
from castore.store import Store


COMMON_COUNT_MIN = 32  # pieces; two files that share fewer share nothing


@attrs.frozen
class Match:
    """
    How far a log and a file are the same.

    Attributes:
        segment: The log.

        at: Entries of it that hold what is common.

        count: Pieces of the file that are common.

        offset: Bytes of the file that are common.

        bad_count: How many of the pieces are not what should stand there.

        whole: Nothing else is in the log, a tail apart.
    """

    segment: Segment
    at: int
    count: int
    offset: int
    bad_count: int
    whole: bool


def prefixes(pieces: Iterable[Piece]) -> list[bytes]:
    """Return the payloads that stand for the beginning of *pieces*, shortest first."""
    digests = [piece.digest for piece in pieces if not piece.tail]
    counts = [1 << n for n in range(COMMON_COUNT_MIN.bit_length())]
    return [
        blob_digest(b"".join(digests[:count]))
        for count in counts
        if count <= len(digests)
    ]


def candidates(store: Store, payloads: Sequence[bytes]) -> list[Segment]:
    """Return the segments that one of *payloads* is the ``prefix`` of."""
    found = {
        segment.id: segment
        for payload in payloads
        for segment in labelled(store, payload)
    }
    return list(found.values())


def find_common(
    store: Store, segments: Sequence[Segment], pieces: Iterable[Piece]
) -> Match:
    """
    Return the longest match of *segments*, of which there is at least one.

    Reads *pieces* to the first that no log goes along with.
    """
    cursors, waiting = _arrange(store, segments)
    count = offset = bad_count = 0
    for piece in pieces:
        if piece.tail:
            break
        going = []
        for cursor in cursors:  # grows meanwhile
            cursors += _due(waiting, cursor)
            if cursor.entry is not None and cursor.entry.body.digest == piece.digest:
                going.append(cursor)
        if not going:
            break
        bad_count += piece.bad or going[0].kind == _BROKEN
        for cursor in going:
            cursor.advance()
        cursors = going
        count += 1
        offset = piece.stop
    first = cursors[0]
    whole = first.entry is None
    return Match(first.segment, first.at, count, offset, bad_count, whole)


_BROKEN = "broken"


class _Cursor:
    """
    A place in a log between two pieces of a file.

    Attributes:
        at: Entries up to and with the last one that was passed.

        entry: The next one that stands for a piece; None if there is none.
    """

    def __init__(self, segment: Segment, at: int) -> None:
        self.segment = segment
        self.at = at
        self._entries = segment.entries(at)
        self.entry = self._next()

    @property
    def kind(self) -> str | None:
        return self.entry.kind if self.entry else None

    def advance(self) -> None:
        if self.entry is not None:
            self.at = self.entry.index + 1
            self.entry = self._next()

    def _next(self) -> Entry | None:
        # A tail stands for nothing that could be common: it may still grow.
        skipped = (START, TAIL)
        return next((e for e in self._entries if e.kind not in skipped), None)


#: For a segment: those that inherit from it, each with how many entries.
_Waiting = dict[bytes, list[tuple[int, Segment]]]


def _arrange(
    store: Store, segments: Sequence[Segment]
) -> tuple[list[_Cursor], _Waiting]:
    """Return who begins at once, and who waits for whom."""
    known = store.engine.refresh().known
    ids = {segment.id for segment in segments}
    cursors: list[_Cursor] = []
    waiting: _Waiting = {}
    for segment in segments:
        row = known.find_segment(segment.id)
        at = 0
        while row is not None and row.parent is not None:
            at = row.fork_index
            if row.parent in ids:
                break
            row = known.find_segment(row.parent)
        if row is not None and row.parent is not None:
            waiting.setdefault(row.parent, []).append((at, segment))
        else:
            cursors.append(_Cursor(segment, 0))
    return cursors, waiting


def _due(waiting: _Waiting, cursor: _Cursor) -> list[_Cursor]:
    """Return the heirs of the log at *cursor* that part from it here."""
    heirs = waiting.get(cursor.segment.id, ())
    here = [
        (at, heir)
        for at, heir in heirs
        if cursor.entry is None or at <= cursor.entry.index
    ]
    if here:
        waiting[cursor.segment.id] = [item for item in heirs if item not in here]
    return [_Cursor(heir, at) for at, heir in here]
