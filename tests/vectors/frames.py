"""
Vectors of spec/frame.md.
"""

from __future__ import annotations

from typing import Any

import attrs

from vectors.encodings import shown
from vectors.entries import BODY, NAME, REF, START
from vectors.forge import Forged, forged, repeat_frame
from vectors.form import (
    CORRUPT_FRAME,
    FILE,
    FOREIGN,
    MALFORMED,
    OTHER_STORE,
    SEGMENT,
    SESSION,
    STORE,
    TIME_MS,
    UNSUPPORTED,
    Case,
    hexed,
    replaced,
)
from vectors.heads import COMMIT, HEAD

from castore.codec import encode_record
from castore.digest import in_context
from castore.formats.chunked import encode_chunks
from castore.formats.commit import Commit
from castore.formats.entry import genesis
from castore.formats.file import FileHeader, encode_header
from castore.formats.head import Head, hash_head
from castore.limits import (
    BLOB_RECORD_SIZE_MAX,
    FRAME_RAW_SIZE_MAX,
    FRAME_STORED_SIZE_MAX,
    FRAME_TABLE_SIZE_MAX,
)


Record = tuple[list[Any], bytes]

HEADER = FileHeader(1, STORE, FILE, 1, commit=in_context["genesis"](STORE))
FILE_HASH = encode_header(HEADER)[-32:]
OFFSET = 1000
PREV = bytes([0x9F]) * 32
PLACE = {"file_hash": FILE_HASH, "prev": PREV}

DIGEST = bytes([0xAB]) * 32
BASE = bytes([0xBA]) * 32
BLOB: Record = ([1, len(BODY)], BODY)
DIFFERENCE: Record = ([2, 5, DIGEST, 100, BASE, 1], b"delta")
CHUNKS = encode_chunks([(DIGEST, 60), (BASE, 40)], b"")
CHUNKED: Record = ([3, len(CHUNKS), bytes(32), 100], CHUNKS)
STORED = encode_record([[TIME_MS, "start", 0, [], START.record()]])
ENTRIES: Record = (
    [4, len(STORED), SEGMENT, 0, genesis(SESSION, SEGMENT), 1, 0],
    STORED,
)
REF_LIST: Record = ([5, len(encode_record([REF]))], encode_record([REF]))


def head_record(head: Head = HEAD) -> Record:
    """Return the record of a head."""
    return [6, 0, head.record()], b""


def commit_record(commit: Commit = COMMIT) -> Record:
    """Return the record of a commit."""
    return [7, 0, commit.record()], b""


def first_commit(*, root: bytes) -> list[Record]:
    """Return the records of a store's commit of one entry."""
    last = in_context["entry"](_first_entry())
    head = Head(STORE, SESSION, SEGMENT, 0, 1, 1, root, last, 1, TIME_MS)
    heads = (hash_head(head.encode()),)
    commit = Commit(1, in_context["genesis"](STORE), TIME_MS, heads)
    return [BLOB, ENTRIES, head_record(head), commit_record(commit)]


def _first_entry() -> bytes:
    prev = genesis(SESSION, SEGMENT)
    form = [1, 0, prev, TIME_MS, "start", *NAME, [], START.record()]
    return encode_record(form)


def whole_commit() -> list[Record]:
    """Return the records of a whole commit: body, entry, head, commit record."""
    leaf = in_context["leaf"](in_context["entry"](_first_entry()))
    return first_commit(root=leaf)


def _case(
    name: str, desc: str, frame: Forged, expect: str, value: Any = None, **facts: Any
) -> Case:
    data = frame.at(OFFSET, **PLACE)
    given = {"store": STORE, "offset": OFFSET, **PLACE, "data": hexed(data), **facts}
    return Case(name, desc, given, expect, value)


def _good(name: str, desc: str, records: list[Record], **changes: Any) -> Case:
    frame = forged(records, **changes)
    data = frame.at(OFFSET, **PLACE)
    shapes = [
        {"descriptor": shown(descriptor), "payload": payload}
        for descriptor, payload in records
    ]
    value = {"hash": data[-32:], "end": OFFSET + len(data), "records": shapes}
    return _case(name, desc, frame, "ok", value)


