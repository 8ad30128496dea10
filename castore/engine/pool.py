"""
Blobs that were put and wait for the commit that names them.

Small ones wait in memory with their bytes, also those that the store has
already: what exists is asked only when the commit is made (spec/reasons.md 6).
Large ones are written to the side pack at once.

Spec: spec/blob.md.
"""

from __future__ import annotations

import itertools
import threading

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from castore import limits
from castore.catalog.rows import Place
from castore.chunker import chunks as cut
from castore.compress import diff_that_pays
from castore.digest import blob_digest
from castore.engine.batches import Batches, Pending, block_of
from castore.engine.blobs import depth_of, read_range
from castore.engine.side import LEVEL, SidePack, SideRecord
from castore.engine.state import State
from castore.errors import GoneError, LimitError, NotFoundError
from castore.formats import frame as frame_format
from castore.formats.entry import BlobRef
from castore.formats.frame import Record
from castore.reading.blobs import RawCache, chunk_list, read_record


class Pool:
    """
    The blobs of one process that no commit names yet. May be used by threads.
    """

    def __init__(self, state: State, side: SidePack) -> None:
        self._state = state
        self._side = side
        self._guard = threading.Lock()
        self._waiting: dict[bytes, Pending] = {}
        self._waiting_size = 0
        self._written: dict[bytes, Place] = {}
        self._chunks: dict[bytes, tuple[bytes, ...]] = {}
        self._recent = RawCache(limits.CACHE_SIZE)

    # --- putting -------------------------------------------------------------

    def put(self, data: bytes, like: BlobRef | None) -> BlobRef:
        """Take *data* in, as a difference to *like* where that pays."""
        if len(data) > limits.BLOB_RECORD_SIZE_MAX:
            return self._put_chunks(data, like)
        ref = BlobRef(blob_digest(data), len(data))
        pending = self._as_difference(ref, data, like)
        # No difference goes to the side pack: its base may go before it is named.
        if pending is None or len(pending.payload) > limits.SIDE_SIZE_MIN:
            pending = Pending(ref, [frame_format.BLOB, len(data)], data)
        if len(pending.payload) > limits.SIDE_SIZE_MIN:
            self._write([pending])
        else:
            self._wait(pending)
        if like is not None:
            self._recent.put(ref.digest, data)
        return ref

    def keep(self, data: bytes) -> BlobRef:
        """
        Take *data* in for a commit that is made also where there is no room.

        It waits in memory, however much does.
        """
        if len(data) > limits.BLOB_RECORD_SIZE_MAX:
            return self._put_chunks(data)
        ref = BlobRef(blob_digest(data), len(data))
        self._hold(Pending(ref, [frame_format.BLOB, len(data)], data))
        return ref

    def put_stream(self, stream: BinaryIO) -> BlobRef:
        """
        Take in all that *stream* gives; memory does not grow with it.

        What fits one record is one, as with `put`.
        """
        head = _read_full(stream, limits.BLOB_RECORD_SIZE_MAX + 1)
        if len(head) <= limits.BLOB_RECORD_SIZE_MAX:
            return self.put(head, None)
        return self._write_parts(cut(_chain(head, stream)))

    def put_parts(self, parts: Iterable[bytes]) -> BlobRef:
        """
        Take in a blob that comes as chunks, and their list.

        Nothing of it is there before all of it is. Where that fails halfway, the
        side pack gets its room back.
        """
        coming = iter(parts)
        first: list[bytes] = []
        size = 0
        for part in coming:
            first.append(part)
            size += len(part)
            if size > limits.SIDE_SIZE_MIN:
                return self._write_parts(itertools.chain(first, coming))
        if len(first) <= 1:
            return self.put(b"".join(first), None)
        batches = Batches(first, lambda _: False)
        for batch in batches:
            for pending in batch:
                self._wait(pending)
        with self._guard:
            self._chunks[batches.ref.digest] = _digests(batches)
        return batches.ref

    def _write_parts(
        self, parts: Iterable[bytes], held: Collection[bytes] = ()
    ) -> BlobRef:
        # What waits in memory is written too, but for *held*: a list and its chunks
        # stay together.
        def is_known(digest: bytes) -> bool:
            return digest in self._written or digest in held

        batches = Batches(parts, is_known)
        written: list[Place] = []
        try:
            for batch in batches:
                written += self._side.write(self._records(batch))
        except BaseException:
            self._side.take_back(written)
            raise
        with self._guard:
            self._written.update((place.digest, place) for place in written)
            self._chunks[batches.ref.digest] = _digests(batches)
        return batches.ref

    def _put_chunks(self, data: bytes, like: BlobRef | None = None) -> BlobRef:
        """
        Take in *data* as chunks, those that changed as differences to *like*'s.

        Raises:
            LimitError: The store may not grow by that much. Nothing was written.
        """
        held = self._hold_changed(data, like) if like is not None else set()
        try:
            self._side.check_fits(len(data))
        except LimitError:
            # As it is, it does not fit; how small it gets is found out.
            batches = Batches(cut([data]), held.__contains__)
            packed = (self._side.packed_size(self._records(each)) for each in batches)
            self._side.check_fits(sum(packed))
        return self._write_parts(cut([data]), held)

    def _hold_changed(self, data: bytes, like: BlobRef) -> set[bytes]:
        """
        Hold the chunks of *data* that differ a little from what stands in their place.

        Chunks that both blobs have are the anchors: between two of them the first
        that is new stands for the first that is old, and so on.
        """
        held: set[bytes] = set()
        try:
            old = self.listed(like.digest)
        except (NotFoundError, GoneError):
            return held
        numbers = {digest: number for number, (digest, _) in enumerate(old)}
        at = 0
        for part in cut([data]):
            ref = BlobRef(blob_digest(part), len(part))
            known = numbers.get(ref.digest)
            if known is None and at < len(old):
                pending = self._as_difference(ref, part, BlobRef(*old[at]))
                if pending is not None:
                    self._wait(pending)
                    held.add(ref.digest)
            at = (at if known is None else known) + 1
        return held

    def _as_difference(
        self, ref: BlobRef, data: bytes, like: BlobRef | None
    ) -> Pending | None:
        if like is None or like.digest == ref.digest or not data:
            return None
        smallest, largest = limits.DIFFERENCE_BASE_SIZE_MIN, limits.BLOB_RECORD_SIZE_MAX
        if not smallest <= like.size <= largest:
            return None
        if self._state.view.known.find_place(ref.digest) is not None:
            return None  # it will not be stored again
        depth = self._depth(like.digest, ref.digest)
        if depth is None or not (depth + 1) % limits.DIFFERENCE_WHOLE_EVERY:
            return None
        try:
            delta = diff_that_pays(self.read(like.digest), data, LEVEL)
        except (NotFoundError, GoneError):
            return None
        if delta is None:
            return None
        descriptor: list[Any] = [
            frame_format.DIFFERENCE,
            len(delta),
            ref.digest,
            ref.size,
            like.digest,
            depth + 1,
        ]
        return Pending(ref, descriptor, delta, like.digest)

    def _depth(self, digest: bytes, heir: bytes) -> int | None:
        """Return the depth of *digest* as base of *heir*, None where it is none."""
        if not self.has(digest):
            return self._state.view.blobs.base_depth(digest)
        at: bytes | None = digest
        while at is not None and self.has(at):
            waiting = self._waiting.get(at)
            at = waiting.base if waiting is not None else None
            if at == heir:
                return None
        if at is not None and self._state.view.known.find_place(at) is None:
            return None  # GC took what it is a difference to
        return depth_of(self.record(digest))

    def _write(self, pendings: list[Pending]) -> None:
        """Write *pendings* to the side pack, but for what stands there already."""
        left = [item for item in pendings if item.ref.digest not in self._written]
        while left:
            some = block_of(left)
            left = left[len(some) :]
            places = self._side.write(self._records(some))
            with self._guard:
                self._written.update((place.digest, place) for place in places)

    def _records(self, pendings: list[Pending]) -> list[SideRecord]:
        """
        Return *pendings* as records, but for what is stored already.

        The commit asks again: if gc took one meanwhile, it says which.
        """
        known = self._state.view.known
        stored = known.find_places([item.ref.digest for item in pendings])
        return [
            SideRecord(item.ref.digest, item.ref.size, item.descriptor, item.payload)
            for item in pendings
            if item.ref.digest not in stored
        ]

    def _hold(self, pending: Pending) -> None:
        with self._guard:
            if pending.ref.digest not in self._waiting:
                self._waiting[pending.ref.digest] = pending
                self._waiting_size += len(pending.payload)

    def _wait(self, pending: Pending) -> None:
        self._hold(pending)
        if self._waiting_size <= limits.PENDING_SIZE_MAX:
            return
        with self._guard:
            waiting = self._waiting.values()
            # What cannot be read alone stays: what it needs may go meanwhile.
            spilled = [item for item in waiting if item.is_whole]
        if spilled:
            self._write(spilled)
            self.done(item.ref.digest for item in spilled)

    # --- asking --------------------------------------------------------------

    def has(self, digest: bytes) -> bool:
        """Return whether *digest* waits here."""
        return digest in self._waiting or digest in self._written

    def find(self, digest: bytes) -> Pending | None:
        """Return the blob *digest* if it waits in memory."""
        return self._waiting.get(digest)

    def size(self, digest: bytes) -> int | None:
        """Return the raw bytes of *digest* if it waits here."""
        waiting = self._waiting.get(digest)
        if waiting is not None:
            return waiting.ref.size
        place = self._written.get(digest)
        return place.size if place is not None else None

    def find_written(self, digest: bytes) -> Place | None:
        """Return where the blob *digest* is if it waits in the side pack."""
        return self._written.get(digest)

    def needs(self, digest: bytes) -> tuple[bytes, ...]:
        """Return what the waiting blob *digest* cannot be read without."""
        waiting = self._waiting.get(digest)
        if waiting is not None and waiting.base is not None:
            return (waiting.base,)
        return self._chunks.get(digest, ())

    def listed(self, digest: bytes) -> Sequence[tuple[bytes, int]]:
        """Return digest and size of the chunks of *digest*; none if it has none."""
        record = self.record(digest)
        if record.kind != frame_format.CHUNKED:
            return ()
        return chunk_list(digest, record).chunks

    def read(self, digest: bytes) -> bytes:
        """Return the bytes of *digest*, waiting or stored."""
        recent = self._recent.get(digest)
        if recent is not None:
            return recent
        return read_record(digest, self.record(digest), self.record, self._recent)

    def read_range(self, ref: BlobRef, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)`` of *ref*, waiting or stored."""
        return read_range(ref, start, stop, self.record)

    def record(self, digest: bytes) -> Record:
        """
        Return the record that holds *digest*, waiting or stored.

        Raises:
            NotFoundError: It is not here, nor in the store.

            GoneError: It was put against a base that GC took since.
        """
        view = self._state.view
        waiting = self._waiting.get(digest)
        # A difference that others have stored meanwhile may have become a base.
        if waiting is not None and (
            waiting.base is None or view.known.find_place(digest) is None
        ):
            descriptor = waiting.descriptor
            return Record(descriptor[0], descriptor, memoryview(waiting.payload))
        place = self._written.get(digest)
        if place is None:
            return view.blobs.find(digest)
        frame = view.frames.get(place.file, place.offset)
        return frame.records[place.record]

    # --- leaving -------------------------------------------------------------

    def done(self, digests: Iterable[bytes]) -> None:
        """Let go of *digests*: they were committed, or written to the side pack."""
        with self._guard:
            for digest in digests:
                gone = self._waiting.pop(digest, None)
                if gone is not None:
                    self._waiting_size -= len(gone.payload)
                    self._chunks.pop(digest, None)

    def let_go_of_heirs(self, base: bytes) -> None:
        """Let go of differences to *base*, which is gone; put again they are whole."""
        waiting = list(self._waiting.values())
        self.done(item.ref.digest for item in waiting if item.base == base)

    def named(self, places: Iterable[Place]) -> None:
        """Let go of what a commit now names."""
        with self._guard:
            for place in places:
                self._written.pop(place.digest, None)
                self._chunks.pop(place.digest, None)


def _digests(batches: Batches) -> tuple[bytes, ...]:
    return tuple(digest for digest, _ in batches.chunks)


def _read(stream: BinaryIO, size: int) -> bytes:
    data: bytes | None = stream.read(size)
    if data is None:  # nothing yet, which is not the end
        raise ValueError("the stream does not wait for its bytes; make it blocking")
    return data


def _read_full(stream: BinaryIO, size: int) -> bytes:
    """Return *size* bytes of *stream*, less only at its end: pipes give parts."""
    parts = []
    while size and (data := _read(stream, size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _chain(head: bytes, stream: BinaryIO) -> Iterator[bytes]:
    yield head
    while data := _read(stream, limits.BLOB_RECORD_SIZE_MAX):
        yield data
