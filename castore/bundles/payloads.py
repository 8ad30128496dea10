"""
The payloads of a bundle: what stands there, and what its entries need.

Spec: spec/bundle.md, "Checking" 5, 6, 8.
"""

from __future__ import annotations

import re

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from castore import limits
from castore.bundles.groups import Bounds
from castore.bundles.manifest import Withheld
from castore.bundles.opening import PLACE, BundleFile
from castore.codec import encode_items
from castore.digest import blob_hash
from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.chunked import ChunkList, decode_chunks, slices_digest
from castore.formats.entry import check_refs, ref_list_digest
from castore.formats.refuse import MALFORMED, need, placed, record
from castore.reading.findings import EXPLAINED, Findings, blob_place
from castore.reading.frames import Frame
from castore.reading.stored import StoredRun


class Blob(NamedTuple):
    """A blob that stands in the bundle; *record* is negative for a chunk list."""

    size: int
    offset: int
    record: int
    slices: bytes | None


class PayloadChecker:
    """
    Takes the payloads of each group and what its entries name.

    Attributes:
        blobs: What stands in the bundle so far, by name.
    """

    def __init__(
        self, file: BundleFile, withheld: Withheld, findings: Findings, bounds: Bounds
    ) -> None:
        self.blobs: dict[bytes, Blob] = {}
        self._lists: dict[bytes, int] = {}
        self._file = file
        self._withheld = withheld
        self._named = bytearray(len(withheld))
        self._findings = findings
        self._bounds = bounds
        self._wants: list[tuple[bytes, int, int, bytes | None]] = []
        self._fresh: dict[bytes, int] = {}  # of this group, needed by nothing so far
        self._frame: Frame | None = None

    # --- what is needed ------------------------------------------------------

    def want(self, runs: Iterable[StoredRun]) -> None:
        """Take in what the entries of a group need."""
        for run in runs:
            for digest in set(_bodies(run)):
                self._fresh.pop(digest, None)
            for want in run.wants:
                self._wants.append(want[2:])

    def _need(self, digest: bytes, size: int, flags: int, slices: bytes | None) -> None:
        self._fresh.pop(digest, None)
        at = self._withheld.find(digest)
        blob = self.blobs.get(digest)
        if flags:
            found = self._lists.get(digest) == size
        else:
            found = blob is not None and blob.size == size
            found = found and slices in (None, blob.slices if blob else None)
        if found:
            return
        if at is None or flags:
            what = "not in the bundle as its reference says"
            self._findings.add("missing blob", blob_place(digest), what)
            return
        self._named[at] = 1
        verdict = f"withheld by bundle {self._file.id.hex()}"
        what = _WHY[self._withheld[digest]]
        self._findings.add(verdict, blob_place(digest), what, EXPLAINED)

    def end_group(self) -> None:
        """
        Judge what a group needs and what it has.

        Raises:
            CorruptionError: It has what nothing needs.
        """
        for want in self._wants:
            self._need(*want)
        self._wants.clear()
        if self._fresh:
            raise CorruptionError(
                what="a payload that nothing needs",
                verdict=MALFORMED,
                where=f"{PLACE}@{min(self._fresh.values())}",
            )

    def end(self) -> None:
        """
        Judge the end of the bundle.

        Raises:
            CorruptionError: Something is withheld that nothing names.
        """
        with placed(f"{PLACE}@{file_format.SIZE}"):
            need(all(self._named), "withheld: what nothing names")

    # --- what is there -------------------------------------------------------

    def _add(self, digest: bytes, frame: Frame) -> None:
        twice = digest in self.blobs or digest in self._lists
        need(not twice and digest not in self._withheld, "a payload twice, or withheld")
        self._fresh[digest] = frame.offset

    def take_blobs(self, frame: Frame) -> None:
        """
        Take in a frame of blobs and chunk lists.

        Raises:
            CorruptionError: It is refused.
        """
        self._frame = frame
        bodies = iter(frame.bodies)
        with placed(frame.where):
            for number, item in enumerate(frame.table):
                if item[0] == frame_format.BLOB:
                    digest, size = next(bodies)
                    self._add(digest, frame)
                    self.blobs[digest] = Blob(size, frame.offset, number, None)
                else:
                    digest, size = item[2], item[3]
                    self._add(digest, frame)
                    self._bounds.take_blobs(size)
                    listed = _chunk_list(frame.records.payload(number), size)
                    slices = slices_digest(listed.slices) if listed.slices else None
                    self._judge_list(digest, listed)
                    self.blobs[digest] = Blob(size, frame.offset, -1, slices)

    def _judge_list(self, digest: bytes, listed: ChunkList) -> None:
        whole = blob_hash()
        is_there = True
        for chunk, size in listed.chunks:
            self._fresh.pop(chunk, None)
            blob = self.blobs.get(chunk)
            if blob is None or blob.record < 0 or blob.size != size:
                is_there = False
                what = "a chunk that is not in the bundle"
                self._findings.add("missing blob", blob_place(chunk), what)
            elif is_there:
                whole.update(self._read(blob))
        if is_there and whole.digest() != digest:
            what = "the chunks give another blob"
            self._findings.add("corrupt blob", blob_place(digest), what)

    def _read(self, blob: Blob) -> memoryview:
        frame = self._frame
        if frame is None or frame.offset != blob.offset:
            frame = self._frame = self._file.frame(blob.offset)
        return frame.records.payload(blob.record)

    def take_lists(self, frame: Frame) -> None:
        """
        Take in a frame of ref lists; what they name stands before it.

        Raises:
            CorruptionError: It is refused.
        """
        self._frame = None
        with placed(frame.where):
            for number in range(len(frame.table)):
                payload = frame.records.payload(number)
                digest = ref_list_digest(payload)
                self._add(digest, frame)
                count = 0
                for ref in listed_refs(payload):
                    self._need(*ref)
                    count += 1
                self._lists[digest] = count


