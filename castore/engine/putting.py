"""
Putting bytes: the way into the pool for whoever has an engine.

Spec: spec/blob.md.
"""

from __future__ import annotations

import io

from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from castore.errors import ClosedError
from castore.formats.entry import BlobRef


if TYPE_CHECKING:
    from castore.engine.engine import Engine


def put_bytes(
    engine: Engine, data: bytes | bytearray | memoryview, like: BlobRef | None = None
) -> BlobRef:
    """
    Take *data* in and return its reference.

    Durable and visible to others with the commit that references it. Costs one
    hash, and with *like* one compression against that.

    Raises:
        ClosedError: The store is closed or read-only.
    """
    check_writable(engine)
    return engine.pool.put(bytes(data), like)


def keep_bytes(engine: Engine, data: bytes) -> BlobRef:
    """
    Take in *data* of the store's own, as `put_bytes`: it waits in memory.

    For commits that take something away, and so are made where there is no room.
    """
    check_writable(engine)
    return engine.pool.keep(data)


def put_stream(engine: Engine, stream: BinaryIO) -> BlobRef:
    """Take in all that *stream* gives, in constant memory; as `put_bytes`."""
    check_writable(engine)
    if isinstance(stream, io.TextIOBase) or not hasattr(stream, "read"):
        raise TypeError("bytes are wanted, or a stream of bytes")
    return engine.pool.put_stream(stream)


def put_parts(engine: Engine, parts: Iterable[bytes]) -> BlobRef:
    """
    Take in what *parts* give together, each a chunk; as `put_bytes`.

    Raises:
        ValueError: A part is empty, or above ``limits.BLOB_RECORD_SIZE_MAX``.
    """
    check_writable(engine)
    return engine.pool.put_parts(parts)


def check_writable(engine: Engine) -> None:
    """
    Refuse an engine that takes nothing in.

    Raises:
        ClosedError: The store is closed or read-only.
    """
    engine.check_usable()
    if engine.read_only:
        raise ClosedError(what="the store was opened read-only")
