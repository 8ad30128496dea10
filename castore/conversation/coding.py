"""
Entries of conversations as entries of a store, and back.

The kind and the time of an entry stand in the store's own entry, all other
members in its body.

Spec: spec/conversations.md, "Entries of conversations"; "Large texts".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from castore.codec import decode_object, encode_object
from castore.errors import FormatError
from castore.formats.entry import BlobRef, Entry, Reference
from castore.limits import KIB
from castore.records.entries import ENTRIES
from castore.records.fields import Record, Unknown, Value
from castore.records.large import put_in, take_out
from castore.records.state import StartState
from castore.store import Store
from castore.writing import NewEntry


TEXT_ROLE = "text"
STATE_ROLE = "checkpoint.state"  # released as other checkpoints are
LARGE_SIZE_MIN = 64 * KIB  # bytes of UTF-8 from which a text stands apart
_HEADER = ("kind", "ts")


def encode_body(
    store: Store, members: Mapping[str, Value]
) -> tuple[bytes, tuple[Reference, ...]]:
    """Return the body that *members* are, and what it refers to."""
    refs: dict[bytes, BlobRef] = {}

    def put(data: bytes) -> bytes:
        ref = store.put(data)
        refs[ref.digest] = ref
        return ref.digest

    body = encode_object(take_out(dict(members), LARGE_SIZE_MIN, put))
    return body, tuple([Reference(TEXT_ROLE, ref) for ref in refs.values()])


def decode_body(
    store: Store, body: bytes, refs: Sequence[Reference]
) -> dict[str, Value]:
    """
    Return the members that *body* holds, large texts put in.

    Args:
        store: Where.

        body: It.

        refs: Of its entry; without a large text among them there is none in it.

    Raises:
        FormatError: It is no such body.
    """
    members = decode_object(body)
    if any(ref.role == TEXT_ROLE or ref.flags for ref in refs):
        members = put_in(members, lambda digest: store.get(_name(digest)))
    if type(members) is not dict:
        raise FormatError(what="the body is no object")
    return members


def _name(digest: bytes) -> BlobRef:
    if len(digest) != 32:
        raise FormatError(what="a large text's name has 32 bytes")
    return BlobRef(digest, 0)


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
