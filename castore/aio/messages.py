"""
Message sessions as awaitables.
"""

from __future__ import annotations

from castore.aio.running import in_thread
from castore.aio.stores import AsyncSegment, AsyncStore
from castore.aio.wrapping import (
    Wrapped,
    awaitable,
    awaitable_as,
    batches,
    function_as,
)
from castore.messages.managed import ManagedSessions
from castore.messages.transcript import Transcript
from castore.messages.view import SessionView


def _transcript(transcript: Transcript) -> AsyncTranscript:
    return AsyncTranscript(transcript)


class AsyncTranscript(Wrapped[Transcript]):
    """
    One conversation; as `Transcript`. What it holds is that of `view`.
    """

    open = staticmethod(awaitable_as(Transcript.open, _transcript))
    create = staticmethod(awaitable_as(Transcript.create, _transcript))
    load_from_path = staticmethod(function_as(Transcript.load_from_path, _transcript))
    push_message = awaitable(Transcript.push_message)
    push_user_text = awaitable(Transcript.push_user_text)
    push_prompt_entry = awaitable(Transcript.push_prompt_entry)
    record_compaction = awaitable(Transcript.record_compaction)
    compact = awaitable(Transcript.compact)
    fork = awaitable_as(Transcript.fork, _transcript)
    refresh = awaitable(Transcript.refresh)
    history = batches(Transcript.history)
    save_to_path = awaitable(Transcript.save_to_path)

    @classmethod
    async def restore(
        cls, store: AsyncStore, segment: AsyncSegment, *, scope: str = ""
    ) -> AsyncTranscript:
        """Return the session that *segment* holds; as `Transcript.restore`."""
        return await in_thread(
            lambda: cls(
                Transcript.restore(store.blocking, segment.blocking, scope=scope)
            )
        )

    @property
    def view(self) -> SessionView:
        """What the session holds; in memory, so nothing is awaited."""
        return self.blocking

    @property
    def segment(self) -> AsyncSegment | None:
        """Where it is stored, None if it is not."""
        segment = self.blocking.segment
        return None if segment is None else AsyncSegment(segment)

    async def store_in(self, store: AsyncStore, *, scope: str = "") -> None:
        """Store the session; as `Transcript.store_in`."""
        transcript = self.blocking
        await in_thread(lambda: transcript.store_in(store.blocking, scope=scope))


class AsyncManagedSessions(Wrapped[ManagedSessions]):
    """The message sessions of a store; as `ManagedSessions`."""

    create = awaitable_as(ManagedSessions.create, _transcript)
    open = awaitable_as(ManagedSessions.open, _transcript)
    exists = awaitable(ManagedSessions.exists)
    delete = awaitable(ManagedSessions.delete)
    sessions = awaitable(ManagedSessions.sessions)
    latest = awaitable(ManagedSessions.latest)
    resolve = awaitable(ManagedSessions.resolve)

    async def add(self, transcript: AsyncTranscript) -> None:
        """Store *transcript*; as `ManagedSessions.add`."""
        await in_thread(lambda: self.blocking.add(transcript.blocking))
