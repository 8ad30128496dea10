"""
A store beside its model: what both are told, and how they are compared.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from conftest import MEMORY
from hypothesis.stateful import RuleBasedStateMachine
from model import Item, Log, Model, Names, content

import castore

from castore import BlobRef, NewEntry, Reference, Segment, Store, limits


@attrs.define(eq=False)
class Handle:
    """
    An open store.

    Attributes:
        waiting: What was put and no commit has named, each with what it needs.

        grips: Segments as this handle last saw them.
    """

    store: Store
    waiting: Names = attrs.Factory(dict)
    grips: dict[bytes, Segment] = attrs.Factory(dict)

    def grip(self, segment: bytes) -> Segment:
        """Return the segment, perhaps as it was seen some time ago."""
        if segment not in self.grips:
            self.grips[segment] = self.store.segment(segment)
        return self.grips[segment]


class Twin(RuleBasedStateMachine):
    """One store, used through some handles; what it must hold is in `model`."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = contextlib.ExitStack()
        room = MEMORY if MEMORY.is_dir() else None
        self.folder = Path(tempfile.mkdtemp(prefix="castore-", dir=room))
        self.path = self.folder / "store"
        self.model = Model()
        self.refs: list[BlobRef] = []
        self.specs: list[tuple[int, int, int]] = []  # of the contents of `refs`
        self.handles: list[Handle] = []
        self.kinds: list[str] = ["start"]  # of the store log's entries

    def teardown(self) -> None:
        """Close everything."""
        try:
            if self.handles:
                self.finish()
        finally:
            for handle in self.handles:
                handle.store.close()
            self.patches.close()
            shutil.rmtree(self.folder)

    def finish(self) -> None:
        """Check what must hold at the end; for machines that check."""

    # --- picking -------------------------------------------------------------

    def handle(self, pick: int) -> Handle:
        """Return one of the handles."""
        return self.handles[pick % len(self.handles)]

    def log(self, pick: int) -> Log:
        """Return one of the living segments."""
        living = self.model.living()
        return living[pick % len(living)]

    def reference(self, handle: Handle, pick: int, edit: int | None) -> BlobRef:
        """
        Return the reference of something that was put, once; with *edit* put that
        version of it now.
        """
        at = pick % len(self.refs)
        if edit is None:
            return self.refs[at]
        spec = (*self.specs[at][:2], edit)
        return self.take(handle, spec, like=self.refs[at])

    def built(
        self, handle: Handle, batch: Sequence[Any]
    ) -> tuple[list[Item], list[NewEntry]]:
        """Return entries for the model and for the store; their bodies get put."""
        items, entries = [], []
        for kind, body, wanted, time_ms in batch:
            found = [
                Reference(role, self.reference(handle, pick, edit))
                for role, pick, edit in wanted
            ]
            name = next(iter(self.model.put(body)))
            handle.waiting.setdefault(name, ())
            items.append(Item(kind, name, tuple(found), time_ms))
            entries.append(NewEntry(kind, body, found, time_ms))
        return items, entries

    # --- committing ----------------------------------------------------------

    @contextlib.contextmanager
    def committing(
        self,
        handle: Handle,
        items: Sequence[Item],
        error: type[Exception] | None = None,
        *,
        is_replay: bool = False,
    ) -> Iterator[bool]:
        """
        Expect the commit of *items* that is made inside to go as the model says.

        Yields whether it must succeed. Without *error* it must, if all that it
        names is there. A replay stores nothing.
        """
        names = [name for item in items for name in item.names]
        closure = self.model.closure(names, handle.waiting)
        if closure is None:
            error = castore.NotFoundError
        if error is not None:
            with pytest.raises(error):
                yield False
        else:
            yield True
        if error is not None or is_replay:
            self.sync(handle)
            return
        lists = {name: len(item.refs) for item in items for name in item.lists}
        self.sync(handle, closure or set(), lists)

    def sync(
        self,
        handle: Handle,
        named: set[bytes] = frozenset(),  # type: ignore[assignment]
        lists: dict[bytes, int] | None = None,
    ) -> None:
        """
        Compare what is stored now; *named* must be, other things that wait may.

        A commit makes the whole of what was written before it part of the store.
        """
        model = self.model
        store = handle.store
        self._take_notes(store)
        places = {p.digest: p.size for p in store.engine.refresh().known.places()}
        must = dict(model.stored)
        model.lists |= (lists or {}).keys()
        must |= {name: len(model.contents[name]) for name in named} | (lists or {})
        must |= {item.body: len(model.contents[item.body]) for item in model.notes}
        may = {name: len(model.contents[name]) for name in handle.waiting}
        assert must.items() <= places.items()
        assert places.items() <= (may | must).items()
        model.stored = places
        pool = store.engine.pool
        gone = {name for name in handle.waiting if not pool.has(name)}
        assert gone <= places.keys() | model.orphans(handle.waiting)
        for name in gone:
            del handle.waiting[name]

    def _take_notes(self, store: Store) -> None:
        """Read what is new in the store's log."""
        segment = store.segment(store.id)
        first = len(self.model.notes)
        for entry, body in segment.read(first):
            self.model.put(body)
            self.model.notes.append(
                Item(entry.kind, entry.body.digest, entry.refs, entry.time_ms)
            )
        assert self.kinds == [item.kind for item in self.model.notes]
        assert self.model.seq == store.engine.view.position.seq

    def note(self, *kinds: str) -> None:
        """Expect a commit to the store's log."""
        self.kinds += kinds
        self.model.seq += 1

    # --- payloads ------------------------------------------------------------

    def take(
        self,
        handle: Handle,
        spec: tuple[int, int, int],
        stream: Any = None,
        like: BlobRef | None = None,
    ) -> BlobRef:
        """Put a content, compare the reference, and remember it."""
        data = content(*spec)
        waits = self.model.put(data)
        name = next(iter(waits))
        ref = handle.store.put(stream or data, like=like)
        assert (name, len(data)) == (ref.digest, ref.size)
        assert (ref.slices is not None) == (len(data) > 8 * limits.MIB)
        # Whether it waits, and is worth a difference, is the writer's choice.
        pool = handle.store.engine.pool
        if name not in handle.waiting and pool.has(name):
            needs = pool.needs(name)
            assert set(needs) == set(waits[name]) or len(needs) == 1
            waits[name] = needs
        for name_now in waits:
            if pool.has(name_now) and name_now not in handle.waiting:
                handle.waiting[name_now] = waits[name_now]
        if ref not in self.refs:
            self.refs.append(ref)
            self.specs.append(spec)
        assert handle.store.has(ref)
        if name not in self.model.orphans(handle.waiting):
            assert handle.store.get(ref) == data
        return ref
