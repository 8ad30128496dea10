"""
Frames and zstd frames byte by byte, so that each can be wrong in one place.

The zstd frames hold only blocks of one repeated byte, so that no version of a
library can change a vector.
"""

from __future__ import annotations

import struct

from collections.abc import Sequence
from typing import Any

import attrs

from castore.codec import encode_record
from castore.digest import in_context
from castore.formats.frame import MAGIC


_BLOCK_SIZE_MAX = 128 << 10  # bytes that one block of zstd gives


def repeat_frame(
    size: int,
    fill: bytes = b"z",
    *,
    states: int | None = None,
    window: int | None = None,
    dictionary: bool = False,
) -> bytes:
    """
    Return a zstd frame of *size* times the byte *fill*.

    Args:
        size: Bytes that it decodes to.

        fill: One byte.

        states: The content size that it states, if that is not *size*; -1: none.

        window: Logarithm of a stated window, instead of a single segment.

        dictionary: Whether it names dictionary 1.
    """
    stated = size if states is None else states
    descriptor = (0 if stated < 0 else 0x80) | (0x20 if window is None else 0)
    frame = b"\x28\xb5\x2f\xfd" + bytes([descriptor | dictionary])
    frame += b"" if window is None else bytes([(window - 10) << 3])
    frame += b"\1" if dictionary else b""
    frame += b"" if stated < 0 else stated.to_bytes(4, "little")
    while size > _BLOCK_SIZE_MAX:
        frame += _block(_BLOCK_SIZE_MAX, fill, last=False)
        size -= _BLOCK_SIZE_MAX
    return frame + _block(size, fill, last=True)


def _block(size: int, fill: bytes, *, last: bool) -> bytes:
    repeat = 1 << 1
    return (size << 3 | repeat | last).to_bytes(3, "little") + fill


@attrs.frozen
class Forged:
    """
    A frame whose every field can be given; its hash is right for its place.

    Attributes:
        table: Encoded descriptors.

        stored: Stored part.

        raw_size: R.

        codec: 0 or 1.

        count: Of records.

        flags: 0.

        group_start: Where its sync group begins, by default at the frame.

        magic: Of frames.
    """

    table: bytes
    stored: bytes
    raw_size: int
    codec: int = 0
    count: int = 1
    flags: int = 0
    group_start: int | None = None
    magic: bytes = MAGIC

    def at(self, offset: int, *, file_hash: bytes, prev: bytes) -> bytes:
        """Return the bytes for this place."""
        group = offset if self.group_start is None else self.group_start
        sizes = (self.count, len(self.table), self.raw_size, len(self.stored))
        layout = (self.magic, self.codec, self.flags, *sizes, group)
        front = struct.pack(">4sBBHIIIQ", *layout) + self.table
        digest = in_context["stored"](self.stored)
        place = offset.to_bytes(8)
        frame_hash = in_context["frame"](front, digest, file_hash, place, prev)
        return front + self.stored + frame_hash


def forged(records: Sequence[tuple[Sequence[Any], bytes]], **changes: Any) -> Forged:
    """Return the frame of (descriptor, payload) records, uncompressed."""
    table = encode_record([list(descriptor) for descriptor, _ in records])
    stored = b"".join(payload for _, payload in records)
    frame = Forged(table, stored, len(stored), count=len(records))
    return attrs.evolve(frame, **changes)
