#!/usr/bin/env python3
"""
Reader and checker of a castore store, written from the pages of this folder alone.

`python reference.py STORE` prints one JSON object; exit 0: no fault, 1: faults, 10: no
store. As a module: `check(path)`; `Store(path)` has `heads`, `entries()` and `blob()`.
"Step n" is one of checking.md. Nothing is written. One screen of dense code was wanted:
"""
# fmt: off
# ruff: noqa: D102, E501, E731, N802, N803, PTH201, S110
from __future__ import annotations

import hashlib
import json
import mmap
import re
import struct
import sys
import uuid

from collections import defaultdict, namedtuple
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import cbor2

from blake3 import blake3


if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB, TOP, JOURNAL, SIDE, PACK = 1 << 20, 1 << 63, 1, 2, 3
FRAME = struct.Struct(">4sBBHIIIQ")
HEADER = struct.Struct(">8s4B16s16sQ16sQ32sQ32sQ")
MARK = struct.Struct(">8s16sQQ16sQ32s")
NAMES = rb'(\[(?:"[A-Za-z0-9.-]+"(?:, "[A-Za-z0-9.-]+")*)?\])'
MARKER = re.compile(  # castore.json
    rb'\{"castore": (\d+), "features": \{"all_must_know": %b, "reader_may_ignore": %b, '
    rb'"writer_must_know": %b\}, "store": "([0-9a-f]{32})", "suite": "([^"\\]*)"\}\n'
    % (NAMES, NAMES, NAMES))
KNOWN = re.compile("castore.json(.new)?|lock|files|maintenance|quarantine|catalog-.*")

Blob = namedtuple("Blob", "digest size kind base file frame at length")  # one copy
Entry = namedtuple("Entry", "segment index hash form where")  # form: the hashed form

class NoStore(Exception):  # noqa: N818
    """There is no `castore.json`."""

class Refused(Exception):  # noqa: N818
    """Something that a page says a reader MUST refuse."""

def need(true: object, detail: str, verdict: str = "malformed record") -> None:
    """conventions.md: what is refused is not believed."""
    if not true:
        raise Refused(verdict, detail)

def B(data: bytes) -> bytes:
    """suite.md: the name of a blob."""
    return blake3(data).digest()

def H(name: str, *parts: bytes) -> bytes:
    """suite.md: a hash with a context."""
    context = "castore v1 2026-11 " + name
    return blake3(b"".join(parts), derive_key_context=context).digest()

def root(names: list[bytes], sha: bool) -> bytes:
    """merkle.md: the root over entry hashes; a last odd node moves up as it is."""
    def mix(name: str, tag: bytes, data: bytes) -> bytes:
        return hashlib.sha256(tag + data).digest() if sha else H(name, data)
    level = [mix("leaf", b"\0", x) for x in names]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        odd = level[len(level) & ~1 :]
        level = [mix("node", b"\1", a + b) for a, b in pairs] + odd
    return level[0]

# A tag is read as null: encoded again it is never the same bytes.
TAGS = dict.fromkeys(range(1 << 16), lambda *_: None)

def record(data: bytes, depth: int = 4, limit: int = 4 * MIB) -> Any:
    """encoding.md: decode, encode again, compare; types are left to the shapes."""
    need(len(data) <= limit, "size of a record")
    try:
        value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=depth)
    except cbor2.CBORDecodeError:
        raise Refused("malformed record", "not decodable CBOR") from None
    need(cbor2.dumps(value) == data, "not the one encoding of its value")
    return value

def plain(v: Any) -> bool:
    """encoding.md: a value of the record profile."""
    return all(map(plain, v)) if type(v) is list else (
        v is None or type(v) in (int, bytes, str, bool))

