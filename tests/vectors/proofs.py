"""
Vectors of spec/proofs.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from proofkit import (
    CHILD,
    MIB,
    OTHER_SIGNER,
    SEGMENT,
    SIGNER,
    MadeLog,
    chain,
    contradiction,
    heads,
    large,
    made,
    note_of,
    ranged,
    seal_proof,
    sealed,
    store_log,
)
from vectors.form import (
    BAD_PROOF,
    BAD_SIGNATURE,
    MALFORMED,
    OTHER_STORE,
    UNSUPPORTED,
    Case,
    replaced,
)

from castore.codec import decode_record, encode_object, encode_record
from castore.digest import blob_digest
from castore.formats.chunked import slices_digest
from castore.formats.entry import BlobRef, Origin, Reference, Start, encode_ref_list
from castore.formats.head import hash_head
from castore.formats.seal import Seal
from castore.formats.trees import STORE_LOG_TREE
from castore.limits import PROOF_SIZE_MAX
from castore.proofs.decoding import Proof
from castore.proofs.form import Point
from castore.proofs.logs import ConsistencyProof, OriginProof
from castore.proofs.notes import Checkpoint, sign
from castore.proofs.ranges import RangeProof
from castore.proofs.seals import Contradiction, SealProof


Facts = dict[str, Any]
Row = tuple[str, str, bytes]


def facts_of(proof: Proof) -> Facts:
    """Return what a checked proof says, for a case."""
    facts: Facts = {"kind": proof.KIND}
    if isinstance(proof, OriginProof):
        return facts | {"count": proof.origin.count, "whole": proof.is_whole}
    if isinstance(proof, ConsistencyProof):
        return facts | {"counts": [proof.first.count, proof.second.count]}
    if isinstance(proof, SealProof):
        head = hash_head(proof.head.encode())
        return facts | {"head": head, "index": proof.entry.index}
    if isinstance(proof, Contradiction):
        return facts | {"counts": [each.count for each in proof.checkpoints()]}
    if isinstance(proof, RangeProof):
        blob = proof.blob.digest
        facts |= {"blob": blob, "start": proof.start, "stop": proof.stop}
        proof = proof.entry
    return facts | {"index": proof.index, "entry": proof.entry.hash}


def proof_cases() -> list[Case]:
    """Return proofs of each kind, and what is to be refused."""
    cases = [
        Case(name, desc, {"data": proof.encode()}, value=facts_of(proof))
        for name, desc, proof in _good()
    ]
    for verdict, rows in (
        (MALFORMED, [*_malformed(), *_malformed_origins(), *_malformed_seals()]),
        (UNSUPPORTED, _unsupported()),
        (BAD_PROOF, [*_bad(), *_bad_origins(), *_bad_ranges(), *_bad_seals()]),
        (BAD_SIGNATURE, _unsigned()),
    ):
        cases += [
            Case(name, desc, {"data": data}, verdict) for name, desc, data in rows
        ]
    return cases


def _good() -> list[tuple[str, str, Proof]]:
    log, child = made(7), made(7).fork(5, 4)
    grown = attrs.evolve(log.consistency(3), second=log.point(7))
    return [
        ("inclusion_first", "entry 0 of 7", log.inclusion(0)),
        ("inclusion_last", "entry 6 of 7: a short path", log.inclusion(6)),
        ("inclusion_only", "the only entry", made(1).inclusion(0)),
        (
            "inclusion_point",
            "under a count and a root",
            attrs.evolve(log.inclusion(2, 4), state=log.point(4)),
        ),
        ("inclusion_inherited", "an entry of the parent", child.inclusion(2)),
        ("inclusion_store_log", "another tree", store_log(5).inclusion(3)),
        ("consistency", "3 with 7", log.consistency(3)),
        ("consistency_same", "7 with 7", log.consistency(7)),
        ("consistency_peak", "4 with 7: the first root is a node", log.consistency(4)),
        ("consistency_points", "two points", grown),
        ("consistency_store_log", "another tree", store_log(6).consistency(5)),
        ("origin", "a fork at 5 of 7", child.origin(log)),
        ("origin_prefix", "without the parent", child.origin(None)),
        ("seal", "the second of three heads", seal_proof()),
        ("seal_last", "the last of three heads", seal_proof(2)),
        ("contradiction", "3 and 6 entries", contradiction()),
        ("contradiction_same", "two roots at one count", contradiction(3, 3)),
        ("range", "two slices", ranged()),
        ("range_end", "the last slice, which is short", ranged(10 * MIB, 10 * MIB + 5)),
        ("range_listed", "a reference in a ref list", listed()),
    ]


def listed() -> RangeProof:
    """Return the proof of a range whose reference stands in a ref list."""
    slices, ref = large(9, 0)
    small = Reference("y", BlobRef(blob_digest(b"small"), 5))
    name, payload = encode_ref_list([small, ref, small])
    log = made(3, [Reference("", BlobRef(name, 3), 2)])
    return RangeProof(log.inclusion(2), payload, 1, 0, 9 * MIB, slices)


def edited(proof: Proof, number: int, value: Any) -> bytes:
    """Return the file of *proof* with the element at *number* replaced."""
    fields = decode_record(proof.encode(), size_max=PROOF_SIZE_MAX)
    return encode_record(replaced(fields, number, value))


def _malformed() -> list[Row]:
    proof = made(7).inclusion(2)
    data, head = proof.encode(), made(7).head()
    fields = decode_record(data, size_max=PROOF_SIZE_MAX)
    long = list(proof.hashes) * 43
    point = list(attrs.astuple(made(7).point(7)))
    ranges = ranged()
    return [
        ("empty", "no bytes", b""),
        ("no_array", "a text", b"\x6dcastore proof"),
        ("magic", "another first element", edited(proof, 0, "castore_proof")),
        ("version_text", "a version that is no number", edited(proof, 1, "1")),
        ("kind_bytes", "a kind that is no text", edited(proof, 2, b"inclusion")),
        ("trailing", "a byte behind the file", data + b"\0"),
        (
            "second_encoding",
            "the version in two bytes",
            data.replace(b"f\1i", b"f\x18\1i"),
        ),
        ("too_few", "an element too few", encode_record(fields[:-1])),
        ("too_many", "an element too many", encode_record([*fields, 0])),
        ("state_null", "no state", edited(proof, 3, None)),
        ("head_cut", "a head without its time", edited(proof, 3, head.encode()[:-9])),
        (
            "head_trailing",
            "a byte behind a head",
            edited(proof, 3, head.encode() + b"\0"),
        ),
        ("point_short", "a point of three", edited(proof, 3, point[:3])),
        (
            "point_empty",
            "a point of no entries",
            edited(proof, 3, replaced(point, 2, 0)),
        ),
        ("entry_array", "an entry that is no byte string", edited(proof, 4, [])),
        ("entry_trailing", "a byte behind it", edited(proof, 4, proof.hashed + b"\0")),
        (
            "point_id",
            "a store id of 15",
            edited(proof, 3, replaced(point, 0, bytes(15))),
        ),
        ("path_bytes", "a path that is no array", edited(proof, 5, proof.hashes[0])),
        ("path_text", "a text in a path", edited(proof, 5, ["a" * 32])),
        ("path_short", "a hash of 31 bytes", edited(proof, 5, [bytes(31)])),
        ("path_129", "129 hashes", edited(proof, 5, long)),
        ("growth_few", "an element too few", _cut(made(7).consistency(3))),
        ("range_few", "an element too few", _cut(ranges)),
        ("range_list_array", "a ref list as an array", edited(ranges, 6, [])),
        ("range_number", "a number below 0", edited(ranges, 7, -1)),
        ("range_list", "an empty ref list", edited(ranges, 6, b"\x80")),
        ("range_slices", "slices as an array", edited(ranges, 10, [ranges.slices])),
        ("too_large", "more than 393,216 bytes", edited(ranges, 10, bytes(393_216))),
    ]


def _malformed_origins() -> list[Row]:
    log = made(7)
    child = log.fork(5, 4)
    origin = child.origin(log)
    start = Origin(log.session, log.segment, 5, log.root(5), log.hashes[4])

    def with_start(value: Start, at: int = 5) -> bytes:
        own = chain(4, at, log.hashes[at - 1], value)
        other = MadeLog(CHILD, log.hashed[:at] + own, fork_index=at)
        return edited(origin, 4, other.hashed[at])

    ids = (log.session, CHILD)
    return [
        ("origin_line", "no start entry", edited(origin, 4, child.hashed[6])),
        ("origin_new", "a start entry at 0", edited(origin, 4, made(1).hashed[0])),
        ("origin_none", "a fork of nothing", with_start(Start(*ids, "fork"))),
        ("origin_cause", "another cause", with_start(Start(*ids, "import", start))),
        (
            "origin_segment",
            "the start entry of another segment",
            with_start(Start(log.session, log.segment, "fork", start)),
        ),
        (
            "origin_count",
            "it says another count than its index",
            with_start(Start(*ids, "fork", attrs.evolve(start, count=4))),
        ),
        (
            "origin_last",
            "it says another last entry",
            with_start(Start(*ids, "fork", attrs.evolve(start, last=bytes(32)))),
        ),
        ("origin_few", "an element too few", _cut(origin)),
        ("origin_entry", "an entry as an array", edited(origin, 4, [])),
        ("origin_point", "a point for the fork", edited(origin, 3, [*b"head"])),
        ("origin_growth", "a growth of nothing", edited(origin, 7, None)),
    ]


def _unsupported() -> list[Row]:
    proof = made(7).inclusion(2)
    return [
        ("version_0", "version 0", edited(proof, 1, 0)),
        ("version_2", "version 2", edited(proof, 1, 2)),
        ("kind_unknown", "a kind that nobody knows", edited(proof, 2, "exclusion")),
    ]


def _bad() -> list[Row]:
    log = made(7)
    proof, grown = log.inclusion(2), log.consistency(3)
    path, other = list(proof.hashes), made(8)
    point = log.point(7)
    return [
        ("hash_dropped", "a hash too few", edited(proof, 5, path[:-1])),
        ("hash_added", "a hash too many", edited(proof, 5, [*path, path[0]])),
        ("hash_swapped", "two hashes swapped", edited(proof, 5, path[::-1])),
        ("entry_other", "the entry beside it", edited(proof, 4, log.hashed[3])),
        ("entry_behind", "an entry behind the head", edited(proof, 4, other.hashed[7])),
        (
            "count_other",
            "a root with another count",
            edited(proof, 3, _as(point, count=9)),
        ),
        (
            "tree_other",
            "the tree of a store log",
            edited(proof, 3, _as(point, segment=point.store)),
        ),
        ("root_other", "another root", edited(proof, 3, _as(point, root=bytes(32)))),
        (
            "growth_other_log",
            "of two segments",
            edited(grown, 3, _as(log.point(3), segment=CHILD)),
        ),
        (
            "growth_other_store",
            "of two stores",
            edited(grown, 3, _as(log.point(3), store=OTHER_STORE)),
        ),
        ("growth_back", "the first is longer", edited(grown, 4, _as(log.point(2)))),
        (
            "growth_first",
            "another first root",
            edited(grown, 3, _as(log.point(3), root=bytes(32))),
        ),
        (
            "growth_second",
            "another second root",
            edited(grown, 4, _as(point, root=bytes(32))),
        ),
        (
            "growth_same",
            "one count, two roots",
            edited(log.consistency(7), 3, _as(point, root=bytes(32))),
        ),
    ]


def _as(point: Point, **other: object) -> Sequence[object]:
    return list(attrs.astuple(attrs.evolve(point, **other)))  # type: ignore[arg-type]


def _bad_origins() -> list[Row]:
    log = made(7)
    child = log.fork(5, 4)
    origin, head = child.origin(log), log.head()
    shorter = attrs.evolve(child.head(), fork_index=4)
    wrong = attrs.evolve(origin.origin, root=bytes(32))
    lying = MadeLog(
        CHILD,
        log.hashed[:5]
        + chain(4, 5, log.hashes[4], Start(log.session, CHILD, "fork", wrong)),
        fork_index=5,
    )
    return [
        (
            "origin_index",
            "the head says another fork index",
            edited(origin, 3, shorter.encode()),
        ),
        ("origin_root", "its origin has another root", lying.origin(log).encode()),
        ("origin_path", "the start entry is not in its log", edited(origin, 5, [])),
        ("origin_growth_none", "the fork's growth lacks", edited(origin, 6, [])),
        ("origin_parent", "the parent's growth is of another", edited(origin, 8, [])),
        (
            "origin_other",
            "another parent",
            edited(origin, 7, _as(log.point(7), segment=CHILD)),
        ),
        (
            "origin_session",
            "of another session",
            edited(origin, 7, attrs.evolve(head, session=CHILD).encode()),
        ),
        (
            "origin_short",
            "a parent that is too short",
            edited(origin, 7, log.head(4).encode()),
        ),
    ]


def _cut(proof: Proof) -> bytes:
    return encode_record(decode_record(proof.encode(), size_max=PROOF_SIZE_MAX)[:-1])


def _lying() -> RangeProof:
    """Return a proof whose reference has the hash of too few slices."""
    slices, ref = large()
    blob = attrs.evolve(ref.blob, slices=slices_digest(slices[:-32]))
    log = made(3, [Reference("x", blob)])
    return RangeProof(log.inclusion(2), None, 0, 0, MIB, slices[:-32])


def _bad_ranges() -> list[Row]:
    proof = ranged()
    _, ref = large(9, 0)
    _, same = encode_ref_list([ref] * 3)
    slices = proof.slices
    swapped = slices[32:64] + slices[:32] + slices[64:]
    return [
        ("range_entry", "a path of another entry", edited(proof, 5, [])),
        ("range_no_number", "no such reference", edited(proof, 7, 2)),
        ("range_small", "a reference without slices", edited(proof, 7, 0)),
        ("range_swapped", "two slices swapped", edited(proof, 10, swapped)),
        ("range_dropped", "a slice too few", edited(proof, 10, slices[:-32])),
        ("range_lie", "the digest of too few slices", _lying().encode()),
        (
            "range_same_list",
            "another list with the reference",
            edited(listed(), 6, same),
        ),
        ("range_empty", "no bytes", edited(proof, 9, MIB)),
        ("range_start", "a start in a slice", edited(proof, 8, MIB + 1)),
        ("range_stop", "a stop in a slice", edited(proof, 9, 3 * MIB - 1)),
        ("range_behind", "a stop behind the blob", edited(proof, 9, 11 * MIB)),
        (
            "range_other_list",
            "a list that the entry does not name",
            edited(proof, 6, listed().ref_list),
        ),
    ]


def _malformed_seals() -> list[Row]:
    seal, both = seal_proof(), contradiction()
    body, key = seal.body, str(both.key)
    role = sealed(heads(), role="head")
    return [
        ("seal_few", "an element too few", _cut(seal)),
        ("seal_head", "a point as head", edited(seal, 6, [*b"head"])),
        ("seal_position", "a position below 0", edited(seal, 7, -1)),
        ("seal_body", "a body that is no map", edited(seal, 8, b"\x80")),
        ("seal_body_keys", "keys in another order", edited(seal, 8, _turned(seal))),
        ("seal_body_trailing", "a byte behind it", edited(seal, 8, body + b"\0")),
        ("seal_role", "a reference of another role", edited(seal, 4, role.hashed[2])),
        ("contradiction_few", "an element too few", _cut(both)),
        ("contradiction_key", "no key", edited(both, 3, key[1:])),
        ("contradiction_key_bytes", "a key as bytes", edited(both, 3, key.encode())),
        ("contradiction_text", "a note as text", edited(both, 4, both.older.decode())),
        ("contradiction_note", "no note", edited(both, 5, both.newer[:-1])),
        ("contradiction_root", "a root of 31 bytes", edited(both, 6, bytes(31))),
    ]


def _turned(proof: SealProof) -> bytes:
    seal = proof.seal
    return encode_object({"count": seal.count, "heads": seal.root})


def _bad_seals() -> list[Row]:
    seal, both = seal_proof(), contradiction()
    other = sealed(heads(), kind="line")
    plain = attrs.evolve(other.inclusion(2, 3), state=other.point(3))
    foreign = attrs.evolve(seal.head, store=OTHER_STORE)
    same = note_of(store_log(7), 3)
    return [
        ("seal_entry", "the entry is not in the log", edited(seal, 5, [])),
        ("seal_kind", "another kind", attrs.evolve(seal, entry=plain).encode()),
        ("seal_behind", "a position behind the heads", edited(seal, 7, 3)),
        ("seal_other", "another position", edited(seal, 7, 0)),
        ("seal_head_other", "another head", edited(seal, 6, made(6).head().encode())),
        ("seal_store", "a head of another store", edited(seal, 6, foreign.encode())),
        ("seal_path", "a hash too few", edited(seal, 9, list(seal.hashes[:-1]))),
        (
            "seal_body_other",
            "another body",
            edited(seal, 8, Seal(bytes(32), 3).encode()),
        ),
        ("seal_foreign", "a seal that covers it", seal_proof(0, [foreign]).encode()),
        ("seal_segment", "a segment's log", _of_segment().encode()),
        ("contradiction_none", "one history", edited(both, 4, same)),
        ("contradiction_order", "the longer first", _as_notes(both.newer, both.older)),
        ("contradiction_path", "another path", edited(both, 7, [bytes(32)])),
        ("contradiction_growth", "no path", edited(both, 7, [])),
        ("contradiction_empty", "over no entries", edited(both, 4, _empty_note())),
        ("contradiction_origin", "of two logs", edited(both, 5, _elsewhere(both))),
    ]


def _of_segment() -> SealProof:
    """Return a proof whose ``sealed`` entry stands in a log that is no store log."""
    log = sealed(heads())
    moved = MadeLog(SEGMENT, log.hashed[:3])
    seal = seal_proof()
    return attrs.evolve(seal, entry=moved.inclusion(2))


def _as_notes(older: bytes, newer: bytes) -> bytes:
    return attrs.evolve(contradiction(), older=older, newer=newer).encode()


def _empty_note() -> bytes:
    checkpoint = Checkpoint(SIGNER.name, 0, STORE_LOG_TREE.empty)
    return sign(checkpoint.text(), SIGNER)


def _elsewhere(proof: Contradiction) -> bytes:
    _, newer = proof.checkpoints()
    return sign(attrs.evolve(newer, origin="elsewhere").text(), SIGNER)


def _unsigned() -> list[Row]:
    both, key = contradiction(), OTHER_SIGNER.public_key
    other = note_of(store_log(7), 6, OTHER_SIGNER)
    return [
        ("contradiction_signer", "by another key", edited(both, 3, str(key))),
        ("contradiction_signers", "by two keys", edited(both, 5, other)),
        ("contradiction_signature", "a signature of another text", _resigned(both)),
    ]


def _resigned(proof: Contradiction) -> bytes:
    text, _, signature = proof.older.rpartition(b"\n\n")
    _, _, other = proof.newer.rpartition(b"\n\n")
    assert signature != other
    return edited(proof, 4, text + b"\n\n" + other)
