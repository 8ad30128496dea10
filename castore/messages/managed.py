"""
The sessions of a store, or of one workspace in it: listed, found, deleted.

Spec: spec/messages.md.
"""

from __future__ import annotations

import os

from collections.abc import Iterator

import attrs

from castore.bodies import decode_body
from castore.errors import ConflictError, FormatError, NotFoundError
from castore.messages.clock import CLOCK, Clock
from castore.messages.entries import (
    MESSAGE,
    META,
    TOUCHING,
)
from castore.messages.log import SessionLog, session_key
from castore.messages.transcript import Transcript
from castore.records.messages import SessionMeta
from castore.segment import Segment
from castore.store import Store


ALIASES = frozenset({"latest", "last", "recent"})

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3


@attrs.define
class OnlyEmptyError(NotFoundError):
    """
    There are sessions, and none of them has a message.

    Attributes:
        count: How many there are.
    """

    count: int


@attrs.frozen
class ManagedSession:
    """
    A session as it is listed.

    Attributes:
        updated_at_ms: When it changed last, by its writer's account.

        seq: Number of its newest commit.

        has_messages: Whether any was ever pushed.
    """

    session_id: str
    updated_at_ms: int
    seq: int
    has_messages: bool
    meta: SessionMeta


def fingerprint(path: str | os.PathLike[str]) -> str:
    """Return 16 hex digits for the folder *path*, whatever links lead there."""
    return fnv(os.fsencode(os.path.realpath(path)))


def fnv(data: bytes) -> str:
    """Return FNV-1a of *data*, 64 bits as hex: how workspaces were always named."""
    value = _FNV_OFFSET
    for byte in data:
        value = (value ^ byte) * _FNV_PRIME & ((1 << 64) - 1)
    return f"{value:016x}"


class ManagedSessions:
    """
    The message sessions of *store*, those of one *workspace* if that is given.

    Makes and writes nothing by itself.
    """

    def __init__(
        self,
        store: Store,
        workspace: str | os.PathLike[str] | None = None,
        *,
        clock: Clock = CLOCK,
    ) -> None:
        self._store = store
        self._clock = clock
        self._root = None if workspace is None else os.path.realpath(workspace)
        self.scope = "" if self._root is None else fingerprint(self._root)

    def create(self, *, model: str | None = None) -> Transcript:
        """Return a new session, stored."""
        return Transcript.create(
            self._store,
            scope=self.scope,
            workspace_root=self._root,
            model=model,
            clock=self._clock,
        )

    def add(self, transcript: Transcript) -> None:
        """
        Store *transcript*.

        Raises:
            ConflictError: It belongs to another workspace, or its name is taken.
        """
        self._check(transcript.meta)
        transcript.store_in(self._store, scope=self.scope)

    def open(self, reference: str) -> Transcript:
        """
        Return the session of that name or alias.

        Raises:
            NotFoundError: There is none.

            ConflictError: It belongs to another workspace.
        """
        session_id = self.resolve(reference)
        found = Transcript.open(
            self._store, session_id, scope=self.scope, clock=self._clock
        )
        self._check(found.meta)
        return found

    def exists(self, session_id: str) -> bool:
        """Return whether there is a session of that name."""
        try:
            SessionLog.find(self._store, session_id, scope=self.scope)
        except NotFoundError:
            return False
        return True

    def delete(self, session_id: str) -> None:
        """
        Delete the session of that name, durably.

        Raises:
            NotFoundError: There is none.
        """
        session = self._store.session(session_key(session_id, self.scope))
        segments = session.segments()
        if not segments:
            raise NotFoundError(what=f"no message session {session_id!r}")
        for segment in segments:
            segment.delete()

    def sessions(self) -> list[ManagedSession]:
        """
        Return all, the newest first: by when they changed, commit, and name.

        Reads a few entries of each.
        """
        found = [self._told(name, segment) for name, segment in self._segments()]
        return sorted(
            found,
            key=lambda one: (one.updated_at_ms, one.seq, one.session_id),
            reverse=True,
        )

    def latest(self, *, exclude: str | None = None) -> ManagedSession:
        """
        Return the newest with messages.

        Args:
            exclude: Not the one of this name.

        Raises:
            OnlyEmptyError: There are some, and none has a message.

            NotFoundError: There is none.
        """
        found = [one for one in self.sessions() if one.session_id != exclude]
        if not found:
            raise NotFoundError(what="there is no message session")
        for one in found:
            if one.has_messages:
                return one
        what = f"none of {len(found)} message sessions has a message"
        raise OnlyEmptyError(what=what, count=len(found))

    def resolve(self, reference: str, *, exclude: str | None = None) -> str:
        """Return the name that *reference* is: itself, or that of the newest."""
        if reference.lower() in ALIASES:
            return self.latest(exclude=exclude).session_id
        return reference

    def _segments(self) -> Iterator[tuple[str, Segment]]:
        """Yield name and newest segment of each session in scope that lives."""
        namespace, _ = session_key("", self.scope)
        seen: set[str] = set()
        for row in self._store.engine.refresh().known.listing():
            name = row.text
            if row.namespace == namespace and name is not None and name not in seen:
                seen.add(name)
                yield name, self._store.segment(row.id)

    def _told(self, name: str, segment: Segment) -> ManagedSession:
        first = segment.fork_index + 1
        entry, body = next(segment.read(first, first + 1), (None, b""))
        if entry is None or entry.kind != META:
            raise FormatError(what=f"message session {name!r} tells nothing of itself")
        meta = SessionMeta.decode(decode_body(self._store, body, entry.refs))
        kinds = (entry.kind for entry in segment.entries())
        updated = _changed_ms(segment)
        return ManagedSession(
            session_id=name,
            updated_at_ms=meta.updated_at_ms if updated is None else updated,
            seq=segment.head.seq,
            has_messages=MESSAGE in kinds,
            meta=meta,
        )

    def _check(self, meta: SessionMeta) -> None:
        """Refuse a session that says that it belongs elsewhere."""
        if self._root is None or meta.workspace_root is None:
            return
        told = fingerprint(meta.workspace_root)
        if told != self.scope:
            raise ConflictError(
                what="the session belongs to another workspace",
                subject="binding",
                expected=self.scope,
                actual=told,
            )


def _changed_ms(segment: Segment) -> int | None:
    """Return when the session changed last, None if that is what it was told."""
    for entry in segment.entries(reverse=True):
        if entry.kind in TOUCHING:
            return entry.time_ms
        if entry.kind == META:
            return None
    return None
