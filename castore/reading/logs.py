"""
The log of one segment: which stored entries it consists of, and its tree.

Spec: spec/checking.md, step 7; spec/merkle.md.
"""

from __future__ import annotations

import bisect

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import attrs

from castore import limits, merkle
from castore.digest import SIZE
from castore.errors import CorruptionError
from castore.formats.entry import Start, check_start
from castore.formats.head import Head
from castore.reading.findings import Findings, segment_place
from castore.reading.stored import (
    StoredRun,
    Want,
    digests_in,
    run_positions,
)


BROKEN = "broken link"
MALFORMED = "malformed record"
MISMATCH = "root mismatch"
TRUNCATED = "truncated log"
WRONG_HEAD = "wrong head"


class Piece(NamedTuple):
    """Entries ``[start, stop)`` as *run* holds them."""

    run: StoredRun
    start: int
    stop: int


@attrs.define(eq=False)
class Log:
    """
    The entries that one segment owns, as far as somebody wants them.

    Attributes:
        segment: Segment id.

        session: Session id as its head, or else its start entry, names it.

        fork_index: Index of its first own entry.

        stop: Behind the last entry that is wanted.

        head: Its newest usable head; None for a segment that lives only in the
            logs of its children.

        owner: Segment that owns the entry before the first own one; None if
            there is none or it is not known.

        pieces: Where the entries are, in order.

        good: Entries of the whole log up to here are all there and linked.

        base: Peaks of the tree over the inherited entries, if they are good.

        peaks: Of the tree over the head's count, if it is good so far.

        snapshots: Peaks of the tree at the counts that children inherit.

        nodes: Level, index and hash of each complete subtree of 16 leaves or
            more whose last leaf it owns.
    """

    segment: bytes
    session: bytes
    fork_index: int
    stop: int
    head: Head | None
    owner: bytes | None = None
    pieces: list[Piece] = attrs.Factory(list)
    good: int = 0
    base: list[bytes] = attrs.Factory(list)
    peaks: list[bytes] = attrs.Factory(list)
    nodes: list[tuple[int, int, bytes]] = attrs.Factory(list)
    snapshots: dict[int, list[bytes]] = attrs.Factory(dict)

    @property
    def count(self) -> int:
        """How many own entries there are."""
        return sum(piece.stop - piece.start for piece in self.pieces)

    def hash_at(self, index: int) -> bytes | None:
        """Return the entry hash at own *index*, None if it is not there."""
        at = bisect.bisect_right(self.pieces, index, key=lambda piece: piece.start)
        piece = self.pieces[at - 1] if at else None
        if piece is None or index >= piece.stop:
            return None
        return piece.run.hash_at(index)

    def peaks_at(self, count: int, tree: merkle.Tree, store: bytes) -> list[bytes]:
        """Return the peaks that a child's *tree* has at *count*, all good so far."""
        if self.segment != store:
            return self.snapshots[count]
        # The store log is never forked; who does so all the same has another tree.
        peaks: list[bytes] = []
        for index in range(count):
            merkle.push(tree, peaks, index, tree.leaf(self.hash_at(index) or b""))
        return peaks

    def starts(self) -> dict[int, Start]:
        """Return the start records among the own entries, by index."""
        return {
            index: start
            for piece in self.pieces
            for index, start in piece.run.starts.items()
            if piece.start <= index < piece.stop
        }

    def wants(self) -> Iterator[Want]:
        """Yield what the own entries need beyond what stands beside them."""
        for run, start, stop in self.pieces:
            if start == run.first and stop == run.stop:
                yield from run.wants
            else:
                yield from (want for want in run.wants if start <= want.entry < stop)

    def bodies(self) -> Iterator[bytes]:
        """Yield the digest of each own entry's body, in order of index."""
        for run, start, stop in self.pieces:
            first, last = (start - run.first) * SIZE, (stop - run.first) * SIZE
            yield from digests_in(run.bodies[first:last])

    def runs(self) -> list[StoredRun]:
        """Return the fewest runs that hold the own entries, in order of index."""
        runs = [piece.run for piece in self.pieces]
        return [
            run for at, run in enumerate(runs) if at == 0 or run is not runs[at - 1]
        ]

    def where(self, index: int | None = None) -> str:
        """Return the place, as findings give it."""
        return segment_place(self.segment, index)


def take_entries(
    log: Log,
    runs: Sequence[StoredRun],
    prev: bytes | None,
    names: Mapping[int, bytes],
    findings: Findings,
) -> None:
    """
    Find each entry ``[fork_index, stop)`` of *log* in *runs*, from the last one back.

    Of several entries at an index the one counts that the next one names; what
    nothing names is void. Sets `pieces`; `good` becomes the lowest index that is
    missing or not linked.

    Args:
        log: To fill.

        runs: All entries records of the segment; of equal ones the last is taken.

        prev: What the first own entry must name; None where that is not known.

        names: By count: what a head or fork calls the entry before it.

        findings: Takes ``truncated log`` and ``broken link``.
    """
    bad = log.stop
    pieces: list[Piece] = []
    name: bytes | None = None
    for start, stop, active in reversed(list(_spans(runs, log.fork_index, log.stop))):
        if not active:
            what = f"entries [{start}, {stop}) are nowhere"
            findings.add(TRUNCATED, log.where(start), what)
            bad, name = start, None
            continue
        name = name or names.get(stop)
        run = _choose(active, stop - 1, name)
        if pieces and name not in (None, run.hash_at(stop - 1)):
            _break(log, stop, findings)
            bad = stop
        if not pieces or pieces[-1].run is not run or pieces[-1].start != stop:
            pieces.append(Piece(run, start, stop))
        else:
            pieces[-1] = Piece(run, start, pieces[-1].stop)
        name = run.prev_at(start)
    if None not in (name, prev) and name != prev:
        _break(log, log.fork_index, findings)
        bad = log.fork_index or bad  # a genesis is no entry: the tree knows none
    log.pieces = pieces[::-1]
    log.good = bad


