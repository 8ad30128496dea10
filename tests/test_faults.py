"""
Whatever the medium refuses: typed errors only, nothing acknowledged is lost.

Each call of the file seam, of the system below it and of the catalog fails, once
and for good, while a store is made, written, packed, collected and opened again.

Spec: spec/ordering.md, "What holds at any time", "A full disk".
"""

from __future__ import annotations

import contextlib
import errno
import io
import random
import shutil
import tempfile
import threading
import time

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from crash.campaign import Fault
from faultkit import (
    FaultyFiles,
    NotingFiles,
    Plan,
    faulty_catalog,
    faulty_system,
    partial_system,
)
from faultwork import run, small

import castore

from castore import LimitError, NewEntry, Reference, Store
from castore.digest import blob_digest
from castore.engine import Engine
from castore.engine.commits import Committer
from castore.engine.creating import create_store, store_id
from castore.engine.reserve import NAME as RESERVE
from castore.engine.side import SidePack
from castore.engine.state import State
from castore.errors import StorageError
from castore.formats.file import SIZE
from castore.gc import collect
from castore.packing.rewrite import close_journal
from castore.storage import Files
from castore.verify import verify


RUN_COUNT = 10  # runs of one mode, for a budget of 1
ALL = 10  # budget from which every call fails in turn
MODES: dict[str, dict[str, Any]] = {
    "EIO": {"error": errno.EIO},
    "ENOSPC": {"error": errno.ENOSPC},
    "EINTR": {"error": errno.EINTR},
    "EIO for good": {"error": errno.EIO, "forever": True},
    "disk full": {"error": errno.ENOSPC, "forever": True, "full": True},
}
LAYERS = ("seam", "system", "catalog")
SHORT: dict[str, dict[str, Any]] = {
    "goes on": {"short": True},
    "ENOSPC": {"short": True, "twice": True, "error": errno.ENOSPC},
    "EIO for good": {"short": True, "forever": True},
}


def attempt(folder: Path, layer: str, plan: Plan, *, creating: bool = False) -> None:
    """
    Run the workload once with *plan*.

    Raises:
        Fault: Something broke a promise.
    """
    root = Path(tempfile.mkdtemp(dir=folder)) / "store"
    files = FaultyFiles(root, plan) if layer == "seam" else NotingFiles(root)
    below: AbstractContextManager[None] = contextlib.nullcontext()
    if layer == "system":
        below = faulty_system(plan)
    if layer == "catalog":
        below = faulty_catalog(plan)
    try:
        with below:
            run(files, plan, creating=creating)
    finally:
        shutil.rmtree(root.parent)


def campaign(
    folder: Path,
    layer: str,
    mode: dict[str, Any],
    budget: float,
    *,
    creating: bool = False,
) -> list[str]:
    """
    Return what is wrong after failures at some points, evenly spread; from a
    budget of `ALL` on, at every one.
    """
    whole = Plan(full=mode.get("full", False), short=mode.get("short", False))
    attempt(folder, layer, whole, creating=creating)
    assert whole.count
    step = 1.0 if budget >= ALL else max(1.0, whole.count / (RUN_COUNT * budget))
    shift = random.Random(f"{layer} {mode}").random() * step
    faults = []
    for at in range(int(whole.count / step)):
        plan = Plan(int(at * step + shift), **mode)
        try:
            attempt(folder, layer, plan, creating=creating)
        except Exception as fault:  # noqa: BLE001 - any error but a typed one is a fault
            faults.append(f"call {plan.number}, {plan.hits[:3]}: {fault!r}")
    return faults


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layer", LAYERS)
def test_working_while_calls_fail(
    layer: str, mode: str, folder: Path, budget: float
) -> None:
    """Any call may fail: errors are typed and nothing acknowledged is lost."""
    assert [] == campaign(folder, layer, MODES[mode], budget)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("layer", LAYERS)
