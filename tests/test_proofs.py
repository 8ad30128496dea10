"""
Proofs in files: made from stores, checked by the package and by the reference.
"""

from __future__ import annotations

import ast
import itertools
import json
import random
import shutil
import subprocess
import sys
import tracemalloc

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from hypothesis import given, settings
from hypothesis import strategies as st
from make_vectors import FOLDER
from proofkit import MIB, contradiction, large, made, ranged, seal_proof
from proofreference import PATH, REFERENCE, verdict
from vectors.form import unhex
from vectors.proofs import edited, listed

import castore

from castore.codec import decode_record, encode_record
from castore.digest import blob_digest
from castore.errors import CorruptionError, GoneError, LimitError, NotFoundError
from castore.limits import PROOF_SIZE_MAX
from castore.proofs.decoding import Proof, check_proof, decode_proof


LINES_MAX = 200
ALLOWED = {"blake3", "cbor2", "cryptography"}
MALFORMED, BAD = "malformed record", "bad proof"
CASES = json.loads((FOLDER / "proofs.json").read_text("utf-8"))["cases"]


def line(text: str, *blobs: castore.BlobRef) -> castore.NewEntry:
    """Return an entry that refers to *blobs*."""
    refs = [castore.Reference("x", blob) for blob in blobs]
    return castore.NewEntry("line", text.encode(), refs=refs)


