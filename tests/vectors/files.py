"""
Vectors of spec/file.md.
"""

from __future__ import annotations

import struct

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from vectors.entries import BODY
from vectors.forge import forged
from vectors.form import (
    CORRUPT_FRAME,
    FILE,
    FOREIGN,
    MALFORMED,
    OTHER_STORE,
    SEGMENT,
    STORE,
    TRUNCATED,
    UNSUPPORTED,
    Case,
)
from vectors.frames import (
    BLOB,
    ENTRIES,
    HEADER,
    REF_LIST,
    Record,
    commit_record,
    head_record,
    whole_commit,
)
from vectors.heads import COMMIT

from castore.digest import in_context
from castore.formats.file import FileHeader, encode_header
from castore.formats.frame import encode_footer


SIZE = 188
SIDE = FileHeader(2, STORE, FILE)
PACK = FileHeader(3, STORE, FILE)
LATER = attrs.evolve(
    HEADER,
    number=3,
    pred=SEGMENT,
    pred_end=4096,
    pred_frame=bytes([0x5D]) * 32,
    seq=7,
    commit=bytes([0x66]) * 32,
    carried_end=SIZE + 100,
)
_LAYOUT = struct.Struct(">8sBBBB16s16sQ16sQ32sQ32sQ")
Frames = Sequence[Sequence[Record]]


def file_of(header: FileHeader, frames: Frames = (), *, footer: bool = False) -> bytes:
    """Return a file of *frames*, each with its place and hash."""
    data = encode_header(header)
    offsets: list[int] = []
    todo = [list(frame) for frame in frames]
    while todo or footer:
        if not todo:
            payload = encode_footer(offsets)
            todo, footer = [[([8, len(payload)], payload)]], False
        offsets.append(len(data))
        data += _framed(data, todo.pop(0))
    return data


def _framed(data: bytes, records: Sequence[Record]) -> bytes:
    place = {"file_hash": data[156:188], "prev": data[-32:]}
    return forged(records).at(len(data), **place)


def _facts(data: bytes, **more: Any) -> dict[str, Any]:
    return {"file": FILE, "store": STORE, "data": data, **more}


def _end(data: bytes, **facts: Any) -> dict[str, Any]:
    return {"end": {"offset": len(data), "frame": data[-32:]} | facts}


def file_cases() -> list[Case]:
    """Return headers, and files with frames."""
    cases = []
    for name, (desc, data, facts) in _good().items():
        offsets = _offsets(data, facts["end"]["offset"] if facts else len(data))
        header = HEADERS[name.partition("_")[0]]
        value = {"header": header, "hash": data[156:188], "frames": offsets}
        cases.append(Case(name, desc, _facts(data, **facts), value=value))
    for name, (desc, data, verdict) in (_bad_headers() | _bad_fields()).items():
        cases.append(Case(f"header_{name}", desc, _facts(data), verdict))
    for name, (desc, data) in _bad_frames().items():
        cases.append(Case(name, desc, _facts(data), MALFORMED))
    for name, (desc, data, facts, verdict) in (_bad_ends() | _gaps()).items():
        cases.append(Case(name, desc, _facts(data, **facts), verdict))
    return cases


HEADERS = {"journal": HEADER, "later": LATER, "side": SIDE, "pack": PACK}


def _offsets(data: bytes, stop: int) -> list[int]:
    """Return where the frames of a good file begin."""
    offsets, at = [], SIZE
    while at < stop:
        offsets.append(at)
        table, _, stored = struct.unpack_from(">III", data, at + 8)
        at += 28 + table + stored + 32
    return offsets


def _good() -> dict[str, tuple[str, bytes, dict[str, Any]]]:
    commit, ignorable = whole_commit(), ([200, 1, "odd"], b"x")
    pack = file_of(PACK, [[_bodies(1)], [BLOB]], footer=True)
    bare = file_of(PACK, [[BLOB]])
    empty: Record = ([8, 1], b"\x80")
    stray = [BLOB, ENTRIES]
    return {
        "journal": ("a journal without frames", file_of(HEADER), {}),
        "journal_commit": ("one with a commit", file_of(HEADER, [commit]), {}),
        "journal_payload": (
            "blobs, a ref list",
            file_of(HEADER, [[BLOB, REF_LIST]]),
            {},
        ),
        "journal_ignorable": ("a record to ignore", file_of(HEADER, [[ignorable]]), {}),
        "journal_closed": ("a closed one", file_of(HEADER, [commit], footer=True), {}),
        "later_journal": ("a journal with a predecessor", file_of(LATER), {}),
        "side_pack": ("a side pack", file_of(SIDE, [[BLOB], [BLOB, ignorable]]), {}),
        "side_void": (
            "a side pack with a void end",
            file_of(SIDE, [[BLOB]]) + b"void",
            _end(file_of(SIDE, [[BLOB]])),
        ),
        "side_ref_list": ("a ref list in a side pack", file_of(SIDE, [[REF_LIST]]), {}),
        "journal_stray": (
            "entries that no head covers",
            file_of(HEADER, [stray]),
            {},
        ),
        "journal_footer": (
            "a footer that lists no frame, beside a blob",
            file_of(HEADER, [[BLOB], [empty, BLOB]]),
            {},
        ),
        "pack_bare": ("a listed pack without a footer", bare, _end(bare)),
        "pack_bodies_nowhere": (
            "bodies in the next frame where none follows",
            file_of(PACK, [[_bodies(1)]]),
            {},
        ),
        "pack": ("a pack of entries and their bodies", pack, _end(pack)),
        "pack_mixed": (
            "heads, commit records, blobs",
            file_of(PACK, [[head_record(), commit_record(), commit_record()], [BLOB]]),
            {},
        ),
    }


