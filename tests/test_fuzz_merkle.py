"""
Proofs of all pairs up to 513 leaves and of random pairs up to 2^20: those that are
right are accepted, those with anything wrong are refused.

A budget of 10 is the long form.
"""

from __future__ import annotations

import random

from collections.abc import Callable
from typing import Any

import pytest

from merkle_battery import (
    BLAKE3,
    RFC6962,
    Subject,
    accepts,
    all_pairs,
    broken_rules,
    flip,
    leaves,
    subject_of,
)
from merkle_reference import Reference

from castore import merkle
from castore.merkle import Position, Tree


TREES = pytest.mark.parametrize("tree", [BLAKE3, RFC6962], ids=["blake3", "rfc6962"])
LONG = 10  # budget of the long form
ALL_MAX = 513  # leaves: every pair up to them
SHARES = 4  # of these pairs, for as many processes
BITS_MAX = 65  # leaves: every bit up to them

#: What checks, the hashes, and what is said to be proven.
Case = tuple[Callable[..., None], list[bytes], dict[str, Any]]


@TREES
@pytest.mark.parametrize("share", range(SHARES))
def test_all_pairs(share: int, tree: Tree, budget: float) -> None:
    """
    Every pair up to 513 leaves: its proofs are taken, and none with a bit of a hash,
    a hash more or less, hashes swapped or another size.
    """
    dice = random.Random(share)
    pairs = all_pairs(ALL_MAX)[share::SHARES]
    edges = [(m, n) for m, n in pairs if {m, n} <= {0, 1, 255, 256, 257, 511, 512, 513}]
    if budget < LONG:
        pairs = [*edges, *dice.sample(pairs, int(100 * budget))]

    assert set() == broken_rules(subject_of(merkle, tree), pairs, dice, ALL_MAX)


def flips_taken(subject: Subject, known: Reference, m: int, n: int) -> int:
    """Return with how many of all flipped bits the proofs of a pair are accepted."""
    new = known.root(0, n)
    pair = {"first": m, "second": n, "first_root": known.root(0, m), "second_root": new}
    cases: list[Case] = [(subject.check_consistency, known.proof(m, n), pair)]
    if m < n:
        leaf = {"index": m, "count": n, "leaf_hash": known.leaf_hashes[m], "root": new}
        cases.append((subject.check_inclusion, known.path(m, 0, n), leaf))
    taken = 0
    for check, proof, facts in cases:
        assert accepts(check, subject.tree, proof, **facts)
        for at, found in enumerate(proof):
            number = int.from_bytes(found)
            for bit in range(8 * len(found)):
                other = (number ^ 1 << bit).to_bytes(len(found))
                wrong = [*proof[:at], other, *proof[at + 1 :]]
                taken += accepts(check, subject.tree, wrong, **facts)
    return taken


@TREES
def test_every_bit(tree: Tree, budget: float) -> None:
    """Up to 65 leaves no bit of any hash of a proof can be another."""
    subject = subject_of(merkle, tree)
    known = Reference(tree, leaves(tree, BITS_MAX))
    pairs = all_pairs(BITS_MAX)
    if budget < LONG:
        pairs = random.Random(65).sample(pairs, int(30 * budget))

    assert not any(flips_taken(subject, known, m, n) for m, n in pairs)


def test_a_bit_that_counts_for_nothing_is_seen() -> None:
    """A check that takes whatever it is given is found by every bit."""
    loose = Subject(BLAKE3, merkle.root, lambda *_, **__: None, lambda *_, **__: None)
    known = Reference(BLAKE3, leaves(BLAKE3, 9))

    assert flips_taken(loose, known, 3, 7) == 256 * (
        len(known.proof(3, 7)) + len(known.path(3, 0, 7))
    )


def levels_of(tree: Tree, bits: int) -> list[bytes]:
    """Return the hashes of a tree of ``2^bits`` leaves, level by level."""
    levels = [b"".join(tree.leaf(n.to_bytes(4)) for n in range(1 << bits))]
    while len(levels[-1]) > 32:
        row = levels[-1]
        pairs = range(0, len(row), 64)
        levels.append(
            b"".join(
                tree.node(row[at : at + 32], row[at + 32 : at + 64]) for at in pairs
            )
        )
    return levels


@TREES
def test_random_pairs(tree: Tree, budget: float) -> None:
    """
    Of 20,000 random pairs up to 2^20 (fewer and smaller without a budget) the proofs
    are accepted, and refused with one bit of any hash another.
    """
    bits, count = (20, 20_000) if budget >= LONG else (14, int(200 * budget))
    levels = levels_of(tree, bits)
    dice = random.Random(20)

    def read(positions: list[Position]) -> list[bytes]:
        return [levels[level][32 * at : 32 * at + 32] for level, at in positions]

    def root(size: int) -> bytes:
        return merkle.root(tree, merkle.peaks_at(size, read))

    for _ in range(count):
        n = dice.randint(1, 1 << dice.randint(1, bits))
        m = dice.randrange(n)
        old, new = root(m), root(n)
        proof = merkle.prove_consistency(tree, m, n, read)
        path = merkle.prove_inclusion(tree, m, n, read)
        pair = {"first": m, "second": n, "first_root": old, "second_root": new}
        leaf = {"index": m, "count": n, "leaf_hash": read([(0, m)])[0], "root": new}
        cases: list[Case] = [
            (merkle.check_consistency, proof, pair),
            (merkle.check_inclusion, path, leaf),
        ]
        for check, hashes, facts in cases:
            assert len(hashes) <= bits + 1
            check(tree, hashes, **facts)
            for at, found in enumerate(hashes):
                wrong = [*hashes[:at], flip(found, dice), *hashes[at + 1 :]]
                assert not accepts(check, tree, wrong, **facts), (m, n, at)
