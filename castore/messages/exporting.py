"""
Files of message sessions, written as their system wants them.

A file that has grown large is kept under another name when it is written anew, and
the newest three of these stay. At no moment is there no file: the new one is whole
and durable before it takes the place of the old one.

Spec: spec/messages.md, "Files".
"""

from __future__ import annotations

import errno
import os
import shutil

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from castore.errors import NotFoundError, StorageError
from castore.limits import KIB
from castore.messages.clock import CLOCK, Clock


ROTATED_SIZE_MIN = 256 * KIB  # bytes of the file that is there
ROTATED_COUNT = 3  # files

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_LATER = {errno.EINTR, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT}


@contextmanager
def files_of(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give *path*; what the system says of it becomes one of our errors."""
    where = Path(path)
    try:
        yield where
    except FileNotFoundError:
        raise NotFoundError(what=f"{where.name}: no such file") from None
    except OSError as error:
        number = error.errno or 0
        what = f"{where.name}: {error.strerror or type(error).__name__}"
        raise StorageError(
            what=what, errno=number, transient=number in _LATER
        ) from error


def write_file(
    path: str | os.PathLike[str], data: bytes, *, clock: Clock = CLOCK
) -> None:
    """
    Write *data* as the file *path*, durably; folders on the way are made.

    A file of `ROTATED_SIZE_MIN` bytes or more that is there is kept as
    ``<stem>.rot-<ms>.jsonl``; of these the `ROTATED_COUNT` newest are left.

    Raises:
        StorageError: The medium failed. The file is the old one or the new one.
    """
    with files_of(path) as given:
        where = given.absolute()  # a bare name has a folder, too
        where.parent.mkdir(parents=True, exist_ok=True)
        temporary = where.with_name(
            f"{where.name}.tmp-{clock.now()}-{os.getpid()}-{os.urandom(4).hex()}"
        )
        try:
            _write_new(temporary, data)
            if _is_large(where):
                _keep(where, clock)
            temporary.replace(where)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(where.parent)
        _prune(where)


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size >= ROTATED_SIZE_MIN
    except FileNotFoundError:
        return False


def _write_new(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _keep(path: Path, clock: Clock) -> None:
    """Give the file *path* a second name, one that nothing has."""
    while True:
        name = path.with_name(f"{path.stem}.rot-{clock.now()}.jsonl")
        try:
            name.hardlink_to(path)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            with suppress(FileExistsError), path.open("rb") as old:
                with name.open("xb") as copy:
                    shutil.copyfileobj(old, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
                shutil.copystat(path, name)
                return
        else:
            return


def _prune(path: Path) -> None:
    """Delete all but the newest files that are kept of *path*."""
    front = f"{path.stem}.rot-"
    kept = [
        (_changed(Path(entry.path)), entry.name)
        for entry in os.scandir(path.parent)
        if entry.name.startswith(front) and entry.name.endswith(".jsonl")
    ]
    for _, name in sorted(kept)[:-ROTATED_COUNT]:
        path.with_name(name).unlink(missing_ok=True)


def _changed(path: Path) -> int:
    """Return when *path* changed last; one that cannot be asked is the oldest."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
