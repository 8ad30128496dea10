"""
The lock file: mark, generations, holder.

Spec: spec/folder.md, "lock".
"""

from __future__ import annotations

import struct

from typing import Any

import attrs

from castore.digest import in_context


SIZE = 256
_LAYOUT = struct.Struct(">8s16sQQ16sQ32sQQQIQ108s")
_MAGIC = b"cslock01"
_CHECK_SIZE = 16
_HOLDER_SIZE = 108

_mark_hash = in_context["mark"]


@attrs.frozen
class LockFile:
    """
    What the lock file says; spec/folder.md has the meaning of each.

    Attributes:
        journal: File id of the journal that the mark is in.

        device: Of that file.

        inode: Of that file.

        boot: Id of the machine's boot under which it was written.

        end: Offset up to which that journal is durable.

        frame: Hash of the last frame before *end*.

        seq: Of the last commit before *end*.

        catalog_generation: Raised by a rebuild of the catalog.

        gc_generation: Raised by whatever condemns, moves or deletes blobs.

        pid: Process that wrote it.

        since_ms: When that took the lock.

        holder: "host command" of that process.
    """

    journal: bytes
    device: int
    inode: int
    boot: bytes
    end: int
    frame: bytes
    seq: int
    catalog_generation: int = 0
    gc_generation: int = 0
    pid: int = 0
    since_ms: int = 0
    holder: str = ""


def encode_lock(lock: LockFile) -> bytes:
    """Return the 256 bytes for *lock*; the holder's text is cut to fit."""
    # A process may have been started by a name that is no text.
    holder = lock.holder.encode(errors="replace")[:_HOLDER_SIZE]
    body = _LAYOUT.pack(
        _MAGIC,
        lock.journal,
        lock.device,
        lock.inode,
        lock.boot,
        lock.end,
        lock.frame,
        lock.seq,
        lock.catalog_generation,
        lock.gc_generation,
        lock.pid,
        lock.since_ms,
        holder.decode(errors="ignore").encode(),
    )
    return body + _mark_hash(body)[:_CHECK_SIZE]


def decode_lock(data: bytes) -> LockFile | None:
    """Return what the lock file says, or None where it says nothing."""
    if len(data) != SIZE:
        return None
    body = data[:-_CHECK_SIZE]
    if _mark_hash(body)[:_CHECK_SIZE] != data[-_CHECK_SIZE:]:
        return None
    fields: list[Any] = list(_LAYOUT.unpack(body))
    if fields[0] != _MAGIC:
        return None
    fields[-1] = fields[-1].rstrip(b"\0").decode(errors="replace")
    return LockFile(*fields[1:])