def frame_cases() -> list[Case]:
    """Return frames at one place of one file."""
    large: Record = ([1, 300_000], b"z" * 300_000)
    kinds = [BLOB, DIFFERENCE, CHUNKED, REF_LIST]
    cases = [
        _good("blob", "one blob as it is", [BLOB]),
        _good("empty", "a blob of no bytes", [([1, 0], b"")]),
        _good(
            "compressed",
            "a blob of 300,000 times one byte, compressed",
            [large],
            stored=repeat_frame(300_000),
            codec=1,
        ),
        _good(
            "window_27",
            "a window of 2^27",
            [large],
            stored=repeat_frame(300_000, window=27),
            codec=1,
        ),
        _good("commit", "a whole commit", whole_commit()),
        _good("kinds", "blob, difference, chunk list, ref list", kinds),
        _good("footer", "a footer", [([8, 6], encode_record([188, 900]))]),
        _good(
            "ignorable",
            "kinds 64 and 255 with elements of their own",
            [([64, 1, None, [1]], b"x"), ([255, 0], b"")],
        ),
        _good("group", "in the middle of a sync group", [BLOB], group_start=188),
        _good(
            "table_only", "a head and a commit record", [head_record(), commit_record()]
        ),
    ]
    cases += _sizes_of_blobs()
    for name, (desc, frame) in _bad_shapes().items():
        cases.append(_case(name, desc, frame, MALFORMED))
    for name, (desc, record) in _bad_records().items():
        cases.append(_case(name, desc, forged([record]), MALFORMED))
    for name, (desc, record, verdict) in _bad_elsewise().items():
        cases.append(_case(name, desc, forged([record]), verdict))
    for name, (desc, frame) in _too_large().items():
        cases.append(_case(name, desc, frame, CORRUPT_FRAME))
    return cases + _bad_zstd() + _bad_places() + _flips()


def _sizes_of_blobs() -> list[Case]:
    most = BLOB_RECORD_SIZE_MAX
    good, bad = (
        ([([1, size], b"z" * size)], {"stored": repeat_frame(size), "codec": 1})
        for size in (most, most + 1)
    )
    return [
        _good("blob_8_mib", "a blob of 8 MiB", good[0], **good[1]),
        _case("blob_large", "of 8 MiB + 1", forged(bad[0], **bad[1]), MALFORMED),
    ]


def _bad_shapes() -> dict[str, tuple[str, Forged]]:
    one, two = forged([BLOB]), forged([BLOB, BLOB])
    table = one.table
    return {
        "codec_2": (
            "codec 2",
            forged([([1, 100], b"z" * 100)], stored=repeat_frame(100), codec=2),
        ),
        "flags_1": ("flags 1", attrs.evolve(one, flags=1)),
        "raw_sizes": ("codec 0 with C = R + 1", attrs.evolve(one, stored=BODY + b"x")),
        "count_0": ("no records", Forged(b"\x80", b"", 0, count=0)),
        "count_more": ("a count of 2, a table of 1", attrs.evolve(one, count=2)),
        "count_less": ("a count of 1, a table of 2", attrs.evolve(two, count=1)),
        "group_behind": ("a group start behind the frame", _group(OFFSET + 1)),
        "group_in_header": ("a group start in the file's header", _group(187)),
        "table_map": ("a table that is a map", attrs.evolve(one, table=b"\xa0")),
        "table_trailing": (
            "a byte behind the table",
            attrs.evolve(one, table=table + b"\0"),
        ),
        "table_second_encoding": (
            "the table's count in a byte of its own",
            attrs.evolve(one, table=b"\x98\x01" + table[1:]),
        ),
        "table_depth": ("a descriptor five arrays deep", _table([64, 0, [[[1]]]])),
        "descriptor_integer": ("a descriptor that is no array", _table(1)),
        "descriptor_short": ("a descriptor without a size", _table([1])),
        "sizes_less": ("sizes below R", attrs.evolve(one, table=_encoded([1, 14]))),
        "sizes_more": ("sizes above R", attrs.evolve(one, table=_encoded([1, 16]))),
    }


def _group(start: int) -> Forged:
    return forged([BLOB], group_start=start)


def _encoded(descriptor: object) -> bytes:
    return encode_record([descriptor], depth_max=9)


def _table(descriptor: object) -> Forged:
    return Forged(_encoded(descriptor), b"", 0)


