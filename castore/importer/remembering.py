"""
What the catalog remembers of files: which need not be read again, or not cut.

A file that was imported is known by its path. If inode, size and times are what
they were, nothing is read. If it has grown, and what was whole lines before
hashes to what it did, the log goes on behind them: no line is cut and no entry
is read for that.

This is a cache. It is thrown away with the catalog, and then each file is read
again and compared with its log. It is written when the import is durable, and
only of a file that was the same before its first byte was read and after the
last was hashed; and not of one that was touched right before: a clock that
ticks slowly could hide another change.
"""

from __future__ import annotations

import contextlib
import os

from typing import Self

import attrs

from castore.codec import decode_object, encode_object
from castore.digest import blob_digest
from castore.errors import (
    CorruptionError,
    FormatError,
    GoneError,
    NotFoundError,
    StorageError,
)
from castore.importer.imported import ImportedFile
from castore.importer.source import Source
from castore.importer.strings import Strings
from castore.segment import Segment
from castore.store import Store
from castore.transcript import DOCUMENT_FORMATS


SETTLED_NS = 2_000_000_000  # FAT's clock ticks this slowly
PENDING_COUNT_MAX = 256  # files remembered by one write


@attrs.frozen
class Identity:
    """
    What tells that a file is the same without reading it.

    The device is not in it: its number may be another one after each start of
    the machine.
    """

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, facts: os.stat_result) -> Self:
        """Return that of a file."""
        return cls(facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@attrs.frozen(kw_only=True)
class Remembered:
    """
    A file as it was when its import was done.

    Attributes:
        identity: Of the file.

        segment: Id of the segment that holds it.

        revision: Of that log.

        format: As from `detect`.

        packed: As in `Source`.

        count: Pieces of the content.

        bad_count: How many of them are bad.

        size: Bytes of the content.

        lines: Of the pieces but a tail: count, how many are bad, bytes.

        prefix: Digest of the content without a tail, empty for documents.
    """

    identity: Identity
    segment: bytes
    revision: int
    format: str
    packed: str | None
    count: int
    bad_count: int
    size: int
    lines: tuple[int, int, int]
    prefix: bytes

    def encode(self) -> bytes:
        """Return the value that the catalog keeps."""
        values = list(attrs.astuple(self, recurse=False))
        values[0] = list(attrs.astuple(self.identity))
        values[-2] = list(self.lines)
        return encode_object(values)

    @classmethod
    def decode(cls, data: bytes) -> Self | None:
        """Return what `encode` was called on, None if another version wrote it."""
        try:
            identity, *values, lines, prefix = decode_object(data)
            names = [field.name for field in attrs.fields(cls)][1:-2]
            return cls(
                identity=Identity(*identity),
                lines=tuple(lines),
                prefix=prefix,
                **dict(zip(names, values, strict=True)),
            )
        except (FormatError, TypeError, ValueError):
            return None


def imported(path: str, known: Remembered, segment: Segment) -> ImportedFile:
    """Return what importing *path* says if nothing is new."""
    return ImportedFile(
        path=path,
        format=known.format,
        session_id=segment.session_id.hex(),
        segment_id=segment.id.hex(),
        entries=known.count,
        bad_lines=known.bad_count,
        raw_bytes=known.size,
        new_entries=0,
        packed=known.packed,
    )


class Memory:
    """
    What one store remembers of files; call `flush` at the end.

    Attributes:
        strings: The large strings that were met in their lines.
    """

    def __init__(self, store: Store) -> None:
        self.strings = Strings()
        self._store = store
        self._pending: dict[bytes, bytes] = {}

    def unchanged(
        self,
        path: str,
        format: str | None,  # noqa: A002
    ) -> tuple[Remembered, Segment] | None:
        """
        Return what is known of the file at *path*, and the segment that holds it,
        if it is all in the store.

        Args:
            path: Absolute.

            format: As the caller says; what was taken for another is read again.
        """
        try:
            identity = Identity.of(os.stat(path))  # noqa: PTH116 - hot
        except OSError:
            return None
        found = self._find(path)
        if found is None or found.identity != identity:
            return None
        if format not in (None, found.format):
            return None
        segment = self._segment(found)
        return (found, segment) if segment is not None else None

    def grown(self, source: Source) -> tuple[Remembered, Segment] | None:
        """The same if *source* begins with all whole lines that are known."""
        found = self._find(source.path)
        if found is None or source.format in DOCUMENT_FORMATS:
            return None
        stop = found.lines[2]
        is_same = found.format == source.format and source.size >= found.size
        segment = self._segment(found) if is_same else None
        if segment is None or source.prefix(stop) != found.prefix:
            return None
        return found, segment

    def see(self, source: Source, found: Remembered, now_ms: int) -> Remembered | None:
        """
        Return what to `keep` of *source* if that did not change since it was opened.

        *found* lacks its `Remembered.prefix`, which is read here.
        """
        touched = max(source.facts.st_mtime_ns, source.facts.st_ctime_ns)
        if touched + SETTLED_NS > now_ms * 1_000_000:
            return None
        if source.format not in DOCUMENT_FORMATS:
            prefix = source.prefix(found.lines[2])
            found = attrs.evolve(found, prefix=prefix)
        return found if source.is_unchanged() else None

    def keep(self, path: str, found: Remembered) -> None:
        """Remember *found* of the file at *path*, whose import is durable."""
        self._pending[_name(path)] = found.encode()
        if len(self._pending) >= PENDING_COUNT_MAX:
            self.flush()

    def flush(self) -> None:
        """Write what was noted; without it files are read again, no more."""
        pending, self._pending = self._pending, {}
        if pending:
            with contextlib.suppress(StorageError, CorruptionError):
                self._store.engine.upkeep.remember(pending)

    def _find(self, path: str) -> Remembered | None:
        name = _name(path)
        data = self._pending.get(name)
        if data is None:
            with contextlib.suppress(StorageError, CorruptionError):
                data = self._store.engine.upkeep.remembered(name)
        return None if data is None else Remembered.decode(data)

    def _segment(self, found: Remembered) -> Segment | None:
        """Return the segment that is known to hold the file if it is as it was."""
        try:
            segment = self._store.segment(found.segment)
        except (FormatError, GoneError, NotFoundError):
            return None
        return segment if segment.revision == found.revision else None


def _name(path: str) -> bytes:
    return blob_digest(b"import\0" + os.fsencode(path))
