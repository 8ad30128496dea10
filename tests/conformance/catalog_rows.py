"""
Rows for the tests of catalogs, with what does not matter filled in.
"""

from __future__ import annotations

import itertools

from collections.abc import Sequence
from typing import overload

from castore.catalog.rows import (
    AbsenceRow,
    Catalog,
    DeletedRow,
    Facts,
    KeyRow,
    Label,
    Node,
    Place,
    Position,
    Run,
    SegmentRow,
    SessionRow,
    TagRow,
)


MANY = 1200  # rows; more than any catalog reads at once
FILE, OTHER = b"file 1", b"file 2"
SEQS = itertools.count(1)


def position_at(seq: int) -> Position:
    """Return a position that is the *seq*-th."""
    return Position(b"journal", 100 * seq, b"frame", seq, b"commit", 3)


def apply(catalog: Catalog, *facts: Facts) -> Position:
    """Apply *facts* at once and return the new position that was given."""
    position = position_at(next(SEQS))
    catalog.apply(facts, position)
    return position


def place(
    digest: bytes, file: bytes = FILE, *, offset: int = 7, size: int = 5
) -> Place:
    """Return a place of *digest*."""
    return Place(digest, file, offset, 1, size)


def run(first: int, count: int, file: bytes = FILE, *, segment: bytes = b"s") -> Run:
    """Return a run of *segment*."""
    return Run(segment, first, count, file, 1000 + first, 2)


def segment(
    id: bytes,  # noqa: A002 - as in the row
    *,
    seq: int = 1,
    session: bytes = b"x",
    count: int = 4,
    parent: tuple[bytes | None, int] = (None, 0),
    peaks: bytes = b"peaks",
) -> SegmentRow:
    """Return a state of the segment *id*."""
    return SegmentRow(id, session, *parent, count, 2, seq, 99, 1, b"head", peaks)


def key(segment: bytes, text: str, seq: int = 1) -> KeyRow:
    """Return what *text* stands for in *segment*."""
    return KeyRow(segment, text, b"content", 3, 2, seq, 77)


def full() -> Facts:
    """Return one row or two of each kind, in order."""
    return Facts(
        places=[place(b"a"), place(b"b", OTHER)],
        runs=[run(0, 2), run(2, 3, OTHER)],
        segments=[segment(b"s"), segment(b"t", parent=(b"s", 2), session=b"y")],
        nodes=[Node(b"s", 8, 0, b"n0"), Node(b"s", 8, 1, b"n1")],
        sessions=[SessionRow(b"x", None, None), SessionRow(b"y", "a", "1")],
        keys=[key(b"s", "k"), key(b"t", "k")],
        tags=[TagRow("t", b"a", 5, None), TagRow("u", b"b", 6, b"slices")],
        deleted=[DeletedRow(b"v", 12, b"final head")],
        labels=[Label(b"a", b"s"), Label(b"a", b"t")],
        absences=[AbsenceRow(b"c", "collected", 3)],
    )


class Failing(Sequence[Facts]):
    """Facts that fail to come after the first."""

    def __len__(self) -> int:
        return 2

    @overload
    def __getitem__(self, index: int) -> Facts: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Facts]: ...
    def __getitem__(self, index: int | slice) -> Facts | Sequence[Facts]:
        if index != 0:
            raise OSError
        return full()
