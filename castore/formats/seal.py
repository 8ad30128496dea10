"""
What a ``sealed`` entry of the store log covers: all heads, as one tree.

Spec: spec/notes.md, "Sealing".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from castore import limits, merkle
from castore.codec import encode_bytes, encode_items, encode_object
from castore.formats.entry import Reference
from castore.formats.head import Head, hash_head, parse_head
from castore.formats.refuse import is_bytes, is_count, need, record
from castore.formats.trees import SEGMENT_TREE
from castore.merkle import Position


HEADS_ROLE = "heads"
_HEAD_SIZE_MAX = 256  # bytes
BAD_PROOF = "bad proof"
_BYTES = 0x58  # a byte string whose size stands in the next byte
_SHORT_MAX = 23  # bytes of one whose size does not
_FRONT_SIZES = {0x98: 2, 0x99: 3, 0x9A: 5}  # bytes before an array's items, else 1


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
    """
    The tree over *heads*, as encoded and sorted by segment: its root, and proofs.
    """

    def __init__(self, heads: Iterable[bytes]) -> None:
        self._leaves = [leaf_of(head) for head in heads]

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


def leaf_of(head: bytes) -> bytes:
    """Return the leaf hash of an encoded head."""
    return SEGMENT_TREE.leaf(hash_head(head))


def encode_pages(heads: Sequence[bytes]) -> list[bytes]:
    """Return the payloads that hold *heads*, as encoded, in order."""
    step = limits.SEAL_PAGE_COUNT
    return [
        encode_items([encode_bytes(head) for head in heads[at : at + step]])
        for at in range(0, len(heads), step)
    ]


def decode_page(data: bytes, store: bytes) -> list[Head]:
    """
    Return the heads of one payload.

    Takes a few times the memory of *data*, whatever that is.

    Raises:
        CorruptionError: ``malformed record``; ``foreign record``.
    """
    return [
        parse_head(record(head, _HEAD_SIZE_MAX, "head"), store)
        for head in _split_page(data)
    ]


def _split_page(data: bytes) -> list[bytes]:
    # A head has 24 to 255 bytes: two bytes stand before each.
    need(data, "heads: no heads")
    at = _FRONT_SIZES.get(data[0], 1)
    heads = []
    while at < len(data):
        size = data[at + 1] if data[at] == _BYTES and at + 1 < len(data) else 0
        need(size > _SHORT_MAX, "heads: no head")
        heads.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    need(heads, "heads: no heads")
    whole = encode_items([encode_bytes(head) for head in heads])
    need(whole == data, "heads: another encoding")
    return heads


def check_pages(seal: Seal, pages: Iterable[bytes], store: bytes) -> None:
    """
    Refuse *pages* that are not the heads that *seal* covers.

    Raises:
        CorruptionError: ``bad proof``; as `decode_page`.
    """
    peaks: list[bytes] = []
    count, last = 0, b""
    for page in pages:
        for head in decode_page(page, store):
            right = last < head.segment != store
            need(right, "heads: in another order, or of the store log", BAD_PROOF)
            merkle.push(SEGMENT_TREE, peaks, count, leaf_of(head.encode()))
            count, last = count + 1, head.segment
    right = (count, merkle.root(SEGMENT_TREE, peaks)) == (seal.count, seal.root)
    need(right, "heads: not as many, or with another root", BAD_PROOF)