_WHY = (
    "left out by whoever made the bundle",
    "was collected where the bundle was made",
    "was erased where the bundle was made",
    "was lost where the bundle was made",
    "known to whom the bundle was made for",
)


def _bodies(run: StoredRun) -> Iterator[bytes]:
    return (run.bodies[at : at + 32] for at in range(0, len(run.bodies), 32))


def _chunk_list(payload: memoryview, size: int) -> ChunkList:
    """
    Return a chunk list as bundles have them: MiB after MiB.

    Raises:
        CorruptionError: ``malformed record``.
    """
    count = -(-size // limits.SLICE_SIZE)
    # Before it is decoded: a list of nothing takes 64 times its size.
    fits = len(payload) <= _CHUNK_SIZE_MAX * (count + 1)
    need(fits, "chunk list: size")
    listed = decode_chunks(payload, size)
    sizes = {chunk[1] for chunk in listed.chunks[:-1]}
    need(len(listed.chunks) == count and sizes == {limits.SLICE_SIZE}, "chunk list")
    names = b"".join(name for name, _ in listed.chunks)
    need(listed.slices in (b"", names), "chunk list: slices")
    return listed


_CHUNK_SIZE_MAX = 71  # bytes of a chunk and of its slice in the list


def listed_refs(payload: memoryview) -> Iterator[tuple[bytes, int, int, bytes | None]]:
    """
    Yield digest, size, flags and slices of each reference of a ref list.

    They are decoded some at a time, once they look like references: a list of
    something else would take 64 times its size.

    Raises:
        CorruptionError: ``malformed record``.
    """
    count = _array_count(bytes(payload[:5]))
    need(0 < count <= limits.REF_LIST_COUNT_MAX, "ref list: not as many")
    at = len(encode_items([b""] * count))  # another front is none of a reference
    while count:
        some: list[bytes] = []
        while len(some) < min(count, _SOME) and (found := _REF.match(payload, at)):
            some.append(found[0])
            at = found.end()
        need(some, "ref list: no reference")
        count -= len(some)
        data = encode_items(some)
        refs = record(data, len(data), "ref list")
        check_refs(refs, count_max=_SOME, lists=False)
        for _, digest, size, flags, slices in refs:
            yield digest, size, flags, slices
    need(at == len(payload), "ref list: something behind it")


def _array_count(front: bytes) -> int:
    """Return how many items the array that begins so has."""
    kind = front[0] if front else 0
    if 0x80 <= kind <= 0x97:
        return kind - 0x80
    size = {0x98: 1, 0x99: 2, 0x9A: 4}.get(kind, 0)
    return int.from_bytes(front[1 : 1 + size])


_SOME = 512  # references decoded at once
_INT = rb"(?:[\x00-\x17]|\x18.|\x19..|\x1a.{4}|\x1b.{8})"
_SHORT_TEXTS = [rb"\x%02x.{%d}" % (0x60 + size, size) for size in range(24)]
_TEXTS = [rb"\x78\x%02x.{%d}" % (size, size) for size in range(24, 65)]
_REF = re.compile(
    rb"\x85(?:%s)\x58\x20.{32}%s\x00(?:\xf6|\x58\x20.{32})"
    % (b"|".join(_SHORT_TEXTS + _TEXTS), _INT),
    re.DOTALL,
)
