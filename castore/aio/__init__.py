"""
The same as awaitables, under asyncio and trio.

Each awaitable runs the blocking call in a worker thread of the loop that runs it;
nothing here belongs to a loop. ::

    import castore.aio

    async with await castore.aio.open(path, create=True) as store:
        segment = await store.create_session()
        await segment.append([castore.NewEntry("note", b"hello")], key="1")
        async for entry in segment.entries():
            ...

A cancelled call is waited for, and was done wholly or not at all: of a commit with
a key, the same commit again tells. Each commit waits for its fsync in a thread, of
which asyncio has few by default (`asyncio.loop.set_default_executor`).

Why no anyio: what is needed of it is one function, and the choice of its thread's
framework is two lines.
"""

from __future__ import annotations

import castore.store

from castore.aio.messages import AsyncManagedSessions, AsyncTranscript
from castore.aio.running import in_thread
from castore.aio.stores import AsyncBlob, AsyncSegment, AsyncSession, AsyncStore
from castore.aio.wrapping import Batches, Wrapped, function_as
from castore.aio.writers import AsyncLeases, AsyncRuntimeStore, AsyncSegmentWriter


__all__ = [
    "AsyncBlob",
    "AsyncLeases",
    "AsyncManagedSessions",
    "AsyncRuntimeStore",
    "AsyncSegment",
    "AsyncSegmentWriter",
    "AsyncSession",
    "AsyncStore",
    "AsyncTranscript",
    "Batches",
    "Wrapped",
    "in_thread",
    "open",
]

#: Open a store; as `castore.open`.
open = function_as(castore.store.open, AsyncStore)  # noqa: A001 - castore.aio.open
