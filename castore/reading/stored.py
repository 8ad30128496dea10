"""
What is remembered of stored blobs and of a stored run of entries.

There may be millions of them: they are kept in columns, and an object stands for
one only while somebody looks at it.

Spec: spec/frame.md, "Records".
"""

from __future__ import annotations

import itertools

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import attrs

from castore import limits, merkle
from castore.digest import SIZE
from castore.formats.entry import Start
from castore.reading.image import RunHeader, StoredBlob


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


def digests_in(column: bytes) -> Iterator[bytes]:
    """Yield the digests that stand in *column*, one behind the other."""
    return (column[at : at + SIZE] for at in range(0, len(column), SIZE))


def _column(code: str, values: tuple[int, ...]) -> Sequence[int]:
    # A tuple of a few is smaller, and crosses process borders in a tenth of the time.
    return values if len(values) < _TUPLE_MAX else array(code, values)


_TUPLE_MAX = 16  # numbers


@attrs.frozen(eq=False)
class StoredBlobs(Sequence[tuple[bytes, BlobPlace]]):
    """
    Name and place of each blob and ref list of one frame; some 45 bytes each.

    Attributes:
        file: File id.

        offset: Of the frame.

        digests: Their names, 32 bytes each.

        records: Record numbers.

        sizes: As in `BlobPlace`.

        kinds: Kinds of their records.
    """

    file: bytes
    offset: int
    digests: bytes
    records: Sequence[int]
    sizes: Sequence[int]
    kinds: bytes

    @classmethod
    def of(cls, file: bytes, offset: int, blobs: Iterable[StoredBlob]) -> StoredBlobs:
        """Return the columns of *blobs*, which stand in one frame."""
        columns = list(zip(*blobs, strict=True)) or [()] * len(StoredBlob._fields)
        digests, sizes, records, kinds = columns
        return cls(
            file,
            offset,
            b"".join(digests),
            _column("I", records),
            _column("Q", sizes),
            bytes(kinds),
        )

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, at: int) -> tuple[bytes, BlobPlace]:  # type: ignore[override]
        digest = self.digests[at * SIZE : at * SIZE + SIZE]
        return digest, self.place(at)

    def __iter__(self) -> Iterator[tuple[bytes, BlobPlace]]:
        return zip(self.names(), map(self.place, range(len(self))), strict=True)

    def names(self) -> Iterator[bytes]:
        """Yield their names."""
        return digests_in(self.digests)

    def place(self, at: int) -> BlobPlace:
        """Return the place of the blob at number *at* of the columns."""
        return BlobPlace(
            self.file, self.offset, self.records[at], self.sizes[at], self.kinds[at]
        )


NO_BLOBS = StoredBlobs.of(b"", 0, ())


@attrs.frozen(eq=False)
class Wants(Sequence[Want]):
    """
    What the entries of one run need, in order; some 60 bytes each.

    Attributes are columns, as in `Want`; *slices* has only those that are.
    """

    entries: Sequence[int]
    roles: tuple[str | None, ...]
    digests: bytes
    sizes: Sequence[int]
    flags: bytes
    slices: dict[int, bytes]

    @classmethod
    def of(cls, wants: Iterable[tuple[Any, ...]]) -> Wants:
        """Return the columns of *wants*, each in the order of `Want`'s fields."""
        columns = list(zip(*wants, strict=True))
        if not columns:
            return _NO_WANTS  # as most runs of one entry
        entries, roles, digests, sizes, flags, slices = columns
        return cls(
            _column("Q", entries),
            roles,
            b"".join(digests),
            _column("Q", sizes),
            bytes(flags),
            {at: digest for at, digest in enumerate(slices) if digest is not None},
        )

    def __len__(self) -> int:
        return len(self.roles)

    def __getitem__(self, at: int) -> Want:  # type: ignore[override]
        return next(itertools.islice(self, at, None))

    def __iter__(self) -> Iterator[Want]:
        return map(
            Want,
            self.entries,
            self.roles,
            digests_in(self.digests),
            self.sizes,
            self.flags,
            map(self.slices.get, range(len(self))),
        )


_NO_WANTS = Wants((), (), b"", (), b"", {})


@attrs.frozen(eq=False)
class StoredRun:
    """
    Entries ``[first, stop)`` of one segment as one record holds them.

    Attributes:
        header: What the table says of them.

        file: Where they stand.

        offset: Of their frame.

        hashes: Their entry hashes, 32 bytes each.

        bodies: Digests of their bodies, 32 bytes each.

        wants: References, and bodies that stand elsewhere.

        starts: The start records among them, by index.

        subtrees: Hashes of the subtrees over their leaves (`run_positions`); empty
            in the store log.
    """

    header: RunHeader
    file: bytes
    offset: int
    hashes: bytes
    bodies: bytes
    wants: Wants
    starts: dict[int, Start]
    subtrees: bytes

    @property
    def first(self) -> int:
        """Index of the first entry."""
        return self.header.first

    @property
    def stop(self) -> int:
        """Index behind the last entry."""
        return self.header.first + self.header.count

    def needing(self, names: Collection[bytes]) -> StoredRun:
        """Return the run with what it wants of *names*, and ref lists, only."""
        kept = [want for want in self.wants if want.flags or want.digest in names]
        return attrs.evolve(self, wants=Wants.of(kept))

    def hash_at(self, index: int) -> bytes:
        """Return the entry hash at *index*."""
        at = (index - self.header.first) * SIZE
        return self.hashes[at : at + SIZE]

    def prev_at(self, index: int) -> bytes:
        """Return the ``prev`` of the entry at *index*."""
        if index == self.header.first:
            return self.header.prev
        return self.hash_at(index - 1)


_BLOCK = 1 << limits.NODE_LEVEL_MIN


def run_positions(first: int, stop: int) -> Iterator[merkle.Position]:
    """
    Yield the fewest complete subtrees over the leaves ``[first, stop)``, none
    larger than the smallest that a catalog keeps, left to right.
    """
    while first < stop:
        end = min(stop, (first | (_BLOCK - 1)) + 1)
        yield from merkle.node_positions(first, end)
        first = end


def run_subtrees(tree: merkle.Tree, first: int, hashes: list[bytes]) -> bytes:
    """
    Return the hashes at `run_positions` of entries with these *hashes*; none where
    no tree can have so many leaves.
    """
    if first + len(hashes) > merkle.COUNT_MAX:
        return b""
    leaves = list(map(tree.leaf, hashes))
    found = []
    for level, index in run_positions(first, first + len(hashes)):
        start = (index << level) - first
        found.append(merkle.complete(tree, leaves[start : start + (1 << level)]))
    return b"".join(found)
