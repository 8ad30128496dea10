"""
Files whose frames are not all looked into: what stands where, for less reading.

Whatever says which files count is read in full all the same: commits, heads, the
store log. What looks wrong is hashed, so that damage has the name that it would
have for who reads everything.

Spec: spec/checking.md, "Less than all".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from castore.errors import CorruptionError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.reading.contents import (
    FileContents,
    FrameContents,
    read_contents,
    read_one,
)
from castore.reading.depth import Depth, Level
from castore.reading.files import OpenFile
from castore.reading.frames import Frame, Gap, find_frame, front_of, read_frame
from castore.reading.image import run_headers
from castore.reading.stored import digests_in


@attrs.define
class Glance:
    """
    What was looked at.

    Attributes:
        frames: Frames that were looked into as deep as was asked for.

        size: Their bytes.
    """

    frames: int = 0
    size: int = 0


def glance_at(
    files: Mapping[bytes, OpenFile],
    store: bytes,
    depth: Depth,
    seen: Glance,
    progress: Callable[[int], None],
) -> dict[bytes, FileContents] | None:
    """
    Return what *files* say, each up to the size that it has now.

    None where bodies of the store log stand among what was not looked into: then
    which files count cannot be told so.

    Args:
        files: By id.

        store: Store id.

        depth: How deep to look.

        seen: Counts what was looked into.

        progress: Told the size of what was passed, frame by frame.
    """
    found = {
        id_: _Walk(file, store, depth, seen).run(progress)
        for id_, file in files.items()
    }
    frames = [frame for contents in found.values() for frame in contents.frames]
    wanted = {
        body
        for frame in frames
        for run in frame.runs
        if run.header.segment == store
        for body in digests_in(run.bodies)
    }
    for frame in frames:
        wanted.difference_update(frame.blobs.names())
    return None if wanted else found


@attrs.define
class _Walk:
    """A walk along one file."""

    file: OpenFile
    store: bytes
    depth: Depth
    seen: Glance
    _bodies_at: int = 0  # the frame there holds bodies of the store log

    def run(self, progress: Callable[[int], None]) -> FileContents:
        """Return what the file says."""
        stop = self.file.size()
        if self.file.header.kind == file_format.JOURNAL:
            whole = read_contents(self.file, stop, progress)  # commits and heads, all
            for frame in whole.frames:
                self._count(frame, self.depth.at(self.file.id, frame.offset))
            return whole
        contents = FileContents(self.file, stop, [], [])
        at: int | None = file_format.SIZE
        while at is not None and at < stop:
            try:
                frame = self._look(at, stop)
            except CorruptionError as error:
                gap = self._gap(contents.frames, at, stop, error)
                contents.gaps.append(gap)
                after = gap.end
            else:
                contents.frames.append(frame)
                after = frame.end
            progress((after or stop) - at)
            at = after
        return contents

    def _gap(
        self,
        before: list[FrameContents],
        offset: int,
        stop: int,
        error: CorruptionError,
    ) -> Gap:
        """Return the gap at *offset*, or at the frame before if that misled us."""
        if before and before[-1].end == offset:
            try:
                read_frame(self.file, before[-1].offset, stop)
            except CorruptionError as earlier:
                offset, error = before.pop().offset, earlier
        whole = find_frame(self.file, offset + 1, stop)
        return Gap(offset, whole.offset if whole else None, error.what)

    def _look(self, offset: int, stop: int) -> FrameContents:
        level = self.depth.at(self.file.id, offset)
        front = front_of(self.file, offset, stop)
        says = offset == self._bodies_at or self._says_what_counts(front)
        if says or level >= Level.CONTENTS:
            found = read_one(self.file, offset, stop)
        else:
            if level is Level.STORED:
                read_frame(self.file, offset, stop)
            start = front.header.group_start
            found = FrameContents(offset, front.end, front.hash, start)
        self._count(found, level)
        return found

    def _says_what_counts(self, front: Frame) -> bool:
        """Whether it holds commits, heads, the store log, or what is to be refused."""
        try:
            kinds = {item[0] for item in front.table}
            runs = run_headers(front)
        except CorruptionError:
            return True
        logs = [run for run in runs if run.segment == self.store]
        if any(run.bodies for run in logs):
            self._bodies_at = front.end
        return bool(logs or kinds & {frame_format.COMMIT, frame_format.HEAD})

    def _count(self, found: FrameContents, level: Level) -> None:
        if level is not Level.STRUCTURE or self.depth.level is Level.STRUCTURE:
            self.seen.frames += 1
            self.seen.size += found.end - found.offset
