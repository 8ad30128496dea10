"""
Vectors of spec/head.md and spec/commit.md.
"""

from __future__ import annotations

from typing import Any

import attrs

from vectors.form import (
    FILE,
    FOREIGN,
    FORK,
    MALFORMED,
    OTHER_STORE,
    SEGMENT,
    SESSION,
    STORE,
    TIME_MS,
    Case,
    hexed,
    replaced,
)

from castore.codec import encode_record
from castore.digest import in_context
from castore.formats.commit import Commit, CommitKey, hash_commit, store_genesis
from castore.formats.head import Head, hash_head


ROOT = bytes([0x07]) * 32
LAST = bytes([0x1A]) * 32
HEAD = Head(STORE, SESSION, SEGMENT, 0, 2, 3, ROOT, LAST, 7, TIME_MS)
KEY = CommitKey(SEGMENT, "upload 17", bytes([0xC0]) * 32, 3, 2)
SIDES = ((FILE, 4096, bytes([0x5D]) * 32), (SEGMENT, 188, bytes([0x5E]) * 32))
COMMIT = Commit(7, bytes([0x66]) * 32, TIME_MS, (hash_head(HEAD.encode()),), KEY, SIDES)


def head_cases() -> list[Case]:
    """Return heads."""
    fork = attrs.evolve(HEAD, fork_index=2)
    most = 2**63 - 1
    largest = attrs.evolve(HEAD, count=most, revision=most, seq=most, time_ms=most)
    first = attrs.evolve(HEAD, revision=1, count=1, seq=1, time_ms=0)
    good = {
        "head": ("of a segment that is no fork", HEAD),
        "fork": ("of a fork with one entry of its own", fork),
        "first": ("the least of every number", first),
        "largest": ("the most of every number", largest),
        "store_log": (
            "of the store log",
            attrs.evolve(HEAD, session=STORE, segment=STORE),
        ),
    }
    cases = []
    for name, (desc, head) in good.items():
        data = head.encode()
        value = {"head": head, "hash": hash_head(data)}
        cases.append(Case(name, desc, {"data": data, "store": STORE}, value=value))
    for name, (desc, record, verdict) in _bad_heads().items():
        facts = {"data": encode_record(record), "store": STORE}
        cases.append(Case(name, desc, facts, verdict))
    encoded = HEAD.encode()
    second = encoded[:1] + b"\x18\x01" + encoded[2:]
    cases += [
        Case(name, desc, {"data": data, "store": STORE}, MALFORMED)
        for name, desc, data in (
            ("second_encoding", "the version in two bytes", second),
            ("trailing", "a byte behind it", encoded + b"\0"),
            ("cut", "a byte too few", encoded[:-1]),
        )
    ]
    other = attrs.evolve(HEAD, root=LAST).encode()
    facts = {"data": HEAD.encode(), "store": STORE, "other": other}
    desc = "two heads of one segment and revision"
    return [*cases, Case("two_of_one_revision", desc, facts, FORK)]


def _bad_heads() -> dict[str, tuple[str, list[Any], str]]:
    good = HEAD.record()
    names = {1: "store", 2: "session", 3: "segment", 8: "root", 9: "last"}
    bad = {
        "version_0": ("version 0", replaced(good, 0, 0), MALFORMED),
        "version_2": ("version 2", replaced(good, 0, 2), MALFORMED),
        "version_true": ("true as version", replaced(good, 0, True), MALFORMED),
        "version_text": ("text as version", replaced(good, 0, "1"), MALFORMED),
        "other_store": ("another store", replaced(good, 1, OTHER_STORE), FOREIGN),
        "eleven_fields": ("an element too few", good[:11], MALFORMED),
        "thirteen_fields": ("an element too many", [*good, None], MALFORMED),
        "fork_index_negative": ("fork index -1", replaced(good, 4, -1), MALFORMED),
        "state_1": ("a state that is reserved", replaced(good, 5, 1), MALFORMED),
        "state_false": ("false as state", replaced(good, 5, False), MALFORMED),
        "revision_0": ("revision 0", replaced(good, 6, 0), MALFORMED),
        "revision_2_63": ("revision 2^63", replaced(good, 6, 2**63), MALFORMED),
        "nothing_own": ("count = fork index", replaced(good, 4, 3), MALFORMED),
        "below_fork": ("count < fork index", replaced(good, 4, 4), MALFORMED),
        "count_2_63": ("count 2^63", replaced(good, 7, 2**63), MALFORMED),
        "seq_0": ("seq 0", replaced(good, 10, 0), MALFORMED),
        "seq_2_63": ("seq 2^63", replaced(good, 10, 2**63), MALFORMED),
        "time_negative": ("a time before 1970", replaced(good, 11, -1), MALFORMED),
        "time_null": ("no time", replaced(good, 11, None), MALFORMED),
    }
    for index, name in names.items():
        field: bytes = good[index]
        desc = f"{name} of {len(field) - 1} bytes"
        bad[f"{name}_short"] = (desc, replaced(good, index, field[1:]), MALFORMED)
    return bad


