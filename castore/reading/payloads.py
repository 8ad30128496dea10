"""
Whether every blob that is needed is there, and every stored form gives its blob.

Names of whole blobs are hashes already; what is left are differences, chunk
lists, and the slices that references state.

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


_RAW = (frame_format.BLOB, frame_format.DIFFERENCE)  # what a base or chunk may be

#: A reference to a blob: digest, size, slices digest.
_Ref = tuple[bytes, int, bytes | None]


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
        self._children: dict[bytes, list[tuple[bytes, BlobPlace]]] = {}
        self._lists: list[tuple[bytes, BlobPlace]] = []
        self._depths: dict[bytes, int] = {}  # of what differences can be read from
        self._lacking: set[bytes] = set()  # differences that lead to no base
        self._broken: set[BlobPlace] = set()
        self._slices: dict[bytes, bytes] = {}
        self._missing_chunks: dict[BlobPlace, list[bytes]] = {}
        self._seen: set[tuple[bytes, int]] = set()
        self._ref_lists: dict[bytes, tuple[_Ref, ...]] = {}

    def judge(self) -> None:
        """Report all that step 8 finds."""
        self._collect()
        self._grade()
        self._judge_differences()
        for digest, place in self._lists:
            self._judge_list(digest, place)
        for log in self._survey.logs.values():
            for want in log.wants():
                where = log.where(want.entry)
                if want.flags:
                    self._need_list(want.digest, want.size, where)
                else:
                    self._need((want.digest, want.size, want.slices), where)

    # --- which forms can be read -----------------------------------------------

    def _collect(self) -> None:
        for digest, place in self._copies():
            if place.kind == frame_format.DIFFERENCE:
                base = self._records.bases[place]
                self._children.setdefault(base, []).append((digest, place))
            elif place.kind == frame_format.CHUNKED:
                self._lists.append((digest, place))

    def _copies(self) -> Iterator[tuple[bytes, BlobPlace]]:
        yield from self._records.places.items()
        for digest, places in self._records.copies.items():
            for place in places:
                yield digest, place

    def _grade(self) -> None:
        """Find what leads to a whole base, how deep, and what leads to none."""
        todo = [base for base in self._children if self._is_whole(base)]
        self._depths = dict.fromkeys(todo, 0)
        for base in todo:  # grows: breadth first, so that depths are the least
            for digest, _ in self._children.get(base, ()):
                if digest not in self._depths and not self._is_whole(digest):
                    self._depths[digest] = self._depths[base] + 1
                    todo.append(digest)
        lost = [base for base in self._children if not self._stands(base)]
        for base in lost:
            for digest, _ in self._children.get(base, ()):
                if digest not in self._lacking and not self._is_readable(digest):
                    self._lacking.add(digest)
                    lost.append(digest)

    def _is_whole(self, digest: bytes) -> bool:
        places = self._records.places_of(digest)
        return any(place.kind == frame_format.BLOB for place in places)

    def _stands(self, digest: bytes) -> bool:
        return any(place.kind in _RAW for place in self._records.places_of(digest))

    def _is_readable(self, digest: bytes) -> bool:
        return digest in self._depths or self._is_whole(digest)

    # --- differences -----------------------------------------------------------

    def _judge_differences(self) -> None:
        for base, children in self._children.items():
            known = self._stands(base) and base not in self._lacking
            if known and not self._is_readable(base):
                for digest, _ in children:
                    self._corrupt(digest, "its chain of bases comes back")
        done: set[bytes] = set()
        for root in [base for base, depth in self._depths.items() if depth == 0]:
            todo = [root]
            while todo:
                base = todo.pop()
                if base in done:
                    continue
                done.add(base)
                for digest, place in self._children.get(base, ()):
                    self._judge_difference(digest, place, base)
                    todo.append(digest)

    def _judge_difference(self, digest: bytes, place: BlobPlace, base: bytes) -> None:
        data = self._read_raw(base)
        if data is None:
            return  # what hangs on something corrupt is not reported again
        problem = "too many bases behind it"
        if self._depths[base] < limits.DIFFERENCE_DEPTH_MAX:
            problem = self._patch(digest, place, data)
        if problem:
            self._broken.add(place)
            self._corrupt(digest, problem)

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

    def _read_raw(self, digest: bytes) -> bytes | None:
        """Return the bytes of a whole blob or difference, None if no copy is good."""
        while True:
            chain, data = self._go_down(digest)
            if data is None:
                if not chain:
                    return None
                self._broken.add(chain[-1][1])
                continue
            for name, place in reversed(chain):
                if self._patch(name, place, data):
                    self._broken.add(place)
                    break
                data = self._raw[name]
            else:
                return data

    def _go_down(
        self, digest: bytes
    ) -> tuple[list[tuple[bytes, BlobPlace]], bytes | None]:
        """Return the differences down to what can be read at once, and that."""
        chain: list[tuple[bytes, BlobPlace]] = []
        while True:
            data = self._raw.get(digest)
            if data is not None:
                self._raw.move_to_end(digest)
                return chain, data
            places = self._records.places_of(digest)
            for place in places:
                if place.kind == frame_format.BLOB:
                    return chain, bytes(self._reader.record(place).payload)
            steps = [
                (self._depths[base], place)
                for place in places
                if place.kind == frame_format.DIFFERENCE and place not in self._broken
                if (base := self._records.bases[place]) in self._depths
            ]
            if not steps or len(chain) >= limits.DIFFERENCE_DEPTH_MAX:
                return chain, None
            _, place = min(steps)
            chain.append((digest, place))
            digest = self._records.bases[place]

    # --- chunk lists -----------------------------------------------------------

    def _judge_list(self, digest: bytes, place: BlobPlace) -> None:
        chunks = decode_chunks(self._reader.record(place).payload, place.size)
        missing = [name for part, _ in chunks.chunks for name in self._lacks_base(part)]
        if missing:
            self._missing_chunks[place] = missing
            return
        problem = self._join(digest, chunks)
        if problem:
            self._corrupt(digest, problem)
        elif problem is not None and chunks.slices:
            self._slices[digest] = slices_digest(chunks.slices)

    def _lacks_base(self, digest: bytes) -> list[bytes]:
        """Return what is missing to read a blob that is no chunk list."""
        if not self._stands(digest):
            return [digest]
        if digest not in self._lacking:
            return []
        missing, seen, todo = [], {digest}, [digest]
        for name in todo:
            for place in self._records.places_of(name):
                base = self._records.bases.get(place)
                if base is not None and base not in seen:
                    seen.add(base)
                    todo.append(base)
                    if not self._stands(base):
                        missing.append(base)
        return missing

    def _join(self, digest: bytes, chunks: ChunkList) -> str | None:
        """Put a blob together and hash it; return what is wrong, None if it cannot."""
        whole = blob_hash()
        slices: list[bytes] = []
        rest = b""
        for name, size in chunks.chunks:
            data = self._read_raw(name)
            if data is None:
                return None  # what hangs on something corrupt is not reported again
            if len(data) != size:
                return "a chunk is of another size"
            whole.update(data)
            if chunks.slices:
                rest += data
                stop = len(rest) - len(rest) % limits.SLICE_SIZE
                slices += _slices(rest[:stop])
                rest = rest[stop:]
        if whole.digest() != digest:
            return "content hashes to another name"
        if chunks.slices != b"".join([*slices, *_slices(rest)]):
            return "slices are not those of the bytes"
        return ""

    # --- what is needed --------------------------------------------------------

    def _need_list(self, digest: bytes, count: int, where: str) -> None:
        places = [
            place
            for place in self._records.places_of(digest)
            if place.kind == frame_format.REF_LIST
        ]
        if not places:
            self._miss(digest)
            return
        if places[0].size != count:
            what = "a reference to a ref list of another count"
            self._findings.add("malformed record", where, what)
        if digest not in self._ref_lists:
            payload = self._reader.record(places[0]).payload
            blobs = (ref.blob for ref in decode_ref_list(payload))
            refs = [(blob.digest, blob.size, blob.slices) for blob in blobs]
            for ref in refs:
                self._need(ref, where)
            self._ref_lists[digest] = tuple(ref for ref in refs if ref[2])
        for ref in self._ref_lists[digest]:
            self._need(ref, where)

    def _need(self, ref: _Ref, where: str) -> None:
        digest, size, slices = ref
        if (digest, size) not in self._seen:
            self._seen.add((digest, size))
            self._judge_needed(digest, size)
        if slices and self._slices.get(digest, slices) != slices:
            what = "slices of a reference are not those of the bytes"
            self._findings.add("altered entry", where, what)

    def _judge_needed(self, digest: bytes, size: int) -> None:
        places = [
            place
            for place in self._records.places_of(digest)
            if place.size == size and place.kind != frame_format.REF_LIST
        ]
        if not places:
            self._miss(digest)
            return
        lacks = [self._lacks_place(place) for place in places]
        if all(lacks):
            for name in {name for missing in lacks for name in missing}:
                what = "a base or chunk that is nowhere"
                self._findings.add("missing blob", blob_place(name), what)

    def _lacks_place(self, place: BlobPlace) -> list[bytes]:
        if place.kind == frame_format.DIFFERENCE:
            return self._lacks_base(self._records.bases[place])
        return self._missing_chunks.get(place, [])

    def _miss(self, digest: bytes) -> None:
        run = self._survey.log.collected.get(digest)
        if run is None:
            what = "an entry needs it, it is nowhere, and no entry says why"
            self._findings.add("missing blob", blob_place(digest), what)
        else:
            verdict, what = f"collected by run {run}", "the store log says so"
            self._findings.add(verdict, blob_place(digest), what, EXPLAINED)

    def _corrupt(self, digest: bytes, what: str) -> None:
        self._findings.add("corrupt blob", blob_place(digest), what)


def _slices(data: bytes) -> Iterator[bytes]:
    """Yield the digest of each 1 MiB of *data*."""
    view = memoryview(data)
    for at in range(0, len(data), limits.SLICE_SIZE):
        yield blob_digest(view[at : at + limits.SLICE_SIZE])
