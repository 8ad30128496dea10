"""
Where all blobs of a store stand, several copies included.

Spec: spec/checking.md, step 8; spec/blob.md.
"""

from __future__ import annotations

import bisect
import itertools

from collections.abc import Iterator, Mapping, Sequence

from castore.formats import frame as frame_format
from castore.reading.stored import BlobPlace, StoredBlobs


class Places(Mapping[bytes, BlobPlace]):
    """
    Where each blob and ref list stands; of several copies the one that comes last.

    Takes some 160 bytes for each name.
    """

    def __init__(self, frames: Sequence[StoredBlobs]) -> None:
        self._frames = frames
        self._starts = list(itertools.accumulate(map(len, frames), initial=0))
        self._rows: dict[bytes, int] = {}
        self._copies: dict[bytes, list[int]] = {}
        for row, digest in enumerate(self._names()):
            before = self._rows.setdefault(digest, row)
            if before != row:
                self._copies.setdefault(digest, []).append(before)
                self._rows[digest] = row

    def _names(self) -> Iterator[bytes]:
        return itertools.chain.from_iterable(each.names() for each in self._frames)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._rows)

    def __contains__(self, digest: object) -> bool:
        return digest in self._rows

    def __getitem__(self, digest: bytes) -> BlobPlace:
        return self._place(self._rows[digest])

    def _place(self, row: int) -> BlobPlace:
        at = bisect.bisect_right(self._starts, row) - 1
        return self._frames[at].place(row - self._starts[at])

    def places_of(self, digest: bytes) -> list[BlobPlace]:
        """Return all copies of a blob or ref list, the one that counts first."""
        row = self._rows.get(digest)
        if row is None:
            return []
        return [*map(self._place, (row, *reversed(self._copies.get(digest, ()))))]

    def find_whole(self, digest: bytes) -> BlobPlace | None:
        """Return a copy that stands for itself: a whole blob, or a ref list."""
        places = self.places_of(digest)
        return next((place for place in places if place.kind in _WHOLE), None)


_WHOLE = (frame_format.BLOB, frame_format.REF_LIST)
