"""
One store in one process: the one door to the engine.

Spec: spec/ordering.md.
"""

from __future__ import annotations

import contextlib
import os
import weakref

from collections.abc import Iterator

import attrs

from castore import limits
from castore.digest import blob_hash
from castore.engine.change import Append, Change, NewEntry, Outcome
from castore.engine.commits import Committer
from castore.engine.expect import Expect
from castore.engine.pool import Pool
from castore.engine.reserve import NAME as RESERVE
from castore.engine.side import SidePack
from castore.engine.state import State
from castore.engine.upkeep import Upkeep
from castore.engine.view import View
from castore.errors import CastoreError, ClosedError, LimitError, NotFoundError
from castore.formats import frame as frame_format
from castore.formats import storelog
from castore.formats.chunked import slices_digest
from castore.formats.entry import BlobRef
from castore.reading.blobs import chunk_list, corrupt_blob, read_chunk
from castore.storage import Files


class Engine:
    """
    Commits and reads one store. May be used by many threads; not after a fork.

    Attributes:
        state: View, mark and lock.

        upkeep: What is done between commits.

        pool: Blobs that were put and wait for a commit.

        store: Store id.

        read_only: Whether nothing is ever written.
    """

    def __init__(
        self,
        files: Files,
        store: bytes,
        *,
        read_only: bool = False,
        max_bytes: int | None = None,
        timeout_s: float = limits.LOCK_TIMEOUT_S,
    ) -> None:
        """
        Open the store in *files*, recovering what a stop left.

        Args:
            files: The store's folder.

            store: Store id, from ``castore.json``.

            read_only: Write nothing, create nothing, lock nothing.

            max_bytes: Refuse commits with which the files would be larger.

            timeout_s: How long to wait for the store's lock.
        """
        self.files = files
        self.store = store
        self.read_only = read_only
        self._max_bytes = max_bytes
        self.state = State(files, store, read_only=read_only, timeout_s=timeout_s)
        self._side = SidePack(files, store, self.check_room, self.state.poison)
        self.pool = Pool(self.state, self._side)
        self.upkeep = Upkeep(self.state)
        self._committer = Committer(
            self.state, self.upkeep, self.pool, self._side, self.check_room
        )
        _alive.add(self)

    @property
    def view(self) -> View:
        """What is known, without looking whether there is more."""
        return self.state.view

    def refresh(self) -> View:
        """Return the state up to the mark. Takes no lock."""
        return self.state.refresh()

    def check_usable(self) -> None:
        """Refuse a closed handle, and one from before a fork."""
        self.state.check_usable()

    @contextlib.contextmanager
    def reading(self) -> Iterator[View]:
        """Hold the view still."""
        with self.state.guard:
            yield self.state.view

    def commit(self, change: Change) -> Outcome:
        """
        Make *change*, durable when this returns; see `Committer.commit`.

        A copy of a store says first that it is one: when it meets the other
        copy, both can be told apart.
        """
        if self.state.is_copy:
            self._committer.commit(self._instance_change())
            self.state.is_copy = False
        return self._committer.commit(change)

    def _instance_change(self) -> Change:
        body = storelog.instance(os.urandom(16))
        ref = self.pool.keep(body)
        entry = NewEntry(storelog.INSTANCE, ref, content=body)
        append = Append(self.store, self.store, (entry,), Expect.ANY)
        return Change((append,), maintenance=True)

    def rebuild(self) -> None:
        """Throw the catalog away and make it from the files alone."""
        self.state.rebuild()

    # --- payloads ------------------------------------------------------------

    def read_blob(self, digest: bytes) -> bytes:
        """Return the bytes of *digest*, put or stored, checked."""
        self.check_usable()
        if self.pool.has(digest):
            return self.pool.read(digest)
        try:
            return self.view.blobs.read(digest)
        except NotFoundError:
            # Others may have stored it since this process looked.
            return self.refresh().blobs.read(digest)

    def read_range(self, ref: BlobRef, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)`` of *ref*, checked."""
        self.check_usable()
        if self.pool.has(ref.digest):
            return self.pool.read_range(ref, start, stop)
        try:
            return self.view.blobs.read_range(ref, start, stop)
        except NotFoundError:
            return self.refresh().blobs.read_range(ref, start, stop)

    def has_blob(self, digest: bytes) -> bool:
        """Return whether *digest* was put here or is stored."""
        if self.pool.has(digest):
            return True
        return self.refresh().known.find_place(digest) is not None

    def find_size(self, digest: bytes) -> int | None:
        """Return the raw bytes of *digest*, put or stored, None if it is neither."""
        size = self.pool.size(digest)
        if size is None:
            place = self.refresh().known.find_place(digest)
            size = place.size if place is not None else None
        return size

    def sliced(self, ref: BlobRef) -> BlobRef:
        """
        Return *ref* with the slices digest that its bytes have.

        A large blob is read and hashed once for that, chunk by chunk: nothing
        else binds a bare name to its chunk list.
        """
        if ref.size < limits.SLICED_SIZE_MIN or ref.slices is not None:
            return ref
        find = self.pool.record
        record = find(ref.digest)
        if record.kind != frame_format.CHUNKED:
            raise corrupt_blob(ref.digest, "a large blob is no chunk list")
        chunks = chunk_list(ref.digest, record)
        whole = blob_hash()
        for digest, size in chunks.chunks:
            whole.update(read_chunk(digest, size, find))
        if whole.digest() != ref.digest:
            raise corrupt_blob(ref.digest, "content hashes to another name")
        return attrs.evolve(ref, slices=slices_digest(chunks.slices))

    # --- sizes ---------------------------------------------------------------

    def check_room(self, size: int) -> None:
        """
        Refuse *size* more bytes if the store may not grow by that.

        Raises:
            LimitError: Nothing was written.
        """
        if self._max_bytes is None:
            return
        used = self.disk_size()
        if used + size > self._max_bytes:
            what = f"the store has {used} bytes and may have {self._max_bytes}"
            raise LimitError(what=f"{what}; run castore gc", limit=self._max_bytes)

    def disk_size(self) -> int:
        """Return the bytes of all files of frames."""
        return sum(file.size() for file in self.state.opened.headers())

    def other_sizes(self) -> tuple[int, int]:
        """Return the bytes of the catalog, and of all else but files of frames."""
        catalog = other = 0
        for name in self.files.list(""):
            size = self.files.size_of(name)
            if name.startswith("catalog-") and name != RESERVE:
                catalog += size
            else:
                other += size
        return catalog, other

    # --- the end -------------------------------------------------------------

    def close(self) -> None:
        """Close everything; what was acknowledged is durable without this."""
        try:
            with contextlib.suppress(ClosedError):
                self.upkeep.apply_before_closing()
        finally:
            try:
                self.state.close()
            finally:
                self._side.close()

    def in_child(self) -> None:
        """Close this process's copies of the descriptors, after a fork."""
        with contextlib.suppress(CastoreError):
            self.state.in_child()
        with contextlib.suppress(CastoreError):
            self._side.close()


_alive: weakref.WeakSet[Engine] = weakref.WeakSet()


def _after_fork() -> None:
    for engine in list(_alive):
        engine.in_child()


os.register_at_fork(after_in_child=_after_fork)
