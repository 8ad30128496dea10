"""
Commits: grouped, written, synced, acknowledged.

Spec: spec/ordering.md, "Commit".
"""

from __future__ import annotations

import errno
import threading

from collections.abc import Callable

import attrs

from castore import limits
from castore.catalog import Overlay
from castore.catalog.rows import Catalog, Facts, Position
from castore.engine.building import (
    Ending,
    finish_commit,
    remember_built,
    replay_of,
)
from castore.engine.change import Change, Outcome
from castore.engine.fold import Extension
from castore.engine.pool import Pool
from castore.engine.preparing import Prepared, prepare
from castore.engine.reserve import give_up_reserve
from castore.engine.side import SidePack
from castore.engine.state import State
from castore.engine.upkeep import Upkeep
from castore.errors import CastoreError, ClosedError, NotFoundError, StorageError
from castore.formats.mark import LockFile


_ALONE_SIZE = 64 * limits.KIB  # raw bytes from which a thread prepares on its own


@attrs.define(eq=False)
class _Request:
    """
    A commit that a thread waits for.

    Attributes:
        change: What is wanted.

        generation: Under which `prepared` was made.

        turn: Held until the waiting thread is to go on: its commit has an answer,
            or it leads. None where it leads at once.
    """

    change: Change
    prepared: Prepared | None = None
    generation: int = -1
    turn: threading.Lock | None = None
    outcome: Outcome | None = None
    error: CastoreError | None = None

    def result(self) -> Outcome:
        if self.error is not None:
            raise self.error
        if self.outcome is None:
            raise ClosedError(what="the commit was not made; its key tells its fate")
        return self.outcome


@attrs.define(eq=False)
class _Made:
    request: _Request
    prepared: Prepared
    extension: Extension
    facts: Facts
    after: Position


