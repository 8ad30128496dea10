"""
Bundles made by hand: every record as one likes, every hash right around it.

Nothing here compresses, so what is made depends on no library's version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from castore import merkle
from castore.bundles.manifest import Row, Withheld, bundle_id
from castore.digest import blob_digest
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.entry import START, BlobRef, Origin, Reference, Start, genesis
from castore.formats.file import FileHeader, encode_header
from castore.formats.frame import finish, seal_part
from castore.formats.head import Head
from castore.formats.stored import encode_stored, entries_of
from castore.formats.trees import SEGMENT_TREE


STORE = bytes(range(16))
SESSION = bytes.fromhex("0190a1b2c3d47e5f8001020304050607")
SEGMENT = bytes.fromhex("0190a1b2c3d57e5f8008090a0b0c0d0e")
FORK = bytes.fromhex("0190a1b2c3d67e5f800f101112131415")
TIME_MS = 1_794_000_000_000

#: Table and payloads.
Frame = tuple[list[list[Any]], list[bytes]]


def peaks_of(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the peaks of the tree over entry *hashes*."""
    peaks: list[bytes] = []
    for count, digest in enumerate(hashes):
        merkle.push(SEGMENT_TREE, peaks, count, SEGMENT_TREE.leaf(digest))
    return peaks


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over entry *hashes*."""
    return merkle.root(SEGMENT_TREE, peaks_of(hashes))


def proof_of(hashes: Sequence[bytes], stop: int) -> tuple[bytes, ...]:
    """Return the consistency proof from *stop* to all of entry *hashes*."""

    def read(positions: list[merkle.Position]) -> list[bytes]:
        return [
            merkle.complete(
                SEGMENT_TREE,
                [
                    SEGMENT_TREE.leaf(hashes[leaf])
                    for leaf in range(index << level, (index + 1) << level)
                ],
            )
            for level, index in positions
        ]

    found = merkle.prove_consistency(SEGMENT_TREE, stop, len(hashes), read)
    return tuple(found)


def ref(data: bytes, role: str = "out") -> Reference:
    """Return a reference to *data*."""
    return Reference(role, BlobRef(blob_digest(data), len(data)))


@attrs.define
class Log:
    """
    A log, and how its entries are stored in a bundle.

    Attributes:
        inherited: Hashes of the entries that it inherits.

        stored: Stored entries, each with its body in full.

        hashes: Of all entries.
    """

    session: bytes
    segment: bytes
    inherited: list[bytes] = attrs.Factory(list)
    stored: list[list[Any]] = attrs.Factory(list)
    hashes: list[bytes] = attrs.Factory(list)

    def prev_at(self, index: int) -> bytes:
        """Return the ``prev`` of the entry at *index*."""
        return self.hashes[index - 1] if index else genesis(self.session, self.segment)

    def add(
        self,
        body: bytes,
        *refs: Reference,
        kind: str = "line",
        start: Start | None = None,
        time_ms: int | None = None,
    ) -> None:
        """Append an entry."""
        name = [blob_digest(body), len(body)]
        item: list[Any] = [time_ms, kind, name, [each.record() for each in refs]]
        if start is not None:
            item.append(start.record())
        prev = self.prev_at(len(self.hashes))
        (found,) = entries_of(
            [item], first_index=len(self.hashes), prev=prev, bodies=()
        )
        self.stored.append(item)
        self.hashes.append(found[0])

    def head(self, **changes: Any) -> Head:
        """Return its head."""
        head = Head(
            STORE,
            self.session,
            self.segment,
            len(self.inherited),
            1,
            len(self.hashes),
            root_of(self.hashes),
            self.hashes[-1],
            7,
            TIME_MS,
        )
        return attrs.evolve(head, **changes)

    def row(self, first: int | None = None, stop: int | None = None) -> Row:
        """Return what a manifest says of its entries ``[first, stop)``."""
        low = len(self.inherited) if first is None else first
        high = len(self.hashes) if stop is None else stop
        parent = self.stored[0][4][3][1] if self.inherited else None
        return Row(
            self.session,
            self.segment,
            parent,
            len(self.inherited),
            low,
            high,
            tuple(peaks_of(self.hashes[:low])),
            self.head(),
            proof_of(self.hashes, high),
        )

    def run(
        self, first: int, stop: int, numbers: dict[bytes, int] | None = None
    ) -> tuple[list[Any], bytes]:
        """Return the record of the entries ``[first, stop)``."""
        known = {} if numbers is None else numbers
        low = len(self.inherited)
        items = [[*item] for item in self.stored[first - low : stop - low]]
        for item in items:
            item[2] = known.get(item[2][0], item[2])
        payload = encode_stored(items)
        place = [self.segment, first, self.prev_at(first), stop - first]
        bodies = int(numbers is not None)
        return [frame_format.ENTRIES, len(payload), *place, bodies], payload


def new_log(*bodies: bytes) -> Log:
    """Return a log of a start entry with the body ``{}`` and lines."""
    log = Log(SESSION, SEGMENT)
    log.add(b"{}", kind=START, start=Start(SESSION, SEGMENT, "new"))
    for body in bodies:
        log.add(body)
    return log


def example() -> Bundle:
    """Return the bundle that the page shows: of the entry of entry.md alone."""
    log = Log(SESSION, SEGMENT)
    start = Start(SESSION, SEGMENT, "new", None, ("tool", "one"))
    log.add(b"{}", ref(b"abc", "tool.out"), kind=START, start=start, time_ms=TIME_MS)
    return simple(log, b"{}", withheld={blob_digest(b"abc"): 0})


def fork_of(parent: Log, at: int, *bodies: bytes) -> Log:
    """Return a log that inherits the first *at* entries of *parent*."""
    before = parent.hashes[:at]
    origin = Origin(parent.session, parent.segment, at, root_of(before), before[-1])
    log = Log(SESSION, FORK, list(before), [], list(before))
    log.add(b"{}", kind=START, start=Start(SESSION, FORK, "fork", origin))
    for body in bodies:
        log.add(body)
    return log


def entries_frame(*runs: tuple[list[Any], bytes]) -> Frame:
    """Return a frame of entries."""
    return [run[0] for run in runs], [run[1] for run in runs]


def blobs_frame(*blobs: bytes) -> Frame:
    """Return a frame of whole blobs."""
    return [[frame_format.BLOB, len(blob)] for blob in blobs], list(blobs)


def manifest_frame(rows: Sequence[Row], withheld: dict[bytes, int]) -> Frame:
    """Return the frame of a manifest."""
    payloads = [row.encode() for row in rows]
    table: list[list[Any]] = [[64, len(payload)] for payload in payloads]
    if withheld:
        payloads.append(Withheld.of(withheld).data)
        table.append([65, len(payloads[-1])])
    return table, payloads


@attrs.define
class Bundle:
    """
    A bundle to be written.

    Attributes:
        frames: All of them, the manifest's first.

        header: Fields of the header that are to be others.

        tail: Bytes behind the last frame.

        level: Of compression; what is compressed depends on a library's version.
    """

    frames: list[Frame]
    header: dict[str, Any] = attrs.Factory(dict)
    tail: bytes = b""
    level: int = 0

    @property
    def id(self) -> bytes:
        """Bundle id."""
        return bundle_id(*self.frames[0])

    def pieces(self) -> list[bytes]:
        """Return the header and each frame, every hash right."""
        header = FileHeader(file_format.BUNDLE, STORE, self.id)
        pieces = [encode_header(attrs.evolve(header, **self.header))]
        file_hash = prev = pieces[0][-32:]
        offset = len(pieces[0])
        for table, payloads in self.frames:
            data = finish(
                seal_part(b"".join(payloads), self.level),
                table,
                offset=offset,
                group_start=file_format.SIZE,
                file_hash=file_hash,
                prev=prev,
            )
            pieces.append(data)
            offset, prev = offset + len(data), data[-32:]
        return pieces

    def data(self) -> bytes:
        """Return its bytes."""
        return b"".join(self.pieces()) + self.tail

    def offset(self, number: int) -> int:
        """Return the offset of frame *number*."""
        return sum(map(len, self.pieces()[: number + 1]))

    def where(self, number: int) -> str:
        """Return the place of frame *number*."""
        return f"bundle@{self.offset(number)}"


def numbered(*blobs: bytes) -> dict[bytes, int]:
    """Return the body numbers in a frame of whole *blobs*."""
    return {blob_digest(blob): number for number, blob in enumerate(blobs)}


def simple(log: Log, *blobs: bytes, withheld: dict[bytes, int] | None = None) -> Bundle:
    """Return a bundle of all of *log*, one group whose body frame has *blobs*."""
    row = log.row()
    run = log.run(row.first, row.stop, numbered(*blobs))
    first = manifest_frame([row], withheld or {})
    return Bundle([first, entries_frame(run), blobs_frame(*blobs)])
