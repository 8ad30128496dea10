"""
What the mark in the lock file is worth.

Spec: spec/folder.md, "What a mark is worth".
"""

from __future__ import annotations

import enum
import errno

from castore.errors import NotFoundError, StorageError, UnsupportedError
from castore.formats.file import file_name
from castore.formats.mark import SIZE, LockFile, decode_lock
from castore.storage import Files


LOCK = "lock"
_TRIES = 3
_NO_PLAIN_FILE = {0, errno.ELOOP, errno.ENXIO, errno.EOPNOTSUPP}


class MarkWorth(enum.Enum):
    """
    How far a mark is believed.

    Attributes:
        EXACT: Commits are acknowledged up to its end and not further.

        LOWER_BOUND: Everything before its end was durable; more may be
            acknowledged behind it.

        NONE: It says nothing.
    """

    EXACT = "exact"
    LOWER_BOUND = "lower bound"
    NONE = "none"


def read_lock(files: Files) -> LockFile | None:
    """Return what the lock file says, None where it says nothing or is not there."""
    fd = open_plain(files, LOCK)
    if fd is None:
        return None
    try:
        return read_open_lock(files, fd)
    finally:
        files.close(fd)


def read_open_lock(files: Files, fd: int) -> LockFile | None:
    """Return what the open lock file says, None where it says nothing."""
    for _ in range(_TRIES):
        data = files.read_up_to(fd, SIZE + 1, 0)
        lock = decode_lock(data)
        if lock is not None or len(data) != SIZE:
            return lock
        # Perhaps read while it was being written.
    return None


def judge_mark(files: Files, lock: LockFile | None) -> MarkWorth:
    """
    Return what the mark in *lock* is worth, as long as its journal is not dropped.

    A mark in a journal that the store log has dropped is worth nothing; who
    reads the store log finds that out.

    Raises:
        StorageError: The medium failed.
    """
    if lock is None:
        return MarkWorth.NONE
    found = _identity(files, file_name(lock.journal))
    if found is None:
        beside = _identity(files, LOCK)
        same = beside is not None and beside[0] == lock.device
        return MarkWorth.LOWER_BOUND if same else MarkWorth.NONE
    if found != (lock.device, lock.inode):
        return MarkWorth.NONE
    return MarkWorth.EXACT if _boot_id(files) == lock.boot else MarkWorth.LOWER_BOUND


def open_plain(files: Files, name: str) -> int | None:
    """Return a descriptor of the plain file *name*, None if it is none or absent."""
    try:
        return files.open(name)
    except NotFoundError:
        return None
    except StorageError as error:
        if error.errno not in _NO_PLAIN_FILE:
            raise
        return None


def _identity(files: Files, name: str) -> tuple[int, int] | None:
    fd = open_plain(files, name)
    if fd is None:
        return None
    try:
        return files.identity(fd)
    finally:
        files.close(fd)


def _boot_id(files: Files) -> bytes | None:
    try:
        return files.boot_id()
    except (UnsupportedError, OSError):
        return None
