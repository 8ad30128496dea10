"""
Frames: records that are compressed, hashed and valid together, in one place.

The stored part is built first (`seal_part`): it depends on nothing but the
records. Table, place and hash come after (`finish`), under the store's lock.

Spec: spec/frame.md.
"""

from __future__ import annotations

import itertools
import struct

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from castore import limits
from castore.codec import encode_count, encode_items, encode_known, encode_record
from castore.compress import compress, decompress
from castore.digest import in_context
from castore.errors import FormatError, LimitError
from castore.formats.refuse import (
    CORRUPT_FRAME,
    UNSUPPORTED,
    is_bytes,
    is_count,
    need,
    record,
    refusal,
)


MAGIC = b"csF1"
HEADER_SIZE = 28
HASH_SIZE = 32
RAW, ZSTD = 0, 1

BLOB, DIFFERENCE, CHUNKED, ENTRIES, REF_LIST, HEAD, COMMIT, FOOTER = range(1, 9)
_IGNORABLE = 64

_BLOB_FRONT = bytes((0x82, BLOB))  # an array of two, and the kind

_HEADER = struct.Struct(">4sBBHIIIQ")
_OFFSET = struct.Struct(">Q")
_frame_hash = in_context["frame"]
_stored_hash = in_context["stored"]


@attrs.define
class Part:
    """
    The stored part of a frame, ready to be put into one.

    Attributes:
        codec: How *data* is compressed.

        raw_size: Bytes before compression.

        data: The bytes that are written.

        digest: Their hash.
    """

    codec: int
    raw_size: int
    data: bytes
    digest: bytes


@attrs.frozen
class FrameHeader:
    """The fixed part of a frame; sizes in bytes."""

    codec: int
    flags: int
    record_count: int
    table_size: int
    raw_size: int
    stored_size: int
    group_start: int

    @property
    def size(self) -> int:
        """Bytes of the whole frame, hash included."""
        return HEADER_SIZE + self.table_size + self.stored_size + HASH_SIZE


@attrs.define
class Record:
    """
    One record of a frame.

    Attributes:
        kind: See spec/frame.md.

        descriptor: Its array in the table, kind and size first.

        payload: Its bytes; a view into the frame's raw part.
    """

    kind: int
    descriptor: list[Any]
    payload: memoryview


def seal_part(raw: bytes, level: int, *, long: bool = False) -> Part:
    """
    Return the stored part for the payloads *raw*, compressed where it shrinks.

    Args:
        raw: Payloads of the records, in the order of the table.

        level: Of zstd; 0 keeps the bytes as they are.

        long: Whether matches may lie megabytes apart (packs).
    """
    data, codec = raw, RAW
    if level and len(raw) > HASH_SIZE:
        packed = compress(raw, level, long=long)
        if len(packed) < len(raw):
            data, codec = packed, ZSTD
    return Part(codec, len(raw), data, _stored_hash(data))


def inline_record(kind: int, encoded: bytes) -> bytes:
    """Return the encoded descriptor of a head or commit, which stands in the table."""
    return bytes((0x83, kind, 0)) + encoded


def finish(
    part: Part,
    table: Sequence[Sequence[Any]],
    inline: Sequence[bytes] = (),
    *,
    offset: int,
    group_start: int,
    file_hash: bytes,
    prev: bytes,
) -> bytes:
    """
    Return the whole frame that holds *part*, for exactly this place.

    Args:
        part: From `seal_part`.

        table: A descriptor for each record.

        inline: Further descriptors, from `inline_record`.

        offset: Where the frame will begin in its file.

        group_start: Where its sync group begins.

        file_hash: Of the file's header.

        prev: The 32 bytes of the file before *offset*.

    Raises:
        LimitError: No reader would take it.
    """
    encoded = encode_items([*map(_encode_descriptor, table), *inline])
    count = len(table) + len(inline)
    _check_limits(count, len(encoded), part)
    head = _HEADER.pack(
        MAGIC,
        part.codec,
        0,
        count,
        len(encoded),
        part.raw_size,
        len(part.data),
        group_start,
    )
    place = _OFFSET.pack(offset)
    digest = _frame_hash(head, encoded, part.digest, file_hash, place, prev)
    return b"".join((head, encoded, part.data, digest))


