"""
The journal as a file: successors, carried frames, footers, which one is newest.

Everything here runs under the store's lock. Nothing here knows commits.

Spec: spec/file.md, "Journal"; spec/ordering.md, "Recovery", "Closing a journal".
"""

from __future__ import annotations

import contextlib
import os

from collections.abc import Sequence

import attrs

from castore.errors import CorruptionError, StorageError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.formats.commit import store_genesis
from castore.formats.file import FileHeader, encode_header, file_name
from castore.formats.frame import finish, seal_part
from castore.formats.mark import LockFile
from castore.reading.files import OpenFile, OpenFiles
from castore.reading.frames import Frame, Gap, find_frame, walk
from castore.reading.image import commits
from castore.storage import Files


@attrs.frozen
class Tail:
    """
    The end of a journal: everything before *end* is durable.

    Attributes:
        frame: Hash of the last frame before *end*, or the file hash.

        seq: Last commit before *end*.

        commit: Its hash.

        closed: Whether that frame is a footer.
    """

    journal: bytes
    end: int
    frame: bytes
    seq: int
    commit: bytes
    closed: bool = False

    @property
    def mark(self) -> tuple[bytes, int, bytes, int]:
        """What a mark says of it: journal, end, frame, seq."""
        return self.journal, self.end, self.frame, self.seq


class WritableJournal:
    """The journal that is open for writing; one at a time."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._held: tuple[bytes, int] | None = None

    def fd(self, journal: bytes) -> int:
        """Return the descriptor through which *journal* is written."""
        if self._held is None or self._held[0] != journal:
            self.let_go()
            self._held = journal, self._files.open(file_name(journal), write=True)
        return self._held[1]

    def let_go(self) -> None:
        """Close the descriptor, if there is one."""
        # Forgotten first: a close that fails has closed it all the same.
        held, self._held = self._held, None
        if held is not None:
            self._files.close(held[1])


def check_mark(file: OpenFile, lock: LockFile) -> None:
    """
    Refuse a journal that does not reach what the mark states.

    Raises:
        CorruptionError: ``truncated log``: acknowledged commits are gone.
    """
    reached = file.size() >= lock.end
    if not reached or file.read_up_to(32, lock.end - 32) != lock.frame:
        raise CorruptionError(
            what="acknowledged commits are missing; run castore verify, restore a copy",
            verdict="truncated log",
            where=f"{file.name}@{min(file.size(), lock.end)}",
        )


def carried_is_whole(file: OpenFile) -> bool:
    """Return whether whole frames lead from the header to the carried end."""
    stop = file.header.carried_end
    at = file_format.SIZE
    if file.size() < stop:
        return False
    for item in walk(file, at, stop):
        if isinstance(item, Gap):
            return False
        at = item.end
    return at == stop


def newest_journal(opened: OpenFiles, lock: LockFile | None) -> OpenFile:
    """
    Return the journal in effect with the highest number.

    Raises:
        CorruptionError: ``missing pack``: there is none.
    """
    journals = [
        file for file in opened.headers() if file.header.kind == file_format.JOURNAL
    ]
    journals.sort(key=lambda file: file.header.number, reverse=True)
    for file in journals:
        if (
            (lock is not None and lock.journal == file.id)
            or carried_is_whole(file)
            or find_frame(file, file.header.carried_end, file.size()) is not None
        ):
            return file
    raise CorruptionError(
        what="no journal is there; restore the store from a copy",
        verdict="missing pack",
        where="files",
    )


def tail_before(file: OpenFile, end: int) -> Tail:
    """
    Return the state of *file* at *end*, where a frame ends.

    Raises:
        CorruptionError: The frames before *end* are not whole.
    """
    seq, commit = file.header.seq, file.header.commit
    frame, closed = file.hash, False
    for item in walk(file, file_format.SIZE, end):
        if isinstance(item, Gap):
            raise _damage(file, item)
        for record, digest in commits(item):
            seq, commit = record.seq, digest
        frame, closed = item.hash, _is_footer(item)
    return Tail(file.id, end, frame, seq, commit, closed)


def _damage(file: OpenFile, gap: Gap) -> CorruptionError:
    return CorruptionError(
        what=f"{gap.what}; run castore verify, restore from a copy",
        verdict="corrupt frame",
        where=f"{file.name}@{gap.offset}",
    )


def frames_behind(file: OpenFile, end: int) -> tuple[list[Frame], int]:
    """
    Return the whole frames behind *end*, and where what is torn begins.

    Raises:
        CorruptionError: What is not whole is no torn group but damage.
    """
    found: list[Frame] = []
    at = end
    for item in walk(file, end, file.size()):
        if isinstance(item, Gap):
            check_torn(file, item)
            return found, item.offset
        found.append(item)
        at = item.end
    return found, at


def check_torn(file: OpenFile, gap: Gap) -> None:
    """
    Refuse a gap behind which a later sync group has a whole frame.

    Raises:
        CorruptionError: ``corrupt frame``.
    """
    at = gap.offset + 1
    while True:
        frame = find_frame(file, at, file.size())
        if frame is None:
            return
        if frame.header.group_start > gap.offset:
            raise _damage(file, gap)
        at = frame.offset + 1


def successor(
    files: Files,
    opened: OpenFiles,
    store: bytes,
    tail: Tail,
    carried: Sequence[Frame] = (),
) -> Tail:
    """
    Make the journal that follows *tail*, durable and in effect, and return its end.

    Args:
        files: Where.

        opened: All files, for the next number.

        store: Store id.

        tail: Where its predecessor ends.

        carried: Frames from behind that, made anew in the new journal.
    """
    numbers = [file.header.number for file in opened.headers()]
    header = FileHeader(
        file_format.JOURNAL,
        store,
        os.urandom(16),
        max(numbers, default=0) + 1,
        tail.journal,
        tail.end,
        tail.frame,
        tail.seq,
        tail.commit,
    )
    size = file_format.SIZE + sum(
        frame.header.size for frame in carried if not _is_footer(frame)
    )
    data = encode_header(attrs.evolve(header, carried_end=size))
    file_hash = data[-32:]
    seq, commit = tail.seq, tail.commit
    parts = [data]
    at = file_format.SIZE
    for frame in carried:
        if _is_footer(frame):
            continue
        moved = _moved(frame, at, file_hash, parts[-1][-32:])
        for record, digest in commits(frame):
            seq, commit = record.seq, digest
        parts.append(moved)
        at += len(moved)
    write_new(files, header.id, b"".join(parts))
    return Tail(header.id, at, parts[-1][-32:], seq, commit)


def _is_footer(frame: Frame) -> bool:
    return bool(frame.table[0][0] == frame_format.FOOTER)


def _moved(frame: Frame, offset: int, file_hash: bytes, prev: bytes) -> bytes:
    return finish(
        frame.stored_part,
        frame.table,
        offset=offset,
        group_start=file_format.SIZE,
        file_hash=file_hash,
        prev=prev,
    )


def first_journal(store: bytes) -> FileHeader:
    """Return the header of a new store's first journal."""
    genesis = store_genesis(store)
    return FileHeader(
        file_format.JOURNAL, store, os.urandom(16), number=1, commit=genesis
    )


