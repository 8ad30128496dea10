"""
Garbage collection: mark from the roots, condemn, and after a grace delete.

Runs beside live writers and cannot remove what something needs: it fails closed
on anything missing or unreadable, looks again under the store's lock before the
deletion counts, and leaves the side packs of live processes alone.

Spec: spec/ordering.md, "Packing and deleting"; spec/storelog.md.
"""

from __future__ import annotations

import contextlib
import errno
import functools

from collections.abc import Callable, Collection, Iterator

import attrs

from castore import limits
from castore.agreeing import named_by_files
from castore.catalog.rows import Catalog
from castore.clock import now_ms
from castore.collecting.accepting import accept_lost as write_lost
from castore.collecting.accepting import check_lost
from castore.collecting.deleting import NO_BOUNDS, Bounds, How, Limits, delete
from castore.collecting.plan import (
    check_plan,
    plan_hash,
    recall_plan,
    remember_plan,
)
from castore.collecting.report import (
    GRACE,
    HELD,
    PLAN,
    ROOM,
    Later,
    Report,
    RoleCount,
    Work,
    report_of,
)
from castore.digest import format_digest
from castore.engine import Engine
from castore.errors import (
    ConflictError,
    CorruptionError,
    LimitError,
    StorageError,
)
from castore.formats import storelog
from castore.marking import Marks, kept_since, mark, names_since
from castore.packing.rewrite import LEVEL, closed_files, maintenance, remove_dropped


__all__ = ["Bounds", "Later", "Progress", "Report", "RoleCount", "collect"]

_TRIES = 3
_ASK_SHARE = 2  # deleting more than 1/2 of the store wants a yes

#: Told what is being done, and how many of how many bytes; 0, 0: nobody knows.
Progress = Callable[[str, int, int], None]


def _tell_nobody(what: str, done: int, total: int) -> None:
    """Say nothing of how far it is."""


def collect(
    engine: Engine,
    *,
    grace_s: float = limits.GRACE_S,
    keep_checkpoints: int | None = None,
    logs: Collection[bytes] | None = None,
    dry_run: bool = False,
    plan: bytes | None = None,
    accept_lost: Collection[bytes] = (),
    yes: bool = False,
    level: int = LEVEL,
    bounds: Bounds = NO_BOUNDS,
    progress: Progress = _tell_nobody,
) -> Report:
    """
    Remove what nothing needs.

    What is found dead for the first time is condemned; what was condemned by an
    earlier run and for longer than the grace goes. Stopped anywhere, nothing that
    is needed is gone, and the next run goes on.

    Args:
        engine: The store.

        grace_s: Seconds from condemned to deleted; 0: both in one run.

        keep_checkpoints: In each log keep the references of role group
            ``checkpoint`` of the newest so many entries that have some, and
            release those of the older ones: in place of a policy of all sessions
            for that group. None: as policies say; without one all stay.

        logs: Ids of the segments that *keep_checkpoints* is about; all by
            default. What another log holds too stays.

        dry_run: Only remember the plan. Bounds are not weighed.

        plan: Hash of a plan of a dry run: what is not in it stays; and all of it, if
            it differs by more than what came alive since.

        accept_lost: Names of all that is needed, missing and unexplained: the store
            log says from now on that it is lost.

        yes: Go on where more than half of the raw bytes would go.

        level: Of zstd, for files that are rewritten.

        bounds: Of the run; what does not fit in goes another time.

        progress: Told at each step.

    Raises:
        LostError: References lead nowhere and nothing explains it.

        FormatError: *accept_lost* names something else. Nothing was done.

        ConflictError: The plan is not known, or not what would go now.

        CorruptionError: Something cannot be read. Nothing was deleted.

        LimitError: More than half would go, and *yes* is false.

        StorageError: No room to rewrite files; what goes without that went.

        LockedError: Somebody else maintains the store.
    """
    lost, terms = frozenset(accept_lost), (keep_checkpoints, logs)
    asked = (grace_s, terms, dry_run, plan, lost, yes, level, bounds.begin(), progress)
    return _Run(engine, *asked).go()


