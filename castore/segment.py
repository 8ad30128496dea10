"""
Segments and sessions: append, read, fork, prove, delete.

A segment is a log. Its entries below its fork index are those of its parent; a
session is the tree of segments that forks make.

Spec: spec/entry.md; spec/head.md; spec/merkle.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from castore import limits, merkle
from castore.catalog.rows import Catalog
from castore.engine import Engine
from castore.engine.change import Append, Change, Outcome
from castore.engine.change import NewEntry as BuiltEntry
from castore.engine.expect import Expect, living, newest_head
from castore.engine.putting import put_bytes
from castore.errors import ConflictError, CorruptionError
from castore.formats import storelog
from castore.formats.entry import START, Entry, Origin, Reference, Start
from castore.formats.head import Head
from castore.formats.trees import tree_of
from castore.proving import Provable
from castore.writing import (
    NewEntry,
    append_store_log,
    build_entries,
    check_references,
    check_session_key,
    check_text,
    check_time,
    new_id,
    new_segment,
)


ABSENT = Expect.ABSENT
ANY = Expect.ANY
SessionKey = tuple[str, str]
Guard = Callable[[Catalog], None]
_T = TypeVar("_T")


class Segment(Provable):
    """
    A log.

    A handle remembers the revision that it last saw and expects it by default,
    so that two writers never overwrite each other unseen. May be used by many
    threads; each that appends wants a handle of its own.

    Attributes:
        id: Segment id, 16 bytes.
    """

    def __init__(self, engine: Engine, segment: bytes) -> None:
        """
        Take a handle on *segment* as it is now.

        Raises:
            NotFoundError: There is no such segment.

            GoneError: It was deleted.
        """
        self._engine = engine
        self.id = segment
        self._seen = self.head

    # --- state ---------------------------------------------------------------

    @property
    def head(self) -> Head:
        """The newest head; reads the mark, takes no lock."""
        return newest_head(living(self._engine.refresh().known, self.id))

    @property
    def session_id(self) -> bytes:
        """Session id, 16 bytes."""
        return self._seen.session

    @property
    def count(self) -> int:
        """Entries of the log now, inherited ones included."""
        return self.head.count

    @property
    def fork_index(self) -> int:
        """Count of inherited entries."""
        return self._seen.fork_index

    @property
    def revision(self) -> int:
        """The revision that this handle last saw, and expects by default."""
        return self._seen.revision

    def __len__(self) -> int:
        return self.count

    # --- appending -----------------------------------------------------------

    def append(
        self,
        entries: Iterable[NewEntry],
        *,
        expect: Expect | int | None = None,
        key: str | None = None,
    ) -> Outcome:
        """
        Append *entries* as one commit: all or none, durable when this returns.

        Args:
            entries: At least one. Bodies given as bytes are put on the way.

            expect: Revision that the segment must have; by default the one that
                this handle last saw. `ANY` appends behind whatever is there.

            key: Makes the commit recognisable: the same key and content again
                returns the first outcome and appends nothing. Kept for the
                newest 1,000 commits or 30 days.

        Returns:
            Where the entries stand.

        Raises:
            ConflictError: The segment moved on, or the key stands for another
                content. Nothing was stored.

            NotFoundError: A reference names nothing that is here or was put.

            LimitError: Too much for one commit, or for the store.

            StorageError: The medium failed; whole or absent, the key tells.
        """
        built = build_entries(self._engine, entries)
        if not built:
            raise ValueError("an append wants at least one entry")
        if key is not None:
            check_text(key, "a commit key", 1, limits.KEY_SIZE_MAX)
        wanted = self._seen.revision if expect is None else expect
        append = Append(self._seen.session, self.id, built, wanted)
        outcome = self._engine.commit(Change((append,), key))
        self._seen = outcome.head or self.head
        return outcome

    # --- reading -------------------------------------------------------------

    def entries(
        self, start: int = 0, stop: int | None = None, *, reverse: bool = False
    ) -> Iterator[Entry]:
        """
        Yield the entries ``[start, stop)``, newest first if *reverse*.

        Lazy: frames are read as they are needed. Each entry is hashed and
        linked to its neighbour. The log is that of the moment of the call;
        later appends are not seen.

        Raises:
            CorruptionError: An entry is not there or not what it was.

            GoneError: The log was deleted meanwhile, and its entries collected.
        """
        row = living(self._engine.refresh().known, self.id)
        stop = row.count if stop is None else min(stop, row.count)
        logs = self._engine.view.logs
        read = logs.entries_reversed if reverse else logs.entries
        return self._told(read(row, start, stop))

    def entry(self, index: int) -> Entry:
        """
        Return the entry at *index*, which may count from the end.

        Raises:
            IndexError: There is none.
        """
        count = self.count
        at = index + count if index < 0 else index
        if not 0 <= at < count:
            raise IndexError(f"entry {index} of {count}")
        return next(self.entries(at, at + 1))

    def read(
        self, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[Entry, bytes]]:
        """
        Yield the entries ``[start, stop)`` with their bodies, checked.

        As `entries`; bodies that stand beside their entries cost no look-up.
        """
        row = living(self._engine.refresh().known, self.id)
        stop = row.count if stop is None else min(stop, row.count)
        return self._told(self._engine.view.read_log(row, start, stop))

    def _told(self, found: Iterator[_T]) -> Iterator[_T]:
        """Yield *found*; of a log that is deleted meanwhile say that it was."""
        try:
            yield from found
        except CorruptionError:
            living(self._engine.refresh().known, self.id)
            raise

    def references(self, entry: Entry) -> tuple[Reference, ...]:
        """Return all payloads of *entry*; `Entry.refs` names more than 256 by list."""
        return tuple(self._engine.refresh().references(entry))

    # --- forking -------------------------------------------------------------

    def fork(
        self,
        at: int | None = None,
        *,
        session: bytes | None = None,
        key: SessionKey | None = None,
        body: bytes = b"",
        refs: Sequence[Reference] = (),
        time_ms: int | None = None,
        turn: int | None = None,
        then: Iterable[NewEntry] = (),
        guard: Guard | None = None,
    ) -> Segment:
        """
        Return a new segment whose first *at* entries are those of this one.

        One commit, whatever the length of the history; nothing is copied.

        Args:
            at: How many entries it inherits, 1 up to the count; all by default.

            session: In which session; this one's by default.

            key: Key of a new session, if *session* is new.

            body: Body of its start entry.

            refs: References of its start entry.

            time_ms: Time of its start entry.

            turn: Which turn that was, if the writer counts turns.

            then: Entries that follow the start entry in the same commit.

            guard: As for `begin_segment`.

        Raises:
            IndexError: *at* is out of range.
        """
        check_session_key(key)
        check_references(refs)
        check_time(time_ms)
        view = self._engine.refresh()
        row = living(view.known, self.id)
        at = row.count if at is None else at
        if not 1 <= at <= row.count:
            raise IndexError(f"fork at {at} of {row.count} entries")
        # The first entries of a log are for ever the same, whatever moves meanwhile.
        peaks = view.logs.peaks_at(row, at)
        last = view.logs.last_hash(row, at)
        owner = view.logs.pieces(row, at - 1, at)[0][0]
        parent = view.known.find_segment(owner) or row
        root = merkle.root(tree_of(self.id, self._engine.store), peaks)
        # Who owns the last inherited entry: that segment's start entry stays as
        # long as this fork does, so the lineage never depends on one that went.
        origin = Origin(parent.session, parent.id, at, root, last, turn)
        segment = new_id()
        session = session or self._seen.session
        start = Start(session, segment, "fork", origin, key)
        first = BuiltEntry(
            START, put_bytes(self._engine, body), tuple(refs), time_ms, start
        )
        rest = build_entries(self._engine, then)
        fork = (self.id, at, last, peaks)
        append = Append(session, segment, (first, *rest), ABSENT, fork)
        self._engine.commit(Change((append,), guard=guard))
        return Segment(self._engine, segment)

    def delete(self) -> None:
        """
        Delete this segment, durably.

        Its final head goes into the store log; entries that no other segment
        inherits are garbage, which `gc` removes.

        Raises:
            ConflictError: It moved on since this handle saw it.
        """
        head = self.head
        if head.revision != self._seen.revision:
            raise ConflictError(
                what="the segment moved on",
                subject="head",
                expected=self._seen.revision,
                actual=head.revision,
            )
        session = self._engine.view.known.find_session(head.session)
        key = session.key if session is not None else None
        append_store_log(self._engine, storelog.DELETED, storelog.deleted(head, key))

    def __repr__(self) -> str:
        return f"<castore.Segment {self.id.hex()} revision {self._seen.revision}>"


def begin_segment(
    engine: Engine,
    *,
    session: bytes | None = None,
    segment: bytes | None = None,
    cause: str = "new",
    key: SessionKey | None = None,
    origin: Origin | None = None,
    body: bytes = b"",
    refs: Sequence[Reference] = (),
    time_ms: int | None = None,
    then: Iterable[NewEntry] = (),
    guard: Guard | None = None,
) -> Segment:
    """
    Begin a segment that inherits nothing, as one commit, and return it.

    Args:
        engine: Where.

        session: Session it belongs to; a new one by default.

        segment: Its id, from `new_id` before; a new one by default.

        cause: ``new``, ``import`` or ``compaction``.

        key: Key of a new session.

        origin: Where it comes from, for ``compaction``.

        body: Body of its start entry.

        refs: References of its start entry.

        time_ms: Time of its start entry.

        then: Entries that follow the start entry in the same commit.

        guard: Called under the store's lock with what is known then; what it
            raises gives the segment up.
    """
    append = new_segment(
        engine,
        session=session,
        segment=segment,
        cause=cause,
        key=key,
        origin=origin,
        body=body,
        refs=refs,
        time_ms=time_ms,
        then=then,
    )
    engine.commit(Change((append,), guard=guard))
    return Segment(engine, append.segment)
