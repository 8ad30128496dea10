"""
A message session's log: what a transcript reads from and writes to.

Spec: spec/messages.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import attrs

from castore.bodies import decode_body
from castore.errors import NotFoundError
from castore.messages import checking
from castore.messages.entries import (
    MESSAGE,
    NAMESPACE,
    entries_of,
    fold,
    new_entry,
    start_body,
)
from castore.messages.state import State
from castore.records.fields import Record
from castore.records.messages import ConversationMessage, MessageRecord, SessionMeta
from castore.segment import Segment, SessionKey
from castore.store import Store
from castore.writing import new_id


@attrs.define
class SessionLog:
    """
    A segment and how much of it has been read.

    Attributes:
        scope: Of the session's key.

        count: Entries that were read or written.
    """

    store: Store
    segment: Segment
    scope: str
    count: int

    @classmethod
    def create(cls, store: Store, state: State, *, cause: str, scope: str) -> Self:
        """
        Begin a log with all of *state*, as one commit.

        Raises:
            ConflictError: The store has a session of that name.
        """
        then = list(entries_of(store, state))
        segment = store.create_session(
            key=session_key(state.about.session_id, scope),
            body=start_body(state.derived),
            time_ms=None if cause == "import" else state.about.created_at_ms,
            cause=cause,
            then=then,
        )
        return cls(store, segment, scope, len(then) + 1)

    @classmethod
    def find(cls, store: Store, session_id: str, *, scope: str) -> Self:
        """
        Return the log of the session of that name, nothing read of it.

        Raises:
            NotFoundError: There is none.
        """
        session = store.session(session_key(session_id, scope))
        try:
            segment = session.latest
        except LookupError:
            what = f"message session {session_id!r} was deleted"
            raise NotFoundError(what=what) from None
        return cls(store, segment, scope, 0)

    def read(self, state: State) -> State:
        """
        Return *state* with what came behind what was read.

        Raises:
            FormatError: An entry is not as documented; nothing counts as read.
        """
        segment = self.store.segment(self.segment.id)
        head = segment.head
        while head.revision != segment.revision:  # it moved on in between
            segment = self.store.segment(self.segment.id)
            head = segment.head
        found = state.copy()
        fold(self.store, found, segment.read(self.count, head.count))
        if found.meta is None:
            raise checking.wrong(checking.Problem.MISSING, "session_meta")
        self.segment = segment
        self.count = head.count
        return found

    def append(
        self, records: Sequence[Record], time_ms: int, *, key: str | None
    ) -> bool:
        """
        Append *records* as one commit; return whether that was made just now.

        If not, *key* told of one made before, and there may be something to read.

        Raises:
            ConflictError: Somebody else wrote.
        """
        entries = [new_entry(self.store, record, time_ms) for record in records]
        outcome = self.segment.append(entries, key=key)
        if outcome.replayed:
            return False
        self.count += outcome.count
        return True

    def fork(self, meta: SessionMeta) -> Self:
        """
        Begin the log of a session that *meta* tells of, with all that was read.

        Raises:
            ConflictError: The store has a session of that name.
        """
        segment = self.segment.fork(
            self.count,
            session=new_id(),
            key=session_key(meta.session_id, self.scope),
            body=start_body(()),
            time_ms=meta.created_at_ms,
            then=[new_entry(self.store, meta, meta.created_at_ms)],
        )
        return type(self)(self.store, segment, self.scope, self.count + 2)

    def messages(self) -> Iterator[ConversationMessage]:
        """Yield every message in the log."""
        for entry, body in self.segment.read(0, self.count):
            if entry.kind == MESSAGE:
                value = decode_body(self.store, body, entry.refs)
                yield MessageRecord.decode(value).message


def session_key(session_id: str, scope: str = "") -> SessionKey:
    """Return the key of a session in a store; each scope has a namespace."""
    return (f"{NAMESPACE}:{scope}" if scope else NAMESPACE, session_id)
