"""
Files of a store into the folder of a backup: each frame is hashed on the way.

Spec: spec/backup.md, "What is copied".
"""

from __future__ import annotations

import errno

from collections.abc import Callable

import attrs

from castore.backups.snapshot import Taken
from castore.backups.target import Target
from castore.errors import CorruptionError, NotFoundError, StorageError
from castore.formats import file as file_format
from castore.formats.file import decode_header, file_name
from castore.formats.refuse import placed
from castore.reading.frames import Gap, walk
from castore.storage import Files


_PART = ".part"
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES}


@attrs.define
class Amounts:
    """
    Counts of files, sizes in bytes.

    Attributes:
        copied_count: Files of which something was copied.

        copied_size: What of them was copied.

        linked_count: Files that are the store's own by another name.

        linked_size: Their size.

        kept_count: Files that were there.
    """

    copied_count: int = 0
    copied_size: int = 0
    linked_count: int = 0
    linked_size: int = 0
    kept_count: int = 0


class Copier:
    """
    Brings files into the folder of a run.

    Attributes:
        amounts: What was done.

        sides: Up to where each side pack stands there.
    """

    def __init__(
        self, source: Files, target: Target, *, link: bool, tell: Callable[[int], None]
    ) -> None:
        """
        Args:
            source: The store's folder.

            target: Where to.

            link: Whether a file may be the store's own by another name.

            tell: Told how many bytes were brought, each time.
        """
        self.amounts = Amounts()
        self.sides: dict[bytes, int] = {}
        self._source = source
        self._target = target
        self._files = target.files
        self._link = link
        self._tell = tell

    def clear(self, wanted: set[bytes]) -> None:
        """Remove what an interrupted run left and nobody wants."""
        folder = self._target.folder
        names = {_name(file) for file in wanted}
        for name in self._files.list(folder):
            if name not in names:
                self._files.unlink(f"{folder}/{name}")

    def take(self, taken: Taken) -> None:
        """
        Have *taken* stand in the folder of this run, durable.

        Raises:
            CorruptionError: It is damaged.

            StorageError: The medium failed.
        """
        name = f"{self._target.folder}/{_name(taken.file.id)}"
        if self._is_good(name, taken) and not taken.is_side:
            self.amounts.kept_count += 1
            self._tell(taken.stop)
            return
        self._files.unlink(name)
        if not (self._keep(name, taken) or self._share(name, taken)):
            self._copy(name, taken)
        if taken.is_side:
            self.sides[taken.file.id] = self._files.size_of(name)

    def _is_good(self, name: str, taken: Taken) -> bool:
        """Return whether *name* is all of *taken*, and shared only if it may be."""
        size = self._files.size_of(name)
        if not size:
            return False
        if self._is_shared(name, taken):
            return self._link and not taken.is_newest
        return size == taken.stop

    def _is_shared(self, name: str, taken: Taken) -> bool:
        fd = self._files.open(name)
        try:
            return self._files.identity(fd) == self._source.identity(taken.file.fd)
        finally:
            self._files.close(fd)

    def _keep(self, name: str, taken: Taken) -> bool:
        """Take over what the backup has; write on where it is a side pack."""
        target = self._target
        if not target.shown:
            return False
        old = f"{target.shown}/{_name(taken.file.id)}"
        if not self._files.size_of(old):
            return False
        shared = self._is_shared(old, taken)
        if shared and not (self._link and not taken.is_newest):
            return False
        if taken.is_side and not shared:
            if not self._write_on(old, taken):
                return False
        elif shared or self._files.size_of(old) == taken.stop:
            self.amounts.kept_count += 1
            self._tell(taken.size)
        else:
            return False
        self._files.link(old, name)
        return True

    def _share(self, name: str, taken: Taken) -> bool:
        if not self._link or taken.is_newest:
            return False
        try:
            self._files.link_from(self._source, file_name(taken.file.id), name)
        except NotFoundError:
            return False  # dropped meanwhile; it is open still
        except StorageError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        self.amounts.linked_count += 1
        self.amounts.linked_size += taken.size
        self._tell(taken.size)
        return True

    def _write_on(self, old: str, taken: Taken) -> bool:
        """
        Copy what came to a side pack since; return whether that could be done.

        What stands behind what was durable then counts for nobody, in no state
        that the backup shows.
        """
        state = self._target.state
        start = state.sides.get(taken.file.id, 0) if state else 0
        if not file_format.SIZE < start <= self._files.size_of(old):
            return False
        fd = self._files.open(old, write=True)
        try:
            before = self._files.read_up_to(fd, 32, start - 32)
            if before != taken.file.read_up_to(32, start - 32):
                return False  # it was cut, and others wrote behind that
            self._files.truncate(fd, start)
            end = self._copy_frames(fd, taken, start)
            if end > start:
                self._files.sync(fd)
        finally:
            self._files.close(fd)
        self._tell(start)
        if end > start:
            self.amounts.copied_count += 1
        else:
            self.amounts.kept_count += 1
        return True

    def _copy(self, name: str, taken: Taken) -> None:
        part = name + _PART
        self._files.unlink(part)
        fd = self._files.create(part)
        try:
            header = taken.file.read_up_to(file_format.SIZE, 0)
            with placed(f"{taken.file.name}@0"):
                decode_header(header, file=taken.file.id, store=taken.file.header.store)
            self._files.write(fd, header, 0)
            self._copy_frames(fd, taken, file_format.SIZE)
            self._files.sync(fd)
        finally:
            self._files.close(fd)
        self._files.replace(part, name)
        self.amounts.copied_count += 1

    def _copy_frames(self, fd: int, taken: Taken, start: int) -> int:
        """
        Copy the frames from *start* on; return where the last ends.

        Raises:
            CorruptionError: They do not lead to where the file must go.
        """
        stop = taken.file.size() if taken.is_side else taken.stop
        end = start
        for item in walk(taken.file, start, stop):
            if isinstance(item, Gap):
                if taken.is_side and item.end is None and item.offset >= taken.stop:
                    break  # somebody writes there
                raise _damaged(taken, item.offset, item.what)
            self._files.write(fd, item.data, item.offset)
            end = item.end
            self.amounts.copied_size += len(item.data)
            self._tell(len(item.data))
        if end < taken.stop:
            raise _damaged(taken, end, f"no frame ends at {taken.stop} as it should")
        return end


def _name(file: bytes) -> str:
    return file_name(file).partition("/")[2]


def _damaged(taken: Taken, offset: int, what: str) -> CorruptionError:
    return CorruptionError(
        what=f"{what}; the backup stays as it was, run castore verify",
        verdict="corrupt frame",
        where=f"{taken.file.name}@{offset}",
    )