def _bodies(where: int) -> Record:
    return [*ENTRIES[0][:6], where], ENTRIES[1]


def _header(change: Callable[[list[Any]], None], header: FileHeader = HEADER) -> bytes:
    """Return a header in which *change* has changed the fields; its hash is right."""
    fields = list(_LAYOUT.unpack(encode_header(header)[:156]))
    change(fields)
    body = _LAYOUT.pack(*fields)
    return body + in_context["file"](body)


def _with(index: int, value: object, header: FileHeader = HEADER) -> bytes:
    def change(fields: list[Any]) -> None:
        fields[index] = value

    return _header(change, header)


def _bad_headers() -> dict[str, tuple[str, bytes, str]]:
    good = encode_header(HEADER)
    flipped = bytearray(good)
    flipped[60] ^= 1
    wrong = good[:-1] + bytes([good[-1] ^ 1])
    return {
        "nothing": ("no bytes", b"", CORRUPT_FRAME),
        "cut": ("a byte too few", good[:-1], CORRUPT_FRAME),
        "magic": ("another magic", _with(0, b"\x89CASTORE"), CORRUPT_FRAME),
        "flip": ("a flipped bit", bytes(flipped), CORRUPT_FRAME),
        "hash": ("a flipped bit in the file hash", wrong, CORRUPT_FRAME),
        "version_0": ("format version 0", _with(1, 0), UNSUPPORTED),
        "version_2": ("format version 2", _with(1, 2), UNSUPPORTED),
        "suite_2": ("suite 2", _with(2, 2), UNSUPPORTED),
        "store": ("of another store", _with(5, OTHER_STORE), FOREIGN),
        "file": ("of a file with another name", _with(6, SEGMENT), FOREIGN),
        "kind_0": ("kind 0", _with(3, 0, PACK), MALFORMED),
        "kind_4": ("kind 4", _with(3, 4, PACK), MALFORMED),
    }


def _bad_fields() -> dict[str, tuple[str, bytes, str]]:
    bad = {
        "carried_end": ("a carried end of 187", _with(13, 187)),
        "carried_end_2_63": ("a carried end of 2^63", _with(13, 2**63)),
        "number_2_63": ("number 2^63", _with(7, 2**63, LATER)),
        "pred_end_2_63": ("a predecessor's end of 2^63", _with(9, 2**63, LATER)),
        "seq_2_63": ("seq 2^63", _with(11, 2**63, LATER)),
        "side_carried_end": ("a side pack with a carried end of 0", _with(13, 0, SIDE)),
    }
    return {name: (desc, data, MALFORMED) for name, (desc, data) in bad.items()}


def _bad_frames() -> dict[str, tuple[str, bytes]]:
    body, entries, head, commit = whole_commit()
    many = commit_record(attrs.evolve(COMMIT, key=None, sides=()))

    def journal(*frames: Sequence[Record]) -> bytes:
        return file_of(HEADER, frames)

    return {
        "two_commits": ("two commit records", journal([head, commit, commit])),
        "no_commit": ("entries and a head alone", journal([body, entries, head])),
        "head_alone": ("a head alone", journal([head])),
        "no_head": ("a commit without its head", journal([commit])),
        "other_head": ("a head that the commit does not list", journal([head, many])),
        "head_more": ("a head too many", journal([head, head, commit])),
        "bodies_next": (
            "bodies in the next frame of a journal",
            journal([_bodies(1), head, commit], [BLOB]),
        ),
        "bodies_lacking": (
            "bodies in the next frame, which has none",
            file_of(PACK, [[_bodies(1)], [REF_LIST]]),
        ),
    }


Ends = dict[str, tuple[str, bytes, dict[str, Any], str]]


def _bad_ends() -> Ends:
    pack = file_of(PACK, [[BLOB]], footer=True)
    journal = file_of(HEADER, [whole_commit()])
    side = file_of(SIDE, [[BLOB]])
    other = bytes(32)
    return {
        "pack_trailing": (
            "a byte behind the listed end",
            pack + b"\0",
            _end(pack),
            CORRUPT_FRAME,
        ),
        "pack_other_hash": (
            "another last hash than listed",
            pack,
            _end(pack, frame=other),
            TRUNCATED,
        ),
        "mark_beyond": (
            "a journal that ends before the mark",
            journal,
            _end(journal, offset=len(journal) + 1),
            TRUNCATED,
        ),
        "mark_other_hash": (
            "a frame with another hash at the mark",
            journal,
            _end(journal, frame=other),
            TRUNCATED,
        ),
        "side_other_hash": (
            "a side pack with another hash than named",
            side,
            _end(side, frame=other),
            TRUNCATED,
        ),
    }


def _gaps() -> Ends:
    one, two = file_of(SIDE, [[BLOB]]), file_of(SIDE, [[BLOB], [BLOB]])
    gap = bytearray(two)
    gap[SIZE + 30] ^= 1
    swapped = two[:SIZE] + two[len(one) :] + two[SIZE : len(one)]
    repeated = one + one[SIZE:]
    between = one + b"\0" + two[len(one) :]
    last = BODY[-1:]
    return {
        "gap": (
            "a flipped bit in the first of two frames",
            bytes(gap),
            {},
            CORRUPT_FRAME,
        ),
        "frame_cut": ("a last frame that is cut", two[:-1], {}, CORRUPT_FRAME),
        "frames_swapped": ("two frames swapped", swapped, {}, CORRUPT_FRAME),
        "frame_repeated": ("a frame repeated", repeated, {}, CORRUPT_FRAME),
        "byte_between": ("a byte between two frames", between, {}, CORRUPT_FRAME),
        "byte_behind": ("a byte behind the frames", one + last, {}, CORRUPT_FRAME),
    }