@attrs.frozen
class Scene:
    """A store with a log of 42 entries and two forks, and what it proves."""

    store: castore.Store
    log: castore.Segment
    fork: castore.Segment
    blob: castore.BlobRef
    data: bytes

    def proofs(self) -> Iterator[tuple[str, Proof]]:
        """Yield proofs of every kind, with names."""
        count = self.log.count
        for index in (0, 1, 17, count - 2, count - 1):
            yield f"inclusion {index}", self.log.prove(index)
        yield "under an older root", self.log.prove(3, 9)
        yield "inherited", self.fork.prove(2)
        for first, second in ((1, 2), (3, None), (32, 40), (count, None)):
            yield f"grown {first}", self.log.prove_consistency(first, second)
        yield "origin", self.fork.prove_origin()
        yield "range", self.log.prove_range(count - 3, self.blob, 2 * MIB, 2 * MIB + 1)
        yield "listed", self.log.prove_range(count - 2, self.blob, 0, self.blob.size)
        own = self.store.segment(self.store.id)
        yield "store log", own.prove(1)
        yield "store log grown", own.prove_consistency(1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Return a store of which everything can be proven."""
    root = tmp_path_factory.mktemp("proofs") / "store"
    with castore.open(root, create=True) as store:
        log = store.create_session(then=[line(f"{n}") for n in range(38)])
        data = random.Random(5).randbytes(9 * MIB + 7)
        blob = store.put(data)
        log.append([line("large", store.put(b"small"), blob)])
        many = [store.put(b"%d" % number) for number in range(300)]
        log.append([line("many", *many, blob)])
        fork = log.fork(17)
        fork.append([line("behind the fork")])
        log.append([line("at the end")])
        store.tag("one", blob)
        yield Scene(store, log, fork, blob, data)


@pytest.fixture(scope="module")
def proofs(scene: Scene) -> dict[str, Proof]:
    """Return all proofs of the store."""
    return dict(scene.proofs())


# --- what is accepted --------------------------------------------------------


def test_every_kind_is_accepted_by_both(proofs: dict[str, Proof]) -> None:
    """What a store proves is proven to whoever has the file alone, and comes back."""
    kinds = set()
    for proof in proofs.values():
        data = proof.encode()
        assert "ok" == verdict(data)
        assert proof == decode_proof(data) == check_proof(data)
        assert len(data) < PROOF_SIZE_MAX
        kinds.add(proof.KIND)

    assert {"inclusion", "consistency", "origin", "range"} == kinds


def test_states_are_those_of_the_log(scene: Scene) -> None:
    """A proof about all of a log leads to its head, one about less to a point."""
    head = scene.log.head
    entry = scene.log.entry(3)

    assert head == scene.log.prove(3).state
    assert entry == scene.log.prove(3).entry
    older = scene.log.prove(3, 9).state
    grown = scene.log.prove_consistency(9)
    assert (older, head) == (grown.first, grown.second)
    assert (9, head.segment) == (older.count, older.segment)


def test_a_range_is_proven_with_its_bytes(scene: Scene) -> None:
    """Whole slices around what was asked for; other bytes are refused."""
    proof = scene.log.prove_range(scene.log.count - 3, scene.blob, MIB + 1, MIB + 2)
    data = scene.data[MIB : 2 * MIB]

    assert (MIB, 2 * MIB) == (proof.start, proof.stop)
    proof.check_bytes([data])
    REFERENCE.in_range(REFERENCE.check(proof.encode()), data)
    for wrong in (data[:-1], data + b"\0", b"", bytes([data[0] ^ 1]) + data[1:]):
        with pytest.raises(CorruptionError, match="corrupt blob"):
            proof.check_bytes([wrong] if wrong else [])
        with pytest.raises(REFERENCE.Refused, match="corrupt blob"):
            REFERENCE.in_range(REFERENCE.check(proof.encode()), wrong)


def test_the_end_of_a_blob_is_a_short_slice(scene: Scene) -> None:
    """A range up to the end has the last slice as long as it is."""
    size = scene.blob.size
    proof = scene.log.prove_range(scene.log.count - 3, scene.blob, size - 1, size)

    assert (9 * MIB, size) == (proof.start, proof.stop)
    proof.check_bytes([scene.data[9 * MIB :]])
    assert "ok" == verdict(proof.encode())


def test_a_fork_of_a_deleted_log(tmp_path: Path) -> None:
    """Where the other log is gone, the proof is one of a shared prefix only."""
    with castore.open(tmp_path / "store", create=True) as store:
        log = store.create_session(then=[line(f"{n}") for n in range(9)])
        fork = log.fork(5)
        whole = fork.prove_origin()
        log.delete()
        prefix = fork.prove_origin()

    assert (True, False) == (whole.is_whole, prefix.is_whole)
    assert {"ok"} == {verdict(each.encode()) for each in (whole, prefix)}
    says = [REFERENCE.check(each.encode())["says"] for each in (whole, prefix)]
    assert ["origin", "shared prefix only"] == says


def test_a_fork_below_a_fork_names_the_owner(scene: Scene) -> None:
    """A fork of inherited entries comes from the segment that owns them."""
    child = scene.fork.fork(9)
    proof = child.prove_origin()

    assert scene.log.id == proof.origin.segment == proof.parent.segment  # type: ignore[union-attr]
    assert "ok" == verdict(proof.encode())


def test_proofs_outlive_the_store_that_made_them(scene: Scene) -> None:
    """An older head's proof stays good when the log goes on; the path is another."""
    proof = scene.fork.prove(3)
    before = scene.fork.head
    scene.fork.append([line("more")])

    proof.check()
    assert scene.fork.prove(3) != proof
    grown = scene.fork.prove_consistency(before.count)
    assert (before.root, before.count) == (grown.first.root, grown.first.count)


# --- what cannot be proven ---------------------------------------------------


def test_what_is_not_there_is_not_proven(scene: Scene) -> None:
    """Each wrong question has its error."""
    log, count, blob = scene.log, scene.log.count, scene.blob
    for index, at in ((count, None), (-1, None), (5, 5), (0, count + 1)):
        with pytest.raises(IndexError):
            log.prove(index, at)
    for first, second in ((0, 3), (4, 3), (1, count + 1)):
        with pytest.raises(IndexError):
            log.prove_consistency(first, second)
    with pytest.raises(NotFoundError, match="no fork"):
        log.prove_origin()
    with pytest.raises(IndexError):
        log.prove_range(count, blob, 0, 1)
    with pytest.raises(NotFoundError, match="names no blob"):
        log.prove_range(1, blob, 0, 1)
    with pytest.raises(ValueError, match="up to 8 MiB"):
        log.prove_range(count - 3, blob_digest(b"small"), 0, 1)
    for start, stop in ((0, 0), (-1, 1), (0, blob.size + 1)):
        with pytest.raises(ValueError, match="no bytes"):
            log.prove_range(count - 3, blob, start, stop)


def test_a_log_that_is_gone_proves_nothing(tmp_path: Path) -> None:
    """A deleted segment's handle says who deleted it."""
    with castore.open(tmp_path / "store", create=True) as store:
        log = store.create_session()
        log.delete()
        with pytest.raises(GoneError):
            log.prove(0)


def test_a_proof_is_bounded() -> None:
    """A blob whose slices do not fit into a proof is refused before it is written."""
    slices, _ = large()

    with pytest.raises(LimitError, match="more than a proof may have"):
        attrs.evolve(ranged(), slices=slices * 1200).encode()


# --- what is refused ---------------------------------------------------------

SMALL: dict[str, Proof] = {
    "inclusion": made(7).inclusion(2),
    "consistency": made(7).consistency(3),
    "origin": made(7).fork(5, 4).origin(made(7)),
    "prefix": made(7).fork(5, 4).origin(None),
    "range": ranged(),
    "listed": listed(),
    "seal": seal_proof(),
    "contradiction": contradiction(),
}


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_reference_gives_what_a_vector_expects(case: dict[str, Any]) -> None:
    """The reference accepts and refuses what the vectors say, with that verdict."""
    assert case["expect"] == verdict(unhex(case["input"]["data"]))


def states_of(proof: Proof) -> tuple[object, ...]:
    """Return what somebody has to trust, and where the claim lies in the blob."""
    names = ("state", "first", "second", "head", "parent", "start", "stop")
    inner = getattr(proof, "entry", proof)
    return tuple(getattr(each, name, None) for each in (proof, inner) for name in names)


@pytest.mark.parametrize("name", SMALL)
def test_no_bit_can_flip(name: str) -> None:
    """
    Each flip is refused by both alike, or leads to another state than the one that
    is trusted: fields of a head that are no part of the tree; or to another range.
    """
    proof = SMALL[name]
    data = proof.encode()
    refused = 0
    for at, bit in itertools.product(range(len(data)), range(8)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << bit
        if verdict(bytes(flipped)) == "ok":
            other = check_proof(bytes(flipped))
            assert states_of(other) != states_of(proof), (at, bit)
        else:
            refused += 1

    assert refused > 5 * len(data)


def paths_in(fields: list[Any]) -> Iterator[int]:
    """Yield the positions of paths."""
    for at, value in enumerate(fields):
        if isinstance(value, list) and value and all(len(x) == 32 for x in value):
            yield at


def broken_paths(path: list[bytes]) -> Iterator[list[bytes]]:
    """Yield *path* with hashes dropped, added, swapped, changed, or cut."""
    for at in range(len(path)):
        yield path[:at] + path[at + 1 :]
        yield [*path[:at], path[at], *path[at:]]
        yield [*path[:at], bytes(32), *path[at + 1 :]]
        yield [*path[:at], path[at][:-1], *path[at + 1 :]]
    for a, b in itertools.combinations(range(len(path)), 2):
        swapped = list(path)
        swapped[a], swapped[b] = swapped[b], swapped[a]
        yield swapped
    yield [*path, bytes(32)]
    yield []


@pytest.mark.parametrize("name", SMALL)
def test_no_hash_can_go_or_come(name: str) -> None:
    """A hash dropped, added, swapped, changed or cut is refused, by both alike."""
    fields = decode_record(SMALL[name].encode(), size_max=PROOF_SIZE_MAX)
    tried = 0
    for at in paths_in(fields):
        for path in broken_paths(fields[at]):
            data = encode_record([*fields[:at], path, *fields[at + 1 :]])
            short = any(len(each) != 32 for each in path)
            assert verdict(data) == (MALFORMED if short else BAD)
            tried += 1

    assert tried > 5


@pytest.mark.parametrize("name", SMALL)
def test_no_byte_can_follow_or_lack(name: str) -> None:
    """A file that is cut anywhere, or goes on, is refused, by both alike."""
    data = SMALL[name].encode()
    for size in range(len(data)):
        assert MALFORMED == verdict(data[:size])
    assert MALFORMED == verdict(data + b"\0") == verdict(data + data)


def test_shapes_are_refused_before_anything_is_checked() -> None:
    """Decoding refuses what is malformed, also where the proof is bad as well."""
    cases = (("inclusion", 4), ("range", 4), ("range", 6), ("contradiction", 4))
    for name, at in cases:
        fields = decode_record(SMALL[name].encode(), size_max=PROOF_SIZE_MAX)
        fields[7 if name == "contradiction" else 5] = []
        fields[at] = b"\x80"
        data = encode_record(fields)
        with pytest.raises(CorruptionError, match=MALFORMED):
            decode_proof(data)
        assert MALFORMED == verdict(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_other_values_anywhere(data: st.DataObject) -> None:
    """Any element replaced by anything is refused by both alike, or means no more."""
    proof = SMALL[data.draw(st.sampled_from(sorted(SMALL)))]
    fields = decode_record(proof.encode(), size_max=PROOF_SIZE_MAX)
    at = data.draw(st.integers(0, len(fields) - 1))
    numbers = st.integers(-(1 << 63), (1 << 64) - 1)
    plain = st.none() | st.booleans() | numbers | st.binary() | st.text(max_size=20)
    value = data.draw(plain | st.lists(plain | st.lists(plain, max_size=4), max_size=5))
    changed = encode_record([*fields[:at], value, *fields[at + 1 :]])

    if verdict(changed) == "ok" and value != fields[at]:
        assert states_of(check_proof(changed)) != states_of(proof)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data: bytes) -> None:
    """What is no proof is refused as malformed, by both."""
    assert MALFORMED == verdict(data)


def test_too_large_is_not_decoded() -> None:
    """A file above the limit is refused whatever it holds; so is a deep one."""
    assert MALFORMED == verdict(b"\x9a\x00\x06\x00\x00" + b"\x80" * PROOF_SIZE_MAX)
    assert MALFORMED == verdict(b"\x81" * 100_000)
    assert MALFORMED == verdict(b"\x9b" + b"\xff" * 8)


BOMBS = {
    "empty arrays": b"\x9a\x00\x05\xff\xf0" + b"\x80" * 393_200,
    "empty maps": b"\x9a\x00\x05\xff\xf0" + b"\xa0" * 393_200,
    "nulls": b"\x9a\x00\x05\xff\xf0" + b"\xf6" * 393_200,
    "one-letter texts": b"\x9a\x00\x02\xff\xf0" + b"\x61x" * 196_592,
    "deep arrays": b"\x81" * 393_216,
    "deep maps": b"\xa1\x60" * 196_608,
    "a count without items": b"\x9b\x7f" + b"\xff" * 7,
    "a text without bytes": b"\x83\x7b\x7f" + b"\xff" * 7,
    "cycles": b"\xd8\x1c\x81\xd8\x1d\x00",
    "a huge number": b"\x81\xc2\x5a\x00\x05\xff\xf0" + b"\xff" * 393_200,
    "a pattern": b"\x81\xd8\x23\x6d(x+x+)+y{9}{9}",
    "in a path": edited(made(7).inclusion(2), 5, [0] * 390_000),
    "in a seal": attrs.evolve(seal_proof(), body=b"\x80" * 390_000).encode(),
    "in a list": attrs.evolve(listed(), ref_list=b"\x80" * 350_000).encode(),
}


@pytest.mark.parametrize("name", BOMBS)
def test_hostile_files_take_little(name: str) -> None:
    """Whatever a file holds, looking at it takes no more than 32 MiB."""
    data = BOMBS[name]
    assert len(data) <= PROOF_SIZE_MAX
    tracemalloc.start()
    try:
        with pytest.raises(CorruptionError, match=MALFORMED):
            decode_proof(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 32 * MIB
    assert MALFORMED == verdict(data)


# --- the reference -----------------------------------------------------------


def test_the_reference_is_short() -> None:
    """It is short enough to be read."""
    lines = PATH.read_text("utf-8").splitlines()

    assert len(lines) <= LINES_MAX
    assert all(len(text) <= 100 for text in lines)


def test_the_reference_stands_alone() -> None:
    """It shares nothing with the package."""
    names: list[str] = []
    for node in ast.walk(ast.parse(PATH.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [each.name for each in node.names]

    modules = {name.partition(".")[0] for name in names}
    assert modules <= ALLOWED | set(sys.stdlib_module_names)


def test_the_reference_is_a_command(scene: Scene, tmp_path: Path) -> None:
    """Alone in a folder it says of a file what it proves, with its exit code."""
    proof = scene.log.prove_range(scene.log.count - 3, scene.blob, 0, 1)
    shutil.copy(PATH, tmp_path)
    (tmp_path / "proof").write_bytes(proof.encode())
    (tmp_path / "data").write_bytes(scene.data[:MIB])

    def run(*names: str) -> tuple[int, Any]:
        command = [sys.executable, "-I", PATH.name, *names]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
        assert b"" == done.stderr
        return done.returncode, json.loads(done.stdout)

    code, found = run("proof", "--data", "data")
    assert (0, True, "range") == (code, found["ok"], found["proof"])
    assert found["blob"] == scene.blob.digest.hex()
    (tmp_path / "data").write_bytes(scene.data[1 : MIB + 1])
    code, found = run("proof", "--data", "data")
    assert (1, {"ok": False, "verdict": "corrupt blob"}) == (code, found)
