"""
Merkle trees of the shape of RFC 6962, for any hash and any number of leaves.

A tree over *count* leaves (the RFC's "tree size") is a row of *peaks*: complete
subtrees, largest first, one for each bit set in *count*. Its root folds them
from the right: seven leaves have the peaks ``[0, 4) [4, 6) [6, 7)`` and the root
``node(peak, node(peak, peak))``. A complete subtree never changes once it is
full, so its hash can be kept; the few hashes over the right edge that do change
are computed from those.

Nothing here reads anything: a function that needs hashes of complete subtrees
works out all their positions first and asks its *read* for them in one call.

Spec: spec/merkle.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import attrs

from castore.errors import CorruptionError


HASH_SIZE = 32  # bytes of every hash
COUNT_MAX = (1 << 63) - 1  # leaves; bounds a proof to 64 hashes


@attrs.frozen
class Tree:
    """
    The hash functions of one kind of tree.

    Leaves and nodes must be hashed apart, or a node could be passed off as a
    leaf: with a context of its own each, or as in the RFC with a first byte.

    Attributes:
        leaf: Leaf input to leaf hash.

        node: Hashes of the left and the right child to the node's hash.

        empty: Root of the tree without leaves.
    """

    leaf: Callable[[bytes], bytes]
    node: Callable[[bytes, bytes], bytes]
    empty: bytes


# (level, index): the complete subtree over the leaves
# [index << level, (index + 1) << level). Level 0 is the leaf hashes.
Position = tuple[int, int]

# Gives the hash at each position, in the order asked.
Read = Callable[[list[Position]], Sequence[bytes]]


def node_positions(start: int, stop: int) -> list[Position]:
    """
    Return the fewest complete subtrees that cover the leaves ``[start, stop)``,
    left to right: at most two of each level.

    Raises:
        ValueError: Not ``0 <= start <= stop <= COUNT_MAX``.
    """
    if not 0 <= start <= stop <= COUNT_MAX:
        raise ValueError("not 0 <= start <= stop <= COUNT_MAX")
    positions = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        positions.append((level, start >> level))
        start += 1 << level
    return positions


def peak_positions(count: int) -> list[Position]:
    """Return the peaks of a tree of *count* leaves, left to right, largest first."""
    return node_positions(0, count)


def peaks_at(count: int, read: Read) -> list[bytes]:
    """
    Return the peaks that a tree had at *count* leaves, for `push` and `root`.

    Calls *read* at most once, for at most 63 positions.

    Raises:
        ValueError: *count* is out of range, or *read* gave fewer or more
            hashes than it was asked for.
    """
    return _ask(read, peak_positions(count))


def complete(tree: Tree, hashes: Sequence[bytes]) -> bytes:
    """
    Return the hash of the complete subtree over *hashes* of one level.

    Raises:
        ValueError: They are not 1, 2, 4, 8 ... of them.
    """
    if len(hashes).bit_count() != 1:
        raise ValueError("no complete subtree has as many")
    while len(hashes) > 1:
        hashes = [*map(tree.node, hashes[::2], hashes[1::2])]
    return hashes[0]


def push(
    tree: Tree, peaks: list[bytes], count: int, latest: bytes, level: int = 0
) -> list[tuple[int, int, bytes]]:
    """
    Append leaves to a tree of *count* leaves by changing *peaks* in place.

    Computes one node on average, at most 62.

    Args:
        tree: Which kind.

        peaks: Of the tree so far.

        count: Leaves so far.

        latest: Hash of the complete subtree over the new leaves; with one leaf
            the leaf hash.

        level: Of that subtree; there are ``1 << level`` new leaves.

    Returns:
        Level, index and hash of each complete subtree that ends with the new
        leaves and has more than them.

    Raises:
        ValueError: There are not as many *peaks* as a tree of *count* leaves
            has, or no subtree of *level* begins there. Nothing was changed.
    """
    if len(peaks) != count.bit_count() or count & ((1 << level) - 1):
        raise ValueError("not the peaks of a tree of this count")
    closed = []
    index = count >> level
    while index & 1:
        latest = tree.node(peaks.pop(), latest)
        level += 1
        index >>= 1
        closed.append((level, index, latest))
    peaks.append(latest)
    return closed


def root(tree: Tree, peaks: Sequence[bytes]) -> bytes:
    """
    Return the root of the tree that has these *peaks*, `Tree.empty` for none.

    Computes one node for each peak but one.
    """
    if not peaks:
        return tree.empty
    result = peaks[-1]
    for peak in reversed(peaks[:-1]):
        result = tree.node(peak, result)
    return result


def prove_inclusion(tree: Tree, index: int, count: int, read: Read) -> list[bytes]:
    """
    Return the proof that leaf *index* is in the tree of *count* leaves, nearest
    sibling first. The RFC calls it a "Merkle audit path".

    Calls *read* at most once, for at most 124 positions.

    Raises:
        ValueError: Not ``0 <= index < count <= COUNT_MAX``, or *read* gave
            fewer or more hashes than it was asked for.
    """
    return _hashes(tree, _inclusion_ranges(index, count), read)


def check_inclusion(
    tree: Tree,
    proof: Sequence[bytes],
    *,
    index: int,
    count: int,
    leaf_hash: bytes,
    root: bytes,
) -> None:
    """
    Check that *leaf_hash* is leaf *index* of the tree with *root*.

    Take *count* and *root* from one head: a proof shows only as much of the
    count as shapes its path. (Leaf 0 has one path in trees of 7 and 8 leaves.)

    Raises:
        CorruptionError: Verdict ``bad proof``: a hash too many or too few, of
            another size, or another root.

        ValueError: Not ``0 <= index < count <= COUNT_MAX``.
    """
    ranges = _inclusion_ranges(index, count)
    where = f"inclusion of leaf {index} in {count} leaves"
    _check_hashes(proof, len(ranges), where)
    # Else a byte could move between the leaf's hash and its sibling's.
    _check_hashes([leaf_hash], 1, where)
    found = leaf_hash
    for (_, stop), sibling in zip(ranges, proof, strict=True):
        if stop <= index:
            found = tree.node(sibling, found)
        else:
            found = tree.node(found, sibling)
    if found != root:
        _refuse("it leads to another root", where)


def prove_consistency(tree: Tree, first: int, second: int, read: Read) -> list[bytes]:
    """
    Return the proof that the tree of *second* leaves begins with the tree of
    *first* leaves. It is empty where *first* is 0 or *second*.

    Calls *read* at most once, for at most 125 positions.

    Raises:
        ValueError: Not ``0 <= first <= second <= COUNT_MAX``, or *read* gave
            fewer or more hashes than it was asked for.
    """
    return _hashes(tree, _consistency_ranges(first, second), read)


def check_consistency(
    tree: Tree,
    proof: Sequence[bytes],
    *,
    first: int,
    second: int,
    first_root: bytes,
    second_root: bytes,
) -> None:
    """
    Check that the tree with *second_root* begins with the one with *first_root*.

    Both roots are rebuilt, unless there is nothing to rebuild them from: trees
    of one count are the same if their roots are, and every tree begins with the
    empty one. So where *first* is 0, **nothing vouches for second_root**; it is
    only seen to be a hash, and not that of the empty tree. As with inclusion,
    each count and its root come from one head.

    Raises:
        CorruptionError: Verdict ``bad proof``: a hash too many or too few, of
            another size, or another first or second root.

        ValueError: Not ``0 <= first <= second <= COUNT_MAX``.
    """
    ranges = _consistency_ranges(first, second)
    where = f"consistency of {first} with {second} leaves"
    _check_hashes(proof, len(ranges), where)
    old = new = first_root if first else tree.empty
    for (_, stop), found in zip(ranges, proof, strict=True):
        if stop == first:  # the last peak of the first tree: the climb starts here
            old = new = found
        elif stop < first:  # left of it: in both trees
            old, new = tree.node(found, old), tree.node(found, new)
        else:  # right of it: only in the second
            new = tree.node(new, found)
    if old != first_root:
        _refuse("it leads to another first root", where)
    if first == 0 < second:
        if len(second_root) != HASH_SIZE or second_root == tree.empty:
            _refuse("the second root cannot be one of a tree with leaves", where)
    elif new != second_root:
        _refuse("it leads to another second root", where)


def _inclusion_ranges(index: int, count: int) -> list[tuple[int, int]]:
    if not 0 <= index < count <= COUNT_MAX:
        raise ValueError("not 0 <= index < count <= COUNT_MAX")
    return _siblings(index, index + 1, count)


def _consistency_ranges(first: int, second: int) -> list[tuple[int, int]]:
    # The last peak of the first tree is a node of both; the proof is that peak
    # and its path. An only peak is left out: its hash is the first root.
    if not 0 <= first <= second <= COUNT_MAX:
        raise ValueError("not 0 <= first <= second <= COUNT_MAX")
    if first in {0, second}:
        return []
    start = first - (first & -first)
    path = _siblings(start, first, second)
    return [(start, first), *path] if start else path


def _siblings(start: int, stop: int, count: int) -> list[tuple[int, int]]:
    # The leaves under each sibling on the way from the node over [start, stop)
    # up to the root. Walked down as in the RFC: the left child of a node is the
    # largest complete subtree that leaves something for the right one.
    path = []
    low, high = 0, count
    while (low, high) != (start, stop):
        middle = low + (1 << ((high - low - 1).bit_length() - 1))
        if start < middle:
            path.append((middle, high))
            high = middle
        else:
            path.append((low, middle))
            low = middle
    return path[::-1]


def _hashes(tree: Tree, ranges: list[tuple[int, int]], read: Read) -> list[bytes]:
    # The hash of the node over each range. A node on the right edge, which is
    # not complete, is the root of the tree of its own leaves.
    groups = [node_positions(start, stop) for start, stop in ranges]
    found = iter(_ask(read, [position for group in groups for position in group]))
    return [root(tree, [next(found) for _ in group]) for group in groups]


def _ask(read: Read, positions: list[Position]) -> list[bytes]:
    hashes = list(read(positions)) if positions else []
    if len(hashes) != len(positions):
        raise ValueError(f"read gave {len(hashes)} hashes for {len(positions)}")
    return hashes


def _check_hashes(hashes: Sequence[bytes], count: int, where: str) -> None:
    if len(hashes) != count:
        _refuse(f"it has {len(hashes)} hashes, not {count}", where)
    if any(len(found) != HASH_SIZE for found in hashes):
        _refuse(f"a hash is not of {HASH_SIZE} bytes", where)


def _refuse(what: str, where: str) -> NoReturn:
    raise CorruptionError(
        what=f"the proof fails: {what}", verdict="bad proof", where=where
    )
