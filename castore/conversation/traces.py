"""
Traces: what who debugs wants to see, in logs of their own.

The traces of a segment are a session with the key ``("trace", segment id)``, so
that no log grows by them, no fork inherits them, and they go alone.

Spec: spec/conversations.md, "Traces".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from castore.bodies import decode_body, encode_body
from castore.codec import encode_object
from castore.errors import ConflictError, NotFoundError
from castore.formats.entry import START
from castore.records.entries import TraceEntry
from castore.segment import ANY, Segment, SessionKey
from castore.store import Store
from castore.writing import NewEntry


TRACE = "trace"


def trace_key(segment: bytes) -> SessionKey:
    """Return the key of the session that holds the traces of *segment*."""
    return TRACE, segment.hex()


def append_traces(store: Store, segment: bytes, entries: Iterable[TraceEntry]) -> None:
    """
    Append *entries* to the traces of *segment*, as one commit.

    Raises:
        GoneError: They were deleted.
    """
    built = [_encode(store, entry) for entry in entries]
    try:
        found = _find(store, segment)
    except NotFoundError:
        body = encode_object({"trace_of": segment.hex()})
        try:
            store.create_session(key=trace_key(segment), body=body, then=built)
        except ConflictError:  # another writer was first
            found = _find(store, segment)
        else:
            return
    found.append(built, expect=ANY)


def read_traces(store: Store, segment: bytes) -> Iterator[TraceEntry]:
    """Yield the traces of *segment*; none if there are none."""
    try:
        found = _find(store, segment)
    except NotFoundError:
        return
    for entry, body in found.read():
        if entry.kind != START:
            members = decode_body(store, body, entry.refs)
            yield TraceEntry.decode({"ts": entry.time_ms, **members})


def _find(store: Store, segment: bytes) -> Segment:
    return store.session(trace_key(segment)).latest


def _encode(store: Store, entry: TraceEntry) -> NewEntry:
    members = entry.encode()
    time_ms = members.pop("ts")
    body, refs = encode_body(store, members)
    return NewEntry(TRACE, body, refs, time_ms)
