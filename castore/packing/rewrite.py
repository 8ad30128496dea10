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
from castore.engine.members import files_now, members, named_sides, store_log
from castore.engine.putting import keep_bytes
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
from castore.storage import FileLock


LEVEL = 9  # of zstd, for packs
MAINTENANCE = "maintenance"
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
def maintenance(engine: Engine) -> Iterator[None]:
    """
    Hold the maintenance lock, which orders pack, gc and rebuild.

    Raises:
        LockedError: Somebody else maintains the store.
    """
    if not engine.files.exists(MAINTENANCE):
        engine.files.close(engine.files.create(MAINTENANCE))
    lock = FileLock(engine.files, MAINTENANCE)
    try:
        lock.acquire(_MAINTENANCE_TIMEOUT_S)
        try:
            yield
        finally:
            lock.release()
    finally:
        lock.close()


_MAINTENANCE_TIMEOUT_S = 1.0


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
    return [file for file in engine.state.opened.headers() if _is_free(engine, file)]


def _is_free(engine: Engine, file: OpenFile) -> bool:
    return file.header.kind != file_format.SIDE or _is_idle(engine, file)


def _is_idle(engine: Engine, file: OpenFile) -> bool:
    fd = engine.files.open(file.name, write=True)
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
    collected: bytes | None = None,
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

        collected: Body of a ``collected`` entry, for what of *dead* a retained
            entry names; None for none.

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
        carrier = Carrier(engine, stops, dead, writer, progress)
        carrier.carry()
        listings = writer.finish()
        facts = Facts(runs=carrier.runs, gone_places=sorted(dead))
    except BaseException:
        writer.abandon()
        raise
    try:
        seq = _publish(
            engine, listings, inputs, facts, carrier.places, collected, guard
        )
    except CastoreError:
        # A commit in doubt may list them; else the next maintenance removes them.
        if not engine.state.is_poisoned:
            writer.abandon()
        raise
    _drop(engine, inputs)
    size_after = sum(listing.size for listing in listings)
    return Packing(len(inputs), len(listings), size_before, size_after, seq)


def _publish(
    engine: Engine,
    listings: list[Listing],
    inputs: Collection[Input],
    facts: Facts,
    places: Iterable[Place],
    collected: bytes | None,
    guard: Callable[[Catalog], None] | None,
) -> int:
    bodies = [
        (storelog.PACKS, storelog.packs(listings, [item.file.id for item in inputs]))
    ]
    if collected is not None:
        bodies.append((storelog.COLLECTED, collected))
    entries = tuple(
        NewEntry(kind, keep_bytes(engine, body), content=body) for kind, body in bodies
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


def _drop(engine: Engine, inputs: Collection[Input]) -> None:
    """Remove replaced files, once the catalog is durable past the commit."""
    engine.upkeep.apply_all()
    _unlink(engine, [item.file for item in inputs])


def _unlink(engine: Engine, gone: Collection[OpenFile]) -> None:
    # A catalog that cannot be synced now may still name them on the disk; the
    # next maintenance removes them.
    if not gone or not engine.upkeep.sync_catalog():
        return
    for file in gone:
        engine.files.unlink(file.name)
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
    found = _free_files(engine)
    with engine.state.locked():
        wanted = members(engine.view, engine.state.opened, engine.store)
        dropped = store_log(engine.view, engine.store).dropped
    there = set(engine.state.opened.ids())
    begun = there - {file.id for file in engine.state.opened.headers()} - wanted.keys()
    gone = [file for file in found if file.id not in wanted]
    if begun or any(file.header.kind == file_format.SIDE for file in gone):
        # Commit records name a side pack for good, long after it was dropped.
        named = named_sides(engine.state.opened, wanted) - dropped
        gone = [file for file in gone if file.id not in named]
        begun -= named
    _unlink(engine, gone)
    for file in sorted(begun):
        _remove_begun(engine, file, is_dropped=file in dropped)


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
