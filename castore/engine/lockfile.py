"""
The lock file of a writer: written, read, and decoded only when it has changed.

Spec: spec/folder.md, "lock".
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time

from collections.abc import Iterator
from pathlib import Path

from castore.errors import StorageError
from castore.formats.mark import SIZE, LockFile, encode_lock
from castore.reading.mark import open_plain, read_open_lock
from castore.storage import FileLock, Files


_COMMAND = " ".join(Path(part).name for part in sys.orig_argv[:2])
#: What this process is called in the lock file.
WHO = f"{socket.gethostname()} {_COMMAND}"
MAINTENANCE = "maintenance"
_HOLDER_SIZE_MAX = 512  # bytes


def described(lock: LockFile | None) -> str:
    """Return for people who holds the lock, and since when; as *lock* says."""
    if lock is None:
        return ""
    return _described(lock.pid, lock.holder, lock.since_ms / 1000)


def _described(pid: int, who: str, since_s: float) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(since_s))
    return f"pid {pid} ({who}) since {since} UTC"


@contextlib.contextmanager
def maintenance_lock(files: Files, timeout_s: float) -> Iterator[None]:
    """
    Hold the lock that orders what maintains the folder; the file says who does.

    Args:
        files: The folder.

        timeout_s: How long to wait for who holds it.

    Raises:
        LockedError: Somebody else held it all that time.
    """
    files.ensure(MAINTENANCE)
    lock = FileLock(files, MAINTENANCE, lambda: _holder(files))
    try:
        lock.acquire(timeout_s)
        try:
            _say_holder(files, lock.fd)
            yield
        finally:
            with contextlib.suppress(StorageError):
                files.truncate(lock.fd, 0)
            lock.release()
    finally:
        lock.close()


def _say_holder(files: Files, fd: int) -> None:
    text = _described(os.getpid(), WHO, time.time())
    with contextlib.suppress(StorageError):  # nobody but people wants it
        files.truncate(fd, 0)
        files.write(fd, text.encode(errors="replace")[:_HOLDER_SIZE_MAX], 0)


def _holder(files: Files) -> str:
    fd = open_plain(files, MAINTENANCE)
    if fd is None:
        return ""
    try:
        return files.read_up_to(fd, _HOLDER_SIZE_MAX, 0).decode(errors="replace")
    finally:
        files.close(fd)


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
