"""
The writer of a conversation: it holds a session, a segment and a head.

Spec: spec/conversations.md, "Writers".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

from castore.bodies import encode_body
from castore.clock import now_ms
from castore.codec import encode_object
from castore.conversation.classify import difference
from castore.conversation.coding import STATE_ROLE, encode_entry
from castore.conversation.compacting import kept_entries
from castore.conversation.cutting import cut_at
from castore.conversation.reading import fold_log, newest_snapshot
from castore.conversation.saving import Clock, Cursor, LogWriter
from castore.conversation.traces import append_traces, read_traces
from castore.errors import CorruptionError, NotFoundError
from castore.formats.entry import Origin, Reference
from castore.records import entries as kinds
from castore.records.entries import TraceEntry
from castore.records.state import RestoredState, StartState
from castore.segment import SessionKey, begin_segment
from castore.store import Store
from castore.writing import new_id


_EMPTY = encode_object({})  # body of a start entry that goes on from its parent's


class SegmentWriter(LogWriter):
    """
    The writer of a conversation.

    Made by `create`, `restore` and `restore_by_segment`, or with a `Cursor` that
    was kept. Every commit expects the head that this writer left: if somebody else
    wrote, it raises `ConflictError`, and `ensure_head_or_fork` finds the way on.
    For one thread.
    """

    # --- beginning -----------------------------------------------------------

    @staticmethod
    def reserve() -> tuple[bytes, bytes]:
        """Return ids of a session and of a segment for a later `create`."""
        return new_id(), new_id()

    @classmethod
    def create(
        cls,
        store: Store,
        state: StartState | None = None,
        *,
        ids: tuple[bytes, bytes] | None = None,
        key: SessionKey | None = None,
        clock: Clock = now_ms,
    ) -> Self:
        """
        Begin a session that begins with *state*, as one commit.

        Args:
            store: Where.

            state: Prompt, config and history.

            ids: From `reserve`.

            key: The session's key.

            clock: Gives the time in ms since 1970.

        Raises:
            ConflictError: The log is there already, or the key is taken.
        """
        session, segment = ids or cls.reserve()
        state = _start_of(state)
        body, refs = encode_body(store, state.encode())
        made = begin_segment(
            store.engine,
            session=session,
            segment=segment,
            key=key,
            body=body,
            refs=refs,
            time_ms=clock(),
        )
        return cls(store, Cursor.of(made.head, state.turn_count), clock=clock)

    @classmethod
    def restore(
        cls, store: Store, session: bytes, segment: bytes, *, clock: Clock = now_ms
    ) -> tuple[Self, RestoredState]:
        """
        Return a writer at the head of *segment*, and what the log says.

        Raises:
            NotFoundError: The session has no such segment.
        """
        head = store.segment(segment).head
        if head.session != session:
            what = f"session {session.hex()} has no segment {segment.hex()}"
            raise NotFoundError(what=what)
        state = fold_log(store, store.segment(segment), head.count)
        return cls(store, Cursor.of(head, state.turn_count), clock=clock), state

    @classmethod
    def restore_by_segment(
        cls, store: Store, segment: bytes, *, clock: Clock = now_ms
    ) -> tuple[Self, RestoredState]:
        """Return a writer at the head of *segment*, whose session it finds."""
        session = store.segment(segment).session_id
        return cls.restore(store, session, segment, clock=clock)

    # --- forking -------------------------------------------------------------

    def ensure_head_or_fork(self, state: StartState | None = None) -> bool:
        """
        Go on in a fork if somebody else wrote; the log itself stays as it is.

        The fork, in the same session, goes off behind the last entry that this
        writer knows of; what *state* has over the log there is recorded in the same
        commit.

        Args:
            state: What the conversation has come to, restored or by hand; None if
                all of it was saved.

        Returns:
            Whether it forked.

        Raises:
            CorruptionError: ``truncated log``: the store has less than this writer
                wrote. ``fork evidence``: it has something else.
        """
        segment, cursor = self.segment, self.cursor
        head = segment.head
        if head.count < cursor.count:
            what = f"{head.count} entries are there, {cursor.count} were acknowledged"
            raise CorruptionError(
                what=what,
                verdict="truncated log",
                where=f"segment:{cursor.segment.hex()}",
            )
        if segment.entry(cursor.count - 1).hash != cursor.last:
            raise CorruptionError(
                what="the entry written last is another one",
                verdict="fork evidence",
                where=f"segment:{cursor.segment.hex()}[{cursor.count - 1}]",
            )
        if head.count == cursor.count:
            return False
        self.cursor = self._fork(cursor.count, state, cursor.session, None).cursor
        return True

    def fork(
        self, state: StartState | None = None, *, key: SessionKey | None = None
    ) -> Self:
        """
        Return a writer of a new session that goes on from here.

        History is shared, whatever its length; this log stays as it is.

        Args:
            state: As for `ensure_head_or_fork`.

            key: Key of the new session.
        """
        return self._fork(self.cursor.count, state, new_id(), key)

    def fork_at(
        self,
        *,
        entry: bytes | None = None,
        turn: int | None = None,
        count: int | None = None,
        at_head: bool = False,
        new_session: bool = False,
    ) -> Self:
        """
        Return a writer that goes on from a point of the past, and only one is given.

        Args:
            entry: Behind the entry with this hash.

            turn: Behind the end of that turn; 0: with what the log began with.

            count: Behind so many entries.

            at_head: Behind the last entry that this writer knows of.

            new_session: In a session of its own; else in the same.

        Raises:
            NotFoundError: There is no such point.
        """
        points = (entry, turn, count, at_head or None)
        if sum(point is not None for point in points) != 1:
            raise ValueError("one of entry, turn, count and at_head")
        at = cut_at(
            self.store,
            self.segment,
            self.cursor.count,
            entry=entry,
            turn=turn,
            count=self.cursor.count if at_head else count,
        )
        session = new_id() if new_session else self.cursor.session
        return self._fork(at, None, session, None, turn)

    def _fork(
        self,
        at: int,
        state: StartState | None,
        session: bytes,
        key: SessionKey | None,
        turn: int | None = None,
    ) -> Self:
        """Return a writer of a fork at *at* that begins with what leads to *state*."""
        segment, ts = self.segment, self._clock()
        # A log that begins with turns of another has completed them at turn 0.
        known = self.cursor.turn if at == self.cursor.count else turn or None
        entries: list[kinds.LogEntry] = []
        if state is not None:
            base = fold_log(self.store, segment, at)
            entries = list(difference(base, state, ts))
        made = segment.fork(
            at,
            session=session,
            key=key,
            body=_EMPTY,
            time_ms=ts,
            turn=known if turn is None else turn,
            then=[encode_entry(self.store, entry) for entry in entries],
        )
        if state is not None:
            known = max(base.turn_count, state.turn_count)
        return type(self)(self.store, Cursor.of(made.head, known), clock=self._clock)

    def create_compacted(self, state: StartState) -> Self:
        """
        Return a writer of a segment that begins with *state* instead of this log's.

        In the same session, and with this log at its head as origin. Items of
        *state* that this log tells are told by reference; nothing else of it is
        carried on but the number of turns, unless *state* says more: usage, extensions
        and scope stay where they are.

        Args:
            state: A summary, usually, and some of the history.
        """
        cursor, ts = self.cursor, self._clock()
        entries = list(
            kept_entries(
                self.store, self.segment, cursor.count, state.history or (), ts
            )
        )
        before = self.state().turn_count if cursor.turn is None else cursor.turn
        turn = max(state.turn_count, before)
        start = StartState(
            system_prompt=state.system_prompt,
            config=state.config,
            turn_count=turn,
            seed_count=len(entries),
        )
        body, refs = encode_body(self.store, start.encode())
        origin = Origin(
            cursor.session,
            cursor.segment,
            cursor.count,
            cursor.root,
            cursor.last,
            before,
        )
        made = begin_segment(
            self.store.engine,
            session=cursor.session,
            cause="compaction",
            origin=origin,
            body=body,
            refs=refs,
            time_ms=ts,
            then=entries,
        )
        return type(self)(self.store, Cursor.of(made.head, turn), clock=self._clock)

    # --- beside the log ------------------------------------------------------

    def save_snapshot(self) -> None:
        """
        Append what the log says up to here, so that a restore begins there.

        Stored as the difference to the snapshot before. Reads the log from there.
        """
        if self._open is not None:
            raise ValueError("a turn is open: the log is not that far")
        before = newest_snapshot(self.store, self.segment, self.cursor.count)
        like = before[2] if before is not None else None
        state = self.store.put_object(self.state().encode(), like=like)
        entry = kinds.Snapshot(ts=self._clock())
        ref = Reference(STATE_ROLE, state)
        self._append([encode_entry(self.store, entry, (ref,))])

    def append_trace(self, turn: int, event: Any, **more: Any) -> None:
        """
        Append an event for who debugs, in a log of its own that is no part of this.

        Args:
            turn: In which turn.

            event: What the provider sent.

            **more: ``llm_call`` and ``kind`` of a `TraceEntry`.
        """
        self.append_traces(
            [TraceEntry(ts=self._clock(), turn=turn, event=event, **more)]
        )

    def append_traces(self, entries: Iterable[TraceEntry]) -> None:
        """Append many, as one commit."""
        append_traces(self.store, self.cursor.segment, entries)

    def traces(self) -> Iterator[TraceEntry]:
        """Yield all events that were appended for this segment."""
        return read_traces(self.store, self.cursor.segment)


def _start_of(state: StartState | None) -> StartState:
    """Return what *state* says of a beginning, and nothing that it was folded to."""
    if state is None:
        return StartState()
    return StartState(
        system_prompt=state.system_prompt,
        config=state.config,
        history=tuple(state.history or ()),
        turn_count=state.turn_count,
    )
