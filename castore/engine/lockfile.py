"""
The lock file's text: read, written, and decoded only when it has changed.

Spec: spec/folder.md, "lock".
"""

from __future__ import annotations

from castore.errors import NotFoundError
from castore.formats.mark import SIZE, LockFile, decode_lock, encode_lock
from castore.reading.mark import LOCK_NAME
from castore.storage import Files


class LockText:
    """
    What stands in the lock file.

    May be used by many threads; to write, hold the lock.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: tuple[bytes, LockFile | None] = (b"", None)

    def read(self, fd: int | None) -> LockFile | None:
        """
        Return what the lock file says, the same object while it says the same.

        Args:
            fd: The lock file; None where it is not open.
        """
        data = self._read_closed() if fd is None else self._read(fd)
        known = self._known
        if data != known[0]:
            known = self._known = (data, decode_lock(data))
        return known[1]

    def _read(self, fd: int) -> bytes:
        return self._files.read_up_to(fd, SIZE + 1, 0)

    def _read_closed(self) -> bytes:
        try:
            fd = self._files.open(LOCK_NAME)
        except NotFoundError:
            return b""
        try:
            return self._read(fd)
        finally:
            self._files.close(fd)

    def write(self, fd: int, lock: LockFile) -> None:
        """Let the lock file say what *lock* says."""
        data = encode_lock(lock)
        self._files.write(fd, data, 0)
        self._known = (data, lock)
