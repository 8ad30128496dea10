"""
Saving: entries appended to a log behind the head that its writer left.

Spec: spec/conversations.md, "Writers".
"""

from __future__ import annotations

import contextlib

from collections.abc import Callable, Iterable, Iterator
from typing import Self

import attrs

from castore.clock import now_ms
from castore.conversation.classify import (
    classify_history_item,
    group_history_items,
)
from castore.conversation.coding import encode_entry
from castore.conversation.reading import fold_log, is_imported
from castore.engine.change import Outcome
from castore.errors import FormatError
from castore.formats.head import Head
from castore.records import entries as kinds
from castore.records.config import RequestConfig, UsageRecord
from castore.records.entries import RunFailure
from castore.records.fields import Record, Value
from castore.records.items import role_of
from castore.records.state import RestoredState
from castore.records.system import POD_SCOPE_DOMAIN, PodScopeSnapshot
from castore.segment import Segment
from castore.store import Store
from castore.writing import NewEntry


Clock = Callable[[], int]


@attrs.frozen
class Cursor:
    """
    What a writer knows of its log; kept elsewhere, it can go on from there.

    Attributes:
        session: Session id, 16 bytes.

        segment: Segment id, 16 bytes.

        fork_index: Entries that are an ancestor's.

        count: Entries that were acknowledged, inherited ones included.

        revision: Of the head.

        root: Root of the log's tree.

        last: Hash of the last entry.

        turn: Turns completed; None if that is not known.
    """

    session: bytes
    segment: bytes
    fork_index: int
    count: int
    revision: int
    root: bytes
    last: bytes
    turn: int | None = None

    @classmethod
    def of(cls, head: Head, turn: int | None) -> Self:
        """Return the one at *head*."""
        return cls(
            head.session,
            head.segment,
            head.fork_index,
            head.count,
            head.revision,
            head.root,
            head.last,
            turn,
        )


