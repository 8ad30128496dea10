"""
What a compacted log keeps of the one it comes from.

Spec: spec/conversations.md, "Compaction".
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

import attrs

from castore.codec import encode_object
from castore.conversation.classify import classify_history_item
from castore.conversation.coding import encode_entry
from castore.conversation.reading import LogReader
from castore.conversation.state import items_of
from castore.formats.entry import Entry
from castore.records.entries import SegmentStart, SessionStart
from castore.records.fields import Record
from castore.records.items import LOGGED_ITEMS, to_logged
from castore.records.state import StartState
from castore.segment import Segment
from castore.store import Store
from castore.writing import NewEntry


@attrs.frozen
class _Told:
    """An entry of the source, and the items that it added, encoded."""

    entry: Entry
    items: tuple[bytes, ...]


def kept_entries(
    store: Store, source: Segment, count: int, history: Sequence[Record], ts: int
) -> Iterator[NewEntry]:
    """
    Yield entries that tell *history*.

    Items that an entry of the source tells, in their order, are told by an entry
    with that one's body and payloads, which are stored already; all others, the
    summary among them, by new ones.

    Args:
        store: Where.

        source: The log that is compacted.

        count: How many of its entries.

        history: Items.

        ts: Time of the new entries.
    """
    known: dict[bytes, deque[tuple[int, _Told]]] = defaultdict(deque)
    for place, told in enumerate(_told(store, source, count)):
        known[told.items[0]].append((place, told))
    keys = _keys(history)
    at = 0
    last = -1
    while at < len(history):
        waiting = known[keys[at]]
        while waiting and waiting[0][0] <= last:
            waiting.popleft()
        size = len(waiting[0][1].items) if waiting else 0
        if size and waiting[0][1].items == keys[at : at + size]:
            last, told = waiting.popleft()
            entry = told.entry
            yield NewEntry(
                entry.kind, entry.body, source.references(entry), entry.time_ms
            )
            at += size
        else:
            yield encode_entry(store, classify_history_item(history[at], ts))
            at += 1


def _told(store: Store, source: Segment, count: int) -> list[_Told]:
    """Return the entries of *source* that its history comes from."""
    found: list[_Told] = []
    for read in LogReader(store, source).read(0, count):
        if isinstance(read.record, StartState | SessionStart | SegmentStart):
            found = []
        elif read.record is not None and not read.line:
            items = items_of(read.record)
            if items:
                found.append(_Told(read.entry, _keys(items)))
    return found


def _keys(items: Iterable[Record]) -> tuple[bytes, ...]:
    """Return what *items* are told apart by."""
    return tuple(
        [encode_object(LOGGED_ITEMS.encode(item)) for item in to_logged(items)]
    )
