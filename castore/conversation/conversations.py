"""
The conversations of a store: listed, found, named, deleted.

Spec: spec/conversations.md, "Names".
"""

from __future__ import annotations

from collections.abc import Mapping

from castore.catalog.rows import SessionRow
from castore.codec import decode_object
from castore.conversation.traces import TRACE, trace_key
from castore.errors import FormatError, GoneError, NotFoundError
from castore.segment import Segment
from castore.session import Session
from castore.store import Store


_TAG = "conversation:"


class Conversations:
    """
    What is in *store*, as far as it is no trace; newest first means by the newest
    commit.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # --- sessions and segments -----------------------------------------------

    def sessions(self) -> list[Session]:
        """Return the sessions with a living segment, newest first."""
        engine = self._store.engine
        found: dict[bytes, Session] = {}
        for row in engine.refresh().known.listing():
            known = row.session in found or row.id == self._store.id
            if not known and row.namespace != TRACE:
                session = SessionRow(row.session, row.namespace, row.text)
                found[row.session] = Session(engine, session)
        return list(found.values())

    def segments(self, session: bytes) -> list[Segment]:
        """Return the living segments of *session*, newest first; none if unknown."""
        try:
            found = self._store.session(session).segments()
        except NotFoundError:
            return []
        return sorted(found, key=lambda one: one.head.seq, reverse=True)

    def session_of(self, segment: bytes) -> bytes | None:
        """Return the id of the session of *segment*, None if there is no such."""
        found = self._find(segment)
        return None if found is None else found.session_id

    def exists(self, segment: bytes) -> bool:
        """Return whether there is a living segment with that id."""
        return self._find(segment) is not None

    def modified_ms(self, session: bytes) -> int | None:
        """Return the time of the newest commit of *session*, None if unknown."""
        segments = self.segments(session)
        return segments[0].head.time_ms if segments else None

    def delete(self, session: bytes) -> bool:
        """
        Delete all segments of *session* and their traces, each for good.

        Stopped halfway, it can be called again. What forks in other sessions
        inherit stays with them.

        Returns:
            Whether there was anything.
        """
        segments = self.segments(session)
        for segment in segments:
            self._delete_traces(segment.id)
            segment.delete()
        return bool(segments)

    def _delete_traces(self, segment: bytes) -> None:
        try:
            traces = self._store.session(trace_key(segment))
        except NotFoundError:
            return
        for found in traces.segments():
            found.delete()

    def _find(self, segment: bytes) -> Segment | None:
        try:
            return self._store.segment(segment)
        except (NotFoundError, GoneError):
            return None

    # --- names ---------------------------------------------------------------

    def write(self, name: str, value: Mapping[str, object]) -> None:
        """
        Keep *value* under *name*, durably, instead of what was there.

        Args:
            name: Of an agent, say; not empty, no ``.`` or ``..``, without ``/``
                and NUL.

            value: An object: which session and segment the agent is in.
        """
        self._store.put_object(dict(value), tag=_tag(name))

    def read(self, name: str) -> dict[str, object] | None:
        """Return what is kept under *name*, None if nothing is."""
        ref = self._store.tags().get(_tag(name))
        if ref is None:
            return None
        value: dict[str, object] = decode_object(self._store.get(ref))
        return value

    def names(self) -> list[str]:
        """Return all names that something is kept under, in order."""
        tags = self._store.tags()
        return sorted(tag.removeprefix(_TAG) for tag in tags if tag.startswith(_TAG))

    def forget(self, name: str) -> None:
        """Let go of what is kept under *name*; nothing is done where nothing is."""
        if _tag(name) in self._store.tags():
            self._store.untag(_tag(name))


def _tag(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise FormatError(what="a name is not empty, no dots alone, without / and NUL")
    return f"{_TAG}{name}"