def write_new(files: Files, file: bytes, data: bytes) -> None:
    """Write the file *file*, whole and durable, its folder too."""
    fd = files.create(file_name(file))
    try:
        try:
            files.write(fd, data, 0)
            files.sync(fd)
        finally:
            files.close(fd)
        files.sync_folder("files")
    except StorageError:
        # Nothing is built on it; it must be gone for good before its number is
        # used again.
        with contextlib.suppress(StorageError):
            files.unlink(file_name(file))
            files.sync_folder("files")
        raise


def footer(file: OpenFile, end: int, prev: bytes) -> bytes:
    """Return the footer frame for *file*, whose frames end at *end*."""
    offsets = [
        item.offset
        for item in walk(file, file_format.SIZE, end)
        if isinstance(item, Frame)
    ]
    return footer_frame(offsets, offset=end, file_hash=file.hash, prev=prev)


def footer_frame(
    offsets: Sequence[int], *, offset: int, file_hash: bytes, prev: bytes
) -> bytes:
    """Return a footer that lists *offsets*, for its place."""
    payload = frame_format.encode_footer(offsets)
    return finish(
        seal_part(payload, 3),
        [[frame_format.FOOTER, len(payload)]],
        offset=offset,
        group_start=offset,
        file_hash=file_hash,
        prev=prev,
    )
