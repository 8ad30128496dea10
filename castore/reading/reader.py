"""
Reading again what a survey found: frames, records, entries.

Spec: spec/frame.md.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping

from castore import limits
from castore.formats.entry import Entry
from castore.formats.frame import Record
from castore.reading.files import OpenFile
from castore.reading.frames import Frame, read_frame
from castore.reading.image import read_run
from castore.reading.logs import Piece
from castore.reading.stored import BlobPlace


class Reader:
    """
    Frames of several files by place; the latest stay decoded.

    Not for several threads.

    Attributes:
        files: The files, by id.
    """

    def __init__(self, files: Mapping[bytes, OpenFile]) -> None:
        self.files = files
        self._frames: OrderedDict[tuple[bytes, int], Frame] = OrderedDict()
        self._size = 0

    def frame(self, file: bytes, offset: int) -> Frame:
        """
        Return the frame at *offset* of *file*, decoded at most once in a while.

        Raises:
            CorruptionError: ``corrupt frame``: no whole frame stands there now.
        """
        found = self._frames.get((file, offset))
        if found is not None:
            self._frames.move_to_end((file, offset))
            return found
        source = self.files[file]
        found = self._frames[file, offset] = read_frame(source, offset, source.size())
        self._size += found.weight
        while self._size > limits.CACHE_SIZE and len(self._frames) > 1:
            _, old = self._frames.popitem(last=False)
            self._size -= old.weight
        return found

    def record(self, place: BlobPlace) -> Record:
        """Return the record that holds a blob or ref list."""
        return self.frame(place.file, place.offset).records[place.record]

    def entries(self, pieces: Iterable[Piece]) -> Iterator[Entry]:
        """Yield the entries that *pieces* are made of, in order."""
        for run, start, stop in pieces:
            frame = self.frame(run.file, run.offset)
            body_frame = frame
            if run.header.bodies:
                body_frame = self.frame(run.file, frame.end)
            entries = read_run(frame, run.header, body_frame.bodies)
            yield from entries[start - run.first : stop - run.first]