def uint(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: type(v) is int and low <= v < high

def text(low: int, high: int) -> Callable[[Any], bool]:
    return lambda v: type(v) is str and low <= len(v.encode()) <= high

def data(size: int) -> Callable[[Any], bool]:
    return lambda v: type(v) is bytes and len(v) == size

TESTS: dict[str, Callable[[Any], bool]] = {  # a shape has one letter for each value
    "i": data(16), "d": data(32), "u": uint(0, TOP), "p": uint(1, TOP),
    "s": uint(0, 8 * MIB + 1), "c": uint(1, 8 * MIB + 1), "e": uint(1, 256),
    "2": uint(0, 2), "3": uint(2, 4), "n": lambda v: type(v) is int,
    "t": text(0, TOP), "r": text(0, 64), "k": text(1, 64), "5": text(1, 512),
    "N": text(1, 1024), "l": lambda v: type(v) is list, "b": lambda v: type(v) is bytes,
    "D": lambda v: v is None or TESTS["d"](v),  # slices digest
    "T": lambda v: v is None or uint(0, 2 * TOP)(v),  # turn
    "K": lambda v: v is None or row(v, "kN"),  # session key
    "O": lambda v: v is None or row(v, "iiuddT"),  # origin
    "C": lambda v: v is None or row(v, "i5duu"),  # key of a commit
    "H": lambda v: flat(v, "d") and 0 < len(v) <= 1024,  # heads of a commit
    "S": lambda v: flat(v, "iud") and len(set(v[::3])) * 3 == len(v),  # its sides
    "A": lambda v: type(v) is list and all(row(x, "i3ud") for x in v),  # listed files
    "I": lambda v: flat(v, "i"), "B": lambda v: flat(v, "d")}
DESCRIPTORS = {1: "", 2: "dsde", 3: "du", 4: "iudp2", 5: "", 6: "l", 7: "l", 8: ""}
BODIES = {  # storelog.md
    "start": {"created_by": "t"}, "packs": {"add": "A", "drop": "I"},
    "tagged": {"name": "N"}, "untagged": {"name": "N"}, "instance": {"instance": "i"},
    "deleted": {"segment": "i", "session": "i", "head": "b"},
    "collected": {"run": "n", "blobs": "B"}}

def row(v: Any, shape: str) -> bool:
    """An array of that shape."""
    good = type(v) is list and len(v) == len(shape)
    return good and all(TESTS[x](item) for x, item in zip(shape, v, strict=True))

def flat(v: Any, shape: str) -> bool:
    """A flat array that repeats the shape."""
    return type(v) is list and row(v, shape * (len(v) // len(shape)))

def place(segment: bytes, index: int | None = None) -> str:
    """verdicts.md: where a segment or entry is."""
    return f"segment:{segment.hex()}" + ("" if index is None else f"[{index}]")

def check_refs(refs: Any, inner: bool) -> list[list[Any]]:
    """entry.md: references of an entry, or the inner ones of a ref list."""
    need(type(refs) is list and inner <= len(refs) <= (65536 if inner else 256), "refs")
    for ref in refs:
        need(row(ref, "rduuD") and ref[3] in (0, 0 if inner else 2), "a reference")
        listed = ref[0] == "" and 1 <= ref[2] <= 65536 and ref[4] is None
        sliced = (ref[4] is not None) == (ref[2] > 8 * MIB)
        need(listed if ref[3] else sliced, "role, count or slices of a reference")
    return list(refs)

def check_head(head: Any, store: bytes) -> None:
    """head.md"""
    need(head and head[0] == 1, "version of a head", "unsupported version")
    need(row(head, "uiiiuupuddpu"), "shape of a head")
    need(head[1] == store, "head of another store", "foreign record")
    need(head[5] == 0 and head[7] > head[4], "state or count of a head")

def chunk_list(payload: bytes, size: int) -> tuple[list[bytes], list[int], bytes]:
    """blob.md: digests, sizes and slices of a chunk list."""
    value = record(payload)
    need(row(value, "lb") and flat(value[0], "dc") and value[0], "shape of a chunk list")
    need(sum(value[0][1::2]) == size, "sizes of chunks do not add up")
    need(len(value[1]) == (-(-size // MIB) * 32 if size > 8 * MIB else 0), "slices")
    return value[0][::2], value[0][1::2], value[1]

def inflate(data: bytes, size: int, base: bytes | None = None) -> bytes:
    """frame.md, blob.md: one zstd frame of exactly `size` bytes; base is its prefix."""
    try:
        info = zstd.get_frame_info(data)
        good = data[:4] == b"\x28\xb5\x2f\xfd" and not info.dictionary_id
        need(good and info.decompressed_size == size, "header of a zstd frame")
        prefix = None if base is None else zstd.ZstdDict(base, is_raw=True).as_prefix
        window = {int(zstd.DecompressionParameter.window_log_max): 27}
        stream = zstd.ZstdDecompressor(prefix, window)
        out = stream.decompress(data, size + 1)
    except (zstd.ZstdError, ValueError) as error:
        raise Refused("malformed record", f"zstd: {error}") from None
    need(stream.eof and not stream.unused_data and len(out) == size, "zstd frame")
    return out

def rebuild(d: list[Any], payload: bytes, bodies: list[Blob]) -> list[Entry]:
    """frame.md, stored entries: the hashed forms of an entries record; entry.md."""
    items, clock, prev, out = record(payload), 0, d[4], []
    need(type(items) is list and len(items) == d[5], "count of entries")
    for index, item in enumerate(items, d[3]):
        need(type(item) is list and len(item) > 3, "shape of a stored entry")
        (time, kind, body, refs), start = item[:4], item[4:]
        need(text(1, 64)(kind) and len(start) == (kind == "start"), "kind")
        need(time is None or type(time) is int, "time")
        clock += time or 0
        if uint(0, len(bodies))(body):
            body = [bodies[body].digest, bodies[body].size]
        need(row(body, "du") and uint(0, TOP)(clock) and index < TOP, "body or time")
        for s in start:
            need(row(s, "iitOK") and s[1] == d[2], "start record")
            need(s[2] in ("new", "fork", "compaction", "import"), "unknown cause")
            fork = (s[2] == "fork", s[3] and s[3][2]) == (True, index)
            need(fork and s[3][4] == prev if index else s[2] != "fork", "cause, origin")
        now = None if time is None else clock
        form = [1, index, prev, now, kind, *body, check_refs(refs, inner=False), *start]
        encoded = cbor2.dumps(form)
        need(len(encoded) < 65536, "entry of more than 65,535 bytes")
        prev = H("entry", encoded)
        out.append(Entry(d[2], index, prev, form, place(d[2], index)))
    return out

def load(path: Path) -> Any:
    """folder.md: a file's bytes, none if it is no plain file, None if it is absent."""
    if not path.is_symlink() and not path.exists():
        return None
    if path.is_symlink() or not path.is_file() or not path.stat().st_size:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

class Frame:
    """frame.md: a whole frame; `holds` has (kind, key, name, value) of its records."""
    def __init__(self, at: int, end: int, name: bytes, group: int) -> None:
        self.at, self.end, self.hash, self.group = at, end, name, group
        self.fault: Refused | None = None
        self.holds: list[tuple[int, Any, Any, Any]] = []
        self.footer: list[int] | None = None

class File:
    """file.md: one file, its whole frames, the gaps before and between them."""
    def __init__(self, path: Path) -> None:
        self.id, self.where = bytes.fromhex(path.stem), "files/" + path.name
        self.data, self.gaps, self.frames = load(path), list[int](), list[Frame]()
        self.kept, self.found = list[Frame](), list[tuple[str, int, str]]()

    def header(self, store: bytes) -> None:
        """Step 2, file.md"""
        data = self.data[:188]
        good = data[:8] == b"\x89castore" and data[156:] == H("file", data[:156])
        need(good, "header's magic or hash", "corrupt frame")
        (_, version, suite, self.kind, zero, owner, name, self.number, self.pred, self.
         pred_end, self.pred_hash, seq, commit, self.carried) = HEADER.unpack(data[:156])
        self.hash = data[156:]
        need(version == suite == 1, "version or suite", "unsupported version")
        need((owner, name) == (store, self.id), "store or file id", "foreign record")
        if self.kind == JOURNAL:
            good = any(self.pred) if self.number > 1 else not any(data[52:116])
            good = good and self.number and (seq or commit == H("genesis", store))
        else:
            good = self.kind in (SIDE, PACK) and not any(data[44:148])
            good = good and self.carried == 188
        need(good and not zero and 188 <= self.carried < TOP, "fields of a header")

    def whole(self, at: int) -> Frame | None:
        """Step 4: the whole frame at an offset."""
        head = self.data[at : at + 28]
        if len(head) < 28 or head[:4] != b"csF1":
            return None
        _, _, _, _, t, r, c, group = FRAME.unpack(head)
        end = at + 60 + t + c
        if t > 4 * MIB or r > 16 * MIB or c > 17 * MIB or end > len(self.data):
            return None
        frame, stored = self.data[at:end], H("stored", self.data[at + 28 + t : end - 32])
        tie = self.hash + at.to_bytes(8, "big") + self.data[at - 32 : at]
        good = H("frame", frame[: 28 + t], stored, tie) == frame[-32:]
        return Frame(at, end, frame[-32:], group) if good else None

    def walk(self, store: bytes) -> None:
        """Step 4: all whole frames, decoded, and where the gaps between them begin."""
        at, after = 188, None
        while 0 <= at < len(self.data):
            frame = self.whole(at)
            self.gaps += [] if frame else [at]
            while not frame and at >= 0:
                at = self.data.find(b"csF1", at + 1)
                frame = self.whole(at) if at >= 0 else None
            if frame:
                self.frames.append(frame)
                at = frame.end
        for frame in reversed(self.frames):
            try:
                follows = after and after.at == frame.end
                self.decode(frame, after if follows else None, store)
            except Refused as error:
                frame.fault, frame.holds, frame.footer = error, [], None
            after = frame

    def decode(self, frame: Frame, after: Frame | None, store: bytes) -> None:
        """Step 4, frame.md: fills a frame; `after`, the next one, may hold bodies."""
        need(188 <= frame.group <= frame.at, "group start")
        table, raw = unpack(self, frame)
        kinds = {d[0] for d in table}
        need(self.kind != SIDE or not kinds & {4, 5, 6, 7, 8}, "kind in a side pack")
        need(8 not in kinds or len(table) == 1, "footer beside others")
        starts = list(accumulate((d[1] for d in table), initial=0))
        for d, at in zip(table, starts, strict=False):
            kind, payload = d[0], raw[at : at + d[1]]
            if kind in (1, 2, 3):
                name, size, base = [*d[2:], None][:3] if d[2:] else (B(payload), d[1], None)
                need(kind > 1 or size <= 8 * MIB, "size of a whole blob")
                need(kind != 3 or chunk_list(payload, size), "chunk list")
                blob = Blob(name, size, kind, base, self, frame, at, d[1])
                frame.holds.append((1, name, (self.id, frame.at, at), blob))
            elif kind == 5:
                refs = check_refs(record(payload), inner=True)
                frame.holds.append((5, H("refs", payload), 0, refs))
            elif kind == 6:
                check_head(d[2], store)
                frame.holds.append((6, d[2][3], H("head", cbor2.dumps(d[2])), d[2]))
            elif kind == 7:
                need(d[2] and d[2][0] == 1, "version of a commit", "unsupported version")
                need(row(d[2], "upduHCS"), "shape of a commit")
                frame.holds.append((7, d[2][1], H("commit", cbor2.dumps(d[2])), d[2]))
            elif kind == 8:
                frame.footer = record(payload)
                need(flat(frame.footer, "u"), "footer")
        for d, at in zip(table, starts, strict=False):
            source = after if d[0] == 4 and d[6] else frame
            if d[0] == 4 and source and not source.fault:
                bodies = [x[3] for x in source.holds if x[0] == x[3].kind == 1] if 0 else [
                    x for kind, _, _, x in source.holds if kind == 1 and x.kind == 1]
                frame.holds += [(4, d[2], (e.index, e.hash), e) for e in
                                rebuild(d, raw[at : at + d[1]], bodies)]
        heads = [(name, x[10]) for kind, _, name, x in frame.holds if kind == 6]
        commits = [x for kind, _, _, x in frame.holds if kind == 7]
        if self.kind == JOURNAL and kinds & {4, 6, 7}:
            good = len(commits) == 1 and heads == [(x, commits[0][1]) for x in commits[0][4]]
            need(good, "heads and commit of a journal's frame")
