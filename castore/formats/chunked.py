"""
Chunk lists and slices of large blobs.

Spec: spec/blob.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from castore import limits
from castore.codec import encode_record
from castore.digest import in_context
from castore.formats.refuse import is_bytes, is_count, need, record


_slices_hash = in_context["slices"]


@attrs.frozen
class ChunkList:
    """
    How a large blob is put together.

    Attributes:
        chunks: Digest and size of each chunk, in order.

        slices: BLAKE3 of each 1 MiB of the blob, concatenated; empty up to 8 MiB.
    """

    chunks: tuple[tuple[bytes, int], ...]
    slices: bytes


def slices_digest(slices: bytes) -> bytes:
    """Return what a reference states of *slices*."""
    return _slices_hash(slices)


def encode_chunks(chunks: Sequence[tuple[bytes, int]], slices: bytes) -> bytes:
    """Return the payload of a chunk list."""
    return encode_record([[part for chunk in chunks for part in chunk], slices])


def decode_chunks(payload: memoryview, size: int) -> ChunkList:
    """
    Return a chunk list whose sizes add up to *size* bytes.

    Raises:
        CorruptionError: ``malformed record``.
    """
    value = record(bytes(payload), limits.FRAME_RAW_SIZE_MAX, "chunk list")
    need(len(value) == 2 and isinstance(value[0], list), "chunk list: fields")
    flat, slices = value
    need(flat and len(flat) % 2 == 0 and type(slices) is bytes, "chunk list: fields")
    digests, sizes = flat[::2], flat[1::2]
    need(all(is_bytes(digest, 32) for digest in digests), "chunk list: digests")
    stop = limits.BLOB_RECORD_SIZE_MAX + 1
    need(all(is_count(part, start=1, stop=stop) for part in sizes), "chunk list: sizes")
    need(sum(sizes) == size, "chunk list: sizes do not add up")
    count = 0
    if size >= limits.SLICED_SIZE_MIN:
        count = -(-size // limits.SLICE_SIZE)
    need(len(slices) == 32 * count, "chunk list: slices")
    return ChunkList(tuple(zip(digests, sizes, strict=True)), slices)
