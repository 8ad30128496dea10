"""
Replacing files of a store by packs that hold what is alive in them.

Spec: spec/ordering.md, "Packing and deleting".
"""

from __future__ import annotations

import contextlib
import errno

from collections.abc import Callable, Collection, Iterable, Iterator

import attrs

from castore.catalog.rows import Catalog, Facts, Place
from castore.engine import Engine
from castore.engine.change import Append, Change, NewEntry
from castore.engine.expect import Expect
from castore.engine.lockfile import maintenance_lock
from castore.engine.members import files_now, members, named_sides, store_log
from castore.engine.putting import check_writable, keep_bytes
from castore.errors import CastoreError, CorruptionError, StorageError
from castore.formats import file as file_format
from castore.formats import storelog
from castore.formats.file import file_name
from castore.formats.storelog import Listing
from castore.packing.carrying import Carrier
from castore.packing.writer import PackWriter
from castore.reading.files import OpenFile
from castore.reading.folder import is_empty
from castore.reading.mark import open_plain


LEVEL = 9  # of zstd, for packs
_MAINTENANCE_TIMEOUT_S = 1.0
Progress = Callable[[int], None]


@attrs.frozen
class Packing:
    """
    What was rewritten; sizes in bytes of files.

    Attributes:
        files_before: How many files went in.

        files_after: How many packs came out.

        size_before: Of the files that went in.

        size_after: Of the packs.

        seq: The last commit that made it count, None if there was nothing to do.

        left_count: Files that wait for the next packing, because of its duration.
    """

    files_before: int = 0
    files_after: int = 0
    size_before: int = 0
    size_after: int = 0
    seq: int | None = None
    left_count: int = 0

    def followed_by(self, later: Packing) -> Packing:
        """Return what was done in both."""
        return Packing(
            self.files_before + later.files_before,
            self.files_after + later.files_after,
            self.size_before + later.size_before,
            self.size_after + later.size_after,
            later.seq,
            later.left_count,
        )


@attrs.frozen(eq=False)
class Input:
    """A file to be replaced, and the offset up to which it counts."""

    file: OpenFile
    stop: int


@contextlib.contextmanager
def maintenance(engine: Engine, timeout_s: float | None = None) -> Iterator[None]:
    """
    Hold the maintenance lock, which orders pack, gc, erase and rebuild.

    Args:
        engine: The store.

        timeout_s: How long to wait for who holds it; a second by default.

    Raises:
        ClosedError: The store is closed or read-only.

        LockedError: Somebody else maintains the store.
    """
    check_writable(engine)
    wait_s = _MAINTENANCE_TIMEOUT_S if timeout_s is None else timeout_s
    with maintenance_lock(engine.files, wait_s):
        yield


def close_journal(engine: Engine) -> None:
    """Close the journal if commits stand in it; bring the catalog up to date."""
    with engine.state.locked():
        position = engine.view.position
        if position.end > file_format.SIZE:
            engine.upkeep.close_journal()
    engine.upkeep.apply_all()


def closed_files(engine: Engine) -> list[Input]:
    """
    Return the files of the store that nobody writes any more.

    Side packs that a live process holds are left out.
    """
    free = {file.id for file in _free_files(engine)}
    newest, files = files_now(engine)
    found = []
    for file, stop in files.items():
        opened = engine.state.opened.get(file)
        busy = opened.header.kind == file_format.SIDE and file not in free
        if file != newest and not busy:
            found.append(Input(opened, stop))
    return found


def _free_files(engine: Engine) -> list[OpenFile]:
    """
    Return the files that are there, but for side packs that a live process holds.

    Asked before which files count, and up to where: commits that name a side
    pack come before its process lets it go, never after.
    """
    return [file for file in engine.state.opened.headers() if is_free(engine, file)]


def is_free(engine: Engine, file: OpenFile) -> bool:
    """Return whether *file* is no side pack that a live process holds."""
    return file.header.kind != file_format.SIDE or is_idle(engine, file.name)


def is_idle(engine: Engine, name: str) -> bool:
    """Return whether nobody holds the flock of the file *name*."""
    fd = engine.files.open(name, write=True)
    try:
        return engine.files.lock(fd)
    finally:
        engine.files.close(fd)


