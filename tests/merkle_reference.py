"""
The definitions of RFC 6962 section 2.1, written as they stand there.

Something plain for other code to agree with.
"""

from __future__ import annotations

import functools

from collections.abc import Sequence

from castore.merkle import Tree


def split(count: int) -> int:
    """Return k, the largest power of two smaller than *count*."""
    k = 1
    while 2 * k < count:
        k *= 2
    return k


class Reference:
    """A tree over all its leaf hashes. A range stands for the RFC's D[start:stop]."""

    def __init__(self, tree: Tree, leaf_hashes: Sequence[bytes]) -> None:
        self.tree = tree
        self.leaf_hashes = leaf_hashes
        self.root = functools.cache(self._root)

    def _root(self, start: int, stop: int) -> bytes:
        if start == stop:
            return self.tree.empty
        if stop - start == 1:
            return self.leaf_hashes[start]
        middle = start + split(stop - start)
        return self.tree.node(self.root(start, middle), self.root(middle, stop))

    def path(self, index: int, start: int, stop: int) -> list[bytes]:
        """Return PATH(index, D[start:stop]), section 2.1.1."""
        if stop - start == 1:
            return []
        k = split(stop - start)
        middle = start + k
        if index < k:
            return [*self.path(index, start, middle), self.root(middle, stop)]
        return [*self.path(index - k, middle, stop), self.root(start, middle)]

    def proof(self, first: int, second: int) -> list[bytes]:
        """Return PROOF(first, D[0:second]), section 2.1.2; empty for the empty tree."""
        return self._subproof(first, 0, second, whole=True) if first else []

    def _subproof(self, m: int, start: int, stop: int, *, whole: bool) -> list[bytes]:
        if m == stop - start:
            return [] if whole else [self.root(start, stop)]
        k = split(stop - start)
        middle = start + k
        if m <= k:
            below = self._subproof(m, start, middle, whole=whole)
            return [*below, self.root(middle, stop)]
        below = self._subproof(m - k, middle, stop, whole=False)
        return [*below, self.root(start, middle)]


def path_sides(index: int, count: int) -> str:
    """Return the turns from the root to the leaf: all that a path shows of both."""
    if count == 1:
        return ""
    k = split(count)
    if index < k:
        return "l" + path_sides(index, k)
    return "r" + path_sides(index - k, count - k)


def proof_sides(first: int, second: int) -> str:
    """Return the turns from the root to the last complete subtree of the first tree."""
    if first == second:
        return ""
    k = split(second)
    if first <= k:
        return "l" + proof_sides(first, k)
    return "r" + proof_sides(first - k, second - k)
