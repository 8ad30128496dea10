"""
Vectors of spec/entry.md, entries in their stored form (spec/frame.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from vectors.form import (
    MALFORMED,
    PARENT,
    SEGMENT,
    SESSION,
    TIME_MS,
    Case,
    hexed,
    replaced,
)

from castore.codec import encode_record
from castore.digest import blob_digest, in_context
from castore.formats.entry import Origin, Reference, Start, genesis, parse_refs
from castore.limits import SLICED_SIZE_MIN


BODY = b'{"role":"user"}'
NAME = (blob_digest(BODY), len(BODY))
GENESIS = genesis(SESSION, SEGMENT)
PREV = bytes([0xEE]) * 32
SLICES = bytes([0x51]) * 32
REF = ["tool.out", bytes([0xAB]) * 32, 7, 0, None]
LARGE = ["tool.out", bytes([0xAB]) * 32, SLICED_SIZE_MIN, 0, SLICES]
LIST = ["", bytes([0xCD]) * 32, 300, 2, None]
START = Start(SESSION, SEGMENT, "new")
ORIGIN = Origin(SESSION, PARENT, 5, bytes([0x07]) * 32, PREV, 3)
FORKED = Start(SESSION, SEGMENT, "fork", ORIGIN)
PLAIN = [TIME_MS, "line", 0, []]
LARGEST_REF = ["r" * 64, bytes([0xAB]) * 32, 2**63 - 1, 0, SLICES]
LARGEST_START = Start(
    SESSION,
    SEGMENT,
    "fork",
    attrs.evolve(ORIGIN, count=2**63 - 1),
    ("n" * 64, "t" * 1024),
)
LARGEST = [2**63 - 1, "start", 0, [LARGEST_REF] * 256, LARGEST_START.record()]

Stored = list[Any]


def run(
    stored: Sequence[Any],
    *,
    index: int = 5,
    prev: bytes = PREV,
    bodies: Sequence[tuple[bytes, int]] = (NAME,),
    count: int | None = None,
) -> dict[str, Any]:
    """Return the input of a case: an entries record and where it stands."""
    facts: dict[str, Any] = {"stored": encode_record(list(stored))}
    facts["count"] = len(stored) if count is None else count
    facts |= {"first_index": index, "prev": prev, "bodies": [list(b) for b in bodies]}
    return facts | {"session": SESSION, "segment": SEGMENT}


def hashed_forms(facts: dict[str, Any], stored: Sequence[Stored]) -> list[Any]:
    """Return hashed form and hash of each entry, as spec/frame.md rebuilds them."""
    clock, prev, forms = 0, facts["prev"], []
    for index, (delta, kind, body, *rest) in enumerate(stored, facts["first_index"]):
        clock += delta or 0
        name = facts["bodies"][body] if type(body) is int else body
        form = [1, index, prev, None if delta is None else clock, kind, *name, *rest]
        encoded = encode_record(form)
        prev = in_context["entry"](encoded)
        forms.append({"hashed": short(encoded), "hash": prev})
    return forms


def _good() -> list[Case]:
    many = [blob_digest(bytes([n])) for n in range(3)]
    bodies = [(digest, 1) for digest in many]
    first = run([[TIME_MS, "start", 0, [], START.record()]], index=0, prev=GENESIS)
    keyed = Start(SESSION, SEGMENT, "import", key=("claude-code", "2a55af89"))
    compacted = Start(SESSION, SEGMENT, "compaction", Origin(*_ORIGIN_FIELDS))
    good: dict[str, tuple[str, dict[str, Any], list[Stored]]] = {
        "plain": ("one entry without references", {}, [PLAIN]),
        "references": (
            "a reference, one above 8 MiB, one to a ref list",
            {},
            [[TIME_MS, "line", 0, [REF, LARGE, LIST]]],
        ),
        "body_by_name": (
            "a body that stands elsewhere",
            {},
            [replaced(PLAIN, 2, [*NAME])],
        ),
        "several": (
            "three bodies in any order, times that go back, one without a time",
            {"bodies": bodies},
            [
                [TIME_MS, "line", 2, []],
                [None, "line", 0, []],
                [-1000, "line", 1, [REF]],
                [0, "line", 2, []],
            ],
        ),
        "no_time": ("no claim of a time", {}, [replaced(PLAIN, 0, None)]),
        "time_0": ("time 0 is a time", {}, [replaced(PLAIN, 0, 0)]),
        "time_most": ("the last time there is", {}, [replaced(PLAIN, 0, 2**63 - 1)]),
        "index_most": ("the last index there is", {"index": 2**63 - 1}, [PLAIN]),
        "kind_64": ("a kind of 64 bytes", {}, [replaced(PLAIN, 1, "\u00e9" * 32)]),
        "kind_unknown": ("an unknown kind is data", {}, [replaced(PLAIN, 1, "\0?")]),
        "role_empty": ("an empty role", {}, [[0, "line", 0, [replaced(REF, 0, "")]]]),
        "role_64": ("a role of 64 bytes", {}, [[0, "line", 0, [["r" * 64, *REF[1:]]]]]),
        "size_8_mib": (
            "8 MiB exactly have no slices",
            {},
            [[0, "line", 0, [replaced(REF, 2, SLICED_SIZE_MIN - 1)]]],
        ),
        "refs_256": ("256 references", {}, [[0, "line", 0, [REF] * 256]]),
        "fork": ("the start of a fork", {}, [[0, "start", 0, [], FORKED.record()]]),
    }
    starts = {"keyed": keyed, "compacted": compacted}
    cases = [_case("start", "the start of a segment", first)]
    for name, start in starts.items():
        stored = [[TIME_MS, "start", 0, [REF], start.record()], [5, "line", 0, []]]
        facts = run(stored, index=0, prev=GENESIS)
        desc = f"a start record with cause {start.cause} and an entry behind it"
        cases.append(_case(f"start_{name}", desc, facts, stored))
    for name, (desc, options, entries) in good.items():
        cases.append(_case(name, desc, run(entries, **options), entries))
    return cases


_ORIGIN_FIELDS = (SESSION, PARENT, 9, bytes([0x07]) * 32, PREV, None)


def _case(
    name: str, desc: str, facts: dict[str, Any], stored: Sequence[Stored] | None = None
) -> Case:
    forms = stored or [[TIME_MS, "start", 0, [], START.record()]]
    value = {"entries": hashed_forms(facts, forms)}
    return Case(name, desc, _packed(facts), value=value)


def short(data: bytes) -> Any:
    """Return *data* in hex, references that repeat written short."""
    return hexed(data, encode_record(REF), encode_record(LARGEST_REF))


def _packed(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"stored": short(facts["stored"])}


def _bad_entries() -> dict[str, tuple[str, Stored]]:
    return {
        "three_fields": ("an element too few", PLAIN[:3]),
        "six_fields": ("an element too many", [0, "start", 0, [], START.record(), 1]),
        "no_array": ("an entry that is no array", 7),  # type: ignore[dict-item]
        "time_text": ("a time that is text", replaced(PLAIN, 0, "0")),
        "time_true": ("true instead of a time", replaced(PLAIN, 0, True)),
        "time_negative": ("a time before 1970", replaced(PLAIN, 0, -1)),
        "time_too_late": ("a time of 2^63", replaced(PLAIN, 0, 2**63)),
        "kind_empty": ("an empty kind", replaced(PLAIN, 1, "")),
        "kind_65": ("a kind of 65 bytes", replaced(PLAIN, 1, "k" * 65)),
        "kind_65_wide": ("33 letters, 66 bytes", replaced(PLAIN, 1, "\u00e9" * 33)),
        "kind_bytes": ("a kind that is a byte string", replaced(PLAIN, 1, b"line")),
        "body_beyond": ("a body number that the frame lacks", replaced(PLAIN, 2, 1)),
        "body_negative": ("a negative body number", replaced(PLAIN, 2, -1)),
        "body_null": ("no body", replaced(PLAIN, 2, None)),
        "body_digest": ("a digest of 31 bytes", replaced(PLAIN, 2, [NAME[0][1:], 15])),
        "body_size": ("a negative size", replaced(PLAIN, 2, [NAME[0], -1])),
        "body_fields": ("a digest without a size", replaced(PLAIN, 2, [NAME[0]])),
        "refs_null": ("null instead of references", replaced(PLAIN, 3, None)),
        "refs_257": ("257 references", replaced(PLAIN, 3, [REF] * 257)),
        "start_missing": ("kind start without a record", replaced(PLAIN, 1, "start")),
        "start_elsewhere": ("a record without kind start", [*PLAIN, FORKED.record()]),
    }


def _bad_refs() -> dict[str, tuple[str, Any]]:
    return {
        "no_array": ("a reference that is no array", b"x"),
        "four_fields": ("an element too few", REF[:4]),
        "six_fields": ("an element too many", [*REF, None]),
        "role_65": ("a role of 65 bytes", replaced(REF, 0, "r" * 65)),
        "role_null": ("no role", replaced(REF, 0, None)),
        "digest_31": ("a digest of 31 bytes", replaced(REF, 1, bytes(31))),
        "digest_text": ("a digest as text", replaced(REF, 1, "a" * 32)),
        "size_negative": ("a negative size", replaced(REF, 2, -1)),
        "size_2_63": ("a size of 2^63", replaced(LARGE, 2, 2**63)),
        "flag_salted": ("flag bit 0, reserved", replaced(REF, 3, 1)),
        "flag_unknown": ("flag bit 2, unknown", replaced(REF, 3, 4)),
        "flags_false": ("false instead of flags 0", replaced(REF, 3, False)),
        "slices_missing": ("more than 8 MiB without slices", replaced(LARGE, 4, None)),
        "slices_unexpected": ("slices of a small payload", replaced(REF, 4, SLICES)),
        "slices_31": ("a slices digest of 31 bytes", replaced(LARGE, 4, bytes(31))),
        "list_role": ("a ref list with a role", replaced(LIST, 0, "r")),
        "list_slices": ("a ref list with slices", replaced(LIST, 4, SLICES)),
        "list_empty": ("a ref list of none", replaced(LIST, 2, 0)),
        "list_65537": ("a ref list of 65,537", replaced(LIST, 2, 65_537)),
    }


def _bad_starts() -> dict[str, tuple[str, int, Any]]:
    new, fork, other = START.record(), FORKED.record(), bytes(16)
    origin: list[Any] = fork[3]
    return {
        "no_array": ("a start record that is no array", 0, b"x"),
        "four_fields": ("an element too few", 0, new[:4]),
        "other_session": ("another session", 0, replaced(new, 0, other)),
        "other_segment": ("another segment", 0, replaced(new, 1, other)),
        "session_15": ("a session id of 15 bytes", 0, replaced(new, 0, bytes(15))),
        "cause_unknown": ("an unknown cause", 0, replaced(new, 2, "because")),
        "cause_null": ("no cause", 0, replaced(new, 2, None)),
        "fork_of_nothing": ("cause fork without an origin", 5, replaced(fork, 3, None)),
        "fork_at_0": ("cause fork at index 0", 0, fork),
        "fork_elsewhere": ("a fork at 5 of 6 entries", 5, replaced(fork, 3, _count(6))),
        "new_at_5": ("cause new at index 5", 5, new),
        "import_at_5": ("cause import at index 5", 5, replaced(fork, 2, "import")),
        "origin_fields": ("an origin without turn", 5, replaced(fork, 3, origin[:5])),
        "origin_session": (
            "a session of 15 bytes",
            5,
            replaced(fork, 3, _origin(0, bytes(15))),
        ),
        "origin_segment": (
            "a segment of 17 bytes",
            5,
            replaced(fork, 3, _origin(1, bytes(17))),
        ),
        "origin_count": ("a negative count", 0, _compaction(_count(-1))),
        "origin_root": (
            "a root of 31 bytes",
            5,
            replaced(fork, 3, _origin(3, bytes(31))),
        ),
        "origin_other_last": (
            "another last entry than the one before",
            5,
            replaced(fork, 3, _origin(4, bytes(32))),
        ),
        "origin_last": (
            "a hash of 33 bytes",
            5,
            replaced(fork, 3, _origin(4, bytes(33))),
        ),
        "origin_turn": ("a negative turn", 5, replaced(fork, 3, _origin(5, -1))),
        "key_fields": ("a key of one text", 0, replaced(new, 4, ["one"])),
        "key_text": ("a key that is text", 0, replaced(new, 4, "no")),
        "key_no_space": ("an empty namespace", 0, replaced(new, 4, ["", "x"])),
        "key_space_65": ("65 bytes of namespace", 0, replaced(new, 4, ["n" * 65, "x"])),
        "key_empty": ("an empty text", 0, replaced(new, 4, ["n", ""])),
        "key_1025": ("a text of 1,025 bytes", 0, replaced(new, 4, ["n", "t" * 1025])),
    }


def _origin(field: int, value: object) -> list[Any]:
    return replaced(FORKED.record()[3], field, value)


def _count(count: int) -> list[Any]:
    return _origin(2, count)


def _compaction(origin: list[Any]) -> list[Any]:
    return [SESSION, SEGMENT, "compaction", origin, None]


def _bad_runs() -> dict[str, tuple[str, dict[str, Any]]]:
    good = run([PLAIN])
    head = b"\x81\x84\x00\x64line\x00"
    return {
        "fewer": ("fewer entries than the table says", run([PLAIN], count=2)),
        "more": ("more entries than the table says", run([PLAIN, PLAIN], count=1)),
        "index_beyond": (
            "a second entry at index 2^63",
            run([PLAIN, PLAIN], index=2**63 - 1),
        ),
        "time_sum": (
            "times that add up to 2^63",
            run([replaced(PLAIN, 0, 2**63 - 1), replaced(PLAIN, 0, 1)]),
        ),
        "time_sum_negative": (
            "times that add up to -1",
            run([replaced(PLAIN, 0, 1), replaced(PLAIN, 0, -2)]),
        ),
        "second_encoding": (
            "references of none, its count in a byte of its own",
            good | {"stored": head + b"\x98\x00"},
        ),
        "trailing": ("a byte behind it", good | {"stored": head + b"\x80\x00"}),
        "no_record": ("a map", good | {"stored": b"\xa0"}),
    }


def _ref_lists() -> list[Case]:
    unit = encode_record(REF)
    many = b"\x9a\x00\x01\x00\x01" + unit * 65_537
    two = [REF, LARGE]
    most = b"\x9a\x00\x01\x00\x00" + unit * 65_536
    value = {"digest": in_context["refs"](most), "count": 65_536}
    cases = [_ref_list("list", "a small one and one above 8 MiB", two)]
    facts = {"ref_list": hexed(most, unit)}
    cases.append(Case("list_65536", "65,536 references", facts, value=value))
    bad = {
        "list_none": ("a ref list of none", b"\x80"),
        "list_too_many": ("65,537 references", many),
        "list_in_list": ("a ref list in a ref list", encode_record([REF, LIST])),
        "list_bad_reference": (
            "slices of a small payload",
            encode_record([[*REF[:4], PREV]]),
        ),
        "list_no_array": ("no array", b"\x01"),
        "list_second_encoding": ("its count in a byte of its own", b"\x98\x01" + unit),
        "list_trailing": ("a byte behind it", b"\x81" + unit + b"\0"),
    }
    for name, (desc, data) in bad.items():
        cases.append(Case(name, desc, {"ref_list": hexed(data, unit)}, MALFORMED))
    return cases


def _ref_list(name: str, desc: str, refs: list[Any]) -> Case:
    data = encode_record(refs)
    found: tuple[Reference, ...] = parse_refs(refs)
    value = {"digest": in_context["refs"](data), "count": len(refs), "refs": found}
    return Case(name, desc, {"ref_list": data}, value=value)


def entry_cases() -> list[Case]:
    """Return entries in their place, references, start records, ref lists."""
    cases = _good()
    desc = "the most bytes that an entry can have by the other limits"
    cases.append(_case("largest", desc, run([LARGEST], index=2**63 - 1), [LARGEST]))
    for name, (desc, stored) in _bad_entries().items():
        cases.append(Case(name, desc, _packed(run([stored])), MALFORMED))
    for name, (desc, ref) in _bad_refs().items():
        facts = run([[0, "line", 0, [ref]]])
        cases.append(Case(f"reference_{name}", desc, facts, MALFORMED))
    for name, (desc, index, start) in _bad_starts().items():
        prev = PREV if index else GENESIS
        facts = run([[0, "start", 0, [], start]], index=index, prev=prev)
        cases.append(Case(f"start_{name}", desc, facts, MALFORMED))
    for name, (desc, facts) in _bad_runs().items():
        cases.append(Case(name, desc, facts, MALFORMED))
    return cases + _ref_lists()
