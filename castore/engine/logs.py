"""
Reading logs: entries by index, whoever owns them, and hashes of their trees.

Spec: spec/entry.md; spec/merkle.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from castore import limits, merkle
from castore.catalog.rows import Catalog, Run, SegmentRow
from castore.engine.expect import living, newest_head
from castore.engine.fold import split_peaks
from castore.engine.frames import FrameCache, missing_file
from castore.errors import CastoreError, CorruptionError, NotFoundError
from castore.formats.entry import Entry
from castore.formats.refuse import placed
from castore.formats.trees import tree_of
from castore.reading.contents import read_stored_run
from castore.reading.frames import Frame
from castore.reading.image import (
    RunHeader,
    read_numbered,
    read_run,
    run_hashes,
    run_header,
)
from castore.reading.stored import StoredRun


_HASHED_RUNS_MAX = 64  # runs whose hashes are kept, 16 KiB each


def truncated(segment: bytes, index: int) -> CorruptionError:
    """Return the error for an entry that a head covers and no file has."""
    return CorruptionError(
        what="an entry that the head covers is not there",
        verdict="truncated log",
        where=f"segment:{segment.hex()}[{index}]",
    )


@attrs.frozen(eq=False)
class Loaded:
    """
    A run that was read, and the part ``[first, last)`` of it that is wanted.
    """

    run: Run
    first: int
    last: int
    frame: Frame
    header: RunHeader
    body_frame: Frame

    def entries(self) -> list[Entry]:
        """Return all entries of the run."""
        return read_run(self.frame, self.header, self.body_frame.bodies)

    @property
    def wanted(self) -> slice:
        """Which of the run's entries are wanted."""
        return slice(self.first - self.run.first, self.last - self.run.first)


