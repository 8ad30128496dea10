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

from castore.catalog.rows import Place
from castore.errors import ClosedError, StorageError
from castore.formats import file as file_format
from castore.formats.file import FileHeader, encode_header, file_name
from castore.formats.frame import finish, seal_part
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

    def write(self, records: Sequence[SideRecord]) -> list[Place]:
        """
        Write *records* as one frame and return where they are. Not yet durable.

        Raises:
            StorageError: The medium failed.
        """
        raw = b"".join(record.payload for record in records)
        part = seal_part(raw, LEVEL)
        self._check_room(len(part.data))
        with self._guard:
            self._open()
            frame = finish(
                part,
                [record.descriptor for record in records],
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
            self.end += len(frame)
            self._last = frame[-32:]
        return places

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
            return (self.id, self.end, self._last), list(self._places)

    def named(self, places: Sequence[Place]) -> None:
        """Take note that a durable commit names *places*."""
        done = set(places)
        with self._guard:
            self._places = [place for place in self._places if place not in done]

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
        self.id = os.urandom(16)
        header = FileHeader(file_format.SIDE, self._store, self.id)
        self._header = encode_header(header)
        fd = self._files.create(file_name(self.id))
        try:
            self._begin(fd)
        except StorageError:
            # Nothing is in it: the next blob begins another one.
            self._files.close(fd)
            self._files.unlink(file_name(self.id))
            raise
        self._fd = fd
        self.end = self._synced_end = file_format.SIZE
        self._last = self._header[-32:]

    def _begin(self, fd: int) -> None:
        self._files.lock(fd)
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
