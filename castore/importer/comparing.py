"""
What the store gives back, compared with a file while it comes.
"""

from __future__ import annotations

import os

from collections.abc import Callable


#: Told how many bytes more were given back.
Given = Callable[[int], None]


class DiffersError(Exception):
    """What is written is not what is there."""


class Comparing:
    """A file to write to that compares with an open one; raises `DiffersError`."""

    def __init__(self, fd: int, given: Given | None = None) -> None:
        self._fd = fd
        self._given = given
        self._at = 0

    def write(self, data: bytes | memoryview) -> int:
        """Compare *data* with what stands there."""
        if os.pread(self._fd, len(data), self._at) != data:
            raise DiffersError
        self._at += len(data)
        if self._given is not None:
            self._given(len(data))
        return len(data)

    def ends(self) -> bool:
        """Return whether there is no more than was compared."""
        return not os.pread(self._fd, 1, self._at)
