"""
Garbage collection: mark from the roots, condemn, and after a grace delete.

Runs beside live writers and cannot remove what something needs: it fails closed
on anything missing or unreadable, looks again under the store's lock before the
deletion counts, and leaves the side packs of live processes alone.

Spec: spec/ordering.md, "Packing and deleting"; spec/storelog.md.
"""

from __future__ import annotations

import functools
import heapq
import time

from collections.abc import Callable, Collection, Iterator

import attrs

from castore import limits
from castore.agreeing import named_by_files
from castore.catalog.rows import Catalog
from castore.digest import format_digest
from castore.engine import Engine
from castore.engine.needs import needs_of
from castore.engine.reserve import give_up_reserve
from castore.errors import ConflictError, CorruptionError, LimitError, LostError
from castore.formats import storelog
from castore.marking import Marks, digests_of, mark
from castore.packing.rewrite import (
    LEVEL,
    Input,
    close_journal,
    closed_files,
    maintenance,
    remove_dropped,
    rewrite,
)
from castore.reading.image import read_run, run_headers


_TRIES = 3
_ASK_SHARE = 2  # deleting more than 1/2 of the store wants a yes

#: Told what is being done, and how many of how many bytes; 0, 0: nobody knows.
Progress = Callable[[str, int, int], None]


@attrs.frozen
class RoleCount:
    """References of one role: how many blobs they keep, how many went."""

    retained: int = 0
    deleted: int = 0


@attrs.frozen
class Report:
    """
    What a collection did, or would do.

    Attributes:
        root_count: Living segments, tags, and the store log.

        retained_blob_count: Blobs that something needs.

        retained_raw_bytes: Their raw size.

        deleted_blob_count: Blobs that went, or would go.

        deleted_raw_bytes: Their raw size.

        condemned_blob_count: Blobs that nothing needs and whose grace runs.

        held_blob_count: Garbage in side packs that a live process has open.

        missing_blob_count: References that lead nowhere and are explained.

        by_role: For each group of roles: blobs retained and deleted.

        freed_bytes: By how much the store's files shrank.

        next_ms: When the next condemned blob may go, None if none waits.

        dry_run: Whether nothing was changed.
    """

    root_count: int
    retained_blob_count: int
    retained_raw_bytes: int
    deleted_blob_count: int
    deleted_raw_bytes: int
    condemned_blob_count: int
    held_blob_count: int
    missing_blob_count: int
    by_role: dict[str, RoleCount]
    freed_bytes: int
    next_ms: int | None
    dry_run: bool


def _tell_nobody(what: str, done: int, total: int) -> None:
    """Say nothing of how far it is."""


def collect(
    engine: Engine,
    *,
    grace_s: float = limits.GRACE_S,
    keep_checkpoints: int | None = None,
    logs: Collection[bytes] | None = None,
    dry_run: bool = False,
    yes: bool = False,
    level: int = LEVEL,
    progress: Progress = _tell_nobody,
) -> Report:
    """
    Remove what nothing needs.

    What is found dead for the first time is condemned; what was condemned by an
    earlier run and for longer than the grace goes. Stopped anywhere, nothing that
    is needed is gone, and the next run goes on.

    Args:
        engine: The store.

        grace_s: Seconds from condemned to deleted; 0 condemns and deletes in
            one run.

        keep_checkpoints: In each log keep the references of role group
            ``checkpoint`` of the newest so many entries that have some, and
            release those of the older ones; None keeps all.

        logs: Ids of the segments that *keep_checkpoints* is about; all by
            default. What another log holds too stays.

        dry_run: Change nothing.

        yes: Go on where more than half of the raw bytes would go.

        level: Of zstd, for files that are rewritten.

        progress: Told at each step.

    Raises:
        LostError: References lead nowhere and nothing explains it. Nothing was
            deleted.

        CorruptionError: Something cannot be read. Nothing was deleted.

        LimitError: More than half would go, and *yes* is false.

        LockedError: Somebody else maintains the store.
    """
    options = _Options(grace_s, keep_checkpoints, logs, dry_run, yes, level, progress)
    with maintenance(engine):
        remove_dropped(engine)
        for _ in range(_TRIES - 1):
            try:
                return _collect(engine, options)
            except ConflictError as error:
                if error.subject != "blob":
                    raise
        return _collect(engine, options)


@attrs.frozen
class _Options:
    """What `collect` was asked for."""

    grace_s: float
    keep_checkpoints: int | None
    logs: Collection[bytes] | None
    dry_run: bool
    yes: bool
    level: int
    progress: Progress


