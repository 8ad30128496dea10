"""
What of some files is alive, put in order and handed to a pack writer.

Entries go by session, segment and index, with their bodies beside them; then
payloads in the order in which entries name them; then what is left; then commit
records and newest heads. So what is alike stands close together.

Spec: spec/ordering.md, "Packing and deleting"; spec/frame.md, "Stored entries".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping

from castore import limits
from castore.catalog.columns import PlaceList, PlaceSet, SortedPlaces
from castore.catalog.database import damaged
from castore.catalog.rows import Place, Run, SegmentRow
from castore.codec import encode_record
from castore.engine import Engine
from castore.engine.view import listed_frames
from castore.formats import frame as frame_format
from castore.formats.entry import Entry
from castore.formats.frame import Record
from castore.formats.stored import stored_form
from castore.packing.accounting import Accounting
from castore.packing.versions import Versions
from castore.packing.writer import Block, Descriptor, PackWriter
from castore.reading.blobs import chunk_list
from castore.reading.frames import Frame
from castore.reading.image import commits, heads, name_at, read_run


_NAMES_MAX = 20_000  # payloads looked up at once: often named twice in a row
_TABLE_COUNT = 1000  # commit records and heads in one frame


class Carrier:
    """
    Copies what is alive in *inputs* (file id to stop) to *writer*.

    Attributes:
        places: Where the blobs stand afterwards.

        runs: Where the entries stand afterwards.
    """

    def __init__(
        self,
        engine: Engine,
        inputs: Mapping[bytes, int],
        dead: Collection[bytes],
        writer: PackWriter,
        progress: Callable[[int], None] | None,
        deleting: Collection[bytes] = frozenset(),
    ) -> None:
        self._engine = engine
        self._view = engine.view
        self._inputs = inputs
        self._dead = frozenset(dead)
        self._deleting = frozenset(deleting)
        self._writer = writer
        self._progress = progress
        self._block = Block(writer)
        self._written = PlaceSet()
        self._named = PlaceSet()
        self._payloads = PlaceList()
        self._waiting: dict[bytes, None] = {}  # names to look up, in order
        self._versions = Versions(engine, inputs, self._dead)
        self._chunks: list[bytes] = []
        self._ref_lists: list[Place] = []
        self._covered: dict[bytes, list[tuple[int, int]]] = {}
        self._left_out: list[Place] = []
        self._raw_size = 0

    @property
    def places(self) -> SortedPlaces:
        """Where the blobs stand afterwards."""
        return self._block.places

    @property
    def runs(self) -> list[Run]:
        """Where the entries stand afterwards."""
        return self._block.runs

    def carry(self) -> None:
        """
        Write everything that is alive.

        Raises:
            CorruptionError: Something cannot be read; nothing was replaced.
        """
        rows = sorted(
            self._view.known.segments(), key=lambda row: (row.session, row.id)
        )
        for row in rows:
            self._carry_segment(row)
        self._block.flush()
        self._carry_chunks()
        self._carry_versions()
        self._look_up()
        for place in self._payloads:
            self._carry_place(place)
            self._carry_chunks()
        for place in self._view.known.places():
            self._carry_place(place)
            self._carry_chunks()
        self._block.flush()
        self._carry_ref_lists()
        self._carry_tables()
        for place in self._left_out:
            self._carry_place(place)
        self._block.flush()

    # --- entries -------------------------------------------------------------

    def _carry_segment(self, row: SegmentRow) -> None:
        stop = self._stop_of(row)
        pending: list[Entry] = []
        ref_count = 0  # in them, and perhaps in some before
        for run in self._view.known.runs(row.id, row.fork_index, stop):
            self._cover(run)
            if run.file not in self._inputs:
                pending = self._end_run(row.id, pending)
                continue
            if pending and pending[-1].index + 1 != run.first:
                pending = self._end_run(row.id, pending)
            self._versions.begin(row, max(run.first, row.fork_index))
            frame, header, body_frame = self._view.logs.load(run)
            for entry in read_run(frame, header, body_frame.bodies):
                if entry.index >= stop:
                    break
                if self._block.is_full:
                    pending = self._end_run(row.id, pending)
                    self._block.flush()
                self._carry_blob(entry.body.digest)
                if entry.body.size <= limits.BLOCK_SIZE:
                    self._carry_chunks()
                for ref in self._versions.take(entry):
                    self._name(ref.blob.digest)
                pending.append(entry)
                ref_count += len(entry.refs)
                if (
                    len(pending) >= limits.RUN_COUNT
                    or ref_count >= limits.RUN_REF_COUNT
                ):
                    pending, ref_count = self._end_run(row.id, pending), 0
        self._end_run(row.id, pending)

    def _cover(self, run: Run) -> None:
        """Take note that *run* is carried or stands in another file."""
        spans = self._covered.setdefault(run.segment, [])
        first, stop = run.first, run.first + run.count
        if spans and first <= spans[-1][1]:
            first, stop = spans[-1][0], max(stop, spans.pop()[1])
        spans.append((first, stop))

    def _stop_of(self, row: SegmentRow) -> int:
        """Return up to where the entries of *row* are needed."""
        if not self._is_deleted(row.id):
            return row.count
        heirs = self._view.known.children(row.id)
        counts = (heir.fork_index for heir in heirs if heir.id not in self._deleting)
        return max(counts, default=0)

    def _is_deleted(self, segment: bytes) -> bool:
        deleted = self._view.known.find_deleted(segment) is not None
        return deleted or segment in self._deleting

    def _end_run(self, segment: bytes, entries: list[Entry]) -> list[Entry]:
        """Add *entries* as one record to the block; return an empty list."""
        if not entries:
            return entries
        payload = encode_record(stored_form(entries, self._block.number_of))
        first = entries[0]
        descriptor: Descriptor = [
            frame_format.ENTRIES,
            len(payload),
            segment,
            first.index,
            first.prev,
            len(entries),
            0,
        ]
        self._block.add_run(descriptor, payload)
        return []

    # --- blobs ---------------------------------------------------------------

    def _name(self, digest: bytes) -> None:
        """Have the payload *digest* carried behind those that were named before."""
        self._waiting[digest] = None
        if len(self._waiting) >= _NAMES_MAX:
            self._look_up()

    def _look_up(self) -> None:
        """Find where the payloads stand that were named: many at once."""
        found = self._view.known.find_places(list(self._waiting))
        for digest in self._waiting:
            place = found.get(digest)
            if place and place.file in self._inputs and self._named.add(place):
                self._payloads.add(place)
        self._waiting = {}

    def _carry_blob(self, digest: bytes) -> None:
        place = self._view.known.find_place(digest)
        if place is not None:
            self._carry_place(place)

    def _carry_chunks(self) -> None:
        """Carry the chunks of what was carried, in their order: so they are read."""
        chunks, self._chunks = self._chunks, []
        for digest in chunks:
            self._carry_blob(digest)

    def _carry_place(self, place: Place) -> None:
        digest = place.digest
        unwanted = place.file not in self._inputs or digest in self._dead
        if unwanted or not self._written.add(place):
            return
        frame = self._view.frames.get(place.file, place.offset)
        if name_at(frame, place.record) != digest:
            raise damaged("a place is not that of its blob")
        record = frame.records[place.record]
        if record.kind == frame_format.REF_LIST:
            self._ref_lists.append(place)
            return
        if record.kind == frame_format.CHUNKED:
            self._chunks += [name for name, _ in chunk_list(digest, record).chunks]
        descriptor, payload = self._form(digest, record)
        self._block.add_body(digest, place.size, descriptor, payload)
        self._count(len(payload))
        if self._block.is_full and not self._block.has_runs:
            self._block.flush()

    def _carry_versions(self) -> None:
        """Carry the payloads of slots, each stored against its neighbour."""
        for digest, size, descriptor, payload in self._versions.stored():
            place = self._view.known.find_place(digest)
            if place is not None:
                self._written.add(place)
            self._block.add_body(digest, size, descriptor, memoryview(payload))
            self._count(size)
            if self._block.is_full:
                self._block.flush()

    def _form(self, digest: bytes, record: Record) -> tuple[Descriptor, memoryview]:
        """Return the record as it is, or whole where its base is not kept."""
        if record.kind == frame_format.DIFFERENCE:
            base = record.descriptor[4]
            if base in self._dead or self._view.known.find_place(base) is None:
                data = self._view.blobs.read(digest)
                return [frame_format.BLOB, len(data)], memoryview(data)
        return list(record.descriptor), record.payload

    def _count(self, size: int) -> None:
        self._raw_size += size
        if self._progress is not None:
            self._progress(self._raw_size)

    # --- the rest ------------------------------------------------------------

    def _carry_ref_lists(self) -> None:
        for place in self._ref_lists:
            frame = self._view.frames.get(place.file, place.offset)
            record = frame.records[place.record]
            file, offset = self._writer.write([record.descriptor], [record.payload])
            self._block.places.add(Place(place.digest, file, offset, 0, place.size))

    def _carry_tables(self) -> None:
        """Carry commit records, newest heads and records of unknown kinds."""
        table: list[Descriptor] = []
        payloads: list[memoryview] = []
        for descriptor, payload in self._loose_records():
            table.append(descriptor)
            payloads.append(payload)
            if len(table) >= _TABLE_COUNT:
                self._writer.write(table, payloads)
                table, payloads = [], []
        if table:
            self._writer.write(table, payloads)

    def _accounting(self) -> Accounting:
        return Accounting(
            self._view,
            self._engine.store,
            inputs=self._inputs,
            written=self._written,
            dead=self._dead,
            is_deleted=self._is_deleted,
            covered=self._covered,
        )

    def _loose_records(self) -> Iterator[tuple[Descriptor, memoryview]]:
        none = memoryview(b"")
        files = self._engine.state.opened
        accounting = self._accounting()
        for name, stop in sorted(self._inputs.items()):
            file = files.get(name)
            for frame in listed_frames(file, stop):
                self._left_out += accounting.left_out(frame, file.header.kind)
                for commit, _ in commits(frame):
                    yield [frame_format.COMMIT, 0, commit.record()], none
                for head, _ in heads(frame, self._engine.store):
                    row = self._view.known.find_segment(head.segment)
                    newest = row is not None and row.head == head.encode()
                    if newest and not self._is_deleted(head.segment):
                        yield [frame_format.HEAD, 0, head.record()], none
                yield from _unknown(frame)


def _unknown(frame: Frame) -> Iterator[tuple[Descriptor, memoryview]]:
    if all(item[0] <= frame_format.FOOTER for item in frame.table):
        return
    for record in frame.records:
        if record.kind > frame_format.FOOTER:
            yield list(record.descriptor), record.payload
