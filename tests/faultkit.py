"""
A medium that fails on cue, a workload on it, and what must be true afterwards.

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
from typing import Any, cast
from unittest import mock

import attrs

from crash.campaign import Fault, check_found, check_goes_on
from crash.recording import RecordingFiles
from crash.scribe import Scribe, Wanted
from crash.workloads import entries
from crash.world import Intended, Settled, Shown, World

from castore import CastoreError, ClosedError, ConflictError, Reference, limits
from castore.catalog.database import Database
from castore.errors import StorageError
from castore.formats import file as file_format
from castore.formats.mark import decode_lock
from castore.gc import collect
from castore.packing.rewrite import pack
from castore.reading.findings import FAULT
from castore.reading.survey import survey
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
GROWING = {"make_folder", "create", "link", "write", "sync", "open_catalog"}


@attrs.define
class Plan:
    """
    When what fails, and how.

    Attributes:
        number: Of the first call that fails, counted while *armed*; -1 for none.

        error: Error number.

        forever: Whether all later ones fail too.

        full: Whether only calls that want room fail.

        raw: Whether the seam lets the system's own error through: a planted bug.

        armed: Whether calls count.

        count: Calls so far.

        hits: Names of the calls that failed.

        unsynced: Whether a journal or side pack of the open store is among what
            could not be synced.
    """

    number: int = -1
    error: int = errno.EIO
    forever: bool = False
    full: bool = False
    raw: bool = False
    armed: bool = False
    count: int = 0
    hits: list[str] = attrs.Factory(list)
    unsynced: bool = False

    def hit(self, call: str) -> bool:
        """Return whether *call*, which is being made, fails."""
        if not self.armed or (self.full and call not in GROWING):
            return False
        number, self.count = self.count, self.count + 1
        wanted = number == self.number or (self.forever and number > self.number >= 0)
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
            named = kind == file_format.SIDE or mark.journal == front[28:44]
            failed = kind == file_format.JOURNAL and self.plan.error == errno.EIO
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
            if not plan.hit(name):
                return method(*args, **options)
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
            if plan.hit(f"{name}_catalog"):
                raise plan.fault(name)
            return method(*args, **options)

        return call

    names = ("using", "fetch", "open", "create", "wal_size")
    with mock.patch.multiple(Database, **{name: failing(name) for name in names}):
        yield


# --- the workload ------------------------------------------------------------


class Talk:
    """
    Steps on one store; each can be done again if it failed.

    Attributes:
        scribe: Does them.
    """

    def __init__(self, files: NotingFiles) -> None:
        self.rng = random.Random(1)
        self.files = files
        self.scribe = Scribe(cast("RecordingFiles", files))
        self.steps: list[Callable[[], object]] = [
            self.begin,
            self.append,
            self.append_keyed,
            self.fork,
            self.difference,
            self.side,
            self.chunks,
            self.tags,
            self.delete,
            *[self.append] * 6,
            self.pack,
            self.side,
            self.collect,
            self.append,
            self.scribe.reopen,
            self.append,
            self.delete,
            self.untag,
            self.collect,
            self.pack,
            self.append,
        ]

    def some(self) -> list[Wanted]:
        """Return entries."""
        return entries(self.rng, self.rng.choice([1, 4]))

    def begin(self) -> None:
        """Begin the session that is appended to."""
        with contextlib.suppress(ConflictError):
            self.scribe.begin(b"hello", key=("test", "a"), then=self.some())

    @property
    def segment(self) -> Any:
        """Its first segment, as it is now."""
        return self.scribe.store.session(("test", "a")).segments()[0]

    def append(self) -> None:
        """Append."""
        self.scribe.append(self.segment, *self.some())

    def append_keyed(self) -> None:
        """Append under a key, which makes it happen once."""
        wanted: Wanted = ("tool", b"only once", ())
        segment = self.segment
        if any(entry.kind == "once" for entry in segment.entries()):
            segment.append([], key="once")
        self.scribe.append(segment, wanted, key=f"once{self.rng.random()}")

    def fork(self) -> None:
        """Fork, and append to the fork."""
        forked = self.scribe.fork(self.segment, 2, b"other", self.some())
        self.scribe.append(forked, *self.some())

    def difference(self) -> None:
        """Append a payload and one that is stored as the difference to it."""
        data = self.rng.randbytes(1500)
        first = self.scribe.store.put(data)
        second = self.scribe.store.put(data[:700] + b"more" + data[700:], like=first)
        refs = [Reference("a", first), Reference("b", second)]
        self.scribe.append(self.segment, ("tool", b"", refs))

    def side(self) -> None:
        """Append a payload that goes to the side pack."""
        large = self.scribe.store.put(self.rng.randbytes(5000))
        self.scribe.append(self.segment, ("tool", large, [Reference("x", large)]))

    def chunks(self) -> None:
        """Append a payload in chunks."""
        parts = [self.rng.randbytes(900) for _ in range(4)]
        ref = self.scribe.store.engine.pool.put_parts(parts)
        self.scribe.append(self.segment, ("tool", ref, ()))

    def tags(self) -> None:
        """Tag payloads."""
        self.scribe.tag("kept", self.rng.randbytes(4000))
        self.scribe.tag("other", b"small")

    def untag(self) -> None:
        """Let go of a tag."""
        if "kept" in self.scribe.store.tags():
            self.scribe.untag("kept")

    def delete(self) -> None:
        """Begin a session and delete it."""
        self.scribe.delete(self.scribe.begin(b"for nothing", then=self.some()))

    def pack(self) -> None:
        """Pack."""
        pack(self.scribe.store.engine)

    def collect(self) -> None:
        """Collect what nothing needs."""
        collect(self.scribe.store.engine, grace_s=0, yes=True)


def small() -> Any:
    """While this is on, few bytes are many."""
    return mock.patch.multiple(
        limits, JOURNAL_SIZE=6000, OVERLAY_COMMIT_COUNT=4, SIDE_SIZE_MIN=2000
    )


# --- what must be true -------------------------------------------------------


def run(files: NotingFiles, plan: Plan, *, creating: bool = False) -> None:
    """
    Do the workload while things fail, and check what is left.

    Raises:
        Fault: Something is lost, half or invented; or a failed sync had no
            consequence; or what failed once did not work after that.
    """
    plan.armed = creating
    with small():
        talk = _begin(files, plan)
        if talk is not None:
            plan.armed = True
            for step in [*([] if creating else talk.steps), talk.scribe.store.close]:
                _do(step, talk, plan)
        plan.armed = False
        _check(files)


def _begin(files: NotingFiles, plan: Plan) -> Talk | None:
    """Make and open the store; what failed once works when it is done again."""
    for _ in range(2):
        try:
            return Talk(files)
        except CastoreError as error:
            last = error
    if not plan.forever:
        raise Fault(f"not made after {plan.hits}: {last!r}") from last
    return None


def _do(step: Callable[[], object], talk: Talk, plan: Plan) -> None:
    before = len(plan.hits)
    try:
        step()
    except ConflictError as error:
        raise Fault(f"{step} after {plan.hits}: {error}") from error
    except CastoreError as error:
        if len(plan.hits) == before and not plan.forever and not plan.unsynced:
            raise Fault(f"{step} after {plan.hits}: {error!r}") from error
    else:
        if len(plan.hits) == before and not plan.unsynced:
            return
    if plan.forever:
        return
    if plan.unsynced:
        _check_refused(talk, plan)
        plan.unsynced = False
        talk.scribe.reopen()
    elif step != talk.scribe.store.close:
        _again(step, talk)


def _again(step: Callable[[], object], talk: Talk) -> None:
    """Do what failed once again, on another handle if this one is closed."""
    try:
        talk.scribe.show()
        step()
    except ClosedError:
        talk.scribe.reopen()
        step()


def _check_refused(talk: Talk, plan: Plan) -> None:
    try:
        talk.append()
    except ClosedError:
        return
    except CastoreError as error:
        raise Fault(f"refused, but not as closed: {error!r}") from error
    raise Fault(f"the handle goes on after {plan.hits}")


def _check(files: NotingFiles) -> None:
    healthy = Files(files.root)
    seen = check_found(healthy, files.world)
    seen = check_goes_on(healthy, seen)
    faults = [one for one in survey(healthy).findings if one.severity == FAULT]
    if faults:
        raise Fault(f"survey: {faults}")
