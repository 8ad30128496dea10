"""
What a whole file says: its frames, each decoded once and let go.

Names of whole blobs and hashes of entries are kept, bytes are not. Nothing here
looks beyond one file: which files count, and up to where, is decided with what
they say.

Spec: spec/checking.md, step 4; spec/frame.md, "Stored entries".
"""

from __future__ import annotations

import contextlib

from collections.abc import Callable, Sequence

import attrs

from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.chunked import decode_chunks
from castore.formats.commit import Commit
from castore.formats.entry import Start, parse_start
from castore.formats.head import Head
from castore.formats.refuse import placed
from castore.formats.stored import decode_stored, entries_of
from castore.formats.trees import SEGMENT_TREE
from castore.merkle import Tree
from castore.reading.files import OpenFile
from castore.reading.frames import Frame, Gap, read_frame, walk
from castore.reading.image import (
    RunHeader,
    check_journal_records,
    commits,
    heads,
    run_headers,
    stored_blobs,
)
from castore.reading.stored import (
    NO_BLOBS,
    StoredBlobs,
    StoredRun,
    WantColumns,
    run_subtrees,
)


#: Told how many bytes were walked.
Progress = Callable[[int], None]


@attrs.define(eq=False)
class FrameContents:
    """
    One whole frame.

    Attributes:
        offset: Where it begins.

        end: Where it ends.

        hash: Its frame hash.

        group_start: As it says.

        refusal: Why its records are passed over, None if they are not.

        blobs: Name and place of its blobs and ref lists.

        bases: Base of each difference among them, in order.

        runs: Its entries, as far as they could be read.

        heads: Its heads with their hashes.

        commits: Its commit records with their hashes.
    """

    offset: int
    end: int
    hash: bytes
    group_start: int
    refusal: CorruptionError | None = None
    blobs: StoredBlobs = NO_BLOBS
    bases: Sequence[bytes] = ()
    runs: Sequence[StoredRun] = ()
    heads: Sequence[tuple[Head, bytes]] = ()
    commits: Sequence[tuple[Commit, bytes]] = ()

    def refuse(self, error: CorruptionError) -> None:
        """Pass over the records; the frame stays whole."""
        self.refusal = error
        self.blobs = NO_BLOBS
        self.bases = self.runs = self.heads = self.commits = ()


@attrs.define(eq=False)
class FileContents:
    """
    What stands in ``[188, stop)`` of a file.

    Attributes:
        file: The file.

        stop: Where the last frame had to end at the latest.

        frames: The whole frames, in order.

        gaps: Where a frame should begin and none does.
    """

    file: OpenFile
    stop: int
    frames: list[FrameContents]
    gaps: list[Gap]

    @property
    def end(self) -> int:
        """End of the last whole frame, or of the header."""
        return self.frames[-1].end if self.frames else file_format.SIZE

    def ends_at(self, end: int, frame: bytes) -> bool:
        """Return whether a whole frame with hash *frame* ends at *end*."""
        if end == file_format.SIZE:
            return frame == self.file.hash
        return any(item.end == end and item.hash == frame for item in self.frames)

    def up_to(self, stop: int) -> FileContents:
        """Return the frames that end at *stop* or before, and the gaps before it."""
        frames = [item for item in self.frames if item.end <= stop]
        gaps = [gap for gap in self.gaps if gap.offset < stop]
        return FileContents(self.file, min(stop, self.stop), frames, gaps)


#: Digest and size of each whole blob of a frame.
_Bodies = list[tuple[bytes, int]]

#: Entries of a frame that wait for the bodies in the next: header and payload.
_Waiting = list[tuple[RunHeader, memoryview]]


@attrs.frozen
class Part:
    """
    What stands in a part of a file.

    Attributes:
        frames: The whole frames, in order.

        gaps: Where a frame should begin and none does.

        end: Where the next part begins; None if none can: no whole frame is
            behind, or entries wait for bodies that are.
    """

    frames: list[FrameContents]
    gaps: list[Gap]
    end: int | None


def read_contents(
    file: OpenFile, stop: int, progress: Progress | None = None
) -> FileContents:
    """
    Decode every frame of ``[188, stop)`` once.

    Takes the time of hashing and decompressing the file, some 10 us for each
    entry and 2 us for each blob more. Keeps about 50 bytes for each blob and 70
    for each entry.

    Args:
        file: What to read.

        stop: Where the last frame must end at the latest; cut to the file's end.

        progress: Told the size of each frame and gap.
    """
    stop = min(stop, file.size())
    part = read_part(file, file_format.SIZE, stop, stop, progress)
    return FileContents(file, stop, part.frames, part.gaps)


def read_part(
    file: OpenFile, start: int, end: int, stop: int, progress: Progress | None = None
) -> Part:
    """
    Decode every frame of *file* that begins in ``[start, end)`` once.

    Args:
        file: What to read.

        start: Where a frame begins.

        end: Where to stop.

        stop: Where the last frame must end at the latest; within the file.

        progress: Told the size of each frame and gap.
    """
    part = Part([], [], None)
    pending = _Pending(file)
    at: int | None = start
    for item in walk(file, start, stop):
        at = item.end
        if progress:
            progress((item.end or stop) - item.offset)
        if isinstance(item, Gap):
            part.gaps.append(item)
            pending.settle()
        else:
            found, waiting = _decode(item, file)
            part.frames.append(found)
            bodies = [] if found.refusal else list(item.bodies)
            pending.add(found, waiting, bodies)
            if not waiting:
                pending.settle()
        if at is None or at >= end:
            break
    waits = pending.settle()
    return attrs.evolve(part, end=None if waits else at)


