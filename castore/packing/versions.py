"""
The versions of slots: found in the logs, read, and stored one against another.

Spec: spec/ordering.md, "Packing and deleting"; spec/blob.md.
"""

from __future__ import annotations

import collections
import contextlib
import functools

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from castore import limits
from castore.catalog.rows import SegmentRow
from castore.compress import DIFFERENCE_LEVEL, diff_that_pays
from castore.engine import Engine
from castore.engine.members import members
from castore.engine.needs import stored_needs
from castore.errors import GoneError
from castore.formats import frame as frame_format
from castore.formats.entry import Entry, Reference
from castore.formats.frame import Record
from castore.packing.slots import Slots, Step
from castore.packing.writer import Descriptor
from castore.reading.blobs import RawCache, raw_size, read_record


_CAN_BE_BASE = (frame_format.BLOB, frame_format.DIFFERENCE)
_Slot = tuple[str, int]


class Stored(NamedTuple):
    """A blob in the form in which it is to stand."""

    digest: bytes
    size: int
    descriptor: Descriptor
    payload: bytes


class Versions:
    """
    Follows the slots of logs, entry by entry; then stores what they held.

    Stored anew is what stands in *inputs* and is not in *dead*, but for what hangs
    on versions elsewhere; and what was the newest of its slot until then, wherever
    it stands.
    """

    def __init__(
        self, engine: Engine, inputs: Mapping[bytes, int], dead: frozenset[bytes]
    ) -> None:
        self._engine = engine
        self._view = engine.view
        self._inputs = inputs
        self._dead = dead
        self._slots = Slots()
        self._at: tuple[bytes, int] = (b"", 0)
        self._seq = 0
        self._held: dict[_Slot, bytes] = {}
        self._raw = RawCache(limits.CACHE_SIZE)
        self._depths: dict[bytes, int] = {}

    # --- following -----------------------------------------------------------

    def begin(self, row: SegmentRow, index: int) -> None:
        """Be at *index* of the log of *row*."""
        if self._at == (row.id, index):
            return
        self._at, self._seq, self._held = (row.id, index), row.seq, {}
        start = max(0, index - limits.SLOT_LOOK_BACK)
        with contextlib.suppress(GoneError):  # deleted meanwhile
            for entry in self._view.logs.entries_reversed(row, start, index):
                for slot, digest in self._slots_of(self._view.references(entry)):
                    self._held.setdefault(slot, digest)

    def take(self, entry: Entry) -> list[Reference]:
        """Take in the next entry; return its references, through ref lists."""
        refs = list(self._view.references(entry))
        self._at = (self._at[0], entry.index + 1)
        for slot, digest in self._slots_of(refs):
            before, self._held[slot] = self._held.get(slot), digest
            if self._is_input(digest) and self._kind(digest) in _CAN_BE_BASE:
                self._slots.add(digest, (self._seq, entry.index))
            if before is not None:
                self._join(digest, before)
        return refs

    def _join(self, digest: bytes, other: bytes) -> None:
        if digest in self._slots.versions or other in self._slots.versions:
            self._slots.join(digest, other)

    def _slots_of(self, refs: Iterable[Reference]) -> Iterator[tuple[_Slot, bytes]]:
        """Yield slots and what they hold: a role, and the how-manieth of an entry."""
        counts: collections.Counter[str] = collections.Counter()
        for ref in refs:
            digest, size = ref.blob.digest, ref.blob.size
            counts[ref.role] += 1
            fits = limits.SLOT_SIZE_MIN <= size <= limits.BLOB_RECORD_SIZE_MAX
            if fits and digest not in self._dead:
                yield (ref.role, counts[ref.role]), digest

    # --- storing -------------------------------------------------------------

    def stored(self) -> Iterator[Stored]:
        """
        Yield what was followed in its new form, each blob behind its base.

        Reads the tables of all frames of the inputs, and where there are versions
        those of the other files. Holds some versions in memory, about
        ``limits.CACHE_SIZE``.

        Raises:
            CorruptionError: Something cannot be read.
        """
        for base, names in stored_needs(self._engine, self._inputs)[0].items():
            for name in names:
                self._add_difference(name, base)
        hanging = [tree for tree in self._slots.trees() if self._hangs(tree)]
        for tree in hanging:
            self._slots.leave(tree)
        for digest in self._slots.neighbours():
            if self._kind(digest) == frame_format.BLOB:
                self._slots.add(digest)
        if not self._slots.versions:
            return
        heirs, _ = stored_needs(self._engine, self._files())
        for step in self._slots.plan(functools.partial(self._height, heirs)):
            made = self._form(step)
            is_whole = made.descriptor[0] == frame_format.BLOB
            self._depths[step.digest] = 0 if is_whole else made.descriptor[5]
            # What was the newest until now stays where it is unless it turns.
            if self._is_input(step.digest) or not is_whole:
                yield made

    def _files(self) -> dict[bytes, int]:
        return members(self._view, self._engine.state.opened, self._engine.store)

    def _hangs(self, tree: Iterable[bytes]) -> bool:
        """Return whether all of *tree* are differences, to what is alive."""
        for digest in tree:
            base = self._base(digest)
            if base is None or base in self._dead or not self._is_stored(base):
                return False
        return True

    def _add_difference(self, name: bytes, base: bytes) -> None:
        if self._is_input(name) and name not in self._dead and self._base(name) == base:
            self._slots.add(name)
            if base not in self._dead:
                self._slots.join(name, base)

    def _height(self, heirs: Mapping[bytes, set[bytes]], digest: bytes) -> int:
        """Return how long a chain of what stays elsewhere hangs on *digest*."""
        height = -1
        level = [digest]
        while level:
            height += 1
            level = [
                name
                for base in level
                for name in heirs.get(base, ())
                if name not in self._slots.versions and self._base(name) == base
            ]
        return height

    def _form(self, step: Step) -> Stored:
        record = self._view.blobs.find(step.digest)
        if step.base is not None:
            delta = self._delta(step.digest, step.base, record)
            if delta is not None:
                size = raw_size(record)
                depth = self._depths[step.base] + 1
                kind = frame_format.DIFFERENCE
                form = [kind, len(delta), step.digest, size, step.base, depth]
                return Stored(step.digest, size, form, delta)
        data = self._read(step.digest)
        return Stored(step.digest, len(data), [frame_format.BLOB, len(data)], data)

    def _delta(self, digest: bytes, base: bytes, record: Record) -> bytes | None:
        """Return *digest* as a difference to *base*, None where that does not pay."""
        if record.kind == frame_format.DIFFERENCE and record.descriptor[4] == base:
            return bytes(record.payload)
        old, data = self._read(base), self._read(digest)
        if len(old) < limits.DIFFERENCE_BASE_SIZE_MIN or not data:
            return None
        return diff_that_pays(old, data, DIFFERENCE_LEVEL)

    def _read(self, digest: bytes) -> bytes:
        find = self._view.blobs.find
        return read_record(digest, find(digest), find, self._raw)

    # --- what stands where ---------------------------------------------------

    def _is_input(self, digest: bytes) -> bool:
        place = self._view.known.find_place(digest)
        return place is not None and place.file in self._inputs

    def _is_stored(self, digest: bytes) -> bool:
        return self._view.known.find_place(digest) is not None

    def _descriptor(self, digest: bytes) -> Descriptor:
        """Return what the table says of the blob *digest*; empty if it is not there."""
        place = self._view.known.find_place(digest)
        if place is None:
            return []
        return self._view.frames.get(place.file, place.offset).table[place.record]

    def _kind(self, digest: bytes) -> int:
        descriptor = self._descriptor(digest)
        return descriptor[0] if descriptor else 0

    def _base(self, digest: bytes) -> bytes | None:
        descriptor = self._descriptor(digest)
        is_difference = bool(descriptor) and descriptor[0] == frame_format.DIFFERENCE
        return descriptor[4] if is_difference else None
