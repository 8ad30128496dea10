"""
The files of a store in use, as they are at one commit.

Spec: spec/backup.md, "What is taken".
"""

from __future__ import annotations

import attrs

from castore.catalog.rows import Position
from castore.engine import Engine
from castore.engine.members import members, store_log
from castore.errors import CorruptionError, NotFoundError, StorageError
from castore.formats import file as file_format
from castore.reading.files import OpenFile
from castore.reading.mark import read_lock


_TRIES = 10  # a store changes its files that often while they are opened


@attrs.frozen(eq=False)
class Taken:
    """
    A file, open, so that its bytes stay whoever drops it.

    Attributes:
        file: The file.

        stop: Up to where it counts at least: the end of a frame.

        is_side: Whether somebody may write behind that; what counts there, others
            say.

        is_newest: Whether commits go there.
    """

    file: OpenFile
    stop: int
    is_side: bool
    is_newest: bool

    @property
    def size(self) -> int:
        """The bytes that a copy takes, at most."""
        return max(self.stop, self.file.size()) if self.is_side else self.stop


@attrs.frozen(eq=False)
class Snapshot:
    """
    What a store is at one commit.

    Attributes:
        store: Store id.

        instance: Of the copy that wrote last (spec/storelog.md).

        position: The commit, and how far the newest journal goes.

        files: All files that count, and side packs that may.
    """

    store: bytes
    instance: bytes
    position: Position
    files: tuple[Taken, ...]


def take_snapshot(engine: Engine) -> Snapshot:
    """
    Return what the store is now. Takes no lock.

    Raises:
        CorruptionError: A file of the store is not there, or not what it must be.

        StorageError: The medium failed, or files kept vanishing.
    """
    for _ in range(_TRIES):
        before = _generation(engine)
        engine.refresh()
        try:
            found = _look(engine)
        except (NotFoundError, CorruptionError):
            # Files go only behind a raise of the generation: else it is damage.
            if _generation(engine) == before:
                raise
            continue
        if found is not None and _generation(engine) == before:
            return found
    what = "files of the store vanish as fast as they are opened; try again"
    raise StorageError(what=what, errno=0, transient=True)


def _generation(engine: Engine) -> int:
    lock = read_lock(engine.files)
    return lock.gc_generation if lock else 0


def _look(engine: Engine) -> Snapshot | None:
    """Return what the store is; None if a file had gone, and it was asked anew."""
    opened, store = engine.state.opened, engine.store
    with engine.reading() as view:
        position = view.position
        log = store_log(view, store)
        stops = members(view, opened, store)
        if view.position != position or engine.view is not view:
            return None
    taken = [
        _taken(opened.get(file), stop, position.journal) for file, stop in stops.items()
    ]
    # Which of the others a commit names, only all commits tell: they come too.
    taken += [
        _taken(file, file_format.SIZE, position.journal)
        for file in opened.headers()
        if file.header.kind == file_format.SIDE
        and file.id not in stops
        and file.id not in log.dropped
    ]
    return Snapshot(store, log.instance, position, tuple(taken))


def _taken(file: OpenFile, stop: int, newest: bytes) -> Taken:
    is_side = file.header.kind == file_format.SIDE
    return Taken(file, stop, is_side, file.id == newest)
