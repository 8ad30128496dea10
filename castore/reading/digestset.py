"""
Millions of digests in little memory.
"""

from __future__ import annotations

import itertools

from collections.abc import Iterable

from castore.reading.stored import digests_in


_SIZE = 1 << 22  # bytes from which it is looked at what stands there twice


class DigestSet:
    """
    A set of digests that takes little more than their bytes, to be gone through.

    They stand in columns by their first byte; when all have doubled, each loses
    what stands there twice.
    """

    def __init__(self) -> None:
        self._columns = [bytearray() for _ in range(256)]
        self._size_max = _SIZE

    def update(self, digests: Iterable[bytes]) -> None:
        """Take in *digests*."""
        columns = self._columns
        for digest in digests:
            columns[digest[0]] += digest
        if sum(map(len, columns)) > self._size_max:
            for number in range(256):
                columns[number] = bytearray().join(self.part(number))
            self._size_max = max(2 * sum(map(len, columns)), _SIZE)

    def part(self, number: int) -> set[bytes]:
        """Return those with the first byte *number*."""
        return set(digests_in(self._columns[number]))

    def intersection(self, others: Iterable[bytes]) -> set[bytes]:
        """Return those of *others* that are here."""
        ordered = sorted(others)
        found: set[bytes] = set()
        for number, some in itertools.groupby(ordered, key=lambda digest: digest[0]):
            found |= self.part(number).intersection(some)
        return found
