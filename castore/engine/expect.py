"""
Comparing a commit's expectation with what is there.

Spec: spec/ordering.md, "Commit"; spec/head.md.
"""

from __future__ import annotations

import enum

from castore import limits
from castore.catalog.database import damaged
from castore.catalog.rows import Catalog, SegmentRow
from castore.errors import ConflictError, GoneError, NotFoundError
from castore.formats.head import Head, parse_head
from castore.formats.refuse import placed, record


class Expect(enum.Enum):
    """What a commit expects of a segment, besides a revision (an int)."""

    ABSENT = "absent"
    ANY = "any"


_heads: dict[bytes, tuple[SegmentRow, Head]] = {}  # by segment
_HEAD_COUNT = 4096  # parsed heads that are kept


def remember_head(row: SegmentRow, head: Head) -> None:
    """Keep the *head* of *row*, so that nobody need parse what a commit made."""
    if len(_heads) >= _HEAD_COUNT:
        _heads.clear()
    _heads[row.id] = (row, head)


def living(view: Catalog, segment: bytes) -> SegmentRow:
    """
    Return the row of *segment*.

    Raises:
        NotFoundError: There never was one.

        GoneError: It was deleted.
    """
    row = view.find_segment(segment)
    # A row without peaks is a deleted segment that others inherit from.
    if row is not None and row.peaks:
        return row
    gone = view.find_deleted(segment)
    if gone is not None:
        what = f"segment {segment.hex()} was deleted by store-log entry {gone.entry}"
        raise GoneError(what=what, how="deleted", entry=gone.entry)
    raise NotFoundError(what=f"no segment {segment.hex()} in this store")


def newest_head(row: SegmentRow) -> Head:
    """
    Return the head of *row*.

    Raises:
        CorruptionError: ``catalog differs``: the row is not that of its head.
    """
    known = _heads.get(row.id)
    if known is not None and known[0] == row:
        return known[1]
    with placed("catalog"):
        head = parse_head(record(row.head, limits.ENTRY_SIZE_MAX, "head"))
    facts = (row.id, row.session, row.fork_index, row.count, row.revision)
    if (*facts, row.seq, row.time_ms) != (
        head.segment,
        head.session,
        head.fork_index,
        head.count,
        head.revision,
        head.seq,
        head.time_ms,
    ):
        raise damaged("a segment's row is not that of its head")
    remember_head(row, head)
    return head


def check_absent(view: Catalog, segment: bytes, key: tuple[str, str] | None) -> None:
    """
    Refuse to begin a segment that is or was there, or a session key twice.

    Raises:
        ConflictError: ``head`` or ``session``.
    """
    found = view.find_deleted(segment) or view.find_segment(segment)
    if found is not None:
        raise ConflictError(
            what=f"segment {segment.hex()} is there already",
            subject="head",
            expected="absent",
            actual="present",
        )
    session = view.find_session_by_key(*key) if key else None
    if key and session is not None:
        raise ConflictError(
            what=f"the session key {key[0]}:{key[1]} is taken",
            subject="session",
            expected="absent",
            actual=session.id.hex(),
        )


def check_revision(head: Head, expect: Expect | int) -> None:
    """
    Refuse a segment whose newest *head* is not what is expected.

    Raises:
        ConflictError: It is at another revision.
    """
    if expect is not Expect.ANY and head.revision != expect:
        raise ConflictError(
            what=f"segment {head.segment.hex()} moved on",
            subject="head",
            expected=expect,
            actual=head.revision,
        )
