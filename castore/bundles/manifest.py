"""
The manifest of a bundle: which segments stand there, and what was left out.

Spec: spec/bundle.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from castore.codec import encode_known
from castore.digest import SIZE, in_context
from castore.formats.head import Head, parse_head
from castore.formats.refuse import is_bytes, is_count, need, record
from castore.reading.frames import Frame


SEGMENT, WITHHELD = 64, 65  # kinds of record
ROW_COUNT_MAX = 1023  # with the store log's, as many heads as a commit has
ROW_SIZE_MAX = 16_384  # bytes of a row
WITHHELD_COUNT_MAX = 250_000  # names that a writer leaves out; the frame holds more
ENTRIES_COUNT_MIN = 65_536  # entries that any bundle may have
REDACTED, COLLECTED, ERASED, LOST, KNOWN = range(5)

_VERSION = 1
_HEAD_SIZE_MAX = 1024
_UNIT = SIZE + 1
_bundle_hash = in_context["bundle"]


@attrs.frozen
class Row:
    """
    Own entries ``[first, stop)`` of a segment, and what binds them.

    Attributes:
        parent: Segment that owns the entry before *fork_index*, None if that is 0.

        fork_index: Count of inherited entries.

        peaks: Of the log's tree at *first*.

        head: Its head, None for a segment that lives only in its forks.

        proof: From *stop* to the head's count.
    """

    session: bytes
    segment: bytes
    parent: bytes | None
    fork_index: int
    first: int
    stop: int
    peaks: tuple[bytes, ...]
    head: Head | None
    proof: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return the payload of its record."""
        head = self.head.encode() if self.head else None
        ids = [self.session, self.segment, self.parent]
        counts = [self.fork_index, self.first, self.stop]
        proofs = [b"".join(self.peaks), head, b"".join(self.proof)]
        return encode_known([_VERSION, *ids, *counts, *proofs])


class Withheld(Mapping[bytes, int]):
    """Why each of some blobs is left out, by name; takes little more than that."""

    def __init__(self, data: bytes = b"") -> None:
        """Take the payload of a record of kind 65."""
        self.data = data

    @classmethod
    def of(cls, reasons: Mapping[bytes, int]) -> Withheld:
        """Return *reasons* as they are written."""
        items = sorted(reasons.items())
        return cls(b"".join(name + bytes((why,)) for name, why in items))

    def name(self, at: int) -> bytes:
        """Return the name at position *at*."""
        return self.data[at * _UNIT : at * _UNIT + SIZE]

    def find(self, name: bytes) -> int | None:
        """Return the position of *name*, None if it is not withheld."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self.name(middle) < name:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self) and self.name(low) == name else None

    def __len__(self) -> int:
        return len(self.data) // _UNIT

    def __iter__(self) -> Iterator[bytes]:
        return map(self.name, range(len(self)))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes) and self.find(name) is not None

    def __getitem__(self, name: bytes) -> int:
        at = self.find(name)
        if at is None:
            raise KeyError(name)
        return self.data[at * _UNIT + SIZE]


@attrs.frozen
class Manifest:
    """
    What a bundle holds.

    Attributes:
        rows: Its segments, parents before their forks.

        withheld: What its entries name and is not in it.
    """

    rows: tuple[Row, ...]
    withheld: Withheld

    def records(self) -> tuple[list[list[Any]], list[bytes]]:
        """Return the descriptors and payloads of its frame."""
        payloads = [row.encode() for row in self.rows]
        table: list[list[Any]] = [[SEGMENT, len(payload)] for payload in payloads]
        if self.withheld:
            table.append([WITHHELD, len(self.withheld.data)])
            payloads.append(self.withheld.data)
        return table, payloads


def bundle_id(table: Sequence[Sequence[Any]], payloads: Iterable[bytes]) -> bytes:
    """Return the id of the bundle whose manifest's frame holds these records."""
    return _bundle_hash(encode_known([*table]), *payloads)[:16]


