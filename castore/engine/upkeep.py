"""
Keeping up: the catalog behind the journal, a new journal behind a full one.

Spec: spec/ordering.md, "Closing a journal", "The catalog".
"""

from __future__ import annotations

import contextlib
import itertools

from collections.abc import Iterable, Mapping

from castore import limits
from castore.catalog.rows import Facts, Place, Position
from castore.engine import journal as journals
from castore.engine.journal import Tail
from castore.engine.state import State
from castore.errors import CorruptionError, LockedError, NotFoundError, StorageError


_WAL_SIZE = 8 * limits.MIB
_MOVED_COUNT = 10_000  # places written in one go


class Upkeep:
    """What is done between commits, and by maintenance."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._draining = False

    def maintain(self) -> None:
        """Apply some of the overlay, close a full journal. Under the lock."""
        view = self._state.view
        many = view.known.pending_count() > limits.OVERLAY_COMMIT_COUNT
        if many or view.pending_size > limits.OVERLAY_SIZE:
            self._draining = True
        # A slice a commit, until the overlay is empty: no caller waits for all.
        if self._draining:
            self._draining = self._apply_slice()
        if view.position.end >= limits.JOURNAL_SIZE:
            self.close_journal()

    def _apply_slice(self) -> bool:
        """Apply some of the overlay to the catalog; return whether some is left."""
        catalog = self._state.catalog
        if catalog is None:
            return False
        pending = self._state.view.known.pending()
        count = rows = 0
        for facts, _ in pending:
            if count and rows >= limits.APPLY_ROW_COUNT:
                break
            rows += facts.row_count()
            count += 1
        if not count:
            return False
        base = catalog.position()
        position = pending[count - 1][1]
        if base is None or self._is_further(position, base):
            # Another process may have applied some of these already.
            known = base.seq if base else -1
            fresh = [facts for facts, at in pending[:count] if at.seq > known]
            catalog.apply(fresh, position)
        self._state.view.applied(count)
        if catalog.wal_size() > _WAL_SIZE:
            catalog.checkpoint("PASSIVE")
        return count < len(pending)

    def move(self, places: Iterable[Place]) -> None:
        """
        Have the catalog say that blobs stand in *places*. Under the lock.

        In slices, without the overlay: nobody keeps all of them, and each is right
        by itself as long as the files in which they stood before are there.
        """
        view, catalog = self._state.view, self._state.catalog
        coming = iter(places)
        while some := list(itertools.islice(coming, _MOVED_COUNT)):
            while self._apply_slice():
                pass
            known = view.known if catalog is None else catalog
            known.apply([Facts(places=some)], view.position)
            if catalog is not None and catalog.wal_size() > _WAL_SIZE:
                catalog.checkpoint("PASSIVE")

    def _is_further(self, position: Position, base: Position) -> bool:
        """Return whether *position* is behind *base* on the chain of journals."""
        if position.seq != base.seq:
            return position.seq > base.seq
        if position.journal == base.journal:
            return position.end > base.end
        return self._number(position.journal) > self._number(base.journal)

    def _number(self, journal: bytes) -> int:
        """Return the place of *journal* on the chain, 0 if it is gone: packed."""
        try:
            return self._state.opened.get(journal).header.number
        except NotFoundError:
            return 0

    def apply_all(self) -> None:
        """Bring the catalog up to the view, lock by lock. Takes the lock."""
        more = True
        while more:
            with self._state.locked():
                more = self._apply_slice()

    def apply_before_closing(self) -> None:
        """
        Bring the catalog up to date where that is easy.

        It is an index: what it lacks, the next who opens the store adds.
        """
        if self._state.read_only or self._state.is_poisoned:
            return
        with contextlib.suppress(StorageError, CorruptionError, LockedError):
            self.apply_all()

    def close_journal(self) -> None:
        """
        Close the journal and begin its successor. Under the lock.

        Raises:
            StorageError: No room, and the journal is as it was; or the sync
                failed, which poisons the handle.
        """
        state = self._state
        while self._apply_slice():
            pass
        position = state.view.position
        fd = state.journal.fd(position.journal)
        file = state.opened.get(position.journal)
        data = journals.footer(file, position.end, position.frame)
        try:
            state.files.write(fd, data, position.end)
        except StorageError:
            state.cut_back(fd, position.end)
            raise
        try:
            state.files.sync(fd)
        except StorageError:
            state.poison("closing the journal failed; open the store again")
            raise
        end = position.end + len(data)
        tail = Tail(position.journal, end, data[-32:], position.seq, position.commit)
        with state.poisoned_by_failing():
            made = journals.successor(state.files, state.opened, state.store, tail)
        state.follow(state.write_mark(*made.mark, state.seen))
        while self._apply_slice():
            pass

    def sync_catalog(self) -> bool:
        """
        Make the catalog durable as it is; return whether it is.

        Files that it no longer names may go only then.
        """
        with self._state.locked():
            catalog = self._state.catalog
            return catalog is not None and catalog.checkpoint("TRUNCATE")

    def condemned(self) -> dict[bytes, int]:
        """Return what gc has condemned: digest to time, ms since 1970."""
        catalog = self._state.catalog
        return catalog.condemned() if catalog is not None else {}

    def condemn(self, blobs: dict[bytes, int]) -> None:
        """Make *blobs* all that is condemned."""
        with self._state.locked():
            if self._state.catalog is not None:
                self._state.catalog.condemn(blobs)

    def remembered(self, name: bytes) -> bytes | None:
        """Return what a caller remembers under *name*; the catalog may forget it."""
        catalog = self._state.catalog
        return catalog.remembered(name) if catalog is not None else None

    def remember(self, values: Mapping[bytes, bytes]) -> None:
        """Keep *values* under their names as long as this catalog lives."""
        with self._state.locked():
            if self._state.catalog is not None:
                self._state.catalog.remember(values)