def _break(log: Log, index: int, findings: Findings) -> None:
    findings.add(BROKEN, log.where(index), "prev is not the entry before")


def _spans(
    runs: Sequence[StoredRun], start: int, stop: int
) -> Iterator[tuple[int, int, list[StoredRun]]]:
    """Yield consecutive ranges, each with the runs that hold all of its entries."""
    if len(runs) == 1 and runs[0].first <= start < stop <= runs[0].stop:
        yield start, stop, list(runs)  # as of most logs, where there are very many
        return
    order = sorted(range(len(runs)), key=lambda at: (-runs[at].first, -at))
    active: list[int] = []
    while start < stop:
        while order and runs[order[-1]].first <= start:
            active.append(order.pop())
        active = [at for at in active if runs[at].stop > start]
        ends = [runs[at].stop for at in active]
        if order:
            ends.append(runs[order[-1]].first)
        limit = min(stop, *ends) if ends else stop
        yield start, limit, [runs[at] for at in sorted(active)]
        start = limit


def _choose(active: list[StoredRun], index: int, name: bytes | None) -> StoredRun:
    """Return the last run whose entry at *index* is *name*, or else the lowest."""
    hashes = {run.hash_at(index) for run in active}
    wanted = name if name in hashes else min(hashes)
    return next(run for run in reversed(active) if run.hash_at(index) == wanted)


def grow_tree(
    log: Log, tree: merkle.Tree, peaks: list[bytes], wanted: Collection[int]
) -> None:
    """
    Append the good own entries to a tree; sets `peaks`, `nodes`, `snapshots`.

    Computes two hashes for each entry of runs that are cut; those of others were
    computed when they were read.

    Args:
        log: Its entries are taken already.

        tree: Which kind.

        peaks: Of the tree over the inherited entries.

        wanted: Counts at which children want to know the peaks.
    """
    peaks = list(peaks)
    end = log.head.count if log.head else None
    stops = sorted({*wanted, *([end] if end is not None else ())})
    count = log.fork_index
    for run, start, stop in log.pieces:
        for level, latest in _subtrees(run, start, min(stop, log.good), tree, stops):
            node = (level, count >> level, latest)
            nodes = [node, *merkle.push(tree, peaks, count, latest, level)]
            log.nodes += [each for each in nodes if each[0] >= limits.NODE_LEVEL_MIN]
            count += 1 << level
            at = bisect.bisect_left(stops, count)
            if stops[at : at + 1] == [count]:
                if count == end:
                    log.peaks = list(peaks)
                if count in wanted:
                    log.snapshots[count] = list(peaks)


def _subtrees(
    run: StoredRun, start: int, stop: int, tree: merkle.Tree, stops: list[int]
) -> Iterator[tuple[int, bytes]]:
    """
    Yield level and hash of subtrees that together are the leaves ``[start, stop)``;
    single leaves where one of *stops* is among them, or not all of *run* is wanted.
    """
    inside = bisect.bisect_right(stops, start) < bisect.bisect_left(stops, stop)
    if run.subtrees and (start, stop) == (run.first, run.stop) and not inside:
        positions = run_positions(start, stop)
        for (level, _), latest in zip(positions, digests_in(run.subtrees), strict=True):
            yield level, latest
    else:
        for index in range(start, stop):
            yield 0, tree.leaf(run.hash_at(index))


def judge_start(log: Log, head: Head, tree: merkle.Tree, findings: Findings) -> None:
    """Report what is wrong with the start entry of *log*, and where there are more."""
    starts = log.starts()
    for index in sorted({log.fork_index, *starts}):
        if log.fork_index <= index < head.count and log.hash_at(index) is not None:
            problem = _start_problem(log, starts.get(index), index)
            if problem:
                findings.add(MALFORMED, log.where(index), problem)
            elif index and log.good >= head.count:
                origin = starts[index].origin
                if origin and merkle.root(tree, log.base) != origin.root:
                    what = "the origin has another root"
                    findings.add(MISMATCH, log.where(index), what)


def _start_problem(log: Log, start: Start | None, index: int) -> str:
    if start is None:
        return "the first own entry is no start entry"
    if index != log.fork_index:
        return "a second start entry"
    prev = log.pieces[0].run.prev_at(index)
    ids = {"session": log.session, "segment": log.segment}
    try:
        check_start(start, **ids, index=index, prev=prev)
    except CorruptionError as error:
        return error.what
    return ""


def judge_head(log: Log, head: Head, tree: merkle.Tree, findings: Findings) -> None:
    """Report where *head* does not fit the entries of its *log*."""
    if log.hash_at(head.count - 1) not in (None, head.last):
        findings.add(WRONG_HEAD, log.where(), "the last entry is another")
    if log.good >= head.count and merkle.root(tree, log.peaks) != head.root:
        findings.add(MISMATCH, log.where(), "the entries have another root")
