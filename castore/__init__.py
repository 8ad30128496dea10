"""
castore keeps what LLM agents write: every entry, every payload, provably.

`open` a store, `Store.put` payloads, `Store.create_session` and append entries
to its `Segment`; everything acknowledged is durable, deduplicated and checked
when it is read.

Spec: spec/README.md.
"""

from castore.blobfile import BlobReader
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
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from castore.formats.entry import BlobRef, Entry, Origin, Reference
from castore.proof import InclusionProof
from castore.segment import ABSENT, ANY, Segment
from castore.session import Session
from castore.store import BlobStat, Stats, Store, open  # noqa: A004
from castore.writing import NewEntry


__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "ANY",
    "BlobReader",
    "BlobRef",
    "BlobStat",
    "CastoreError",
    "ClosedError",
    "ConflictError",
    "CorruptionError",
    "Entry",
    "ForkedStoreError",
    "FormatError",
    "GoneError",
    "InclusionProof",
    "LimitError",
    "LockedError",
    "LostError",
    "NewEntry",
    "NotFoundError",
    "Origin",
    "Reference",
    "Segment",
    "Session",
    "Stats",
    "StorageError",
    "Store",
    "UnsupportedError",
    "open",
]
