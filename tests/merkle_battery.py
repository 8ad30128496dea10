"""
What must hold of Merkle trees and proofs, tried against whatever stands behind it.

`broken_rules` takes proofs that are right, makes of them what an attacker or a
mistake would, and returns the rules that did not hold. It is handed the functions
to test, so that planted bugs can show that it would see them.
"""

from __future__ import annotations

import random

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from merkle_reference import Reference, path_sides, proof_sides

from castore.digest import in_context, sha256
from castore.errors import CorruptionError
from castore.merkle import Position, Tree


BLAKE3 = Tree(in_context["leaf"], in_context["node"], in_context["empty"]())
RFC6962 = Tree(
    lambda data: sha256(b"\x00" + data),
    lambda left, right: sha256(b"\x01" + left + right),
    sha256(b""),
)
ALL_COUNT = 257  # leaves; the largest tree that is tried


@attrs.frozen
class Subject:
    """What the battery tests."""

    tree: Tree
    root: Callable[[Tree, Sequence[bytes]], bytes]
    check_inclusion: Callable[..., None]
    check_consistency: Callable[..., None]


def subject_of(module: Any, tree: Tree = RFC6962) -> Subject:
    """Return the functions of `castore.merkle`, or of a copy of it, as a subject."""

    def root(tree: Tree, leaf_hashes: Sequence[bytes]) -> bytes:
        peaks: list[bytes] = []
        for count, leaf_hash in enumerate(leaf_hashes):
            module.push(tree, peaks, count, leaf_hash)
        found: bytes = module.root(tree, peaks)
        return found

    return Subject(tree, root, module.check_inclusion, module.check_consistency)


def leaves(tree: Tree, count: int) -> list[bytes]:
    """Return the hashes of *count* different leaves."""
    return [tree.leaf(b"leaf %d" % index) for index in range(count)]


def reader(reference: Reference) -> Callable[[list[Position]], list[bytes]]:
    """Return a `read` over a whole tree; it refuses to be asked for one hash twice."""

    def read(positions: list[Position]) -> list[bytes]:
        assert len(positions) == len(set(positions)) > 0
        ends = [(i << level, (i + 1) << level) for level, i in positions]
        assert all(stop <= len(reference.leaf_hashes) for _, stop in ends)
        return [reference.root(start, stop) for start, stop in ends]

    return read


def accepts(check: Callable[..., None], *args: Any, **kwargs: Any) -> bool:
    """Whether *check* accepts; it may refuse counts or the proof, in no other way."""
    try:
        check(*args, **kwargs)
    except ValueError as error:
        reason = str(error)
    except CorruptionError as error:
        reason = error.verdict
    else:
        return True
    assert reason == "bad proof" or reason.endswith("<= COUNT_MAX")
    return False


def flip(data: bytes, dice: random.Random) -> bytes:
    """Return *data* with one bit changed."""
    bit = 1 << dice.randrange(8 * len(data))
    return (int.from_bytes(data) ^ bit).to_bytes(len(data))


def neighbours(m: int, n: int) -> list[tuple[int, int]]:
    """Return the pairs that are wrong by one."""
    return [(m - 1, n), (m + 1, n), (m, n - 1), (m, n + 1)]


def mutations(
    proof: list[bytes], others: Sequence[bytes], dice: random.Random
) -> Iterator[tuple[str, list[bytes]]]:
    """Yield wrong proofs of every kind, each with the rule that refuses it."""
    for i, found in enumerate(proof):
        before, after = proof[:i], proof[i + 1 :]
        yield "altered hash", [*before, flip(found, dice), *after]
        yield "number of hashes", [*before, *after]
        for resized in (found[:-1], found + b"\0", b""):
            yield "size of a hash", [*before, resized, *after]
        if after and found != after[0]:
            yield "order of hashes", [*before, after[0], found, *after[1:]]
    for extra in (*others, *proof[-1:], b""):
        yield "number of hashes", [extra, *proof]
        yield "number of hashes", [*proof, extra]
    yield "number of hashes", [*proof, *[dice.randbytes(32)] * 65]


