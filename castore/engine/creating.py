"""
Making a store, and finding out which one a folder is.

Spec: spec/ordering.md, "Making a store"; spec/folder.md.
"""

from __future__ import annotations

import os

from castore import limits
from castore.catalog.rows import Facts, Position
from castore.engine import catalogs
from castore.engine.change import Append, Change, NewEntry
from castore.engine.engine import Engine
from castore.engine.expect import Expect
from castore.engine.journal import first_journal, write_new
from castore.engine.putting import put_bytes
from castore.engine.state import LOCK
from castore.errors import NotFoundError, UnsupportedError
from castore.formats import marker, storelog
from castore.formats.entry import Start
from castore.formats.file import JOURNAL, encode_header, file_name
from castore.formats.mark import LockFile, encode_lock
from castore.formats.refuse import placed
from castore.reading.files import OpenFiles
from castore.storage import FileLock, Files


_MARKER_SIZE_MAX = 65_536
_GENERATION = 1  # of the first catalog
_CREATED_BY = "castore"


def store_id(files: Files, *, writing: bool) -> bytes:
    """
    Return the store id of the folder.

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
        return marker.decode_marker(data, writing=writing)


def create_store(files: Files) -> None:
    """
    Make a store in the folder; one that is there is left as it is.

    Durable when it returns. Stopped anywhere, the folder is no store yet, and
    making it again finishes the work.

    Raises:
        UnsupportedError: The folder holds something else, or its file system
            has no locks that exclude.

        LockedError: Another process has been making it all that time.
    """
    if files.exists(marker.NAME):
        return
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


def _create(files: Files) -> None:
    """Make the store, or finish making it. Under the maintenance lock."""
    store = _unfinished(files)
    if store is None:
        store = os.urandom(16)
        _begin(files, store)
    engine = Engine(files, store)
    try:
        if engine.view.position.seq == 0:
            _write_first_commit(engine)
    finally:
        engine.close()
    _write_marker(files, store)


def _check_names(files: Files) -> None:
    """Refuse a folder with anything in it that no store has."""
    known = {LOCK, "maintenance", "files", "quarantine", marker.NAME}
    known.add(f"{marker.NAME}.new")
    for name in files.list(""):
        if name not in known and not name.startswith("catalog-"):
            raise _other_folder(files)


def _other_folder(files: Files) -> UnsupportedError:
    what = f"{files.root} is neither empty nor a store; choose another folder"
    return UnsupportedError(what=what)


def _unfinished(files: Files) -> bytes | None:
    """Return the store id of a creation that was stopped, None if there is none."""
    # Several journals if it was stopped, recovered and stopped again.
    found = [file.header for file in OpenFiles(files, None).headers()]
    stores = {header.store for header in found}
    journals = all(header.kind == JOURNAL and header.seq <= 1 for header in found)
    if len(stores) > 1 or not journals:
        raise _other_folder(files)
    return stores.pop() if stores else None


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
    name = f"{marker.NAME}.new"
    files.unlink(name)
    fd = files.create(name)
    try:
        files.write(fd, marker.encode_marker(store), 0)
        files.sync(fd)
    finally:
        files.close(fd)
    files.link(name, marker.NAME)
    files.sync_folder("")
    files.unlink(name)