def test_making_a_store_while_calls_fail(
    layer: str, mode: str, folder: Path, budget: float
) -> None:
    """A creation that failed is no store, and made again it is one."""
    assert [] == campaign(folder, layer, MODES[mode], budget, creating=True)


@pytest.mark.parametrize("mode", SHORT)
@pytest.mark.parametrize("creating", [False, True], ids=["working", "making"])
def test_short_writes(
    mode: str, folder: Path, budget: float, *, creating: bool
) -> None:
    """A write that does half of its work is finished, or taken back."""
    assert [] == campaign(folder, "system", SHORT[mode], budget, creating=creating)


def test_partial_calls(folder: Path, budget: float) -> None:
    """Reads and writes that do less than they were asked for are finished."""
    for seed in range(max(1, int(budget))):
        files = NotingFiles(folder / str(seed))
        with partial_system(random.Random(seed)):
            run(files, Plan())


# --- bounds ------------------------------------------------------------------


class QuotaFiles(Files):
    """Files whose frames and reserve together may take so many bytes."""

    def __init__(self, root: Path, quota: int) -> None:
        super().__init__(root)
        self.quota = quota

    def used(self) -> int:
        """Return the bytes that count."""
        names = [RESERVE, *(f"files/{name}" for name in self.list("files"))]
        return sum(self.size_of(name) for name in names)

    def free_size(self) -> int:
        """Return how many are left."""
        return max(0, self.quota - self.used())

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write what there is room for, then fail."""
        room = self.free_size() + max(0, self.size(fd) - offset)
        super().write(fd, data[:room], offset)
        if room < len(data):
            raise StorageError(what="full", errno=errno.ENOSPC, transient=True)


def open_in(files: Files, max_bytes: int | None = None) -> Store:
    """Open the store in *files*."""
    store = store_id(files, writing=True)
    return Store(Engine(files, store, max_bytes=max_bytes))


def fill(store: Store, kind: type[castore.CastoreError]) -> castore.Segment:
    """Append until that fails with *kind*; return the segment."""
    rng = random.Random(3)
    segment = store.create_session(body=b"large")
    try:
        for _ in range(200):
            segment.append([NewEntry("tool", rng.randbytes(20_000))])
    except kind:
        return segment
    raise Fault("it is never full")


@pytest.mark.parametrize("journal_size", [castore.limits.JOURNAL_SIZE, 150_000])
@pytest.mark.parametrize("reserve", [True, False])
def test_deleting_on_a_full_disk(
    reserve: bool, journal_size: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk reads; a segment is deleted, gc makes room, appends go on."""
    monkeypatch.setattr(castore.limits, "JOURNAL_SIZE", journal_size)
    monkeypatch.setattr(castore.limits, "RESERVE_SIZE", 8192)
    files = QuotaFiles(folder / "store", 1_000_000)
    create_store(files)
    if not reserve:
        files.unlink(RESERVE)
    with open_in(files) as store:
        kept = store.create_session(body=b"kept")
        large = fill(store, StorageError)
        before = files.used()
        assert b"kept" == next(kept.read())[1]
        large.delete()
        collect(store.engine, grace_s=0, yes=True)
        assert before - 500_000 > files.used()
        kept.append([NewEntry("tool", bytes(1000))])
        assert 2 == kept.count
    assert verify(files.root).ok


class CountingFiles(Files):
    """Files that count what is written to them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.written = 0
        self.largest = 0

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write and count."""
        self.written += len(data)
        super().write(fd, data, offset)
        self.largest = max(self.largest, sum(sizes(self).values()))


@pytest.mark.parametrize("size", [30_000, 2_000_000, 9_000_000])
def test_a_bounded_store_writes_nothing_more(size: int, folder: Path) -> None:
    """What passes `max_bytes` is refused before a byte of it is written."""
    files = CountingFiles(folder / "store")
    create_store(files)
    data = random.Random(5).randbytes(size)
    with open_in(files, max_bytes=200_000) as store:
        large = fill(store, LimitError)
        before = sizes(files), files.written
        with pytest.raises(LimitError):
            large.append([NewEntry("tool", data)])
        with pytest.raises(LimitError):
            store.create_session(body=data[1:])
        with pytest.raises(LimitError):
            store.put(data[2:], tag="no")
        with pytest.raises(LimitError):
            refer_to_new(store, large, data[3:])
        assert before == (sizes(files), files.written)
        large.delete()
        collect(store.engine, grace_s=0, yes=True)
        store.create_session(body=b"again").append([NewEntry("tool", b"more")])
    assert verify(files.root).ok


