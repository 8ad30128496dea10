"""
The trees and proofs of `castore.merkle`, in BLAKE3 and in the RFC's SHA-256.
"""

from __future__ import annotations

import base64
import inspect
import json
import random
import types

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from hypothesis import given
from hypothesis import strategies as st
from merkle_battery import (
    ALL_COUNT,
    BLAKE3,
    RFC6962,
    accepts,
    all_pairs,
    broken_rules,
    flip,
    leaves,
    reader,
    subject_of,
)
from merkle_reference import Reference

from castore import merkle
from castore.digest import sha256
from castore.errors import CorruptionError
from castore.merkle import COUNT_MAX, Position, Tree


TREES = pytest.mark.parametrize("tree", [BLAKE3, RFC6962], ids=["blake3", "rfc6962"])
MUTATED_COUNT = 65  # leaves; every proof below is also mutated
SAMPLE_COUNT = 150  # pairs beyond that are mutated, drawn with a seed


@TREES
def test_roots_peaks_and_closed_nodes(tree: Tree) -> None:
    """
    At every count, pushing gives the root, the peaks and the complete subtrees
    of the RFC's definition, each subtree once and as soon as it is complete.
    """
    known = Reference(tree, leaves(tree, ALL_COUNT))
    peaks: list[bytes] = []
    for count, leaf_hash in enumerate(known.leaf_hashes):
        assert known.root(0, count) == merkle.root(tree, peaks)

        closed = merkle.push(tree, peaks, count, leaf_hash)

        ends = [(i << level, (i + 1) << level) for level, i, _ in closed]
        levels = range(1, ((count + 1) & -(count + 1)).bit_length())
        assert [(count + 1 - (1 << level), count + 1) for level in levels] == ends
        assert [known.root(*end) for end in ends] == [found for *_, found in closed]
        for start, stop in ends:
            below = known.leaf_hashes[start:stop]
            assert known.root(start, stop) == merkle.complete(tree, below)
        assert peaks == merkle.peaks_at(count + 1, reader(known))


@TREES
@given(st.integers(0, 70), st.integers(0, 70))
def test_whole_subtrees_are_pushed_as_their_leaves_are(
    tree: Tree, start: int, count: int
) -> None:
    """Pushing complete subtrees gives the peaks that pushing their leaves gives."""
    hashes = [tree.leaf(leaf) for leaf in leaves(tree, start + count)]
    one: list[bytes] = []
    other: list[bytes] = []
    for at, leaf_hash in enumerate(hashes):
        merkle.push(tree, one, at, leaf_hash)
        if at < start:
            merkle.push(tree, other, at, leaf_hash)
    for level, index in merkle.node_positions(start, start + count):
        at = index << level
        latest = merkle.complete(tree, hashes[at : at + (1 << level)])
        merkle.push(tree, other, at, latest, level)

    assert one == other


@pytest.mark.parametrize("count", [0, 3, 6])
def test_only_complete_subtrees_are_folded(count: int) -> None:
    """What has no power of two of leaves has no hash."""
    with pytest.raises(ValueError, match="no complete subtree"):
        merkle.complete(BLAKE3, [bytes(32)] * count)


@TREES
def test_every_proof_is_the_one_of_the_rfc(tree: Tree) -> None:
    """All proofs up to 257 leaves are those of the definition, and are accepted."""
    known = Reference(tree, leaves(tree, ALL_COUNT))
    read = reader(known)
    for m, n in all_pairs(ALL_COUNT):
        old, new = known.root(0, m), known.root(0, n)
        proof = merkle.prove_consistency(tree, m, n, read)

        assert known.proof(m, n) == proof
        merkle.check_consistency(
            tree, proof, first=m, second=n, first_root=old, second_root=new
        )

        if m < n:
            leaf_hash = known.leaf_hashes[m]
            proof = merkle.prove_inclusion(tree, m, n, read)

            assert known.path(m, 0, n) == proof
            merkle.check_inclusion(
                tree, proof, index=m, count=n, leaf_hash=leaf_hash, root=new
            )


@TREES
def test_no_mutated_proof_is_accepted(tree: Tree, budget: float) -> None:
    """
    Every proof up to 65 leaves, and a sample beyond (all of them with a budget
    of 10), is refused when a hash, its size, their number, their order, a root,
    the leaf or a count is wrong. A wrong count is accepted exactly where the
    proof has the same path for it, since nothing in the root tells them apart.
    """
    dice = random.Random(6962)
    pairs = all_pairs(ALL_COUNT if budget >= 10 else MUTATED_COUNT)
    if budget < 10:
        beyond = all_pairs(ALL_COUNT)[len(pairs) :]
        pairs += dice.sample(beyond, min(len(beyond), int(SAMPLE_COUNT * budget)))

    assert set() == broken_rules(subject_of(merkle, tree), pairs, dice)


