"""
Making a store, and finding out which one a folder is.

Spec: spec/ordering.md, "Making a store"; spec/folder.md.
"""

from __future__ import annotations

import errno
import os

from castore import limits
from castore.catalog.rows import Facts, Position
from castore.engine import catalogs
from castore.engine.change import Append, Change, NewEntry
from castore.engine.engine import Engine
from castore.engine.expect import Expect
from castore.engine.journal import first_journal, write_new
from castore.engine.putting import put_bytes
from castore.errors import (
    CorruptionError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from castore.formats import marker, storelog
from castore.formats.entry import Start
from castore.formats.file import JOURNAL, SIZE, encode_header, file_name, parse_name
from castore.formats.mark import LockFile, encode_lock
from castore.formats.refuse import placed
from castore.reading.files import OpenFile
from castore.reading.frames import find_frame
from castore.reading.image import commits
from castore.reading.mark import LOCK
from castore.storage import FileLock, Files


_MARKER_SIZE_MAX = 65_536
_UNFINISHED_SIZE_MAX = 4096
_GENERATION = 1  # of the first catalog
_CREATED_BY = "castore"
_NEW_MARKER = f"{marker.NAME}.new"
_NOT_OURS = {errno.EACCES, errno.EPERM}


def store_id(files: Files, *, writing: bool) -> bytes:
    """
    Return the store id of the folder; for writing, make sure that it stays one.

    Raises:
        NotFoundError: It is no store.

        CorruptionError: Its ``castore.json`` is refused.
    """
    try:
        fd = files.open(marker.NAME)
    except NotFoundError:
        what = f"no store at {files.root}; make one with castore init"
        raise NotFoundError(what=what) from None
    try:
        data = files.read_up_to(fd, _MARKER_SIZE_MAX + 1, 0)
    finally:
        files.close(fd)
    with placed(marker.NAME):
        store = marker.decode_marker(data, writing=writing)
    if writing:
        _settle_marker(files)
    return store


def create_store(files: Files) -> None:
    """
    Make a store in the folder; one that is there is left as it is.

    Durable when it returns. Stopped anywhere, the folder is no store yet, and
    making it again begins anew.

    Raises:
        UnsupportedError: The folder holds something else, or its file system
            has no locks that exclude.

        LockedError: Another process has been making it all that time.
    """
    if not files.exists(marker.NAME):
        files.make_folder("")
        _check_names(files)
        files.ensure("maintenance")
        lock = FileLock(files, "maintenance")
        try:
            lock.acquire(limits.LOCK_TIMEOUT_S)
            if not files.exists(marker.NAME):
                _create(files)
        finally:
            lock.close()
    _settle_marker(files)


def _create(files: Files) -> None:
    """Make the store. Under the maintenance lock."""
    _sync_above(files)
    _remove_unfinished(files)
    store = os.urandom(16)
    _begin(files, store)
    engine = Engine(files, store)
    try:
        _write_first_commit(engine)
    finally:
        engine.close()
    _write_marker(files, store)


def _check_names(files: Files) -> None:
    """Refuse a folder with anything in it that no store has."""
    known = {LOCK, "maintenance", "files", "quarantine", marker.NAME, _NEW_MARKER}
    for name in files.list(""):
        if name not in known and not name.startswith("catalog-"):
            raise _other_folder(files)


def _other_folder(files: Files) -> UnsupportedError:
    what = f"{files.root} is neither empty nor a store; choose another folder"
    return UnsupportedError(what=what)


def _remove_unfinished(files: Files) -> None:
    """
    Remove what a creation that was stopped left: nobody was told of that store.

    Raises:
        UnsupportedError: A file holds, or may hold, more than such a one.
    """
    names = [f"files/{name}" for name in files.list("files")]
    if not all(_is_unfinished(files, name) for name in names):
        raise _other_folder(files)
    # The mark first, and by name, so that no power cut brings an old one back.
    for name in [LOCK, *names]:
        files.unlink(name)


def _is_unfinished(files: Files, name: str) -> bool:
    """Return whether a creation that was stopped may have left the file *name*."""
    file = parse_name(name.removeprefix("files/"))
    if file is None:
        return False
    fd = files.open(name)  # no link, no folder
    try:
        size = files.size(fd)
    finally:
        files.close(fd)
    if size <= SIZE:
        return True  # a header at most, whole or torn
    if size > _UNFINISHED_SIZE_MAX:
        return False
    try:
        journal = OpenFile(files, file, None)
    except CorruptionError:
        return False
    at = SIZE
    while (frame := find_frame(journal, at, size)) is not None:
        if any(record.seq > 1 for record, _ in commits(frame)):
            return False
        at = frame.end
    return journal.header.kind == JOURNAL and journal.header.number == 1


def _begin(files: Files, store: bytes) -> None:
    files.make_folder("files")
    files.ensure(LOCK)
    _check_locks(files)
    header = first_journal(store)
    data = encode_header(header)
    write_new(files, header.id, data)
    files.sync_folder("")
    start = Position(header.id, len(data), data[-32:], 0, header.commit, 0)
    catalogs.new_catalog(files, _GENERATION, Facts(), start).close()
    _write_mark(files, start)


def _write_mark(files: Files, start: Position) -> None:
    journal = files.open(file_name(start.journal))
    fd = files.open(LOCK, write=True)
    try:
        device, inode = files.identity(journal)
        boot = files.boot_id()
        lock = LockFile(start.journal, device, inode, boot, *start[1:4], _GENERATION)
        files.write(fd, encode_lock(lock), 0)
    finally:
        files.close(fd)
        files.close(journal)


def _check_locks(files: Files) -> None:
    first, second = files.open(LOCK, write=True), files.open(LOCK, write=True)
    try:
        if files.lock(first) and files.lock(second):
            raise UnsupportedError(
                what="locks of this file system do not exclude; put the store elsewhere"
            )
    finally:
        files.close(first)
        files.close(second)


def _write_first_commit(engine: Engine) -> None:
    store = engine.store
    body = storelog.started(_CREATED_BY)
    start = Start(store, store, "new")
    entry = NewEntry("start", put_bytes(engine, body), (), None, start, body)
    append = Append(store, store, (entry,), Expect.ABSENT)
    engine.commit(Change((append,), maintenance=True))


def _write_marker(files: Files, store: bytes) -> None:
    files.unlink(_NEW_MARKER)
    fd = files.create(_NEW_MARKER)
    try:
        files.write(fd, marker.encode_marker(store), 0)
        files.sync(fd)
    finally:
        files.close(fd)
    files.link(_NEW_MARKER, marker.NAME)


def _settle_marker(files: Files) -> None:
    """Make the name of ``castore.json`` durable if it perhaps is not."""
    # The other name stays until then, also if who made the store was killed.
    if files.exists(_NEW_MARKER):
        files.sync_folder("")
        files.unlink(_NEW_MARKER)


def _sync_above(files: Files) -> None:
    """Make the name of the store's folder durable, and of the folders above it."""
    for depth in range(1, len(files.root.resolve().parts)):
        try:
            files.sync_folder("/".join([".."] * depth))
        except StorageError as error:
            if error.errno not in _NOT_OURS:
                raise