@attrs.define
class _Run:
    """What `collect` was asked for; it is begun anew if something comes alive."""

    engine: Engine
    grace_s: float
    terms: tuple[int | None, Collection[bytes] | None]
    dry_run: bool
    plan: bytes | None
    lost: frozenset[bytes]
    yes: bool
    level: int
    limits: Limits
    progress: Progress
    accepted_count: int = 0

    def go(self) -> Report:
        """Collect, under the maintenance lock."""
        with maintenance(self.engine):
            remove_dropped(self.engine)
            for _ in range(_TRIES - 1):
                try:
                    return self.collect()
                except ConflictError as error:
                    if error.subject != "blob":
                        raise
            return self.collect()

    def collect(self) -> Report:
        """Mark, condemn, delete."""
        engine, work = self.engine, Work()
        marks = self._mark()
        work.accepted_count = self.accepted_count
        free = {item.file.id for item in closed_files(engine)}
        free.add(engine.view.position.journal)
        dead = set(marks.dead).difference(_named_since(engine, marks))
        before, now = engine.upkeep.condemned(), now_ms()
        condemned = {digest: before.get(digest, now) for digest in dead}
        due = self._due(condemned, before, now)
        if due:
            _check_agreement(engine, due, marks, self.progress)
        held = {name for name in dead if not _files_with(name, engine, marks) <= free}
        _leave(due, held, marks)
        planned = self._planned(due, dead)
        work.later = {GRACE: dead - due - held, HELD: held, PLAN: due - planned}
        _leave(due, work.later[PLAN], marks)
        work.plan, work.condemned = plan_hash(due), condemned
        self._ask(due, dead, marks)
        if self.dry_run:
            remember_plan(engine, due)
            work.deleted = set(due)
        else:
            self._delete(due, marks, work)
        seen = (before.keys() | planned) - dead
        work.resurrected_count = len(engine.view.known.find_places(list(seen)))
        return report_of(
            engine, marks, work, grace_s=self.grace_s, dry_run=self.dry_run
        )

    def _mark(self) -> Marks:
        self.progress("marking", 0, 0)
        marks = mark(self.engine, *self.terms)
        check_lost(marks, self.lost)
        if self.lost:
            write_lost(self.engine, marks, self.lost, dry_run=self.dry_run)
            # Explained from now on, if all this has to begin anew.
            self.accepted_count, self.lost = len(self.lost), frozenset()
        return marks

    def _due(
        self, condemned: dict[bytes, int], before: dict[bytes, int], now: int
    ) -> set[bytes]:
        if self.grace_s <= 0:
            return set(condemned)
        return {
            digest
            for digest, at in condemned.items()
            if digest in before and now - at >= self.grace_s * 1000
        }

    def _planned(self, due: set[bytes], dead: set[bytes]) -> set[bytes]:
        if self.plan is None:
            return due
        names = recall_plan(self.engine, self.plan, due)
        check_plan(names, due, dead)
        return names

    def _ask(self, due: set[bytes], dead: set[bytes], marks: Marks) -> None:
        going, total = 0, marks.raw_size
        for place in marks.dead.values():
            going += place.size if place.digest in due else 0
            total += place.size if place.digest in dead else 0
        if going * _ASK_SHARE > total and not (self.yes or self.dry_run):
            what = f"{len(due)} blobs with {going} of {total} bytes would go"
            raise LimitError(
                what=f"{what}; say --yes if that is right", limit=total // 2
            )

    def _delete(self, due: set[bytes], marks: Marks, work: Work) -> None:
        """Delete what is *due*; the rest of what is condemned stays that."""
        try:
            if due:
                self.progress("rewriting", 0, 0)
                delete(self.engine, due, self._how(due, marks), work)
        except StorageError:
            with contextlib.suppress(StorageError):
                self._condemn(work)
            raise
        self._condemn(work)
        if work.later.get(ROOM):
            count = len(work.later[ROOM])
            raise StorageError(
                what=f"{len(work.deleted)} blobs went; no room to rewrite the files of "
                f"{count} more: make room and try again",
                errno=errno.ENOSPC,
                transient=True,
            )

    def _condemn(self, work: Work) -> None:
        left = work.condemned.keys() - work.deleted
        self.engine.upkeep.condemn({name: work.condemned[name] for name in left})

    def _how(self, due: set[bytes], marks: Marks) -> How:
        engine = self.engine
        return How(
            limits=self.limits,
            level=self.level,
            files_of=_homes(engine, due, marks),
            guard=lambda names: functools.partial(_check_dead, engine, names, marks),
            notes=lambda names: _collected(engine, marks.released.intersection(names)),
            tell=lambda size: self.progress("rewriting", size, 0),
        )


