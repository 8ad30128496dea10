"""
Message sessions as awaitables.
"""

from __future__ import annotations

from castore.aio.running import in_thread
from castore.aio.stores import AsyncSegment, AsyncStore
from castore.aio.wrapping import Wrapped, awaitable, awaitable_as, batches
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
    push_message = awaitable(Transcript.push_message)
    push_user_text = awaitable(Transcript.push_user_text)
    push_prompt_entry = awaitable(Transcript.push_prompt_entry)
    record_compaction = awaitable(Transcript.record_compaction)
    compact = awaitable(Transcript.compact)
    fork = awaitable_as(Transcript.fork, _transcript)
    refresh = awaitable(Transcript.refresh)
    history = batches(Transcript.history)
    save_to_path = awaitable(Transcript.save_to_path)

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