def read_manifest(frame: Frame, file: bytes, store: bytes, size: int) -> Manifest:
    """
    Return the manifest that *frame* is.

    Args:
        frame: The first of the bundle.

        file: File id of the bundle.

        store: Store id of its header.

        size: Bytes of the bundle.

    Raises:
        CorruptionError: It is refused; ``malformed record``.
    """
    kinds = [item[0] for item in frame.table]
    count = kinds.count(SEGMENT)
    last = [WITHHELD] if count < len(kinds) else []
    need(kinds == [SEGMENT] * count + last, "manifest: records")
    need(0 < count <= ROW_COUNT_MAX, "manifest: not as many segments")
    need(all(len(item) == 2 for item in frame.table), "manifest: descriptors")
    raw = frame.records.raw
    need(bundle_id(frame.table, [bytes(raw)]) == file, "manifest: another bundle's")
    payloads = [frame.records.payload(number) for number in range(len(kinds))]
    rows = [_parse_row(payload, store) for payload in payloads[:count]]
    _check_rows(rows, store)
    entries = sum(row.stop - row.first for row in rows)
    need(entries <= ENTRIES_COUNT_MIN + size, "manifest: more entries than it can hold")
    withheld = Withheld(bytes(payloads[-1]) if last else b"")
    if last:
        need(len(withheld) * SIZE <= size, "withheld: more than the file can name")
        _check_withheld(withheld)
    return Manifest(tuple(rows), withheld)


def _parse_row(payload: memoryview, store: bytes) -> Row:
    value = record(payload, ROW_SIZE_MAX, "manifest")
    need(len(value) == 10, "manifest: not ten fields")
    version, session, segment, parent, *counts, peaks, head, proof = value
    need(type(version) is int and version == _VERSION, "manifest: version")
    need(is_bytes(session, 16) and is_bytes(segment, 16), "manifest: ids")
    need(all(map(is_count, counts)), "manifest: counts")
    fork_index, first, stop = counts
    need(fork_index <= first < stop, "manifest: counts")
    fits = is_bytes(parent, 16) if fork_index else parent is None
    need(fits, "manifest: parent")
    found = _hashes(peaks)
    need(len(found) == first.bit_count(), "manifest: peaks")
    place = (fork_index, first, stop)
    row = Row(session, segment, parent, *place, found, None, _hashes(proof))
    if head is None:
        need(not row.proof, "manifest: a proof without a head")
        return row
    need(type(head) is bytes, "manifest: head")
    parsed = parse_head(record(head, _HEAD_SIZE_MAX, "head"))
    ids = (parsed.store, parsed.session, parsed.segment, parsed.fork_index)
    need(ids == (store, session, segment, fork_index), "manifest: another head")
    least = stop + bool(row.proof)
    need(parsed.count >= least, "manifest: head or proof does not fit the entries")
    return attrs.evolve(row, head=parsed)


def _hashes(value: Any) -> tuple[bytes, ...]:
    need(type(value) is bytes and len(value) % SIZE == 0, "manifest: hashes")
    return tuple(value[at : at + SIZE] for at in range(0, len(value), SIZE))


def _check_rows(rows: Sequence[Row], store: bytes) -> None:
    before: set[bytes] = set()
    all_ids = {row.segment for row in rows}
    need(len(all_ids) == len(rows) and store not in all_ids, "manifest: segments")
    ends = {(row.parent, row.first) for row in rows if row.first == row.fork_index}
    for row in rows:
        late = row.parent in all_ids and row.parent not in before
        need(not late, "manifest: a fork before its parent")
        bound = row.head is not None or (row.segment, row.stop) in ends
        need(bound, "manifest: nothing binds a segment's entries")
        before.add(row.segment)


def _check_withheld(withheld: Withheld) -> None:
    data = withheld.data
    need(data and len(data) % _UNIT == 0, "withheld: size")
    need(max(data[SIZE::_UNIT]) <= KNOWN, "withheld: why")
    before = b""
    for name in withheld:
        need(before < name, "withheld: order")
        before = name
