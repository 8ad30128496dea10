"""
How facts are written into the tables of a catalog in SQLite.
"""

from __future__ import annotations

import operator
import sqlite3

from collections.abc import Iterable, Iterator, Sequence

import attrs

from castore.catalog.database import damaged
from castore.catalog.rows import Facts, Position
from castore.catalog.schema import summed


_LISTS = tuple(field.name for field in attrs.fields(Facts))
_ASK_COUNT = 256  # ids looked up by one statement
_REMOVE_SEGMENT = (
    "DELETE FROM run WHERE segment = (SELECT no FROM segment WHERE id = ?)",
    "DELETE FROM node WHERE segment = (SELECT no FROM segment WHERE id = ?)",
    "DELETE FROM keys WHERE segment = (SELECT no FROM segment WHERE id = ?)",
    "DELETE FROM label WHERE segment = (SELECT no FROM segment WHERE id = ?)",
    """UPDATE segment SET session = NULL, parent = NULL, fork_index = NULL,
        count = NULL, revision = NULL, seq = NULL, time_ms = NULL,
        label_count = NULL, head = NULL, peaks = NULL
        WHERE id = ?""",
)
_ADD_SEGMENT = """
    INSERT INTO segment
        (id, session, parent, fork_index, count, revision, seq, time_ms,
        label_count, head, peaks, state_sum, checksum)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET
        session = excluded.session, parent = excluded.parent,
        fork_index = excluded.fork_index, count = excluded.count,
        revision = excluded.revision, seq = excluded.seq,
        time_ms = excluded.time_ms, label_count = excluded.label_count,
        head = excluded.head, peaks = excluded.peaks,
        state_sum = excluded.state_sum, checksum = excluded.checksum"""


def write(db: sqlite3.Connection, facts: Sequence[Facts], position: Position) -> None:
    """Write *facts* and *position*, within the caller's transaction."""
    for batch in _batches(facts):
        _drop_files(db, batch.drop_files)
        _add_segments(db, batch)
        _add_stored(db, batch)
        _add_others(db, batch)
        _remove(db, batch)
    db.execute(
        'UPDATE meta SET (journal, stop, frame, seq, "commit", gc_generation, checksum)'
        " = (?, ?, ?, ?, ?, ?, ?)",
        summed(position),
    )


def _batches(facts: Iterable[Facts]) -> Iterator[Facts]:
    """
    Yield the same changes in fewer pieces: one statement for the rows of a
    thousand commits takes a quarter of the time of a thousand statements.

    Drops come before rows and rows before removals, so facts can join those
    before them if they drop nothing, and those before removed nothing.
    """
    batch = Facts()
    for each in facts:
        if each.drop_files or _removes(batch):
            yield batch
            batch = Facts()
        for name in _LISTS:
            rows = getattr(each, name)
            if rows:
                getattr(batch, name).extend(rows)
    yield batch


def _removes(facts: Facts) -> bool:
    gone = facts.gone_segments or facts.gone_sessions or facts.gone_places
    return bool(facts.untags or gone)


def _drop_files(db: sqlite3.Connection, files: Sequence[bytes]) -> None:
    numbers = set(_numbers(db, "file", set(files)).values())
    if not numbers:
        return
    # One scan for all of them, however many: there is no index by file.
    listed = ", ".join(map(str, sorted(numbers)))
    for table in ("place", "run"):
        db.execute(f"DELETE FROM {table} WHERE file IN ({listed})")  # noqa: S608


def _add_segments(db: sqlite3.Connection, facts: Facts) -> None:
    newest = {segment.id: segment for segment in facts.segments}
    db.executemany(_ADD_SEGMENT, map(summed, newest.values()))


