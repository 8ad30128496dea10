"""
Making proofs about a log.

Spec: spec/proofs.md.
"""

from __future__ import annotations

from castore import limits, merkle
from castore.catalog.rows import SegmentRow
from castore.digest import format_digest
from castore.engine import Engine
from castore.engine.expect import living, newest_head
from castore.engine.members import store_log
from castore.engine.view import View
from castore.errors import NotFoundError
from castore.formats import frame as frame_format
from castore.formats.entry import (
    REF_LIST_FLAG,
    BlobRef,
    Entry,
    encode_entry,
    encode_ref_list,
)
from castore.formats.head import Head
from castore.formats.seal import HeadTree, decode_page
from castore.formats.trees import tree_of
from castore.proofs.form import Point, State
from castore.proofs.logs import ConsistencyProof, InclusionProof, OriginProof
from castore.proofs.ranges import RangeProof
from castore.proofs.seals import SealProof
from castore.reading.blobs import chunk_list


class Provable:
    """
    The part of a segment that proves what stands in it; `castore.Segment` has it.

    Attributes:
        id: Segment id, 16 bytes.
    """

    id: bytes
    _engine: Engine

    def prove(self, index: int, count: int | None = None) -> InclusionProof:
        """
        Return the proof that entry *index* stands in this log.

        Reads some ten entries and one row for each level of the tree.

        Args:
            index: Of the entry.

            count: Of the log's first so many entries, for whoever keeps an older
                root; by default all, under the newest head.

        Raises:
            IndexError: There are not as many entries.
        """
        log = self._log()
        count = log.count if count is None else count
        if not 0 <= index < count <= log.count:
            raise IndexError(f"entry {index} of {count}; there are {log.count}")
        return log.prove(index, count)

    def prove_consistency(
        self, first: int, second: int | None = None
    ) -> ConsistencyProof:
        """
        Return the proof that the log of *first* entries is a beginning of the one
        of *second*, by default all.

        Raises:
            IndexError: Not ``1 <= first <= second``, or there are not as many.
        """
        log = self._log()
        second = log.count if second is None else second
        if not 1 <= first <= second <= log.count:
            raise IndexError(f"growth from {first} to {second} of {log.count}")
        hashes = log.growth(first, second)
        return ConsistencyProof(log.state(first), log.state(second), hashes)

    def prove_origin(self) -> OriginProof:
        """
        Return the proof of where this fork comes from.

        It covers the other log too, if that is still there.

        Raises:
            NotFoundError: This is no fork.
        """
        log = self._log()
        at = log.row.fork_index
        start = log.entry(at).start if at else None
        if start is None or start.origin is None:
            raise NotFoundError(what=f"segment {self.id.hex()} is no fork")
        entry = log.prove(at, log.count)
        growth = log.growth(at, log.count)
        fork = (log.head, entry.hashed, entry.hashes, growth)
        row = log.view.known.find_segment(start.origin.segment)
        if row is None or not row.peaks:
            return OriginProof(*fork)
        parent = _Log(log.view, row, self._engine.store)
        return OriginProof(*fork, parent.head, parent.growth(at, parent.count))

    def prove_range(
        self, index: int, blob: BlobRef | bytes, start: int, stop: int
    ) -> RangeProof:
        """
        Return the proof of what ``[start, stop)`` of a blob above 8 MiB is, which
        entry *index* names; widened to whole slices of 1 MiB.

        Reads the blob's list of chunks, no payload.

        Raises:
            NotFoundError: The entry names no such blob, or it is not there.

            ValueError: A blob up to 8 MiB, which its name proves; or there are no
                such bytes.

            LimitError: The blob is too large for a proof, above some 10 GiB.
        """
        log = self._log()
        if not 0 <= index < log.count:
            raise IndexError(f"entry {index} of {log.count}")
        digest = blob.digest if isinstance(blob, BlobRef) else blob
        ref_list, number, found = log.find_reference(index, digest)
        if found.slices is None:
            raise ValueError("a blob up to 8 MiB is proven by its name")
        if not 0 <= start < stop <= found.size:
            raise ValueError(f"no bytes [{start}, {stop}) of {found.size}")
        first = start // limits.SLICE_SIZE * limits.SLICE_SIZE
        last = min(-(-stop // limits.SLICE_SIZE) * limits.SLICE_SIZE, found.size)
        entry = log.prove(index, log.count)
        slices = log.slices(digest)
        return RangeProof(entry, ref_list, number, first, last, slices)

    def prove_sealed(self) -> SealProof:
        """
        Return the proof that a head of this segment is under the newest seal, and so
        under the note that was signed with that.

        Raises:
            NotFoundError: No seal covers it.
        """
        log, store = self._log(), self._engine.store
        seals = store_log(log.view, store).seals
        index = max(seals, default=-1)
        pages = seals[index].pages if seals else ()
        data = [log.view.blobs.read(page.blob.digest) for page in pages]
        heads = [head for page in data for head in decode_page(page, store)]
        names = [head.segment for head in heads]
        if self.id not in names:
            raise NotFoundError(what=f"no seal covers segment {self.id.hex()}")
        own = _Log(log.view, living(log.view.known, store), store)
        entry = own.prove(index, index + 1)
        body = log.view.blobs.read(entry.entry.body.digest)
        at = names.index(self.id)
        tree = HeadTree(head.encode() for head in heads)
        return SealProof(entry, heads[at], at, body, tuple(tree.prove(at)))

    def _log(self) -> _Log:
        view = self._engine.refresh()
        return _Log(view, living(view.known, self.id), self._engine.store)


class _Log:
    """
    A log at one moment.

    Attributes:
        view: What is known then.

        row: Of the segment.

        head: Its newest head.
    """

    def __init__(self, view: View, row: SegmentRow, store: bytes) -> None:
        self.view = view
        self.row = row
        self.head: Head = newest_head(row)
        self._tree = tree_of(row.id, store)

    @property
    def count(self) -> int:
        """Entries of the log."""
        return self.head.count

    def entry(self, index: int) -> Entry:
        """Return the entry at *index*."""
        return next(self.view.logs.entries(self.row, index, index + 1))

    def state(self, count: int) -> State:
        """Return the head, or for fewer entries the point."""
        if count == self.count:
            return self.head
        root = merkle.root(self._tree, self.view.logs.peaks_at(self.row, count))
        return Point(self.head.store, self.row.id, count, root)

    def prove(self, index: int, count: int) -> InclusionProof:
        """Return the proof of one entry among the first *count*."""
        hashes = merkle.prove_inclusion(self._tree, index, count, self._read)
        hashed = encode_entry(self.entry(index))
        return InclusionProof(self.state(count), hashed, tuple(hashes))

    def growth(self, first: int, second: int) -> tuple[bytes, ...]:
        """Return the hashes of a proof of consistency."""
        return tuple(merkle.prove_consistency(self._tree, first, second, self._read))

    def _read(self, positions: list[merkle.Position]) -> list[bytes]:
        return self.view.logs.read_tree(self.row, positions)

    def find_reference(
        self, index: int, digest: bytes
    ) -> tuple[bytes | None, int, BlobRef]:
        """Return ref list or None, number, and blob of the reference to *digest*."""
        entry = self.entry(index)
        for number, ref in enumerate(entry.refs):
            if ref.blob.digest == digest and not ref.flags:
                return None, number, ref.blob
        for ref in entry.refs:
            if ref.flags & REF_LIST_FLAG:
                found = self.view.listed(ref.blob.digest)
                for number, each in enumerate(found):
                    if each.blob.digest == digest:
                        return encode_ref_list(found)[1], number, each.blob
        what = f"entry {index} names no blob {format_digest(digest)}"
        raise NotFoundError(what=what)

    def slices(self, digest: bytes) -> bytes:
        """Return the slices of a large blob, as its chunk list has them."""
        record = self.view.blobs.find(digest)
        if record.kind != frame_format.CHUNKED:
            raise NotFoundError(what=f"{format_digest(digest)} has no slices")
        return chunk_list(digest, record).slices
