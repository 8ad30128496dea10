"""
The lock file of a writer: written, read, and decoded only when it has changed.

Spec: spec/folder.md, "lock".
"""

from __future__ import annotations

import socket
import sys
import time

from pathlib import Path

from castore.formats.mark import SIZE, LockFile, encode_lock
from castore.reading.mark import read_open_lock
from castore.storage import Files


_COMMAND = " ".join(Path(part).name for part in sys.orig_argv[:2])
#: What this process is called in the lock file.
WHO = f"{socket.gethostname()} {_COMMAND}"


def described(lock: LockFile | None) -> str:
    """Return for people who holds the lock, and since when; as *lock* says."""
    if lock is None:
        return ""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(lock.since_ms / 1000))
    return f"pid {lock.pid} ({lock.holder}) since {since} UTC"


class LockText:
    """
    What stands in the open lock file.

    May be used by many threads; to write, hold the lock.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: tuple[bytes, LockFile | None] = (b"", None)

    def read(self, fd: int) -> LockFile | None:
        """Return what the lock file says, the same object while it says the same."""
        data = self._files.read_up_to(fd, SIZE, 0)
        known = self._known
        if data == known[0]:
            return known[1]
        lock = read_open_lock(self._files, fd)
        if lock is not None:
            self._known = (encode_lock(lock), lock)
        return lock

    def write(self, fd: int, lock: LockFile) -> None:
        """Let the lock file say what *lock* says."""
        data = encode_lock(lock)
        self._files.write(fd, data, 0)
        self._known = (data, lock)
