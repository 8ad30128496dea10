"""
Commit records: one atomic change each, numbered store wide.

Spec: spec/commit.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from castore import limits
from castore.codec import (
    NULL,
    encode_bytes,
    encode_count,
    encode_items,
    encode_known,
    encode_record,
)
from castore.digest import in_context
from castore.formats.refuse import is_bytes, is_count, is_text, need


VERSION = 1
HEAD_COUNT_MAX = 1024
_FRONT = bytes((0x87, VERSION))  # an array of seven, and the version

_commit_hash = in_context["commit"]
_content_hash = in_context["content"]
_genesis = in_context["genesis"]


@attrs.frozen
class CommitKey:
    """
    What makes a commit recognisable when its answer was lost.

    Attributes:
        segment: The segment in whose scope *text* is unique.

        content: Hash over kinds, bodies and references of the entries.

        first_index: Of the entries it appended.

        count: How many it appended.
    """

    segment: bytes
    text: str
    content: bytes
    first_index: int
    count: int


@attrs.frozen
class Commit:
    """
    One commit record.

    Attributes:
        prev: Commit hash of seq - 1; for seq 1 the store's genesis.

        heads: Hashes of the heads it wrote, in their order in the frame.

        sides: Side packs that it relies on: (file id, end offset, frame hash).
    """

    seq: int
    prev: bytes
    time_ms: int
    heads: tuple[bytes, ...]
    key: CommitKey | None = None
    sides: tuple[tuple[bytes, int, bytes], ...] = ()

    def record(self) -> list[Any]:
        """Return the array of spec/commit.md."""
        key = list(attrs.astuple(self.key)) if self.key else None
        sides = [part for side in self.sides for part in side]
        return [
            VERSION,
            self.seq,
            self.prev,
            self.time_ms,
            list(self.heads),
            key,
            sides,
        ]

    def encode(self) -> bytes:
        """Return the bytes that are hashed."""
        return b"".join(
            (
                _FRONT,
                encode_count(self.seq),
                encode_bytes(self.prev),
                encode_count(self.time_ms),
                encode_items([encode_bytes(head) for head in self.heads]),
                encode_known(list(attrs.astuple(self.key))) if self.key else NULL,
                encode_known([part for side in self.sides for part in side]),
            )
        )


def hash_commit(encoded: bytes) -> bytes:
    """Return the commit hash of an encoded commit record."""
    return _commit_hash(encoded)


def store_genesis(store: bytes) -> bytes:
    """Return the ``prev`` of seq 1."""
    return _genesis(store)


def content_hash(items: Iterable[Sequence[Any]]) -> bytes:
    """Return the content hash over ``[kind, body digest, refs]`` of each entry."""
    return _content_hash(encode_record([list(item) for item in items]))


def parse_commit(value: Any) -> Commit:
    """
    Return the commit record that the array *value* is.

    Raises:
        CorruptionError: ``malformed record``.
    """
    need(isinstance(value, list) and len(value) == 7, "commit: not seven fields")
    version, seq, prev, time_ms, heads, key, sides = value
    need(type(version) is int and version == VERSION, "commit: version")
    need(is_count(seq, start=1) and is_count(time_ms), "commit: seq or time")
    need(is_bytes(prev, 32), "commit: prev")
    need(isinstance(heads, list) and 0 < len(heads) <= HEAD_COUNT_MAX, "commit: heads")
    need(all(is_bytes(head, 32) for head in heads), "commit: heads")
    parsed = tuple(_parse_sides(sides))
    return Commit(seq, prev, time_ms, tuple(heads), _parse_key(key), parsed)


def _parse_key(value: Any) -> CommitKey | None:
    if value is None:
        return None
    need(isinstance(value, list) and len(value) == 5, "commit key: not five fields")
    segment, text, content, first, count = value
    need(is_bytes(segment, 16) and is_bytes(content, 32), "commit key: ids")
    need(is_text(text, size_min=1, size_max=limits.KEY_SIZE_MAX), "commit key: text")
    need(is_count(first) and is_count(count), "commit key: counts")
    return CommitKey(segment, text, content, first, count)


def _parse_sides(value: Any) -> Iterable[tuple[bytes, int, bytes]]:
    need(isinstance(value, list) and len(value) % 3 == 0, "commit: sides")
    for at in range(0, len(value), 3):
        file, end, frame = value[at : at + 3]
        need(is_bytes(file, 16) and is_count(end) and is_bytes(frame, 32), "sides")
        yield file, end, frame
