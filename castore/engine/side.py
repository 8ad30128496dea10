"""
Side packs: where one process writes large blobs, outside of the store's lock.

Spec: spec/file.md, "Side pack"; spec/ordering.md, "Side packs".
"""

from __future__ import annotations

import contextlib
import os
import threading

from collections.abc import Callable, Sequence
from typing import Any

from castore import limits
from castore.catalog.rows import Place
from castore.errors import ClosedError, LimitError, StorageError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.file import FileHeader, encode_header, file_name
from castore.formats.frame import Part, finish, seal_part
from castore.storage import Files


LEVEL = 3  # of zstd, for what a commit writes


class SideRecord:
    """One blob to be written: name, raw size, descriptor, payload."""

    __slots__ = ("descriptor", "digest", "payload", "size")

    def __init__(
        self, digest: bytes, size: int, descriptor: list[Any], payload: bytes
    ) -> None:
        self.digest = digest
        self.size = size
        self.descriptor = descriptor
        self.payload = payload


class SidePack:
    """
    A process's file for large blobs, made with the first of them.

    It is flocked while open: nobody else judges what is in it. What was written
    counts once a commit names it (`seal`). May be used by many threads.
    """

    def __init__(
        self,
        files: Files,
        store: bytes,
        check_room: Callable[[int], None],
        poison: Callable[[str], None],
    ) -> None:
        self._files = files
        self._store = store
        self._check_room = check_room
        self._poison = poison
        self._guard = threading.Lock()
        self._fd = -1
        self._header = b""
        self._failed = False
        self._places: list[Place] = []
        self._synced_end = 0
        self.id = b""
        self.end = 0
        self._last = b""
        self._before: dict[int, bytes] = {}  # hash before each frame not yet synced

    def write(self, records: Sequence[SideRecord]) -> list[Place]:
        """
        Write *records*, if there are any, as one frame and return where they are.

        Not yet durable.

        Raises:
            LimitError: Neither store nor file may grow by that. Nothing was written.

            StorageError: The medium failed.
        """
        if not records:
            return []
        part, table = _packed(records)
        size = frame_format.size_of(part, table)
        with self._guard:
            self.check_fits(size)
            self._open()
            frame = finish(
                part,
                table,
                offset=self.end,
                group_start=min(self._synced_end, self.end),
                file_hash=self._header[-32:],
                prev=self._last,
            )
            self._write(frame)
            places = [
                Place(record.digest, self.id, self.end, number, record.size)
                for number, record in enumerate(records)
            ]
            self._places += places
            self._before[self.end] = self._last
            self.end += len(frame)
            self._last = frame[-32:]
        return places

    def check_fits(self, size: int) -> None:
        """
        Refuse *size* more bytes of frames if store or file may not grow by that.

        Raises:
            LimitError: Nothing was written.
        """
        new = 0 if self._fd >= 0 else file_format.SIZE
        self._check_room(new + size)
        if self.end + new + size > limits.FILE_SIZE_MAX:
            raise LimitError(
                what="the file of this process's large blobs is full; open again",
                limit=limits.FILE_SIZE_MAX,
            )

    def packed_size(self, records: Sequence[SideRecord]) -> int:
        """Return the bytes that *records*, written as one frame, would take."""
        return frame_format.size_of(*_packed(records)) if records else 0

    def take_back(self, places: Sequence[Place]) -> None:
        """
        Forget *places*, of a blob that never became whole.

        The file is cut to where they begin, unless somebody else wrote behind
        that, or a commit has named it: then gc removes them.
        """
        gone = set(places)
        with self._guard:
            self._places = [place for place in self._places if place not in gone]
            start = min((place.offset for place in gone), default=self.end)
            others = any(place.offset >= start for place in self._places)
            if self._failed or others or start not in self._before:
                return
            # What stands there counts for nothing, cut or not.
            with contextlib.suppress(StorageError):
                self._files.truncate(self._fd, start)
                self.end, self._last = start, self._before[start]

    def seal(self) -> tuple[tuple[bytes, int, bytes], list[Place]] | None:
        """
        Make what was written durable and return what a commit must name.

        Returns:
            (file id, end offset, frame hash) and all places written since the
            file began that were not `named` yet; None if there are none.

        Raises:
            StorageError: It failed, which poisons the handle.
        """
        with self._guard:
            if not self._places:
                return None
            if self._failed:
                raise self._closed()
            if self._synced_end < self.end:
                self._sync()
                self._synced_end = self.end
                self._before.clear()
            return (self.id, self.end, self._last), list(self._places)

    def named(self, places: Sequence[Place]) -> None:
        """Take note that a durable commit names *places*."""
        done = set(places)
        with self._guard:
            self._places = [place for place in self._places if place not in done]

    def leave(self) -> bool:
        """
        Let go of the file; what is written next begins another one.

        Returns:
            Whether that was possible: nothing in it waits for a commit.
        """
        with self._guard:
            if self._places:
                return False
            fd, self._fd = self._fd, -1
            self.end = self._synced_end = 0
            self._before.clear()
            if fd >= 0:
                self._files.close(fd)
            return True

    def close(self) -> None:
        """Give the file up; what no commit named is garbage."""
        with self._guard:
            self._failed = True
            fd, self._fd = self._fd, -1
            if fd >= 0:
                self._files.close(fd)

    def _closed(self) -> ClosedError:
        return ClosedError(what="the side pack failed or was closed; open again")

    def _open(self) -> None:
        if self._failed:
            raise self._closed()
        if self._fd >= 0:
            return
        while not self._begin():
            pass  # a collection takes it for a file that somebody gave up
        self.end = self._synced_end = file_format.SIZE
        self._last = self._header[-32:]

    def _begin(self) -> bool:
        """Make a file; return whether it is flocked and still has its name then."""
        self.id = os.urandom(16)
        header = FileHeader(file_format.SIDE, self._store, self.id)
        self._header = encode_header(header)
        fd = self._files.create(file_name(self.id))
        try:
            is_ours = self._files.lock(fd) and self._files.exists(file_name(self.id))
            if is_ours:
                self._write_header(fd)
        except StorageError:
            # Nothing is in it: the next blob begins another one.
            self._give_up(fd)
            raise
        if not is_ours:
            self._give_up(fd)
            return False
        self._fd = fd
        return True

    def _give_up(self, fd: int) -> None:
        self._files.close(fd)
        self._files.unlink(file_name(self.id))

    def _write_header(self, fd: int) -> None:
        self._files.write(fd, self._header, 0)
        try:
            self._files.sync(fd)
        except StorageError:
            self._fail()
            raise
        self._files.sync_folder("files")

    def _write(self, frame: bytes) -> None:
        try:
            self._files.write(self._fd, frame, self.end)
        except StorageError:
            # A full disk gets its room back; what stands there is written over.
            with contextlib.suppress(StorageError):
                self._files.truncate(self._fd, self.end)
            raise

    def _sync(self) -> None:
        try:
            self._files.sync(self._fd)
        except StorageError:
            self._fail()
            raise

    def _fail(self) -> None:
        self._failed = True
        self._poison("a sync failed; open the store again")


def _packed(records: Sequence[SideRecord]) -> tuple[Part, list[list[Any]]]:
    raw = b"".join(record.payload for record in records)
    return seal_part(raw, LEVEL), [record.descriptor for record in records]