class LogWriter:
    """
    Writes entries of a conversation, each call one commit: all or nothing, and
    durable when it returns. What is saved within a `turn` is one commit together.

    Every commit expects the head that the writer left: if somebody else wrote, it
    raises `ConflictError`, and `ensure_head_or_fork` finds the way on. For one
    thread.

    Attributes:
        store: Where.

        cursor: What it knows of its log.
    """

    def __init__(self, store: Store, cursor: Cursor, *, clock: Clock = now_ms) -> None:
        """Go on at *cursor*; nothing is read."""
        self.store = store
        self.cursor = cursor
        self._clock = clock
        self._open: list[NewEntry] | None = None
        self._own: bytes | None = None  # the segment that was found to be no file's
        self._turn = cursor.turn

    # --- what it knows -------------------------------------------------------

    @property
    def session_id(self) -> bytes:
        """Session id, 16 bytes."""
        return self.cursor.session

    @property
    def segment_id(self) -> bytes:
        """Segment id, 16 bytes."""
        return self.cursor.segment

    @property
    def head_hash(self) -> bytes:
        """Hash of the last acknowledged entry."""
        return self.cursor.last

    @property
    def entries_count(self) -> int:
        """Acknowledged entries, inherited ones included."""
        return self.cursor.count

    @property
    def own_count(self) -> int:
        """Acknowledged entries that are no ancestor's."""
        return self.cursor.count - self.cursor.fork_index

    @property
    def segment(self) -> Segment:
        """The log, as it is now."""
        return self.store.segment(self.cursor.segment)

    def state(self) -> RestoredState:
        """Return what the acknowledged entries say."""
        return fold_log(self.store, self.segment, self.cursor.count)

    # --- appending -----------------------------------------------------------

    @contextlib.contextmanager
    def turn(self, *, key: str | None = None) -> Iterator[None]:
        """
        Make what is saved inside one commit, at its end; nothing if that raises.

        Args:
            key: Makes the commit recognisable, as with `Segment.append`.
        """
        if self._open is not None:
            raise ValueError("a turn is open")
        self._open = []
        try:
            yield
            entries, self._open = self._open, None
            if entries:
                self._commit(entries, key)
        finally:
            self._open = None
            self._turn = self.cursor.turn

    def append_entry(self, *entries: Record) -> None:
        """
        Append *entries* as they are, in one commit; without any, nothing is done.

        Raises:
            ConflictError: Somebody else wrote. Nothing was stored.

            FormatError: One cannot be stored, or the log is an imported file's.
        """
        for entry in entries:
            if isinstance(entry, kinds.TurnEnd):
                self._turn = entry.turn_count
        self._append([encode_entry(self.store, entry) for entry in entries])

    def _append(self, entries: list[NewEntry]) -> None:
        if self._open is not None:
            self._open += entries
        elif entries:
            self._commit(entries, None)

    def _commit(self, entries: list[NewEntry], key: str | None) -> None:
        segment = self.segment
        if self._own != segment.id and is_imported(segment):
            what = "the log is an imported file's; go on in a fork of it"
            raise FormatError(what=what)
        self._own = segment.id
        try:
            outcome = segment.append(entries, expect=self.cursor.revision, key=key)
            self._follow(outcome)
        finally:
            self._turn = self.cursor.turn

    def _follow(self, outcome: Outcome) -> None:
        head = outcome.head
        if head is None:  # done before, and acknowledged only now
            head = self.segment.head
            if head.count != outcome.first_index + outcome.count:
                return
        self.cursor = Cursor.of(head, self._turn)

    # --- saving --------------------------------------------------------------

    def save_user_input(
        self, parts: Iterable[Record], extensions: Iterable[kinds.Extension] = ()
    ) -> None:
        """Append what a user typed, before the model is asked."""
        entry = kinds.UserInput(
            ts=self._clock(), segments=tuple(parts), extensions=tuple(extensions)
        )
        self.append_entry(entry)

    def save_delta(self, items: Iterable[Record], *, grouped: bool = False) -> None:
        """
        Append *items* of the history, all in one commit and at one time.

        Args:
            items: In order. Without any, nothing is done.

            grouped: As in a hash-chained log: runs become one entry, users'
                messages too are entries. Else each item is one entry, and users'
                messages, which `save_user_input` has appended, are left out.
        """
        ts = self._clock()
        if grouped:
            entries = list(group_history_items(items, ts))
        else:
            others = (item for item in items if role_of(item) != "user")
            entries = [classify_history_item(item, ts) for item in others]
        self.append_entry(*entries)

    classify_history_item = staticmethod(classify_history_item)

    def append_system_item(self, item: Record) -> None:
        """Append something of the system's own."""
        self.append_entry(kinds.SystemItemEntry(ts=self._clock(), item=item))

    def save_invoke(self, trigger: str) -> None:
        """Append that a run begins; until it ends it counts as interrupted."""
        self.append_entry(kinds.Invoke(ts=self._clock(), trigger=trigger))

    def save_turn_end(self, turn_count: int) -> None:
        """Append that a turn is complete."""
        self.append_entry(kinds.TurnEnd(ts=self._clock(), turn_count=turn_count))

    def save_outcome(self, outcome: str | RunFailure, *, interrupted: bool) -> None:
        """Append how a run ended, as a hash-chained log tells it."""
        self.append_entry(
            kinds.RunOutcome(ts=self._clock(), outcome=outcome, interrupted=interrupted)
        )

    def save_run_completed(self, result: str, *, interrupted: bool) -> None:
        """Append that a run ended well."""
        self.append_entry(
            kinds.RunCompleted(ts=self._clock(), result=result, interrupted=interrupted)
        )

    def save_run_errored(self, message: str, *, interrupted: bool) -> None:
        """Append that a run failed, and how."""
        self.append_entry(
            kinds.RunErrored(ts=self._clock(), message=message, interrupted=interrupted)
        )

    def save_paused_turn_abandoned(self) -> None:
        """Append that a paused run will not go on."""
        self.append_entry(kinds.PausedTurnAbandoned(ts=self._clock()))

    def save_usage(self, usage: UsageRecord) -> None:
        """Append what a request cost."""
        numbers = {name: getattr(usage, name) for name in kinds.USAGE_NAMES}
        entry = kinds.LlmUsage(ts=self._clock(), rest=usage.rest, **numbers)
        self.append_entry(entry)

    def save_cache_locked(self, locked_prefix_len: int) -> None:
        """Append how many items the provider holds in its cache."""
        self.append_entry(
            kinds.Locked(ts=self._clock(), locked_prefix_len=locked_prefix_len)
        )

    def save_cache_unlocked(self) -> None:
        """Append that the provider holds none."""
        self.append_entry(kinds.CacheUnlocked(ts=self._clock()))

    def save_extension(self, domain: str, payload: Value) -> None:
        """Append a value that only *domain* understands."""
        self.append_entry(
            kinds.ExtensionEntry(ts=self._clock(), domain=domain, payload=payload)
        )

    def save_pod_scope(self, scope: PodScopeSnapshot) -> None:
        """Append what the pod may do from here on."""
        self.save_extension(POD_SCOPE_DOMAIN, scope.encode())

    def save_config_changed(self, config: RequestConfig) -> None:
        """Append how requests are made from here on."""
        self.append_entry(kinds.ConfigChanged(ts=self._clock(), config=config))
