"""
Millions of digests in little memory.
"""

from __future__ import annotations

import itertools

from collections.abc import Iterable

from castore.reading.stored import digests_in


_COLUMN_SIZE = 1 << 14  # bytes from which a column is looked at


class DigestSet:
    """
    A set of digests that takes little more than their bytes, to be gone through.

    They stand in columns by their first byte; a column that has doubled loses what
    stands there twice.
    """

    def __init__(self) -> None:
        self._columns = [bytearray() for _ in range(256)]
        self._limits = [_COLUMN_SIZE] * 256

    def update(self, digests: Iterable[bytes]) -> None:
        """Take in *digests*."""
        columns = self._columns
        for digest in digests:
            columns[digest[0]] += digest
        for number, column in enumerate(columns):
            if len(column) > self._limits[number]:
                columns[number] = bytearray().join(self.part(number))
                self._limits[number] = max(2 * len(columns[number]), _COLUMN_SIZE)

    def part(self, number: int) -> set[bytes]:
        """Return those with the first byte *number*."""
        return set(digests_in(bytes(self._columns[number])))

    def intersection(self, others: Iterable[bytes]) -> set[bytes]:
        """Return those of *others* that are here."""
        ordered = sorted(others)
        found: set[bytes] = set()
        for number, some in itertools.groupby(ordered, key=lambda digest: digest[0]):
            found |= self.part(number).intersection(some)
        return found
