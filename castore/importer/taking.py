"""
One file taken in: what is new of it, appended where it belongs.
"""

from __future__ import annotations

import os

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from castore.catalog.rows import Catalog
from castore.digest import blob_digest
from castore.errors import ConflictError
from castore.formats.entry import Reference
from castore.importer.batches import Tally, batches
from castore.importer.content import PATH_ROLE, FileFacts, facts_of
from castore.importer.finding import find_imported
from castore.importer.gathering import Gathering, Waiting
from castore.importer.homes import as_text, find_session, home_of, native_key, path_key
from castore.importer.imported import ImportedFile
from castore.importer.matching import (
    COMMON_COUNT_MIN,
    Match,
    candidates,
    find_common,
    prefixes,
)
from castore.importer.remembering import Identity, Memory, Remembered, imported
from castore.importer.source import TAIL, Source, absolute, open_source
from castore.segment import Segment, begin_segment
from castore.store import Store
from castore.writing import NewEntry, new_id, new_segment


PREFIX_ROLE = "prefix"
CONFLICT_COUNT_MAX = 1000  # with others who import the same; each did a part

#: Told after each commit: path, bytes of the file taken in, bytes of the file.
Progress = Callable[[str, int, int], None]


def import_file(
    store: Store,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
    now_ms: int,
    progress: Progress | None = None,
    memory: Memory | None = None,
) -> ImportedFile:
    """
    Take the file at *path* in, as far as the store does not have it.

    A file that was taken in and is known to be unchanged is not opened; of one
    that is known to have only grown, what is new is cut (`remembering`).

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

        memory: Of this store; who gives one flushes it.

    Raises:
        NotFoundError: There is no such file.

        FormatError: It is no plain file, or lost bytes meanwhile.

        StorageError: It cannot be read, or the store's medium failed.

        LimitError: The store may not grow by that.

        ValueError: There is no such *format*.
    """
    where = absolute(path)
    if memory is None:
        memory = Memory(store)
        done = import_file(
            store, where, format=format, now_ms=now_ms, progress=progress, memory=memory
        )
        memory.flush()
        return done
    taken = take_file(
        store, where, format=format, now_ms=now_ms, progress=progress, memory=memory
    )
    assert taken is not None, "nothing waits where nothing is gathered"  # noqa: S101
    return taken


