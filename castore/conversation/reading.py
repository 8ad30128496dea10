"""
Logs read as conversations: entry by entry, or folded.

Spec: spec/conversations.md, "The fold".
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from castore.codec import decode_object
from castore.conversation.coding import STATE_ROLE, decode_entry, decode_start
from castore.conversation.lines import LineReader
from castore.conversation.state import Fold
from castore.errors import GoneError, NotFoundError
from castore.formats.entry import BlobRef, Entry, Start
from castore.records.fields import Record
from castore.records.state import RestoredState, StartState
from castore.segment import Segment
from castore.store import Store


_PATH_ROLE = "path"  # what the start entry of an imported file refers to


@attrs.frozen
class ReadEntry:
    """
    An entry of a log, and what it says.

    Attributes:
        entry: As the store has it.

        record: One of `castore.records.entries`; `StartState` for a start entry
            that begins anew; None where it says nothing.

        line: Whether it is a line of an imported file.
    """

    entry: Entry
    record: Record | None
    line: bool = False


class LogReader:
    """
    Reads entries of *segment*.

    Attributes:
        notes: What was found to be wrong with lines of imported files, and where.

        head: Hash of the entry read last: the store's, or what its line names.
    """

    def __init__(self, store: Store, segment: Segment) -> None:
        self._store = store
        self._segment = segment
        self._lines: LineReader | None = None
        self._last: Entry | None = None
        self.notes: list[str] = []
        self.head: bytes | None = None

    def read(self, start: int, stop: int) -> Iterator[ReadEntry]:
        """
        Yield the entries ``[start, stop)``.

        Raises:
            FormatError: One is not as documented; names the entry or the line.
        """
        for entry, body in self._segment.read(start, stop):
            if entry.start is not None:
                goes_on = self._lines is not None and _is_file(entry)
                if not goes_on:  # else of two files that begin alike, the second
                    yield from self._end_lines()
                yield self._told(entry, self._start(entry, entry.start, body))
            elif self._lines is None:
                yield self._told(entry, decode_entry(self._store, entry, body))
            else:
                record = self._lines.take(entry.kind, body)
                yield self._told(entry, record, self._lines)
        yield from self._end_lines()

    def _told(
        self, entry: Entry, record: Record | None, lines: LineReader | None = None
    ) -> ReadEntry:
        self._last = entry
        self.head = (lines and lines.head) or entry.hash
        return ReadEntry(entry, record, lines is not None)

    def _start(self, entry: Entry, start: Start, body: bytes) -> StartState | None:
        if _is_file(entry):
            if self._lines is None:
                self._lines = LineReader(_format_of(body))
            return StartState() if start.cause != "fork" else None
        if start.cause == "fork":
            return None
        return decode_start(self._store, entry, body)

    def _end_lines(self) -> Iterator[ReadEntry]:
        """Yield what the last line of an imported file is, and forget the file."""
        lines, self._lines = self._lines, None
        if lines is None or self._last is None:
            return
        for record in lines.end():
            yield self._told(self._last, record, lines)
        self.notes += lines.notes


def _format_of(body: bytes) -> str:
    facts = decode_object(body)
    return str(facts.get("format")) if isinstance(facts, dict) else "what is there"


def is_imported(segment: Segment) -> bool:
    """Return whether *segment* is an imported file."""
    return _is_file(segment.entry(segment.fork_index))


def _is_file(entry: Entry) -> bool:
    return any(ref.role == _PATH_ROLE for ref in entry.refs)


def fold_log(store: Store, segment: Segment, stop: int | None = None) -> RestoredState:
    """
    Return what the first *stop* entries of *segment* come to; all by default.

    Begins at the newest snapshot among them that is there.

    Raises:
        FormatError: An entry is not as documented.

        NotFoundError: There are not so many.
    """
    count = segment.count
    stop = count if stop is None else stop
    if stop > count:
        raise NotFoundError(what=f"entry {stop} of {count}")
    found = newest_snapshot(store, segment, stop)
    first, base = (found[0] + 1, found[1]) if found is not None else (0, None)
    fold = Fold(base)
    reader = LogReader(store, segment)
    for read in reader.read(first, stop):
        start = read.entry.start
        if start is not None:
            began = read.record if isinstance(read.record, StartState) else None
            fold.begin(start.session.hex(), read.entry.index, began)
            fold.take(None, reader.head)
        else:
            fold.take(read.record, reader.head)
    fold.note(reader.notes)
    return attrs.evolve(fold.state, entries_count=stop)


def newest_snapshot(
    store: Store, segment: Segment, stop: int
) -> tuple[int, RestoredState, BlobRef] | None:
    """Return index, state and payload of the newest snapshot below *stop*, if any."""
    for entry in segment.entries(0, stop, reverse=True):
        if entry.kind != "snapshot":
            continue
        found = [ref.blob for ref in entry.refs if ref.role == STATE_ROLE]
        if not found:  # a line of a file may be called so too
            continue
        try:
            told = decode_object(store.get(found[0]))
        except GoneError:  # an older one will do, or the entries themselves
            continue
        state = RestoredState.decode(told, f"snapshot {entry.index}")
        count = entry.index + 1
        state = attrs.evolve(state, entries_count=count, head_hash=entry.hash)
        return entry.index, state, found[0]
    return None