def rewrite(
    engine: Engine,
    inputs: Collection[Input],
    *,
    level: int = LEVEL,
    dead: Collection[bytes] = frozenset(),
    deleting: Collection[bytes] = frozenset(),
    notes: Collection[tuple[str, bytes]] = (),
    guard: Callable[[Catalog], None] | None = None,
    progress: Progress | None = None,
) -> Packing:
    """
    Replace *inputs* by packs without the blobs in *dead*. Under the maintenance lock.

    Args:
        engine: The store; its journal was closed.

        inputs: Files to replace.

        level: Of zstd.

        dead: Names of blobs to leave out.

        deleting: Segments that *notes* delete; what only they need of entries is
            left out.

        notes: Kind and body of what the store log says in the same commit.

        guard: Called under the store's lock before the change counts; what it
            raises gives the rewrite up.

        progress: Told the raw bytes written, now and then.

    Raises:
        StorageError: No room for the new packs, or the medium failed.
    """
    size_before = sum(item.file.size() for item in inputs)
    # Who deletes may need next to nothing, and has to try.
    if not dead and engine.files.free_size() < size_before // 4:
        raise StorageError(
            what="too little room to write new packs beside the old files; make room",
            errno=errno.ENOSPC,
            transient=True,
        )
    writer = PackWriter(engine.state, level)
    try:
        stops = {item.file.id: item.stop for item in inputs}
        carrier = Carrier(engine, stops, dead, writer, progress, deleting)
        carrier.carry()
        listings = writer.finish()
        facts = Facts(runs=carrier.runs, gone_places=sorted(dead))
    except BaseException:
        writer.abandon()
        raise
    try:
        ids = [item.file.id for item in inputs]
        seq = publish(engine, listings, ids, facts, carrier.places, notes, guard)
    except CastoreError:
        # A commit in doubt may list them; else the next maintenance removes them.
        if not engine.state.is_poisoned:
            writer.abandon()
        raise
    drop(engine, [item.file.id for item in inputs])
    size_after = sum(listing.size for listing in listings)
    return Packing(len(inputs), len(listings), size_before, size_after, seq)


def publish(
    engine: Engine,
    listings: list[Listing],
    dropped: Collection[bytes],
    facts: Facts,
    places: Iterable[Place],
    notes: Collection[tuple[str, bytes]] = (),
    guard: Callable[[Catalog], None] | None = None,
) -> int:
    """
    List new packs instead of files that are *dropped*, in one commit; return its seq.

    *facts* and *places* are what stands in them; the rest is as of `rewrite`.
    """
    listed = storelog.packs(listings, list(dropped))
    entries = tuple(
        NewEntry(kind, keep_bytes(engine, body), content=body)
        for kind, body in ((storelog.PACKS, listed), *notes)
    )
    append = Append(engine.store, engine.store, entries, Expect.ANY)
    change = Change(
        (append,),
        maintenance=True,
        guard=guard,
        listed=facts,
        moved=places,
        raises_generation=True,
    )
    return engine.commit(change).seq


def drop(engine: Engine, files: Collection[bytes]) -> None:
    """Remove replaced *files*, once the catalog is durable past the commit."""
    engine.upkeep.apply_all()
    _unlink(engine, [file_name(file) for file in files])


def _unlink(engine: Engine, gone: Collection[str]) -> None:
    # A catalog that cannot be synced now may still name them on the disk; the
    # next maintenance removes them.
    if not gone or not engine.upkeep.sync_catalog():
        return
    for name in gone:
        engine.files.unlink(name)
    with engine.state.poisoned_by_failing():
        engine.files.sync_folder("files")
    engine.state.opened.forget()


def remove_dropped(engine: Engine) -> None:
    """
    Remove files that the store log has dropped, and those that never counted.

    Raises:
        CorruptionError: Which files count cannot be told; nothing was removed.
    """
    # First what is there, then what counts: a journal that others make meanwhile
    # is not even looked at, and one that was being made counts by now.
    there = set(engine.state.opened.ids())
    good = engine.state.opened.headers()
    found = [file for file in good if is_free(engine, file)]
    with engine.state.locked():
        wanted = members(engine.view, engine.state.opened, engine.store)
        dropped = store_log(engine.view, engine.store).dropped
    begun = there - {file.id for file in good} - wanted.keys()
    gone = [file for file in found if file.id not in wanted]
    if begun or any(file.header.kind == file_format.SIDE for file in gone):
        # Commit records name a side pack for good, long after it was dropped.
        named = named_sides(engine.state.opened, wanted) - dropped
        gone = [file for file in gone if file.id not in named]
        begun -= named
    _unlink(engine, [file.name for file in gone])
    for file in sorted(begun):
        _remove_begun(engine, file, is_dropped=file in dropped)
    if begun:
        engine.files.sync_folder("files")


def _remove_begun(engine: Engine, file: bytes, *, is_dropped: bool) -> None:
    """
    Remove *file*, which nothing names, if its header never was whole.

    Who makes a journal holds the store's lock, and who makes a side pack that
    file's: whatever is there under both is not on its way to a header.
    """
    name = file_name(file)
    with engine.state.locked():
        fd = open_plain(engine.files, name)
        if fd is None:
            return
        try:
            is_left = engine.files.lock(fd) and not _has_header(engine, file)
            if is_left and (is_dropped or is_empty(engine.files, name)):
                engine.files.unlink(name)
        finally:
            engine.files.close(fd)


def _has_header(engine: Engine, file: bytes) -> bool:
    try:
        OpenFile(engine.files, file, engine.store)
    except CorruptionError:
        return False
    return True
