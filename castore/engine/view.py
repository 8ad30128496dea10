"""
What this process knows: the catalog, and what the journal has beyond it.

Spec: spec/ordering.md, "Commit" step 2, "Reading", "The catalog".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from castore.catalog import Overlay
from castore.catalog.rows import Catalog, Facts, Place, Position, Run, SegmentRow
from castore.engine.adopting import Adopted, Staged
from castore.engine.blobs import Blobs
from castore.engine.fold import CommitImage, Extension, facts_of
from castore.engine.frames import FrameCache
from castore.engine.logs import Logs
from castore.errors import CastoreError, CorruptionError, NotFoundError
from castore.formats import file as file_format
from castore.formats.entry import Entry, Reference, decode_ref_list
from castore.formats.storelog import StoreLog
from castore.reading.files import OpenFile, OpenFiles
from castore.reading.frames import Frame, Gap, read_frame, walk
from castore.reading.image import (
    check_journal_frame,
    commits,
    heads,
    read_run,
    run_headers,
    stored_blobs,
)


class View:
    """
    Catalog and overlay, made up to a position on the journals.

    Not for threads: the engine serialises what changes it. Its readers may be used by
    many; where a file was packed away under them, they go on with *newest*'s answer.

    Attributes:
        known: Catalog plus overlay; answers as of `position`.

        frames: Frames by place.

        blobs: Payloads.

        logs: Entries.
    """

    def __init__(
        self,
        base: Catalog,
        files: OpenFiles,
        store: bytes,
        newest: Callable[[CastoreError], View],
    ) -> None:
        self._base = base
        self._files = files
        self._store = store
        self.frames = FrameCache(files)
        self.known = Overlay(base)
        self.blobs = Blobs(self.known, self.frames, lambda error: newest(error).blobs)
        self.logs = Logs(
            self.known, self.frames, store, lambda error: newest(error).logs
        )
        self._side_ends: dict[bytes, int] = {}
        self.pending_size = 0

    @property
    def position(self) -> Position:
        """How far this view is made."""
        position = self.known.position()
        if position is None:
            raise CorruptionError(
                what="the catalog is empty", verdict="catalog differs", where="catalog"
            )
        return position

    def peaks_at(self, segment: bytes, count: int) -> list[bytes]:
        """Return the peaks of *segment*'s log at *count* entries."""
        row = self.known.find_segment(segment)
        if row is None:
            raise NotFoundError(what=f"no segment {segment.hex()}")
        return self.logs.peaks_at(row, count)

    def facts(self, image: CommitImage, known: Catalog) -> Facts:
        """
        Return what *image* changes in *known*: `known`, perhaps with the commits
        before it in its group.
        """
        adopts = any(not extension.hashes for extension in image.extensions)
        listed = self._listed(image)
        if adopts:
            staged = Staged(known, listed, self.frames, self._store)
            facts = staged.facts(image)
        else:
            facts = facts_of(image, known, self._store, self.peaks_at)
        facts.places += listed.places
        facts.runs += listed.runs
        facts.gone_places += listed.gone_places
        return facts

    def take(self, facts: Facts, after: Position) -> None:
        """Take in the facts of a commit that is durable up to *after*."""
        self.pending_size += _FACT_SIZE * facts.row_count()
        self.known.apply([facts], after)
        if facts.drop_files:
            self.frames.clear()
            self._files.forget()

    def applied(self, count: int) -> None:
        """Let go of the *count* oldest facts: the catalog has them."""
        self.known.drop(count)
        if not self.known.pending():
            self.pending_size = 0

    def read_log(
        self, row: SegmentRow, start: int, stop: int
    ) -> Iterator[tuple[Entry, bytes]]:
        """Yield the entries ``[start, stop)`` of *row*'s log with their bodies."""
        return self.logs.with_bodies(row, start, stop, self.blobs.read)

    def references(self, entry: Entry) -> Iterator[Reference]:
        """
        Yield the payloads of *entry*, through its ref lists.

        Raises:
            CorruptionError: ``missing blob``: a ref list is not there.
        """
        for ref in entry.refs:
            if not ref.flags:
                yield ref
                continue
            yield from self.listed(ref.blob.digest)

    def listed(self, digest: bytes) -> tuple[Reference, ...]:
        """
        Return what the ref list *digest* holds.

        Raises:
            CorruptionError: ``missing blob``: it is not there.
        """
        found = self.blobs.locate(digest)
        if found is None:
            raise CorruptionError(
                what="a list of references is not there",
                verdict="missing blob",
                where=f"blob:{digest.hex()}",
            )
        place, frame = found
        return decode_ref_list(frame.records.payload(place.record))

    # --- catching up ---------------------------------------------------------

    def catch_up(self, journal: bytes, end: int, frame: bytes) -> None:
        """
        Read the journals up to *end* of *journal*, whose last frame is *frame*.

        Raises:
            CorruptionError: What is there does not lead from here to there.

            NotFoundError: A journal between here and there is gone: packed.
        """
        if (self.position.journal, self.position.end) != (journal, end):
            self._drop_known()
        position = self.position
        if (journal, end, frame) == (position.journal, position.end, position.frame):
            return
        for file, start, stop in self._path(position, journal, end):
            held: list[Place] = []
            for item in walk(file, start, stop):
                if isinstance(item, Gap):
                    raise CorruptionError(
                        what=item.what,
                        verdict="corrupt frame",
                        where=f"{file.name}@{item.offset}",
                    )
                held = self._take_frame(item, held)
            self._move(file, stop)
        if (self.position.end, self.position.frame) != (end, frame):
            raise CorruptionError(
                what="the journal does not lead to its mark",
                verdict="truncated log",
                where=f"{file_format.file_name(journal)}@{end}",
            )

    def _drop_known(self) -> None:
        """Let go of the facts that others have applied to the catalog meanwhile."""
        base = self._base.position()
        seq = base.seq if base else -1
        count = sum(at.seq <= seq for _, at in self.known.pending())
        if count:
            self.applied(count)

    def frames_since(self, at: Position) -> Iterator[Frame]:
        """
        Yield the frames of the journals, and of side packs that they name, that
        came after *at*.
        """
        now = self.position
        for file, start, stop in self._path(at, now.journal, now.end):
            for frame in listed_frames(file, stop, start=start):
                yield frame
                for commit, _ in commits(frame):
                    for side, end, _ in commit.sides:
                        yield from listed_frames(self._files.get(side), end)

    def _path(
        self, at: Position, journal: bytes, end: int
    ) -> list[tuple[OpenFile, int, int]]:
        pieces: list[tuple[OpenFile, int, int]] = []
        while journal != at.journal:
            file = self._files.get(journal)
            pieces.append((file, file_format.SIZE, end))
            journal, end = file.header.pred, file.header.pred_end
            if file.header.number <= 1 or len(pieces) > _PATH_MAX:
                raise CorruptionError(
                    what="the catalog's place is not on the chain of journals",
                    verdict="catalog differs",
                    where="catalog",
                )
        if end < at.end:
            raise CorruptionError(
                what="the catalog is ahead of the journal",
                verdict="catalog differs",
                where="catalog",
            )
        # At the end of a journal that is gone by now there is nothing to read.
        if end > at.end or not pieces:
            pieces.append((self._files.get(journal), at.end, end))
        return pieces[::-1]

    def _move(self, file: OpenFile, stop: int) -> None:
        """Be at *stop* of *file*, where only frames without a commit were behind."""
        data = file.read_up_to(32, stop - 32)
        position = self.position._replace(journal=file.id, end=stop, frame=data)
        if position != self.position:
            self.known.apply([Facts()], position)

    def _take_frame(self, frame: Frame, held: list[Place]) -> list[Place]:
        """Take in one frame of a journal; return the places that wait for a commit."""
        check_journal_frame(frame, self._store)
        places = held + places_of(frame)
        if not (found := commits(frame)):
            return places
        commit, digest = found[0]
        position = self.position
        if commit.seq != position.seq + 1 or commit.prev != position.commit:
            raise CorruptionError(
                what=f"commit {commit.seq} does not follow {position.seq}",
                verdict="broken link",
                where=f"seq:{commit.seq}",
            )
        for side, side_end, side_frame in commit.sides:
            places += self._side_places(side, side_end, side_frame)
        image = CommitImage(commit, self._extensions(frame), places)
        after = Position(
            frame.file,
            frame.end,
            frame.hash,
            commit.seq,
            digest,
            position.gc_generation,
        )
        self.take(self.facts(image, self.known), after)
        return []

    def _extensions(self, frame: Frame) -> list[Extension]:
        runs: dict[bytes, list[tuple[Run, list[Entry]]]] = {}
        for header in run_headers(frame):
            entries = read_run(frame, header, frame.bodies)
            place = (frame.file, frame.offset, header.record)
            run = Run(header.segment, header.first, header.count, *place)
            runs.setdefault(header.segment, []).append((run, entries))
        extensions = []
        for head, _ in heads(frame, self._store):
            found = runs.get(head.segment, [])
            entries = [entry for _, some in found for entry in some]
            first = entries[0] if entries else None
            extensions.append(
                Extension(
                    head,
                    [entry.hash for entry in entries],
                    [(run.file, run.offset, run.record, run.count) for run, _ in found],
                    first.start if first else None,
                    first.refs if first and first.start else (),
                    self._log_entries(frame, entries, head.segment),
                )
            )
        return extensions

    def _log_entries(
        self, frame: Frame, entries: list[Entry], segment: bytes
    ) -> list[tuple[int, str, bytes, tuple[Reference, ...]]]:
        if segment != self._store:
            return []
        local = {
            blob.digest: bytes(frame.records[blob.record].payload)
            for blob in stored_blobs(frame)
        }
        found = []
        for entry in entries:
            body = local.get(entry.body.digest)
            if body is None:
                body = self.blobs.read(entry.body.digest)
            found.append((entry.index, entry.kind, body, entry.refs))
        return found

    def _side_places(self, side: bytes, end: int, frame: bytes) -> list[Place]:
        """
        Return what a side pack holds up to *end* that is not known yet.

        One that is gone was packed since: a later entry of the store log says so.
        """
        start = self._side_ends.get(side, file_format.SIZE)
        try:
            file = self._files.get(side)
        except NotFoundError:
            return []
        places: list[Place] = []
        while start < end:
            found = read_frame(file, start, end)
            places += places_of(found)
            start = found.end
            if start == end and found.hash != frame:
                raise CorruptionError(
                    what="a side pack is not what its commit names",
                    verdict="truncated log",
                    where=f"{file.name}@{end}",
                )
        self._side_ends[side] = max(start, end)
        return places

    def _listed(self, image: CommitImage) -> Facts:
        """
        Return places and runs of the packs that a commit of the store log lists.

        What segments of it have there, and not beside it, becomes theirs.
        """
        if image.listed is not None:
            return image.listed
        listed = Facts()
        adopted = Adopted(image, self.frames)
        for extension in image.extensions:
            if not extension.log_entries:
                continue
            log = StoreLog(self._store)
            for index, kind, body, refs in extension.log_entries:
                log.apply(index, kind, body, refs)
            for listing in log.listed.values():
                for frame in listed_frames(self._files.get(listing.file), listing.size):
                    listed.places += places_of(frame)
                    listed.runs += runs_of(frame)
                    adopted.take(frame)
        adopted.settle()
        return listed


_FACT_SIZE = 256  # bytes of memory that a row takes, about
_PATH_MAX = 100_000  # journals between a catalog and the mark


def places_of(frame: Frame) -> list[Place]:
    """Return where the blobs and ref lists of *frame* are."""
    return [
        Place(blob.digest, frame.file, frame.offset, blob.record, blob.size)
        for blob in stored_blobs(frame)
    ]


def runs_of(frame: Frame) -> list[Run]:
    """Return where the runs of entries of *frame* are."""
    return [
        Run(run.segment, run.first, run.count, frame.file, frame.offset, run.record)
        for run in run_headers(frame)
    ]


def listed_frames(
    file: OpenFile, stop: int, *, start: int = file_format.SIZE
) -> Iterator[Frame]:
    """
    Yield the frames ``[start, stop)`` of a file, all of which must be whole.

    Raises:
        CorruptionError: One is not whole.
    """
    for item in walk(file, start, stop):
        if isinstance(item, Gap):
            raise CorruptionError(
                what=item.what,
                verdict="corrupt frame",
                where=f"{file.name}@{item.offset}",
            )
        yield item
