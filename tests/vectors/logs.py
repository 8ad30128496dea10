"""
Vectors of spec/storelog.md and spec/merkle.md.
"""

from __future__ import annotations

from typing import Any

import attrs

from vectors.decoders import fold_value
from vectors.form import (
    BAD_PROOF,
    FILE,
    FORK,
    MALFORMED,
    NOT_COVERED,
    OTHER_STORE,
    SEGMENT,
    SESSION,
    STORE,
    Case,
    replaced,
)
from vectors.heads import HEAD

from castore import merkle
from castore.codec import encode_object, encode_record
from castore.formats import storelog
from castore.formats.entry import BlobRef, Reference
from castore.formats.head import Head
from castore.formats.seal import Recovery, Seal
from castore.formats.storelog import Listing, Rule, StoreLog
from castore.formats.taken import imported, withheld
from castore.formats.trees import SEGMENT_TREE, STORE_LOG_TREE
from castore.merkle import Tree


OTHER_FILE = bytes([0xF1]) * 16
FRAME = bytes([0x5D]) * 32
PAYLOAD = Reference("tag", BlobRef(bytes([0xAB]) * 32, 7))
DIGESTS = [bytes([0xB0 + n]) * 32 for n in range(3)]
SEAL = Seal(FRAME, 2)
PAGES = tuple(Reference("heads", BlobRef(each, 300)) for each in DIGESTS[:2])
LISTING = Listing(FILE, 3, 4096, FRAME)
LISTED = [FILE, 3, 4096, FRAME]
Entry = tuple[str, bytes, tuple[Reference, ...]]

IMPORTED = [(SEGMENT, 3, b"head", bytes(32)), (OTHER_STORE, 1, None, b"")]


def _facts(entries: list[Entry], **more: object) -> dict[str, Any]:
    items = [
        {"kind": kind, "body": body, "refs": encode_record([r.record() for r in refs])}
        for kind, body, refs in entries
    ]
    return {"store": STORE, "entries": items, **more}


def _gone(key: tuple[str, str] | None) -> Entry:
    return "deleted", storelog.deleted(HEAD, key), ()


def _of(kind: str, value: object, *refs: Reference) -> list[Entry]:
    return [(kind, encode_object(value), refs)]


def store_log_cases() -> list[Case]:
    """Return runs of store-log entries and what they say together."""
    cases = []
    for name, (desc, entries) in _good().items():
        log = StoreLog(STORE)
        for index, entry in enumerate(entries):
            log.apply(index, *entry)
        cases.append(Case(name, desc, _facts(entries), value=fold_value(log)))
    for name, (desc, entries) in (
        _bad() | _bad_seals() | _bad_packs() | _bad_deleted()
    ).items():
        cases.append(Case(name, desc, _facts(entries), MALFORMED))
    return cases + _other_cases()


def _good() -> dict[str, tuple[str, list[Entry]]]:
    side = Listing(OTHER_FILE, 2, 188, DIGESTS[0])
    listed = ("packs", storelog.packs([LISTING, side], []), ())
    dropped = ("packs", storelog.packs([], [FILE]), ())
    tagged = ("tagged", storelog.named("v1"), (PAYLOAD,))
    moved = attrs.evolve(PAYLOAD, blob=BlobRef(DIGESTS[1], 0))
    return {
        "start": ("the first entry", [("start", storelog.started("castore 1"), ())]),
        "listed": ("a pack and a side pack are listed", [listed]),
        "dropped": ("a listed pack is dropped", [listed, dropped]),
        "dropped_unlisted": ("a journal is dropped", [dropped]),
        "listed_anew": (
            "a file listed again with another size",
            [
                listed,
                ("packs", storelog.packs([attrs.evolve(LISTING, size=8192)], []), ()),
            ],
        ),
        "dropped_for_good": (
            "a file that was dropped is listed",
            [listed, dropped, listed],
        ),
        "listed_and_dropped": (
            "a file that the same entry drops is listed",
            [("packs", storelog.packs([LISTING], [FILE]), ())],
        ),
        "tagged": ("a payload is a root", [tagged]),
        "tag_moved": (
            "a tag moves",
            [tagged, ("tagged", storelog.named("v1"), (moved,))],
        ),
        "untagged": ("a tag goes", [tagged, ("untagged", storelog.named("v1"), ())]),
        "deleted": ("a segment is deleted", [_gone(None)]),
        "deleted_key": ("its session has a key", [_gone(("tool", "one"))]),
        "collected": (
            "blobs went, one of them twice",
            [
                ("collected", storelog.collected(3, DIGESTS[:2]), ()),
                ("collected", storelog.collected(4, DIGESTS[1:]), ()),
            ],
        ),
        "erased": (
            "one was erased, then put and collected",
            [
                ("erased", storelog.erased("asked for", DIGESTS[:2]), ()),
                ("collected", storelog.collected(4, DIGESTS[1:]), ()),
            ],
        ),
        "lost": ("blobs are given up", [("lost", storelog.erased("", DIGESTS), ())]),
        "sealed": ("all heads are sealed", [("sealed", SEAL.encode(), PAGES)]),
        "sealed_none": ("no heads", [("sealed", Seal(FRAME, 0).encode(), ())]),
        "recovered": (
            "an older state was restored",
            [("recovered", Recovery(7, FRAME).encode(), ())],
        ),
        "withheld": (
            "blobs that a bundle left out; one was collected since",
            [
                ("withheld", withheld(STORE, DIGESTS[:2]), ()),
                ("collected", storelog.collected(4, DIGESTS[1:]), ()),
            ],
        ),
        "imported": (
            "a bundle was taken in",
            [("imported", imported(STORE, STORE, IMPORTED), ())],
        ),
        "instance": ("a copy of a store", [("instance", storelog.instance(STORE), ())]),
        **_good_policies(),
    }


