"""
A writer that notes, in the record of its files, what it intends and what it is told.
"""

from __future__ import annotations

import contextlib
import itertools

from collections.abc import Iterator, Sequence

from crash.recording import RecordingFiles
from crash.world import Intended, Intent, Item, Key, Settled, Shown, look

from castore import (
    BlobRef,
    CastoreError,
    ConflictError,
    LimitError,
    NewEntry,
    Reference,
    Segment,
    Store,
    erase,
    limits,
)
from castore.digest import blob_digest
from castore.engine import Engine
from castore.engine.creating import create_store, store_id
from castore.gc import collect
from castore.retention import CHECKPOINT


_REFUSED = (ConflictError, LimitError)  # certain: nothing was stored
_numbers = itertools.count(1)

#: An entry to write: kind, body, references.
Wanted = tuple[str, bytes | BlobRef, Sequence[Reference]]


def open_store(files: RecordingFiles, *, max_bytes: int | None = None) -> Store:
    """Open the store in *files*."""
    store = store_id(files, writing=True)
    return Store(
        Engine(files, store, max_bytes=max_bytes, timeout_s=limits.LOCK_TIMEOUT_S)
    )


def item_of(wanted: Wanted) -> Item:
    """Return what a store must show of *wanted*."""
    kind, body, refs = wanted
    digest = body.digest if isinstance(body, BlobRef) else blob_digest(body)
    return kind, digest, tuple((ref.role, ref.blob.digest) for ref in refs)


class Scribe:
    """
    One handle on a store, and what it did with it.

    Attributes:
        files: With the record.

        store: The handle.

        logs: What each segment must show, as far as this one knows.
    """

    def __init__(self, files: RecordingFiles) -> None:
        """Make the store if there is none, and open it."""
        self.files = files
        self.logs: dict[bytes, tuple[Item, ...]] = {}
        with self._intent("store"):
            create_store(files)
        self.store = open_store(files)

    @contextlib.contextmanager
    def _intent(
        self,
        what: str,
        *,
        segment: bytes = b"",
        items: tuple[Item, ...] = (),
        key: Key | None = None,
        name: str = "",
        digest: bytes = b"",
        released: frozenset[bytes] = frozenset(),
        canaries: frozenset[bytes] = frozenset(),
    ) -> Iterator[list[bytes]]:
        """Note an intent, and that it happened, with the segment put in the list."""
        number = next(_numbers)
        named = (segment, items, key, name, digest, released, canaries)
        intent = Intent(number, what, *named)
        self.files.note(Intended(intent))
        made: list[bytes] = []
        try:
            yield made
        except _REFUSED:
            self.files.note(Settled(number, happened=False))
            raise
        self.files.note(Settled(number, happened=True, segment=b"".join(made)))

    def reopen(self, *, close: bool = True) -> None:
        """Open the store again, look, and go on from what is there."""
        if close:
            self.store.close()
        self.store = open_store(self.files)
        self.show()

    def show(self) -> None:
        """Look at all that is there, and go on from that."""
        seen = look(self.store)
        self.files.note(Shown(seen))
        self.logs = dict(seen.logs)

    def begin(
        self, body: bytes, *, key: Key | None = None, then: Sequence[Wanted] = ()
    ) -> Segment:
        """Begin a session."""
        items = tuple(map(item_of, [("start", body, ()), *then]))
        with self._intent("begin", items=items, key=key) as made:
            segment = self.store.create_session(
                key=key, body=body, then=[NewEntry(*one) for one in then]
            )
            made.append(segment.id)
        self.logs[segment.id] = items
        return segment

    def fork(
        self, segment: Segment, at: int, body: bytes, then: Sequence[Wanted] = ()
    ) -> Segment:
        """Fork *segment*."""
        own = tuple(map(item_of, [("start", body, ()), *then]))
        items = self.logs[segment.id][:at] + own
        with self._intent("begin", items=items) as made:
            forked = segment.fork(at, body=body, then=[NewEntry(*one) for one in then])
            made.append(forked.id)
        self.logs[forked.id] = items
        return forked

    def append(self, segment: Segment, *wanted: Wanted, key: str | None = None) -> None:
        """Append to *segment*."""
        items = tuple(map(item_of, wanted))
        with self._intent("append", segment=segment.id, items=items):
            segment.append([NewEntry(*one) for one in wanted], key=key)
        self.logs[segment.id] = self.logs.get(segment.id, ()) + items

    def tag(self, name: str, data: bytes, like: BlobRef | None = None) -> BlobRef:
        """Put *data* and tag it."""
        with self._intent("tag", name=name, digest=blob_digest(data)):
            return self.store.put(data, like=like, tag=name)

    def untag(self, name: str) -> None:
        """Remove a tag."""
        with self._intent("untag", name=name):
            self.store.untag(name)

    def delete(self, segment: Segment) -> None:
        """Delete *segment*."""
        with self._intent("delete", segment=segment.id):
            segment.delete()
        self.logs.pop(segment.id)

    def collect(
        self, keep_checkpoints: int | None = None, *, grace_s: float = 0
    ) -> None:
        """
        Collect what is dead, and all but the newest checkpoints of each log; with
        a grace what was condemned by an earlier call, as if it were that long ago.
        """
        upkeep = self.store.engine.upkeep
        before = dict.fromkeys(upkeep.condemned(), 0)
        if grace_s and before:
            upkeep.condemn(before)
        named: set[bytes] = set()
        kept: set[bytes] = set()
        for log in self.logs.values():
            found = [refs for _, _, refs in log if any(map(_is_checkpoint, refs))]
            named |= {digest for refs in found for _, digest in refs}
            for refs in found[-(keep_checkpoints or len(found)) :]:
                kept |= {digest for _, digest in refs}
        with self._intent("collect", released=frozenset(named - kept)):
            collect(
                self.store.engine,
                grace_s=grace_s,
                yes=True,
                keep_checkpoints=keep_checkpoints,
            )

    def erase(self, *erased: tuple[BlobRef, bytes]) -> None:
        """Erase payloads, each with its canary."""
        refs = [ref for ref, _ in erased]
        released = frozenset(ref.digest for ref in refs)
        canaries = frozenset(canary for _, canary in erased)
        with self._intent("erase", released=released, canaries=canaries):
            erase(self.store, *refs, reason="asked for", shared=True, timeout_s=0)

    def erase_session(self, segment: Segment, *canaries: bytes) -> None:
        """Erase the session of *segment*, its one segment, whose bodies these are."""
        deleting = self._intent("delete", segment=segment.id)
        erasing = self._intent(
            "erase", segment=segment.id, canaries=frozenset(canaries)
        )
        with deleting, erasing:
            session = self.store.session(segment.session_id)
            erase(self.store, session, reason="asked for", timeout_s=0)
        self.logs.pop(segment.id)

    def try_append(self, segment: Segment, *wanted: Wanted) -> None:
        """Append to *segment* where that may fail and stay in doubt."""
        with contextlib.suppress(CastoreError):
            self.append(segment, *wanted)


def _is_checkpoint(ref: tuple[str, bytes]) -> bool:
    return ref[0].partition(".")[0] == CHECKPOINT