def _bad_records() -> dict[str, tuple[str, Record]]:
    def change(record: Record, index: int, value: object) -> Record:
        return replaced(record[0], index, value), record[1]

    depth = len(DIFFERENCE[0]) - 1
    named = encode_record([[0, "line", [*NAME], []]])  # wants no body beside it
    run: Record = ([4, len(named), SEGMENT, 5, DIGEST, 1, 0], named)
    again = b"\x98\x01" + REF_LIST[1][1:]
    chunk = encode_chunks([(DIGEST, 60), (BASE, 41)], b"")
    body = encode_record([[0, "line", 1, []]])
    return {
        "kind_0": ("kind 0", ([0, 0], b"")),
        "kind_256": ("kind 256", ([256, 0], b"")),
        "kind_negative": ("kind -1", ([-1, 0], b"")),
        "kind_text": ("a kind that is text", (["1", 0], b"")),
        "kind_true": ("true instead of 1", ([True, 0], b"")),
        "size_true": ("true instead of a size", ([1, True], b"x")),
        "size_negative": ("a negative size", ([64, -1], b"")),
        "size_null": ("no size", ([64, None], b"")),
        "blob_more": ("a blob with a digest", ([1, 0, DIGEST], b"")),
        "difference_fields": ("without a depth", (DIFFERENCE[0][:5], b"delta")),
        "difference_digest": (
            "a digest of 31 bytes",
            change(DIFFERENCE, 2, DIGEST[1:]),
        ),
        "difference_empty": ("a result of no bytes", change(DIFFERENCE, 3, 0)),
        "difference_large": (
            "a result above 8 MiB",
            change(DIFFERENCE, 3, BLOB_RECORD_SIZE_MAX + 1),
        ),
        "difference_base": ("a base of 33 bytes", change(DIFFERENCE, 4, BASE + b"\0")),
        "difference_depth_0": ("depth 0", change(DIFFERENCE, depth, 0)),
        "difference_depth_256": ("depth 256", change(DIFFERENCE, depth, 256)),
        "chunk_list_fields": ("without a raw size", (CHUNKED[0][:3], CHUNKS)),
        "chunk_list_digest": ("a digest of 31 bytes", change(CHUNKED, 2, DIGEST[1:])),
        "chunk_list_size": ("a negative raw size", change(CHUNKED, 3, -1)),
        "chunk_list_sum": ("chunks of 101 bytes for 100", (CHUNKED[0], chunk)),
        "entries_fields": ("without bodies", (run[0][:6], named)),
        "entries_segment": ("a segment of 15 bytes", change(run, 2, SEGMENT[1:])),
        "entries_index": ("a negative first index", change(run, 3, -1)),
        "entries_prev": ("prev of 31 bytes", change(run, 4, DIGEST[1:])),
        "entries_none": ("a count of 0", change(run, 5, 0)),
        "entries_bodies_2": ("bodies 2", change(run, 6, 2)),
        "entries_bodies_true": ("bodies true", change(run, 6, True)),
        "entries_body": (
            "a body number that the frame lacks",
            (change(run, 1, len(body))[0], body),
        ),
        "ref_list_more": ("a ref list with a digest", ([5, 1, DIGEST], b"\x80")),
        "ref_list_none": ("a ref list of none", ([5, 1], b"\x80")),
        "ref_list_again": ("a second encoding", ([5, len(again)], again)),
        "head_size": ("a head with a payload", ([6, 1, HEAD.record()], b"x")),
        "head_bytes": ("a head as bytes", ([6, 0, HEAD.encode()], b"")),
        "head_none": ("no head", ([6, 0], b"")),
        "commit_size": ("a commit with a payload", ([7, 1, COMMIT.record()], b"x")),
        "commit_none": ("no commit record", ([7, 0], b"")),
        "footer_more": ("a footer with offsets in the table", ([8, 1, [188]], b"\x80")),
    }


def _bad_elsewise() -> dict[str, tuple[str, Record, str]]:
    head, commit = HEAD.record(), COMMIT.record()
    foreign = attrs.evolve(HEAD, store=OTHER_STORE)
    return {
        "kind_9": ("kind 9, reserved", ([9, 0], b""), UNSUPPORTED),
        "kind_63": ("kind 63, reserved", ([63, 0], b""), UNSUPPORTED),
        "head_state": ("a bad head", ([6, 0, replaced(head, 5, 1)], b""), MALFORMED),
        "head_version": ("version 2", ([6, 0, replaced(head, 0, 2)], b""), MALFORMED),
        "head_foreign": ("a head of another store", head_record(foreign), FOREIGN),
        "commit_seq": ("seq 0", ([7, 0, replaced(commit, 1, 0)], b""), MALFORMED),
        "commit_version": (
            "version 2",
            ([7, 0, replaced(commit, 0, 2)], b""),
            MALFORMED,
        ),
    }


