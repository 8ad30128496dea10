"""
Packing: what is new becomes packs, and small packs become larger ones.

Packs grow like the levels of a log-structured merge tree: one goes into the next
packing only if it is not much larger than all that goes in with it. So a byte is
written again as often as the store doubles, not with every run.

Spec: spec/ordering.md, "Packing and deleting".
"""

from __future__ import annotations

import time

from collections.abc import Iterable

import attrs

from castore import limits
from castore.catalog.database import damaged
from castore.engine import Engine
from castore.formats import file as file_format
from castore.formats import storelog
from castore.packing.rewrite import (
    LEVEL,
    Input,
    Packing,
    Progress,
    close_journal,
    closed_files,
    maintenance,
    remove_dropped,
    rewrite,
)


_GROWTH = 2  # a pack goes in if it is at most so many times what goes in anyway


def pack(
    engine: Engine,
    *,
    level: int = LEVEL,
    max_duration_s: float | None = None,
    progress: Progress | None = None,
) -> Packing:
    """
    Close the journal and rewrite what is new, with packs that are not much larger.

    Runs beside readers and writers. Some files at a time are replaced, each time
    by one commit: stopped anywhere, nothing is lost and the next run goes on.

    Args:
        engine: The store.

        level: Of zstd.

        max_duration_s: Begin nothing more after so many seconds; at least one
            commit's worth of files is packed.

        progress: Told the raw bytes written, now and then.

    Raises:
        LockedError: Somebody else maintains the store.

        StorageError: No room on the disk, or the medium failed.

        CorruptionError: Something that must be carried cannot be read.
    """
    begun = time.monotonic()
    done = Packing()
    with maintenance(engine):
        if _is_packed(engine):
            return done
        close_journal(engine)
        remove_dropped(engine)
        batches = choose(closed_files(engine))
        for number, batch in enumerate(batches):
            spent = time.monotonic() - begun
            if done.seq and max_duration_s is not None and spent >= max_duration_s:
                left = sum(len(later) for later in batches[number:])
                return attrs.evolve(done, left_count=left)
            made = rewrite(engine, batch, level=level, progress=progress)
            done = done.followed_by(made)
    return done


def _is_packed(engine: Engine) -> bool:
    """Return whether nothing but the last rewrite's own commit is new."""
    known = engine.refresh().known
    rows = list(known.segments())
    log = known.find_segment(engine.store)
    if log is None:
        raise damaged("the store log is not in it")
    if any(row.seq > log.seq for row in rows):
        return False
    newest = next(engine.view.logs.entries(log, log.count - 1, log.count))
    if newest.kind not in (storelog.PACKS, storelog.COLLECTED):
        return False
    # gc may have rewritten some files and left others: those it did not need to.
    return not choose(closed_files(engine))


def choose(files: Iterable[Input]) -> list[list[Input]]:
    """
    Return what to rewrite, some files at a time, journals in their order.

    Where nothing is new there is nothing to do. Packs go last, with the newest
    journals: what they hold is alike.
    """
    new: list[Input] = []
    packs: list[Input] = []
    for item in files:
        is_pack = item.file.header.kind == file_format.PACK
        (packs if is_pack else new).append(item)
    # Side packs have no number: they go first, so that no base waits for long.
    new.sort(key=lambda item: item.file.header.number)
    batches: list[list[Input]] = []
    size = limits.PACKING_SIZE
    for item in new:
        if size >= limits.PACKING_SIZE:
            batches.append([])
            size = 0
        batches[-1].append(item)
        size += item.file.size()
    if batches:
        for item in sorted(packs, key=lambda item: item.file.size()):
            if item.file.size() > min(size * _GROWTH, limits.PACK_SIZE // 2):
                break
            batches[-1].append(item)
            size += item.file.size()
    return batches
