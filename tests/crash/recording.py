"""
A file seam that records what is done through it, in order, and what was answered.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import attrs

from crash.disk import Disk, is_catalog
from crash.events import (
    FOLDER,
    CatalogSaved,
    Created,
    Cut,
    Event,
    FolderMade,
    FolderSynced,
    Linked,
    Synced,
    SyncFailed,
    Unlinked,
    Written,
)
from crash.world import Intended, Settled, Shown, World

from castore.catalog import SqliteCatalog
from castore.errors import StorageError
from castore.storage import Files
from castore.storage.files import storage_error


Step = Event | Intended | Settled | Shown


@attrs.define
class Record:
    """
    What happened to a store, from a disk and a world on.

    Attributes:
        disk: At the beginning.

        world: What may be expected at the beginning.

        steps: What happened, in order.
    """

    disk: Disk = attrs.Factory(Disk)
    world: World = attrs.Factory(World)
    steps: list[Step] = attrs.Factory(list)


class RecordingFiles(Files):
    """
    Files that note in a `Record` whatever changes something.

    Nothing is really synced: what that would have kept, `Disk` knows. Several
    engines may use one, with threads.

    Attributes:
        record: What happened.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        record: Record | None = None,
        *,
        fails: Callable[[str, int], int] = lambda _what, _number: 0,
    ) -> None:
        """
        Begin a record, or go on from the disk of *record*.

        Args:
            root: The folder.

            record: Its disk must be what is in the folder.

            fails: Asked before each ``sync`` and ``write``, with how many of that
                kind there were: the error number to fail with, 0 for none.
        """
        super().__init__(root)
        self.record = record or Record()
        self._fails = fails
        self._guard = threading.RLock()
        self._names = self.record.disk.names
        self._numbers = max([0, *self._names.values()]) + 1
        self._open: dict[int, int] = {}
        self._counts = {"sync": 0, "write": 0}
        self._torn = ""

    def note(self, step: Step) -> None:
        """Add *step* to the record."""
        with self._guard:
            self.record.steps.append(step)

    @contextlib.contextmanager
    def tearing(self, name: str) -> Iterator[None]:
        """While this is on, writes to the file *name* fail in the middle."""
        self._torn = name
        try:
            yield
        finally:
            self._torn = ""

    def _failure(self, what: str) -> None:
        number = self._fails(what, self._counts[what])
        self._counts[what] += 1
        if number:
            raise storage_error(what, OSError(number, ""))

    # --- names ---------------------------------------------------------------

    def make_folder(self, name: str) -> None:
        """Make the folder."""
        with self._guard:
            is_new = bool(name) and not self.exists(name)
            super().make_folder(name)
            if is_new:
                self._names[name] = FOLDER
                self.note(FolderMade(name))

    def create(self, name: str) -> int:
        """Make the file."""
        with self._guard:
            fd = super().create(name)
            number, self._numbers = self._numbers, self._numbers + 1
            self._names[name] = self._open[fd] = number
            self.note(Created(name, number, os.fstat(fd).st_ino))
            return fd

    def open(self, name: str, *, write: bool = False) -> int:
        """Open the file."""
        with self._guard:
            fd = super().open(name, write=write)
            self._open[fd] = self._names[name]
            return fd

    def link(self, old: str, new: str) -> None:
        """Give the file one more name."""
        with self._guard:
            super().link(old, new)
            self._names[new] = self._names[old]
            self.note(Linked(new, self._names[old]))

    def unlink(self, name: str) -> None:
        """Remove the name."""
        with self._guard:
            super().unlink(name)
            if self._names.pop(name, None) is not None:
                self.note(Unlinked(name))

    def sync_folder(self, name: str) -> None:
        """Note that the folder was synced."""
        self.note(FolderSynced(name))

    # --- bytes ---------------------------------------------------------------

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write."""
        with self._guard:
            try:
                self._failure("write")
                if self._torn and self._names[self._torn] == self._open[fd]:
                    raise storage_error("write", OSError(errno.ENOSPC, ""))
            except StorageError:
                self._write(fd, data[: len(data) // 2], offset)  # a disk gets full
                raise
            self._write(fd, data, offset)

    def _write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        super().write(fd, data, offset)
        self.note(Written(self._open[fd], offset, bytes(data)))

    def sync(self, fd: int) -> None:
        """Note that the file was synced."""
        with self._guard:
            try:
                self._failure("sync")
            except StorageError:
                self.note(SyncFailed(self._open[fd]))
                raise
            self.note(Synced(self._open[fd]))

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file."""
        with self._guard:
            super().truncate(fd, size)
            self.note(Cut(self._open[fd], size))

    def close(self, fd: int) -> None:
        """Close the descriptor."""
        with self._guard:
            self._open.pop(fd, None)
            super().close(fd)

    def save_catalog(self) -> None:
        """Note what the catalog's files are now."""
        files = {
            name: self.path(name).read_bytes()
            for name in self.list("")
            if is_catalog(name) and not name.endswith("-shm")
        }
        self.note(CatalogSaved(files))


class QuickFiles(Files):
    """Files that leave out what only a power cut shows."""

    def sync(self, fd: int) -> None:
        """Do nothing."""

    def sync_folder(self, name: str) -> None:
        """Do nothing."""


@contextlib.contextmanager
def catalogs_saved(files: RecordingFiles) -> Iterator[None]:
    """While this is on, *files* note each new state of the catalog in their folder."""

    def saving(name: str) -> Callable[..., object]:
        method = getattr(SqliteCatalog, name)

        def call(*args: object, **options: object) -> object:
            result = method(*args, **options)
            files.save_catalog()
            return result

        return call

    changes: dict[str, Any] = {
        name: saving(name) for name in ("apply", "checkpoint", "close")
    }
    with mock.patch.multiple(SqliteCatalog, **changes):
        yield


def folder_bytes(root: Path) -> dict[str, bytes]:
    """Return the bytes of all files below *root*, by name."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
