"""
Another process that holds a lock, and knows nothing of castore.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys

from collections.abc import Iterator

from castore.storage import Files


CHILD = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.readline()
"""


class Holder:
    """Another process that holds the lock until it is told to let go."""

    def __init__(self, files: Files) -> None:
        command = [sys.executable, "-c", CHILD, str(files.path("lock"))]
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert self._child.stdout
        assert b"held\n" == self._child.stdout.readline()

    def let_go(self) -> None:
        """Tell the process to end, and with it the lock."""
        assert self._child.stdin
        self._child.stdin.write(b"\n")

    def kill(self) -> None:
        """End the process without a word."""
        self._child.kill()

    def close(self) -> None:
        """Wait until the process is gone."""
        with self._child:
            self._child.kill()


@contextlib.contextmanager
def held(files: Files) -> Iterator[Holder]:
    """Return another process that holds the lock, ended at the latest behind."""
    holder = Holder(files)
    try:
        yield holder
    finally:
        holder.close()


def is_free(files: Files) -> bool:
    """Return whether another process could have the lock now."""
    fd = files.open("lock", write=True)
    try:
        return files.lock(fd)
    finally:
        files.close(fd)
