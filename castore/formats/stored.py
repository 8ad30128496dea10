"""
Entries as frames store them: without what a reader computes anyway.

Spec: spec/frame.md, "Stored entries"; spec/entry.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from castore import limits
from castore.codec import (
    NULL,
    encode_count,
    encode_items,
    encode_known,
    encode_record,
    encode_text,
)
from castore.digest import in_context
from castore.formats.entry import (
    START,
    BlobRef,
    Reference,
    Start,
    check_refs,
    parse_start,
)
from castore.formats.plain import PlainRefs, split_entries
from castore.formats.refuse import is_bytes, is_count, is_text, need, record, refusal


# What stands before the fields of a hashed entry: an array of eight, or nine with
# a start record, and the version, 1.
_FRONT = {4: b"\x88\x01", 5: b"\x89\x01"}
_FOUR = b"\x84"  # before a stored entry without a start record
_HASH = b"\x58\x20"  # before a byte string of 32
_NO_REFS = b"\x80"

_entry_hash = in_context["entry"]


def decode_stored(payload: bytes | memoryview, count: int) -> list[list[Any]]:
    """
    Return the stored entries of an entries record, each checked in itself.

    Args:
        payload: Of the record of kind 4.

        count: As its descriptor says.

    Raises:
        CorruptionError: ``malformed record``.
    """
    value = split_entries(payload, count)
    if value is not None and _are_usual(value):
        return value
    value = record(payload, limits.FRAME_RAW_SIZE_MAX, "stored entries")
    need(len(value) == count, "stored entries: not as many as the table says")
    if _are_usual(value):
        for _, _, _, refs in value:
            _check_entry_refs(refs)
    else:
        for stored in value:
            _check_stored(stored)
    return value


def _are_usual(value: list[Any]) -> bool:
    """
    Whether all of *value* are good stored entries with their bodies beside them,
    none a start entry; their references are not looked at.

    Most are, hundreds to a record: all are looked at at once.
    """
    if set(map(type, value)) != {list} or set(map(len, value)) != {4}:
        return False
    times, kinds, bodies, refs = zip(*value, strict=True)
    return (
        set(map(type, times)) <= {int, type(None)}
        and set(map(type, kinds)) == {str}
        and all(kind != START and _is_kind(kind) for kind in set(kinds))
        and set(map(type, bodies)) == {int}
        and min(bodies) >= 0
        and set(map(type, refs)) <= {list, PlainRefs}
    )


def _is_kind(value: Any) -> bool:
    return is_text(value, size_min=1, size_max=limits.KIND_SIZE_MAX)


def _check_stored(stored: Any) -> None:
    need(isinstance(stored, list) and len(stored) in (4, 5), "stored entry: fields")
    time, kind, body, refs, *start = stored
    need(time is None or type(time) is int, "stored entry: time")
    need(_is_kind(kind), "stored entry: kind")
    if type(body) is not int:
        need(isinstance(body, list) and len(body) == 2, "stored entry: body")
        need(is_bytes(body[0], 32) and is_count(body[1]), "stored entry: body")
    elif body < 0:
        raise refusal("stored entry: body")
    _check_entry_refs(refs)
    if (kind == START) != bool(start):
        raise refusal("stored entry: start")
    if start:
        parse_start(start[0])


def _check_entry_refs(refs: Any) -> None:
    if refs != []:
        check_refs(refs, count_max=limits.ENTRY_REFS_COUNT_MAX, lists=True)


class _Storable(Protocol):
    """What an entry is before it has a place in a log."""

    @property
    def kind(self) -> str: ...
    @property
    def body(self) -> BlobRef: ...
    @property
    def refs(self) -> Sequence[Reference]: ...
    @property
    def time_ms(self) -> int | None: ...
    @property
    def start(self) -> Start | None: ...


def stored_form(
    entries: Iterable[_Storable], number_of: Callable[[bytes], int | None]
) -> list[list[Any]]:
    """
    Return *entries* as they are stored: the payload of one record, not encoded.

    Args:
        entries: In order.

        number_of: Gives the number of the record of the body frame that holds a
            body, None if it stands elsewhere.
    """
    stored: list[list[Any]] = []
    clock = 0
    for entry in entries:
        delta = None
        if entry.time_ms is not None:
            delta = entry.time_ms - clock
            clock = entry.time_ms
        body: object = number_of(entry.body.digest)
        if body is None:
            body = [entry.body.digest, entry.body.size]
        item: list[Any] = [delta, entry.kind, body, [r.record() for r in entry.refs]]
        if entry.start is not None:
            item.append(entry.start.record())
        stored.append(item)
    return stored


def encode_stored(stored: Sequence[Sequence[Any]]) -> bytes:
    """
    Return the payload of an entries record.

    Args:
        stored: From `stored_form`.

    Raises:
        FormatError: A kind, role or time that no entry can have.
    """
    return encode_items([_encode_one(item) for item in stored])


def _encode_one(item: Sequence[Any]) -> bytes:
    time, kind, body, refs, *start = item
    if refs or start or type(body) is not int or not (time is None or is_count(time)):
        return encode_record(list(item))
    delta = NULL if time is None else encode_count(time)
    return b"".join((_FOUR, delta, encode_text(kind), encode_count(body), _NO_REFS))


def _encode_refs(refs: Any) -> bytes:
    if type(refs) is PlainRefs:
        return refs.encoded
    return encode_known(refs)


def times_of(stored: Iterable[Sequence[Any]]) -> list[int | None]:
    """Return the time of each of *stored* entries, as `decode_stored` returns them."""
    times: list[int | None] = []
    clock = 0
    for delta, *_ in stored:
        clock += delta or 0
        times.append(None if delta is None else clock)
    return times


def entries_of(
    stored: Sequence[Sequence[Any]],
    *,
    first_index: int,
    prev: bytes,
    bodies: Sequence[tuple[bytes, int]],
) -> Iterator[tuple[bytes, int | None, Sequence[Any], tuple[bytes, int]]]:
    """
    Put stored entries in their place and hash them.

    Yields entry hash, time, stored form, (body digest, body size) for each, in order.

    Args:
        stored: From `decode_stored`.

        first_index: Of the first of them.

        prev: Of the first of them.

        bodies: Digest and size of each blob record of the body frame.

    Raises:
        CorruptionError: ``malformed record``: a body number or time out of
            range, an entry too large.
    """
    clock = 0
    count = len(bodies)
    need(is_count(first_index + len(stored) - 1), "stored entries: index out of range")
    for index, item in enumerate(stored, first_index):
        delta, body = item[0], item[2]
        time_ms = None
        if delta is not None:
            time_ms = clock = clock + delta
            need(is_count(clock), "stored entry: time out of range")
        if type(body) is int:
            if body >= count:
                raise refusal("stored entry: no such body")
            place = bodies[body]
        else:
            place = (body[0], body[1])
        # By hand, since this is done for every entry that is written or read.
        encoded = b"".join(
            (
                _FRONT[len(item)],
                encode_count(index),
                _HASH,
                prev,
                NULL if time_ms is None else encode_count(time_ms),
                encode_text(item[1]),
                _HASH,
                place[0],
                encode_count(place[1]),
                _encode_refs(item[3]) if item[3] else _NO_REFS,
                encode_known(item[4]) if len(item) == 5 else b"",
            )
        )
        if len(encoded) > limits.ENTRY_SIZE_MAX:
            raise refusal("entry: too large")
        prev = _entry_hash(encoded)
        yield prev, time_ms, item, place
