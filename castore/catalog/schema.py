"""
The tables of a catalog in SQLite, and how rows are read from them.

Files and segments stand once, under a small number, since places, runs, nodes
and keys name them over and over. Numbers are never taken back: a file whose
places are gone keeps its 50 bytes.

Spec: spec/ordering.md, "The catalog".
"""

from __future__ import annotations

import itertools
import marshal
import sqlite3
import zlib

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, get_type_hints

from castore.catalog.database import damaged
from castore.catalog.rows import (
    AbsenceRow,
    Counts,
    DeletedRow,
    KeyRow,
    Label,
    Listed,
    Node,
    Place,
    Position,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
)


VERSION = 4  # of the tables; a catalog of another version is thrown away

# Compared, letter by letter, with what a file says of itself.
TABLES = (
    """\
CREATE TABLE meta (
    version INTEGER NOT NULL,
    journal BLOB, stop INTEGER, frame BLOB, seq INTEGER, "commit" BLOB,
    gc_generation INTEGER, checksum INTEGER
)""",
    """\
CREATE TABLE file (no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE)""",
    # Without a seq, a row is a number only: something names a segment that has
    # no state here. `reach` is the count of the longest run ever added. Head and
    # peaks have a checksum of their own: a listing does without them.
    """\
CREATE TABLE segment (
    no INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE,
    session BLOB, parent BLOB, fork_index INTEGER, count INTEGER, revision INTEGER,
    seq INTEGER, time_ms INTEGER, label_count INTEGER, state_sum INTEGER,
    checksum INTEGER, head BLOB, peaks BLOB,
    reach INTEGER NOT NULL DEFAULT 1
)""",
    """\
CREATE INDEX segment_by_session ON segment (session)""",
    """\
CREATE INDEX segment_by_seq ON segment (seq DESC, id)""",
    """\
CREATE INDEX segment_by_parent ON segment (parent) WHERE parent NOT NULL""",
    """\
CREATE TABLE place (
    digest BLOB NOT NULL PRIMARY KEY, file INTEGER NOT NULL REFERENCES file,
    offset INTEGER NOT NULL, record INTEGER NOT NULL, size INTEGER NOT NULL
) WITHOUT ROWID""",
    """\
CREATE TABLE run (
    segment INTEGER NOT NULL REFERENCES segment, first INTEGER NOT NULL,
    count INTEGER NOT NULL, file INTEGER NOT NULL REFERENCES file,
    offset INTEGER NOT NULL, record INTEGER NOT NULL,
    PRIMARY KEY (segment, first)
) WITHOUT ROWID""",
    """\
CREATE TABLE node (
    segment INTEGER NOT NULL REFERENCES segment, level INTEGER NOT NULL,
    place INTEGER NOT NULL, hash BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (segment, level, place)
) WITHOUT ROWID""",
    """\
CREATE TABLE session (
    id BLOB NOT NULL PRIMARY KEY, namespace TEXT, text TEXT,
    checksum INTEGER NOT NULL, UNIQUE (namespace, text)
) WITHOUT ROWID""",
    """\
CREATE TABLE keys (
    segment INTEGER NOT NULL REFERENCES segment, text TEXT NOT NULL,
    content BLOB NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
    seq INTEGER NOT NULL, time_ms INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (segment, text)
) WITHOUT ROWID""",
    """\
CREATE TABLE tag (
    name TEXT NOT NULL PRIMARY KEY, digest BLOB NOT NULL, size INTEGER NOT NULL,
    slices BLOB, checksum INTEGER NOT NULL
) WITHOUT ROWID""",
    """\
CREATE TABLE deleted (
    segment BLOB NOT NULL PRIMARY KEY, entry INTEGER NOT NULL, head BLOB NOT NULL,
    checksum INTEGER NOT NULL
) WITHOUT ROWID""",
    """\
CREATE TABLE label (
    digest BLOB NOT NULL, segment INTEGER NOT NULL REFERENCES segment,
    PRIMARY KEY (digest, segment)
) WITHOUT ROWID""",
    """\
CREATE TABLE absence (
    digest BLOB NOT NULL PRIMARY KEY, how TEXT NOT NULL, number INTEGER NOT NULL,
    checksum INTEGER NOT NULL
) WITHOUT ROWID""",
    # What gc found dead, and when first. Lives here only: a new catalog begins
    # every grace anew, which is safe.
    """\
CREATE TABLE condemned (
    digest BLOB NOT NULL PRIMARY KEY, at_ms INTEGER NOT NULL
) WITHOUT ROWID""",
    # What callers want to find again and can do without; lives here only too.
    """\
CREATE TABLE remembered (
    name BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL, checksum INTEGER NOT NULL
) WITHOUT ROWID""",
)


