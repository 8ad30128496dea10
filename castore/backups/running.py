"""
A backup, from beginning to end.

Spec: spec/backup.md.
"""

from __future__ import annotations

import os

from collections.abc import Callable

import attrs

from castore.backups.copying import Copier
from castore.backups.snapshot import take_snapshot
from castore.backups.target import Target, prepare
from castore.engine import Engine
from castore.engine.lockfile import maintenance_lock
from castore.storage import Files
from castore.store import Store


_LOCK_TIMEOUT_S = 1.0

#: Told how many of how many bytes are done.
Progress = Callable[[int, int], None]


@attrs.frozen
class Backup:
    """
    What a backup did. Counts of files, sizes in bytes.

    Attributes:
        seq: The commit that it stands at.

        file_count: Files that it holds.

        size: Their bytes.

        copied_count: Of these, files of which something was copied.

        copied_size: What of them was copied.

        linked_count: Files that are the store's own by another name, made now.

        linked_size: Their size.

        kept_count: Files that were there already.

        dropped_count: Files that went from the backup, since the store has dropped
            them.
    """

    seq: int
    file_count: int
    size: int
    copied_count: int
    copied_size: int
    linked_count: int
    linked_size: int
    kept_count: int
    dropped_count: int


def _tell_nobody(done: int, total: int) -> None:
    """Say nothing of how far it is."""


def backup(
    store: Store,
    folder: str | os.PathLike[str],
    *,
    link: bool = False,
    progress: Progress = _tell_nobody,
) -> Backup:
    """
    Have *folder* hold what *store* is at its newest commit; see `backup_in`.
    """
    return backup_in(store.engine, folder, link=link, progress=progress)


def backup_in(
    engine: Engine,
    folder: str | os.PathLike[str] | Files,
    *,
    link: bool = False,
    progress: Progress = _tell_nobody,
) -> Backup:
    """
    Have *folder* hold what the store is at its newest commit.

    Beside writers, pack and gc, and without a lock of the store. Copies what is
    not there yet, hashing each frame, and then shows all of it at once; at last
    removes what the store has dropped. Durable when it returns. Stopped anywhere,
    the folder shows what it showed before, or this, and the next run goes on.

    Args:
        engine: The store; it may be open read-only.

        folder: A backup of this store, or what is to become one: empty, or not
            there.

        link: Where it is the same file system, let files that nobody changes any
            more be the store's own by another name: takes no room and no time,
            and damage to one is damage to both.

        progress: Told how far it is.

    Raises:
        UnsupportedError: The folder holds something else.

        CorruptionError: The store is damaged, or does not continue what was copied
            there (``rolled back``, ``fork evidence``). The backup stays as it was.

        LockedError: Another run is at it.

        StorageError: No room, or the medium failed. The backup stays as it was.

    Spec: spec/backup.md.
    """
    files = folder if isinstance(folder, Files) else Files(folder)
    prepare(files, engine.files)
    with maintenance_lock(files, _LOCK_TIMEOUT_S):
        target = Target(files, engine.store)
        return _backup(engine, target, link=link, progress=progress)


def _backup(
    engine: Engine, target: Target, *, link: bool, progress: Progress
) -> Backup:
    snapshot = take_snapshot(engine)
    target.check_follows(snapshot)
    target.begin(engine.files)
    total = sum(taken.size for taken in snapshot.files)
    done = 0

    def tell(size: int) -> None:
        nonlocal done
        done += size
        progress(min(done, total), total)

    files = target.files
    before = set(files.list(target.shown) if target.shown else ())
    copier = Copier(engine.files, target, link=link, tell=tell)
    copier.clear({taken.file.id for taken in snapshot.files})
    for taken in snapshot.files:
        copier.take(taken)
    target.show(snapshot, copier.sides)
    names = files.list(target.folder)
    return Backup(
        seq=snapshot.position.seq,
        file_count=len(names),
        size=sum(files.size_of(f"{target.folder}/{name}") for name in names),
        **attrs.asdict(copier.amounts),
        dropped_count=len(before.difference(names)),
    )