def _too_large() -> dict[str, tuple[str, Forged]]:
    raw = FRAME_RAW_SIZE_MAX + 1
    pad = bytes(FRAME_TABLE_SIZE_MAX + 1 - 9)
    empty_blocks = bytes(3) * (FRAME_STORED_SIZE_MAX // 3 + 1)
    stored = repeat_frame(1)
    return {
        "table_large": ("a table of 4 MiB + 1", _table([64, 0, pad])),
        "raw_large": (
            "a raw part of 16 MiB + 1",
            forged([([64, raw], b"")], stored=repeat_frame(raw), raw_size=raw, codec=1),
        ),
        "stored_large": (
            "a stored part above 17 MiB",
            forged(
                [([1, 1], b"z")],
                stored=stored[:9] + empty_blocks + stored[9:],
                codec=1,
            ),
        ),
    }


def _bad_zstd() -> list[Case]:
    whole = repeat_frame(100)
    bad = {
        "none": ("no zstd frame", b"x" * 20),
        "states_more": ("a content size of R + 1", repeat_frame(101)),
        "states_less": ("a content size of R - 1", repeat_frame(99)),
        "gives_less": ("R stated, a byte less given", repeat_frame(99, states=100)),
        "gives_more": ("R stated, a byte more given", repeat_frame(101, states=100)),
        "states_none": (
            "no content size",
            repeat_frame(100, states=-1, window=10),
        ),
        "dictionary": ("a dictionary id", repeat_frame(100, dictionary=True)),
        "window_28": ("a window of 2^28", repeat_frame(100, window=28)),
        "trailing": ("a byte behind it", whole + b"\0"),
        "second_frame": ("a second frame behind it", whole + repeat_frame(1)),
        "skippable": (
            "a skippable frame behind it",
            whole + b"\x50\x2a\x4d\x18" + bytes(4),
        ),
        "cut": ("a byte too few", whole[:-1]),
        "empty": ("no bytes", b""),
    }
    record: Record = ([1, 100], b"z" * 100)
    cases = []
    for name, (desc, stored) in bad.items():
        frame = forged([record], stored=stored, codec=1)
        cases.append(_case(f"zstd_{name}", desc, frame, MALFORMED))
    nothing = forged([([1, 0], b"")], stored=repeat_frame(0), codec=1)
    return [*cases, _case("zstd_of_nothing", "codec 1 with R = 0", nothing, MALFORMED)]


def _bad_places() -> list[Case]:
    frame = forged([BLOB])
    magic = attrs.evolve(frame, magic=b"csF2")
    data = frame.at(OFFSET, **PLACE)
    bad: dict[str, tuple[str, dict[str, Any]]] = {
        "offset": ("a frame that was written elsewhere", {"offset": OFFSET + 1}),
        "prev": ("behind another frame", {"prev": bytes([0x9E]) * 32}),
        "file": ("in another file", {"file_hash": bytes(32)}),
        "cut_hash": ("a byte too few", {"data": data[:-1]}),
        "cut_table": ("cut in its table", {"data": data[:30]}),
        "cut_header": ("cut in its header", {"data": data[:27]}),
        "nothing": ("no bytes", {"data": b""}),
    }
    cases = [
        _case(f"place_{name}", desc, frame, CORRUPT_FRAME, **facts)
        for name, (desc, facts) in bad.items()
    ]
    return [*cases, _case("magic", "another magic", magic, CORRUPT_FRAME)]


def _flips() -> list[Case]:
    """Return a good frame with one bit flipped, in each of its parts."""
    frame = forged([BLOB])
    data = frame.at(OFFSET, **PLACE)
    front = 28 + len(frame.table)
    parts = {
        "magic": 0,
        "codec": 4,
        "flags": 5,
        "count": 7,
        "table_size": 11,
        "raw_size": 15,
        "stored_size": 19,
        "group_start": 27,
        "table": 28,
        "stored": front,
        "hash": len(data) - 1,
    }
    cases = []
    for name, at in parts.items():
        flipped = bytearray(data)
        flipped[at] ^= 1
        desc = f"a flipped bit in byte {at}: {name.replace('_', ' ')}"
        facts = {"data": bytes(flipped)}
        cases.append(_case(f"flip_{name}", desc, frame, CORRUPT_FRAME, **facts))
    return cases
