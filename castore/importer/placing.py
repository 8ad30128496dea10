"""
Files put below a folder, each whole or not at all, never through a link.

Paths come from a store, which may be anybody's. Every folder on the way is
opened by its name in the one above, and none that is a link; so nothing is made
or replaced outside of the top, whatever stands there or comes there meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from collections.abc import Callable, Iterator
from typing import BinaryIO, Self

from castore.errors import ConflictError, FormatError
from castore.importer.comparing import Comparing, DiffersError
from castore.importer.source import system_errors


#: Writes a file's content, the same each time, and returns its size.
Fill = Callable[[BinaryIO], int]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Top:
    """
    The folder that files are put below. A context manager.
    """

    def __init__(self, path: str) -> None:
        """
        Open *path*, made if it is not there; links in *path* itself are followed.
        """
        self.path = path
        with system_errors(path):
            os.makedirs(path, mode=0o700, exist_ok=True)  # noqa: PTH103
            self._fd = os.open(path, _FOLDER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def put(self, path: bytes, fill: Fill, *, force: bool) -> tuple[str, int]:
        """
        Put what *fill* writes at *path* below this folder.

        Folders are made. A file that is there and holds the same stays as it is.

        Args:
            path: Relative.

            fill: Its content.

            force: Replace a file or link that is there; never a folder.

        Returns:
            ``written``, ``replaced`` or ``same``; and bytes of the content.

        Raises:
            FormatError: *path* leads out, or nowhere.

            ConflictError: Something else is there.

            StorageError: The system refuses.
        """
        *folders, name = _parts(path)
        with system_errors(self.name_of(path)), contextlib.ExitStack() as stack:
            fd = self._fd
            for folder in folders:
                fd = _enter(fd, folder, self.name_of(path))
                stack.callback(os.close, fd)
            return _put(fd, name, fill, self.name_of(path), force=force)

    def name_of(self, path: bytes) -> str:
        """Return how *path* below this folder is called."""
        return os.path.join(self.path, os.fsdecode(path))  # noqa: PTH118


def _parts(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    if any(part in (b"", b".", b"..") for part in parts) or b"\0" in path:
        raise FormatError(what=f"{path!r} is no path below a folder")
    return parts


def _enter(parent: int, name: bytes, path: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    try:
        return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _taken(path, f"{os.fsdecode(name)} is no folder, or a link") from None
        raise


def _put(
    folder: int, name: bytes, fill: Fill, path: str, *, force: bool
) -> tuple[str, int]:
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        there = None
    if there is not None and stat.S_ISDIR(there.st_mode):
        raise _taken(path, "a folder is there")
    if there is not None and stat.S_ISREG(there.st_mode):
        size = _size_if_same(folder, name, fill)
        if size is not None:
            return "same", size
    if there is not None and not force:
        raise _taken(path, "something else is there")
    with _part(folder, name) as (part, file):
        size = fill(file)
        file.flush()
        os.fsync(file.fileno())
        _rename(folder, part, name, path, force=there is not None)
    os.fsync(folder)
    return ("written" if there is None else "replaced"), size


@contextlib.contextmanager
def _part(folder: int, name: bytes) -> Iterator[tuple[bytes, BinaryIO]]:
    """Make a file beside *name*, which goes at the end if it is still there."""
    part = b".%b.%b.part" % (name[:200], os.urandom(6).hex().encode())
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(part, flags, 0o600, dir_fd=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            yield part, file
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=folder)


def _rename(folder: int, part: bytes, name: bytes, path: str, *, force: bool) -> None:
    if force:
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    try:
        # Unlike a rename this never replaces what came there meanwhile.
        os.link(part, name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        raise _taken(path, "something came there meanwhile") from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)


def _taken(path: str, what: str) -> ConflictError:
    return ConflictError(
        what=f"{path} cannot be written",
        subject="file",
        expected="nothing, or the same bytes",
        actual=what,
    )


def _size_if_same(folder: int, name: bytes, fill: Fill) -> int | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=folder)
    try:
        comparing = Comparing(fd)
        size = fill(comparing)  # type: ignore[arg-type]
        return size if comparing.ends() else None
    except DiffersError:
        return None
    finally:
        os.close(fd)
