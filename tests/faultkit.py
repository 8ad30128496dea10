"""
A medium that fails on cue.

Points of failure are numbered: calls of the file seam, calls of the system below
it, or calls of the catalog, each in the order in which a workload makes them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import attrs

from crash.world import Intended, Settled, Shown, World

from castore import CastoreError
from castore.catalog.database import Database
from castore.formats import file as file_format
from castore.formats.mark import decode_lock
from castore.storage import Files
from castore.storage import files as seam
from castore.storage.files import storage_error


CALLS = (
    *("make_folder", "create", "open", "link", "unlink", "list", "sync_folder"),
    *("read_up_to", "write", "sync", "truncate", "size", "size_of", "identity"),
    *("close", "lock", "unlock", "free_size"),
)
SYSTEM_CALLS = (
    *("open", "close", "link", "listdir", "pread", "pwrite", "fdatasync", "fsync"),
    *("ftruncate", "fstat", "lstat"),
)
GROWING = {
    *("make_folder", "create", "link", "write", "sync"),
    *("pwrite", "fdatasync", "fsync"),
    *("create_catalog", "open_catalog", "write_catalog"),
}


@attrs.define
class Plan:
    """
    When what fails, and how.

    Attributes:
        number: Of the first call that fails, counted while *armed*; -1 for none.

        error: Error number.

        forever: Whether all later ones fail too.

        full: Whether only calls that want room fail.

        short: Whether only writes of the system count, and the one that is hit
            does half of its work.

        twice: Whether the call after the first one fails too.

        raw: Whether the seam lets the system's own error through: a planted bug.

        armed: Whether calls count.

        count: Calls so far.

        hits: Names of the calls that failed.

        unsynced: Whether a file of frames of the open store is among what
            could not be synced.
    """

    number: int = -1
    error: int = errno.EIO
    forever: bool = False
    full: bool = False
    short: bool = False
    twice: bool = False
    raw: bool = False
    armed: bool = False
    count: int = 0
    hits: list[str] = attrs.Factory(list)
    unsynced: bool = False

    def hit(self, call: str) -> bool:
        """Return whether *call*, which is being made, fails."""
        if not self.armed or (self.full and call not in GROWING):
            return False
        if self.short and call != "pwrite":
            return False
        number, self.count = self.count, self.count + 1
        later = number - self.number if self.number >= 0 else -1
        wanted = (
            later == 0 or (self.twice and later == 1) or (self.forever and later > 0)
        )
        if wanted:
            self.hits.append(call)
        return wanted

    def fault(self, call: str) -> Exception:
        """Return the error of a call that fails."""
        error = OSError(self.error, os.strerror(self.error))
        return error if self.raw else storage_error(call, error)


class NotingFiles(Files):
    """Files that keep a `World` of what was done through them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.world = World()

    def note(self, step: Intended | Settled | Shown) -> None:
        """Take *step* in."""
        self.world.apply(step)


class FaultyFiles(NotingFiles):
    """
    Files of which calls fail as planned.

    A write that fails has done none, half or all of its work; a sync that fails
    has lost what was written since the last one.
    """

    def __init__(self, root: Path, plan: Plan) -> None:
        super().__init__(root)
        self.plan = plan
        self._undo: dict[int, list[tuple[int, bytes, int]]] = {}

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write."""
        size = os.fstat(fd).st_size
        old = os.pread(fd, len(data), offset)
        self._undo.setdefault(os.fstat(fd).st_ino, []).append((offset, old, size))
        if self.plan.hit("write"):
            done = len(data) * (self.plan.count % 3) // 2
            super().write(fd, data[:done], offset)
            raise self.plan.fault("write")
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        """Make durable, or lose."""
        undo = self._undo.pop(os.fstat(fd).st_ino, [])
        if not self.plan.hit("sync"):
            return
        front = os.pread(fd, file_format.SIZE, 0)
        with contextlib.suppress(CastoreError):
            kind = file_format.decode_header(front, file=front[28:44], store=None).kind
            mark = decode_lock((self.root / "lock").read_bytes())
            named = kind == file_format.SIDE or (
                mark is not None and mark.journal == front[28:44]
            )
            new = kind in (file_format.JOURNAL, file_format.PACK)
            failed = new and self.plan.error == errno.EIO
            self.plan.unsynced |= named or failed
        for offset, old, size in reversed(undo):
            os.pwrite(fd, old, offset)
            os.ftruncate(fd, min(size, os.fstat(fd).st_size))
        raise self.plan.fault("sync")

    def close(self, fd: int) -> None:
        """Close; the descriptor is gone even if that fails."""
        super().close(fd)
        if self.plan.hit("close"):
            raise self.plan.fault("close")


def _failing(name: str) -> Callable[..., Any]:
    method = getattr(Files, name)

    def call(self: FaultyFiles, *args: Any, **options: Any) -> Any:
        if self.plan.hit(name):
            raise self.plan.fault(name)
        return method(self, *args, **options)

    return call


for _name in CALLS:
    if _name not in FaultyFiles.__dict__:
        setattr(FaultyFiles, _name, _failing(_name))


# --- below and beside the seam -----------------------------------------------


@contextlib.contextmanager
def faulty_system(plan: Plan) -> Iterator[None]:
    """While this is on, calls that the seam makes of the system fail as planned."""

    def failing(name: str) -> Callable[..., Any]:
        method = getattr(os, name)

        def call(*args: Any, **options: Any) -> Any:
            made = name == "open" and args[1] & os.O_CREAT
            if not plan.hit("create" if made else name):
                return method(*args, **options)
            if plan.short and plan.count == plan.number + 1:
                fd, data, offset = args
                return method(fd, data[: len(data) // 2], offset)
            if name == "close":
                method(*args)
            raise OSError(plan.error, os.strerror(plan.error))

        return call

    calls = {name: failing(name) for name in SYSTEM_CALLS}
    with mock.patch.object(seam, "os", SimpleNamespace(**{**vars(os), **calls})):
        yield


@contextlib.contextmanager
def partial_system(rng: random.Random) -> Iterator[None]:
    """While this is on, the system reads and writes less than it was asked for."""

    def pwrite(fd: int, data: bytes | memoryview, offset: int) -> int:
        return os.pwrite(fd, data[: rng.randint(1, len(data) or 1)], offset)

    def pread(fd: int, size: int, offset: int) -> bytes:
        return os.pread(fd, rng.randint(1, size or 1), offset)

    calls = {"pwrite": pwrite, "pread": pread}
    with mock.patch.object(seam, "os", SimpleNamespace(**{**vars(os), **calls})):
        yield


@contextlib.contextmanager
def faulty_catalog(plan: Plan) -> Iterator[None]:
    """While this is on, calls of the catalog fail as planned."""

    def failing(name: str) -> Callable[..., Any]:
        method = getattr(Database, name)

        def call(*args: Any, **options: Any) -> Any:
            writes = name == "using" and "BEGIN IMMEDIATE" in args
            if plan.hit("write_catalog" if writes else f"{name}_catalog"):
                raise plan.fault(name)
            return method(*args, **options)

        return call

    with contextlib.ExitStack() as patches:
        for name in ("using", "fetch", "open", "create", "wal_size"):
            patches.enter_context(mock.patch.object(Database, name, failing(name)))
        yield
