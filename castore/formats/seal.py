"""
What a ``sealed`` entry of the store log covers: all heads, as one tree.

Spec: spec/notes.md, "Sealing".
"""

from __future__ import annotations

import itertools

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from castore import limits, merkle
from castore.codec import encode_object, encode_record
from castore.formats.entry import Reference
from castore.formats.head import Head, hash_head, parse_head
from castore.formats.refuse import is_bytes, is_count, need, record
from castore.formats.trees import SEGMENT_TREE
from castore.merkle import Position


HEADS_ROLE = "heads"
_HEAD_SIZE_MAX = 256  # bytes


@attrs.frozen
class Seal:
    """
    A ``sealed`` entry.

    Attributes:
        root: Of the tree over the heads.

        count: How many.

        pages: Its references: the heads themselves, in parts.
    """

    root: bytes
    count: int
    pages: tuple[Reference, ...] = ()

    def encode(self) -> bytes:
        """Return the body of the entry."""
        return encode_object({"heads": self.root, "count": self.count})

    @classmethod
    def parse(cls, value: dict[str, Any], refs: tuple[Reference, ...]) -> Seal:
        """
        Return the seal that body and references are.

        Raises:
            CorruptionError: ``malformed record``.
        """
        root, count = value["heads"], value["count"]
        need(is_bytes(root, 32) and is_count(count), "store log, sealed: body")
        roles = {ref.role for ref in refs}
        need(roles <= {HEADS_ROLE}, "store log, sealed: references")
        return cls(root, count, refs)


@attrs.frozen
class Recovery:
    """
    A ``recovered`` entry: the note that the store does not extend.

    Attributes:
        count: That the note states.

        root: That the note states.
    """

    count: int
    root: bytes

    def encode(self) -> bytes:
        """Return the body of the entry."""
        return encode_object({"count": self.count, "root": self.root})

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Recovery:
        """
        Return what the body of the entry is.

        Raises:
            CorruptionError: ``malformed record``.
        """
        count, root = value["count"], value["root"]
        need(is_count(count) and is_bytes(root, 32), "store log, recovered")
        return cls(count, root)


class HeadTree:
    """The tree over *heads*, which are sorted by segment: its root, and proofs."""

    def __init__(self, heads: Iterable[Head]) -> None:
        self._leaves = [SEGMENT_TREE.leaf(hash_head(head.encode())) for head in heads]

    @property
    def root(self) -> bytes:
        """The root."""
        peaks = merkle.peaks_at(len(self._leaves), self._read)
        return merkle.root(SEGMENT_TREE, peaks)

    def prove(self, index: int) -> list[bytes]:
        """Return the path of one head."""
        count = len(self._leaves)
        return merkle.prove_inclusion(SEGMENT_TREE, index, count, self._read)

    def _read(self, positions: list[Position]) -> list[bytes]:
        return [
            merkle.complete(SEGMENT_TREE, self._leaves[at << level : at + 1 << level])
            for level, at in positions
        ]


def encode_pages(heads: Sequence[Head]) -> list[bytes]:
    """Return the payloads that hold *heads*, in order."""
    step = limits.SEAL_PAGE_COUNT
    return [
        encode_record([head.encode() for head in heads[at : at + step]])
        for at in range(0, len(heads), step)
    ]


def decode_page(data: bytes, store: bytes) -> list[Head]:
    """
    Return the heads of one payload.

    Raises:
        CorruptionError: ``malformed record``; ``foreign record``.
    """
    value = record(data, limits.BLOB_RECORD_SIZE_MAX, "heads")
    need(value and all(type(each) is bytes for each in value), "heads: no heads")
    return [parse_head(record(each, _HEAD_SIZE_MAX, "head"), store) for each in value]


def check_heads(seal: Seal, heads: Sequence[Head], store: bytes) -> None:
    """
    Refuse *heads* that are not those that *seal* covers.

    Raises:
        CorruptionError: ``bad proof``.
    """
    names = [head.segment for head in heads]
    is_sorted = all(a < b for a, b in itertools.pairwise(names))
    right = len(heads) == seal.count and is_sorted and store not in names
    need(right, "heads: not as many, or in another order", "bad proof")
    need(HeadTree(heads).root == seal.root, "heads: another root", "bad proof")
