"""
Making a bundle of segments of a store.

The same content gives the same bytes: where things stand in the store, how they
are compressed there and when it is done has no part in it.

Spec: spec/bundle.md, "Made the same each time".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import attrs

from castore import limits
from castore.blobfile import BlobReader
from castore.bundles.choosing import Choice, Has, Redaction, Wish, choose
from castore.bundles.groups import BLOCK_SIZE_MAX, Bounds
from castore.bundles.manifest import ENTRIES_COUNT_MIN, REDACTED, Withheld
from castore.bundles.writing import BundleWriter, Descriptor, Sink
from castore.digest import blob_digest
from castore.engine import Engine
from castore.engine.view import View
from castore.errors import CorruptionError, LimitError
from castore.formats import frame as frame_format
from castore.formats.chunked import encode_chunks
from castore.formats.entry import BlobRef, Entry, encode_ref_list
from castore.formats.stored import encode_stored, stored_form


_COUNT_MAX = 4096  # records of a blob frame; entries and names of a group
_ENTRIES_SIZE = limits.MIB  # bytes of a group's entries
_RUN_SIZE = 256 * limits.KIB

#: Told how many of how many entries were taken.
Progress = Callable[[int, int], None]


@attrs.frozen
class Exported:
    """
    A bundle that was made.

    Attributes:
        bundle: Bundle id, 16 bytes.

        size: Bytes of the bundle.

        segments: How many, with those that are inherited from.

        entries: How many stand in it.

        blobs: How many.

        raw_bytes: Of those.

        redacted: Payloads that were left out because it was asked for.

        absent: Payloads that the store does not have any more, or whoever gets
            the bundle has already.
    """

    bundle: bytes
    size: int
    segments: int
    entries: int
    blobs: int
    raw_bytes: int
    redacted: int
    absent: int


def export_bundle(
    engine: Engine,
    wishes: Iterable[Wish],
    sink: Sink,
    *,
    redaction: Redaction | None = None,
    has: Has | None = None,
    progress: Progress | None = None,
) -> Exported:
    """
    Write a bundle of *wishes* and all that they need to *sink*.

    Args:
        engine: The store; it may be open for reading only.

        wishes: Which entries of which segments.

        sink: Where to.

        redaction: What is left out.

        has: Tells what whoever gets the bundle has; that is left out too.

        progress: Told how many of how many entries were taken.

    Raises:
        LimitError: No reader would take it. What was written is no bundle.

        CorruptionError: The store is damaged.
    """
    choice = choose(engine, wishes, redaction or Redaction(), has)
    manifest = choice.manifest
    writer = BundleWriter(sink, manifest, engine.store)
    making = _Making(engine, writer, manifest.withheld)
    total = sum(row.stop - row.first for row in manifest.rows)
    for entry, segment in _entries(engine.view, choice):
        making.take(entry, segment)
        if progress:
            progress(making.entry_count, total)
    making.end_group()
    making.check_bounds()
    why = Counter(manifest.withheld.values())
    return Exported(
        writer.id,
        writer.size,
        len(manifest.rows),
        making.entry_count,
        making.blob_count,
        making.raw_size,
        why[REDACTED],
        len(manifest.withheld) - why[REDACTED],
    )


def _entries(view: View, choice: Choice) -> Iterator[tuple[Entry, bytes]]:
    for source, row in zip(choice.sources, choice.manifest.rows, strict=True):
        for entry in view.logs.entries(source, row.first, row.stop):
            yield entry, row.segment


class _Making:
    """Puts entries and what they need into groups."""

    def __init__(
        self, engine: Engine, writer: BundleWriter, withheld: Withheld
    ) -> None:
        self._engine = engine
        self._writer = writer
        self._withheld = withheld
        self._written: set[bytes] = set()  # names of blobs and ref lists
        self.entry_count = self.blob_count = self.raw_size = 0
        self._logs_size = self._blobs_size = 0
        self._begin()

    def _begin(self) -> None:
        self._group: list[tuple[Entry, bytes]] = []
        self._bodies: dict[bytes, BlobRef] = {}
        self._payloads: dict[bytes, BlobRef] = {}
        self._lists: dict[bytes, bytes] = {}
        self._done: set[bytes] = set()  # of the names of this group
        self._group_size = self._entries_size = 0

    # --- groups --------------------------------------------------------------

    def take(self, entry: Entry, segment: bytes) -> None:
        """Take in the next entry, which *segment* owns."""
        self._group.append((entry, segment))
        self.entry_count += 1
        self._name(self._bodies, entry.body)
        for ref in entry.refs:
            if ref.flags:
                self._name_list(ref.blob.digest)
            else:
                self._name(self._payloads, ref.blob)
        self._entries_size += _stored_size(entry)
        names = len(self._bodies) + len(self._payloads)
        if (
            self._group_size >= BLOCK_SIZE_MAX
            or self._entries_size >= _ENTRIES_SIZE
            or max(names, len(self._group)) >= _COUNT_MAX
        ):
            self.end_group()

    def _name(self, names: dict[bytes, BlobRef], ref: BlobRef) -> None:
        if ref.digest in self._withheld or ref.digest in self._written:
            return
        self._written.add(ref.digest)
        names[ref.digest] = ref
        self._group_size += ref.size

    def _name_list(self, digest: bytes) -> None:
        if digest in self._written:
            return
        self._written.add(digest)
        refs = self._engine.view.listed(digest)
        name, self._lists[digest] = encode_ref_list(refs)
        if name != digest:
            raise CorruptionError(
                what="a list of references is another than its name says",
                verdict="corrupt blob",
                where=f"blob:{digest.hex()}",
            )
        for ref in refs:
            self._name(self._payloads, ref.blob)

    def end_group(self) -> None:
        """Write what was taken in as a group."""
        if not self._group:
            return
        blocks = self._blocks()
        first = next(blocks, _Block())
        self._write_entries(first.numbers, bodies=bool(first.table))
        while first.table:
            self._blobs_size += first.size
            self._writer.write(first.table, first.payloads)
            first = next(blocks, _Block())
        for payload in self._lists.values():
            self._logs_size += len(payload)
            self._writer.write([[frame_format.REF_LIST, len(payload)]], [payload])
        self._begin()

    # --- entries -------------------------------------------------------------

    def _write_entries(self, numbers: dict[bytes, int], *, bodies: bool) -> None:
        table: list[Descriptor] = []
        payloads: list[bytes] = []
        for segment, entries in _runs(self._group):
            payload = encode_stored(stored_form(entries, numbers.get))
            first = entries[0]
            place = [segment, first.index, first.prev, len(entries), int(bodies)]
            table.append([frame_format.ENTRIES, len(payload), *place])
            payloads.append(payload)
        self._logs_size += sum(map(len, payloads))
        self._writer.write(table, payloads)

    # --- payloads ------------------------------------------------------------

    def _blocks(self) -> Iterator[_Block]:
        """Yield what stands in a blob frame each; bodies first."""
        block = _Block()
        for ref in (*self._bodies.values(), *self._payloads.values()):
            for digest, descriptor, payload in self._records(ref):
                if block.is_full(len(payload)):
                    yield block
                    block = _Block()
                block.add(digest, descriptor, payload)
        if block.table:
            yield block

    def _records(self, ref: BlobRef) -> Iterator[tuple[bytes, Descriptor, bytes]]:
        self.blob_count += 1
        self.raw_size += ref.size
        if ref.size <= limits.SLICE_SIZE:
            if ref.digest not in self._done:  # as a chunk of another
                self._done.add(ref.digest)
                data = self._engine.read_blob(ref.digest)
                yield ref.digest, [frame_format.BLOB, len(data)], data
            return
        reader = BlobReader(self._engine, self._engine.sliced(ref))
        chunks = []
        while data := reader.read(limits.SLICE_SIZE):
            name = blob_digest(data)
            chunks.append((name, len(data)))
            to_come = name in self._bodies or name in self._payloads
            if name not in self._done and (to_come or name not in self._written):
                self._written.add(name)
                self._done.add(name)
                yield name, [frame_format.BLOB, len(data)], data
        slices = b"".join(name for name, _ in chunks)
        payload = encode_chunks(
            chunks, slices if ref.size >= limits.SLICED_SIZE_MIN else b""
        )
        self._blobs_size += ref.size
        if len(payload) > BLOCK_SIZE_MAX:
            what = f"a payload of {ref.size} bytes is too large for a bundle"
            raise LimitError(what=what, limit=BLOCK_SIZE_MAX)
        descriptor = [frame_format.CHUNKED, len(payload), ref.digest, ref.size]
        yield ref.digest, descriptor, payload

    # --- bounds --------------------------------------------------------------

    def check_bounds(self) -> None:
        """
        Refuse a bundle that readers refuse for what it comes to.

        Raises:
            LimitError: It does.
        """
        size = self._writer.size
        bounds = Bounds(size)
        for what, value, most in (
            ("entries", self.entry_count, ENTRIES_COUNT_MIN + size),
            ("bytes of entries", self._logs_size, bounds.logs_left),
            ("bytes of payloads", self._blobs_size, bounds.blobs_left),
        ):
            if value > most:
                why = f"{value} {what} are too many for a bundle of {size} bytes"
                raise LimitError(what=why, limit=most)


@attrs.define
class _Block:
    """What stands in one blob frame."""

    table: list[Descriptor] = attrs.Factory(list)
    payloads: list[bytes] = attrs.Factory(list)
    numbers: dict[bytes, int] = attrs.Factory(dict)
    size: int = 0

    def is_full(self, more: int) -> bool:
        """Return whether a payload of *more* bytes goes into the next one."""
        over = self.size + more > BLOCK_SIZE_MAX or len(self.table) >= _COUNT_MAX
        return over and bool(self.table)

    def add(self, digest: bytes, descriptor: Descriptor, payload: bytes) -> None:
        """Add a record."""
        if descriptor[0] == frame_format.BLOB:
            self.numbers[digest] = len(self.numbers)
        self.table.append(descriptor)
        self.payloads.append(payload)
        self.size += len(payload)


_REF_SIZE = 112  # bytes of a reference with slices, about; and a role
_ENTRY_SIZE = 64  # of all else of an entry


def _stored_size(entry: Entry) -> int:
    """Return about how many bytes *entry* takes, not less than it does."""
    roles = sum(len(ref.role.encode()) for ref in entry.refs)
    size = _ENTRY_SIZE + len(entry.kind.encode()) + roles + _REF_SIZE * len(entry.refs)
    if entry.start is not None:
        key = entry.start.key or ("", "")
        size += 2 * _REF_SIZE + sum(len(part.encode()) for part in key)
    return size


def _runs(group: list[tuple[Entry, bytes]]) -> Iterator[tuple[bytes, list[Entry]]]:
    """Yield the records of *group*: segment and entries."""
    entries: list[Entry] = []
    owner, size, refs = b"", 0, 0
    for entry, segment in group:
        more = _stored_size(entry)
        if entries and (
            segment != owner
            or len(entries) >= limits.RUN_COUNT
            or size + more > _RUN_SIZE
            or refs >= limits.RUN_REF_COUNT
        ):
            yield owner, entries
            entries, size, refs = [], 0, 0
        entries.append(entry)
        owner, size, refs = segment, size + more, refs + len(entry.refs)
    if entries:
        yield owner, entries
