"""
Frames by place, the newest used ones kept decoded.

Spec: spec/ordering.md, "Reading".
"""

from __future__ import annotations

import collections
import threading

from castore import limits
from castore.errors import CorruptionError
from castore.formats.file import file_name
from castore.reading.files import OpenFiles
from castore.reading.frames import Frame, read_frame


class FrameCache:
    """
    Reads frames and keeps the most recently used, up to a size in memory.

    A frame never changes in its place and is checked when it is read, so what
    is kept stays right; files are only ever forgotten. May be used by threads.
    """

    def __init__(self, files: OpenFiles, size_max: int = limits.CACHE_SIZE) -> None:
        self.files = files
        self._size_max = size_max
        self._size = 0
        self._guard = threading.Lock()
        self._frames: collections.OrderedDict[tuple[bytes, int], Frame] = (
            collections.OrderedDict()
        )

    def get(self, file: bytes, offset: int) -> Frame:
        """
        Return the whole frame at *offset* of *file*.

        Raises:
            NotFoundError: The file is not there (any more).

            CorruptionError: No whole frame stands there.
        """
        key = (file, offset)
        with self._guard:
            frame = self._frames.get(key)
            if frame is not None:
                self._frames.move_to_end(key)
                return frame
        opened = self.files.get(file)
        frame = read_frame(opened, offset, opened.size())
        with self._guard:
            if key not in self._frames:
                self._frames[key] = frame
                self._size += frame.weight
            while self._size > self._size_max and len(self._frames) > 1:
                _, old = self._frames.popitem(last=False)
                self._size -= old.weight
        return frame

    def after(self, frame: Frame) -> Frame:
        """Return the frame that follows *frame* in its file."""
        return self.get(frame.file, frame.end)

    def clear(self) -> None:
        """Let go of all frames."""
        with self._guard:
            self._frames.clear()
            self._size = 0


def missing_file(file: bytes) -> CorruptionError:
    """Return the error for a file that is not there and that the newest view names."""
    return CorruptionError(
        what="a file of the store is not there; run castore verify",
        verdict="missing pack",
        where=file_name(file),
    )