def commit_cases() -> list[Case]:
    """Return commit records."""
    first = Commit(1, store_genesis(STORE), 0, COMMIT.heads)
    most = 2**63 - 1
    hashes = tuple(in_context["head"](bytes([n])) for n in range(3))
    twice = ((FILE, 255, ROOT), (FILE, 400, LAST))
    good = {
        "commit": ("with a key and two side packs", COMMIT),
        "first": ("seq 1 behind the store's genesis", first),
        "three_heads": ("of three segments", attrs.evolve(COMMIT, heads=hashes)),
        "same_head_twice": (
            "one head hash twice",
            attrs.evolve(first, heads=(ROOT,) * 2),
        ),
        "largest": ("the most of seq and time", Commit(most, LAST, most, COMMIT.heads)),
        "heads_1024": ("1,024 heads", attrs.evolve(first, heads=(ROOT,) * 1024)),
        "side_twice": ("two ends of one side pack", attrs.evolve(COMMIT, sides=twice)),
        "key_512": (
            "a key of 512 bytes",
            attrs.evolve(COMMIT, key=attrs.evolve(KEY, text="k" * 512)),
        ),
    }
    unit = encode_record([ROOT])[1:]
    cases = []
    for name, (desc, commit) in good.items():
        data = commit.encode()
        value = {"hash": hash_commit(data), "commit": commit}
        if len(commit.heads) > 3:
            value = {"hash": hash_commit(data), "head_count": len(commit.heads)}
        facts = {"data": hexed(data, unit)}
        cases.append(Case(name, desc, facts, value=value))
    for name, (desc, record, verdict) in _bad_commits().items():
        facts = {"data": hexed(encode_record(record), unit)}
        cases.append(Case(name, desc, facts, verdict))
    data = COMMIT.encode()
    second = data[:1] + b"\x18\x01" + data[2:]
    cases += [
        Case(
            "second_encoding", "the version in two bytes", {"data": second}, MALFORMED
        ),
        Case("trailing", "a byte behind it", {"data": data + b"\0"}, MALFORMED),
        Case("cut", "a byte too few", {"data": data[:-1]}, MALFORMED),
    ]
    other = attrs.evolve(COMMIT, time_ms=TIME_MS + 1).encode()
    facts = {"data": data, "other": other}
    return [*cases, Case("two_of_one_seq", "two records of one seq", facts, FORK)]


def _bad_commits() -> dict[str, tuple[str, list[Any], str]]:
    good, key, sides = COMMIT.record(), COMMIT.record()[5], COMMIT.record()[6]
    fields = {
        "version_2": ("version 2", 0, 2),
        "version_null": ("no version", 0, None),
        "seq_0": ("seq 0", 1, 0),
        "seq_2_63": ("seq 2^63", 1, 2**63),
        "prev_short": ("prev of 31 bytes", 2, LAST[1:]),
        "prev_null": ("no prev", 2, None),
        "time_negative": ("a time before 1970", 3, -1),
        "heads_none": ("no heads", 4, []),
        "heads_null": ("null instead of heads", 4, None),
        "heads_1025": ("1,025 heads", 4, [ROOT] * 1025),
        "head_short": ("a head hash of 31 bytes", 4, [ROOT[1:]]),
        "key_text": ("a key that is text", 5, "upload 17"),
        "key_four": ("a key of four elements", 5, key[:4]),
        "key_segment": ("a segment id of 15 bytes", 5, _in(key, 0, SEGMENT[1:])),
        "key_empty": ("an empty text", 5, _in(key, 1, "")),
        "key_513": ("a text of 513 bytes", 5, _in(key, 1, "k" * 513)),
        "key_content": ("a content hash of 31 bytes", 5, _in(key, 2, ROOT[1:])),
        "key_index": ("a negative first index", 5, _in(key, 3, -1)),
        "key_count": ("a negative count", 5, _in(key, 4, -1)),
        "sides_null": ("null instead of side packs", 6, None),
        "sides_two": ("a side pack without its hash", 6, sides[:2]),
        "side_id": ("a file id of 15 bytes", 6, _in(sides, 0, FILE[1:])),
        "side_end": ("a negative end", 6, _in(sides, 1, -1)),
        "side_hash": ("a frame hash of 31 bytes", 6, _in(sides, 2, ROOT[1:])),
    }
    bad = {
        name: (desc, replaced(good, index, value), MALFORMED)
        for name, (desc, index, value) in fields.items()
    }
    bad["six_fields"] = ("an element too few", good[:6], MALFORMED)
    bad["eight_fields"] = ("an element too many", [*good, None], MALFORMED)
    return bad


def _in(record: object, index: int, value: object) -> list[Any]:
    return replaced(record, index, value)  # type: ignore[arg-type]