def test_public_vectors(data: Path) -> None:
    """
    The published proofs of transparency-dev: 12 are accepted, 184 refused.

    Theirs refuses every proof from the empty tree. Ours accepts an empty one to
    any hash; the vector of that kind is refused because its root is no hash.
    """
    counts = {True: 0, False: 0}
    for path in sorted((data / "vectors" / "rfc6962").rglob("*.json")):
        case = json.loads(path.read_bytes())
        proof = [base64.b64decode(found) for found in case["proof"] or []]
        facts: dict[str, Any]
        if "leafIdx" in case:
            check: Callable[..., None] = merkle.check_inclusion
            facts = {"index": case["leafIdx"], "count": case["treeSize"]}
            hashes = {"leaf_hash": "leafHash", "root": "root"}
        else:
            check = merkle.check_consistency
            facts = {"first": case["size1"], "second": case["size2"]}
            hashes = {"first_root": "root1", "second_root": "root2"}
        facts |= {name: base64.b64decode(case[key]) for name, key in hashes.items()}

        assert accepts(check, RFC6962, proof, **facts) != case["wantErr"], path
        counts[case["wantErr"]] += 1

    assert {False: 12, True: 184} == counts


@given(st.data(), st.sampled_from([BLAKE3, RFC6962]))
def test_proofs_in_trees_of_any_count(draw: st.DataObject, tree: Tree) -> None:
    """
    Up to 2^63 - 1 leaves, a proof asks once for at most 125 subtrees, has at
    most 64 hashes, is accepted, and is refused with any hash altered.
    """
    count = draw.draw(st.integers(1, 63).flatmap(lambda b: st.integers(1, 2**b - 1)))
    index = draw.draw(st.integers(0, count - 1))
    dice = random.Random(draw.draw(st.integers(0)))
    marked, plain = tree.leaf(b"marked"), [tree.leaf(b"plain")]
    for level in range(63):
        plain.append(tree.node(plain[level], plain[level]))
    asked = []

    def complete(level: int, i: int) -> bytes:
        # All leaves but one are alike, so that no tree is too large to hash.
        if index >> level != i:
            return plain[level]
        if level == 0:
            return marked
        return tree.node(complete(level - 1, 2 * i), complete(level - 1, 2 * i + 1))

    def read(positions: list[Position]) -> list[bytes]:
        asked.append(len(positions))
        return [complete(level, i) for level, i in positions]

    whole = merkle.root(tree, merkle.peaks_at(count, read))
    part = merkle.root(tree, merkle.peaks_at(index, read))
    asked.clear()
    path = merkle.prove_inclusion(tree, index, count, read)
    proof = merkle.prove_consistency(tree, index, count, read)

    assert len(asked) <= 2
    assert all(positions <= 125 for positions in asked)
    assert max(len(path), len(proof)) <= 64
    leaf: dict[str, Any] = {
        "index": index,
        "count": count,
        "leaf_hash": marked,
        "root": whole,
    }
    merkle.check_inclusion(tree, path, **leaf)
    pair: dict[str, Any] = {
        "first": index,
        "second": count,
        "first_root": part,
        "second_root": whole,
    }
    merkle.check_consistency(tree, proof, **pair)
    for i, found in enumerate(path):
        wrong = [*path[:i], flip(found, dice), *path[i + 1 :]]
        assert not accepts(merkle.check_inclusion, tree, wrong, **leaf)
    for i, found in enumerate(proof):
        wrong = [*proof[:i], flip(found, dice), *proof[i + 1 :]]
        assert not accepts(merkle.check_consistency, tree, wrong, **pair)


@given(st.integers(0, COUNT_MAX), st.integers(0, COUNT_MAX))
def test_node_positions_cover_a_range(one: int, other: int) -> None:
    """Complete subtrees cover a range without gap, overlap or two that are one."""
    start, stop = sorted((one, other))
    positions = merkle.node_positions(start, stop)

    at = start
    for level, index in positions:
        assert at == index << level
        at += 1 << level
    assert stop == at
    mergeable = {(level, index ^ 1) for level, index in positions}
    assert not mergeable & set(positions)


