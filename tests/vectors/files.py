"""
Vectors of spec/file.md.
"""

from __future__ import annotations

import struct

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from vectors.entries import BODY, GENESIS, NAME
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
from vectors.heads import COMMIT, HEAD

from castore.codec import encode_record
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


def _end(data: bytes, *, listed: bool = True, **facts: Any) -> dict[str, Any]:
    end = {"offset": len(data), "frame": data[-32:], "listed": listed}
    return {"end": end | facts}


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
    for name, (desc, data) in (_bad_journals() | _bad_footers()).items():
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
            _end(file_of(SIDE, [[BLOB]]), listed=False),
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
        "zero": ("byte 11 is 1", _with(4, 1), MALFORMED),
    }


def _bad_fields() -> dict[str, tuple[str, bytes, str]]:
    one = bytes(15) + b"\1"
    bad = {
        "number_0": ("a journal with number 0", _with(7, 0, LATER)),
        "first_pred": ("number 1 with a predecessor", _with(8, one)),
        "first_pred_end": ("number 1 with a predecessor's end", _with(9, 188)),
        "first_pred_frame": ("number 1 with a predecessor's hash", _with(10, one * 2)),
        "first_seq": ("number 1 behind a commit", _with(11, 1)),
        "first_commit": ("seq 0 without the genesis", _with(12, bytes(32))),
        "later_no_pred": ("number 3 without predecessor", _with(8, bytes(16), LATER)),
        "later_commit": ("seq 0 with another hash", _with(11, 0, LATER)),
        "carried_end": ("a carried end of 187", _with(13, 187)),
        "carried_end_2_63": ("a carried end of 2^63", _with(13, 2**63)),
        "number_2_63": ("number 2^63", _with(7, 2**63, LATER)),
        "pred_end_2_63": ("a predecessor's end of 2^63", _with(9, 2**63, LATER)),
        "seq_2_63": ("seq 2^63", _with(11, 2**63, LATER)),
        "pack_number": ("a pack with a number", _with(7, 1, PACK)),
        "pack_pred": ("a pack with a predecessor", _with(8, one, PACK)),
        "pack_pred_end": ("a pack with a predecessor's end", _with(9, 188, PACK)),
        "pack_pred_frame": (
            "a pack with a predecessor's hash",
            _with(10, one * 2, PACK),
        ),
        "pack_seq": ("a pack with a seq", _with(11, 1, PACK)),
        "pack_commit": ("a pack with a commit", _with(12, HEADER.commit, PACK)),
        "pack_carried_end": ("a pack with carried frames", _with(13, 189, PACK)),
        "side_number": ("a side pack with a number", _with(7, 1, SIDE)),
        "side_carried_end": ("a side pack with a carried end of 0", _with(13, 0, SIDE)),
    }
    return {name: (desc, data, MALFORMED) for name, (desc, data) in bad.items()}


def _bad_journals() -> dict[str, tuple[str, bytes]]:
    body, entries, head, commit = whole_commit()
    later = attrs.evolve(HEAD, seq=8)
    many = commit_record(attrs.evolve(COMMIT, key=None, sides=()))
    second = encode_record([[0, "line", [*NAME], []]])
    stranger = ([4, len(second), FILE, 5, GENESIS, 1, 0], second)
    footer: Record = ([8, 1], b"\x80")

    def journal(*frames: Sequence[Record]) -> bytes:
        return file_of(HEADER, frames)

    return {
        "two_commits": ("two commit records", journal([head, commit, commit])),
        "no_commit": ("entries and a head alone", journal([body, entries, head])),
        "entries_alone": ("entries alone", journal([body, entries])),
        "head_alone": ("a head alone", journal([head])),
        "no_head": ("a commit without its head", journal([commit])),
        "other_head": ("a head that the commit does not list", journal([head, many])),
        "head_more": ("a head too many", journal([head, head, commit])),
        "head_seq": (
            "a head with another seq",
            journal([head_record(later), _listing(later)]),
        ),
        "entries_stranger": (
            "entries of a segment without a head there",
            journal([body, entries, stranger, head, commit]),
        ),
        "bodies_next": (
            "bodies in the next frame of a journal",
            journal([_bodies(1), head, commit], [BLOB]),
        ),
        "footer_beside": ("a footer beside a blob", journal([footer, BLOB])),
        "side_entries": ("entries in a side pack", file_of(SIDE, [[body, entries]])),
        "side_ref_list": ("a ref list in a side pack", file_of(SIDE, [[REF_LIST]])),
        "side_commit": ("a commit in a side pack", file_of(SIDE, [[head, commit]])),
        "side_footer": ("a footer in a side pack", file_of(SIDE, [[footer]])),
        "bodies_nowhere": (
            "bodies in the next frame where none follows",
            file_of(PACK, [[_bodies(1)]]),
        ),
        "bodies_lacking": (
            "bodies in the next frame, which has none",
            file_of(PACK, [[_bodies(1)], [REF_LIST]]),
        ),
    }


def _listing(head: Any) -> Record:
    listed = in_context["head"](head.encode())
    return commit_record(attrs.evolve(COMMIT, heads=(listed,)))


def _bad_footers() -> dict[str, tuple[str, bytes]]:
    def pack(footer: object, *behind: Sequence[Record]) -> bytes:
        payload = encode_record([footer])[1:]
        frames = [[BLOB], [([8, len(payload)], payload)], *behind]
        return file_of(PACK, frames)

    good = encode_footer([SIZE])
    again: Record = ([8, len(good) + 1], b"\x98\x01" + good[1:])
    return {
        "footer_none": ("a footer that lists no frame", pack([])),
        "footer_other": ("another offset", pack([SIZE + 1])),
        "footer_more": ("an offset too many", pack([SIZE, 267])),
        "footer_text": ("an offset that is text", pack(["188"])),
        "footer_negative": ("a negative offset", pack([-1])),
        "footer_integer": ("an integer, no array", pack(188)),
        "footer_again": ("a second encoding", file_of(PACK, [[BLOB], [again]])),
        "footer_behind": ("a frame behind the footer", pack([SIZE], [BLOB])),
        "footer_pack_beside": (
            "a footer beside a blob",
            file_of(PACK, [[BLOB], [([8, len(good)], good), BLOB]]),
        ),
    }


Ends = dict[str, tuple[str, bytes, dict[str, Any], str]]


def _bad_ends() -> Ends:
    pack = file_of(PACK, [[BLOB]], footer=True)
    bare = file_of(PACK, [[BLOB]])
    journal = file_of(HEADER, [whole_commit()])
    side = file_of(SIDE, [[BLOB]])
    other = bytes(32)
    unlisted = {"listed": False}
    return {
        "pack_no_footer": (
            "a listed pack without a footer",
            bare,
            _end(bare),
            CORRUPT_FRAME,
        ),
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
            CORRUPT_FRAME,
        ),
        "mark_beyond": (
            "a journal that ends before the mark",
            journal,
            _end(journal, offset=len(journal) + 1, **unlisted),
            TRUNCATED,
        ),
        "mark_other_hash": (
            "a frame with another hash at the mark",
            journal,
            _end(journal, frame=other, **unlisted),
            TRUNCATED,
        ),
        "side_other_hash": (
            "a side pack with another hash than named",
            side,
            _end(side, frame=other, **unlisted),
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