def _good_policies() -> dict[str, tuple[str, list[Entry]]]:
    return {
        "policy": (
            "the newer of two rules for the same; bodies of a session",
            [
                ("policy", storelog.policy(Rule(None, "checkpoint", 1, None)), ()),
                ("policy", storelog.policy(Rule(SESSION, None, None, 30)), ()),
                ("policy", storelog.policy(Rule(None, "checkpoint", 2, 7)), ()),
            ],
        ),
        "policy_away": (
            "a rule is taken away by one without numbers, another stays",
            [
                ("policy", storelog.policy(Rule(SESSION, "tool", 0, 1)), ()),
                ("policy", storelog.policy(Rule(None, "tool", 2, None)), ()),
                ("policy", storelog.policy(Rule(SESSION, "tool", None, None)), ()),
            ],
        ),
        "pinned": (
            "two entries are pinned, then one",
            [
                ("pinned", storelog.pinned(SEGMENT, 3), ()),
                ("pinned", storelog.pinned(SEGMENT, 5), ()),
                ("unpinned", storelog.pinned(SEGMENT, 3), ()),
            ],
        ),
    }


def _bad() -> dict[str, tuple[str, list[Entry]]]:
    two = {"name": "v1", "more": 1}
    start = encode_object({"created_by": "castore 1"})
    salted = attrs.evolve(PAYLOAD, role="other")
    return {
        "start_no_map": ("an array as body", _of("start", ["castore 1"])),
        "start_key": ("another key", _of("start", {"by": "castore 1"})),
        "start_value": ("bytes as text", _of("start", {"created_by": b"castore 1"})),
        "start_trailing": ("a byte behind the body", [("start", start + b"\0", ())]),
        "start_second_encoding": (
            "the count of pairs in a byte of its own",
            [("start", b"\xb8\x01" + start[1:], ())],
        ),
        "start_empty": ("an empty body", [("start", b"", ())]),
        "tagged_no_refs": ("no payload", _of("tagged", {"name": "v1"})),
        "tagged_two_refs": (
            "two payloads",
            _of("tagged", {"name": "v1"}, *[PAYLOAD] * 2),
        ),
        "tagged_role": ("another role", _of("tagged", {"name": "v1"}, salted)),
        "tagged_empty": ("an empty name", _of("tagged", {"name": ""}, PAYLOAD)),
        "tagged_1025": ("1,025 bytes", _of("tagged", {"name": "n" * 1025}, PAYLOAD)),
        "tagged_more": ("a key too many", _of("tagged", two, PAYLOAD)),
        "untagged_bytes": ("bytes as name", _of("untagged", {"name": b"v1"})),
        "untagged_no_key": ("no key", _of("untagged", {})),
        "collected_run": ("text as run", _of("collected", {"run": "1", "blobs": []})),
        "collected_order": (
            "keys in another order",
            _of("collected", {"blobs": [], "run": 1}),
        ),
        "collected_text": ("text as list", _of("collected", {"run": 1, "blobs": ""})),
        "collected_short": (
            "a digest of 31 bytes",
            _of("collected", {"run": 1, "blobs": [DIGESTS[0][1:]]}),
        ),
        "erased_reason": (
            "1,025 bytes of reason",
            _of("erased", {"reason": "r" * 1025, "blobs": []}),
        ),
        "erased_blobs": ("null as list", _of("erased", {"reason": "", "blobs": None})),
        "lost_short": (
            "a digest of 31 bytes",
            _of("lost", {"reason": "", "blobs": [DIGESTS[0][1:]]}),
        ),
        "lost_run": ("a run, no reason", _of("lost", {"run": 1, "blobs": []})),
        **_bad_bundles(),
        "policy_session": ("text as session", _of("policy", _rule(session="all"))),
        "policy_group": ("65 bytes", _of("policy", _rule(group="g" * 65))),
        "policy_newest": ("a negative count", _of("policy", _rule(newest=-1))),
        "policy_days": ("a text", _of("policy", _rule(days="7"))),
        "pinned_index": (
            "a negative index",
            _of("pinned", {"segment": SEGMENT, "index": -1}),
        ),
        "unpinned_segment": (
            "an id of 15 bytes",
            _of("unpinned", {"segment": SEGMENT[1:], "index": 0}),
        ),
        "instance_15": ("15 bytes", _of("instance", {"instance": STORE[1:]})),
        "instance_text": ("text", _of("instance", {"instance": "copy"})),
    }


