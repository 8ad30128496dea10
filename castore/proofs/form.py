"""
What all proofs are made of: the front of the file, where a proof leads, paths.

Spec: spec/proofs.md.
"""

from __future__ import annotations

from typing import Any

import attrs

from castore import limits
from castore.codec import encode_record
from castore.errors import LimitError
from castore.formats.head import Head, parse_head
from castore.formats.refuse import UNSUPPORTED, is_bytes, is_count, need, record
from castore.formats.trees import tree_of
from castore.merkle import Tree


MAGIC = "castore proof"
VERSION = 1
BAD_PROOF = "bad proof"
_HEAD_SIZE_MAX = 256  # bytes; no head has more
_PATH_COUNT_MAX = 128  # hashes; no path in a tree of 2^63 leaves has as many


@attrs.frozen
class Point:
    """
    A log at one count, where no head says it: enough to compare with.

    Attributes:
        store: Store id.

        segment: Segment id; the store's own for the store log.

        count: Entries, 1 or more.

        root: Of the tree over them.
    """

    store: bytes
    segment: bytes
    count: int
    root: bytes


State = Head | Point


def point_of(state: State) -> Point:
    """Return what a proof needs of *state*."""
    return Point(state.store, state.segment, state.count, state.root)


def tree_for(state: State) -> Tree:
    """Return the kind of tree that the log of *state* has."""
    return tree_of(state.segment, state.store)


def state_record(state: State) -> Any:
    """Return *state* as it stands in a proof."""
    if isinstance(state, Head):
        return state.encode()
    return list(attrs.astuple(state))


def decode_head(value: Any) -> Head:
    """Return the head that *value* encodes, or refuse it."""
    need(type(value) is bytes, "proof: head")
    return parse_head(record(value, _HEAD_SIZE_MAX, "head"))


def parse_state(value: Any) -> State:
    """Return the head or point that *value* is, or refuse it."""
    if type(value) is bytes:
        return decode_head(value)
    need(isinstance(value, list) and len(value) == 4, "proof: no head and no point")
    store, segment, count, root = value
    need(is_bytes(store, 16) and is_bytes(segment, 16), "point: ids")
    need(is_count(count, start=1) and is_bytes(root, 32), "point: count or root")
    return Point(store, segment, count, root)


def parse_path(value: Any) -> tuple[bytes, ...]:
    """Return the hashes that *value* is, or refuse it."""
    right = isinstance(value, list) and len(value) <= _PATH_COUNT_MAX
    need(right and all(is_bytes(item, 32) for item in value), "proof: path")
    return tuple(value)


def encode_fields(kind: str, fields: list[Any]) -> bytes:
    """
    Return the bytes of a proof file.

    Raises:
        LimitError: It would be larger than any reader takes.
    """
    encoded = encode_record([MAGIC, VERSION, kind, *fields])
    if len(encoded) > limits.PROOF_SIZE_MAX:
        what = f"a proof of {len(encoded)} bytes, more than a proof may have"
        raise LimitError(what, limit=limits.PROOF_SIZE_MAX)
    return encoded


def split(data: bytes) -> tuple[str, list[Any]]:
    """
    Return kind and fields of a proof file.

    Raises:
        CorruptionError: ``malformed record``; ``unsupported version``.
    """
    value = record(data, limits.PROOF_SIZE_MAX, "proof")
    need(len(value) >= 3 and value[0] == MAGIC, "no proof file")
    _, version, kind, *fields = value
    need(is_count(version) and type(kind) is str, "proof: version or kind")
    need(version == VERSION, "proof: a version that is not known", UNSUPPORTED)
    return kind, fields
