"""
The log of one segment: which stored entries it consists of, and its tree.

Spec: spec/checking.md, step 7; spec/merkle.md.
"""

from __future__ import annotations

import bisect

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import attrs

from castore import merkle
from castore.errors import CorruptionError
from castore.formats.entry import Start, check_start
from castore.formats.head import Head
from castore.reading.findings import Findings, segment_place
from castore.reading.stored import StoredRun, Want


NODE_LEVEL_MIN = 8  # subtrees of 256 leaves and up are kept

BROKEN = "broken link"
FORK = "fork evidence"
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

        nodes: Level, index and hash of each complete subtree of 256 leaves or
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
        for piece in self.pieces:
            for want in piece.run.wants:
                if piece.start <= want.entry < piece.stop:
                    yield want

    def bodies(self) -> Iterator[bytes]:
        """Yield the digest of each own entry's body, in order of index."""
        for run, start, stop in self.pieces:
            yield from run.bodies[start - run.first : stop - run.first]

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
    log: Log, runs: Sequence[StoredRun], prev: bytes | None, findings: Findings
) -> None:
    """
    Find each entry ``[fork_index, stop)`` of *log* in *runs*, and link it.

    Sets `pieces`; `good` becomes the lowest index that is missing or not linked.

    Args:
        log: To fill.

        runs: All entries records of the segment; of equal ones the last is taken.

        prev: What the first own entry must name; None where that is not known.

        findings: Takes ``truncated log``, ``fork evidence``, ``broken link``.
    """
    bad = log.stop
    for start, stop, active in _spans(runs, log.fork_index, log.stop):
        if not active:
            what = f"entries [{start}, {stop}) are nowhere"
            findings.add(TRUNCATED, log.where(start), what)
            bad, prev = min(bad, start), None
            continue
        for piece in _choose(log, start, stop, active, prev, findings):
            if prev not in (None, piece.run.prev_at(piece.start)):
                what = "prev is not the entry before"
                findings.add(BROKEN, log.where(piece.start), what)
                bad = min(bad, piece.start)
            prev = piece.run.hash_at(piece.stop - 1)
            _append(log.pieces, piece)
    log.good = bad


def _spans(
    runs: Sequence[StoredRun], start: int, stop: int
) -> Iterator[tuple[int, int, list[StoredRun]]]:
    """Yield consecutive ranges, each with the runs that hold all of its entries."""
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


def _choose(
    log: Log,
    start: int,
    stop: int,
    active: list[StoredRun],
    prev: bytes | None,
    findings: Findings,
) -> Iterator[Piece]:
    """Yield what to take of *active* for ``[start, stop)``; usually all alike."""
    last = active[-1]
    if len({_hashes(run, start, stop) for run in active}) == 1:
        yield Piece(last, start, stop)
        return
    for index in range(start, stop):
        found = {run.hash_at(index): run for run in active}
        if len(found) > 1:
            findings.add(FORK, log.where(index), "two entries at one index")
        fits = [digest for digest, run in found.items() if run.prev_at(index) == prev]
        prev = min(fits or found)
        yield Piece(found[prev], index, index + 1)


def _hashes(run: StoredRun, start: int, stop: int) -> bytes:
    if start == run.first and stop == run.stop:
        return run.hashes
    return run.hashes[(start - run.first) * 32 : (stop - run.first) * 32]


def _append(pieces: list[Piece], piece: Piece) -> None:
    last = pieces[-1] if pieces else None
    if last and last.run is piece.run and last.stop == piece.start:
        pieces[-1] = Piece(last.run, last.start, piece.stop)
    else:
        pieces.append(piece)


def grow_tree(
    log: Log, tree: merkle.Tree, peaks: list[bytes], wanted: Iterable[int]
) -> None:
    """
    Append the good own entries to a tree; sets `peaks`, `nodes`, `snapshots`.

    Computes two hashes for each entry.

    Args:
        log: Its entries are taken already.

        tree: Which kind.

        peaks: Of the tree over the inherited entries.

        wanted: Counts at which children want to know the peaks.
    """
    peaks = list(peaks)
    stops = set(wanted)
    if log.head:
        stops.add(log.head.count)
    count = log.fork_index
    for run, start, stop in log.pieces:
        for index in range(start, min(stop, log.good)):
            leaf = tree.leaf(run.hash_at(index))
            for node in merkle.push(tree, peaks, index, leaf):
                if node[0] >= NODE_LEVEL_MIN:
                    log.nodes.append(node)
            count = index + 1
            if count in stops:
                log.snapshots[count] = list(peaks)
    if log.head and log.head.count in log.snapshots:
        log.peaks = log.snapshots[log.head.count]


def judge_start(log: Log, store: bytes, findings: Findings) -> None:
    """Report what is wrong with the start entry of *log*."""
    starts = log.starts()
    for index in starts:
        if index != log.fork_index:
            findings.add(MALFORMED, log.where(index), "a second start entry")
    if log.hash_at(log.fork_index) is None:
        return
    where = log.where(log.fork_index)
    start = starts.get(log.fork_index)
    if start is None:
        findings.add(MALFORMED, where, "the first own entry is no start entry")
        return
    ids = {"session": log.session, "segment": log.segment}
    try:
        check_start(start, **ids, index=log.fork_index)
    except CorruptionError as error:
        findings.add(MALFORMED, where, error.what)
    if start.origin and start.origin.segment == store:
        findings.add(MALFORMED, where, "start record: the store log is never forked")


def judge_head(log: Log, tree: merkle.Tree, findings: Findings) -> None:
    """Report where the head of *log* does not fit its entries."""
    head = log.head
    if head is None:
        return
    starts = log.starts()
    start = starts.get(head.fork_index)
    if starts.keys() - {head.fork_index}:
        findings.add(WRONG_HEAD, log.where(), "fork index is not that of a start entry")
    sessions = {
        head.session,
        log.segment if log.segment == head.store else head.session,
    }
    if start and sessions != {start.session}:
        findings.add(WRONG_HEAD, log.where(), "session is not that of its start")
    if log.good < head.count:
        return
    if merkle.root(tree, log.peaks) != head.root:
        findings.add(MISMATCH, log.where(), "the entries have another root")
    if log.hash_at(head.count - 1) != head.last:
        findings.add(WRONG_HEAD, log.where(), "the last entry is another")


def judge_origin(log: Log, owner: Log, tree: merkle.Tree, findings: Findings) -> None:
    """Report where a fork's origin is not what the first entries give."""
    start = log.starts().get(log.fork_index)
    if start is None or start.origin is None or owner.good < log.fork_index:
        return
    where = log.where(log.fork_index)
    if merkle.root(tree, log.base) != start.origin.root:
        findings.add(MISMATCH, where, "the origin has another root")
    if owner.hash_at(log.fork_index - 1) != start.origin.last:
        findings.add(BROKEN, where, "the origin has another last entry")