def size_of(part: Part, table: Sequence[Sequence[Any]]) -> int:
    """Return the bytes of the frame that `finish` makes of *part* and *table*."""
    table_size = len(encode_items([*map(_encode_descriptor, table)]))
    return HEADER_SIZE + table_size + len(part.data) + HASH_SIZE


def _encode_descriptor(item: Sequence[Any]) -> bytes:
    if item[0] == BLOB:  # most are
        return _BLOB_FRONT + encode_count(item[1])
    return encode_known(list(item))


def _check_limits(record_count: int, table_size: int, part: Part) -> None:
    for what, value, most in (
        ("records", record_count, limits.FRAME_RECORD_COUNT_MAX),
        ("bytes of table", table_size, limits.FRAME_TABLE_SIZE_MAX),
        ("raw bytes", part.raw_size, limits.FRAME_RAW_SIZE_MAX),
        ("stored bytes", len(part.data), limits.FRAME_STORED_SIZE_MAX),
    ):
        if value > most:
            raise LimitError(
                what=f"a frame of {value} {what}, at most {most}", limit=most
            )


def parse_header(data: bytes | memoryview, *, room: int) -> FrameHeader:
    """
    Return the header at the front of *data*, its sizes within their limits.

    What else is wrong with it matters only once its hash fits (`check_shape`).

    Args:
        data: At least the first 28 bytes of the frame.

        room: Bytes from there to where the frame must end at the latest.

    Raises:
        CorruptionError: ``corrupt frame``.
    """
    need(room >= HEADER_SIZE and len(data) >= HEADER_SIZE, "cut", CORRUPT_FRAME)
    magic, codec, flags, count, table, raw, stored, group = _HEADER.unpack_from(data)
    header = FrameHeader(codec, flags, count, table, raw, stored, group)
    need(
        magic == MAGIC
        and table <= limits.FRAME_TABLE_SIZE_MAX
        and raw <= limits.FRAME_RAW_SIZE_MAX
        and stored <= limits.FRAME_STORED_SIZE_MAX,
        "no frame header",
        CORRUPT_FRAME,
    )
    need(header.size <= room, "frame is cut", CORRUPT_FRAME)
    return header


def check_hash(
    data: memoryview, header: FrameHeader, *, offset: int, file_hash: bytes, prev: bytes
) -> bytes:
    """
    Return the frame hash if *data* is whole and stands where it was written.

    Raises:
        CorruptionError: ``corrupt frame``.
    """
    front = HEADER_SIZE + header.table_size
    end = front + header.stored_size
    stored = _stored_hash(data[front:end])
    place = _OFFSET.pack(offset)
    digest = _frame_hash(data[:front], stored, file_hash, place, prev)
    need(data[end : end + HASH_SIZE] == digest, "frame hash differs", CORRUPT_FRAME)
    return digest


def check_shape(header: FrameHeader, *, offset: int, start: int) -> None:
    """
    Refuse a whole frame at *offset* whose header says what it must not.

    Args:
        header: From `parse_header`.

        offset: Where the frame stands.

        start: Offset of the file's first frame.

    Raises:
        CorruptionError: ``malformed record``.
    """
    need(header.codec in (RAW, ZSTD) and header.flags == 0, "frame: codec or flags")
    need(header.record_count > 0, "frame: no records")
    if header.codec == RAW:
        need(header.raw_size == header.stored_size, "frame: sizes")
    else:
        need(header.raw_size > 0, "frame: sizes")
    need(start <= header.group_start <= offset, "frame: group start")


