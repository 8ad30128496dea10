"""
A little room on the disk, given up when there is no more.

Deleting needs a commit, and a commit needs room. The reserve is a file of zeros
whose name makes it as expendable as the catalog.

Spec: spec/folder.md; spec/ordering.md, "A full disk".
"""

from __future__ import annotations

from castore import limits
from castore.errors import StorageError
from castore.storage import Files


NAME = "catalog-reserve"
_ROOM_FACTOR = 64  # made only where that many times its size is free


def make_reserve(files: Files) -> None:
    """Make the reserve if it is missing and there is plenty of room."""
    if files.exists(NAME) or files.free_size() < _ROOM_FACTOR * limits.RESERVE_SIZE:
        return
    fd = files.create(NAME)
    try:
        files.write(fd, bytes(limits.RESERVE_SIZE), 0)
        files.sync(fd)
    except StorageError:
        files.unlink(NAME)
    finally:
        files.close(fd)


def give_up_reserve(files: Files) -> bool:
    """Remove the reserve; return whether there was one."""
    found = files.exists(NAME)
    files.unlink(NAME)
    return found
