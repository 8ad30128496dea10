"""
The log of one session: folded as far as it goes, and extended by compare-and-set.

Spec: spec/runtime.md, "The fold".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from castore.errors import ConflictError, NotFoundError
from castore.formats.entry import Reference
from castore.runtime.bodies import (
    CLASSES,
    FOLD_ROLE,
    Body,
    decode_body,
    encode_versioned,
)
from castore.runtime.fold import SESSION_SPACE, Fold
from castore.segment import Segment
from castore.store import Store
from castore.writing import NewEntry, new_id


#: A snapshot of the fold is written after so many entries, or after as many as
#: the graph has nodes by `_NODES_A_SNAPSHOT`, so that long sessions pay no more.
SNAPSHOT_EVERY = 64
_NODES_A_SNAPSHOT = 32
_LOOK_BACK = 128  # entries first looked at for a snapshot

_T = TypeVar("_T")


@attrs.frozen
class Made:
    """
    An entry to append.

    Attributes:
        kind: One of `castore.runtime.bodies`.

        body: Its body.

        refs: Its payloads.
    """

    kind: str
    body: Body
    refs: Sequence[Reference] = ()


def check_binding(bound: str, attempted: str) -> None:
    """
    Refuse another session than the one that a store is bound to.

    Raises:
        ConflictError: ``binding``.
    """
    if attempted != bound:
        raise ConflictError(
            what="the store is bound to another session",
            subject="binding",
            expected=bound,
            actual=attempted,
        )


class RuntimeLog:
    """
    A session's log with its fold. Not for threads: its owner has a lock.

    Attributes:
        session_id: The session's own id.

        segment: None before the session has begun.
    """

    def __init__(
        self,
        store: Store,
        session_id: str,
        clock: Callable[[], int],
        segment: Segment | None = None,
    ) -> None:
        self.store = store
        self.session_id = session_id
        self.segment = segment
        self._clock = clock
        self._fold: Fold | None = None
        self._count = 0
        self._revision = 0

    # --- folding -------------------------------------------------------------

    def refresh(self) -> Fold:
        """
        Return the fold of the whole log; empty where the session has not begun.

        Reads what is new; the first time the entries since the newest snapshot.

        Raises:
            GoneError: The session was deleted.

            ConflictError: ``binding``: the segment is another session's.

            FormatError: An entry is not as documented.

            UnsupportedError: A newer version wrote it.
        """
        if self.segment is None:
            self.segment = self._find()
        if self.segment is None:
            return Fold(self.session_id)
        head = self.segment.head
        if self._fold is not None and head.revision == self._revision:
            return self._fold
        fold, self._fold = self._fold, None  # half a fold is none
        if fold is None:
            fold, self._count = self._newest_snapshot(self.segment, head.count)
        for entry, body in self.segment.read(self._count, head.count):
            if entry.start is not None:
                fold.begin(entry.start)
            elif entry.kind in CLASSES:
                where = f"entry {entry.index}"
                refs = self.segment.references(entry)
                fold.apply(decode_body(entry.kind, body, where), refs)
        check_binding(self.session_id, fold.session_id or self.session_id)
        self._count, self._revision, self._fold = head.count, head.revision, fold
        return fold

    def _find(self) -> Segment | None:
        try:
            session = self.store.session((SESSION_SPACE, self.session_id))
        except NotFoundError:
            return None
        try:
            return session.latest
        except LookupError:
            what = f"all segments of session {self.session_id} were deleted"
            raise NotFoundError(what=what) from None

    def _newest_snapshot(self, segment: Segment, count: int) -> tuple[Fold, int]:
        """Return the newest snapshot and the count of entries that it covers."""
        stop, step = count, _LOOK_BACK
        while stop > 0:
            start = max(0, stop - step)
            for entry in segment.entries(start, stop, reverse=True):
                if entry.kind not in CLASSES:
                    continue
                for ref in segment.references(entry):
                    if ref.role == FOLD_ROLE:
                        data = self.store.engine.read_blob(ref.blob.digest)
                        return Fold.decode(data, ref.blob), entry.index + 1
            stop, step = start, 4 * step
        return Fold(), 0

    # --- extending -----------------------------------------------------------

    def change(self, decide: Callable[[Fold], tuple[Made | None, _T]]) -> _T:
        """
        Append what *decide* makes of the fold, as one commit, and fold it in.

        Args:
            decide: Returns the entry, None for no change at all, and the result;
                called again where somebody else came first.
        """
        while True:
            made, result = decide(self.refresh())
            if made is None:
                return result
            try:
                self._append(made)
            except ConflictError as error:
                if error.subject not in ("head", "session"):
                    raise
            else:
                return result

    def _append(self, made: Made) -> None:
        body = encode_versioned(made.body)
        refs = [*made.refs, *self._due_snapshot(made)]
        entry = NewEntry(made.kind, body, refs, self._clock())
        if self.segment is None:
            key = (SESSION_SPACE, self.session_id)
            self.segment = self.store.create_session(key=key, then=[entry])
            return
        outcome = self.segment.append([entry], expect=self._revision)
        if self._fold is not None and outcome.head is not None:
            fold, self._fold = self._fold, None
            fold.apply(made.body, refs)
            self._count, self._revision = outcome.head.count, outcome.head.revision
            self._fold = fold

    def _due_snapshot(self, made: Made) -> list[Reference]:
        fold = self._fold
        if fold is None:
            return []
        every = max(SNAPSHOT_EVERY, len(fold.nodes) // _NODES_A_SNAPSHOT)
        if fold.since + 1 < every:
            return []
        after = fold.copy()
        after.apply(made.body, made.refs)
        blob = self.store.put(after.encode(), like=fold.snapshot)
        return [Reference(FOLD_ROLE, blob)]

    # --- forking -------------------------------------------------------------

    def fork(self, session_id: str, head_revision: int | None) -> Segment:
        """
        Begin the session *session_id* with the beginning of this one.

        Args:
            session_id: Not in the store yet.

            head_revision: How many commits it inherits; all by default.

        Raises:
            NotFoundError: There was no such commit.

            ConflictError: That session is there already.
        """
        fold = self.refresh()
        if self.segment is None or not fold.head_revision:
            raise NotFoundError(what="a session without commits has nothing to fork")
        at = self._count
        if head_revision is not None and head_revision != fold.head_revision:
            at = self._count_at(self.segment, head_revision)
        key = (SESSION_SPACE, session_id)
        return self.segment.fork(at, session=new_id(), key=key)

    def _count_at(self, segment: Segment, head_revision: int) -> int:
        for entry, body in segment.read():
            if entry.kind in CLASSES and not entry.start:
                found = decode_body(entry.kind, body, f"entry {entry.index}")
                if getattr(found, "head_revision", None) == head_revision:
                    return entry.index + 1
        raise NotFoundError(what=f"no commit {head_revision} in this session")
