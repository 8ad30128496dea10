"""
Files of one folder: the only module that calls the operating system for them.

Spec: spec/ordering.md; spec/folder.md.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import sys

from collections.abc import Iterator
from pathlib import Path

from castore.errors import (
    CorruptionError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)


_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LATER = {errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.EAGAIN}


@contextlib.contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotFoundError(what=f"{doing}: no such file") from error
    except OSError as error:
        raise storage_error(doing, error) from error


def storage_error(doing: str, error: OSError) -> StorageError:
    """Return the typed error for a system call that failed while *doing*."""
    number = error.errno or 0
    text = os.strerror(number) if number else "failed"
    what = f"{doing}: {text}"
    if number in (errno.ENOSPC, errno.EDQUOT):
        what += "; make room and try again"
    return StorageError(what=what, errno=number, transient=number in _LATER)


class Files:
    """
    Named files below one folder.

    Names are relative, of the forms of spec/folder.md; a file is used by its
    descriptor. Calls raise `StorageError` when the medium fails and
    `NotFoundError` for a name that is not there. Interrupted calls go on; short
    writes go on or fail; nothing is answered in part.

    Attributes:
        root: The folder.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root)

    def path(self, name: str) -> Path:
        """Return the path of *name*."""
        return self.root / name

    # --- names ---------------------------------------------------------------

    def make_folder(self, name: str) -> None:
        """Make the folder *name* (``""``: the root), 0700, and those above it."""
        with _translated(f"making folder {name or 'of the store'}"):
            self.path(name).mkdir(mode=0o700, parents=True, exist_ok=True)

    def create(self, name: str) -> int:
        """Make the file *name*, 0600, which must not exist; return a descriptor."""
        with _translated(f"creating {name}"):
            return os.open(self.path(name), _NEW, 0o600)

    def ensure(self, name: str) -> None:
        """Make the file *name*, empty and 0600, if there is none."""
        if self.exists(name):
            return
        try:
            self.close(self.create(name))
        except StorageError as error:
            if error.errno != errno.EEXIST:
                raise

    def open(self, name: str, *, write: bool = False) -> int:
        """Open the plain file *name*, no link; return a descriptor."""
        flags = os.O_RDWR if write else os.O_RDONLY
        # A FIFO in place of a file must not hang the reader.
        flags |= os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with _translated(f"opening {name}"):
            fd = os.open(self.path(name), flags)
            try:
                is_plain = stat.S_ISREG(os.fstat(fd).st_mode)
            except OSError:
                os.close(fd)
                raise
        if not is_plain:
            self.close(fd)
            what = f"opening {name}: no plain file"
            raise StorageError(what=what, errno=0, transient=False)
        return fd

    def link(self, old: str, new: str) -> None:
        """Give the file *old* the name *new* too, which must not exist."""
        with _translated(f"linking {new}"):
            os.link(self.path(old), self.path(new))

    def link_from(self, other: Files, old: str, new: str) -> None:
        """As `link`, for a file of another folder on the same file system."""
        with _translated(f"linking {new}"):
            os.link(other.path(old), self.path(new))

    def replace(self, old: str, new: str) -> None:
        """Give *old* the name *new* instead, at once; what had it loses it."""
        with _translated(f"renaming {old}"):
            self.path(old).replace(self.path(new))

    def symlink(self, target: str, name: str) -> None:
        """Make *name*, which must not exist, lead to *target*."""
        with _translated(f"linking {name}"):
            self.path(name).symlink_to(target)

    def link_target(self, name: str) -> str | None:
        """Return where the symbolic link *name* leads, None if it is none."""
        with _translated(f"looking at {name}"):
            path = self.path(name)
            return str(path.readlink()) if path.is_symlink() else None

    def remove_folder(self, name: str) -> None:
        """Remove the empty folder *name*."""
        with _translated(f"removing folder {name}"):
            self.path(name).rmdir()

    def unlink(self, name: str) -> None:
        """Remove *name*; one that is not there is fine."""
        with _translated(f"removing {name}"), contextlib.suppress(FileNotFoundError):
            self.path(name).unlink()

    def list(self, name: str) -> list[str]:
        """Return the names in the folder *name*, sorted; none if it is absent."""
        with _translated(f"listing {name or 'the store'}"):
            try:
                return sorted(os.listdir(self.path(name)))  # noqa: PTH208 - names
            except FileNotFoundError:
                return []

    def exists(self, name: str) -> bool:
        """Return whether there is anything under *name*."""
        return os.path.lexists(self.path(name))

    def sync_folder(self, name: str) -> None:
        """Make what was created, linked or removed in the folder *name* durable."""
        with _translated(f"syncing folder {name or 'of the store'}"):
            fd = os.open(self.path(name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                # It was only read: no error here can make the sync less true.
                with contextlib.suppress(OSError):
                    os.close(fd)

    # --- bytes ---------------------------------------------------------------

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """
        Return exactly *size* bytes from *offset*.

        Raises:
            CorruptionError: ``truncated log``: the file ends before that.
        """
        data = self.read_up_to(fd, size, offset)
        if len(data) < size:
            raise CorruptionError(
                what=f"file ends at {offset + len(data)}, wanted {offset + size}",
                verdict="truncated log",
                where="",
            )
        return data

    def read_up_to(self, fd: int, size: int, offset: int) -> bytes:
        """Return *size* bytes from *offset*, fewer only where the file ends."""
        try:
            data = os.pread(fd, size, offset)
            if len(data) == size or not data:
                return data
            parts = [data]
            got = len(data)
            while got < size:
                data = os.pread(fd, size - got, offset + got)
                if not data:
                    break
                parts.append(data)
                got += len(data)
        except OSError as error:
            raise storage_error("reading", error) from error
        return b"".join(parts)

    def next_data(self, fd: int, offset: int, stop: int) -> int:
        """
        Return where in ``[offset, stop]`` something but zeros may stand first: a file
        of a few bytes may claim to be a terabyte of them.
        """
        try:
            return min(os.lseek(fd, offset, os.SEEK_DATA), stop)
        except OSError as error:
            # There is only a hole; or the file system knows of none.
            return stop if error.errno == errno.ENXIO else offset

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """
        Write all of *data* at *offset*. Durable only after `sync`.

        Raises:
            StorageError: It failed; some of it may stand there.
        """
        try:
            done = os.pwrite(fd, data, offset)
            if done == len(data):
                return
            view = memoryview(data)
            while done < len(view):
                count = os.pwrite(fd, view[done:], offset + done)
                if count == 0:
                    raise OSError(errno.EIO, "wrote nothing")
                done += count
        except OSError as error:
            raise storage_error("writing", error) from error

    def sync(self, fd: int) -> None:
        """
        Make the file's bytes durable.

        After an error the file must not be trusted nor synced again: the system
        may have dropped what it could not write.
        """
        try:
            if sys.platform == "darwin":
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            else:
                os.fdatasync(fd)
        except OSError as error:
            raise storage_error("syncing", error) from error

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file to *size* bytes."""
        with _translated("cutting a file"):
            os.ftruncate(fd, size)

    def size(self, fd: int) -> int:
        """Return the file's size in bytes."""
        try:
            return os.fstat(fd).st_size
        except OSError as error:
            raise storage_error("reading a file's size", error) from error

    def size_of(self, name: str) -> int:
        """Return the size in bytes of the plain file *name*, 0 if it is none."""
        with _translated(f"looking at {name}"):
            try:
                facts = os.lstat(self.path(name))
            except FileNotFoundError:
                return 0
            return facts.st_size if stat.S_ISREG(facts.st_mode) else 0

    def identity(self, fd: int) -> tuple[int, int]:
        """Return device and inode number of the file."""
        with _translated("reading a file's identity"):
            facts = os.fstat(fd)
            return facts.st_dev, facts.st_ino

    def close(self, fd: int) -> None:
        """Close a descriptor; what it wrote is not made durable by that."""
        with _translated("closing a file"):
            os.close(fd)

    # --- the machine ---------------------------------------------------------

    def lock(self, fd: int, *, exclusive: bool = True, wait: bool = False) -> bool:
        """
        Take the flock of an open file; return whether it was had.

        Args:
            fd: The open file that holds the lock until it is closed.

            exclusive: Whether nobody else may hold it.

            wait: Whether to wait, without limit, for who holds it.
        """
        how = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(fd, how if wait else how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise UnsupportedError(
                    what="this file system has no locks; put the store elsewhere"
                ) from error
            raise storage_error("locking", error) from error
        return True

    def unlock(self, fd: int) -> None:
        """Give the flock of an open file back."""
        try:
            fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError as error:
            raise storage_error("unlocking", error) from error

    def boot_id(self) -> bytes:
        """Return 16 bytes that change whenever the machine starts."""
        return _boot_id()

    def free_size(self) -> int:
        """Return the bytes that the file system would still take."""
        with _translated("asking for free space"):
            facts = os.statvfs(self.root)
            return facts.f_bavail * facts.f_frsize


def _boot_id() -> bytes:
    if sys.platform == "darwin":
        import subprocess

        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        text = subprocess.run(  # noqa: S603 - a fixed command
            command, check=True, capture_output=True
        ).stdout.decode()
    elif sys.platform == "linux":
        text = Path("/proc/sys/kernel/random/boot_id").read_text()
    else:
        raise UnsupportedError(
            what=f"castore keeps stores on Linux and macOS, not on {sys.platform}"
        )
    return bytes.fromhex(text.strip().replace("-", ""))