def create_tables(db: sqlite3.Connection) -> None:
    """Make the tables of an empty catalog."""
    for statement in TABLES:
        db.execute(statement)
    db.execute("INSERT INTO meta (version) VALUES (?)", (VERSION,))


def check_tables(db: sqlite3.Connection) -> None:
    """
    Check that the tables are those of this version, no more and no fewer.

    Raises:
        CorruptionError: They are not.
    """
    query = "SELECT sql FROM sqlite_master WHERE sql NOT NULL"
    if {sql for (sql,) in db.execute(query).fetchall()} != set(TABLES):
        raise damaged("its tables are not those of this version")
    versions = db.execute("SELECT version FROM meta").fetchall()
    if versions != [(VERSION,)]:
        raise damaged(f"it has not version {VERSION}")


# --- reading -----------------------------------------------------------------

POSITION = """
    SELECT journal, stop, frame, seq, "commit", gc_generation, checksum
    FROM meta WHERE journal NOT NULL"""
# Left joins: a number that stands for nothing gives null, which is refused.
PLACE = """
    SELECT p.digest, f.id, p.offset, p.record, p.size
    FROM place p LEFT JOIN file f ON f.no = p.file"""
RUN = """
    SELECT s.id, r.first, r.count, f.id, r.offset, r.record
    FROM run r LEFT JOIN file f ON f.no = r.file
    LEFT JOIN segment s ON s.no = r.segment"""
RUNS_TOUCHING = """
    SELECT s.id, r.first, r.count, f.id, r.offset, r.record
    FROM segment s CROSS JOIN run r ON r.segment = s.no
    LEFT JOIN file f ON f.no = r.file
    WHERE s.id = ? AND r.first > ? - s.reach AND r.first < ?
    AND r.first + r.count > ? ORDER BY r.first"""
SEGMENT = """
    SELECT id, session, parent, fork_index, count, revision, seq, time_ms,
        label_count, head, peaks, state_sum, checksum
    FROM segment WHERE seq NOT NULL"""
SEGMENT_ORDER = """
    SELECT no FROM segment WHERE seq NOT NULL ORDER BY seq DESC, id"""
SEGMENT_NUMBERED = f"{SEGMENT} AND no = ?"
LISTED_NUMBERED = """
    SELECT s.no, s.state_sum, s.id, s.session, s.parent, s.fork_index, s.count,
        s.revision, s.seq, s.time_ms, s.label_count, x.namespace, x.text,
        s.checksum, x.id, x.checksum
    FROM segment s LEFT JOIN session x ON x.id = s.session
    WHERE s.seq NOT NULL AND s.peaks <> x'' AND s.no IN"""
NODE = """
    SELECT s.id, n.level, n.place, n.hash, n.checksum
    FROM node n LEFT JOIN segment s ON s.no = n.segment"""
NODE_AT = """
    SELECT s.id, n.level, n.place, n.hash, n.checksum
    FROM segment s CROSS JOIN node n ON n.segment = s.no
    WHERE s.id = ? AND n.level = ? AND n.place = ?"""
SESSION = "SELECT id, namespace, text, checksum FROM session"
KEY = """
    SELECT s.id, k.text, k.content, k.first, k.count, k.seq, k.time_ms, k.checksum
    FROM keys k LEFT JOIN segment s ON s.no = k.segment"""
TAG = "SELECT name, digest, size, slices, checksum FROM tag"
DELETED = "SELECT segment, entry, head, checksum FROM deleted"
LABEL = """
    SELECT l.digest, s.id FROM label l LEFT JOIN segment s ON s.no = l.segment"""
LABELLED = """
    SELECT s.id FROM label l LEFT JOIN segment s ON s.no = l.segment
    WHERE l.digest = ? ORDER BY s.id"""
ABSENCE = "SELECT digest, how, number, checksum FROM absence"
COUNTS = """
    SELECT (SELECT count(*) FROM session),
        (SELECT count(*) FROM segment WHERE seq NOT NULL),
        (SELECT coalesce(sum(count - fork_index), 0) FROM segment),
        (SELECT count(*) FROM place),
        (SELECT coalesce(sum(size), 0) FROM place)"""


NAMES = "SELECT digest FROM place"
LAST_OFFSETS = """
    SELECT f.id, max(p.offset) FROM place p LEFT JOIN file f ON f.no = p.file
    GROUP BY p.file"""


