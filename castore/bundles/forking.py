"""
A segment that went on otherwise here: what a bundle has of it becomes a fork.

Its entries get other places, and so other hashes; kinds, bodies, references and
times stay.

Spec: spec/bundle.md, "Taking in".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from castore import merkle
from castore.bundles.planning import Step, diverged
from castore.catalog.rows import SegmentRow
from castore.engine import Engine
from castore.engine.change import Adoption
from castore.engine.expect import Expect
from castore.engine.fold import grow
from castore.engine.putting import keep_bytes
from castore.formats import frame as frame_format
from castore.formats.entry import START, BlobRef, Entry, Origin, Start
from castore.formats.stored import encode_stored, entries_of, stored_form
from castore.formats.trees import SEGMENT_TREE
from castore.reading.frames import Bodies
from castore.writing import new_id


#: Descriptor and payload of a record.
Record = tuple[list[Any], bytes]


class Forking:
    """
    Finds where a log of a bundle leaves the one here, and makes the fork.

    Attributes:
        segment: Id of the fork.

        body: Body of its start entry.

        entry_count: Entries of the bundle that it has.
    """

    def __init__(self, engine: Engine, step: Step, here: SegmentRow) -> None:
        self.segment = new_id()
        self.body: BlobRef = keep_bytes(engine, b"")
        self.entry_count = 0
        self._engine = engine
        self._step = step
        self._here = here
        self._at = -1  # count that it inherits, once that is known
        self._count = 0
        self._last = b""
        self._peaks: list[bytes] = []
        self._nodes: list[tuple[int, int, bytes]] = []
        self._start: Start | None = None

    def take(
        self, entries: Sequence[Entry], bodies: Bodies, *, with_bodies: bool
    ) -> list[Record]:
        """
        Return the records of the fork that come of the next *entries*.

        Args:
            entries: Of a run.

            bodies: Of its body frame.

            with_bodies: Whether it has one.

        Raises:
            ConflictError: Nothing of the log is that of the one here.
        """
        records = []
        if self._start is None:
            common = self._common(entries)
            if common == len(entries):
                return []
            records.append(self._begin(entries[common]))
            entries = entries[common:]
        numbers = {digest: number for number, (digest, _) in enumerate(bodies)}
        stored = stored_form(entries, numbers.get if with_bodies else _nowhere)
        self.entry_count += len(entries)
        records.append(self._record(stored, list(bodies), with_bodies=with_bodies))
        return records

    def adoption(self) -> Adoption:
        """Return what it becomes."""
        return Adoption(
            self._step.row.session,
            self.segment,
            self._at,
            self._count,
            self._last,
            self._peaks,
            self._nodes,
            Expect.ABSENT,
            self._start,
            (),
        )

    def _common(self, entries: Sequence[Entry]) -> int:
        """Return how many of *entries* the log here has."""
        first, stop = entries[0].index, entries[-1].index + 1
        stop = min(stop, self._here.count)
        if first >= stop:
            return 0
        hashes = self._engine.view.logs.hashes(self._here, first, stop)
        for number, (entry, digest) in enumerate(zip(entries, hashes, strict=False)):
            if entry.hash != digest:
                return number
        return len(hashes)

    def _begin(self, entry: Entry) -> Record:
        """Return the record of the fork's start entry, in place of *entry*."""
        logs, here, at = self._engine.view.logs, self._here, entry.index
        last = logs.last_hash(here, at) if at else b""
        if at <= here.fork_index or last != entry.prev:
            raise diverged(self._step.row, "nothing of it is here")
        self._at = self._count = at
        self._last = last
        self._peaks = logs.peaks_at(here, at)
        root = merkle.root(SEGMENT_TREE, self._peaks)
        origin = Origin(here.session, here.id, at, root, last)
        self._start = Start(here.session, self.segment, "fork", origin)
        body = [self.body.digest, self.body.size]
        item: list[Any] = [None, START, body, [], self._start.record()]
        return self._record([item], [], with_bodies=False)

    def _record(
        self,
        stored: list[list[Any]],
        bodies: Sequence[tuple[bytes, int]],
        *,
        with_bodies: bool,
    ) -> Record:
        payload = encode_stored(stored)
        place = [self.segment, self._count, self._last, len(stored), int(with_bodies)]
        placed = entries_of(
            stored, first_index=self._count, prev=self._last, bodies=bodies
        )
        hashes = [item[0] for item in placed]
        self._peaks, closed = grow(self._peaks, self._count, hashes, SEGMENT_TREE)
        self._nodes += closed
        self._count += len(hashes)
        self._last = hashes[-1]
        return [frame_format.ENTRIES, len(payload), *place], payload


def _nowhere(_: bytes) -> None:
    return None
