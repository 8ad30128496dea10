"""
The head of a segment.

Spec: spec/head.md.
"""

from __future__ import annotations

from typing import Any

import attrs

from castore.codec import encode_bytes, encode_count
from castore.digest import in_context
from castore.formats.refuse import FOREIGN, is_bytes, is_count, need


VERSION = 1
OPEN = 0
_FRONT = bytes((0x8C, VERSION))  # an array of twelve, and the version

_head_hash = in_context["head"]


@attrs.frozen
class Head:
    """
    State of a segment after a commit.

    Attributes:
        fork_index: Count of inherited entries.

        revision: 1 with the first commit, then +1.

        count: Entries of the log, inherited ones included.

        root: Root of the tree over them.

        last: Entry hash of the last one.

        seq: The commit that wrote this head.

        time_ms: Of that commit.
    """

    store: bytes
    session: bytes
    segment: bytes
    fork_index: int
    revision: int
    count: int
    root: bytes
    last: bytes
    seq: int
    time_ms: int

    def record(self) -> list[Any]:
        """Return the array of spec/head.md."""
        ids = [self.store, self.session, self.segment]
        state = [self.fork_index, OPEN, self.revision, self.count]
        return [VERSION, *ids, *state, self.root, self.last, self.seq, self.time_ms]

    def encode(self) -> bytes:
        """Return the bytes that are hashed."""
        return b"".join(
            (
                _FRONT,
                encode_bytes(self.store),
                encode_bytes(self.session),
                encode_bytes(self.segment),
                encode_count(self.fork_index),
                encode_count(OPEN),
                encode_count(self.revision),
                encode_count(self.count),
                encode_bytes(self.root),
                encode_bytes(self.last),
                encode_count(self.seq),
                encode_count(self.time_ms),
            )
        )


def hash_head(encoded: bytes) -> bytes:
    """Return the head hash of an encoded head."""
    return _head_hash(encoded)


def parse_head(value: Any, store: bytes | None = None) -> Head:
    """
    Return the head that the array *value* is.

    Args:
        value: Decoded record.

        store: Where given, the only store id that is accepted.

    Raises:
        CorruptionError: ``malformed record`` or ``foreign record``.
    """
    need(isinstance(value, list) and len(value) == 12, "head: not twelve fields")
    version, store_id, session, segment, fork_index, state, *rest = value
    revision, count, root, last, seq, time_ms = rest
    need(type(version) is int and version == VERSION, "head: version")
    need(all(is_bytes(i, 16) for i in (store_id, session, segment)), "head: ids")
    need(type(state) is int and state == OPEN, "head: state")
    need(is_count(fork_index) and is_count(count), "head: counts")
    need(count > fork_index, "head: covers nothing of its own")
    need(
        is_count(revision, start=1) and is_count(seq, start=1), "head: revision or seq"
    )
    need(is_bytes(root, 32) and is_bytes(last, 32), "head: hashes")
    need(is_count(time_ms), "head: time")
    # At last: only what is a head can be one of another store.
    need(store is None or store_id == store, "head of another store", FOREIGN)
    return Head(
        store_id,
        session,
        segment,
        fork_index,
        revision,
        count,
        root,
        last,
        seq,
        time_ms,
    )