class LastOffset(NamedTuple):
    """The offset of the last frame of *file* in which a place stands."""

    file: bytes
    offset: int


class Condemned(NamedTuple):
    """A blob that gc found dead, and when first, ms since 1970."""

    digest: bytes
    at_ms: int


ALL: dict[str, tuple[Callable[..., Any], str]] = {  # by field of `Facts`
    "places": (Place, PLACE),
    "runs": (Run, RUN),
    "segments": (SegmentRow, SEGMENT),
    "nodes": (Node, NODE),
    "sessions": (SessionRow, SESSION),
    "keys": (KeyRow, KEY),
    "tags": (TagRow, TAG),
    "deleted": (DeletedRow, DELETED),
    "labels": (Label, LABEL),
    "absences": (AbsenceRow, ABSENCE),
}

_ROWS: list[Callable[..., Any]] = [
    Counts,
    Listed,
    Position,
    LastOffset,
    Condemned,
    *(kind for kind, _ in ALL.values()),
]
_TYPES: dict[Callable[..., Any], tuple[Any, ...]] = {
    bytes: (bytes,),
    int: (int,),
    **{kind: tuple(get_type_hints(kind).values()) for kind in _ROWS},
}
_RowT = TypeVar("_RowT")
# What nothing in the files shows to be wrong, and commits are built on: a place or
# a run that is wrong leads to what has another digest.
_SUMMED = (
    *(Position, SegmentRow, Node, SessionRow, KeyRow, TagRow, DeletedRow),
    AbsenceRow,
)


def checksum(row: tuple[Any, ...]) -> int:
    """Return what shows that a bit of *row* was flipped."""
    # Version 2 gives the same bytes for equal rows in any Python, and refers to
    # nothing; `repr` takes seven times as long.
    return zlib.crc32(marshal.dumps(row, 2))


def summed(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return *row* with the checksums that stand behind it."""
    if isinstance(row, SegmentRow):
        state = checksum(row[-2:])
        return (*row, state, checksum((state, *row[:-2])))
    return (*row, checksum(tuple(row)))


def checked(kind: Callable[..., _RowT], values: tuple[Any, ...]) -> _RowT:
    """
    Return *values* as a *kind*.

    Raises:
        CorruptionError: One has not its type, or is a number below zero, or the
            checksum behind them is of others.
    """
    if kind is SegmentRow:
        values, (state, found) = values[:-2], values[-2:]
        total = checksum((state, *values[:-2]))
        if state != checksum(values[-2:]) or found != total:
            raise damaged("it holds a row that nobody wrote")
    elif kind in _SUMMED:
        values, found = values[:-1], values[-1]
        if found != checksum(values):
            raise damaged("it holds a row that nobody wrote")
    for value, wanted in zip(values, _TYPES[kind], strict=True):
        if not isinstance(value, wanted) or (wanted is int and value < 0):
            raise damaged("it holds a value that nobody wrote")
    return kind(*values)


def all_checked(kind: Callable[..., _RowT], rows: list[tuple[Any, ...]]) -> list[_RowT]:
    """
    Return each of *rows* as a *kind*; as `checked`.

    Rows without a checksum come by the million: they are looked at by column.
    """
    if kind not in _SUMMED and len(rows) > 1:
        columns = zip(zip(*rows, strict=True), _TYPES[kind], strict=True)
        if all(_is_good(column, wanted) for column, wanted in columns):
            return list(itertools.starmap(kind, rows))
    return [checked(kind, row) for row in rows]


def listed_rows(rows: Sequence[tuple[Any, ...]]) -> dict[int, Listed]:
    """
    Return each of *rows*, from `LISTED_NUMBERED`, by its number; as `checked`.
    """
    # By column, where that can be: there may be very many.
    sums = [checksum(row[1:11]) for row in rows]
    key_sums = [checksum((row[14], row[11], row[12])) for row in rows]
    if sums != [row[13] for row in rows] or any(
        found != wanted
        for found, wanted in zip(key_sums, [row[15] for row in rows], strict=True)
        if wanted is not None  # a segment may be of a session that has no row
    ):
        raise damaged("it holds a row that nobody wrote")
    values = itertools.starmap(Listed, [row[2:13] for row in rows])
    return dict(zip([row[0] for row in rows], values, strict=True))


def _is_good(column: tuple[Any, ...], wanted: Any) -> bool:
    """Whether all of *column* are surely of the type *wanted*."""
    return set(map(type, column)) == {wanted} and (
        wanted is not int or min(column) >= 0
    )
