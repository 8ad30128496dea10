"""
What a caller writes: entries to append, and the store's entries about itself.

Spec: spec/entry.md; spec/storelog.md.
"""

from __future__ import annotations

import functools
import os

from collections.abc import Iterable, Sequence

import attrs

from castore import limits
from castore.clock import now_ms
from castore.engine import Engine
from castore.engine.change import Append, Change, Outcome
from castore.engine.change import NewEntry as BuiltEntry
from castore.engine.expect import Expect
from castore.engine.putting import check_writable, keep_bytes, put_bytes
from castore.errors import FormatError, LimitError
from castore.formats.entry import START, BlobRef, Origin, Reference, Start
from castore.formats.ids import make_id


@attrs.frozen
class NewEntry:
    """
    An entry to append.

    Attributes:
        kind: What it is: 1 to 64 bytes of text, not ``start``.

        body: Its content, or the reference of a blob that was put.

        refs: Payloads that it keeps.

        time_ms: When it happened by the writer's account, ms since 1970; None
            where it does not say. Never used for ordering.
    """

    kind: str
    body: bytes | BlobRef = b""
    refs: Sequence[Reference] = ()
    time_ms: int | None = None


def new_id() -> bytes:
    """Return a new id for a session or segment, 16 bytes, UUIDv7."""
    return make_id(now_ms(), os.urandom(10))


def build_entries(
    engine: Engine, entries: Iterable[NewEntry]
) -> tuple[BuiltEntry, ...]:
    """
    Return *entries* with their bodies put.

    Raises:
        ValueError: Its kind is reserved.

        LimitError: Kind, time or a role are not within their bounds.

        FormatError: A reference that no entry can hold.

        ClosedError: The store is closed or read-only.
    """
    check_writable(engine)
    return tuple([_build(engine, entry) for entry in entries])


def _build(engine: Engine, entry: NewEntry) -> BuiltEntry:
    _check_kind(entry.kind)
    check_time(entry.time_ms)
    check_references(entry.refs)
    body = entry.body
    ref = body if isinstance(body, BlobRef) else engine.pool.put(bytes(body), None)
    return BuiltEntry(entry.kind, ref, tuple(entry.refs), entry.time_ms)


@functools.lru_cache(maxsize=1024)  # most kinds come again; what raises is not kept
def _check_kind(kind: str) -> None:
    if kind == START:
        raise ValueError("the kind 'start' is the store's own")
    check_text(kind, "a kind", 1, limits.KIND_SIZE_MAX)


def check_text(text: str, what: str, size_min: int, size_max: int) -> None:
    """
    Refuse *text* that no record can hold.

    Raises:
        LimitError: It has fewer or more bytes of UTF-8.

        FormatError: It is no text that UTF-8 can hold.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise FormatError(what=f"{what} with a lone surrogate") from None
    if not size_min <= size <= size_max:
        raise LimitError(
            what=f"{what} has {size_min} to {size_max} bytes", limit=size_max
        )


def check_time(time_ms: int | None) -> None:
    """
    Refuse a time that no entry can have.

    Raises:
        LimitError: It is not in ``[0, 2^63)``.
    """
    if time_ms is not None and not 0 <= time_ms < 1 << 63:
        raise LimitError(
            what="a time is 0 to 2^63 - 1 ms since 1970", limit=(1 << 63) - 1
        )


def check_references(refs: Sequence[Reference]) -> None:
    """
    Refuse references that no entry can hold.

    Raises:
        LimitError: A role is too long.

        FormatError: A reference to a large blob lacks its slices; use the one
            that put returned.
    """
    for ref in refs:
        check_text(ref.role, "a role", 0, limits.ROLE_SIZE_MAX)
        sliced = ref.blob.slices is not None
        if not ref.flags and sliced != (ref.blob.size >= limits.SLICED_SIZE_MIN):
            raise FormatError(
                what=f"the reference {ref.blob} lacks its slices or has some in vain; "
                "use the one that put returned"
            )


def check_session_key(key: tuple[str, str] | None) -> None:
    """
    Refuse a session key that no start record can hold.

    Raises:
        LimitError: Its parts are empty or too long.
    """
    if key is not None:
        check_text(key[0], "the namespace of a session key", 1, 64)
        check_text(key[1], "the text of a session key", 1, limits.NAME_SIZE_MAX)


def append_store_log(
    engine: Engine,
    kind: str,
    body: bytes,
    refs: Sequence[Reference] = (),
    *,
    maintenance: bool = True,
) -> Outcome:
    """
    Append one entry to the store log, durably.

    With *maintenance* also where the store may not grow or the disk is full: for
    what takes something away.
    """
    ref = keep_bytes(engine, body)
    entry = BuiltEntry(kind, ref, tuple(refs), content=body)
    append = Append(engine.store, engine.store, (entry,), Expect.ANY)
    return engine.commit(Change((append,), maintenance=maintenance))


def new_segment(
    engine: Engine,
    *,
    session: bytes | None = None,
    segment: bytes | None = None,
    cause: str,
    key: tuple[str, str] | None = None,
    origin: Origin | None = None,
    body: bytes = b"",
    refs: Sequence[Reference] = (),
    time_ms: int | None = None,
    then: Iterable[NewEntry] = (),
) -> Append:
    """Return what begins a segment, to be committed; as in `segment.begin_segment`."""
    check_session_key(key)
    check_references(refs)
    check_time(time_ms)
    segment = segment or new_id()
    session = session or new_id()
    start = Start(session, segment, cause, origin, key)
    first = BuiltEntry(START, put_bytes(engine, body), tuple(refs), time_ms, start)
    rest = build_entries(engine, then)
    return Append(session, segment, (first, *rest), Expect.ABSENT)