def read_one(file: OpenFile, offset: int, stop: int) -> FrameContents:
    """
    Decode the frame at *offset*, with the bodies that its entries have in the next.

    Raises:
        CorruptionError: ``corrupt frame``: no whole frame stands there.
    """
    frame = read_frame(file, offset, stop)
    found, waiting = _decode(frame, file)
    pending = _Pending(file)
    pending.add(found, waiting, [] if found.refusal else list(frame.bodies))
    if waiting:
        with contextlib.suppress(CorruptionError):
            after = read_frame(file, frame.end, stop)
            item, more = _decode(after, file)
            pending.add(item, more, [] if item.refusal else list(after.bodies))
    pending.settle()
    return found


class _Pending:
    """
    Frames whose entries have their bodies in the next, which may wait itself.

    Whether a frame is refused is known only with the one behind it, so they are
    settled from the last one back.
    """

    def __init__(self, file: OpenFile) -> None:
        self._file = file
        self._frames: list[tuple[FrameContents, _Waiting, _Bodies]] = []

    def add(self, found: FrameContents, waiting: _Waiting, bodies: _Bodies) -> None:
        """Take in the next frame; *bodies* are those that it holds itself."""
        self._frames.append((found, waiting, bodies))

    def settle(self) -> bool:
        """
        Read what waits; behind the last frame is none that can be used.

        Returns whether something waited for one.
        """
        waited = bool(self._frames and self._frames[-1][1])
        after: _Bodies | None = None
        while self._frames:
            found, waiting, bodies = self._frames.pop()
            if waiting and after is not None:
                _complete(found, self._file, waiting, after)
            after = None if found.refusal else bodies
        return waited


def _decode(frame: Frame, file: OpenFile) -> tuple[FrameContents, _Waiting]:
    found = FrameContents(frame.offset, frame.end, frame.hash, frame.header.group_start)
    waiting: _Waiting = []
    try:
        with placed(frame.where):
            waiting = _fill(found, frame, file)
    except CorruptionError as error:
        found.refuse(error)
        return found, []
    return found, waiting


def _fill(found: FrameContents, frame: Frame, file: OpenFile) -> _Waiting:
    kinds = {item[0] for item in frame.table}
    if frame_format.COMMIT in kinds or frame_format.HEAD in kinds:
        found.commits = commits(frame)
        found.heads = heads(frame, file.header.store)
    if file.header.kind == file_format.JOURNAL:
        check_journal_records(frame, found.commits, found.heads)
    _fill_blobs(found, frame)
    return _fill_runs(found, frame, file) if frame_format.ENTRIES in kinds else []


def _fill_blobs(found: FrameContents, frame: Frame) -> None:
    stored = stored_blobs(frame)
    if not stored:
        return
    for blob in stored:
        if blob.kind == frame_format.CHUNKED:
            decode_chunks(frame.records.payload(blob.record), blob.size)
    found.blobs = StoredBlobs.of(frame.file, frame.offset, stored)
    found.bases = [
        frame.table[blob.record][4]
        for blob in stored
        if blob.kind == frame_format.DIFFERENCE
    ]


def _fill_runs(found: FrameContents, frame: Frame, file: OpenFile) -> _Waiting:
    waiting: _Waiting = []
    runs = []
    for header in run_headers(frame):
        payload = frame.records[header.record].payload
        if header.bodies:
            waiting.append((header, payload))
        else:
            place, tree = (frame.file, frame.offset), _tree(header, file)
            runs.append(read_stored_run(header, payload, place, tree, frame.bodies))
    found.runs = runs
    return waiting


def _complete(
    found: FrameContents,
    file: OpenFile,
    waiting: _Waiting,
    bodies: Sequence[tuple[bytes, int]],
) -> None:
    """Read the entries of *found* whose bodies the frame behind it holds."""
    try:
        with placed(f"{file.name}@{found.offset}"):
            place = (file.id, found.offset)
            found.runs = [
                *found.runs,
                *(
                    read_stored_run(header, payload, place, _tree(header, file), bodies)
                    for header, payload in waiting
                ),
            ]
    except CorruptionError as error:
        found.refuse(error)


def _tree(header: RunHeader, file: OpenFile) -> Tree | None:
    # The store log is never forked, and short.
    return None if header.segment == file.header.store else SEGMENT_TREE


def read_stored_run(
    header: RunHeader,
    payload: memoryview,
    place: tuple[bytes, int],
    tree: Tree | None,
    body_list: Sequence[tuple[bytes, int]],
) -> StoredRun:
    """
    Return what is remembered of a run of entries.

    Args:
        header: What its frame's table says.

        payload: Of its record.

        place: File and offset of its frame.

        tree: Kind of the tree whose hashes are wanted, None for none.

        body_list: Digest and size of each whole blob of its body frame.

    Raises:
        CorruptionError: ``malformed record``, place unknown.
    """
    hashes: list[bytes] = []
    bodies: list[bytes] = []
    wants = WantColumns()
    starts: dict[int, Start] = {}
    stored = decode_stored(payload, header.count)
    placed_entries = entries_of(
        stored, first_index=header.first, prev=header.prev, bodies=body_list
    )
    for index, (digest, _, item, body) in enumerate(placed_entries, header.first):
        hashes.append(digest)
        bodies.append(body[0])
        if type(item[2]) is not int:
            wants.add(index, None, *body, 0, None)
        wants.add_refs(index, item[3])
        if len(item) == 5:
            starts[index] = parse_start(item[4])
    subtrees = run_subtrees(tree, header.first, hashes) if tree else b""
    columns = (b"".join(hashes), b"".join(bodies), wants.done())
    file, offset = place
    return StoredRun(header, file, offset, *columns, starts, subtrees)