def _bad_bundles() -> dict[str, tuple[str, list[Entry]]]:
    return {
        "withheld_reason": (
            "a reason, no bundle",
            _of("withheld", {"reason": "", "blobs": []}),
        ),
        "withheld_15": (
            "a bundle id of 15 bytes",
            _of("withheld", {"bundle": STORE[1:], "blobs": []}),
        ),
        "imported_count": (
            "a segment without entries",
            _of(
                "imported",
                {
                    "bundle": STORE,
                    "store": STORE,
                    "segments": [[SEGMENT, 0, None, b""]],
                },
            ),
        ),
        "imported_null": (
            "null as proof",
            _of(
                "imported",
                {
                    "bundle": STORE,
                    "store": STORE,
                    "segments": [[SEGMENT, 1, None, None]],
                },
            ),
        ),
        "imported_store": (
            "text as store",
            _of("imported", {"bundle": STORE, "store": "", "segments": []}),
        ),
    }


def _rule(**values: object) -> dict[str, object]:
    rule = {"session": None, "group": "checkpoint", "newest": 1, "days": None}
    return rule | values


def _bad_seals() -> dict[str, tuple[str, list[Entry]]]:
    return {
        "sealed_root": ("31 bytes", _of("sealed", {"heads": FRAME[1:], "count": 1})),
        "sealed_count": ("-1 heads", _of("sealed", {"heads": FRAME, "count": -1})),
        "sealed_role": (
            "a payload of another role",
            _of("sealed", {"heads": FRAME, "count": 1}, *PAGES, PAYLOAD),
        ),
        "recovered_root": (
            "null as root",
            _of("recovered", {"count": 1, "root": None}),
        ),
        "recovered_count": (
            "a count of 2^63",
            _of("recovered", {"count": 1 << 63, "root": FRAME}),
        ),
    }


def _bad_packs() -> dict[str, tuple[str, list[Entry]]]:
    def packs(add: object, drop: object = ()) -> list[Entry]:
        return _of("packs", {"add": add, "drop": drop})

    return {
        "packs_add_null": ("null as list", packs(None)),
        "packs_drop_null": ("null as list", packs([], None)),
        "packs_item": ("an item that is no array", packs([FILE])),
        "packs_three": ("an item of three elements", packs([LISTED[:3]])),
        "packs_id": ("a file id of 15 bytes", packs([replaced(LISTED, 0, FILE[1:])])),
        "packs_journal": ("a journal is listed", packs([replaced(LISTED, 1, 1)])),
        "packs_kind_4": ("an unknown kind", packs([replaced(LISTED, 1, 4)])),
        "packs_size": ("a negative size", packs([replaced(LISTED, 2, -1)])),
        "packs_hash": (
            "a frame hash of 31 bytes",
            packs([replaced(LISTED, 3, FRAME[1:])]),
        ),
        "packs_drop_id": ("a file id of 17 bytes", packs([], [FILE + b"\0"])),
    }


