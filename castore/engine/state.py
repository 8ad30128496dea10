"""
What a process knows of a store, and the lock under which it changes.

Spec: spec/ordering.md; spec/folder.md, "lock".
"""

from __future__ import annotations

import contextlib
import os
import threading
import time

from collections.abc import Iterator

from castore.catalog import SqliteCatalog
from castore.catalog.rows import Catalog
from castore.engine import catalogs
from castore.engine.journal import WritableJournal
from castore.engine.lockfile import WHO, LockText, described
from castore.engine.recovery import recover
from castore.engine.reserve import make_reserve
from castore.engine.view import View
from castore.errors import (
    CastoreError,
    ClosedError,
    CorruptionError,
    ForkedStoreError,
    NotFoundError,
    StorageError,
)
from castore.formats.mark import LockFile
from castore.reading.files import OpenFiles
from castore.reading.mark import LOCK, MarkWorth, judge_mark, read_lock
from castore.storage import FileLock, Files


_TRIES = 5  # to read a store that others change meanwhile


class State:
    """
    View, mark and lock of one store in one process.

    Attributes:
        files: The file seam.

        store: Store id.

        opened: Its files of frames.

        journal: The one that is written.

        read_only: Whether nothing is ever written.

        is_copy: Whether its files were copied here and no commit said so yet.

        seen: The lock file that the view is made up to.

        guard: Held while the view changes.
    """

    def __init__(
        self, files: Files, store: bytes, *, read_only: bool, timeout_s: float
    ) -> None:
        self.files = files
        self.store = store
        self.read_only = read_only
        self.is_copy = False
        self.opened = OpenFiles(files, store)
        self.journal = WritableJournal(files)
        self.guard = threading.RLock()
        self.seen: LockFile | None = None
        self._text = LockText(files)
        self._timeout_s = timeout_s
        self._pid = os.getpid()
        self._boot = files.boot_id()
        self._exact_place: tuple[bytes, int, int, bytes] | None = None
        self._poisoned = ""
        self._closed = False
        self._is_moving = False
        self._catalog: Catalog | None = None
        self._view: View | None = None
        self._lock: FileLock | None = None
        if read_only:
            self._follow_readers()
            return
        files.ensure(LOCK)
        self._lock = FileLock(files, LOCK, lambda: described(self._read_lock()))
        try:
            with self.locked():
                make_reserve(files)
        except BaseException:
            with contextlib.suppress(CastoreError):
                self.close()
            raise

    # --- state ---------------------------------------------------------------

    @property
    def view(self) -> View:
        """What is known, without looking whether there is more."""
        if self._view is None:
            raise ClosedError(what="the store is closed")
        return self._view

    def refresh(self) -> View:
        """
        Return the state up to the mark. Takes no lock.

        Raises:
            CorruptionError: The journal does not lead to its mark.
        """
        self.check_usable()
        seen = self._read_lock()
        if seen is not None and seen == self.seen:
            return self.view
        if self.read_only:
            self._follow_readers()
        elif self._worth(seen) is MarkWorth.EXACT:
            try:
                with self.guard:
                    # Again: another thread may have moved the view past this.
                    self.follow(self._read_lock())
            except (CorruptionError, NotFoundError):
                # Somebody closed, packed or rebuilt meanwhile; or it is damage,
                # which comes up again under the lock.
                with self.locked():
                    pass
        return self.view

    def newest(self, gone: NotFoundError) -> View:
        """Return the newest view, for a reader who met *gone*: a file is not there."""
        with self.guard:
            if self._is_moving:
                raise gone  # this thread is making that view
        return self.refresh()

    def check_usable(self) -> None:
        """
        Raises:
            ForkedStoreError: In a child process.

            ClosedError: After `close` or a failed sync.
        """
        if os.getpid() != self._pid:
            raise ForkedStoreError(what="opened before a fork; open it in this process")
        if self._closed:
            raise ClosedError(what="the store is closed")

    def _read_lock(self) -> LockFile | None:
        if self._lock is not None:
            return self._text.read(self._lock.fd)
        return read_lock(self.files)

    def _worth(self, seen: LockFile | None) -> MarkWorth:
        """Return what the mark in *seen* is worth; cheap for the journal in use."""
        if seen is None:
            return MarkWorth.NONE
        place = (seen.journal, seen.device, seen.inode, seen.boot)
        if place == self._exact_place:
            return MarkWorth.EXACT
        worth = judge_mark(self.files, seen)
        if worth is MarkWorth.EXACT:
            self._exact_place = place
        return worth

    # --- the lock ------------------------------------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[LockFile]:
        """
        Hold the store's lock and the view still, which is up to an exact mark.

        Raises:
            LockedError: Somebody else held it too long.

            CorruptionError: The store is damaged; it is not written to.
        """
        self.check_usable()
        if self._lock is None:
            raise ClosedError(what="the store was opened read-only")
        self._lock.acquire(self._timeout_s)
        try:
            self.check_usable()  # another thread may have closed it meanwhile
            if self._poisoned:
                raise ClosedError(what=self._poisoned)
            # From here on no other thread moves the view: what is written next is
            # written where it ends.
            with self.guard:
                yield self._settle()
        finally:
            self._lock.release()

    def _settle(self) -> LockFile:
        seen = self._read_lock()
        if seen is not None and seen is self.seen and self._is_whole(seen):
            return seen  # nobody was here since
        worth = self._worth(seen)
        if seen is None or worth is not MarkWorth.EXACT or not self._is_whole(seen):
            seen = self._recover(seen, worth)
        try:
            self.follow(seen)
        except (CorruptionError, NotFoundError):
            seen = self._rebuild(seen)
        return seen

    def _is_whole(self, seen: LockFile) -> bool:
        """Return whether the journal ends where the mark in *seen* says."""
        return self.opened.get(seen.journal).size() == seen.end

    def _recover(self, seen: LockFile | None, worth: MarkWorth) -> LockFile:
        # Another device or inode: a copy of a store, or one that was put back.
        self.is_copy |= seen is not None and worth is MarkWorth.NONE
        self.journal.let_go()
        self.opened.forget()
        self._exact_place = None
        with self.poisoned_by_failing():
            tail = recover(self.files, self.opened, self.store, seen, worth)
        # What was behind the mark may have deleted blobs that others believe in.
        return self.write_mark(*tail.mark, seen, gc_raised=True)

    def write_mark(
        self,
        journal: bytes,
        end: int,
        frame: bytes,
        seq: int,
        before: LockFile | None,
        *,
        catalog_generation: int | None = None,
        gc_raised: bool = False,
    ) -> LockFile:
        """Write the lock file: *end* of *journal* is durable. Under the lock."""
        if self._exact_place is None or self._exact_place[0] != journal:
            identity = self.files.identity(self.opened.get(journal).fd)
            self._exact_place = (journal, *identity, self._boot)
        now = time.time_ns() // 1_000_000
        if before is None:
            # Unknown generations: above any that another process may have seen.
            generation, gc_generation = catalogs.newest_generation(self.files), now
        else:
            generation = before.catalog_generation
            gc_generation = before.gc_generation + gc_raised
        if catalog_generation is not None:
            generation = catalog_generation
        place = (*self._exact_place, end, frame, seq)
        holder = (self._pid, now, WHO)
        seen = LockFile(*place, generation, gc_generation, *holder)
        self._text.write(self.lock_file.fd, seen)
        return seen

    @property
    def lock_file(self) -> FileLock:
        """The store's lock."""
        if self._lock is None:
            raise ClosedError(what="the store was opened read-only")
        return self._lock

    def poison(self, why: str) -> None:
        """Refuse all further writing through this handle."""
        self._poisoned = why

    @contextlib.contextmanager
    def poisoned_by_failing(self) -> Iterator[None]:
        """Poison the handle where files cannot be synced for more than no room."""
        try:
            yield
        except StorageError as error:
            if not error.transient:
                self.poison("a sync failed; open the store again")
            raise

    @property
    def catalog(self) -> SqliteCatalog | None:
        """The catalog that this process writes, None if it only reads."""
        catalog = self._catalog
        return catalog if isinstance(catalog, SqliteCatalog) else None

    @property
    def is_poisoned(self) -> bool:
        """Whether nothing is written through this handle any more."""
        return bool(self._poisoned)

    def cut_back(self, fd: int, size: int) -> None:
        """Take back what a failed write left behind *size*. Under the lock."""
        try:
            self.files.truncate(fd, size)
        except StorageError:
            self.poison("a failed write could not be undone; open the store again")

    # --- following -----------------------------------------------------------

    def follow(self, seen: LockFile | None) -> None:
        """
        Bring the view up to the mark in *seen*, which is not before it.

        Raises `CorruptionError` or `NotFoundError` where the files do not lead there.
        """
        if seen is None:
            raise CorruptionError(what="no mark", verdict="not covered", where=LOCK)
        current = catalogs.is_current(self._catalog, self.seen, seen)
        with self._moving():
            if self._view is None or not current:
                self._use(self._open_catalog(seen))
            try:
                self.view.catch_up(seen.journal, seen.end, seen.frame)
            except NotFoundError:
                # A journal between here and there was packed; the catalog is past it.
                known = None if self.read_only else self._catalog
                self._use(known or self._open_catalog(seen))
                self.view.catch_up(seen.journal, seen.end, seen.frame)
        self.seen = seen

    def _open_catalog(self, seen: LockFile) -> Catalog:
        if self.read_only:
            return catalogs.read_catalog(self.files, self.store, seen)
        return catalogs.open_catalog(self.files, seen.catalog_generation)

    @contextlib.contextmanager
    def _moving(self) -> Iterator[None]:
        """Move the view. If that stops halfway, nobody takes it for what it was."""
        self.seen = None
        self._is_moving = True
        try:
            yield
        finally:
            self._is_moving = False

    def _follow_readers(self) -> None:
        """Be up to date without writing; from the files where nothing else helps."""
        with self.guard:
            for _ in range(_TRIES):
                seen = self._read_lock()
                if seen is not None and self._worth(seen) is MarkWorth.EXACT:
                    with contextlib.suppress(CorruptionError, NotFoundError):
                        return self.follow(seen)
                if self._view is not None and seen == self.seen:
                    return None
                try:
                    self._use(catalogs.rebuilt_in_memory(self.files, self.store, seen))
                except CorruptionError:
                    if seen == self._read_lock():
                        raise  # nobody went on meanwhile, so no file went
                else:
                    self.seen = seen
                    return None
        what = "the store changes faster than it can be read; try again"
        raise StorageError(what=what, errno=0, transient=True)

    def _use(self, catalog: Catalog) -> None:
        # The one before closes when nobody reads through it any more.
        self._catalog = catalog
        self._view = View(catalog, self.opened, self.store, self.newest)

    def _rebuild(self, seen: LockFile) -> LockFile:
        generation = catalogs.newest_generation(self.files) + 1
        if isinstance(self._catalog, SqliteCatalog):
            self._catalog.close()
            self._catalog = None
        self._use(catalogs.rebuild_catalog(self.files, generation, self.store, seen))
        tail = (seen.journal, seen.end, seen.frame, seen.seq)
        seen = self.write_mark(*tail, seen, catalog_generation=generation)
        self.follow(seen)
        return seen

    def rebuild(self) -> None:
        """Throw the catalog away and make it from the files alone."""
        with self.locked() as seen:
            self._rebuild(seen)

    # --- the end -------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything. Twice is fine."""
        if self._closed or os.getpid() != self._pid:
            return
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        with contextlib.ExitStack() as steps:  # each, also if one fails
            steps.callback(self.opened.forget)
            if self._lock is not None:
                steps.callback(self._lock.close)
            steps.callback(self.journal.let_go)
            if isinstance(self._catalog, SqliteCatalog):
                # Another thread may be at a commit; and closing checkpoints, so
                # it wants the lock (SQLite's WAL-reset race).
                if self._lock is not None:
                    self._lock.acquire(self._timeout_s)
                self._view = None
                self._catalog.close()

    def in_child(self) -> None:
        """Close this process's copies of the descriptors, after a fork."""
        with contextlib.suppress(CastoreError):
            if self._lock is not None:
                self._lock.close()
            self.journal.let_go()
