"""
The trees and proofs of `castore.merkle`, in BLAKE3 and in the RFC's SHA-256.

`broken_rules` is the battery: it grows one tree, tries every proof and what an
attacker would make of it, and returns the rules that did not hold. It takes the
functions that it tests, so that planted bugs can show that it would see them.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import random

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from hypothesis import given
from hypothesis import strategies as st
from merkle_reference import (
    Reference,
    consistency_roots,
    inclusion_root,
    path_sides,
    proof_sides,
    split,
)

from castore import merkle
from castore.digest import in_context, sha256
from castore.errors import CorruptionError
from castore.merkle import COUNT_MAX, Position, Tree


BLAKE3 = Tree(in_context["leaf"], in_context["node"], in_context["empty"]())
RFC6962 = Tree(
    lambda data: sha256(b"\x00" + data),
    lambda left, right: sha256(b"\x01" + left + right),
    sha256(b""),
)
TREES = pytest.mark.parametrize("tree", [BLAKE3, RFC6962], ids=["blake3", "rfc6962"])
ALL_COUNT = 257  # leaves; every pair below is accepted
MUTATED_COUNT = 65  # leaves; every proof below is also mutated
SAMPLE_COUNT = 150  # pairs beyond that are mutated, drawn with a seed


@attrs.frozen
class Subject:
    """What the battery tests."""

    tree: Tree
    root: Callable[..., bytes]
    check_inclusion: Callable[..., None] = merkle.check_inclusion
    check_consistency: Callable[..., None] = merkle.check_consistency


def root_of(tree: Tree, leaf_hashes: Iterable[bytes]) -> bytes:
    """Return the root that pushing the leaves one by one leads to."""
    peaks: list[bytes] = []
    for index, leaf_hash in enumerate(leaf_hashes):
        merkle.push(tree, peaks, index, leaf_hash)
    return merkle.root(tree, peaks)


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
    """Whether *check* accepts; refusing is one of two errors, never another."""
    try:
        check(*args, **kwargs)
    except ValueError:
        return False
    except CorruptionError as error:
        assert error.verdict == "bad proof"
        return False
    return True


def flip(data: bytes, bit: int) -> bytes:
    """Return *data* with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8 % len(data)] ^= 1 << bit % 8
    return bytes(changed)


def mutations(
    proof: list[bytes], others: Sequence[bytes], dice: random.Random
) -> Iterator[tuple[str, list[bytes]]]:
    """Yield every kind of wrong proof with the rule that refuses it."""
    for i, found in enumerate(proof):
        before, after = proof[:i], proof[i + 1 :]
        yield "altered hash", [*before, flip(found, dice.randrange(256)), *after]
        yield "number of hashes", [*before, *after]
        for size in (found[:-1], found + b"\0", b""):
            yield "size of a hash", [*before, size, *after]
        if after and found != after[0]:
            yield "order of hashes", [*before, after[0], found, *after[1:]]
    for extra in (*others, *proof[-1:], dice.randbytes(32), b""):
        yield "number of hashes", [extra, *proof]
        yield "number of hashes", [*proof, extra]
    yield "number of hashes", proof + [dice.randbytes(32)] * 65
    if proof:
        yield "number of hashes", []


def inclusion_flaws(
    subject: Subject, reference: Reference, index: int, count: int, dice: random.Random
) -> Iterator[str]:
    """Try the proof of one leaf, then every mutation of it; yield what went wrong."""
    tree, leaf_hash = subject.tree, reference.leaf_hashes[index]
    root, proof = reference.root(0, count), reference.path(index, 0, count)

    def good(proof: list[bytes], **changed: Any) -> bool:
        stated = {"index": index, "count": count, "leaf_hash": leaf_hash, "root": root}
        return accepts(subject.check_inclusion, tree, proof, **(stated | changed))

    if not good(proof):
        yield "proofs of inclusion"
    for rule, wrong in mutations(proof, (leaf_hash, root), dice):
        if good(wrong):
            yield rule
    if proof:
        # The byte between a leaf's hash and its sibling's may not change sides.
        moved = [proof[0] + leaf_hash[:1], *proof[1:]]
        if good(moved, leaf_hash=leaf_hash[1:]):
            yield "size of a hash"
        if good([proof[0][1:], *proof[1:]], leaf_hash=leaf_hash + proof[0][:1]):
            yield "size of a hash"
    for i, n in ((index - 1, count), (index + 1, count), (index, count - 1),
                 (index, count + 1)):  # fmt: skip
        same_path = 0 <= i < n and path_sides(i, n) == path_sides(index, count)
        if good(proof, index=i, count=n) != same_path:
            yield "wrong sizes"
    if good(proof, root=flip(root, dice.randrange(256))) or good(proof, root=b""):
        yield "wrong root"
    if good(proof, leaf_hash=flip(leaf_hash, dice.randrange(256))):
        yield "wrong leaf"


def consistency_flaws(
    subject: Subject, reference: Reference, first: int, second: int, dice: random.Random
) -> Iterator[str]:
    """Try the proof of one pair, then every mutation of it; yield what went wrong."""
    old, new = reference.root(0, first), reference.root(0, second)
    proof = reference.proof(first, second)

    def good(proof: list[bytes], m: int = first, n: int = second,
             old: bytes = old, new: bytes = new) -> bool:  # fmt: skip
        stated = {"first": m, "second": n, "first_root": old, "second_root": new}
        return accepts(subject.check_consistency, subject.tree, proof, **stated)

    if not good(proof):
        yield "proofs of consistency"
    for rule, wrong in mutations(proof, (old, new), dice):
        if good(wrong):
            yield rule
    for m, n in ((first - 1, second), (first + 1, second), (first, second - 1),
                 (first, second + 1)):  # fmt: skip
        sides = proof_sides(first, second) if first else ""
        same_path = 0 < m <= n and proof_sides(m, n) == sides and (
            is_power(m) == is_power(first)
        )
        # Every tree begins with the empty one: nothing binds the second count.
        if first == m == 0 < n:
            same_path = second > 0
        if good(proof, m, n) != same_path:
            yield "wrong sizes"
    if good(proof, old=flip(old, dice.randrange(256))) or good(proof, old=b""):
        yield "wrong first root"
    if first and good(proof, new=flip(new, dice.randrange(256))):
        yield "wrong second root"
    if good(proof, new=b"") or (second and good(proof, new=subject.tree.empty)):
        yield "wrong second root"
    if first != second and good(proof, old=new, new=old):
        yield "wrong first root"
