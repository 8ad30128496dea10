"""
Vectors of spec/blob.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vectors.forge import repeat_frame
from vectors.form import CORRUPT_BLOB, MALFORMED, MISSING_BLOB, Case, hexed

from castore.codec import encode_record
from castore.digest import blob_digest
from castore.formats.chunked import encode_chunks
from castore.limits import BLOB_RECORD_SIZE_MAX, SLICE_SIZE


BASE = bytes(range(256)) * 2
RESULT = BASE[:200] + b"changed" + BASE[200:] + b"and more"
NEWEST = RESULT[:100] + b"again" + RESULT[100:]

# What zstd made of these at level 3, with the older one as prefix; literals, so
# that no version of a library can change a vector.
DELTA = bytes.fromhex(
    "28b52ffd600f01dd0000786368616e676564616e64206d6f72650200350a846ac501940002"
)
NEWEST_DELTA = bytes.fromhex("28b52ffd60140185000028616761696e0200a81744d5b090ae20")

Stored = dict[str, Any]


def whole(data: bytes) -> Stored:
    """Return the record of *data* as a whole blob."""
    return {"digest": blob_digest(data), "descriptor": [1, len(data)], "payload": data}


def difference(
    data: bytes, delta: bytes, base: bytes, *, depth: int = 1, digest: bytes = b""
) -> Stored:
    """Return the record of *data* as a difference; *digest* other than its own."""
    name = digest or blob_digest(data)
    descriptor = [2, len(delta), name, len(data), blob_digest(base), depth]
    return {"digest": name, "descriptor": descriptor, "payload": delta}


def chunk_list(data: bytes, payload: bytes) -> Stored:
    """Return the record of *data* as a chunk list."""
    name = blob_digest(data)
    descriptor = [3, len(payload), name, len(data)]
    return {"digest": name, "descriptor": descriptor, "payload": payload}


def chunked(parts: Sequence[bytes], slices: bytes = b"") -> bytes:
    """Return the payload of the chunk list of *parts*."""
    return encode_chunks([(blob_digest(part), len(part)) for part in parts], slices)


def _facts(records: Sequence[Stored], digest: bytes = b"") -> dict[str, Any]:
    """Return the input for the first of *records*."""
    written = [item | {"payload": hexed(item["payload"])} for item in records]
    return {"digest": digest or records[0]["digest"], "records": written}


def blob_cases() -> list[Case]:
    """Return blobs in all forms."""
    large = bytes(BLOB_RECORD_SIZE_MAX)
    both = large + b"z"
    pieces = (both[at : at + SLICE_SIZE] for at in range(0, len(both), SLICE_SIZE))
    slices = b"".join(blob_digest(piece) for piece in pieces)
    step = difference(RESULT, DELTA, BASE)
    alone = repeat_frame(100)
    good = {
        "whole": ("a whole blob", BASE, [whole(BASE)]),
        "empty": ("the empty blob", b"", [whole(b"")]),
        "difference": ("a difference", RESULT, [step, whole(BASE)]),
        "chain": (
            "a difference to a difference",
            NEWEST,
            [difference(NEWEST, NEWEST_DELTA, RESULT, depth=2), step, whole(BASE)],
        ),
        "depth": (
            "a depth that is no longer so is not judged",
            NEWEST,
            [difference(NEWEST, NEWEST_DELTA, RESULT, depth=9), whole(RESULT)],
        ),
        "nothing_shared": (
            "a difference that uses nothing of its base",
            b"z" * 100,
            [difference(b"z" * 100, alone, BASE), whole(BASE)],
        ),
        "base_of_8": (
            "a base of eight bytes",
            b"z" * 100,
            [difference(b"z" * 100, alone, b"12345678"), whole(b"12345678")],
        ),
        "chunk_list": (
            "a whole chunk and a difference",
            BASE + RESULT,
            [
                chunk_list(BASE + RESULT, chunked([BASE, RESULT])),
                whole(BASE),
                step,
            ],
        ),
        "chunk_twice": (
            "one chunk twice",
            BASE * 2,
            [chunk_list(BASE * 2, chunked([BASE, BASE])), whole(BASE)],
        ),
        "chunk_list_8_mib": (
            "8 MiB have no slices",
            large,
            [
                chunk_list(large, chunked([large[1:], b"\0"])),
                whole(large[1:]),
                whole(b"\0"),
            ],
        ),
        "chunk_list_large": (
            "8 MiB and one byte have nine slices",
            both,
            [
                chunk_list(both, chunked([large, b"z"], slices)),
                whole(large),
                whole(b"z"),
            ],
        ),
    }
    cases = [
        Case(name, desc, _facts(records), value={"data": data})
        for name, (desc, data, records) in good.items()
    ]
    return cases + _bad_differences() + _bad_lists(both, slices) + _bad_content()


def _bad_differences() -> list[Case]:
    deltas = {
        "none": ("no zstd frame", b"x" * 20),
        "states_more": ("a content size of one more", repeat_frame(101)),
        "states_less": ("a content size of one less", repeat_frame(99)),
        "gives_less": ("a byte less than stated", repeat_frame(99, states=100)),
        "gives_more": ("a byte more than stated", repeat_frame(101, states=100)),
        "states_none": ("no content size", repeat_frame(100, states=-1, window=10)),
        "dictionary": ("a dictionary id", repeat_frame(100, dictionary=True)),
        "window_28": ("a window of 2^28", repeat_frame(100, window=28)),
        "trailing": ("a byte behind it", repeat_frame(100) + b"\0"),
        "second_frame": ("a second frame", repeat_frame(100) + repeat_frame(1)),
        "cut": ("a byte too few", repeat_frame(100)[:-1]),
        "empty": ("no bytes", b""),
    }
    cases = []
    for name, (desc, delta) in deltas.items():
        records = [difference(b"z" * 100, delta, BASE), whole(BASE)]
        case = f"difference_{name}"
        cases.append(Case(case, desc, _facts(records), CORRUPT_BLOB))
    return cases


def _bad_lists(both: bytes, slices: bytes) -> list[Case]:
    parts = [BASE, RESULT]
    good = chunked(parts)
    names = [blob_digest(part) for part in parts]
    sizes = [len(part) for part in parts]
    pairs = list(zip(names, sizes, strict=True))
    data = b"".join(parts)
    large = (blob_digest(both), len(both))
    lists = {
        "less": ("sizes that add up to less", data, chunked(parts[:1])),
        "more": ("sizes that add up to more", data, chunked([*parts, b"z"])),
        "none": ("no chunks", b"", chunked([])),
        "empty_chunk": ("a chunk of no bytes", data, chunked([*parts, b""])),
        "chunk_large": ("a chunk of 8 MiB + 1", both, encode_chunks([large], slices)),
        "odd": (
            "a digest without a size",
            data,
            encode_record([[names[0], 1039, names[1]], b""]),
        ),
        "digest": (
            "a digest of 31 bytes",
            data,
            encode_chunks([(names[0][1:], sizes[0]), pairs[1]], b""),
        ),
        "fields": ("no slices", data, b"\x81" + good[1:-1]),
        "slices_null": ("null instead of slices", data, good[:-1] + b"\xf6"),
        "second_encoding": ("no slices in two bytes", data, good[:-1] + b"\x58\x00"),
        "trailing": ("a byte behind it", data, good + b"\0"),
        "slices_small": (
            "slices of a small blob",
            data,
            encode_chunks(pairs, slices[:32]),
        ),
        "slices_missing": (
            "no slices of a large blob",
            both,
            chunked([both[:-1], both[-1:]]),
        ),
        "slices_short": (
            "a slice too few",
            both,
            chunked([both[:-1], both[-1:]], slices[:-32]),
        ),
        "slices_long": (
            "a slice too many",
            both,
            chunked([both[:-1], both[-1:]], slices + slices[:32]),
        ),
    }
    cases = []
    for name, (desc, content, payload) in lists.items():
        chunks = [whole(BASE), whole(RESULT), whole(both[:-1]), whole(both[-1:])]
        records = [chunk_list(content, payload), *chunks[: 4 if content is both else 2]]
        cases.append(Case(f"list_{name}", desc, _facts(records), MALFORMED))
    return cases


def _bad_content() -> list[Case]:
    other = blob_digest(b"other")
    named = chunk_list(BASE + RESULT, chunked([RESULT, BASE]))
    swapped = named | {"descriptor": [*named["descriptor"][:2], other, 1039]}
    ring = [
        difference(RESULT, DELTA, NEWEST),
        difference(NEWEST, NEWEST_DELTA, RESULT),
    ]
    self_based = difference(RESULT, DELTA, RESULT)
    bad = {
        "whole_other": (
            "other bytes than the name says",
            [whole(BASE) | {"digest": other}],
        ),
        "difference_other": (
            "a result that another name stands for",
            [difference(RESULT, DELTA, BASE, digest=other), whole(BASE)],
        ),
        "base_other": (
            "a base with other bytes than its name says",
            [difference(RESULT, DELTA, BASE), whole(BASE) | {"payload": BASE[::-1]}],
        ),
        "base_of_7": (
            "a base of seven bytes",
            [difference(b"z" * 100, repeat_frame(100), b"1234567"), whole(b"1234567")],
        ),
        "base_itself": ("its own base", [self_based]),
        "ring": ("two that are each other's base", ring),
        "list_other": (
            "chunks that make another blob",
            [swapped | {"digest": other}, whole(BASE), whole(RESULT)],
        ),
    }
    cases = [
        Case(name, desc, _facts(records), CORRUPT_BLOB)
        for name, (desc, records) in bad.items()
    ]
    gone = {
        "base_gone": ("a base that is nowhere", [difference(RESULT, DELTA, BASE)]),
        "chunk_gone": (
            "a chunk that is nowhere",
            [chunk_list(BASE + RESULT, chunked([BASE, RESULT])), whole(BASE)],
        ),
        "nowhere": ("a blob that is nowhere", [whole(BASE)]),
    }
    for name, (desc, records) in gone.items():
        facts = _facts(records, other if name == "nowhere" else b"")
        cases.append(Case(name, desc, facts, MISSING_BLOB))
    return cases
