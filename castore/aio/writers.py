"""
Writers of conversations and stores of runtimes as awaitables.
"""

from __future__ import annotations

import contextlib

from collections.abc import AsyncIterator
from typing import Any

from castore.aio.running import in_thread
from castore.aio.stores import AsyncSegment
from castore.aio.wrapping import Wrapped, awaitable, awaitable_as, batches
from castore.conversation.writer import SegmentWriter
from castore.records.state import RestoredState
from castore.runtime.leasing import Leases
from castore.runtime.store import RuntimeStore


def _writer(writer: SegmentWriter) -> AsyncSegmentWriter:
    return AsyncSegmentWriter(writer)


def _restored(
    found: tuple[SegmentWriter, RestoredState],
) -> tuple[AsyncSegmentWriter, RestoredState]:
    return AsyncSegmentWriter(found[0]), found[1]


class AsyncSegmentWriter(Wrapped[SegmentWriter]):
    """The writer of a conversation; as `SegmentWriter`. For one task."""

    reserve = staticmethod(SegmentWriter.reserve)
    classify_history_item = staticmethod(SegmentWriter.classify_history_item)
    create = staticmethod(awaitable_as(SegmentWriter.create, _writer))
    restore = staticmethod(awaitable_as(SegmentWriter.restore, _restored))
    restore_by_segment = staticmethod(
        awaitable_as(SegmentWriter.restore_by_segment, _restored)
    )
    state = awaitable(SegmentWriter.state)
    append_entry = awaitable(SegmentWriter.append_entry)
    append_system_item = awaitable(SegmentWriter.append_system_item)
    append_traces = awaitable(SegmentWriter.append_traces)
    traces = batches(SegmentWriter.traces)
    save_user_input = awaitable(SegmentWriter.save_user_input)
    save_delta = awaitable(SegmentWriter.save_delta)
    save_invoke = awaitable(SegmentWriter.save_invoke)
    save_turn_end = awaitable(SegmentWriter.save_turn_end)
    save_outcome = awaitable(SegmentWriter.save_outcome)
    save_run_completed = awaitable(SegmentWriter.save_run_completed)
    save_run_errored = awaitable(SegmentWriter.save_run_errored)
    save_paused_turn_abandoned = awaitable(SegmentWriter.save_paused_turn_abandoned)
    save_usage = awaitable(SegmentWriter.save_usage)
    save_cache_locked = awaitable(SegmentWriter.save_cache_locked)
    save_cache_unlocked = awaitable(SegmentWriter.save_cache_unlocked)
    save_extension = awaitable(SegmentWriter.save_extension)
    save_pod_scope = awaitable(SegmentWriter.save_pod_scope)
    save_config_changed = awaitable(SegmentWriter.save_config_changed)
    save_snapshot = awaitable(SegmentWriter.save_snapshot)
    ensure_head_or_fork = awaitable(SegmentWriter.ensure_head_or_fork)
    fork = awaitable_as(SegmentWriter.fork, _writer)
    fork_at = awaitable_as(SegmentWriter.fork_at, _writer)
    create_compacted = awaitable_as(SegmentWriter.create_compacted, _writer)

    async def append_trace(self, turn: int, event: Any, **more: Any) -> None:
        """Append an event for who debugs; as `SegmentWriter.append_trace`."""
        writer = self.blocking
        await in_thread(lambda: writer.append_trace(turn, event, **more))

    @contextlib.asynccontextmanager
    async def turn(self, *, key: str | None = None) -> AsyncIterator[None]:
        """Make one commit of what is saved within; as `SegmentWriter.turn`."""
        async with contextlib.AsyncExitStack() as stack:
            turn = self.blocking.turn(key=key)
            await in_thread(turn.__enter__)

            async def leave(*error: Any) -> bool | None:
                return await in_thread(lambda: turn.__exit__(*error))

            stack.push_async_exit(leave)
            yield

    @property
    def session_id(self) -> bytes:
        """Session id, 16 bytes."""
        return self.blocking.session_id

    @property
    def segment_id(self) -> bytes:
        """Segment id, 16 bytes."""
        return self.blocking.segment_id

    @property
    def head_hash(self) -> bytes:
        """Hash of the last entry that this writer knows of."""
        return self.blocking.head_hash

    @property
    def entries_count(self) -> int:
        """Entries of the log that this writer knows of, inherited ones included."""
        return self.blocking.entries_count

    @property
    def own_count(self) -> int:
        """The same without inherited ones."""
        return self.blocking.own_count

    @property
    def segment(self) -> AsyncSegment:
        """The log."""
        return AsyncSegment(self.blocking.segment)


class AsyncLeases(Wrapped[Leases]):
    """Who may commit to a runtime's session; as `Leases`."""

    current = awaitable(Leases.current)
    claim = awaitable(Leases.claim)
    renew = awaitable(Leases.renew)
    release = awaitable(Leases.release)
    take_over = awaitable(Leases.take_over)


def _runtime(store: RuntimeStore) -> AsyncRuntimeStore:
    return AsyncRuntimeStore(store)


class AsyncRuntimeStore(Wrapped[RuntimeStore]):
    """One session of a runtime in a store; as `RuntimeStore`."""

    #: Bind to a session; as the constructor of `RuntimeStore`.
    bind = staticmethod(awaitable_as(RuntimeStore, _runtime))
    load_session = awaitable(RuntimeStore.load_session)
    load_node = awaitable(RuntimeStore.load_node)
    load_head_meta = awaitable(RuntimeStore.load_head_meta)
    load_session_meta = awaitable(RuntimeStore.load_session_meta)
    load_picker_info = awaitable(RuntimeStore.load_picker_info)
    load_state = awaitable(RuntimeStore.load_state)
    refresh_state = awaitable(RuntimeStore.refresh_state)
    commit_runtime_state = awaitable(RuntimeStore.commit_runtime_state)
    put = awaitable(RuntimeStore.put)
    save_session_meta = awaitable(RuntimeStore.save_session_meta)
    tombstone_nodes = awaitable(RuntimeStore.tombstone_nodes)
    vacuum = awaitable(RuntimeStore.vacuum)
    gc_unreachable = awaitable(RuntimeStore.gc_unreachable)
    fork = awaitable_as(RuntimeStore.fork, _runtime)

    @property
    def durability(self) -> str:
        """What a commit survives."""
        return self.blocking.durability

    @property
    def leases(self) -> AsyncLeases:
        """Who may commit."""
        return AsyncLeases(self.blocking.leases)

    async def segment(self) -> AsyncSegment:
        """Return the session's log; as `RuntimeStore.segment`."""
        return AsyncSegment(await in_thread(lambda: self.blocking.segment))
