"""
Payloads by name: where they are, their bytes, ranges of them.

Spec: spec/blob.md; spec/ordering.md, "Reading".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from castore import limits
from castore.catalog.rows import Catalog, Place
from castore.digest import blob_digest, format_digest
from castore.engine.frames import FrameCache, missing_file
from castore.errors import CorruptionError, GoneError, NotFoundError
from castore.formats import frame as frame_format
from castore.formats.chunked import slices_digest
from castore.formats.entry import BlobRef
from castore.formats.frame import Record
from castore.reading.blobs import (
    FindRecord,
    chunk_list,
    corrupt_blob,
    raw_size,
    read_chunk,
    read_record,
)
from castore.reading.frames import Frame


class Blobs:
    """
    Reads blobs that *view* knows.

    Where a file was packed away between the look-up and the read, *newest* is asked
    for the blobs of the newest view, and the look-up repeated there.
    """

    def __init__(
        self,
        view: Catalog,
        frames: FrameCache,
        newest: Callable[[NotFoundError], Blobs],
    ) -> None:
        self._view = view
        self._frames = frames
        self._newest = newest

    def locate(
        self, digest: bytes, gone: Place | None = None
    ) -> tuple[Place, Frame] | None:
        """
        Return where *digest* stands and the frame there, None if it is not stored.

        Args:
            digest: Name of a blob or list of references.

            gone: Where it stood in an older view, and there is no file any more.

        Raises:
            CorruptionError: The frame, or its file, is not there or not whole.
        """
        place = self._view.find_place(digest)
        if place is None:
            return None
        try:
            return place, self._frames.get(place.file, place.offset)
        except NotFoundError as error:
            if place == gone:
                raise missing_file(place.file) from error
            return self._newest(error).locate(digest, place)

    def find(self, digest: bytes) -> Record:
        """
        Return the record that holds the blob *digest*.

        Raises:
            NotFoundError: The store does not have it.

            GoneError: GC took it, and an entry says so.

            CorruptionError: The frame it should be in is not whole.
        """
        found = self.locate(digest)
        if found is None:
            raise self._absent(digest)
        place, frame = found
        if place.record >= len(frame.records):
            raise corrupt_blob(digest, "the index names no such record")
        record = frame.records[place.record]
        if record.kind not in _BLOB_KINDS:
            raise corrupt_blob(digest, "the index names another record")
        return record

    def _absent(self, digest: bytes) -> NotFoundError | GoneError:
        name = format_digest(digest)
        run = self._view.find_collected(digest)
        if run is None:
            return NotFoundError(what=f"no blob {name} in this store")
        what = f"blob {name} was collected by gc run {run}"
        return GoneError(what=what, how="collected", entry=run)

    def read(self, digest: bytes) -> bytes:
        """Return the bytes of the blob *digest*, checked against the name."""
        return read_record(digest, self.find(digest), self.find)

    def read_range(self, ref: BlobRef, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)`` of *ref*, as the function below."""
        return read_range(ref, start, stop, self.find)

    def listed(self, digest: bytes) -> Sequence[tuple[bytes, int]] | None:
        """
        Return digest and size of the chunks of *digest*: none if it has none or is
        damaged, None if it is not in the store. Does not read it.
        """
        try:
            found = self.locate(digest)
            if found is None:
                return None
            place, frame = found
            if frame.table[place.record][0] != frame_format.CHUNKED:
                return ()
            return chunk_list(digest, frame.records[place.record]).chunks
        except CorruptionError:
            return ()

    def base_depth(self, digest: bytes) -> int | None:
        """
        Return the depth of *digest* as a base: 0 for a whole blob, None where it
        cannot be one.
        """
        try:
            record = self.find(digest)
        except (NotFoundError, GoneError, CorruptionError):
            return None
        return depth_of(record)


_BLOB_KINDS = (frame_format.BLOB, frame_format.DIFFERENCE, frame_format.CHUNKED)


def depth_of(record: Record) -> int | None:
    """Return the depth of *record* as a base, None where it cannot be one."""
    if record.kind == frame_format.DIFFERENCE:
        depth: int = record.descriptor[5]
        return depth
    return 0 if record.kind == frame_format.BLOB else None


def read_range(ref: BlobRef, start: int, stop: int, find: FindRecord) -> bytes:
    """
    Return the bytes ``[start, stop)`` of *ref*, checked.

    With a slices digest only the slices touched are read; without one a chunk
    list is read and hashed as a whole, since nothing else binds it to its name.

    Args:
        ref: The blob.

        start: First byte; what is behind the end is left out.

        stop: Behind the last byte.

        find: Asked for records.

    Raises:
        CorruptionError: ``corrupt blob``: the content is not the name's, or has
            not the size of the reference.
    """
    record = find(ref.digest)
    size = raw_size(record)
    if size != ref.size:
        raise corrupt_blob(ref.digest, "has another size than its reference says")
    start, stop = min(start, size), min(stop, size)
    if record.kind != frame_format.CHUNKED or ref.slices is None:
        return read_record(ref.digest, record, find)[start:stop]
    chunks = chunk_list(ref.digest, record)
    if slices_digest(chunks.slices) != ref.slices:
        raise corrupt_blob(ref.digest, "slices are not those of the reference")
    if start == stop:
        return b""
    first = start // limits.SLICE_SIZE * limits.SLICE_SIZE
    last = min(-(-stop // limits.SLICE_SIZE) * limits.SLICE_SIZE, size)
    data = _span(chunks.chunks, first, last, find)
    _check_slices(ref.digest, data, chunks.slices, first // limits.SLICE_SIZE)
    return data[start - first : stop - first]


def _span(
    chunks: tuple[tuple[bytes, int], ...], start: int, stop: int, find: FindRecord
) -> bytes:
    parts = []
    at = 0
    for digest, size in chunks:
        if at + size > start and at < stop:
            data = read_chunk(digest, size, find)
            parts.append(data[max(0, start - at) : stop - at])
        at += size
        if at >= stop:
            break
    return b"".join(parts)


def _check_slices(digest: bytes, data: bytes, slices: bytes, first: int) -> None:
    view = memoryview(data)
    for number, at in enumerate(range(0, len(view), limits.SLICE_SIZE), first):
        part = view[at : at + limits.SLICE_SIZE]
        if blob_digest(part) != slices[32 * number : 32 * number + 32]:
            raise corrupt_blob(digest, f"slice {number} hashes to something else")
