"""
From a stored record to the bytes of a blob, each checked against its name.

Spec: spec/blob.md.
"""

from __future__ import annotations

import collections
import threading

from collections.abc import Callable

from castore import limits
from castore.compress import patch
from castore.digest import blob_digest
from castore.errors import CorruptionError, FormatError
from castore.formats import frame as frame_format
from castore.formats.chunked import ChunkList, decode_chunks
from castore.formats.frame import Record
from castore.formats.refuse import placed


#: Gives the record that holds a blob, or raises.
FindRecord = Callable[[bytes], Record]

_TRIES = 3  # to follow a chain that packing changes meanwhile


def corrupt_blob(digest: bytes, what: str) -> CorruptionError:
    """Return the error for a blob that does not come out as its name says."""
    where = f"blob:{digest.hex()}"
    return CorruptionError(what=what, verdict="corrupt blob", where=where)


def raw_size(record: Record) -> int:
    """Return the raw size in bytes of the blob that *record* holds."""
    if record.kind == frame_format.BLOB:
        return len(record.payload)
    size: int = record.descriptor[3]
    return size


class RawCache:
    """
    Bytes of blobs that were read lately and checked, by name, up to a total size.

    May be used by threads.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._size = 0
        self._guard = threading.Lock()
        self._kept: collections.OrderedDict[bytes, bytes] = collections.OrderedDict()

    def get(self, digest: bytes) -> bytes | None:
        """Return the bytes of *digest* if they are kept."""
        with self._guard:
            data = self._kept.get(digest)
            if data is not None:
                self._kept.move_to_end(digest)
            return data

    def put(self, digest: bytes, data: bytes) -> None:
        """Keep *data*, which the caller has compared with its name."""
        with self._guard:
            if digest not in self._kept:
                self._kept[digest] = data
                self._size += len(data)
            while self._size > self._size_max:
                _, old = self._kept.popitem(last=False)
                self._size -= len(old)


def read_record(
    digest: bytes, record: Record, find: FindRecord, cache: RawCache | None = None
) -> bytes:
    """
    Return the bytes of the blob *digest*, which *record* holds, checked.

    Differences are resolved through their bases, at most 255 of them; a chunk
    list is put together in memory.

    Args:
        digest: Name of the blob.

        record: Of kind 1, 2 or 3.

        find: Asked for bases and chunks.

        cache: Asked for the blob and its bases first; gets what was read.

    Raises:
        CorruptionError: ``corrupt blob``.
    """
    if record.kind == frame_format.BLOB:
        data = bytes(record.payload)
    elif record.kind == frame_format.DIFFERENCE:
        return _resolve(digest, record, find, cache or RawCache(0))
    else:
        chunks = chunk_list(digest, record)
        data = b"".join(read_chunk(*chunk, find) for chunk in chunks.chunks)
    if blob_digest(data) != digest:
        raise corrupt_blob(digest, "content hashes to another name")
    return data


def chunk_list(digest: bytes, record: Record) -> ChunkList:
    """Return the chunk list that *record* holds for the blob *digest*."""
    with placed(f"blob:{digest.hex()}"):
        return decode_chunks(record.payload, raw_size(record))


def read_chunk(digest: bytes, size: int, find: FindRecord) -> bytes:
    """Return the chunk *digest* of *size* bytes, checked."""
    record = find(digest)
    if record.kind == frame_format.CHUNKED or raw_size(record) != size:
        raise corrupt_blob(digest, "is no chunk of the stated size")
    return read_record(digest, record, find)


def _resolve(digest: bytes, record: Record, find: FindRecord, cache: RawCache) -> bytes:
    followed = _followed(digest, record, find, cache)
    for _ in range(_TRIES):
        if followed is not None:
            break
        # Packing may turn a chain around while it is followed: look again.
        followed = _followed(digest, find(digest), find, cache)
    if followed is None:
        raise corrupt_blob(digest, "chain of bases does not end")
    data, chain = followed
    for name, step in reversed(chain):
        try:
            data = patch(data, step.payload, raw_size=raw_size(step))
        except FormatError as error:
            raise corrupt_blob(name, error.what) from error
        if blob_digest(data) != name:
            raise corrupt_blob(name, "content hashes to another name")
        cache.put(name, data)
    return data


def _followed(
    digest: bytes, record: Record, find: FindRecord, cache: RawCache
) -> tuple[bytes, list[tuple[bytes, Record]]] | None:
    """
    Return the bytes at the end of a chain, and the differences on the way there;
    None where it comes back to itself, or does not end.
    """
    chain: list[tuple[bytes, Record]] = []
    seen: set[bytes] = set()
    data = cache.get(digest)
    while data is None and record.kind == frame_format.DIFFERENCE:
        if digest in seen or len(chain) >= limits.DIFFERENCE_DEPTH_MAX:
            return None
        seen.add(digest)
        chain.append((digest, record))
        digest = record.descriptor[4]
        data = cache.get(digest)
        if data is None:
            record = find(digest)
    if data is None:
        if record.kind != frame_format.BLOB:
            name = chain[-1][0] if chain else digest
            raise corrupt_blob(name, "its base is no whole blob")
        data = read_record(digest, record, find)
        cache.put(digest, data)
    return data, chain
