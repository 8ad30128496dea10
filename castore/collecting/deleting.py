"""
Deleting what is due, a part of the files after another, within bounds.

Spec: spec/ordering.md, "Packing and deleting", "A full disk".
"""

from __future__ import annotations

import time

from collections.abc import Callable, Collection

import attrs

from castore.catalog.rows import Catalog
from castore.collecting.parts import Chooser, FilesOf, Part
from castore.collecting.report import BYTES, HELD, ROOM, TIME, Work
from castore.engine import Engine
from castore.engine.reserve import give_up_reserve
from castore.packing.rewrite import Input, close_journal, closed_files, rewrite


#: Under the store's lock: raises if something that goes came alive.
Guard = Callable[[Catalog], None]


@attrs.frozen
class Bounds:
    """
    How much one run may do; None for no bound.

    Attributes:
        max_duration_s: Begin no further part of the deletion after so many seconds;
            one part at least is done.

        max_rewrite_bytes: Write so many bytes anew at most, about. Files in which
            nothing lives go first, then those that give most for each byte.
    """

    max_duration_s: float | None = None
    max_rewrite_bytes: int | None = None

    def begin(self) -> Limits:
        """Return what they come to for a run that begins now."""
        spend = self.max_duration_s
        until = None if spend is None else time.monotonic() + spend
        return Limits(until, self.max_rewrite_bytes)


NO_BOUNDS = Bounds()


@attrs.frozen
class Limits:
    """
    The bounds of a run that goes on.

    Attributes:
        until: By `time.monotonic`, None for no bound.

        rewrite_size: Bytes, None for no bound.
    """

    until: float | None
    rewrite_size: int | None

    @property
    def are_there(self) -> bool:
        """Whether anything is bounded."""
        return self.until is not None or self.rewrite_size is not None


@attrs.frozen
class How:
    """
    How it is done.

    Attributes:
        limits: Of the run.

        level: Of zstd.

        files_of: Tells where each name stands.

        guard: Makes the last look at some names.

        notes: Makes the store log's entries for some names.

        tell: Told the raw bytes written.
    """

    limits: Limits
    level: int
    files_of: FilesOf
    guard: Callable[[Collection[bytes]], Guard]
    notes: Callable[[Collection[bytes]], list[tuple[str, bytes]]]
    tell: Callable[[int], None]


def delete(engine: Engine, due: Collection[bytes], how: How, work: Work) -> None:
    """
    Rewrite the files in which something of *due* stands; *work* tells what was done.

    Raises:
        StorageError: The medium failed.
    """
    wanted = {file for name in due for file in how.files_of(name)}
    if engine.view.position.journal in wanted:
        close_journal(engine)
    inputs = _inputs(engine, wanted)
    deleter = _Deleter(engine, how, work)
    room = engine.files.free_size() > sum(item.file.size() for item in inputs)
    if room and not how.limits.are_there:
        files = {item.file.id for item in inputs}
        names = frozenset(name for name in due if files.issuperset(how.files_of(name)))
        if names:
            deleter.replace(Part(tuple(inputs), names, cost=1, gain=0))
    else:
        deleter.run(Chooser(engine.view.known, inputs, due, how.files_of))
    left = set(due) - work.deleted
    for reason, waiting in deleter.waiting.items():
        work.leave(reason, left & waiting)
        left -= waiting
    if left:
        work.leave(deleter.split or HELD, left)


def _inputs(engine: Engine, wanted: set[bytes]) -> list[Input]:
    """
    Return the files of *wanted* that may be rewritten.

    A journal takes the older ones with it: the chain of journals ends at the
    first that is dropped.
    """
    closed = closed_files(engine)
    newest = max(
        (item.file.header.number for item in closed if item.file.id in wanted),
        default=0,
    )
    return [
        item
        for item in closed
        if item.file.id in wanted or 0 < item.file.header.number <= newest
    ]


class _Deleter:
    """
    Goes through parts, as far as the bounds and the room allow.

    Attributes:
        waiting: Names of the parts that were left, by reason.

        split: Why some parts were taken file by file, empty if none was.
    """

    def __init__(self, engine: Engine, how: How, work: Work) -> None:
        self.waiting: dict[str, set[bytes]] = {}
        self.split = ""
        self._engine = engine
        self._how = how
        self._work = work
        self._spent = 0

    def run(self, chooser: Chooser) -> None:
        """Replace the parts that may be, those first that give most."""
        parts = chooser.together()
        while parts:
            crowded = []
            for part in self._each(parts, chooser):
                reason = self._obstacle(part)
                if not reason:
                    self.replace(part)
                    self._spent += part.cost
                elif reason == ROOM:
                    crowded.append(part)
                else:
                    self.waiting.setdefault(reason, set()).update(part.names)
            # What went meanwhile may have made room.
            parts = [part for part in crowded if self._obstacle(part) != ROOM]
            for part in crowded:
                if part not in parts:
                    self.waiting.setdefault(ROOM, set()).update(part.names)

    def _each(self, parts: list[Part], chooser: Chooser) -> list[Part]:
        """Return *parts*, those that are too large file by file."""
        found = []
        for part in parts:
            reason = self._obstacle(part)
            alone = chooser.apart(part) if reason in (BYTES, ROOM) else []
            if len(alone) > 1 or (alone and alone[0].names != part.names):
                self.split = reason
                found += alone
            else:
                found.append(part)
        return found

    def _obstacle(self, part: Part) -> str:
        """Return why *part* cannot be replaced now, empty if it can."""
        limits = self._how.limits
        late = limits.until is not None and time.monotonic() >= limits.until
        if late and self._work.deleted:
            return TIME
        if not part.cost:
            return ""
        most = limits.rewrite_size
        if most is not None and self._spent + part.cost > most:
            return BYTES
        return "" if self._has_room(part.cost) else ROOM

    def _has_room(self, size: int) -> bool:
        files = self._engine.files
        if files.free_size() >= size:
            return True
        return give_up_reserve(files) and files.free_size() >= size

    def replace(self, part: Part) -> None:
        """Rewrite the files of *part* without its names."""
        how, work = self._how, self._work
        done = rewrite(
            self._engine,
            part.inputs,
            level=how.level,
            dead=part.names,
            notes=how.notes(part.names),
            guard=how.guard(part.names),
            progress=how.tell,
        )
        work.deleted |= part.names
        if done.files_after:
            work.rewritten += done.files_before
        else:
            work.dropped += done.files_before
        work.written += done.files_after
        work.written_size += done.size_after
        work.freed += done.size_before - done.size_after