def _bad_deleted() -> dict[str, tuple[str, list[Entry]]]:
    def deleted(head: object, **more: object) -> list[Entry]:
        value = {"segment": SEGMENT, "session": SESSION, "head": head, "key": None}
        return _of("deleted", value | more)

    own = attrs.evolve(HEAD, session=STORE, segment=STORE).encode()
    foreign = attrs.evolve(HEAD, store=OTHER_STORE).encode()
    return {
        "deleted_null": ("no final head", deleted(None)),
        "deleted_cut": ("a head that is cut", deleted(HEAD.encode()[:-1])),
        "deleted_state": (
            "a head that is refused",
            deleted(encode_record(replaced(HEAD.record(), 5, 1))),
        ),
        "deleted_version": (
            "a head of version 2",
            deleted(encode_record(replaced(HEAD.record(), 0, 2))),
        ),
        "deleted_other_store": ("a head of another store", deleted(foreign)),
        "deleted_segment": ("another segment", deleted(HEAD.encode(), segment=FILE)),
        "deleted_session": ("another session", deleted(HEAD.encode(), session=FILE)),
        "deleted_key_text": ("text as key", deleted(HEAD.encode(), key="one")),
        "deleted_key_empty": ("an empty text", deleted(HEAD.encode(), key=["n", ""])),
        "deleted_store_log": (
            "the store log itself",
            deleted(own, segment=STORE, session=STORE),
        ),
    }


def _other_cases() -> list[Case]:
    gone: list[Entry] = [_gone(None)]
    late = attrs.evolve(HEAD, revision=3, seq=9)
    beside = attrs.evolve(HEAD, root=FRAME)
    value = {"listed": [], "dropped": [], "tags": {}, "deleted": [SEGMENT]}
    before: Head = attrs.evolve(HEAD, revision=1, count=1, seq=3)
    rest: Any = {"keys": {}, "absent": {}, "rules": [], "pins": []}
    known = value | rest | {"seals": [], "recovered": []}
    return [
        Case(
            "unknown_kind",
            "a kind that is not known",
            _facts(_of("lease", {})),
            NOT_COVERED,
        ),
        Case(
            "deleted_head",
            "its final head stands in a file",
            _facts(gone, head=HEAD.encode()),
            value=known,
        ),
        Case(
            "deleted_before",
            "an older head stands in a file",
            _facts(gone, head=before.encode()),
            value=known,
        ),
        Case(
            "deleted_beside",
            "another head of the final revision",
            _facts(gone, head=beside.encode()),
            FORK,
        ),
        Case(
            "deleted_behind",
            "a head of a later revision",
            _facts(gone, head=late.encode()),
            FORK,
        ),
    ]


# --- merkle.md ---------------------------------------------------------------

LEAVES = [bytes([n]) * 32 for n in range(8)]
TREES = {"segment": SEGMENT_TREE, "store log": STORE_LOG_TREE}


def merkle_cases() -> list[Case]:
    """Return roots and proofs of both kinds of tree."""
    cases = []
    for name, tree in TREES.items():
        for count in range(len(LEAVES) + 1):
            peaks = _peaks(tree, count)
            facts = {"tree": name, "leaves": LEAVES[:count]}
            value = {"root": merkle.root(tree, peaks), "peaks": peaks}
            case = f"{name.replace(' ', '_')}_{count}"
            cases.append(Case(case, f"{count} leaves", facts, value=value))
    doubled = [*LEAVES[:3], LEAVES[2]]
    peaks = _peaks(SEGMENT_TREE, 4, doubled)
    facts = {"tree": "segment", "leaves": doubled}
    value = {"root": merkle.root(SEGMENT_TREE, peaks), "peaks": peaks}
    desc = "an odd last leaf given twice is another tree than given once"
    cases.append(Case("segment_doubled", desc, facts, value=value))
    return cases + _inclusions() + _growths()


def _peaks(tree: Tree, count: int, leaves: list[bytes] | None = None) -> list[bytes]:
    peaks: list[bytes] = []
    for at, leaf in enumerate((leaves or LEAVES)[:count]):
        merkle.push(tree, peaks, at, tree.leaf(leaf))
    return peaks


def _root(tree: Tree, count: int) -> bytes:
    return merkle.root(tree, _peaks(tree, count))


def _read(tree: Tree) -> merkle.Read:
    def read(positions: list[merkle.Position]) -> list[bytes]:
        return [
            _peaks(tree, 1 << level, LEAVES[index << level :])[0]
            for level, index in positions
        ]

    return read