@pytest.mark.parametrize("begun", [True, False])
def test_a_large_blob_that_does_not_fit(folder: Path, *, begun: bool) -> None:
    """
    Of bytes whose first frames would fit none is written; a stream whose size
    nobody knows is taken back: no blob, no room lost, and never too large.
    """
    files = CountingFiles(folder / "store")
    create_store(files)
    rng = random.Random(5)
    data = rng.randbytes(15 << 20)
    with open_in(files, max_bytes=12 << 20) as store:
        segment = store.create_session()
        if begun:  # the process has a file of large blobs
            refer_to_new(store, segment, rng.randbytes(3 << 20))
        before = sizes(files), files.written
        with pytest.raises(LimitError):
            store.put(data)
        assert before == (sizes(files), files.written)
        with pytest.raises(LimitError):
            store.put(io.BytesIO(data))
        assert not store.has(f"blake3:{blob_digest(data).hex()}")
        assert sum(before[0].values()) + SIZE >= sum(sizes(files).values())
        assert files.largest <= 12 << 20
        # What shrinks enough is taken, whatever its size.
        for more in (data[: 2 << 20], bytes(100 << 20), data[: 2 << 20] * 16):
            refer_to_new(store, segment, more)
        assert segment.entry(-1).refs[0].blob.size == 32 << 20
    assert verify(files.root).ok


def test_a_full_file_of_large_blobs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file grows above the limit of a file; who opens again has a new one."""
    monkeypatch.setattr(castore.limits, "FILE_SIZE_MAX", 5 << 20)
    files = CountingFiles(folder / "store")
    create_store(files)
    rng = random.Random(5)
    with open_in(files) as store:
        segment = store.create_session()
        refer_to_new(store, segment, rng.randbytes(2 << 20))
        before = sizes(files), files.written
        with pytest.raises(LimitError):
            store.put(rng.randbytes(4 << 20))
        assert before == (sizes(files), files.written)
    with open_in(files) as store:
        refer_to_new(store, store.segment(segment.id), rng.randbytes(4 << 20))
    assert verify(files.root).ok


def test_groups_of_commits_keep_the_bound(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commits that share a sync are weighed together."""
    files = CountingFiles(folder / "store")
    create_store(files)
    bound = 300_000
    rng = random.Random(6)
    bodies = [rng.randbytes(50_000) for _ in range(16)]
    with open_in(files, max_bytes=bound) as store:
        segments = [store.create_session() for _ in bodies]
        waiting = threading.Barrier(len(bodies))
        queue = Committer._lead

        def lead(committer: Committer) -> None:
            while len(committer._queue) < len(bodies):
                time.sleep(0.001)
            queue(committer)

        monkeypatch.setattr(Committer, "_lead", lead)

        def append(number: int) -> bool:
            waiting.wait()
            try:
                segments[number].append([NewEntry("tool", bodies[number])])
            except LimitError:
                return False
            return True

        with ThreadPoolExecutor(len(bodies)) as pool:
            done = list(pool.map(append, range(len(bodies))))
    assert 0 < sum(done) < len(done)
    assert files.largest <= bound


