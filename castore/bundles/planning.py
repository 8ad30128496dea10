"""
What a bundle changes here, segment by segment.

Spec: spec/bundle.md, "Taking in".
"""

from __future__ import annotations

import enum

from collections.abc import Mapping, Sequence

import attrs

from castore import merkle
from castore.bundles.manifest import Row
from castore.catalog.rows import SegmentRow
from castore.engine.expect import newest_head
from castore.engine.view import View
from castore.errors import ConflictError, GoneError
from castore.formats.trees import SEGMENT_TREE


class State(enum.Enum):
    """What a segment of a bundle is here."""

    NEW = "new"
    GROWN = "grown"
    SAME = "same"
    FORKED = "forked"


@attrs.frozen
class Step:
    """
    What becomes of a segment of a bundle.

    Attributes:
        row: What the bundle says of it.

        state: What it is here.

        start: Index of the first entry that is taken in; *row*'s stop for none.

        here: Its row here, None where it is new.
    """

    row: Row
    state: State
    start: int
    here: SegmentRow | None = None


#: Root of a segment's log at a count, as the bundle has it.
Roots = Mapping[tuple[bytes, int], bytes]


def asked_of(rows: Sequence[Row], view: View) -> dict[bytes, list[int]]:
    """Return at which counts the roots of the logs are wanted to plan with *rows*."""
    asked = {}
    for row in rows:
        here = view.known.find_segment(row.segment)
        counts = [row.first, row.stop]
        asked[row.segment] = [*counts, here.count] if here is not None else counts
    return asked


class Planner:
    """
    Compares a bundle with what is here.
    """

    def __init__(self, view: View, roots: Roots) -> None:
        self._view = view
        self._roots = roots
        self._steps: dict[bytes, Step] = {}

    def plan(self, rows: Sequence[Row], *, as_fork: bool) -> list[Step]:
        """
        Return what becomes of each of *rows*.

        Args:
            rows: Of a bundle without a fault, parents before their forks.

            as_fork: Whether what diverged becomes a fork.

        Raises:
            ConflictError: Something diverged, or what is before it is not here.

            GoneError: A segment was deleted here.
        """
        for row in rows:
            self._steps[row.segment] = self._step(row, as_fork=as_fork)
        return list(self._steps.values())

    def _step(self, row: Row, *, as_fork: bool) -> Step:
        gone = self._view.known.find_deleted(row.segment)
        if gone is not None:
            what = f"segment {row.segment.hex()} was deleted here; it is not taken in"
            raise GoneError(what=what, how="deleted", entry=gone.entry)
        here = self._view.known.find_segment(row.segment)
        if here is None:
            self._check_beginning(row)
            return Step(row, State.NEW, row.first)
        if (here.session, here.fork_index) != (row.session, row.fork_index):
            raise diverged(row, "it begins otherwise here")
        if here.count < row.first:
            raise _lacking(row, here.count)
        common = min(here.count, row.stop)
        if self._roots[row.segment, common] == self._root_here(here, common):
            state = State.GROWN if common < row.stop else State.SAME
            return Step(row, state, common, here)
        if not as_fork:
            raise diverged(row, "it went on otherwise here")
        return Step(row, State.FORKED, row.first, here)

    def _root_here(self, here: SegmentRow, count: int) -> bytes:
        if count == here.count:
            return newest_head(here).root
        return merkle.root(SEGMENT_TREE, self._view.logs.peaks_at(here, count))

    def _check_beginning(self, row: Row) -> None:
        if row.first > row.fork_index:
            raise _lacking(row, 0)
        if row.parent is None:
            return
        step = self._steps.get(row.parent)
        root = merkle.root(SEGMENT_TREE, row.peaks)
        if step is not None and step.start <= row.first <= step.row.stop:
            # The check of the bundle has compared them.
            if step.state is State.FORKED:
                raise diverged(row, "its parent went on otherwise here")
            return
        here = self._view.known.find_segment(row.parent)
        if here is None or here.count < row.first:
            raise _lacking(row, 0)
        if self._root_here(here, row.first) != root:
            raise diverged(row, "its parent went on otherwise here")


def _lacking(row: Row, count: int) -> ConflictError:
    return ConflictError(
        what=f"the bundle has segment {row.segment.hex()} from entry {row.first} on; "
        "what is before is not here: take that in first",
        subject="segment",
        expected=row.first,
        actual=count,
    )


def diverged(row: Row, why: str) -> ConflictError:
    """Return the error for a segment that is another here; *why* says how."""
    return ConflictError(
        what=f"segment {row.segment.hex()} diverged: {why}; "
        "nothing was taken in; --as-fork takes it in as a fork",
        subject="segment",
        expected="the same beginning",
        actual="another",
    )
