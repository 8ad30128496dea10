"""
The two kinds of tree: of segments, and of the store log.

Spec: spec/merkle.md.
"""

from __future__ import annotations

from castore.digest import in_context, sha256
from castore.merkle import Tree


SEGMENT_TREE = Tree(in_context["leaf"], in_context["node"], in_context["empty"]())

STORE_LOG_TREE = Tree(
    lambda leaf: sha256(b"\0" + leaf),
    lambda left, right: sha256(b"\1" + left + right),
    sha256(b""),
)


def tree_of(segment: bytes, store: bytes) -> Tree:
    """Return the kind of tree that *segment* of *store* has."""
    return STORE_LOG_TREE if segment == store else SEGMENT_TREE