def decode_table(data: memoryview, header: FrameHeader) -> list[list[Any]]:
    """
    Return the descriptors of a whole frame, each of the shape of its kind.

    Raises:
        CorruptionError: ``malformed record`` or ``unsupported version``.
    """
    encoded = data[HEADER_SIZE : HEADER_SIZE + header.table_size]
    table = record(bytes(encoded), limits.FRAME_TABLE_SIZE_MAX, "table")
    need(len(table) == header.record_count, "table: another count than the header")
    need(set(map(type, table)) <= {list}, "descriptor: fields")
    sizes = list(map(len, table))
    # Most are descriptors of whole blobs, side by side.
    at = sizes.index(2) if 2 in sizes else 0
    end = at + sizes.count(2)
    if sizes[at:end].count(2) < end - at:
        at = end = 0
    blobs, others = table[at:end], table[:at] + table[end:]
    total = _sum_blobs(blobs) if blobs else 0
    if total is None:
        total, others = 0, table
    total += sum(map(_check_descriptor, others))
    need(total == header.raw_size, "table: sizes do not add up")
    return table


def _sum_blobs(items: list[list[Any]]) -> int | None:
    """
    Return the sum of sizes if all of *items* are good descriptors of whole blobs.

    Thousands may stand in one frame, so all are looked at at once.
    """
    fields = list(itertools.chain.from_iterable(items))
    kinds, sizes = fields[::2], fields[1::2]
    if set(map(type, fields)) != {int} or kinds.count(BLOB) < len(kinds):
        return None
    if min(sizes) < 0 or max(sizes) > limits.BLOB_RECORD_SIZE_MAX:
        return None
    total: int = sum(sizes)
    return total


def _check_descriptor(item: list[Any]) -> int:
    need(len(item) >= 2, "descriptor: fields")
    kind: int = item[0]
    size: int = item[1]
    rest: list[Any] = item[2:]
    need(is_count(kind, start=1, stop=256) and is_count(size), "descriptor: kind, size")
    if kind >= _IGNORABLE:
        return size
    need(kind <= FOOTER, f"record kind {kind}", UNSUPPORTED)
    need(_SHAPES[kind](size, rest), f"descriptor of kind {kind}")
    return size


def _is_difference(size: int, rest: list[Any]) -> bool:
    return (
        len(rest) == 4
        and is_bytes(rest[0], 32)
        and is_count(rest[1], start=1, stop=limits.BLOB_RECORD_SIZE_MAX + 1)
        and is_bytes(rest[2], 32)
        and is_count(rest[3], start=1, stop=limits.DIFFERENCE_DEPTH_MAX + 1)
    )


def _is_entries(size: int, rest: list[Any]) -> bool:
    return (
        len(rest) == 5
        and is_bytes(rest[0], 16)
        and is_count(rest[1])
        and is_bytes(rest[2], 32)
        and is_count(rest[3], start=1)
        and is_count(rest[4], stop=2)
    )


def _is_plain_array(size: int, rest: list[Any]) -> bool:
    return size == 0 and len(rest) == 1 and isinstance(rest[0], list)


_SHAPES: dict[int, Callable[[int, list[Any]], bool]] = {
    BLOB: lambda size, rest: not rest and size <= limits.BLOB_RECORD_SIZE_MAX,
    DIFFERENCE: _is_difference,
    CHUNKED: lambda size, rest: (
        len(rest) == 2 and is_bytes(rest[0], 32) and is_count(rest[1])
    ),
    ENTRIES: _is_entries,
    REF_LIST: lambda size, rest: not rest,
    HEAD: _is_plain_array,
    COMMIT: _is_plain_array,
    FOOTER: lambda size, rest: not rest,
}


def decode_raw(data: memoryview, header: FrameHeader) -> memoryview:
    """
    Return the raw part of a whole frame.

    Raises:
        CorruptionError: ``malformed record``: it does not decompress to its size.
    """
    front = HEADER_SIZE + header.table_size
    stored = data[front : front + header.stored_size]
    if header.codec == RAW:
        return stored
    try:
        return memoryview(decompress(stored, raw_size=header.raw_size))
    except FormatError as error:
        raise refusal(f"stored part: {error.what}") from error


def stored_part(data: memoryview, header: FrameHeader) -> Part:
    """Return the stored part of a whole frame as it is."""
    front = HEADER_SIZE + header.table_size
    stored = bytes(data[front : front + header.stored_size])
    return Part(header.codec, header.raw_size, stored, _stored_hash(stored))


def encode_footer(offsets: Sequence[int]) -> bytes:
    """Return the payload of a footer: the offsets of all frames before it."""
    return encode_record(list(offsets))