def _collect(engine: Engine, options: _Options) -> Report:
    options.progress("marking", 0, 0)
    marks = mark(engine, options.keep_checkpoints, options.logs)
    if marks.lost:
        raise LostError(what=_lost_text(marks.lost))
    now = time.time_ns() // 1_000_000
    free = {item.file.id for item in closed_files(engine)}
    free.add(engine.view.position.journal)
    dead = set(marks.dead).difference(_named_since(engine, marks))
    before = engine.upkeep.condemned()
    condemned = {digest: before.get(digest, now) for digest in dead}
    due = {
        digest
        for digest, at in condemned.items()
        if _is_due(digest, at, before, now, options.grace_s)
    }
    if due:
        _check_agreement(engine, due, marks, options.progress)
    held = {digest for digest in dead if not _files_with(digest, engine, marks) <= free}
    due -= held
    for name in marks.lists.keys() - due:
        due.difference_update(marks.lists[name])
    going, total = 0, marks.raw_size
    for place in marks.dead.values():
        going += place.size if place.digest in due else 0
        total += place.size if place.digest in dead else 0
    if going * _ASK_SHARE > total and not (options.yes or options.dry_run):
        what = f"{len(due)} blobs with {going} of {total} bytes would go"
        raise LimitError(what=f"{what}; say --yes if that is right", limit=total // 2)
    freed = 0
    if not options.dry_run:
        if due:
            freed = _delete(engine, due, marks, options)
        engine.upkeep.condemn(
            {digest: at for digest, at in condemned.items() if digest not in due}
        )
    passed = due | held
    waiting = [at for digest, at in condemned.items() if digest not in passed]
    next_ms = min(waiting) + int(options.grace_s * 1000) if waiting else None
    return Report(
        root_count=marks.root_count,
        retained_blob_count=marks.live_count,
        retained_raw_bytes=marks.raw_size,
        deleted_blob_count=len(due),
        deleted_raw_bytes=going,
        condemned_blob_count=len(waiting),
        held_blob_count=len(held),
        missing_blob_count=len(marks.explained),
        by_role=_by_role(marks, due),
        freed_bytes=freed,
        next_ms=next_ms,
        dry_run=options.dry_run,
    )


def _is_due(
    digest: bytes, at: int, before: dict[bytes, int], now: int, grace_s: float
) -> bool:
    if grace_s <= 0:
        return True
    return digest in before and now - at >= grace_s * 1000


def _lost_text(lost: Collection[bytes]) -> str:
    names = sorted(format_digest(digest) for digest in lost)
    some = ", ".join(names[:10])
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return (
        f"{len(names)} references lead nowhere, so nothing was deleted: {some}{more}; "
        "run castore verify, restore them from a copy"
    )


def _by_role(marks: Marks, due: Collection[bytes]) -> dict[str, RoleCount]:
    gone = set(due)
    return {
        group: RoleCount(found.retained_count, len(found.dead & gone))
        for group, found in sorted(marks.by_group.items())
    }


def _delete(engine: Engine, due: set[bytes], marks: Marks, options: _Options) -> int:
    """Rewrite the files in which something of *due* stands; return bytes freed."""
    wanted = {file for digest in due for file in _files_with(digest, engine, marks)}
    if engine.view.position.journal in wanted:
        close_journal(engine)
    inputs = _inputs(engine, wanted)
    freed = 0
    options.progress("rewriting", 0, 0)
    for batch in _batches(engine, inputs):
        files = {item.file.id for item in batch}
        # What a file outside of this batch is stored against stays for now.
        dead = {digest for digest in due if _files_with(digest, engine, marks) <= files}
        done = rewrite(
            engine,
            batch,
            level=options.level,
            dead=dead,
            collected=_collected(engine, dead & marks.released),
            guard=functools.partial(_check_dead, engine, dead, marks),
            progress=lambda size: options.progress("rewriting", size, 0),
        )
        freed += done.size_before - done.size_after
    return freed


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
    named, marks.copies = named_by_files(engine, due, heirs, progress=look)
    wrong = named - marks.released
    if wrong:
        engine.refresh()
        _check_dead(engine, wrong, marks, engine.view.known)
        raise CorruptionError(
            what=f"{len(wrong)} blobs seemed dead and are not; nothing was deleted, "
            "run castore rebuild",
            verdict="catalog differs",
            where="catalog",
        )


def _batches(engine: Engine, inputs: list[Input]) -> list[list[Input]]:
    """
    Return *inputs* at once where there is room, else one by one, small first.

    Journals go in their order, so that none is cut off the chain.
    """
    total = sum(item.file.size() for item in inputs)
    if engine.files.free_size() > total:
        return [inputs] if inputs else []
    give_up_reserve(engine.files)
    journals = [item for item in inputs if item.file.header.number]
    journals.sort(key=lambda item: item.file.header.number)
    others = [item for item in inputs if not item.file.header.number]
    others.sort(key=_size)
    return [[item] for item in heapq.merge(journals, others, key=_size)]


def _size(item: Input) -> int:
    return item.file.size()


def _collected(engine: Engine, named: set[bytes]) -> bytes | None:
    """Return the body of a ``collected`` entry; the run is the seq it will have."""
    if not named:
        return None
    return storelog.collected(engine.view.position.seq + 1, named)


def _check_dead(engine: Engine, dead: set[bytes], marks: Marks, _: Catalog) -> None:
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
    """Yield every name that was committed to after the mark: bases and chunks too."""
    if marks.position is None:
        return
    for frame in engine.view.frames_since(marks.position):
        for header in run_headers(frame):
            for entry in read_run(frame, header, frame.bodies):
                yield from digests_of(engine, entry)
        for _, needed, _ in needs_of(frame):
            yield from needed
