"""
A catalog in a SQLite file.

What is read is checked to be of its type, since the file may be anything. A
flipped bit can still change an answer unseen: nothing that a catalog says is
believed without its digest.

Spec: spec/ordering.md, "The catalog".
"""

from __future__ import annotations

import os

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from castore.catalog import schema
from castore.catalog.comparing import sorted_facts
from castore.catalog.database import Database, damaged, is_at_rest
from castore.catalog.rows import (
    AbsenceRow,
    Counts,
    DeletedRow,
    Facts,
    KeyRow,
    Listed,
    Node,
    Place,
    Position,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
)
from castore.catalog.writing import write


_PAGE_COUNT = 500  # rows that an iterator reads at once
_ASK_COUNT = 256  # digests looked up by one statement
_RowT = TypeVar("_RowT")
_PagedT = TypeVar("_PagedT", Place, SessionRow)


class SqliteCatalog:
    """
    A `Catalog` in one SQLite file, in WAL mode. May be shared by threads.

    Made by `create` and `open`. Calls other than `open` and `create` raise
    `StorageError` if the medium fails or another process holds SQLite's lock
    for seconds, `CorruptionError` (``catalog differs``) if the file is of no
    use, and `ClosedError` after `close`. Nothing is committed by a failed
    `apply`.

    Applied facts outlive the process, not a loss of power: that takes a
    `checkpoint`. None is made unasked, except by the last connection that
    closes; so write, checkpoint and close under the store lock.

    Iterators read in pages and keep no transaction open in between: a row that
    is there throughout comes once, in one of its states; one that comes or goes
    meanwhile may come or not.

    SQLite keeps ``<path>-wal`` and ``<path>-shm`` beside the file.

    Attributes:
        is_immutable: Whether it was opened as that.
    """

    def __init__(self, db: Database, *, is_immutable: bool = False) -> None:
        self._db = db
        self.is_immutable = is_immutable

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Self:
        """
        Make an empty catalog, mode 0600, in the file *path*.

        Raises:
            StorageError: It exists, or the medium failed; of that, nothing is left.

            UnsupportedError: The file system cannot hold one.
        """
        return cls(Database.create(path, schema.create_tables))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        immutable: bool = False,
    ) -> Self:
        """
        Open the catalog in the file *path*.

        Args:
            path: The file.

            read_only: Change nothing and make no file. For a catalog that a
                writer has open, or left without closing: SQLite's two files
                must stand beside it.

            immutable: Read only, and take no lock: for a catalog at rest (see
                `is_at_rest`), which must stay so until this one is closed.

        Raises:
            NotFoundError: There is no such file.

            StorageError: The medium failed; or the catalog cannot be opened
                that way now, and another way or time may help.

            CorruptionError: It is no catalog, or one of another version.
        """
        check = schema.check_tables
        db = Database.open(path, check, read_only=read_only, immutable=immutable)
        return cls(db, is_immutable=immutable)

    @staticmethod
    def is_at_rest(path: str | os.PathLike[str]) -> bool:
        """
        Return whether all of the catalog *path* is in its one file and nobody has
        it open, at this moment.
        """
        return is_at_rest(path)

    def close(self) -> None:
        """Close the file; the last writer checkpoints. Closing twice is fine."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- writing -------------------------------------------------------------

    def position(self) -> Position | None:
        """Return how far this catalog is made, None for an empty one."""
        found = self._rows(Position, schema.POSITION)
        return found[0] if found else None

    def apply(self, facts: Sequence[Facts], position: Position) -> None:
        """
        Take in *facts*, in order, and be made up to *position*; all or nothing.

        About 5 us a row in large steps. Nobody else can write meanwhile, so
        take many facts in steps of `limits.APPLY_ROW_COUNT` rows.
        """
        with self._db.using("BEGIN IMMEDIATE") as db:
            write(db, facts, position)

    def checkpoint(self, mode: Literal["PASSIVE", "TRUNCATE"]) -> bool:
        """
        Move what was applied into the main file, and sync that.

        Args:
            mode: ``PASSIVE`` moves what no reader needs and waits for nobody.
                ``TRUNCATE`` waits for readers, for seconds at most, then cuts
                the WAL to nothing.

        Returns:
            Whether all of it was moved.
        """
        with self._db.using() as db:
            query = f"PRAGMA wal_checkpoint({mode})"
            busy, count, moved = db.execute(query).fetchall()[0]
            return bool(not busy and count == moved)

    def compact(self) -> None:
        """Write the file anew: what was removed is in none of its pages any more."""
        with self._db.using() as db:
            db.execute("VACUUM")

    def wal_size(self) -> int:
        """Return the size of the WAL in bytes; it shrinks by ``TRUNCATE`` only."""
        return self._db.wal_size()

    # --- reading -------------------------------------------------------------

    def find_place(self, digest: bytes) -> Place | None:
        """Return where *digest* is stored."""
        return _first(self._rows(Place, f"{schema.PLACE} WHERE p.digest = ?", digest))

    def find_places(self, digests: Sequence[bytes]) -> dict[bytes, Place]:
        """Return where those of *digests* are stored that are."""
        found = {}
        for at in range(0, len(digests), _ASK_COUNT):
            some = digests[at : at + _ASK_COUNT]
            marks = ", ".join("?" * len(some))
            query = f"{schema.PLACE} WHERE p.digest IN ({marks})"
            for row in self._rows(Place, query, *some):
                found[row.digest] = row
        return found

    def find_run(self, segment: bytes, index: int) -> Run | None:
        """Return the run of *segment*'s own entries that covers *index*."""
        found = self.runs(segment, index, index + 1)
        return found[-1] if found else None

    def runs(self, segment: bytes, start: int, stop: int) -> list[Run]:
        """Return the runs of *segment* that touch ``[start, stop)``, in order."""
        if start >= stop:
            return []
        return self._rows(Run, schema.RUNS_TOUCHING, segment, start, stop, start)

    def find_segment(self, segment: bytes) -> SegmentRow | None:
        """Return the newest state of *segment*."""
        return _first(self._rows(SegmentRow, f"{schema.SEGMENT} AND id = ?", segment))

    def segments(self) -> Iterator[SegmentRow]:
        """
        Yield all segments, newest commit first, then by id.

        A commit during the iteration moves a segment to the front, behind the
        reader's back; so the order is that of the call, kept as 8 bytes each.
        """
        return self._numbered_segments(self._segment_order())

    def _segment_order(self) -> list[int]:
        # Numbers are rowids, which are numbers whatever becomes of the file.
        return [number for (number,) in self._db.fetch(schema.SEGMENT_ORDER)]

    def _numbered_segments(self, numbers: list[int]) -> Iterator[SegmentRow]:
        for low in range(0, len(numbers), _PAGE_COUNT):
            with self._db.using("BEGIN") as db:
                rows = [
                    row
                    for number in numbers[low : low + _PAGE_COUNT]
                    for row in db.execute(schema.SEGMENT_NUMBERED, (number,)).fetchall()
                ]
            yield from (schema.checked(SegmentRow, row) for row in rows)

    def listing(self) -> Iterator[Listed]:
        """
        Yield what is shown of the segments that have peaks, as `segments`.

        Takes some 3 us for each.
        """
        return self._listed(self._segment_order())

    def _listed(self, numbers: list[int]) -> Iterator[Listed]:
        for low in range(0, len(numbers), _PAGE_COUNT):
            some = numbers[low : low + _PAGE_COUNT]
            marks = ", ".join("?" * len(some))
            rows = self._db.fetch(f"{schema.LISTED_NUMBERED} ({marks})", *some)
            found = schema.listed_rows(rows)
            yield from (found[number] for number in some if number in found)

    def children(self, segment: bytes) -> list[SegmentRow]:
        """Return the segments whose parent is *segment*, in order of id."""
        query = f"{schema.SEGMENT} AND parent = ? ORDER BY id"
        return self._rows(SegmentRow, query, segment)

    def segments_of(self, session: bytes) -> list[SegmentRow]:
        """Return the segments of *session*, in order of id."""
        query = f"{schema.SEGMENT} AND session = ? ORDER BY id"
        return self._rows(SegmentRow, query, session)

    def find_session(self, session: bytes) -> SessionRow | None:
        """Return the session with that id."""
        return _first(self._rows(SessionRow, f"{schema.SESSION} WHERE id = ?", session))

    def find_session_by_key(self, namespace: str, text: str) -> SessionRow | None:
        """Return the session with that key."""
        query = f"{schema.SESSION} WHERE namespace = ? AND text = ?"
        return _first(self._rows(SessionRow, query, namespace, text))

    def sessions(self) -> Iterator[SessionRow]:
        """Yield all sessions in order of id."""
        return self._pages(
            SessionRow, f"{schema.SESSION} WHERE id >= ? ORDER BY id LIMIT ?"
        )

    def find_nodes(
        self, wanted: Sequence[tuple[bytes, int, int]]
    ) -> list[bytes | None]:
        """Return the hash for each (segment, level, index), None where absent."""
        with self._db.using("BEGIN") as db:
            rows = [db.execute(schema.NODE_AT, each).fetchall() for each in wanted]
        return [
            schema.checked(Node, found[0]).hash if found else None for found in rows
        ]

    def find_key(self, segment: bytes, text: str) -> KeyRow | None:
        """Return what the commit key stands for."""
        query = f"{schema.KEY} WHERE s.id = ? AND k.text = ?"
        return _first(self._rows(KeyRow, query, segment, text))

    def find_tag(self, name: str) -> TagRow | None:
        """Return the tag."""
        return _first(self._rows(TagRow, f"{schema.TAG} WHERE name = ?", name))

    def tags(self) -> list[TagRow]:
        """Return all tags by name."""
        return self._rows(TagRow, f"{schema.TAG} ORDER BY name")

    def find_deleted(self, segment: bytes) -> DeletedRow | None:
        """Return how *segment* was deleted."""
        return _first(
            self._rows(DeletedRow, f"{schema.DELETED} WHERE segment = ?", segment)
        )

    def labelled(self, digest: bytes) -> list[bytes]:
        """Return the segments that the payload is a label of, sorted."""
        return self._rows(bytes, schema.LABELLED, digest)

    def find_absence(self, digest: bytes) -> AbsenceRow | None:
        """Return why *digest* went, whether it is back or not."""
        query = f"{schema.ABSENCE} WHERE digest = ?"
        return _first(self._rows(AbsenceRow, query, digest))

    def condemned(self) -> dict[bytes, int]:
        """Return what gc has condemned: digest to time, ms since 1970."""
        rows = self._rows(schema.Condemned, "SELECT digest, at_ms FROM condemned")
        return {row.digest: row.at_ms for row in rows}

    def condemn(self, blobs: dict[bytes, int]) -> None:
        """Make *blobs*, digest to time, all that is condemned."""
        with self._db.using("BEGIN IMMEDIATE") as db:
            db.execute("DELETE FROM condemned")
            db.executemany("INSERT INTO condemned VALUES (?, ?)", blobs.items())

    def remembered(self, name: bytes) -> bytes | None:
        """Return what was remembered under *name*, unless a bit of it was flipped."""
        query = "SELECT value, checksum FROM remembered WHERE name = ?"
        rows = self._db.fetch(query, name)
        if not rows or rows[0][1] != schema.checksum((name, rows[0][0])):
            return None
        value: bytes = rows[0][0]
        return value

    def remember(self, values: Mapping[bytes, bytes]) -> None:
        """Keep each of *values* under its name, in place of what was there."""
        rows = [(*item, schema.checksum(item)) for item in values.items()]
        with self._db.using("BEGIN IMMEDIATE") as db:
            db.executemany("INSERT OR REPLACE INTO remembered VALUES (?, ?, ?)", rows)

    def places(self) -> Iterator[Place]:
        """Yield all places in order of digest."""
        query = f"{schema.PLACE} WHERE p.digest >= ? ORDER BY p.digest LIMIT ?"
        return self._pages(Place, query)

    def names(self, start: bytes, stop: bytes | None) -> set[bytes]:
        """Return the digests in ``[start, stop)`` of all places; None: to the end."""
        query, values = f"{schema.NAMES} WHERE digest >= ?", [start]
        if stop is not None:
            query, values = f"{query} AND digest < ?", [start, stop]
        return set(self._rows(bytes, query, *values))

    def last_offsets(self) -> dict[bytes, int]:
        """
        Return the last offset at which a place stands, by file.

        Goes over all places: 0.2 s for a million.
        """
        rows = self._rows(schema.LastOffset, schema.LAST_OFFSETS)
        return {row.file: row.offset for row in rows}

    def counts(self) -> Counts:
        """Return totals. Goes over all places: 0.1 s for a million."""
        return self._rows(Counts, schema.COUNTS)[0]

    def dump(self) -> Facts:
        """Return everything as rows in order of their keys, for comparisons."""
        facts = Facts()
        with self._db.using("BEGIN") as db:
            for name, (kind, query) in schema.ALL.items():
                rows = db.execute(query).fetchall()
                getattr(facts, name).extend(schema.checked(kind, row) for row in rows)
        return sorted_facts(facts)

    def _rows(
        self, kind: Callable[..., _RowT], query: str, *values: Any
    ) -> list[_RowT]:
        return schema.all_checked(kind, self._db.fetch(query, *values))

    def _pages(self, kind: Callable[..., _PagedT], query: str) -> Iterator[_PagedT]:
        """Yield what *query* gives from its first key on, a page at a time."""
        start = b""
        while rows := self._rows(kind, query, start, _PAGE_COUNT):
            for row in rows:
                if row[0] < start:
                    raise damaged("its rows are out of order")
                start = row[0] + b"\0"  # what comes next in order of bytes
                yield row


def _first(rows: list[_RowT]) -> _RowT | None:
    return rows[0] if rows else None
