"""
castore keeps what LLM agents write: every entry, every payload, provably.

`open` a store, `Store.put` payloads, `Store.create_session` and append entries
to its `Segment`; everything acknowledged is durable, deduplicated and checked
when it is read.

Names are imported from their modules when they are first used: a command that
needs few of them does not wait for the others.

Spec: spec/README.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from castore.aio.messages import AsyncManagedSessions, AsyncTranscript
    from castore.aio.stores import AsyncSegment, AsyncSession, AsyncStore
    from castore.aio.writers import AsyncRuntimeStore, AsyncSegmentWriter
    from castore.backups.running import backup
    from castore.blobfile import BlobReader
    from castore.conversation.conversations import Conversations
    from castore.conversation.saving import Cursor
    from castore.conversation.writer import SegmentWriter
    from castore.erasing.asking import erase
    from castore.errors import (
        CastoreError,
        ClosedError,
        ConflictError,
        CorruptionError,
        ForkedStoreError,
        FormatError,
        GoneError,
        LimitError,
        LockedError,
        LostError,
        NeededError,
        NotFoundError,
        StorageError,
        UnsupportedError,
    )
    from castore.formats.entry import BlobRef, Entry, Origin, Reference
    from castore.messages.checking import MessageFormatError
    from castore.messages.managed import ManagedSessions
    from castore.messages.transcript import Transcript
    from castore.proofs.decoding import check_proof, decode_proof
    from castore.proofs.logs import ConsistencyProof, InclusionProof, OriginProof
    from castore.proofs.ranges import RangeProof
    from castore.records.messages import ConversationMessage
    from castore.records.state import RestoredState, StartState
    from castore.runtime import RuntimeCommit, RuntimeSession, RuntimeStore
    from castore.segment import ABSENT, ANY, Segment
    from castore.session import Session
    from castore.store import BlobStat, Stats, Store, open  # noqa: A004
    from castore.writing import NewEntry


__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "ANY",
    "AsyncManagedSessions",
    "AsyncRuntimeStore",
    "AsyncSegment",
    "AsyncSegmentWriter",
    "AsyncSession",
    "AsyncStore",
    "AsyncTranscript",
    "BlobReader",
    "BlobRef",
    "BlobStat",
    "CastoreError",
    "ClosedError",
    "ConflictError",
    "ConsistencyProof",
    "ConversationMessage",
    "Conversations",
    "CorruptionError",
    "Cursor",
    "Entry",
    "ForkedStoreError",
    "FormatError",
    "GoneError",
    "InclusionProof",
    "LimitError",
    "LockedError",
    "LostError",
    "ManagedSessions",
    "MessageFormatError",
    "NeededError",
    "NewEntry",
    "NotFoundError",
    "Origin",
    "OriginProof",
    "RangeProof",
    "Reference",
    "RestoredState",
    "RuntimeCommit",
    "RuntimeSession",
    "RuntimeStore",
    "Segment",
    "SegmentWriter",
    "Session",
    "StartState",
    "Stats",
    "StorageError",
    "Store",
    "Transcript",
    "UnsupportedError",
    "backup",
    "check_proof",
    "decode_proof",
    "erase",
    "open",
]

_PLACES = {
    "castore.aio.messages": "AsyncManagedSessions AsyncTranscript",
    "castore.aio.stores": "AsyncSegment AsyncSession AsyncStore",
    "castore.aio.writers": "AsyncRuntimeStore AsyncSegmentWriter",
    "castore.backups.running": "backup",
    "castore.blobfile": "BlobReader",
    "castore.conversation.conversations": "Conversations",
    "castore.conversation.saving": "Cursor",
    "castore.conversation.writer": "SegmentWriter",
    "castore.erasing.asking": "erase",
    "castore.errors": (
        "CastoreError ClosedError ConflictError CorruptionError "
        "ForkedStoreError FormatError GoneError LimitError LockedError "
        "LostError NeededError NotFoundError StorageError UnsupportedError"
    ),
    "castore.formats.entry": "BlobRef Entry Origin Reference",
    "castore.messages.checking": "MessageFormatError",
    "castore.messages.managed": "ManagedSessions",
    "castore.messages.transcript": "Transcript",
    "castore.proofs.decoding": "check_proof decode_proof",
    "castore.proofs.logs": "ConsistencyProof InclusionProof OriginProof",
    "castore.proofs.ranges": "RangeProof",
    "castore.records.state": "RestoredState StartState",
    "castore.runtime": "RuntimeCommit RuntimeSession RuntimeStore",
    "castore.records.messages": "ConversationMessage",
    "castore.segment": "ABSENT ANY Segment",
    "castore.session": "Session",
    "castore.store": "BlobStat Stats Store open",
    "castore.writing": "NewEntry",
}
_PLACE_OF = {name: place for place, names in _PLACES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _PLACE_OF:
        raise AttributeError(f"module 'castore' has no attribute {name!r}")
    value = getattr(import_module(_PLACE_OF[name]), name)
    globals()[name] = value  # asked for once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
