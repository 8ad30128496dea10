"""
Files of frames and the records in them, made from the formats alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from castore.codec import encode_record
from castore.compress import diff
from castore.digest import blob_digest
from castore.formats import frame as frame_format
from castore.formats.chunked import encode_chunks, slices_digest
from castore.formats.entry import BlobRef, Reference, Start, encode_ref_list
from castore.formats.file import FileHeader, encode_header, file_name
from castore.formats.frame import (
    decode_raw,
    decode_table,
    encode_footer,
    finish,
    parse_header,
    seal_part,
)
from castore.formats.storedentry import entries_of
from castore.formats.storelog import Listing
from castore.reading.frames import Records


TIME_MS = 1_700_000_000_000
MIB = 1 << 20

#: A descriptor and its payload.
Stored = tuple[list[object], bytes]


class FileMaker:
    """One file of frames, held in memory and written as it grows."""

    def __init__(self, folder: Path, header: FileHeader) -> None:
        self.header = header
        self.path = folder / file_name(header.id)
        self.data = bytearray(encode_header(header))
        self.hash = bytes(self.data[-32:])
        self.offsets: list[int] = []
        self.save()

    @property
    def last(self) -> bytes:
        """Hash of the last frame, or of the file."""
        return bytes(self.data[-32:])

    def frame(
        self,
        records: Sequence[Stored],
        *,
        group_start: int | None = None,
        level: int = 3,
    ) -> int:
        """Append a frame of (descriptor, payload) records; return its offset."""
        offset = len(self.data)
        part = seal_part(b"".join(payload for _, payload in records), level)
        self.data += finish(
            part,
            [descriptor for descriptor, _ in records],
            offset=offset,
            group_start=offset if group_start is None else group_start,
            file_hash=self.hash,
            prev=self.last,
        )
        self.offsets.append(offset)
        self.save()
        return offset

    def footer(self) -> None:
        """Append a footer."""
        payload = encode_footer(self.offsets)
        self.frame([([frame_format.FOOTER, len(payload)], payload)])

    def records(self) -> list[list[Stored]]:
        """Return the records of each frame."""
        frames = []
        for offset in self.offsets:
            view = memoryview(bytes(self.data))[offset:]
            header = parse_header(view, room=len(view))
            table = decode_table(view[: header.size], header)
            raw = decode_raw(view[: header.size], header)
            parts = Records(table, raw)
            frames.append([(part.descriptor, bytes(part.payload)) for part in parts])
        return frames

    def rewrite(self, frames: Sequence[Sequence[Stored]]) -> None:
        """Put *frames* in the place of all there are, every hash made anew."""
        del self.data[188:], self.offsets[:]
        for records in frames:
            if records and records[0][0][0] == frame_format.FOOTER:
                self.footer()
            else:
                self.frame(records)
        self.save()

    def listing(self) -> Listing:
        """Return how the store log lists this file as it is."""
        header = self.header
        return Listing(header.id, header.kind, len(self.data), self.last)

    def save(self) -> None:
        """Write it to its place."""
        self.path.write_bytes(self.data)


@attrs.define
class Item:
    """An entry to append; *body* is bytes beside it or the name of a blob."""

    kind: str
    body: bytes | BlobRef
    refs: tuple[Reference, ...] = ()
    start: Start | None = None
    time_ms: int | None = TIME_MS


def blob(data: bytes) -> Stored:
    """Return the record of a whole blob."""
    return [frame_format.BLOB, len(data)], data


def difference(base: bytes, data: bytes) -> Stored:
    """Return the record of *data* as a difference against the whole blob *base*."""
    delta = diff(base, data, 3)
    names = [blob_digest(data), len(data), blob_digest(base), 1]
    return [frame_format.DIFFERENCE, len(delta), *names], delta


def chunked(parts: Sequence[bytes]) -> tuple[Stored, BlobRef]:
    """Return the chunk list of the blob that *parts* make, and its reference."""
    data = b"".join(parts)
    slices = b""
    if len(data) > 8 * MIB:
        pieces = (data[at : at + MIB] for at in range(0, len(data), MIB))
        slices = b"".join(blob_digest(piece) for piece in pieces)
    payload = encode_chunks([(blob_digest(part), len(part)) for part in parts], slices)
    name = blob_digest(data)
    record = ([frame_format.CHUNKED, len(payload), name, len(data)], payload)
    return record, BlobRef(name, len(data), slices_digest(slices) if slices else None)


def ref_list(refs: Sequence[Reference]) -> tuple[Stored, Reference]:
    """Return the record of a ref list and the reference to it."""
    name, payload = encode_ref_list(refs)
    reference = Reference("", BlobRef(name, len(refs)), 2)
    return ([frame_format.REF_LIST, len(payload)], payload), reference


def refer(role: str, data: bytes) -> Reference:
    """Return a reference to the blob *data*."""
    return Reference(role, BlobRef(blob_digest(data), len(data)))


def entries(
    log_id: bytes,
    first: int,
    prev: bytes,
    items: Sequence[Item],
    *,
    bodies: int,
    base: int = 0,
) -> tuple[Stored, list[bytes], list[bytes]]:
    """
    Return the entries record of *items*, their hashes, and the bodies to store.

    Args:
        log_id: Segment id.

        first: Index of the first.

        prev: Of the first.

        items: What to append.

        bodies: 0 if the bodies stand in the same frame, 1 if in the next.

        base: Blob records that stand before these bodies there.
    """
    stored: list[list[object]] = []
    payloads: list[bytes] = []
    clock = 0
    for item in items:
        body: object = base + len(payloads)
        if isinstance(item.body, BlobRef):
            body = [item.body.digest, item.body.size]
        else:
            payloads.append(item.body)
        delta = None if item.time_ms is None else item.time_ms - clock
        clock = clock if item.time_ms is None else item.time_ms
        form = [delta, item.kind, body, [ref.record() for ref in item.refs]]
        stored.append([*form, item.start.record()] if item.start else form)
    names = [(b"", 0)] * base + [(blob_digest(data), len(data)) for data in payloads]
    placed = entries_of(stored, first_index=first, prev=prev, bodies=names)
    hashes = [digest for digest, *_ in placed]
    payload = encode_record(stored)
    descriptor = [frame_format.ENTRIES, len(payload), log_id, first, prev]
    return ([*descriptor, len(items), bodies], payload), hashes, payloads
