"""
Entries of conversations as entries of a store, and back.

The kind and the time of an entry stand in the store's own entry, all other
members in its body.

Spec: spec/conversations.md, "Entries of conversations".
"""

from __future__ import annotations

from castore.bodies import decode_body, encode_body
from castore.errors import FormatError
from castore.formats.entry import Entry, Reference
from castore.records.entries import ENTRIES
from castore.records.fields import Record, Unknown
from castore.records.state import StartState
from castore.store import Store
from castore.writing import NewEntry


STATE_ROLE = "checkpoint.state"  # released as other checkpoints are
_HEADER = ("kind", "ts")


def encode_entry(
    store: Store, entry: Record, refs: tuple[Reference, ...] = ()
) -> NewEntry:
    """
    Return what is appended for *entry*, whose large texts are put.

    Args:
        store: Where.

        entry: One of `castore.records.entries`, or of an unknown kind.

        refs: Further payloads that it keeps.

    Raises:
        FormatError: It holds what no body can, or has no time.
    """
    members = ENTRIES.encode(entry)
    ENTRIES.decode(members)  # what is stored can be read
    kind, time_ms = (members.pop(name, None) for name in _HEADER)
    if type(time_ms) is not int or type(kind) is not str:
        raise FormatError(what="an entry without kind or time")
    body, texts = encode_body(store, members)
    return NewEntry(kind, body, (*texts, *refs), time_ms)


def decode_entry(store: Store, entry: Entry, body: bytes) -> Record:
    """
    Return the entry that `encode_entry` stored.

    One of an unknown kind, whatever its body is, is `Unknown`.

    Raises:
        FormatError: It is of a documented kind and not as documented.
    """
    header = {"kind": entry.kind, "ts": entry.time_ms}
    where = f"entry {entry.index}"
    if entry.kind in ENTRIES.classes:
        try:
            members = decode_body(store, body, entry.refs)
        except FormatError as error:
            raise FormatError(what=f"{where}: {error}") from None
        return ENTRIES.decode({**header, **members}, where)
    try:
        members = decode_body(store, body, entry.refs)
    except FormatError:  # somebody else's; nobody here reads it
        members = {}
    return Unknown(rest={**header, **members}, order=(*header, *members))


def decode_start(store: Store, entry: Entry, body: bytes) -> StartState:
    """Return what a log begins with, given its start entry and that one's body."""
    members = decode_body(store, body, entry.refs) if body else {}
    return StartState.decode(members, f"entry {entry.index}")