def test_taking_away_where_nothing_fits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A handle that holds many refused blobs, in a store that is full, still deletes
    and collects, also where what the store says about that is large.
    """
    monkeypatch.setattr(castore.limits, "PENDING_SIZE_MAX", 100_000)
    monkeypatch.setattr(castore.limits, "SIDE_SIZE_MIN", 2000)
    files = CountingFiles(folder / "store")
    create_store(files)
    rng = random.Random(7)
    with open_in(files, max_bytes=400_000) as store:
        large = store.create_session()
        kept = store.create_session()
        for _ in range(100):
            ref = store.put(rng.randbytes(1000))
            kept.append([NewEntry("tool", refs=[Reference("checkpoint", ref)])])
        fill(store, LimitError)
        with contextlib.suppress(LimitError):
            for _ in range(200):
                store.put(rng.randbytes(1500))
        large.delete()
        report = collect(store.engine, grace_s=0, yes=True, keep_checkpoints=1)
        assert report.deleted_blob_count >= 99
    assert verify(files.root).ok


def refer_to_new(store: Store, segment: castore.Segment, data: bytes) -> None:
    """Put *data* and append an entry that refers to it."""
    segment.append([NewEntry("tool", refs=[Reference("x", store.put(data))])])


def sizes(files: Files) -> dict[str, int]:
    """Return the size of each file of frames."""
    return {name: files.size_of(f"files/{name}") for name in files.list("files")}


def test_collecting_from_the_newer_journal(folder: Path) -> None:
    """A journal that goes takes no older one with it: their chain is kept whole."""
    root = folder / "store"
    with castore.open(root, create=True) as store:
        kept = store.create_session(body=b"in the first journal")
        close_journal(store.engine)
        gone = store.create_session(body=b"in the second one")
        close_journal(store.engine)
        gone.delete()
        close_journal(store.engine)
        collect(store.engine, grace_s=0, yes=True)
        collect(store.engine, grace_s=0, yes=True)
        assert b"in the first journal" == next(kept.read())[1]
    assert verify(root).ok


# --- the harness finds what it is for ----------------------------------------

Bug = AbstractContextManager[object]
patch = mock.patch.object


def swallowed() -> Bug:
    """A write that failed is taken for one that did not."""
    write: Callable[..., None] = Committer._write

    def writing(*args: Any, **options: Any) -> None:
        with contextlib.suppress(StorageError):
            write(*args, **options)

    return patch(Committer, "_write", writing)


def tried_again() -> Bug:
    """A sync that failed is called again, and believed."""
    sync = FaultyFiles.sync

    def trying(self: FaultyFiles, fd: int) -> None:
        try:
            sync(self, fd)
        except StorageError:
            self.plan.unsynced = False
            sync(self, fd)

    return patch(FaultyFiles, "sync", trying)


def not_poisoned() -> Bug:
    """A handle goes on after a failed sync."""
    return patch(State, "poison", lambda *_: None)


def raw_errors() -> Bug:
    """The seam lets the system's own errors through."""
    return patch(Plan, "fault", lambda self, _: OSError(self.error, ""))


def side_pack_trusted() -> Bug:
    """A side pack whose sync failed is used further."""
    return patch(SidePack, "_fail", lambda _: None)


def packs_abandoned() -> Bug:
    """Packs are removed though a commit in doubt lists them."""
    return patch(State, "is_poisoned", False)


BUGS = [
    swallowed,
    tried_again,
    not_poisoned,
    raw_errors,
    side_pack_trusted,
    packs_abandoned,
]


@pytest.mark.parametrize("bug", BUGS, ids=[bug.__name__ for bug in BUGS])
def test_planted_bug_is_found(bug: Callable[[], Bug], folder: Path) -> None:
    """Failing writes and syncs show the bug."""
    with small():
        names = trace(folder)
    for number, name in enumerate(names):
        if name not in ("write", "sync"):
            continue
        with bug():
            try:
                attempt(folder, "seam", Plan(number))
            except (Fault, OSError, castore.CastoreError):
                return
    pytest.fail(f"{bug.__name__} was not found")


def trace(folder: Path) -> list[str]:
    """Return the name of each call of the seam, in order."""
    names = []

    class Tracing(Plan):
        def hit(self, call: str) -> bool:
            if self.armed:
                names.append(call)
            return super().hit(call)

    attempt(folder, "seam", Tracing())
    return names
