"""
Where bytes go: a file that appears whole or not at all, or standard output.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys

from collections.abc import Callable, Iterator
from typing import BinaryIO

from castore.cli.exits import CommandError, Exit


STDOUT = "-"
COPY_SIZE = 1 << 20  # bytes copied at once
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@contextlib.contextmanager
def target(name: str, *, force: bool = False) -> Iterator[BinaryIO]:
    """
    Open *name* to be written; ``-`` is standard output.

    A file is written beside its place under another name, synced, and put there
    when all went well: what stands under its name is never half of it.

    Args:
        name: Where.

        force: Replace a file that is there.

    Raises:
        CommandError: There is a file and *force* is not said.
    """
    if name == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not force and os.path.lexists(name):
        raise _is_there(name)
    folder, base = os.path.split(name)
    part = os.path.join(folder, f".{base}.{os.urandom(6).hex()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(part, flags, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(part, name, force=force)
        _sync_folder(folder or os.curdir)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)


def _put_in_place(part: str, name: str, *, force: bool) -> None:
    if force:
        os.replace(part, name)
        return
    try:
        # Unlike a rename this never replaces what came there meanwhile.
        os.link(part, name)
    except FileExistsError:
        raise _is_there(name) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(part, name)


def _is_there(name: str) -> CommandError:
    return CommandError(Exit.REFUSED, f"{name} is there already; --force replaces it")


def _sync_folder(folder: str) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Counting:
    """A file to write to that tells how much went through."""

    def __init__(self, file: BinaryIO, told: Callable[[int], None]) -> None:
        self._file = file
        self._told = told
        self._done = 0

    def write(self, data: bytes) -> int:
        """Write *data*."""
        self._file.write(data)
        self._done += len(data)
        self._told(self._done)
        return len(data)