class Committer:
    """
    Makes commits for the threads of one process.
    """

    def __init__(
        self,
        state: State,
        upkeep: Upkeep,
        pool: Pool,
        side: SidePack,
        check_room: Callable[[int], None],
    ) -> None:
        self._state = state
        self._upkeep = upkeep
        self._pool = pool
        self._side = side
        self._check_room = check_room
        self._guard = threading.Lock()
        self._queue: list[_Request] = []
        self._is_led = False
        self._heir: _Request | None = None

    # --- commits -------------------------------------------------------------

    def commit(self, change: Change) -> Outcome:
        """
        Make *change*, durable when this returns.

        Threads that wait share one sync: the first leads for all. It also prepares
        what is small: threads that take turns at that cost more than it does.

        Raises:
            ConflictError: A head or key is not what was expected.

            NotFoundError: A payload was never put, or the segment is not there.

            LimitError: Too large, or the store would be.

            StorageError: The medium failed. After a failed sync the handle is
                poisoned and the commit in doubt: whole or absent.
        """
        self._state.check_usable()
        if self._state.read_only:
            raise ClosedError(what="the store was opened read-only")
        request = _Request(change)
        if sum(change.blobs.values()) > _ALONE_SIZE:
            self._prepare(request)
        with self._guard:
            self._queue.append(request)
            if self._is_led:
                request.turn = threading.Lock()
                request.turn.acquire()
            self._is_led = True
        if request.turn is not None:
            self._wait(request, request.turn)
        if request.turn is None or request is self._heir:
            self._lead()
        return request.result()

    def _wait(self, request: _Request, turn: threading.Lock) -> None:
        try:
            turn.acquire()
        except BaseException:  # interrupted: nobody shall wait for this thread
            with self._guard:
                if request in self._queue:
                    self._queue.remove(request)
                appointed = request is self._heir
            if appointed:
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Let the first that waits for a leader lead, if one does."""
        with self._guard:
            self._heir = self._queue[0] if self._queue else None
            self._is_led = self._heir is not None
            if self._heir is not None and self._heir.turn is not None:
                self._heir.turn.release()

    def _prepare(self, request: _Request) -> Prepared:
        seen = self._state.seen
        request.generation = seen.gc_generation if seen else -1
        change, pool, side = request.change, self._pool, self._side
        try:
            prepared = prepare(change, pool, side, self._state.view.known)
        except NotFoundError:
            # Others may have stored it since this process looked.
            prepared = prepare(change, pool, side, self._state.refresh().known)
        request.prepared = prepared
        return prepared

    def _lead(self) -> None:
        with self._guard:
            group, self._queue, self._heir = self._queue, [], None
        try:
            ready = self._ready(group)
            with self._state.locked() as seen:
                self._commit_group(ready, seen)
                if self._state.seen is not None:
                    self._upkeep.maintain()
        except CastoreError as error:
            for request in group:
                if request.outcome is None and request.error is None:
                    request.error = error
        finally:
            # The next leader first: the others have nothing to do but to answer.
            self._pass_on()
            for request in group:
                if request.turn is not None:
                    request.turn.release()

    def _ready(self, group: list[_Request]) -> list[tuple[_Request, Prepared]]:
        """Return those of *group* that can be made, prepared."""
        ready = []
        for request in group:
            try:
                prepared = request.prepared or self._prepare(request)
            except CastoreError as error:
                request.error = error
            else:
                ready.append((request, prepared))
        return ready

    def _commit_group(
        self, group: list[tuple[_Request, Prepared]], seen: LockFile
    ) -> None:
        view = self._state.view
        begin = view.position
        ending = Ending(self._state.opened.get(begin.journal).hash, begin, begin.end)
        staged: Catalog = view.known if len(group) == 1 else Overlay(view.known)
        data: list[bytes] = []
        made: list[_Made] = []
        for request, prepared in group:
            try:
                built = self._build(request, prepared, staged, ending, seen)
            except CastoreError as error:
                request.error = error
                continue
            if built is None:
                continue
            frame, item = built
            if staged is not view.known:
                places = list(request.change.moved)
                moved = [Facts(places=places)] if places else []
                staged.apply([*moved, item.facts], item.after)
            ending = Ending(ending.file_hash, item.after, ending.group_start)
            data.append(frame)
            made.append(item)
        if made:
            changes = [item.request.change for item in made]
            self._write_group(
                b"".join(data),
                begin,
                ending.position,
                seen,
                gc_raised=any(change.raises_generation for change in changes),
                reserve=any(change.maintenance for change in changes),
            )
            self._acknowledge(made)

    def _build(
        self,
        request: _Request,
        prepared: Prepared,
        staged: Catalog,
        ending: Ending,
        seen: LockFile,
    ) -> tuple[bytes, _Made] | None:
        outcome = replay_of(prepared, staged)
        if outcome is not None:
            self._pool.done(prepared.asked)
            request.outcome = outcome
            return None
        if request.generation != seen.gc_generation:
            # What exists was asked under another generation: ask again.
            prepared = self._prepare(request)
        change = request.change
        if change.guard is not None:
            change.guard(staged)
        store = self._state.store
        frame, image, after = finish_commit(prepared, staged, store, ending)
        if not change.maintenance:
            # With what the group has before it; none of that is written yet.
            self._check_room(after.end - ending.group_start)
        facts = self._state.view.facts(image, staged)
        return frame, _Made(request, prepared, image.extensions[0], facts, after)

    def _write_group(
        self,
        data: bytes,
        begin: Position,
        after: Position,
        seen: LockFile,
        *,
        gc_raised: bool,
        reserve: bool,
    ) -> None:
        fd = self._state.journal.fd(begin.journal)
        try:
            self._write(fd, data, begin.end, reserve=reserve)
        except StorageError:
            # Nobody saw these bytes and the lock is ours: take them back, so
            # that a full disk needs no recovery.
            self._state.cut_back(fd, begin.end)
            raise
        try:
            self._state.files.sync(fd)
        except StorageError:
            self._state.poison("a sync failed; open the store again")
            raise
        try:
            self._state.seen = self._state.write_mark(
                after.journal,
                after.end,
                after.frame,
                after.seq,
                seen,
                gc_raised=gc_raised,
            )
        except StorageError:
            self._state.poison("the mark could not be written; open the store again")
            raise

    def _write(self, fd: int, data: bytes, offset: int, *, reserve: bool) -> None:
        """Write *data*; with *reserve*, give that up where the disk is full."""
        files = self._state.files
        try:
            files.write(fd, data, offset)
        except StorageError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            if not (reserve and full and give_up_reserve(files)):
                raise
            files.write(fd, data, offset)

    def _acknowledge(self, made: list[_Made]) -> None:
        for item in made:
            head, count = item.extension.head, len(item.extension.hashes)
            item.request.outcome = Outcome(
                item.after.seq, head.count - count, count, head
            )
        try:
            for item in made:
                self._upkeep.move(item.request.change.moved)
                self._state.view.take(item.facts, item.after)
                remember_built(item.facts.segments[0], item.extension.head)
        except BaseException as error:
            # Durable all the same, so no error for the callers: what is known
            # is made anew.
            self._state.seen = None
            if not isinstance(error, CastoreError):
                raise
        for item in made:
            self._release(item)

    def _release(self, made: _Made) -> None:
        prepared = made.prepared
        digests = [item.ref.digest for item in prepared.pending]
        digests += [item.ref.digest for _, _, some in prepared.payload for item in some]
        self._pool.done([*digests, *prepared.asked])
        if prepared.side:
            self._side.named(prepared.side[1])
            self._pool.named(prepared.side[1])