@pytest.mark.parametrize("pair", [(-1, 1), (2, 1), (0, COUNT_MAX + 1), (1, 1 << 9999)])
def test_counts_out_of_range_are_wrong_arguments(pair: tuple[int, int]) -> None:
    """An impossible count is a `ValueError`, found before anything is computed."""
    first, second = pair

    def refused(_: list[Position]) -> list[bytes]:
        raise AssertionError

    pairs: dict[str, Any] = {
        "first": first,
        "second": second,
        "first_root": b"",
        "second_root": b"",
    }
    leaf: dict[str, Any] = {
        "index": first,
        "count": second,
        "leaf_hash": b"",
        "root": b"",
    }
    for call in (
        lambda: merkle.node_positions(first, second),
        lambda: merkle.prove_inclusion(BLAKE3, first, second, refused),
        lambda: merkle.prove_consistency(BLAKE3, first, second, refused),
        lambda: merkle.check_inclusion(BLAKE3, [], **leaf),
        lambda: merkle.check_consistency(BLAKE3, [], **pairs),
    ):
        with pytest.raises(ValueError, match="COUNT_MAX"):
            call()


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_read_of_another_number_is_refused(surplus: int) -> None:
    """A `read` that gives a hash too few or too many makes no proof."""

    def read(positions: list[Position]) -> list[bytes]:
        return [bytes(32)] * (len(positions) + surplus)

    with pytest.raises(ValueError, match="hashes for"):
        merkle.prove_inclusion(BLAKE3, 2, 5, read)
    with pytest.raises(ValueError, match="hashes for"):
        merkle.peaks_at(3, read)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_push_on_foreign_peaks_changes_nothing(count: int) -> None:
    """Peaks that are not as many as the count has are refused and left alone."""
    peaks = [bytes(32)] * (count.bit_count() + 1)
    before = list(peaks)

    with pytest.raises(ValueError, match="peaks"):
        merkle.push(BLAKE3, peaks, count, bytes(32))
    assert before == peaks


def test_a_refused_proof_says_what_and_where() -> None:
    """The error names the verdict, the proof and the reason, and no hash."""
    with pytest.raises(CorruptionError) as caught:
        merkle.check_inclusion(
            BLAKE3, [], index=3, count=9, leaf_hash=bytes(32), root=bytes(32)
        )

    assert "bad proof" == caught.value.verdict
    assert "inclusion of leaf 3 in 9 leaves" == caught.value.where
    assert "the proof fails: it has 0 hashes, not 4" == caught.value.what


PLANTED = {
    "skips the first root": (
        [("if old != first_root:", "if False:")],
        "wrong first root",
    ),
    "skips the second root": (
        [("elif new != second_root:", "elif False:")],
        "wrong second root",
    ),
    "believes any root after the empty tree": (
        [("second_root == tree.empty", "False")],
        "wrong second root",
    ),
    "takes any root for the empty one": (
        [("first_root if first else tree.empty", "first_root")],
        "wrong first root",
    ),
    "ignores trailing hashes": (
        [
            ("len(hashes) != count", "len(hashes) < count"),
            ("strict=True", "strict=False"),
        ],
        "number of hashes",
    ),
    "follows a proof that stops early": (
        [
            ("len(hashes) != count", "len(hashes) > count"),
            ("strict=True", "strict=False"),
        ],
        "wrong sizes",
    ),
    "takes a leaf's hash of any size": (
        [
            ("_check_hashes([leaf_hash], 1, where)", ""),
            ("len(found) != HASH", "0 and HASH"),
        ],
        "size of a hash",
    ),
    "skips the root of an inclusion": (
        [("if found != root:", "if False:")],
        "wrong root",
    ),
    "puts every sibling on the right": (
        [("if stop <= index:", "if False:")],
        "proofs of inclusion",
    ),
    "takes peaks that both trees have as new": (
        [("elif stop < first:", "elif False:")],
        "proofs of consistency",
    ),
    "bags peaks from the left": (
        [("result = tree.node(peak, result)", "result = tree.node(result, peak)")],
        "roots",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_battery_sees_planted_bugs(name: str) -> None:
    """A bug put into the module on purpose breaks the rule that is about it."""
    changes, rule = PLANTED[name]
    source = inspect.getsource(merkle)
    for right, wrong in changes:
        assert right in source
        source = source.replace(right, wrong)
    planted = types.ModuleType("planted")
    exec(source, planted.__dict__)  # noqa: S102 - our own source

    assert rule in broken_rules(subject_of(planted), all_pairs(9), random.Random(1))


def duplicating_root(tree: Tree, leaf_hashes: Sequence[bytes]) -> bytes:
    """Return a root that takes an odd last node twice, as Bitcoin's does."""
    row = list(leaf_hashes) or [tree.empty]
    while len(row) > 1:
        row += row[-1:] * (len(row) % 2)
        row = [tree.node(*pair) for pair in zip(row[::2], row[1::2], strict=True)]
    return row[0]


def test_the_battery_sees_a_duplicated_last_leaf() -> None:
    """[A, B, C] and [A, B, C, C] have different roots."""
    subject = attrs.evolve(subject_of(merkle), root=duplicating_root)

    assert {"roots", "odd last leaf"} == broken_rules(
        subject, all_pairs(5), random.Random(1)
    )


def test_the_battery_sees_nodes_that_pass_for_leaves() -> None:
    """A tree whose leaves and nodes are hashed alike lets an inner node be a leaf."""
    alike = Tree(sha256, lambda left, right: sha256(left + right), sha256(b""))
    subject = attrs.evolve(subject_of(merkle), tree=alike)

    assert {"node as leaf"} == broken_rules(subject, all_pairs(5), random.Random(1))