class Logs:
    """
    Entries and trees of the segments that *view* knows.

    Where a file was packed away between the look-up and the read, *newest* is asked
    for the logs of the newest view, and the look-up repeated there.
    """

    def __init__(
        self,
        view: Catalog,
        frames: FrameCache,
        store: bytes,
        newest: Callable[[CastoreError], Logs],
    ) -> None:
        self._view = view
        self._frames = frames
        self._store = store
        self._newest = newest
        # A fork asks for its tree, then for its last entry; proofs for a log's end.
        self._hashed: dict[Run, tuple[bytes, list[bytes]]] = {}

    def pieces(
        self, row: SegmentRow, start: int, stop: int
    ) -> list[tuple[bytes, int, int]]:
        """
        Return who owns ``[start, stop)`` of *row*'s log: (owner, start, stop) in order.

        Raises:
            CorruptionError: ``truncated log``: the lineage is not all there.

            GoneError: As `runs`.
        """
        found: list[tuple[bytes, int, int]] = []
        log = row
        while start < stop:
            if stop > row.fork_index:
                found.append((row.id, max(start, row.fork_index), stop))
                stop = max(start, row.fork_index)
            if start < stop:
                parent = self._view.find_segment(row.parent) if row.parent else None
                if parent is None:
                    raise self._missing(log, row.id, stop - 1)
                row = parent
        return found[::-1]

    def runs(
        self, row: SegmentRow, start: int, stop: int
    ) -> Iterator[tuple[Run, int, int]]:
        """
        Yield the runs of ``[start, stop)`` in order, each with the part wanted of it.

        Raises:
            CorruptionError: ``truncated log``: there is a gap.

            GoneError: The log was deleted since *row* was looked up, and no other
                inherits from it.
        """
        for owner, first, last in self.pieces(row, start, stop):
            at = first
            for run in self._view.runs(owner, first, last):
                if run.first > at:
                    break
                end = min(run.first + run.count, last)
                if end > at:
                    yield run, at, end
                    at = end
            if at < last:
                raise self._missing(row, owner, at)

    def _missing(self, row: SegmentRow, owner: bytes, index: int) -> CorruptionError:
        """
        Return the error for entry *index* of *owner*, which *row*'s log wants and
        which nothing says where it stands.

        Raises:
            GoneError: That log was deleted since *row* was looked up, and no other
                inherits from it.
        """
        # Others delete logs that somebody reads. Where they bring the catalog past
        # that, a log of which this view still has the head is not all there.
        error = truncated(owner, index)
        self._newest(error).check_kept(row.id)
        return error

    def check_kept(self, segment: bytes) -> None:
        """
        Refuse a segment that was deleted, unless others inherit from it.

        Raises:
            GoneError: It was.
        """
        if self._view.find_segment(segment) is None:
            living(self._view, segment)

    def load(self, run: Run) -> tuple[Frame, RunHeader, Frame]:
        """Return the frame of *run*, its header, and its body frame."""
        frame = self._frames.get(run.file, run.offset)
        header = run_header(frame, run.record)
        wanted = (run.segment, run.first, run.count)
        if header is None or (header.segment, header.first, header.count) != wanted:
            raise truncated(run.segment, run.first)
        return frame, header, self._frames.after(frame) if header.bodies else frame

    def loaded(
        self, row: SegmentRow, start: int, stop: int, *, reverse: bool = False
    ) -> Iterator[Loaded]:
        """
        Yield the runs of ``[start, stop)``, read, the newest first if *reverse*.

        Raises:
            CorruptionError: ``truncated log``: there is a gap; ``missing pack``.

            GoneError: As `runs`.
        """
        logs = self
        gone: Run | None = None
        while start < stop:
            runs = logs.runs(row, start, stop)
            for run, first, last in reversed(list(runs)) if reverse else runs:
                try:
                    found = logs.load(run)
                except NotFoundError as error:
                    if run == gone:
                        raise missing_file(run.file) from error
                    logs, gone = logs._newest(error), run
                    break
                yield Loaded(run, first, last, *found)
                if reverse:
                    stop = first
                else:
                    start = last

    def entries(self, row: SegmentRow, start: int, stop: int) -> Iterator[Entry]:
        """
        Yield the entries ``[start, stop)`` of *row*'s log, linked to each other.

        Raises:
            CorruptionError: ``broken link`` or what a frame is refused for.
        """
        prev: bytes | None = None
        for part in self.loaded(row, start, stop):
            entries = part.entries()[part.wanted]
            check_link(part.run.segment, entries[0], prev)
            prev = entries[-1].hash
            check_last(row, part.last, prev)
            yield from entries

    def stored_runs(
        self, row: SegmentRow, start: int, stop: int
    ) -> Iterator[tuple[StoredRun, int, int]]:
        """
        Yield what is remembered of the runs that hold ``[start, stop)`` of *row*'s
        log, newest first, each with the part wanted of it; checked as `entries`.
        """
        prev: bytes | None = None  # as the run behind names it
        for part in self.loaded(row, start, stop, reverse=True):
            frame, header, bodies = part.frame, part.header, part.body_frame.bodies
            payload = frame.records.payload(header.record)
            place = (frame.file, frame.offset)
            with placed(frame.where):
                found = read_stored_run(header, payload, place, None, bodies)
            last = found.hash_at(part.last - 1)
            if prev not in (None, last):
                raise broken_link(part.run.segment, part.last)
            check_last(row, part.last, last)
            prev = found.prev_at(part.first)
            yield found, part.first, part.last

    def entries_reversed(
        self, row: SegmentRow, start: int, stop: int
    ) -> Iterator[Entry]:
        """
        Yield the entries ``[start, stop)``, newest first; as `entries`.
        """
        following: Entry | None = None
        for part in self.loaded(row, start, stop, reverse=True):
            entries = part.entries()[part.wanted]
            check_last(row, part.last, entries[-1].hash)
            for entry in reversed(entries):
                if following is not None:
                    check_link(part.run.segment, following, entry.hash)
                yield entry
                following = entry

    def with_bodies(
        self, row: SegmentRow, start: int, stop: int, read: Callable[[bytes], bytes]
    ) -> Iterator[tuple[Entry, bytes]]:
        """
        Yield the entries ``[start, stop)`` with their bodies; as `entries`.

        Args:
            row: The segment.

            start: First index.

            stop: Index behind the last.

            read: Asked for the bodies that do not stand beside their entries.
        """
        prev: bytes | None = None
        for part in self.loaded(row, start, stop):
            bodies = part.body_frame.bodies
            entries, numbers = read_numbered(part.frame, part.header, bodies)
            entries, numbers = entries[part.wanted], numbers[part.wanted]
            check_link(part.run.segment, entries[0], prev)
            prev = entries[-1].hash
            check_last(row, part.last, prev)
            for entry, number in zip(entries, numbers, strict=True):
                if number is None:
                    yield entry, read(entry.body.digest)
                else:  # its name was computed from these bytes
                    yield entry, bytes(bodies.payload(number))

    def hashes(self, row: SegmentRow, start: int, stop: int) -> list[bytes]:
        """
        Return the entry hashes ``[start, stop)`` of *row*'s log, linked.

        Raises:
            CorruptionError: As `entries`.
        """
        found: list[bytes] = []
        for part in self.loaded(row, start, stop):
            prev, hashes = self._hash_run(part)
            if found and part.run.first == part.first and prev != found[-1]:
                raise broken_link(part.run.segment, part.first)
            wanted = hashes[part.wanted]
            check_last(row, part.last, wanted[-1])
            found += wanted
        return found

    def last_hash(self, row: SegmentRow, count: int) -> bytes:
        """Return the hash of the last of the first *count* entries of *row*'s log."""
        if count == row.count:
            return newest_head(row).last
        return self.hashes(row, count - 1, count)[0]

    def _hash_run(self, part: Loaded) -> tuple[bytes, list[bytes]]:
        """Return the ``prev`` of a run and the hashes of its entries, up to `last`."""
        count = part.last - part.run.first
        known = self._hashed.get(part.run)
        if known is None or len(known[1]) < count:
            bodies = part.body_frame.bodies
            hashes = run_hashes(part.frame, part.header, bodies, count)
            known = part.header.prev, hashes
            if len(self._hashed) >= _HASHED_RUNS_MAX:
                self._hashed = {}
            self._hashed[part.run] = known
        return known

    def read_tree(
        self, row: SegmentRow, positions: Sequence[merkle.Position]
    ) -> list[bytes]:
        """
        Return the hashes of complete subtrees of *row*'s log.

        Large ones come from the catalog where it has them; the rest is computed
        from the entries around them.
        """
        tree = tree_of(row.id, self._store)
        large = [pos for pos in positions if pos[0] >= limits.NODE_LEVEL_MIN]
        wanted = []
        for level, index in large:
            last = ((index + 1) << level) - 1
            owner = self.pieces(row, last, last + 1)[0][0]
            wanted.append((owner, level, index))
        known = dict(zip(large, self._view.find_nodes(wanted), strict=True))
        missing = [pos for pos in positions if not known.get(pos)]
        computed = self._subtrees(row, tree, missing)
        return [known.get(pos) or computed[pos] for pos in positions]

    def _subtrees(
        self, row: SegmentRow, tree: merkle.Tree, positions: list[merkle.Position]
    ) -> dict[merkle.Position, bytes]:
        """Compute subtrees from entries, reading those that lie together once."""
        found = {}
        blocks: dict[int, list[merkle.Position]] = {}
        for level, index in positions:
            block = index << level >> limits.NODE_LEVEL_MIN
            blocks.setdefault(block, []).append((level, index))
        for wanted in blocks.values():
            first = min(index << level for level, index in wanted)
            last = max(index + 1 << level for level, index in wanted)
            hashes = self.hashes(row, first, last)
            for level, index in wanted:
                start = (index << level) - first
                leaves = hashes[start : start + (1 << level)]
                found[level, index] = merkle.complete(tree, [*map(tree.leaf, leaves)])
        return found

    def peaks_at(self, row: SegmentRow, count: int) -> list[bytes]:
        """Return the peaks that *row*'s log had at *count* entries."""
        if count == row.count and row.peaks:  # a deleted one's are not kept
            return split_peaks(row.peaks)
        return merkle.peaks_at(count, lambda positions: self.read_tree(row, positions))


def check_last(row: SegmentRow, stop: int, last: bytes) -> None:
    """
    Refuse a log that ends at *stop* with another entry than its head says.

    Nothing follows the last entry that would name it, so the head has to.

    Raises:
        CorruptionError: ``wrong head``.
    """
    if stop == row.count and last != newest_head(row).last:
        raise CorruptionError(
            what="the last entry is not the one that the head names",
            verdict="wrong head",
            where=f"segment:{row.id.hex()}",
        )


def check_link(segment: bytes, entry: Entry, prev: bytes | None) -> None:
    """
    Refuse an entry whose ``prev`` is not *prev* (where that is known).

    Raises:
        CorruptionError: ``broken link``.
    """
    if prev is not None and entry.prev != prev:
        raise broken_link(segment, entry.index)


def broken_link(segment: bytes, index: int) -> CorruptionError:
    """Return the error for an entry that does not follow the one before."""
    return CorruptionError(
        what="prev is not the hash of the entry before",
        verdict="broken link",
        where=f"segment:{segment.hex()}[{index}]",
    )
