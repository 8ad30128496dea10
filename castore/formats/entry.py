"""
Entries, references and start records.

The hashed form of an entry names its predecessor and its body; the stored form
leaves out what a reader computes anyway (`castore.formats.stored`).

Spec: spec/entry.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from castore import limits
from castore.codec import encode_record
from castore.digest import format_digest, in_context
from castore.formats.refuse import is_bytes, is_count, is_text, need, record


REF_LIST_FLAG = 2
CAUSES = ("new", "fork", "compaction", "import")
START = "start"

_entry_hash = in_context["entry"]
_genesis = in_context["genesis"]
_refs_hash = in_context["refs"]


@attrs.frozen
class BlobRef:
    """
    Name and size of a blob.

    Attributes:
        digest: BLAKE3-256 of the raw bytes, 32 bytes.

        size: Raw bytes.

        slices: For blobs above 8 MiB, the digest that binds ranged reads to the
            content (spec/blob.md); else None.
    """

    digest: bytes
    size: int
    slices: bytes | None = None

    def __str__(self) -> str:
        return format_digest(self.digest)


@attrs.frozen
class Reference:
    """
    A payload that an entry keeps alive.

    Attributes:
        role: What the payload is to the entry, at most 64 bytes; the part
            before the first dot is the group that retention speaks of.

        blob: The payload.

        flags: Bit 1 marks a ref list; `blob.size` is then its count.
    """

    role: str
    blob: BlobRef
    flags: int = 0

    def record(self) -> list[Any]:
        """Return the array of spec/entry.md."""
        return [
            self.role,
            self.blob.digest,
            self.blob.size,
            self.flags,
            self.blob.slices,
        ]


@attrs.frozen
class Origin:
    """Where a segment comes from: the first *count* entries of another."""

    session: bytes
    segment: bytes
    count: int
    root: bytes
    last: bytes
    turn: int | None = None


@attrs.frozen
class Start:
    """The record with which a segment begins, at index 0 or its fork index."""

    session: bytes
    segment: bytes
    cause: str
    origin: Origin | None = None
    key: tuple[str, str] | None = None

    def record(self) -> list[Any]:
        """Return the array of spec/entry.md."""
        origin = None
        if self.origin:
            origin = list(attrs.astuple(self.origin))
        key = list(self.key) if self.key else None
        return [self.session, self.segment, self.cause, origin, key]


@attrs.frozen
class Entry:
    """
    One item of a log, as a reader sees it.

    Attributes:
        index: Position in its log.

        hash: The entry hash, 32 bytes; leaf input of the log's tree.

        prev: Entry hash of the one before, or the genesis of its segment.

        time_ms: The writer's claim, or None.

        kind: What it is, at most 64 bytes.

        body: Where its content is.

        refs: Payloads; a ref list stands as one reference with flag bit 1.

        start: Only in a segment's first own entry.
    """

    index: int
    hash: bytes
    prev: bytes
    time_ms: int | None
    kind: str
    body: BlobRef
    refs: tuple[Reference, ...] = ()
    start: Start | None = None


def encode_entry(entry: Entry) -> bytes:
    """Return the hashed form of *entry*."""
    body = (entry.body.digest, entry.body.size)
    refs = [ref.record() for ref in entry.refs]
    fields = [1, entry.index, entry.prev, entry.time_ms, entry.kind, *body, refs]
    if entry.start is not None:
        fields.append(entry.start.record())
    return encode_record(fields)


def decode_entry(hashed: bytes) -> Entry:
    """
    Return the entry that a hashed form is; its place in a log is not judged.

    Raises:
        CorruptionError: ``malformed record``.
    """
    value = record(hashed, limits.ENTRY_SIZE_MAX, "entry")
    need(len(value) in (8, 9), "entry: not eight or nine fields")
    version, index, prev, time_ms, kind, digest, size, refs, *start = value
    need(type(version) is int and version == 1, "entry: version")
    need(is_count(index) and is_bytes(prev, 32), "entry: index or prev")
    need(time_ms is None or is_count(time_ms), "entry: time")
    need(is_text(kind, size_min=1, size_max=limits.KIND_SIZE_MAX), "entry: kind")
    need(is_bytes(digest, 32) and is_count(size), "entry: body")
    need((kind == START) == bool(start), "entry: start")
    count_max = limits.ENTRY_REFS_COUNT_MAX
    found = check_refs(refs, count_max=count_max, lists=True) if refs != [] else []
    return Entry(
        index,
        _entry_hash(hashed),
        prev,
        time_ms,
        kind,
        BlobRef(digest, size),
        parse_refs(found),
        parse_start(start[0]) if start else None,
    )


def genesis(session: bytes, segment: bytes) -> bytes:
    """Return the ``prev`` of index 0 of *segment*."""
    return _genesis(session, segment)


def check_refs(value: Any, *, count_max: int, lists: bool) -> list[list[Any]]:
    """
    Return *value* if it is an array of references as spec/entry.md wants them.

    Args:
        value: What was decoded.

        count_max: How many there may be.

        lists: Whether references to ref lists are allowed.

    Raises:
        CorruptionError: ``malformed record``.
    """
    need(isinstance(value, list) and len(value) <= count_max, "references: not as many")
    refs: list[list[Any]] = value
    if _are_plain(refs):
        return refs
    for ref in refs:
        need(isinstance(ref, list) and len(ref) == 5, "reference: not five fields")
        role, digest, size, flags, slices = ref
        need(_is_role(role), "role")
        need(is_bytes(digest, 32) and is_count(size), "reference: digest or size")
        need(flags == 0 or (lists and flags == REF_LIST_FLAG), "reference: flags")
        need(type(flags) is int, "reference: flags")
        sliced = size >= limits.SLICED_SIZE_MIN and not flags
        need(is_bytes(slices, 32) if sliced else slices is None, "reference: slices")
        if flags:
            need(0 < size <= limits.REF_LIST_COUNT_MAX and not role, "ref list")
    return refs


def _are_plain(refs: list[Any]) -> bool:
    """
    Whether all of *refs* are good references to blobs without slices.

    Most are, and an entry may have hundreds: all are looked at at once.
    """
    if set(map(type, refs)) != {list} or set(map(len, refs)) != {5}:
        return False
    roles, digests, sizes, flags, slices = zip(*refs, strict=True)
    return (
        set(map(type, digests)) == {bytes}
        and set(map(len, digests)) == {32}
        and set(map(type, (*sizes, *flags))) == {int}
        and 0 <= min(sizes) <= max(sizes) < limits.SLICED_SIZE_MIN
        and min(flags) == max(flags) == 0
        and set(map(type, slices)) == {type(None)}
        and set(map(type, roles)) == {str}
        and all(_is_role(role) for role in set(roles))
    )


def _is_role(value: Any) -> bool:
    return is_text(value, size_min=0, size_max=limits.ROLE_SIZE_MAX)


def parse_refs(value: Sequence[Sequence[Any]]) -> tuple[Reference, ...]:
    """Return checked references (`check_refs`) as values."""
    return tuple(
        Reference(role, BlobRef(digest, size, slices), flags)
        for role, digest, size, flags, slices in value
    )


def encode_ref_list(refs: Iterable[Reference]) -> tuple[bytes, bytes]:
    """Return name and bytes of a ref list."""
    payload = encode_record([ref.record() for ref in refs])
    return _refs_hash(payload), payload


def ref_list_digest(payload: bytes | memoryview) -> bytes:
    """Return the name of the ref list *payload*."""
    return _refs_hash(payload)


def decode_ref_list(payload: bytes | memoryview) -> tuple[Reference, ...]:
    """Return the references of a ref list; refuses what spec/entry.md says."""
    value = record(payload, limits.FRAME_RAW_SIZE_MAX, "ref list")
    need(value, "ref list: empty")
    return parse_refs(
        check_refs(value, count_max=limits.REF_LIST_COUNT_MAX, lists=False)
    )


def parse_start(value: Any) -> Start:
    """Return the start record that *value* is, or refuse it."""
    need(isinstance(value, list) and len(value) == 5, "start record: not five fields")
    session, segment, cause, origin, key = value
    need(is_bytes(session, 16) and is_bytes(segment, 16), "start record: ids")
    need(type(cause) is str and cause in CAUSES, "start record: cause")
    return Start(session, segment, cause, _parse_origin(origin), parse_key(key))


def _parse_origin(value: Any) -> Origin | None:
    if value is None:
        return None
    need(isinstance(value, list) and len(value) == 6, "origin: not six fields")
    session, segment, count, root, last, turn = value
    need(is_bytes(session, 16) and is_bytes(segment, 16), "origin: ids")
    need(is_count(count), "origin: count")
    need(is_bytes(root, 32) and is_bytes(last, 32), "origin: hashes")
    need(turn is None or is_count(turn, stop=1 << 64), "origin: turn")
    return Origin(session, segment, count, root, last, turn)


def parse_key(value: Any) -> tuple[str, str] | None:
    """Return the session key that *value* is, None for null, or refuse it."""
    if value is None:
        return None
    need(isinstance(value, list) and len(value) == 2, "session key: not two fields")
    space, text = value
    need(is_text(space, size_min=1, size_max=64), "session key: namespace")
    need(is_text(text, size_min=1, size_max=limits.NAME_SIZE_MAX), "session key: text")
    return space, text


def check_start(
    start: Start, *, session: bytes, segment: bytes, index: int, prev: bytes
) -> None:
    """
    Refuse a start record that does not fit where it stands.

    Args:
        start: From `parse_start`.

        session: Of the head that covers it.

        segment: Of the head that covers it.

        index: Where it stands.

        prev: Hash of the entry before it.

    Raises:
        CorruptionError: ``malformed record``.
    """
    same = (start.session, start.segment) == (session, segment)
    need(same, "start record: another session or segment")
    need((start.cause == "fork") == (index > 0), "start record: cause")
    origin = start.origin
    fits = origin is not None and (origin.count, origin.last) == (index, prev)
    need(index == 0 or fits, "start record: origin of other entries")
