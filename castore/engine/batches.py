"""
A large blob on its way in: chunks, as many as a frame should hold, then their list.

Spec: spec/blob.md, "Chunk list".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from castore import limits
from castore.digest import blob_digest, blob_hash
from castore.formats import frame as frame_format
from castore.formats.chunked import encode_chunks, slices_digest
from castore.formats.entry import BlobRef


_BATCH_SIZE = 4 * limits.MIB  # raw bytes of chunks in one frame


@attrs.define
class Pending:
    """
    A blob that no commit names yet, as the record that will hold it.

    Attributes:
        ref: Its name.

        descriptor: Of the record.

        payload: Of the record.

        base: What it is a difference to, else None.
    """

    ref: BlobRef
    descriptor: list[Any]
    payload: bytes
    base: bytes | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing else is needed to read it."""
        kind: int = self.descriptor[0]
        return kind == frame_format.BLOB


class Batches:
    """
    What must be written of a blob that comes in parts. Iterated over once.

    Attributes:
        chunks: Digest and size of each part so far, in order.

        ref: The blob; known at the end.
    """

    ref: BlobRef

    def __init__(
        self, parts: Iterable[bytes], is_known: Callable[[bytes], bool]
    ) -> None:
        """
        Take *parts*, each the bytes of a chunk.

        Args:
            parts: All there is, in order.

            is_known: Asked which chunks need not be written.
        """
        self._parts = parts
        self._is_known = is_known
        self.chunks: list[tuple[bytes, int]] = []

    def __iter__(self) -> Iterator[list[Pending]]:
        """
        Yield what stands in one frame each.

        The list comes last and alone: who wants a range reads it first.
        """
        whole = blob_hash()
        slices = _Slices()
        seen: set[bytes] = set()
        batch: list[Pending] = []
        batch_size = 0
        for part in self._parts:
            whole.update(part)
            slices.update(part)
            ref = BlobRef(blob_digest(part), len(part))
            self.chunks.append((ref.digest, ref.size))
            if ref.digest not in seen and not self._is_known(ref.digest):
                seen.add(ref.digest)
                batch.append(Pending(ref, [frame_format.BLOB, len(part)], part))
                batch_size += len(part)
            if batch_size >= _BATCH_SIZE:
                yield batch
                batch, batch_size = [], 0
        size = sum(size for _, size in self.chunks)
        listed = slices.finish() if size >= limits.SLICED_SIZE_MIN else b""
        digest = slices_digest(listed) if listed else None
        self.ref = BlobRef(whole.digest(), size, digest)
        payload = encode_chunks(self.chunks, listed)
        descriptor = [frame_format.CHUNKED, len(payload), self.ref.digest, size]
        yield batch
        yield [Pending(self.ref, descriptor, payload)]


class _Slices:
    """Hashes each full MiB of what comes."""

    def __init__(self) -> None:
        self._digests: list[bytes] = []
        self._hash = blob_hash()
        self._size = 0

    def update(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            part = view[: limits.SLICE_SIZE - self._size]
            self._hash.update(part)
            self._size += len(part)
            view = view[len(part) :]
            if self._size == limits.SLICE_SIZE:
                self._end()

    def _end(self) -> None:
        self._digests.append(self._hash.digest())
        self._hash = blob_hash()
        self._size = 0

    def finish(self) -> bytes:
        if self._size:
            self._end()
        return b"".join(self._digests)


def block_of(items: Sequence[Pending]) -> list[Pending]:
    """Return as many of *items*, from the first on, as one frame should hold."""
    some: list[Pending] = []
    size = 0
    for item in items[: limits.BLOCK_COUNT]:
        size += len(item.payload)
        if some and size > limits.BLOCK_SIZE:
            break
        some.append(item)
    return some
