"""
A blob as a file.

Spec: spec/blob.md.
"""

from __future__ import annotations

import io

from typing import Any

from castore import limits
from castore.engine import Engine
from castore.formats.entry import BlobRef


class BlobReader(io.RawIOBase):
    """
    A blob as a file: `read`, `seek`, `tell`. Holds one stretch of it in memory.
    """

    def __init__(self, engine: Engine, ref: BlobRef) -> None:
        super().__init__()
        self._engine = engine
        self.ref = ref
        self._at = 0
        self._start = 0
        self._data = b""
        self._is_checked = False

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to *offset* bytes from the start, here, or the end."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.ref.size}
        at = base[whence] + offset
        if at < 0:
            raise ValueError("seek before the start")
        self._at = at
        return at

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer* from the position on; less only at the end."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view) and not (self._is_checked and self._at >= self.ref.size):
            if not self._start <= self._at < self._start + len(self._data):
                self._fill()
            offset = self._at - self._start
            part = self._data[offset : offset + len(view) - done]
            view[done : done + len(part)] = part
            self._at += len(part)
            done += len(part)
        return done

    def _fill(self) -> None:
        stretch = 4 * limits.MIB
        self._start = self._at // stretch * stretch
        stop = min(self._start + stretch, self.ref.size)
        self._data = self._engine.read_range(self.ref, self._start, stop)
        self._is_checked = True  # also that the size is not too small
