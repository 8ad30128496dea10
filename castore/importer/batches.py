"""
The entries of a file, as many at once as one commit holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Self

import attrs

from castore.digest import format_digest
from castore.engine.putting import put_parts
from castore.errors import NotFoundError
from castore.formats.entry import BlobRef
from castore.importer.content import BODY_SIZE
from castore.importer.matching import Match
from castore.importer.source import READ_SIZE, TAIL, Source
from castore.importer.strings import Strings
from castore.limits import MIB
from castore.store import Store
from castore.transcript import Span
from castore.writing import NewEntry


BATCH_COUNT = 1000  # entries of one commit
BATCH_SIZE = 4 * MIB  # bytes of its bodies, but for those that are put in parts
BATCH_READ_SIZE = 64 * MIB  # bytes of the file that it stands for


@attrs.define
class Tally:
    """
    How much of the file is in the store.

    Attributes:
        tail: Digest of the tail that is the log's last entry, None if none is.

        lines: As in `Remembered`.
    """

    count: int = 0
    bad_count: int = 0
    offset: int = 0
    tail: bytes | None = None
    lines: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def of(cls, match: Match) -> Self:
        """Return that of what is common."""
        known = (match.count, match.bad_count, match.offset)
        return cls(*known, lines=known)


def batches(
    store: Store, source: Source, strings: Strings, tally: Tally
) -> Iterator[list[NewEntry]]:
    """Yield the entries of *source* behind *tally*, which counts them."""
    batch: list[NewEntry] = []
    size = 0
    start = tally.offset
    for span in source.spans(count=tally.count, start=start):
        if batch and (
            len(batch) == BATCH_COUNT
            or size > BATCH_SIZE
            or span.stop - start > BATCH_READ_SIZE
        ):
            yield batch
            batch, size, start = [], 0, tally.offset
        tally.count += 1
        tally.bad_count += span.bad
        tally.offset = span.stop
        if span.kind != TAIL:
            tally.lines = (tally.count, tally.bad_count, tally.offset)
        elif source.digest(span.start, span.stop) == tally.tail:
            continue
        tally.tail = None
        body = _body(store, source, strings, span)
        batch.append(NewEntry(span.kind, body, (), span.time_ms))
        size += len(body) if isinstance(body, bytes) else 0
    if batch:
        yield batch


def _body(
    store: Store, source: Source, strings: Strings, span: Span
) -> bytes | BlobRef:
    """Return the bytes of *span*; put, if they are too many, or hold strings."""
    if span.stop - span.start <= BODY_SIZE:
        data = source.read(span.start, span.stop)
        cut = strings.cut(data)
        return data if len(cut) == 1 else put_parts(store.engine, cut)
    try:
        # What is put goes to a file, known or not.
        ref = store.resolve(format_digest(source.digest(span.start, span.stop)))
    except NotFoundError:
        with source.stream(span.start, span.stop) as stream:
            some = iter(partial(stream.read, READ_SIZE), b"")
            ref = put_parts(store.engine, strings.cut_stream(some))
    if ref.size != span.stop - span.start:
        raise source.shrank()
    return ref
