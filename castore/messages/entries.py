"""
Message sessions in a log: one entry a record, the state is their fold.

Spec: spec/messages.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from castore.bodies import decode_body, encode_body
from castore.codec import decode_object, encode_object
from castore.errors import FormatError
from castore.formats.entry import START, Entry
from castore.messages.state import State
from castore.records.fields import Record
from castore.records.messages import (
    MessageRecord,
    MessagesReplaced,
    SessionCompaction,
    SessionMeta,
    SessionPromptEntry,
)
from castore.store import Store
from castore.writing import NewEntry


#: Namespace of the keys of message sessions.
NAMESPACE = "messages"

META = "session_meta"
MESSAGE = "message"
COMPACTION = "compaction"
PROMPT = "prompt_history"
REPLACED = "messages_replaced"

RECORDS: Mapping[str, type[Record]] = {
    META: SessionMeta,
    MESSAGE: MessageRecord,
    COMPACTION: SessionCompaction,
    PROMPT: SessionPromptEntry,
    REPLACED: MessagesReplaced,
}
_KINDS = {record: kind for kind, record in RECORDS.items()}

#: Kinds whose time is when the session changed last.
TOUCHING = frozenset({MESSAGE, COMPACTION})


def new_entry(store: Store, record: Record, time_ms: int | None = None) -> NewEntry:
    """Return the entry that *record* becomes; its large texts are put."""
    body, refs = encode_body(store, record.encode())
    return NewEntry(_KINDS[type(record)], body, refs, time_ms)


def entries_of(store: Store, state: State) -> Iterator[NewEntry]:
    """Yield the entries behind a start entry that make up *state*."""
    yield new_entry(store, state.about)
    if state.compaction is not None:
        yield new_entry(store, state.compaction)
    for prompt in state.prompts:
        yield new_entry(store, prompt)
    for record in state.records:
        yield new_entry(store, record)


def start_body(derived: Iterable[str]) -> bytes:
    """Return the body of the start entry."""
    names = list(derived)
    return encode_object({"derived": names} if names else {})


def derived_of(body: bytes) -> tuple[str, ...]:
    """Return what the body of a start entry says that nobody told."""
    value = decode_object(body)
    names = value.get("derived", []) if type(value) is dict else None
    if type(names) is not list or not all(type(name) is str for name in names):
        raise FormatError(what="the start entry of no message session")
    return tuple(names)


def fold(store: Store, state: State, log: Iterable[tuple[Entry, bytes]]) -> None:
    """
    Take the entries of *log* with their bodies into *state*.

    Entries of other kinds are left alone: they are somebody else's.

    Raises:
        FormatError: An entry is not as documented; names its index.
    """
    for entry, body in log:
        try:
            _take(store, state, entry, body)
        except FormatError as error:
            what = f"entry {entry.index}: {error.what}"
            raise FormatError(what=what) from None


def _take(store: Store, state: State, entry: Entry, body: bytes) -> None:
    if entry.kind == START:
        if body:  # a fork made by others says nothing
            state.derived = derived_of(body)
    elif entry.kind in RECORDS:
        state.take(RECORDS[entry.kind].decode(decode_body(store, body, entry.refs)))
    if entry.kind in TOUCHING and entry.time_ms is not None:
        state.touch(entry.time_ms)
