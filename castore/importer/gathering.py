"""
Small new files gathered, so that one commit, and one sync, begins many segments.

Only files that nothing can be a fork of wait here: those with fewer pieces than
two files must share. Whoever needs what waits, by path or by session, settles
it first; so what comes of an import does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs

from castore.catalog.rows import Catalog
from castore.engine.change import Append, Change
from castore.errors import CastoreError, ClosedError, LockedError
from castore.importer.imported import ImportedFile
from castore.importer.remembering import Memory, Remembered
from castore.limits import MIB
from castore.store import Store


GATHERED_COUNT_MAX = 64  # files begun by one commit
GATHERED_ENTRY_COUNT_MAX = 1000
GATHERED_SIZE_MAX = 4 * MIB  # bytes of their bodies


@attrs.frozen
class Waiting:
    """
    A file whose import is to be committed.

    Attributes:
        append: Its segment, from the start entry to the end.

        guard: As in `Change`.

        names: What it can be needed by: its place, its session's key.

        result: What is said of it then.

        seen: What is remembered of it then, or None.
    """

    append: Append
    guard: Callable[[Catalog], None]
    names: tuple[object, ...]
    result: ImportedFile
    seen: Remembered | None


class Gathering:
    """
    Imports of a run of files, in order; some wait for a common commit.
    """

    def __init__(
        self, store: Store, memory: Memory, again: Callable[[str], ImportedFile]
    ) -> None:
        """
        Begin with none.

        Args:
            store: Where.

            memory: Of that store.

            again: Imports one file by itself, if the common commit fails.
        """
        self._store = store
        self._memory = memory
        self._again = again
        self._waiting: list[Waiting] = []
        self._names: set[object] = set()
        self._done: list[tuple[str, ImportedFile | CastoreError]] = []

    def add(self, waiting: Waiting) -> None:
        """Let a file wait for the commit."""
        self._waiting.append(waiting)
        self._names.update(name for name in waiting.names if name is not None)

    def settle(self, *names: object) -> None:
        """Commit if a file waits that is needed by one of *names*."""
        if not self._names.isdisjoint(names):
            self._commit()

    def done(
        self, path: str, result: ImportedFile | CastoreError | None
    ) -> Iterator[tuple[str, ImportedFile | CastoreError]]:
        """
        Yield what is done, in order, after the file at *path* was taken.

        Args:
            path: Which.

            result: What came of it; None if it waits here.
        """
        if result is not None and self._waiting:
            self._commit()
        if result is not None:
            self._done.append((path, result))
        elif self._is_full():
            self._commit()
        yield from self._take()

    def rest(self) -> Iterator[tuple[str, ImportedFile | CastoreError]]:
        """Commit what waits and yield what is done."""
        self._commit()
        yield from self._take()

    def _take(self) -> Iterator[tuple[str, ImportedFile | CastoreError]]:
        done, self._done = self._done, []
        yield from done

    def _is_full(self) -> bool:
        files = self._waiting
        return (
            len(files) >= GATHERED_COUNT_MAX
            or sum(len(f.append.entries) for f in files) >= GATHERED_ENTRY_COUNT_MAX
            or sum(f.result.raw_bytes for f in files) >= GATHERED_SIZE_MAX
        )

    def _commit(self) -> None:
        waiting, self._waiting, self._names = self._waiting, [], set()
        if not waiting:
            return

        def guard(known: Catalog) -> None:
            for item in waiting:
                item.guard(known)

        try:
            appends = tuple(item.append for item in waiting)
            self._store.engine.commit(Change(appends, guard=guard))
        except (ClosedError, LockedError):
            raise
        except CastoreError:
            # Others took a session's key, or there is no room for all.
            self._done += [self._alone(item.result.path) for item in waiting]
            return
        for item in waiting:
            self._done.append((item.result.path, item.result))
            if item.seen is not None:
                revision = self._store.segment(item.append.segment).revision
                seen = attrs.evolve(item.seen, revision=revision)
                self._memory.keep(item.result.path, seen)

    def _alone(self, path: str) -> tuple[str, ImportedFile | CastoreError]:
        try:
            return path, self._again(path)
        except (ClosedError, LockedError):
            raise
        except CastoreError as error:
            return path, error