def broken_inclusion(
    subject: Subject, known: Reference, index: int, count: int, dice: random.Random
) -> Iterator[str]:
    """Try the proof of one leaf and every mutation of it; yield the rules broken."""
    leaf_hash, root = known.leaf_hashes[index], known.root(0, count)
    proof = known.path(index, 0, count)
    facts = {"index": index, "count": count, "leaf_hash": leaf_hash, "root": root}

    def passes(proof: list[bytes], **changed: Any) -> bool:
        stated = facts | changed
        return accepts(subject.check_inclusion, subject.tree, proof, **stated)

    if not passes(proof):
        yield "proofs of inclusion"
    for rule, wrong in mutations(proof, (leaf_hash, root), dice):
        if passes(wrong):
            yield rule
    if proof and index % 2:
        # A byte moved from the leaf's hash to its sibling's gives the same root.
        moved = [proof[0] + leaf_hash[:1], *proof[1:]]
        if passes(moved, leaf_hash=leaf_hash[1:]):
            yield "size of a hash"
    for i, n in neighbours(index, count):
        alike = 0 <= i < n and path_sides(i, n) == path_sides(index, count)
        if passes(proof, index=i, count=n) != alike:
            yield "wrong sizes"
    if passes(proof, root=flip(root, dice)) or passes(proof, root=b""):
        yield "wrong root"
    if passes(proof, leaf_hash=flip(leaf_hash, dice)):
        yield "wrong leaf"


def broken_consistency(
    subject: Subject, known: Reference, first: int, second: int, dice: random.Random
) -> Iterator[str]:
    """Try the proof of one pair and every mutation of it; yield the rules broken."""
    old, new = known.root(0, first), known.root(0, second)
    proof = known.proof(first, second)
    facts = {"first": first, "second": second, "first_root": old, "second_root": new}

    def passes(proof: list[bytes], **changed: Any) -> bool:
        stated = facts | changed
        return accepts(subject.check_consistency, subject.tree, proof, **stated)

    if not passes(proof):
        yield "proofs of consistency"
    for rule, wrong in mutations(proof, (old, new), dice):
        if passes(wrong):
            yield rule
    for m, n in neighbours(first, second):
        if first == 0:  # every tree begins with the empty one, whatever its count
            alike = m == 0 and n > 0 and second > 0
        else:
            alike = 0 < m <= n and proof_sides(m, n) == proof_sides(first, second)
        if passes(proof, first=m, second=n) != alike:
            yield "wrong sizes"
    for wrong_root in (flip(old, dice), b"", *([new] if first != second else [])):
        if passes(proof, first_root=wrong_root):
            yield "wrong first root"
    # Where the first tree is empty, any hash but the empty root may be the second.
    free = first == 0 < second
    for wrong_root in (b"", *([] if free else [flip(new, dice)])):
        if passes(proof, second_root=wrong_root):
            yield "wrong second root"
    if second and passes(proof, second_root=subject.tree.empty):
        yield "wrong second root"


def broken_shape(subject: Subject) -> Iterator[str]:
    """Try what was got wrong elsewhere about the tree itself; yield rules broken."""
    tree = subject.tree
    for count in range(20):
        known = Reference(tree, leaves(tree, count))
        if subject.root(tree, known.leaf_hashes) != known.root(0, count):
            yield "roots"
    a, b, c = leaves(tree, 3)
    if subject.root(tree, [a, b, c]) == subject.root(tree, [a, b, c, c]):
        yield "odd last leaf"
    left, right = tree.node(a, b), tree.node(c, c)
    posing = tree.leaf(a + b)
    facts = {
        "index": 0,
        "count": 2,
        "leaf_hash": posing,
        "root": tree.node(left, right),
    }
    if accepts(subject.check_inclusion, tree, [right], **facts):
        yield "node as leaf"


def broken_rules(
    subject: Subject,
    pairs: Iterable[tuple[int, int]],
    dice: random.Random,
    count_max: int = ALL_COUNT,
) -> set[str]:
    """
    Return the rules that do not hold; *pairs* are ``0 <= first <= second``, at most
    *count_max*.
    """
    known = Reference(subject.tree, leaves(subject.tree, count_max))
    broken = set(broken_shape(subject))
    for first, second in pairs:
        broken.update(broken_consistency(subject, known, first, second, dice))
        if first < second:
            broken.update(broken_inclusion(subject, known, first, second, dice))
    return broken


def all_pairs(count_max: int) -> list[tuple[int, int]]:
    """Return every (m, n) with ``0 <= m <= n <= count_max``."""
    return [(m, n) for n in range(count_max + 1) for m in range(n + 1)]
