"""
One file taken in: what is new of it, appended where it belongs.
"""

from __future__ import annotations

import os

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import attrs

from castore.digest import blob_digest, format_digest
from castore.errors import ConflictError, NotFoundError
from castore.formats.entry import BlobRef, Reference
from castore.importer.content import BODY_SIZE, PATH_ROLE, FileFacts, facts_of
from castore.importer.finding import find_imported, is_text
from castore.importer.matching import (
    COMMON_COUNT_MIN,
    Match,
    candidates,
    find_common,
    prefixes,
)
from castore.importer.source import TAIL, Source, open_source
from castore.limits import MIB, NAME_SIZE_MAX
from castore.segment import NewEntry, Segment, SessionKey, new_id
from castore.store import Store
from castore.transcript import Span


PREFIX_ROLE = "prefix"
BATCH_COUNT = 1000  # entries of one commit
BATCH_SIZE = 4 * MIB  # bytes of bodies of one commit
CONFLICT_COUNT_MAX = 1000  # with others who import the same; each did a part

#: Told after each commit: path, bytes of the file taken in, bytes of the file.
Progress = Callable[[str, int, int], None]


@attrs.frozen
class ImportedFile:
    """
    A file that is in the store now.

    Attributes:
        path: Absolute path.

        format: As from `castore.transcript.detect`.

        session_id: 32 hex digits.

        segment_id: 32 hex digits.

        entries: Entries that hold the file, inherited ones included.

        bad_lines: How many of them are not what should stand there.

        raw_bytes: Bytes of the file.

        new_entries: How many of the entries this import added.
    """

    path: str
    format: str
    session_id: str
    segment_id: str
    entries: int
    bad_lines: int
    raw_bytes: int
    new_entries: int


def import_file(
    store: Store,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    now_ms: int,
    progress: Progress | None = None,
) -> ImportedFile:
    """
    Take the file at *path* in, as far as the store does not have it.

    The segment that was imported from this path last goes on if the file has
    grown; nothing is committed if it has not. Else the file becomes a new
    segment: a fork of the log that begins with the same pieces as the file for
    longest, if these are 32 or more. It belongs to the session that the file
    names, with a subagent's file in its parent's; if it names none, to that of
    the log it is a fork of, or of the same path, or to one of its own.

    Each commit holds up to `BATCH_COUNT` entries or some `BATCH_SIZE` bytes.
    Stopped in between, the next import goes on where this one was.

    Args:
        store: Where.

        path: A plain file; a link leads there.

        format: As from `castore.transcript.detect`, which says it by default.

        now_ms: The time, ms since 1970 UTC; no entry's time comes from it.

        progress: Called after each commit.

    Raises:
        NotFoundError: There is no such file.

        FormatError: It is no plain file, or lost bytes meanwhile.

        StorageError: It cannot be read, or the store's medium failed.

        LimitError: The store may not grow by that.

        ValueError: There is no such *format*.
    """
    where = os.path.abspath(path)
    with open_source(where, format) as source:
        taker = _Taker(store, source, now_ms, progress)
        for _ in range(CONFLICT_COUNT_MAX):
            try:
                return taker.take()
            except ConflictError:
                continue  # What the others did is there now.
        return taker.take()


class _Taker:
    """
    The import of one file; `take` may be called again after a conflict.
    """

    def __init__(
        self, store: Store, source: Source, now_ms: int, progress: Progress | None
    ) -> None:
        self._store = store
        self._source = source
        self._now_ms = now_ms
        self._progress = progress

    def take(self) -> ImportedFile:
        own = find_imported(self._store, self._source.path)
        if own is not None:
            match = find_common(self._store, [own], self._source.pieces())
            if self._goes_on(match):
                return self._go_on(match)
        return self._begin(own)

    def _goes_on(self, match: Match) -> bool:
        """Whether the file begins with all that the log has of it."""
        size = self._source.size
        facts = facts_of(self._store, match.segment)
        if facts is None or size < facts.size or not match.whole:
            return False
        if not match.count:
            return not size
        ends_open = match.segment.entry(-1).kind == TAIL
        return match.offset < size or not ends_open

    def _go_on(self, match: Match) -> ImportedFile:
        last = match.segment.entry(-1)
        adding = _Adding(match, last.body.digest if last.kind == TAIL else None)
        for batch in self._batches(adding):
            match.segment.append(batch)
            self._tell(adding)
        return self._result(match.segment, adding)

    def _begin(self, own: Segment | None) -> ImportedFile:
        payloads = prefixes(islice(self._source.pieces(), COMMON_COUNT_MIN))
        match = None
        if len(payloads) == COMMON_COUNT_MIN.bit_length():
            match = self._find_common(payloads)
        adding = _Adding(match)
        batches = self._batches(adding)
        segment = self._first(own, match, payloads, next(batches, []))
        self._tell(adding)
        for batch in batches:
            segment.append(batch)
            self._tell(adding)
        return self._result(segment, adding)

    def _find_common(self, payloads: list[bytes]) -> Match | None:
        segments = candidates(self._store, payloads)
        if not segments:
            return None
        match = find_common(self._store, segments, self._source.pieces())
        return match if match.count >= COMMON_COUNT_MIN else None