def take_file(
    store: Store,
    path: str,
    *,
    format: str | None,  # noqa: A002
    now_ms: int,
    progress: Progress | None,
    memory: Memory,
    gathering: Gathering | None = None,
) -> ImportedFile | None:
    """
    Do what `import_file` does, or let the file wait in *gathering*.

    Returns:
        None if it waits there.
    """
    known = memory.unchanged(path, format)
    if known is not None:
        return imported(path, *known)
    with open_source(path, format) as source:
        taker = _Taker(store, source, now_ms, progress, memory, gathering)
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
        self,
        store: Store,
        source: Source,
        now_ms: int,
        progress: Progress | None,
        memory: Memory,
        gathering: Gathering | None,
    ) -> None:
        self._store = store
        self._source = source
        self._now_ms = now_ms
        self._progress = progress
        self._memory = memory
        self._gathering = gathering
        self._new_count = 0
        self._label = blob_digest(os.fsencode(source.place))
        self._begun: list[bytes] = []  # segments of this path when it was looked

    def take(self) -> ImportedFile | None:
        """
        Take in what the store does not have; None if it waits to be committed.

        Raises:
            ConflictError: Another importer did a part of it meanwhile; again.
        """
        if self._gathering is not None:
            self._gathering.settle(self._source.place, path_key(self._source))
        self._begun = self._store.engine.refresh().known.labelled(self._label)
        own = find_imported(self._store, self._source.place)
        if own is not None:
            match = self._known_match(own)
            if match is None:
                match = find_common(self._store, [own], self._source.pieces())
            if self._goes_on(match):
                return self._go_on(match)
        return self._begin(own)

    def _known_match(self, own: Segment) -> Match | None:
        """Return what `find_common` would, if the file is known to begin so."""
        found = self._memory.grown(self._source)
        if found is None or found[1].id != own.id:
            return None
        known, segment = found
        count, bad_count, offset = known.lines
        return Match(segment, segment.count, count, offset, bad_count, whole=True)

    def _goes_on(self, match: Match) -> bool:
        """Whether the file begins with all that the log has of it."""
        size = self._source.size
        facts = facts_of(self._store, match.segment)
        if facts is None or size < facts.size or not match.whole:
            return False
        if match.segment.entry(-1).kind == TAIL:
            return match.offset < size
        # What was empty told nothing of itself, not even its session.
        return match.count > 0 or size == 0

    def _go_on(self, match: Match) -> ImportedFile:
        segment = match.segment
        tally = Tally.of(match)
        last = segment.entry(-1)
        if last.kind == TAIL:
            tally.tail = last.body.digest
        self._append(segment, self._batches(tally), tally)
        return self._result(segment, tally)

    def _begin(self, own: Segment | None) -> ImportedFile | None:
        payloads = prefixes(islice(self._source.pieces(), COMMON_COUNT_MIN))
        match = self._find_common(payloads)
        tally = Tally() if match is None else Tally.of(match)
        batches = self._batches(tally)
        batch = next(batches, [])
        is_small = len(payloads) < COMMON_COUNT_MIN.bit_length()
        if self._gathering is not None and is_small:
            self._gathering.settle(native_key(self._source))
        start = self._start(payloads[-1:], batch)
        if (
            self._gathering is not None
            and is_small
            and tally.offset == self._source.size
        ):
            self._gathering.add(self._waiting(own, start, tally))
            return None
        segment = self._fork(match, start) if match else self._new(own, start)
        self._made(batch, tally)
        self._append(segment, batches, tally)
        return self._result(segment, tally)

    def _find_common(self, payloads: list[bytes]) -> Match | None:
        if len(payloads) < COMMON_COUNT_MIN.bit_length():
            return None
        segments = candidates(self._store, payloads)
        if not segments:
            return None
        match = find_common(self._store, segments, self._source.pieces())
        return match if match.count >= COMMON_COUNT_MIN else None

    # --- the segment ---------------------------------------------------------

    def _start(self, prefix: list[bytes], batch: list[NewEntry]) -> dict[str, Any]:
        """Return how a segment begins, as options of all that begin one."""
        source = self._source
        told = source.description
        facts = FileFacts(
            path=os.fsencode(source.place).decode(errors="backslashreplace"),
            format=source.format,
            size=source.size,
            imported_ms=self._now_ms,
            native_session=as_text(told.session_id),
            parent=as_text(told.parent),
            relation=told.relation,
            packed=source.packed,
        )
        labels = [(PATH_ROLE, os.fsencode(source.place))]
        labels += [(PREFIX_ROLE, payload) for payload in prefix]
        return {
            "body": facts.encode(),
            "refs": [Reference(role, self._store.put(data)) for role, data in labels],
            "time_ms": told.started_ms,
            "then": batch,
            "guard": self._check_first,
        }

    def _check_first(self, known: Catalog) -> None:
        """Refuse to begin a second segment beside one that another importer began."""
        begun = known.labelled(self._label)
        if begun != self._begun:
            raise ConflictError(
                what=f"another import of {self._source.path} came first",
                subject="segment",
                expected=len(self._begun),
                actual=len(begun),
            )

    def _fork(self, match: Match, start: dict[str, Any]) -> Segment:
        """Begin with what *match* has, in the session that the file names."""
        key = native_key(self._source)
        session = find_session(self._store, key)
        if key is not None and session is None:
            return match.segment.fork(match.at, session=new_id(), key=key, **start)
        return match.segment.fork(match.at, session=session, **start)

    def _new(self, own: Segment | None, start: dict[str, Any]) -> Segment:
        """Begin a log, in the session that the file names or its path is in."""
        return begin_segment(
            self._store.engine, **home_of(self._store, self._source, own), **start
        )

    def _waiting(
        self, own: Segment | None, start: dict[str, Any], tally: Tally
    ) -> Waiting:
        """Return the same, to be committed with others."""
        home = home_of(self._store, self._source, own)
        guard = start.pop("guard")
        append = new_segment(self._store.engine, **home, **start)
        self._new_count = len(append.entries) - 1
        result = self._told(append.session, append.segment, tally)
        seen = self._seen(append.segment, 0, tally)
        names = (self._source.place, home["key"])
        return Waiting(append, guard, names, result, seen)

    # --- the entries ---------------------------------------------------------

    def _batches(self, tally: Tally) -> Iterator[list[NewEntry]]:
        return batches(self._store, self._source, self._memory.strings, tally)

    def _append(
        self, segment: Segment, batches: Iterator[list[NewEntry]], tally: Tally
    ) -> None:
        for batch in batches:
            segment.append(batch)
            self._made(batch, tally)

    # --- telling -------------------------------------------------------------

    def _made(self, batch: list[NewEntry], tally: Tally) -> None:
        self._new_count += len(batch)
        if self._progress is not None:
            self._progress(self._source.path, tally.offset, self._source.size)

    def _result(self, segment: Segment, tally: Tally) -> ImportedFile:
        seen = self._seen(segment.id, segment.revision, tally)
        if seen is not None:
            self._memory.keep(self._source.path, seen)
        return self._told(segment.session_id, segment.id, tally)

    def _seen(self, segment: bytes, revision: int, tally: Tally) -> Remembered | None:
        """Return what to remember, if anything."""
        source = self._source
        found = Remembered(
            identity=Identity.of(source.facts),
            segment=segment,
            revision=revision,
            format=source.format,
            packed=source.packed,
            count=tally.count,
            bad_count=tally.bad_count,
            size=tally.offset,
            lines=tally.lines,
            prefix=b"",
        )
        return self._memory.see(source, found, self._now_ms)

    def _told(self, session: bytes, segment: bytes, tally: Tally) -> ImportedFile:
        return ImportedFile(
            path=self._source.path,
            format=self._source.format,
            session_id=session.hex(),
            segment_id=segment.hex(),
            entries=tally.count,
            bad_lines=tally.bad_count,
            raw_bytes=tally.offset,
            new_entries=self._new_count,
            packed=self._source.packed,
        )
