"""
Stores, sessions, segments and blobs as awaitables.
"""

from __future__ import annotations

from typing import Self

from castore.aio.running import in_thread
from castore.aio.wrapping import (
    Wrapped,
    awaitable,
    awaitable_as,
    batches,
    batches_as,
)
from castore.blobfile import BlobReader
from castore.formats.head import Head
from castore.segment import Segment, SessionKey
from castore.session import Session
from castore.store import Store


class AsyncBlob(Wrapped[BlobReader]):
    """A blob as a file; as `BlobReader`."""

    read = awaitable(BlobReader.read)
    readall = awaitable(BlobReader.readall)
    readinto = awaitable(BlobReader.readinto)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move; as `BlobReader.seek`. Reads nothing, so nothing is awaited."""
        return self.blocking.seek(offset, whence)

    def tell(self) -> int:
        """Return the position in bytes."""
        return self.blocking.tell()


def _segment(segment: Segment) -> AsyncSegment:
    return AsyncSegment(segment)


def _segments(segments: list[Segment]) -> list[AsyncSegment]:
    return [AsyncSegment(segment) for segment in segments]


class AsyncSegment(Wrapped[Segment]):
    """
    A log; as `Segment`, its methods awaited. Each task that appends wants its own.
    """

    append = awaitable(Segment.append)
    entries = batches(Segment.entries)
    entry = awaitable(Segment.entry)
    read = batches(Segment.read)
    references = awaitable(Segment.references)
    fork = awaitable_as(Segment.fork, _segment)
    delete = awaitable(Segment.delete)
    prove = awaitable(Segment.prove)
    prove_consistency = awaitable(Segment.prove_consistency)
    prove_origin = awaitable(Segment.prove_origin)
    prove_range = awaitable(Segment.prove_range)
    prove_sealed = awaitable(Segment.prove_sealed)

    @property
    def id(self) -> bytes:
        """Segment id, 16 bytes."""
        return self.blocking.id

    @property
    def session_id(self) -> bytes:
        """Session id, 16 bytes."""
        return self.blocking.session_id

    @property
    def fork_index(self) -> int:
        """Count of inherited entries."""
        return self.blocking.fork_index

    @property
    def revision(self) -> int:
        """The revision that this handle last saw, and expects by default."""
        return self.blocking.revision

    async def head(self) -> Head:
        """Return the newest head."""
        return await in_thread(lambda: self.blocking.head)

    async def count(self) -> int:
        """Return the count of entries now, inherited ones included."""
        return await in_thread(lambda: self.blocking.count)


class AsyncSession(Wrapped[Session]):
    """A session; as `Session`."""

    segments = awaitable_as(Session.segments, _segments)

    @property
    def id(self) -> bytes:
        """Session id, 16 bytes."""
        return self.blocking.id

    @property
    def key(self) -> SessionKey | None:
        """``(namespace, text)`` or None."""
        return self.blocking.key

    async def latest(self) -> AsyncSegment:
        """Return its segment with the newest commit; as `Session.latest`."""
        return AsyncSegment(await in_thread(lambda: self.blocking.latest))


class AsyncStore(Wrapped[Store]):
    """
    An open store; as `Store`. An async context manager.

    Belongs to no loop: one that was opened under one may be used under another,
    and from threads.
    """

    put = awaitable(Store.put)
    put_object = awaitable(Store.put_object)
    get = awaitable(Store.get)
    get_object = awaitable(Store.get_object)
    open_blob = awaitable_as(Store.open_blob, AsyncBlob)
    has = awaitable(Store.has)
    stat = awaitable(Store.stat)
    resolve = awaitable(Store.resolve)
    tag = awaitable(Store.tag)
    untag = awaitable(Store.untag)
    tags = awaitable(Store.tags)
    set_policy = awaitable(Store.set_policy)
    policies = awaitable(Store.policies)
    pin = awaitable(Store.pin)
    unpin = awaitable(Store.unpin)
    pins = awaitable(Store.pins)
    create_session = awaitable_as(Store.create_session, AsyncSegment)
    session = awaitable_as(Store.session, AsyncSession)
    sessions = batches_as(Store.sessions, AsyncSession)
    segment = awaitable_as(Store.segment, AsyncSegment)
    new_segment = awaitable_as(Store.new_segment, AsyncSegment)
    stats = awaitable(Store.stats)

    @property
    def id(self) -> bytes:
        """Store id, 16 bytes."""
        return self.blocking.id

    async def close(self) -> None:
        """Close the store, even if the caller is cancelled."""
        await in_thread(self.blocking.close, shielded=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
