"""
Bytes from blocking streams, a piece at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from castore import limits


def read_full(stream: BinaryIO, size: int) -> bytes:
    """
    Return *size* bytes of *stream*, less only at its end: pipes give parts.

    Raises:
        ValueError: The stream does not wait for its bytes.
    """
    parts = []
    while size and (data := _read(stream, size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def chain(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    """Yield *head*, then all that *stream* still gives; errors as `read_full`."""
    yield head
    while data := _read(stream, limits.BLOB_RECORD_SIZE_MAX):
        yield data


def _read(stream: BinaryIO, size: int) -> bytes:
    data: bytes | None = stream.read(size)
    if data is None:  # nothing yet, which is not the end
        raise ValueError("the stream does not wait for its bytes; make it blocking")
    return data
