"""
Single blobs of a damaged store: which are missing, and where else they are.

Spec: spec/repair.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import attrs

from castore.catalog.rows import Place
from castore.digest import format_digest
from castore.engine import Engine
from castore.formats import frame as frame_format
from castore.formats.chunked import decode_chunks
from castore.formats.frame import Record
from castore.reading.affected import named_by
from castore.reading.findings import blob_place
from castore.reading.payloads import Payloads
from castore.reading.stored import BlobPlace
from castore.reading.survey import Survey
from castore.repairing.carrying import Carrying
from castore.repairing.sources import Source, whole_record


@attrs.frozen
class Lost:
    """
    A blob that no copy gives, and that is needed.

    Attributes:
        ref: ``blake3:...``.

        entries: Places of the first entries that name it.

        count: How many do.
    """

    ref: str
    entries: tuple[str, ...]
    count: int


@attrs.define(eq=False)
class Names:
    """
    Single blobs: which are missing, and where else they are.

    Attributes:
        taken: What came from sources.

        corrupt: Names of blobs whose differences or chunk lists do not give them.
    """

    engine: Engine
    found: Survey
    payloads: Payloads
    sources: Sequence[Source]
    taken: set[bytes] = attrs.Factory(set)
    corrupt: set[bytes] = attrs.field()
    _coming: dict[bytes, bool] = attrs.Factory(dict)

    @corrupt.default
    def _find_corrupt(self) -> set[bytes]:
        return {
            bytes.fromhex(item.where.partition(":")[2])
            for item in self.found.findings
            if item.verdict == "corrupt blob"
        }

    def corrupt_files(self) -> set[bytes]:
        """Return the files in which these stand."""
        places = self.found.places
        return {copy.file for name in self.corrupt for copy in places.places_of(name)}

    def keeps(self, digest: bytes) -> bool:
        """Return whether the difference or chunk list *digest* will give its blob."""
        return digest not in self.corrupt and self._will_stand(digest)

    def _will_stand(self, digest: bytes, seen: frozenset[bytes] = frozenset()) -> bool:
        if digest in self.corrupt or digest in seen:
            return self._comes(digest)
        if self.payloads.stands(digest) or self._comes(digest):
            return True
        seen |= {digest}
        return any(
            all(self._will_stand(each, seen) for each in self._needs(copy))
            for copy in self.found.places.places_of(digest)
            if copy.kind in (frame_format.DIFFERENCE, frame_format.CHUNKED)
        )

    def _comes(self, digest: bytes) -> bool:
        if digest not in self._coming:
            found = (source.find(digest) for source in self.sources)
            self._coming[digest] = any(each is not None for each in found)
        return self._coming[digest]

    def _needs(self, copy: BlobPlace) -> list[bytes]:
        if copy.kind == frame_format.DIFFERENCE:
            return [self.found.records.bases[copy]]
        if copy.kind == frame_format.CHUNKED:
            payload = self.found.reader.record(copy).payload
            return [name for name, _ in decode_chunks(payload, copy.size).chunks]
        return []

    def add(self, made: Carrying, replaced: Collection[bytes]) -> set[bytes]:
        """Add what is missing to *made*, as far as it is anywhere; return the rest."""
        wanted = sorted(self._wanted(made, replaced))
        for digest in wanted:
            if digest not in made.places:  # as a chunk of another
                record = self._find(digest)
                if record is not None:
                    made.add(digest, record, self._find)
        return {each for each in wanted if not self._is_readable(each, made)}

    def _wanted(self, made: Carrying, replaced: Collection[bytes]) -> Iterator[bytes]:
        """Yield the blobs of the catalog whose place does not give them."""
        for place in self.engine.view.known.places():
            if place.digest in made.places:
                continue
            is_there = place.file not in replaced and any(
                _is_at(copy, place)
                for copy in self.found.places.places_of(place.digest)
            )
            stands = self.payloads.stands(place.digest)
            if not is_there or not stands or place.digest in self.corrupt:
                yield place.digest

    def _find(self, digest: bytes) -> Record | None:
        """Return a record that holds *digest*: of another copy here, or a source's."""
        if self.payloads.stands(digest):
            return self._own(digest)
        for source in self.sources:
            record = source.find(digest)
            if record is not None:
                self.taken.add(digest)
                return record
        return None

    def _own(self, digest: bytes) -> Record | None:
        data = self.payloads.find_bytes(digest)
        if data is not None:
            return whole_record(data)
        kinds = (frame_format.CHUNKED, frame_format.REF_LIST)
        copies = self.found.places.places_of(digest)
        there = next((copy for copy in copies if copy.kind in kinds), None)
        return self.found.reader.record(there) if there else None

    def _is_readable(
        self, digest: bytes, made: Carrying, seen: frozenset[bytes] = frozenset()
    ) -> bool:
        """Return whether *digest* can be read from what will be there."""
        if digest in seen:
            return False
        seen |= {digest}
        if digest in made.places:
            base = made.bases.get(digest)
            return base is None or self._is_readable(base, made, seen)
        place = self.engine.view.known.find_place(digest)
        copies = self.found.places.places_of(digest) if place else []
        for copy in copies:
            if place is not None and _is_at(copy, place):
                needs = self._needs(copy)
                return digest not in self.corrupt and all(
                    self._is_readable(each, made, seen) for each in needs
                )
        return False

    def needed(self, lost: Collection[bytes]) -> Iterator[Lost]:
        """Yield what of *lost* any entry needs."""
        names = {blob_place(digest): digest for digest in lost}
        for each in named_by(self.found, names) if names else ():
            if each.count:
                ref = format_digest(names[each.where])
                yield Lost(ref, tuple(each.entries), each.count)


def _is_at(copy: BlobPlace, place: Place) -> bool:
    return copy[:3] == (place.file, place.offset, place.record)