def _leave(due: set[bytes], names: Collection[bytes], marks: Marks) -> None:
    """Take *names* from *due*, and the chunks of each list that is not due."""
    due.difference_update(names)
    for name in marks.lists.keys() - due:
        due.difference_update(marks.lists[name])


def _homes(
    engine: Engine, due: set[bytes], marks: Marks
) -> Callable[[bytes], set[bytes]]:
    """Return what tells without which files each of *due* can go."""
    lists: dict[bytes, list[bytes]] = {}
    for name in marks.lists.keys() & due:
        for chunk in marks.lists[name]:
            lists.setdefault(chunk, []).append(name)

    def files_of(digest: bytes) -> set[bytes]:
        # A list that stays may come alive again, with all of its chunks.
        names = (digest, *lists.get(digest, ()))
        return set().union(*(_files_with(name, engine, marks) for name in names))

    return files_of


def _check_agreement(
    engine: Engine, due: set[bytes], marks: Marks, progress: Progress
) -> None:
    """
    Refuse to delete what the files themselves say is needed; look for copies.

    Raises:
        CorruptionError: ``catalog differs``: the catalog led the mark astray.

        ConflictError: Something came alive meanwhile.
    """
    look = functools.partial(progress, "looking again, in the files")
    heirs = {heir for digest in due for heir in marks.heirs.get(digest, ())}
    terms = marks.policy.terms
    wrong, marks.copies = named_by_files(engine, due, heirs, terms, progress=look)
    if wrong:
        engine.refresh()
        _check_dead(engine, wrong, marks, engine.view.known)
        raise CorruptionError(
            what=f"{len(wrong)} blobs seemed dead and are not; nothing was deleted, "
            "run castore rebuild",
            verdict="catalog differs",
            where="catalog",
        )


def _collected(engine: Engine, named: set[bytes]) -> list[tuple[str, bytes]]:
    """Return the ``collected`` entry, if any; the run is the seq it will have."""
    if not named:
        return []
    body = storelog.collected(engine.view.position.seq + 1, named)
    return [(storelog.COLLECTED, body)]


def _check_dead(
    engine: Engine, dead: Collection[bytes], marks: Marks, _: Catalog
) -> None:
    """Refuse to delete what was committed to after the mark. Under the lock."""
    for digest in _named_since(engine, marks):
        if digest in dead:
            raise ConflictError(
                what="a blob came alive while it was being deleted",
                subject="blob",
                expected="dead",
                actual=format_digest(digest),
            )


def _files_with(digest: bytes, engine: Engine, marks: Marks) -> set[bytes]:
    """Return the files with *digest*, or with what is stored as a difference to it."""
    files: set[bytes] = set()
    for name in (digest, *marks.heirs.get(digest, ())):
        # Nobody else moves what is dead: this holds the maintenance lock.
        place = marks.dead.get(name) or engine.view.known.find_place(name)
        if place is not None:
            files |= {place.file} | marks.copies.get(name, frozenset())
    return files


def _named_since(engine: Engine, marks: Marks) -> Iterator[bytes]:
    """Yield every name that was committed to, or kept, after the mark."""
    yield from names_since(engine, marks.position)
    yield from kept_since(engine, marks)
