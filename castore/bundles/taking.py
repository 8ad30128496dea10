"""
What of a bundle goes into packs of this store, and what its segments become.

Spec: spec/bundle.md, "Taking in".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from castore import merkle
from castore.bundles.checking import Checked
from castore.bundles.forking import Forking
from castore.bundles.groups import BLOBS, ENTRIES, Bounds, first_frame, frames
from castore.bundles.opening import BundleFile
from castore.bundles.planning import State, Step
from castore.catalog.rows import Facts, Run
from castore.engine import Engine
from castore.engine.change import Adoption
from castore.engine.expect import Expect
from castore.engine.fold import grow, split_peaks
from castore.engine.view import places_of
from castore.errors import CorruptionError
from castore.formats import frame as frame_format
from castore.formats import storelog
from castore.formats.entry import Entry, Reference, Start
from castore.formats.stored import encode_stored, stored_form
from castore.formats.trees import SEGMENT_TREE
from castore.packing.writer import PackWriter
from castore.reading.frames import Bodies, Frame
from castore.reading.image import RunHeader, read_run, run_headers, stored_blobs


# What was left out or lost comes back with a bundle; what was removed does not.
_MENDED = (None, storelog.WITHHELD, storelog.LOST)


@attrs.define
class _Growing:
    """A segment while its entries come."""

    step: Step
    count: int
    peaks: list[bytes]
    nodes: list[tuple[int, int, bytes]] = attrs.Factory(list)
    last: bytes = b""
    start: Start | None = None
    start_refs: tuple[Reference, ...] = ()

    @classmethod
    def of(cls, step: Step) -> _Growing:
        """Return the segment as it is before."""
        if step.here is None:
            return cls(step, step.start, list(step.row.peaks))
        return cls(step, step.start, split_peaks(step.here.peaks))

    def take(self, entries: Sequence[Entry]) -> None:
        """Take in the next entries."""
        hashes = [entry.hash for entry in entries]
        self.peaks, closed = grow(self.peaks, self.count, hashes, SEGMENT_TREE)
        self.nodes += closed
        if self.step.here is None and self.count == self.step.row.fork_index:
            self.start, self.start_refs = entries[0].start, entries[0].refs
        self.count += len(hashes)
        self.last = hashes[-1]

    def adoption(self) -> Adoption:
        """Return what it becomes."""
        row, here = self.step.row, self.step.here
        return Adoption(
            row.session,
            row.segment,
            row.fork_index,
            self.count,
            self.last,
            self.peaks,
            self.nodes,
            Expect.ABSENT if here is None else here.revision,
            self.start,
            self.start_refs,
        )


class Taker:
    """
    Copies what is new of a bundle that was checked into packs.

    Attributes:
        facts: Where blobs and entries stand in them.

        entry_count: Entries that were taken in.

        blob_count: Blobs and ref lists.
    """

    def __init__(
        self, engine: Engine, steps: Sequence[Step], writer: PackWriter
    ) -> None:
        self.facts = Facts()
        self.entry_count = self.blob_count = 0
        self._known = engine.view.known
        self._writer = writer
        self._forking = {
            step.row.segment: Forking(engine, step, step.here)
            for step in steps
            if step.state is State.FORKED and step.here is not None
        }
        self._growing = {
            step.row.segment: _Growing.of(step)
            for step in steps
            if step.state in (State.NEW, State.GROWN)
        }

    def take(self, checked: Checked, file: BundleFile) -> None:
        """
        Copy what is new.

        Raises:
            CorruptionError: The file is not the one any more that was checked.
        """
        first, _ = first_frame(file)
        waiting: Frame | None = None
        is_new = False
        last = first.hash
        for sort, frame in frames(file, first.end, Bounds(file.size())):
            last = frame.hash
            body_frame = frame if sort == BLOBS else None
            if waiting is not None:
                is_new = self._take_entries(waiting, body_frame)
                waiting = None
            if sort == ENTRIES:
                self._writer.may_roll()
                waiting = frame
            elif is_new or self._is_missed(frame):
                self._carry(frame)
        if waiting is not None:
            self._take_entries(waiting, None)
        same = all(
            checked.roots[segment, found.step.row.stop]
            == merkle.root(SEGMENT_TREE, found.peaks)
            for segment, found in self._growing.items()
        )
        if last != checked.end or not same:
            raise CorruptionError(
                what="the file changed while it was read",
                verdict="corrupt frame",
                where=file.name,
            )

    def adoptions(self) -> tuple[Adoption, ...]:
        """Return what the segments become, in the order of the bundle."""
        grown = [found.adoption() for found in self._growing.values()]
        return (*grown, *(found.adoption() for found in self._forking.values()))

    @property
    def forks(self) -> dict[bytes, Forking]:
        """What became of segments that went on otherwise here."""
        return self._forking

    # --- payloads ------------------------------------------------------------

    def _carry(self, frame: Frame) -> None:
        file, offset = self._writer.write_part(frame.stored_part, frame.table)
        places = places_of(frame)
        self.blob_count += len(places)
        self.facts.places += [
            place._replace(file=file, offset=offset) for place in places
        ]

    def _is_missed(self, frame: Frame) -> bool:
        """Whether something in *frame*, of entries that are here, is not here."""
        names = [blob.digest for blob in stored_blobs(frame)]
        there = self._known.find_places(names)
        return any(name not in there and self._is_mended(name) for name in names)

    def _is_mended(self, name: bytes) -> bool:
        row = self._known.find_absence(name)
        return (row.how if row is not None else None) in _MENDED

    # --- entries -------------------------------------------------------------

    def _take_entries(self, frame: Frame, body_frame: Frame | None) -> bool:
        """Copy the new entries of *frame*; return whether there are some."""
        records: list[tuple[list[Any], bytes | memoryview]] = []
        for header in run_headers(frame):
            bodies = Bodies(frame.records)
            if header.bodies and body_frame is not None:
                bodies = body_frame.bodies
            records += self._records(frame, header, bodies)
        if not records:
            return False
        table = [descriptor for descriptor, _ in records]
        self._write_entries(table, [payload for _, payload in records], frame)
        return True

    def _records(
        self, frame: Frame, header: RunHeader, bodies: Bodies
    ) -> Iterator[tuple[list[Any], bytes | memoryview]]:
        """Yield what of a run is new."""
        forking = self._forking.get(header.segment)
        if forking is not None:
            entries = read_run(frame, header, bodies)
            before = forking.entry_count
            yield from forking.take(entries, bodies, with_bodies=bool(header.bodies))
            self.entry_count += forking.entry_count - before
        found = self._growing.get(header.segment)
        if found is None or header.first + header.count <= found.count:
            return
        entries = read_run(frame, header, bodies)[found.count - header.first :]
        found.take(entries)
        self.entry_count += len(entries)
        if len(entries) < header.count:
            yield _run_of(header, entries, bodies)
        else:
            payload = frame.records.payload(header.record)
            yield frame.table[header.record], payload

    def _write_entries(
        self,
        table: list[list[Any]],
        payloads: list[bytes | memoryview],
        source: Frame,
    ) -> None:
        if table == source.table:
            file, offset = self._writer.write_part(source.stored_part, table)
        else:
            file, offset = self._writer.write(table, payloads)
        for number, item in enumerate(table):
            run = Run(item[2], item[3], item[5], file, offset, number)
            self.facts.runs.append(run)


def _run_of(
    header: RunHeader, entries: Sequence[Entry], bodies: Bodies
) -> tuple[list[Any], bytes]:
    """Return the record of the last *entries* of a run."""
    numbers = {digest: number for number, (digest, _) in enumerate(bodies)}
    payload = encode_stored(stored_form(entries, numbers.get))
    first = entries[0]
    place = [header.segment, first.index, first.prev, len(entries), header.bodies]
    return [frame_format.ENTRIES, len(payload), *place], payload
