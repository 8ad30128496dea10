"""
What to do about bytes behind the mark: copy what is whole, keep what is torn.

Spec: spec/ordering.md, "Recovery".
"""

from __future__ import annotations

from castore.engine.journal import (
    Tail,
    check_mark,
    frames_behind,
    newest_journal,
    successor,
    tail_before,
)
from castore.formats import file as file_format
from castore.formats.file import file_name
from castore.formats.mark import LockFile
from castore.reading.files import OpenFile, OpenFiles
from castore.reading.mark import LOCK, MarkWorth
from castore.storage import Files


def recover(
    files: Files,
    opened: OpenFiles,
    store: bytes,
    lock: LockFile | None,
    worth: MarkWorth,
) -> Tail:
    """
    Return an end of the journals that is durable, behind all that is whole.

    Runs under the store's lock; the caller writes the mark. What is torn is
    saved to ``quarantine/`` first.

    Raises:
        CorruptionError: The store is damaged, not torn. Nothing was changed.
    """
    if lock is not None and worth is MarkWorth.EXACT:
        file = opened.get(lock.journal)
    else:
        if lock is None:
            _lose_marks(files)
        bound = lock if worth is MarkWorth.LOWER_BOUND else None
        file = newest_journal(opened, bound)
        if bound is not None and bound.journal != file.id:
            # An older mark, or a newer journal that is gone: the whole tells.
            # What that imports would slow every start of the command.
            from castore.reading.survey import survey

            survey(files, store=store, lock=lock).raise_faults()
        # Who made it was perhaps stopped before its sync; what follows leans on it.
        files.sync(file.fd)
        files.sync_folder("files")
    end = _durable_end(file, lock, worth)
    found, torn = frames_behind(file, end)
    tail = tail_before(file, end)
    size = file.size()
    if torn < size:
        _quarantine(files, file, torn, size)
    bounded = worth is MarkWorth.LOWER_BOUND and lock is not None
    if bounded and lock and lock.journal == file.id and end == size and not tail.closed:
        return tail
    made = successor(files, opened, store, tail, found)
    _remove_superseded(files, opened, file, made)
    return made


def _lose_marks(files: Files) -> None:
    """
    See to it that no older mark comes back with a power cut: it would say that a
    journal counts for longer which is now copied from its beginning.
    """
    fd = files.open(LOCK, write=True)
    try:
        files.sync(fd)
    finally:
        files.close(fd)


def _durable_end(file: OpenFile, lock: LockFile | None, worth: MarkWorth) -> int:
    if lock is not None and worth is not MarkWorth.NONE and lock.journal == file.id:
        check_mark(file, lock)
        return lock.end
    return file.header.carried_end


def _quarantine(files: Files, file: OpenFile, start: int, stop: int) -> None:
    """Keep the bytes ``[start, stop)`` of *file* for people."""
    files.make_folder("quarantine")
    name = f"quarantine/{file.id.hex()}-{start}"
    if files.exists(name):
        return
    fd = files.create(name)
    try:
        at = start
        while data := file.read_up_to(min(1 << 20, stop - at), at):
            files.write(fd, data, at - start)
            at += len(data)
            if at >= stop:
                break
        files.sync(fd)
    finally:
        files.close(fd)
    files.sync_folder("quarantine")


def _remove_superseded(
    files: Files, opened: OpenFiles, source: OpenFile, made: Tail
) -> None:
    """Remove what earlier recoveries of *source* left: copies that never counted."""
    number = opened.get(made.journal).header.number
    for other in opened.headers():
        header = other.header
        if (
            header.kind == file_format.JOURNAL
            and source.header.number < header.number < number
        ):
            files.unlink(file_name(other.id))
    opened.forget({source.id, made.journal})
