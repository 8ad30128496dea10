"""
Where a log is forked: behind an entry, a turn, or a number of entries.

Spec: spec/conversations.md, "Forks".
"""

from __future__ import annotations

from castore.conversation.reading import LogReader
from castore.errors import NotFoundError
from castore.records.entries import SegmentStart, SessionStart, TurnEnd
from castore.records.state import StartState
from castore.segment import Segment
from castore.store import Store


def cut_at(
    store: Store,
    segment: Segment,
    stop: int,
    *,
    entry: bytes | None = None,
    turn: int | None = None,
    count: int | None = None,
) -> int:
    """
    Return how many entries of *segment* a fork inherits.

    Args:
        store: Where.

        segment: The log.

        stop: How many of its entries are looked at.

        entry: Hash of the last of them.

        turn: Turn whose end is the last of them, or which the log began with.

        count: So many.

    Raises:
        NotFoundError: There is no such point.
    """
    if entry is not None:
        found = _behind_entry(segment, stop, entry)
    elif turn is not None:
        found = _behind_turn(store, segment, stop, turn)
    else:
        found = count
    if found is None or not 1 <= found <= stop:
        raise NotFoundError(what="the log has no such point to fork at")
    return found


def _behind_entry(segment: Segment, stop: int, wanted: bytes) -> int | None:
    for entry in segment.entries(0, stop, reverse=True):
        if entry.hash == wanted:
            return entry.index + 1
    return None


def _behind_turn(store: Store, segment: Segment, stop: int, turn: int) -> int | None:
    seed, begun = 0, 0  # entries, and turns, that the log began with
    for read in LogReader(store, segment).read(0, stop):
        record, at = read.record, read.entry.index
        if isinstance(record, StartState):
            seed, begun = at + 1 + record.seed_count, record.turn_count
        elif isinstance(record, SegmentStart | SessionStart) and at == seed:
            seed = at + 1  # a file says in its first line what it began with
        elif turn in (0, begun) and at >= seed:
            return seed
        elif isinstance(record, TurnEnd) and record.turn_count == turn:
            return at + 1
    return seed if turn in (0, begun) else None
