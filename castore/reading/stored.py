"""
What is remembered of a stored blob and of a stored run of entries.

Spec: spec/frame.md, "Records".
"""

from __future__ import annotations

from typing import NamedTuple

import attrs

from castore.formats.entry import Start
from castore.reading.image import RunHeader


class BlobPlace(NamedTuple):
    """
    Where a blob or ref list is stored: record number *record* of the frame at
    *offset* of *file*. *size* is raw bytes, for a ref list its count.
    """

    file: bytes
    offset: int
    record: int
    size: int
    kind: int


class Want(NamedTuple):
    """
    What an entry needs that does not stand beside it.

    *entry* is the entry's index. A body has role None; *size* is a count where
    *flags* say that it is a ref list.
    """

    entry: int
    role: str | None
    digest: bytes
    size: int
    flags: int
    slices: bytes | None


@attrs.frozen(eq=False)
class StoredRun:
    """
    Entries ``[first, stop)`` of one segment as one record holds them.

    Attributes:
        header: What the table says of them.

        file: Where they stand.

        offset: Of their frame.

        hashes: Their entry hashes, 32 bytes each.

        bodies: Digests of their bodies.

        wants: References, and bodies that stand elsewhere.

        starts: The start records among them, by index.
    """

    header: RunHeader
    file: bytes
    offset: int
    hashes: bytes
    bodies: tuple[bytes, ...]
    wants: tuple[Want, ...]
    starts: dict[int, Start]

    @property
    def first(self) -> int:
        """Index of the first entry."""
        return self.header.first

    @property
    def stop(self) -> int:
        """Index behind the last entry."""
        return self.header.first + self.header.count

    def hash_at(self, index: int) -> bytes:
        """Return the entry hash at *index*."""
        at = (index - self.header.first) * 32
        return self.hashes[at : at + 32]

    def prev_at(self, index: int) -> bytes:
        """Return the ``prev`` of the entry at *index*."""
        if index == self.header.first:
            return self.header.prev
        return self.hash_at(index - 1)