def _inclusion(index: int, count: int, name: str = "segment") -> dict[str, Any]:
    tree = TREES[name]
    proof = merkle.prove_inclusion(tree, index, count, _read(tree))
    facts: dict[str, Any] = {"tree": name, "index": index, "count": count}
    facts |= {"entry_hash": LEAVES[index], "root": _root(tree, count)}
    return facts | {"proof": proof}


def _inclusions() -> list[Case]:
    cases = [
        Case(
            f"inclusion_{name.replace(' ', '_')}_{index}_{count}",
            f"leaf {index} of {count}",
            _inclusion(index, count, name),
        )
        for name in TREES
        for index, count in ((0, 1), (1, 2), (2, 3), (3, 5), (6, 7), (0, 8))
    ]
    good = _inclusion(3, 5)
    proof: list[bytes] = good["proof"]
    tree = SEGMENT_TREE
    node = tree.node(tree.leaf(LEAVES[0]), tree.leaf(LEAVES[1]))
    bad: dict[str, tuple[str, dict[str, Any]]] = {
        "empty": ("no proof", {"proof": []}),
        "short": ("a hash too few", {"proof": proof[:-1]}),
        "long": ("a hash too many", {"proof": [*proof, proof[0]]}),
        "hash_31": ("a hash of 31 bytes", {"proof": [proof[0][1:], *proof[1:]]}),
        "hash_33": ("a hash of 33 bytes", {"proof": [proof[0] + b"\0", *proof[1:]]}),
        "hash_flipped": ("another hash", {"proof": [*proof[:-1], bytes(32)]}),
        "swapped": ("two hashes swapped", {"proof": [proof[1], proof[0], *proof[2:]]}),
        "other_leaf": ("another entry", {"entry_hash": LEAVES[4]}),
        "other_index": ("another index", {"index": 2}),
        "other_count": ("a count with a longer path", {"count": 9}),
        "other_root": ("another root", {"root": _root(tree, 4)}),
        "index_at_count": ("index = count", {"index": 5}),
        "index_beyond": ("an index beyond", {"index": 6}),
        "node_as_leaf": (
            "an inner node offered as a leaf of a smaller tree",
            {"index": 0, "count": 3, "entry_hash": node, "proof": proof[1:]},
        ),
    }
    for name, (desc, change) in bad.items():
        cases.append(Case(f"inclusion_{name}", desc, good | change, BAD_PROOF))
    return cases


def _growth(first: int, second: int, name: str = "segment") -> dict[str, Any]:
    tree = TREES[name]
    proof = merkle.prove_consistency(tree, first, second, _read(tree))
    facts: dict[str, Any] = {"tree": name, "first": first, "second": second}
    facts |= {"first_root": _root(tree, first), "second_root": _root(tree, second)}
    return facts | {"proof": proof}


def _growths() -> list[Case]:
    cases = [
        Case(
            f"consistency_{name.replace(' ', '_')}_{first}_{second}",
            f"from {first} to {second} leaves",
            _growth(first, second, name),
        )
        for name in TREES
        for first, second in ((0, 0), (0, 5), (1, 8), (3, 7), (4, 8), (6, 8), (5, 5))
    ]
    tree = SEGMENT_TREE
    good, same, none = _growth(3, 7), _growth(5, 5), _growth(0, 5)
    proof: list[bytes] = good["proof"]
    bad: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        "short": ("a hash too few", good, {"proof": proof[:-1]}),
        "long": ("a hash too many", good, {"proof": [*proof, proof[0]]}),
        "hash_31": ("31 bytes", good, {"proof": [proof[0][1:], *proof[1:]]}),
        "first_root": ("another first root", good, {"first_root": _root(tree, 4)}),
        "second_root": ("another second root", good, {"second_root": _root(tree, 8)}),
        "first_beyond": ("first > second", good, {"first": 8}),
        "swapped_roots": (
            "the roots swapped",
            good,
            {"first_root": good["second_root"], "second_root": good["first_root"]},
        ),
        "same_proof": ("a proof of the same count", same, {"proof": [proof[0]]}),
        "same_roots": ("two roots of one count", same, {"second_root": _root(tree, 4)}),
        "none_proof": ("a proof from no leaves", none, {"proof": [proof[0]]}),
        "none_first_root": ("another root of none", none, {"first_root": bytes(32)}),
        "none_second_root": (
            "leaves without a root",
            none,
            {"second_root": tree.empty},
        ),
    }
    for name, (desc, facts, change) in bad.items():
        cases.append(Case(f"consistency_{name}", desc, facts | change, BAD_PROOF))
    return cases