def _add_stored(db: sqlite3.Connection, facts: Facts) -> None:
    files = _numbers(
        db,
        "file",
        {place.file for place in facts.places} | {run.file for run in facts.runs},
    )
    # In order of digest, pages of the tree are visited once; the sort is stable,
    # so that of equal digests the last one still wins.
    db.executemany(
        "INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?, ?)",
        (
            (digest, files[file], offset, record, size)
            for digest, file, offset, record, size in sorted(
                facts.places, key=operator.attrgetter("digest")
            )
        ),
    )
    segments = _numbers(db, "segment", {run.segment for run in facts.runs})
    db.executemany(
        "INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?)",
        (
            (segments[segment], first, count, files[file], offset, record)
            for segment, first, count, file, offset, record in facts.runs
        ),
    )
    reaches: dict[int, int] = {}
    for run in facts.runs:
        number = segments[run.segment]
        reaches[number] = max(run.count, reaches.get(number, 1))
    db.executemany(
        "UPDATE segment SET reach = max(reach, ?) WHERE no = ?",
        [(reach, number) for number, reach in reaches.items() if reach > 1],
    )


def _add_others(db: sqlite3.Connection, facts: Facts) -> None:
    named = {node.segment for node in facts.nodes}
    named |= {key.segment for key in facts.keys}
    named |= {label.segment for label in facts.labels}
    segments = _numbers(db, "segment", named)
    db.executemany(
        "INSERT OR REPLACE INTO node VALUES (?, ?, ?, ?, ?)",
        ((segments[segment], *rest) for segment, *rest in map(summed, facts.nodes)),
    )
    db.executemany(
        "INSERT OR REPLACE INTO keys VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        ((segments[segment], *rest) for segment, *rest in map(summed, facts.keys)),
    )
    db.executemany(
        "INSERT OR REPLACE INTO label VALUES (?, ?)",
        [(digest, segments[segment]) for digest, segment in facts.labels],
    )
    for statement, rows in (
        ("INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?)", facts.sessions),
        ("INSERT OR REPLACE INTO tag VALUES (?, ?, ?, ?, ?)", facts.tags),
        ("INSERT OR REPLACE INTO deleted VALUES (?, ?, ?, ?)", facts.deleted),
        ("INSERT OR REPLACE INTO absence VALUES (?, ?, ?, ?)", facts.absences),
    ):
        db.executemany(statement, map(summed, rows))


def _remove(db: sqlite3.Connection, facts: Facts) -> None:
    segments = [(segment,) for segment in facts.gone_segments]
    for statement in _REMOVE_SEGMENT:
        db.executemany(statement, segments)
    gone = [(session,) for session in facts.gone_sessions]
    db.executemany("DELETE FROM session WHERE id = ?", gone)
    db.executemany("DELETE FROM tag WHERE name = ?", [(n,) for n in facts.untags])
    db.executemany(
        "DELETE FROM place WHERE digest = ?", [(d,) for d in facts.gone_places]
    )


def _numbers(db: sqlite3.Connection, table: str, ids: set[bytes]) -> dict[bytes, int]:
    """Return the number of each of *ids* in *table*, given one now if it has none."""
    numbers = _known_numbers(db, table, sorted(ids))
    missing = sorted(ids - numbers.keys())
    if missing:
        insert = f"INSERT INTO {table} (id) VALUES (?)"  # noqa: S608 - our own words
        db.executemany(insert, [(each,) for each in missing])
        numbers |= _known_numbers(db, table, missing)
    if numbers.keys() != ids:
        raise damaged(f"its index of {table}s is broken")
    return numbers


def _known_numbers(
    db: sqlite3.Connection, table: str, ids: Sequence[bytes]
) -> dict[bytes, int]:
    rows: list[tuple[bytes, int]] = []
    for at in range(0, len(ids), _ASK_COUNT):
        some = ids[at : at + _ASK_COUNT]
        marks = ", ".join("?" * len(some))
        query = f"SELECT id, no FROM {table} WHERE id IN ({marks})"  # noqa: S608
        rows += db.execute(query, some).fetchall()
    numbers = dict(rows)
    if len(numbers) != len(rows) or not all(isinstance(no, int) for _, no in rows):
        raise damaged(f"its index of {table}s is broken")
    return numbers
