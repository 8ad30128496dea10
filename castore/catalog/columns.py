"""
Places of millions of blobs, in columns: what maintenance keeps in memory of them.
"""

from __future__ import annotations

import bisect

from array import array
from collections.abc import Iterable, Iterator, Mapping, ValuesView

from castore.catalog.rows import Place


_SIZE = 32  # bytes of a digest


class PlaceSet:
    """
    A set of places, of some bytes for each frame and a bit for each record.
    """

    def __init__(self) -> None:
        # By file and offset: a bit for each record.
        self._records: dict[bytes, dict[int, int]] = {}

    def __contains__(self, place: Place) -> bool:
        return self.has(place.file, place.offset, place.record)

    def has(self, file: bytes, offset: int, record: int) -> bool:
        """Return whether the place of that record is in it."""
        return bool(self._records.get(file, {}).get(offset, 0) >> record & 1)

    def add(self, place: Place) -> bool:
        """Take *place* in; return whether it is new."""
        frames = self._records.setdefault(place.file, {})
        before = frames.get(place.offset, 0)
        frames[place.offset] = before | 1 << place.record
        return not before >> place.record & 1


class PlaceList:
    """
    Places in the order in which they were added; 56 bytes for each.
    """

    def __init__(self) -> None:
        self._files: list[bytes] = []
        self._numbers: dict[bytes, int] = {}  # of files
        self._digests = bytearray()
        self._in_file = array("I")
        self._offsets = array("Q")
        self._records = array("I")
        self._sizes = array("Q")

    def add(self, place: Place) -> None:
        """Add *place* behind the others."""
        number = self._numbers.setdefault(place.file, len(self._files))
        if number == len(self._files):
            self._files.append(place.file)
        self._digests += place.digest
        self._in_file.append(number)
        self._offsets.append(place.offset)
        self._records.append(place.record)
        self._sizes.append(place.size)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, at: int) -> Place:
        return Place(
            self.digest(at),
            self._files[self._in_file[at]],
            self._offsets[at],
            self._records[at],
            self._sizes[at],
        )

    def __iter__(self) -> Iterator[Place]:
        return map(self.__getitem__, range(len(self)))

    def digest(self, at: int) -> bytes:
        """Return the digest of the place at number *at*."""
        return bytes(self._digests[at * _SIZE : at * _SIZE + _SIZE])


class PlaceIndex(Mapping[bytes, Place]):
    """
    Places by digest, in order of that; 56 bytes for each.
    """

    def __init__(self) -> None:
        self._list = PlaceList()

    def extend(self, places: Iterable[Place]) -> None:
        """Take in *places*, all of them behind those that are here."""
        for place in sorted(places, key=lambda place: place.digest):
            self._list.add(place)

    def __len__(self) -> int:
        return len(self._list)

    def __iter__(self) -> Iterator[bytes]:
        return map(self._list.digest, range(len(self._list)))

    def __getitem__(self, digest: bytes) -> Place:
        count, key = len(self._list), self._list.digest
        at = bisect.bisect_left(range(count), digest, key=key)
        if at == count or key(at) != digest:
            raise KeyError(digest)
        return self._list[at]

    def values(self) -> ValuesView[Place]:
        """Return the places in order of digest."""
        return _Values(self, self._list)


class _Values(ValuesView[Place]):
    """The values of a `PlaceIndex`, each without a search."""

    def __init__(self, index: PlaceIndex, places: PlaceList) -> None:
        super().__init__(index)
        self._list = places

    def __iter__(self) -> Iterator[Place]:
        return iter(self._list)


class SortedPlaces:
    """
    Places to be gone through in order of digest; 56 bytes for each.

    Of equal digests the one added last comes last.
    """

    def __init__(self) -> None:
        self._columns = [PlaceList() for _ in range(256)]

    def add(self, place: Place) -> None:
        """Take *place* in."""
        self._columns[place.digest[0]].add(place)

    def __len__(self) -> int:
        return sum(map(len, self._columns))

    def __iter__(self) -> Iterator[Place]:
        for column in self._columns:
            yield from sorted(column, key=lambda place: place.digest)
