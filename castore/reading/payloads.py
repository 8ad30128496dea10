"""
Whether every blob that is needed is there, and every stored form gives its blob.

Names of whole blobs are hashes already. What else can be read is found from them
up: differences whose base can be read, then chunk lists whose chunks can.

Spec: spec/checking.md, step 8; spec/blob.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from castore import limits
from castore.compress import patch
from castore.digest import blob_digest, blob_hash
from castore.errors import FormatError
from castore.formats import frame as frame_format
from castore.formats.chunked import ChunkList, decode_chunks, slices_digest
from castore.formats.entry import decode_ref_list
from castore.reading.findings import EXPLAINED, Findings, blob_place
from castore.reading.stored import BlobPlace
from castore.reading.survey import Survey


#: A reference: digest, size, flags, slices digest.
_Ref = tuple[bytes, int, int, bytes | None]


class Payloads:
    """
    Judges the blobs of a survey, once.

    Decodes each difference and each chunk once more, bases before what is made
    of them; keeps `limits.CACHE_SIZE` bytes of them.
    """

    def __init__(self, survey: Survey, findings: Findings) -> None:
        self._records = survey.records
        self._reader = survey.reader
        self._survey = survey
        self._findings = findings
        self._raw: OrderedDict[bytes, bytes] = OrderedDict()
        self._raw_size = 0
        self._places = survey.places
        # Of blobs that do not stand whole, a copy that can be read.
        self._good: dict[bytes, BlobPlace] = {}
        self._slices: dict[bytes, bytes] = {}
        self._lists: set[bytes] = set()  # whose references were looked at

    def judge(self) -> None:
        """Report all that step 8 finds."""
        children: dict[bytes, list[tuple[bytes, BlobPlace]]] = {}
        for digest, place in self._records.blobs_of_kind(frame_format.DIFFERENCE):
            base = self._records.bases[place]
            children.setdefault(base, []).append((digest, place))
        self._judge_differences(children)
        for digest, place in self._records.blobs_of_kind(frame_format.CHUNKED):
            self._judge_list(digest, place)
        for log in self._survey.logs.values():
            for want in log.wants():
                self._need((want.digest, want.size, want.flags, want.slices))

    def find_bytes(self, digest: bytes) -> bytes | None:
        """Return a blob up to 8 MiB that stands, None of another; after `judge`."""
        return self._read(digest) if self._is_raw(digest) else None

    def stands(self, digest: bytes) -> bool:
        """Return whether a copy of a blob or ref list can be read; after `judge`."""
        return self._find(digest) is not None

    def _find(self, digest: bytes) -> BlobPlace | None:
        """Return a copy of a blob or ref list that can be read, as far as is known."""
        return self._good.get(digest) or self._places.find_whole(digest)

    def _stands(self, digest: bytes, place: BlobPlace) -> bool:
        """Note that *place* can be read; return whether no other copy can."""
        if self._find(digest):
            return False
        self._good[digest] = place
        return True

    # --- differences -----------------------------------------------------------

    def _judge_differences(
        self, children: dict[bytes, list[tuple[bytes, BlobPlace]]]
    ) -> None:
        todo = [(base, 0) for base in children if self._is_raw(base)]
        while todo:
            base, depth = todo.pop()
            if depth == limits.DIFFERENCE_DEPTH_MAX:
                continue
            for digest, place in children.pop(base, ()):
                problem = self._patch(digest, place, self._read(base))
                if problem:
                    self._corrupt(digest, problem)
                elif self._stands(digest, place):
                    todo.append((digest, depth + 1))

    def _patch(self, digest: bytes, place: BlobPlace, base: bytes) -> str:
        """Decode one difference and keep the result; return what is wrong."""
        delta = self._reader.record(place).payload
        try:
            data = patch(base, delta, raw_size=place.size)
        except FormatError as error:
            return error.what
        if blob_digest(data) != digest:
            return "content hashes to another name"
        self._keep(digest, data)
        return ""

    def _keep(self, digest: bytes, data: bytes) -> None:
        before = self._raw.pop(digest, b"")
        self._raw[digest] = data
        self._raw_size += len(data) - len(before)
        while self._raw_size > limits.CACHE_SIZE and len(self._raw) > 1:
            _, old = self._raw.popitem(last=False)
            self._raw_size -= len(old)

    def _read(self, digest: bytes) -> bytes:
        """Return the bytes of a whole blob or difference that can be read."""
        chain: list[tuple[bytes, BlobPlace]] = []
        while digest not in self._raw:
            place = self._find(digest) or self._places[digest]
            if place.kind == frame_format.BLOB:
                self._keep(digest, bytes(self._reader.record(place).payload))
            else:
                chain.append((digest, place))
                digest = self._records.bases[place]
        data = self._raw[digest]
        self._raw.move_to_end(digest)
        for name, place in reversed(chain):
            data = patch(data, self._reader.record(place).payload, raw_size=place.size)
            self._keep(name, data)
        return data

    # --- chunk lists -----------------------------------------------------------

    def _judge_list(self, digest: bytes, place: BlobPlace) -> None:
        chunks = decode_chunks(self._reader.record(place).payload, place.size)
        if not all(self._is_raw(name) for name, _ in chunks.chunks):
            return
        problem = self._join(digest, chunks)
        if problem:
            self._corrupt(digest, problem)
            return
        self._stands(digest, place)
        if chunks.slices:
            self._slices[digest] = slices_digest(chunks.slices)

    def _is_raw(self, digest: bytes) -> bool:
        """Whether a blob can be read as what chunks are: whole or a difference."""
        found = self._find(digest)
        kinds = (frame_format.BLOB, frame_format.DIFFERENCE)
        return found is not None and found.kind in kinds

    def _join(self, digest: bytes, chunks: ChunkList) -> str:
        """Put a blob together and hash it; return what is wrong."""
        whole = blob_hash()
        slices: list[bytes] = []
        rest = b""
        for name, size in chunks.chunks:
            data = self._read(name)
            if len(data) != size:
                return "a chunk is of another size"
            whole.update(data)
            if chunks.slices:
                rest += data
                cut = len(rest) - len(rest) % limits.SLICE_SIZE
                slices += _slices(rest[:cut])
                rest = rest[cut:]
        if whole.digest() != digest:
            return "content hashes to another name"
        if b"".join([*slices, *_slices(rest)]) != chunks.slices:
            return "slices are not those of the bytes"
        return ""

    # --- what entries need -----------------------------------------------------

    def _need(self, ref: _Ref) -> None:
        digest, size, flags, slices = ref
        place = self._find(digest)
        is_list = place is not None and place.kind == frame_format.REF_LIST
        sliced = slices is None or self._slices.get(digest) == slices
        if place is None or place.size != size or is_list != bool(flags) or not sliced:
            self._miss(digest)
        elif is_list and digest not in self._lists:
            self._lists.add(digest)
            for item in decode_ref_list(self._reader.record(place).payload):
                blob = item.blob
                self._need((blob.digest, blob.size, item.flags, blob.slices))

    def _miss(self, digest: bytes) -> None:
        absence = self._survey.log.absent.get(digest)
        if absence is None:
            what = "an entry needs it, it is nowhere, and no entry says why"
            self._findings.add("missing blob", blob_place(digest), what)
        else:
            what = "the store log says so"
            self._findings.add(absence.verdict, blob_place(digest), what, EXPLAINED)

    def _corrupt(self, digest: bytes, what: str) -> None:
        self._findings.add("corrupt blob", blob_place(digest), what)


def _slices(data: bytes) -> Iterator[bytes]:
    """Yield the digest of each 1 MiB of *data*."""
    view = memoryview(data)
    for at in range(0, len(data), limits.SLICE_SIZE):
        yield blob_digest(view[at : at + limits.SLICE_SIZE])
