#!/usr/bin/env python3
"""Reader and checker of a castore store, written from the pages of this folder alone.

`python reference.py STORE` prints one JSON object and exits with 0 (no fault), 1
(faults), 2 (cannot be read) or 10 (no store). As a module: `check(path)`, and
`Store(path)` with `.heads`, `.entries()` and `.blob()`. Nothing is written.
"Step n" is one of `checking.md`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import struct
import subprocess
import sys
import uuid
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import pairwise
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
MARK = struct.Struct(">8s16sQQ16sQ32sQ")


class NoStore(Exception):
    """There is no `castore.json`."""


class Refused(Exception):
    """Something that a page says a reader MUST refuse."""

    def __init__(self, verdict: str, detail: str) -> None:
        super().__init__(verdict, detail)
        self.verdict, self.detail = verdict, detail


def need(true: object, detail: str, verdict: str = "malformed record") -> None:
    """conventions.md: what is refused is not believed."""
    if not true:
        raise Refused(verdict, detail)


# ---- suite.md, merkle.md


def B(data: bytes) -> bytes:
    """suite.md: the name of a blob."""
    return blake3(data).digest()


def H(name: str, *parts: bytes) -> bytes:
    """suite.md: a hash with a context."""
    context = "castore v1 2026-11 " + name
    return blake3(b"".join(parts), derive_key_context=context).digest()


def root(hashes: Iterable[bytes], sha: bool) -> bytes:
    """merkle.md: the root over entry hashes; the peaks are kept as (leaves, hash)."""

    def mix(name: str, tag: bytes, data: bytes) -> bytes:
        return hashlib.sha256(tag + data).digest() if sha else H(name, data)

    peaks: list[tuple[int, bytes]] = []
    for value in hashes:
        size, top = 1, mix("leaf", b"\0", value)
        while peaks and peaks[-1][0] == size:
            size, top = size * 2, mix("node", b"\1", peaks.pop()[1] + top)
        peaks.append((size, top))
    top = peaks.pop()[1] if peaks else mix("empty", b"", b"")
    while peaks:
        top = mix("node", b"\1", peaks.pop()[1] + top)
    return top


# ---- encoding.md: decode without tags, check types, encode again, compare


def _tag(*_: object) -> Any:
    raise cbor2.CBORDecodeError("a tag")


TAGS = dict.fromkeys(range(1 << 16), _tag)  # some would share or blow up values


def plain(value: Any, maps: bool) -> None:
    """encoding.md: the types of a profile (no body read here has floats)."""
    if type(value) is list or (maps and type(value) is dict):
        for item in value:
            plain(item, maps)
            if type(value) is dict:
                need(type(item) is str, "a key that is no text")
                plain(value[item], maps)
    elif type(value) is int:
        need(-TOP <= value < 2 * TOP, "integer out of range")
    else:
        need(value is None or type(value) in (bytes, str, bool), "type not in profile")


def record(data: bytes, depth: int = 4, maps: bool = False) -> Any:
    """encoding.md: a value of the record profile, or with maps of the other."""
    try:
        value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=depth)
    except cbor2.CBORDecodeError:
        raise Refused("malformed record", "not decodable CBOR") from None
    plain(value, maps)
    need(cbor2.dumps(value) == data, "not the one encoding of its value")
    return value


# ---- Shapes: one letter a value; row(value, "idu") is [16 bytes, 32 bytes, integer]


def uint(v: Any, low: int = 0, high: int = TOP) -> bool:
    return type(v) is int and low <= v < high


def text(v: Any, low: int, high: int) -> bool:
    return type(v) is str and low <= len(v.encode()) <= high


TESTS: dict[str, Callable[[Any], bool]] = {
    "?": lambda v: True,
    "l": lambda v: type(v) is list,
    "b": lambda v: type(v) is bytes,
    "t": lambda v: type(v) is str,
    "n": lambda v: type(v) is int,
    "i": lambda v: type(v) is bytes and len(v) == 16,  # id
    "d": lambda v: type(v) is bytes and len(v) == 32,  # digest
    "D": lambda v: v is None or TESTS["d"](v),
    "u": uint,
    "p": lambda v: uint(v, 1),
    "T": lambda v: v is None or uint(v, 0, 2 * TOP),  # turn
    "2": lambda v: uint(v, 0, 2),
    "3": lambda v: uint(v, 2, 4),
    "e": lambda v: uint(v, 1, 256),
    "s": lambda v: uint(v, 0, 8 * MIB + 1),
    "c": lambda v: uint(v, 1, 8 * MIB + 1),
    "r": lambda v: text(v, 0, 64),
    "k": lambda v: text(v, 1, 64),
    "5": lambda v: text(v, 1, 512),
    "N": lambda v: text(v, 1, 1024),
    "K": lambda v: v is None or row(v, "kN"),  # session key
    "O": lambda v: v is None or row(v, "iiuddT"),  # origin
    "C": lambda v: v is None or row(v, "i5duu"),  # key of a commit
    "H": lambda v: flat(v, "d") and 0 < len(v) <= 1024,  # heads of a commit
    "S": lambda v: flat(v, "iud") and len(set(v[::3])) * 3 == len(v),  # its sides
    "A": lambda v: type(v) is list and all(row(x, "i3ud") for x in v),  # listed files
    "I": lambda v: flat(v, "i"),
    "B": lambda v: flat(v, "d"),
}
DESCRIPTORS = {1: "", 2: "dsde", 3: "du", 4: "iudp2", 5: "", 6: "l", 7: "l", 8: ""}
BODIES = {  # storelog.md
    "start": {"created_by": "t"},
    "packs": {"add": "A", "drop": "I"},
    "tagged": {"name": "N"},
    "untagged": {"name": "N"},
    "instance": {"instance": "i"},
    "deleted": {"segment": "i", "session": "i", "head": "b", "key": "K"},
    "collected": {"run": "n", "blobs": "B"},
}


def row(v: Any, shape: str) -> bool:
    good = type(v) is list and len(v) == len(shape)
    return good and all(TESTS[x](item) for x, item in zip(shape, v, strict=True))


def flat(v: Any, shape: str) -> bool:
    """A flat array that repeats the shape."""
    n = len(shape)
    good = type(v) is list and len(v) % n == 0
    return good and all(row(v[i : i + n], shape) for i in range(0, len(v), n))


def where_of(segment: bytes, index: int | None = None) -> str:
    """verdicts.md: where a segment or entry is."""
    return f"segment:{segment.hex()}" + ("" if index is None else f"[{index}]")


# ---- entry.md, head.md, commit.md, blob.md: records in themselves


def versioned(v: Any, shape: str) -> None:
    """head.md, commit.md: version 1 and the elements behind it."""
    need(v and type(v[0]) is int, "not a versioned array")
    need(v[0] == 1, f"version {v[0]}", "unsupported version")
    need(row(v, "u" + shape), "elements of a head or commit")


def check_refs(refs: Any, most: int, least: int = 0) -> None:
    """entry.md: references of an entry, or (least = 1) of a ref list."""
    need(type(refs) is list and least <= len(refs) <= most, "count of references")
    for ref in refs:
        need(row(ref, "rduuD") and ref[3] in (0, 2 - 2 * least), "shape of a reference")
        listed = ref[0] == "" and 1 <= ref[2] <= 65536 and ref[4] is None
        sliced = (ref[4] is not None) == (ref[2] > 8 * MIB)
        need(listed if ref[3] else sliced, "role, count or slices of a reference")


def check_head(head: Any, store: bytes) -> None:
    """head.md"""
    versioned(head, "iiiuupuddpu")
    need(head[1] == store, "head of another store", "foreign record")
    need(head[5] == 0 and head[7] > head[4], "state or count of a head")


def chunk_list(payload: bytes, size: int) -> tuple[list[tuple[bytes, int]], bytes]:
    """blob.md: chunks and slices of a chunk list."""
    value = record(payload)
    need(row(value, "lb") and value[0] and flat(value[0], "dc"), "chunk list's shape")
    need(sum(value[0][1::2]) == size, "sizes of chunks do not add up")
    count = -(-size // MIB) if size > 8 * MIB else 0
    need(len(value[1]) == 32 * count, "length of slices")
    return list(zip(value[0][::2], value[0][1::2], strict=True)), value[1]


def inflate(data: bytes, size: int, base: bytes | None = None) -> bytes:
    """frame.md, blob.md: one zstd frame of exactly `size` bytes; base is its prefix."""
    try:
        info = zstd.get_frame_info(data)
        need(
            data[:4] == b"\x28\xb5\x2f\xfd"
            and info.decompressed_size == size
            and not info.dictionary_id,
            "header of a zstd frame",
        )
        prefix = None if base is None else zstd.ZstdDict(base, is_raw=True).as_prefix
        limit = {int(zstd.DecompressionParameter.window_log_max): 27}
        stream = zstd.ZstdDecompressor(prefix, limit)
        out = stream.decompress(data, size + 1)
    except (zstd.ZstdError, ValueError) as error:
        raise Refused("malformed record", f"zstd: {error}") from None
    need(stream.eof and not stream.unused_data and len(out) == size, "zstd frame")
    return out


def rebuild(d: list[Any], payload: bytes, bodies: list[Blob]) -> list[Entry]:
    """frame.md, stored entries: the hashed forms of an entries record."""
    items, clock, prev, out = record(payload), 0, d[4], []
    need(type(items) is list and len(items) == d[5], "count of entries")
    need(d[3] + d[5] <= TOP, "index out of range")
    for index, item in enumerate(items, d[3]):
        need(type(item) is list and len(item) in (4, 5), "shape of a stored entry")
        time, kind, body, refs = item[:4]
        need(text(kind, 1, 64) and (kind == "start") == (len(item) == 5), "kind")
        need(time is None or type(time) is int, "time")
        clock += time or 0
        need(uint(clock), "time out of range")
        if uint(body):
            need(body < len(bodies), "a body number that is not there")
            body = [bodies[body].digest, bodies[body].size]
        need(row(body, "du"), "body")
        check_refs(refs, 256)
        if len(item) == 5:
            need(row(item[4], "iitOK"), "shape of a start record")
            need(item[4][2] in ("new", "fork", "compaction", "import"), "unknown cause")
            need(item[4][2] != "fork" or item[4][3], "fork without origin")
        now = None if time is None else clock
        form = [1, index, prev, now, kind, *body, refs, *item[4:]]
        data = cbor2.dumps(form)
        need(len(data) < 65536, "entry of more than 65,535 bytes")
        prev = H("entry", data)
        out.append(Entry(d[2], index, prev, form, where_of(d[2], index)))
    return out


# ---- frame.md, file.md

# a copy of a blob: kind 1 whole, 2 difference, 3 chunk list; where its payload stands
Blob = namedtuple("Blob", "digest size kind base file frame at length")
Entry = namedtuple("Entry", "segment index hash form where")
Mark = namedtuple("Mark", "magic file device inode boot end hash seq")  # folder.md


class Frame:
    """frame.md: a whole frame and, once decoded, what it holds (nothing if refused)."""

    def __init__(self, at: int, end: int, digest: bytes, group: int) -> None:
        self.at, self.end, self.hash, self.group = at, end, digest, group
        self.fault: Refused | None = None
        self.blobs: list[Blob] = []
        self.lists: dict[bytes, list[Any]] = {}
        self.entries: list[Entry] = []
        self.heads: dict[bytes, list[Any]] = {}
        self.commits: dict[bytes, list[Any]] = {}
        self.footer: list[int] | None = None


UNREADABLE = Frame(0, 0, b"", 0)
UNREADABLE.fault = Refused("corrupt frame", "")


def split(data: bytes) -> tuple[list[tuple[list[Any], int]], bytes]:
    """frame.md: the descriptors, each with its payload's place, and the raw part."""
    _, codec, flags, count, t, r, c, _ = FRAME.unpack_from(data)
    good = codec < 2 and not flags and (r if codec else c == r)
    need(good, "codec, flags or sizes of a frame")
    table, raw = record(data[28 : 28 + t]), data[28 + t : 28 + t + c]
    need(type(table) is list and len(table) == count, "table's count")
    raw = inflate(raw, r) if codec else raw
    parts, at = [], 0
    for d in table:
        need(row(d[:2] if type(d) is list else d, "eu"), "descriptor")
        need(not 8 < d[0] < 64, f"kind {d[0]} is reserved", "unsupported version")
        need(d[0] > 63 or row(d[2:], DESCRIPTORS[d[0]]), f"descriptor of kind {d[0]}")
        need(d[1] == 0 or d[0] not in (6, 7), "head or commit with a payload")
        parts.append((d, at))
        at += d[1]
    need(at == r, "sizes that do not add up")
    return parts, raw


def sound(header: bytes) -> bool:
    """file.md: magic and file hash."""
    return header[:8] == b"\x89castore" and H("file", header[:156]) == header[156:]


class File:
    """One file in `files/`."""

    def __init__(self, folder: str, name: str) -> None:
        self.path, self.where = os.path.join(folder, name), "files/" + name
        self.id, self.size = bytes.fromhex(name[:32]), os.lstat(self.path).st_size
        self.frames: list[Frame] = []  # all that are whole
        self.kept: list[Frame] = []  # those that count
        self.gaps: list[int] = []
        self.found: list[tuple[str, int, str]] = []

    def read(self, at: int, size: int) -> bytes:
        """threats.md: no links are followed; fewer bytes at the end of the file."""
        fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            return os.pread(fd, size, at)
        finally:
            os.close(fd)

    def header(self, store: bytes) -> None:
        """Step 2, file.md"""
        data = self.read(0, 188)
        self.hash = data[156:]
        need(sound(data), "header's magic or hash", "corrupt frame")
        (
            _,
            version,
            suite,
            self.kind,
            zero,
            owner,
            name,
            self.number,
            self.pred,
            self.pred_end,
            self.pred_hash,
            self.seq,
            self.commit,
            self.carried,
        ) = HEADER.unpack_from(data)
        need(version == suite == 1, "version or suite", "unsupported version")
        need(owner == store and name == self.id, "store or file id", "foreign record")
        none = (not any(self.pred + self.pred_hash)) and self.pred_end == self.seq == 0
        if self.kind == JOURNAL:
            need(none if self.number == 1 else self.number and any(self.pred), "number")
            need(self.seq or self.commit == H("genesis", store), "commit of seq 0")
        else:
            need(self.kind in (SIDE, PACK) and none and not self.number, "kind, number")
            need(not any(self.commit) and self.carried == 188, "commit, carried end")
        need(not zero and uint(self.carried, 188), "byte 11 or carried end")
        need(max(self.number, self.pred_end, self.seq) < TOP, "a field out of range")

    def whole(self, at: int, limit: int, tag: bytes) -> Frame | None:
        """Step 4: the whole frame at an offset; tag is the file hash."""
        head = self.read(at, 28)
        if len(head) < 28 or head[:4] != b"csF1":
            return None
        _, _, _, _, t, r, c, group = FRAME.unpack(head)
        end = at + 60 + t + c
        if t > 4 * MIB or r > 16 * MIB or c > 17 * MIB or end > limit:
            return None
        data = self.read(at - 32, end - at + 32)
        place = tag + at.to_bytes(8, "big") + data[:32]
        stored = H("stored", data[60 + t : -32])
        if H("frame", data[32 : 60 + t], stored, place) != data[-32:]:
            return None
        return Frame(at, end, data[-32:], group)

    def scan(self, start: int, limit: int, tag: bytes) -> Frame | None:
        """Step 4: the first whole frame at or behind start."""
        for base in range(start, limit, MIB):
            for match in re.finditer(b"csF1", self.read(base, MIB + 3)):
                if frame := self.whole(base + match.start(), limit, tag):
                    return frame
        return None


# ---- folder.md

LIST = r'(\[(?:"[A-Za-z0-9.-]+"(?:, "[A-Za-z0-9.-]+")*)?\])'
CASTORE = re.compile(
    r'\{"castore": (\d+), "features": \{"all_must_know": '
    + LIST
    + ', "reader_may_ignore": '
    + LIST
    + ', "writer_must_know": '
    + LIST
    + r'\}, "store": "([0-9a-f]{32})", "suite": "([ !#-[\]-~]*)"\}\n'
)
KNOWN = {
    "castore.json",
    "castore.json.new",
    "lock",
    "files",
    "maintenance",
    "quarantine",
}


def plain_file(path: str, limit: int) -> bytes | None:
    """folder.md: None where nothing is, no bytes where no plain file is."""
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return b""
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(path, "rb") as file:
        return file.read(limit)


def boot_id() -> bytes:
    """folder.md: of the machine, now; where it cannot be read it differs from any."""
    try:
        if sys.platform == "darwin":
            command = ["sysctl", "-n", "kern.bootsessionuuid"]
            done = subprocess.run(command, capture_output=True, check=True, text=True)
            return uuid.UUID(done.stdout.strip()).bytes
        with open("/proc/sys/kernel/random/boot_id") as file:
            return uuid.UUID(file.read().strip()).bytes
    except (OSError, ValueError, subprocess.CalledProcessError):
        return b""


def severity(verdict: str) -> str:
    """verdicts.md"""
    if verdict.startswith("collected by "):
        return "explained"
    return "notice" if verdict in ("torn tail", "not covered") else "fault"


class Store:
    """Checks a whole store; then heads, entries and blobs can be asked for."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path, self.id, self.seq = os.fspath(path), bytes(16), 0
        self.findings: dict[tuple[str, str], str] = {}
        self.files: dict[bytes, File] = {}
        self.refused: dict[bytes, tuple[File, Refused]] = {}
        self.effect: list[File] = []
        self.chain: list[File] = []
        self.used: list[File] = []
        self.listed: dict[bytes, list[Any]] = {}
        self.deleted: dict[bytes, list[Any]] = {}
        self.collected: dict[bytes, int] = {}
        self.dropped: set[bytes] = set()
        self.heads: dict[bytes, list[Any]] = {}
        self.logs: dict[bytes, list[Entry]] = {}
        self.cache: OrderedDict[bytes, bytes] = OrderedDict()
        self.cached = 0
        self.raw = lru_cache(8)(lambda f, x: split(f.read(x.at, x.end - x.at))[1])
        self.index([], [])
        if self.castore_json():
            self.mark, self.exact = self.lock()
            self.load()
            self.find_chain()
            self.fold()
            self.cut_chain()
            self.files_of_store()
            self.check_commits()
            self.find_heads()
            self.check_logs()
            self.check_blobs()

    def say(self, verdict: str, where: str, detail: str = "") -> None:
        self.findings.setdefault((where, verdict), detail)

    # ---- step 1

    def castore_json(self) -> bool:
        """Step 1, folder.md: the store id; whether the check goes on."""
        data = plain_file(os.path.join(self.path, "castore.json"), 65537)
        if data is None:
            raise NoStore(self.path)
        known = len(data) <= 65536
        form = CASTORE.fullmatch(data.decode("latin-1")) if known else None
        names = [json.loads(x) for x in form.group(2, 3, 4)] if form else []
        if not form or any(x != sorted(set(x)) for x in names):
            self.say("malformed record", "castore.json", "not in its form")
        elif form[1] != "1" or form[6] != "blake3-256" or names[0]:
            self.say("unsupported version", "castore.json", "version, suite or feature")
            return False
        else:
            self.id = bytes.fromhex(form[5])
        return True

    def lock(self) -> tuple[Mark | None, bool]:
        """Step 1, folder.md: the mark if it is worth anything; if it is exact."""
        path = os.path.join(self.path, "lock")
        data = plain_file(path, 257) or b""
        sum_fits = len(data) == 256 and H("mark", data[:240])[:16] == data[240:]
        if not sum_fits or data[:8] != b"cslock01":
            self.say("not covered", "lock", "no mark")
            return None, False
        mark = Mark(*MARK.unpack_from(data))
        try:
            now = os.lstat(os.path.join(self.path, "files", mark.file.hex() + ".cas"))
        except (FileNotFoundError, NotADirectoryError):
            return (mark if os.lstat(path).st_dev == mark.device else None), False
        if (now.st_dev, now.st_ino) != (mark.device, mark.inode):
            return None, False
        return mark, mark.boot == boot_id()

    # ---- steps 2 and 4

    def load(self) -> None:
        """Steps 1 and 2: names in the folder, headers, all whole frames."""
        folder = os.path.join(self.path, "files")
        for name in os.listdir(self.path):
            if name not in KNOWN and not name.startswith("catalog-"):
                self.say("not covered", name)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if stat.S_ISREG(mode) and re.fullmatch(r"[0-9a-f]{32}\.cas", name):
                self.files[bytes.fromhex(name[:32])] = File(folder, name)
            else:
                self.say("not covered", "files/" + name)
        heads = (f.read(0, 188) for f in self.files.values())
        if ("castore.json", "malformed record") in self.findings:
            self.id = next((x[12:28] for x in heads if sound(x)), self.id)
        for f in list(self.files.values()):
            try:
                f.header(self.id)
            except Refused as error:
                self.refused[f.id] = (self.files.pop(f.id), error)
            else:
                f.frames, f.gaps = self.walk(f, f.size)

    def walk(self, f: File, limit: int) -> tuple[list[Frame], list[int]]:
        """Step 4: all whole frames, decoded, and where the gaps between them begin."""
        frames: list[Frame] = []
        gaps, at = [], 188
        while at < limit:
            frame = f.whole(at, limit, f.hash)
            if frame is None:
                gaps.append(at)
                frame = f.scan(at + 1, limit, f.hash)
            if frame is None:
                break
            frames.append(frame)
            at = frame.end
        after = None
        for frame in reversed(frames):  # entries may need the blobs of the frame behind
            try:
                self.decode(f, frame, UNREADABLE if frame.end in gaps else after)
            except Refused as error:
                empty = Frame(frame.at, frame.end, frame.hash, frame.group)
                vars(frame).update(vars(empty) | {"fault": error})
            after = frame
        return frames, gaps

    def decode(self, f: File, frame: Frame, after: Frame | None) -> None:
        """Step 4, frame.md: fills a frame; `after`, the next one, may hold bodies."""
        need(188 <= frame.group <= frame.at, "group start")
        parts, raw = split(f.read(frame.at, frame.end - frame.at))
        for d, at in parts:
            kind, payload = d[0], raw[at : at + d[1]]
            need(f.kind != SIDE or kind < 4 or kind > 63, "kind in a side pack")
            if kind == 1:
                need(d[1] <= 8 * MIB, "size of a whole blob")
                frame.blobs.append(Blob(B(payload), d[1], 1, b"", f, frame, at, d[1]))
            elif kind == 2:
                frame.blobs.append(Blob(d[2], d[3], 2, d[4], f, frame, at, d[1]))
            elif kind == 3:
                chunk_list(payload, d[3])
                frame.blobs.append(Blob(d[2], d[3], 3, b"", f, frame, at, d[1]))
            elif kind == 5:
                check_refs(refs := record(payload), 65536, 1)
                frame.lists[H("refs", payload)] = refs
            elif kind == 6:
                check_head(d[2], self.id)
                frame.heads[H("head", cbor2.dumps(d[2]))] = d[2]
            elif kind == 7:
                versioned(d[2], "pduHCS")
                frame.commits[H("commit", cbor2.dumps(d[2]))] = d[2]
            elif kind == 8:
                frame.footer = record(payload)
                need(len(parts) == 1 and flat(frame.footer, "u"), "footer")
        for d, at in parts:
            if d[0] == 4:
                source = after if d[6] else frame
                need(source, "no frame follows")
                if source and not source.fault:
                    bodies = [x for x in source.blobs if x.kind == 1]
                    frame.entries += rebuild(d, raw[at : at + d[1]], bodies)
        if f.kind == JOURNAL:
            self.decode_commit(frame, [d for d, _ in parts if d[0] in (4, 6, 7)])

    def decode_commit(self, frame: Frame, table: list[list[Any]]) -> None:
        """file.md: entries, heads and commit of a journal's frame belong together."""
        kinds = [d[0] for d in table]
        need(not kinds or kinds.count(7) == 1, "count of commit records")
        for commit in frame.commits.values():
            heads = frame.heads.values()
            need([*frame.heads] == commit[4] and len(heads) == kinds.count(6), "heads")
            need(all(x[10] == commit[1] for x in heads), "seq of a head")
            own = {x[3] for x in heads}
            need(all(d[2] in own and not d[6] for d in table if d[0] == 4), "entries")

    # ---- step 3

    def find_chain(self) -> None:
        """Step 3, file.md: the newest journal and its predecessors, drops or not."""
        named = {self.mark.file} if self.mark else set()
        for f in sorted(self.files.values(), key=lambda f: (-f.number, f.id)):
            ends = [188] + [x.end for x in f.frames if not f.gaps or x.end <= f.gaps[0]]
            behind = any(x.at >= f.carried for x in f.frames)
            if f.kind == JOURNAL and (f.carried in ends or behind or f.id in named):
                self.effect.append(f)
                named.add(f.pred)
        link = self.effect[0] if self.effect else None
        end, tag = None, b""
        while link:
            self.chain.append(link)
            if link is not self.chain[0]:
                self.settle(link, end, end, tag)
            elif not self.mark or self.mark.file != link.id:
                self.settle(link, None, None, b"", torn=True)
            else:
                end = self.mark.end if self.exact else None
                self.settle(link, end, self.mark.end, self.mark.hash, end is None)
            end, tag, before = link.pred_end, link.pred_hash, self.files.get(link.pred)
            good = before and before.kind == JOURNAL and before.number < link.number
            link = before if good else None

    def settle(
        self, f: File, end: int | None, must: int | None, tag: bytes, torn: bool = False
    ) -> None:
        """Steps 3 and 4: the frames that count, up to the extent `end`, and what to say
        of the file. At `must`, if given, a frame with the hash `tag` has to end."""
        limit, frames, gaps = f.size if end is None else end, f.frames, f.gaps
        if limit < f.size and limit not in {188, *(x.end for x in frames)}:
            frames, gaps = self.walk(f, limit)
        f.kept, f.found = [x for x in frames if x.end <= limit], []
        for gap in (x for x in gaps if x < limit):
            later = any(x.group > gap for x in f.kept if x.at > gap)
            if torn and not later and gap >= (must or 0):
                f.kept = [x for x in f.kept if x.end <= gap]
                f.found.append(("torn tail", gap, "not whole"))
                break
            f.found.append(("corrupt frame", gap, "not whole"))
        clean = all(x[0] != "corrupt frame" for x in f.found)
        ends = {188: f.hash} | {x.end: x.hash for x in f.kept}
        if clean and must is not None and ends.get(must) != tag:
            verdict = "corrupt frame" if f.kind == PACK else "truncated log"
            f.found.append((verdict, max(ends), f"no frame wanted ends at {must}"))
        for i, x in enumerate(f.kept):
            if x.fault:
                f.found.append((x.fault.verdict, x.at, x.fault.detail))
            if (
                x.footer is not None
                and clean
                and (x is not f.kept[-1] or x.footer != [y.at for y in f.kept[:i]])
            ):
                f.found.append(("malformed record", x.at, "footer"))

    def absent(self, name: bytes) -> None:
        """Steps 2 and 3: a file that is wanted, and refused or not there."""
        if name in self.refused:
            f, error = self.refused[name]
            self.say(error.verdict, f.where + "@0", error.detail)
        elif name not in self.files:
            self.say("missing pack", f"files/{name.hex()}.cas")

    def require(self, name: bytes, kind: int, end: int, tag: bytes) -> None:
        """Step 3: a listed file, or a side pack that a commit names."""
        self.absent(name)
        if not (f := self.files.get(name)):
            return
        if f.kind != kind:
            return self.say("malformed record", f.where + "@0", "not the kind named")
        self.settle(f, end, end, tag)
        self.used.append(f)
        footer = f.kept and f.kept[-1].footer is not None
        if kind == PACK and (f.size > end or not footer):
            f.found.append(("corrupt frame", end, "bytes behind it, or no footer"))

    def cut_chain(self) -> None:
        """Step 3: the chain ends at what is dropped; what is named is there."""
        live = [f for f in self.effect if f.id not in self.dropped]
        for a, b in pairwise(live):
            if a.number == b.number:
                self.say("fork evidence", b.where, "two journals with one number")
        cut = [i for i, f in enumerate(self.chain) if i and f.id in self.dropped]
        self.chain = self.chain[: cut[0]] if cut else self.chain
        last = self.chain[-1] if self.chain else None
        if last and last.number > 1 and last.pred not in self.dropped:
            self.absent(last.pred)
            if last.pred in self.files:
                self.say("broken link", last.where, "predecessor is no earlier journal")
        if self.mark and self.mark.file not in self.dropped:
            self.absent(self.mark.file)
            ends = {f.pred: f.pred_end for f in self.chain[:-1]}
            ends |= {f.id: TOP for f in self.chain[:1]}
            marked = self.files.get(self.mark.file)
            if marked and ends.get(marked.id, 0) < self.mark.end:
                self.say("truncated log", marked.where, "journal of the mark")

    def files_of_store(self) -> None:
        """Step 3, storelog.md: which files, and what of them, all later steps count."""
        self.used = list(self.chain)
        for name, (kind, size, tag) in self.listed.items():
            if name not in self.dropped:
                self.require(name, kind, size, tag)
        sides: dict[bytes, tuple[int, int, bytes]] = {}
        for c in (c for f in self.used for x in f.kept for c in x.commits.values()):
            for name, end, tag in zip(c[6][::3], c[6][1::3], c[6][2::3], strict=True):
                sides[name] = max(sides.get(name, (0, 0, b"")), (end, c[1], tag))
        for name, (end, _, tag) in sides.items():
            if name not in self.dropped and name not in self.listed:
                self.require(name, SIDE, end, tag)
        for f in self.used:
            for verdict, at, detail in f.found:
                self.say(verdict, f"{f.where}@{at}", detail)
        self.unwanted()
        kept = [x for f in self.used for x in f.kept]
        self.index(kept, kept)

    def unwanted(self) -> None:
        """Steps 2 and 9: files that nothing wants, refused ones held back until now."""
        for f in self.files.values():
            if f not in self.used:
                self.say("not covered", f.where)
        reported = False
        for f, error in self.refused.values():
            tags = f.read(156, 32), H("file", f.read(0, 156))
            if f.id not in self.dropped and any(f.scan(32, f.size, x) for x in tags):
                self.absent(f.id)
            if (f.where + "@0", error.verdict) in self.findings:
                reported = True
            else:
                self.say("not covered", f.where)
        if not self.chain and not reported:
            self.say("missing pack", "files", "no journal in effect")

    def index(self, frames: list[Frame], chain: list[Frame]) -> None:
        """What stands in these frames; heads and commits only of those of a chain."""
        self.good: dict[bytes, tuple[Blob, int]] = {}
        self.fine: dict[bytes, tuple[Blob, bytes]] = {}
        self.commits: dict[int, dict[bytes, list[Any]]] = defaultdict(dict)
        self.stored: dict[bytes, dict[bytes, list[Any]]] = defaultdict(dict)
        self.entry: dict[bytes, dict[int, dict[bytes, Entry]]] = defaultdict(dict)
        self.blobs: dict[bytes, list[Blob]] = defaultdict(list)
        self.lists: dict[bytes, list[Any]] = {}
        for x in frames:
            for e in x.entries:
                self.entry[e.segment].setdefault(e.index, {})[e.hash] = e
            for b in x.blobs:
                self.blobs[b.digest].append(b)
            self.lists |= x.lists
        for x in chain:
            for tag, commit in x.commits.items():
                self.commits[commit[1]][tag] = commit
            for tag, head in x.heads.items():
                self.stored[head[3]][tag] = head

    # ---- storelog.md

    def fold(self) -> None:
        """Step 6: fold the store log that the uncut chain ends in."""
        everything = [x for f in self.files.values() for x in f.frames]
        self.index(everything, [x for f in self.chain for x in f.kept])
        said, self.findings = self.findings, {}  # found again later
        head = self.newest_head(self.id)
        log = self.read_log(self.id, head)[0] if head else []
        self.prove(e.form[5] for e in log)
        self.findings = said
        if not head:
            self.say("wrong head", where_of(self.id), "no usable head")
            for f in self.files.values():
                if f.kind == PACK:
                    tag = f.frames[-1].hash if f.frames else f.hash
                    self.listed[f.id] = [PACK, f.size, tag]
        for e in log:
            if e.form[4] not in BODIES:
                self.say("not covered", e.where, "unknown kind")
            elif e.form[5] in self.good or e.form[5] in self.fine:
                try:
                    self.apply(e, record(self.blob(e.form[5], 64 * MIB), 64, True))
                except Refused as error:
                    self.say("malformed record", e.where, error.detail)

    def apply(self, e: Entry, body: Any) -> None:
        """storelog.md: what one entry changes."""
        kind, shape, refs = e.form[4], BODIES[e.form[4]], e.form[7]
        need(type(body) is dict and [*body] == [*shape], "keys of a body")
        need(all(TESTS[shape[k]](v) for k, v in body.items()), "values of a body")
        if kind == "packs":
            dropped = self.dropped | set(body["drop"])
            need(self.chain[0].id not in dropped, "drop of the newest journal")
            need(not any(x[0] in dropped for x in body["add"]), "listed after its drop")
            self.dropped = dropped
            self.listed |= {x[0]: x[1:] for x in body["add"]}
        elif kind == "deleted":
            check_head(head := record(body["head"]), self.id)
            need(head[2:4] == [body["session"], body["segment"]], "final head")
            need(head[3] != self.id, "the store log is never deleted")
            self.deleted[head[3]] = head
        elif kind == "collected":
            self.collected |= dict.fromkeys(body["blobs"], body["run"])
        elif kind == "tagged":
            need(len(refs) == 1 and refs[0][0] == "tag", "reference of a tag")

    # ---- steps 5 and 6

    def check_commits(self) -> None:
        """Step 5"""
        genesis: dict[bytes, list[Any]] = {H("genesis", self.id): []}
        for seq, these in sorted(self.commits.items()):
            before = self.commits.get(seq - 1, {}) if seq > 1 else genesis
            if len(these) > 1:
                self.say("fork evidence", f"seq:{seq}")
            if seq != self.seq + 1:
                self.say("broken link", f"seq:{self.seq + 1}", "absent")
            if before and any(c[2] not in before for c in these.values()):
                self.say("broken link", f"seq:{seq}", "prev")
            self.seq = seq
        faults = any(severity(verdict) == "fault" for _, verdict in self.findings)
        mark = self.mark if self.exact and self.chain else None
        on_newest = mark and mark.file == self.chain[0].id
        if mark and on_newest and mark.seq != self.seq and not faults:
            self.say("truncated log", "lock", "the mark's seq is another")
        for f in self.chain:
            if f.commit not in self.commits.get(f.seq, {f.commit: []}):
                self.say("broken link", f.where, "commit before this file")

    def newest_head(self, segment: bytes) -> list[Any] | None:
        """Step 6: the head to use; `listed` is None where there is no commit record."""
        usable, where = [], where_of(segment)
        stored = self.stored.get(segment, {}).items()
        for tag, head in stored:
            commits = self.commits.get(head[10])
            listed = commits and any(tag in c[4] for c in commits.values())
            if listed or not commits:
                usable.append((-head[6], not listed, tag, head))
        usable.sort(key=lambda x: x[:3])
        best = -usable[0][0] if usable else 0
        if any(head[6] > best for _, head in stored):
            self.say("wrong head", where, "in no commit record")
        if len({head[6] for _, head in stored}) < len(stored):
            self.say("fork evidence", where, "two heads of one revision")
        for (n, _, _, a), (m, _, _, b) in pairwise(usable):
            if n != m and (a[7] < b[7] or a[10] <= b[10]):
                self.say("wrong head", where, "a later head with less")
        return usable[0][3] if usable else None

    def find_heads(self) -> None:
        """Step 6: heads of living segments, absences, deleted segments."""
        for segment in {*self.stored, *self.entry}:
            stored, final = self.stored.get(segment, {}), self.deleted.get(segment)
            if final:
                later = [x for x in stored.values() if x[6] >= final[6] and x != final]
                if later:
                    self.say("fork evidence", where_of(segment), "it is deleted")
            elif head := self.newest_head(segment):
                self.heads[segment] = head
            elif not stored:
                self.say("unproven absence", where_of(segment))

    # ---- step 7

    def fork_index(self, segment: bytes) -> int:
        """Step 7: of a parent; if it has no head that of its first start entry."""
        head = self.heads.get(segment) or self.deleted.get(segment)
        own = (e for x in self.entry.get(segment, {}).values() for e in x.values())
        starts = [e.index for e in own if e.form[4] == "start"]
        return int(head[4]) if head else min(starts, default=0)

    def read_log(self, segment: bytes, head: list[Any]) -> tuple[list[Entry], int]:
        """Step 7: a log, and how many of its entries from 0 on are there and linked."""
        spans, owner, high, low = [], segment, head[7], head[4]
        while True:
            spans.append((owner, low, high))
            options = self.entry.get(owner, {}).get(low, {})
            starts = [options[x].form[8:] for x in sorted(options)]
            origins = [x[0][3] for x in starts if x and x[0][3]]
            if low == 0 or not origins:
                break
            owner, high = origins[0][1], min(low, high)
            if owner in (x for x, _, _ in spans):
                self.say("broken link", where_of(segment, head[4]), "lineage closes")
                break
            low = self.fork_index(owner)
        log: list[Entry] = []
        broken, sound = low > 0, 0
        prev = None if broken else H("genesis", head[2], owner)
        for owner, low, high in reversed(spans):
            own = self.entry.get(owner, {})
            for index in [*sorted(i for i in own if low <= i < high), max(low, high)]:
                if index > low:
                    self.say("truncated log", where_of(owner, low), "absent")
                    broken, prev = True, None
                if index >= high:
                    break
                if len(own[index]) > 1:
                    self.say("fork evidence", where_of(owner, index))
                e = min(own[index].values(), key=lambda e: (e.form[2] != prev, e.hash))
                if prev not in (None, e.form[2]):
                    self.say("broken link", e.where, "prev")
                    broken = True
                log.append(e)
                prev, low, sound = e.hash, index + 1, sound + (not broken)
        return log, sound

    def check_logs(self) -> None:
        """Step 7"""
        keys: dict[tuple[str, str], dict[bytes, Entry]] = defaultdict(dict)
        for segment, head in sorted(self.heads.items()):
            log, sound = self.read_log(segment, head)
            self.logs[segment] = log
            self.check_start(segment, head, log, sound)
            where, sha = where_of(segment), segment == self.id
            if sound == head[7] and root((e.hash for e in log), sha) != head[8]:
                self.say("root mismatch", where)
            if sound == head[7] and log[-1].hash != head[9]:
                self.say("wrong head", where, "last entry hash")
            if log and log[0].index == 0 and log[0].form[4] == "start":
                session, _, _, _, key = log[0].form[8]
                if key:
                    keys[tuple(key)].setdefault(session, log[0])
        for sessions in keys.values():
            for session in sorted(sessions)[1:]:
                owner = sessions[session].segment
                self.say("fork evidence", where_of(owner), "one key, two sessions")

    def check_start(
        self, segment: bytes, head: list[Any], log: list[Entry], sound: int
    ) -> None:
        """Step 7, entry.md: the start entry against its place."""
        own = [e for e in log if e.segment == segment and e.index >= head[4]]
        for e in own:
            start = e.form[4] == "start"
            if start != (e.index == head[4]):
                self.say("malformed record", e.where, "start entry or none")
            if start and e.index != head[4]:
                self.say("wrong head", where_of(segment), "fork index")
        if not own or own[0].index != head[4] or own[0].form[4] != "start":
            return
        session, name, cause, origin, _ = own[0].form[8]
        good = (session, name, cause == "fork") == (head[2], segment, head[4] > 0)
        good = good and (not origin or origin[1] != self.id)
        if not good or (head[4] and origin[2] != head[4]):
            self.say("malformed record", own[0].where, "start record against its place")
        if session != head[2] or (segment == self.id != session):
            self.say("wrong head", where_of(segment), "session")
        before = [e.hash for e in log if e.index < head[4]]
        if before and origin and sound >= head[4]:
            if root(before, False) != origin[3]:
                self.say("root mismatch", own[0].where, "origin")
            if before[-1] != origin[4]:
                self.say("broken link", own[0].where, "origin")

    # ---- step 8, blob.md

    def check_blobs(self) -> None:
        """Step 8: what the entries of all logs name, each entry once."""
        self.prove(self.blobs)
        entries = {(e.where, e.hash): e for log in self.logs.values() for e in log}
        for e in entries.values():
            self.want(e.form[5], e.form[6])
            for ref in e.form[7]:
                inner = self.lists.get(ref[1]) if ref[3] else [ref]
                if inner is None:
                    self.lost(ref[1])
                elif ref[3] and len(inner) != ref[2]:
                    self.say("malformed record", e.where, "count of a ref list")
                for _, digest, size, _, slices in inner or []:
                    self.want(digest, size)
                    if slices and self.fine.get(digest, (None, slices))[1] != slices:
                        self.say("altered entry", e.where, "slices digest")

    def lost(self, digest: bytes) -> None:
        """Step 8: what an entry names and is not there."""
        run = self.collected.get(digest)
        verdict = "missing blob" if run is None else f"collected by run {run}"
        self.say(verdict, f"blob:{digest.hex()}")

    def want(self, digest: bytes, size: int) -> None:
        """Step 8: a needed blob; if it cannot be decoded, so is what it lacks."""
        copies = [x for x in self.blobs.get(digest, ()) if x.size == size]
        if not copies:
            return self.lost(digest)
        seen: set[bytes] = set()
        while copies and digest not in self.good and digest not in self.fine:
            copy = copies.pop()
            needs = [copy.base] if copy.kind == 2 else [x for x, _ in self.chunks(copy)]
            for part in (x for x in needs if x not in seen and x not in self.good):
                seen.add(part)
                found = [x for x in self.blobs.get(part, ()) if x.kind < 3]
                copies += found
                if not found:
                    self.say("missing blob", f"blob:{part.hex()}")

    def payload(self, copy: Blob) -> bytes:
        return self.raw(copy.file, copy.frame)[copy.at : copy.at + copy.length]

    def chunks(self, copy: Blob) -> list[tuple[bytes, int]]:
        return chunk_list(self.payload(copy), copy.size)[0]

    def prove(self, wanted: Iterable[bytes]) -> None:
        """blob.md: decodes every copy of these blobs, and of what they need, if it can:
        `good` then has whole ones and differences (with depth), `fine` chunk lists."""
        todo, lists, stack = list(wanted), list[Blob](), list[bytes]()
        seen: set[bytes] = set()
        children: dict[bytes, list[Blob]] = defaultdict(list)
        while todo:
            if (digest := todo.pop()) in seen:
                continue
            seen.add(digest)
            for copy in self.blobs.get(digest, ()):
                if copy.kind == 1 and digest not in self.good:
                    self.good[digest] = copy, 0
                    stack.append(digest)
                elif copy.kind == 2:
                    children[copy.base].append(copy)
                    todo.append(copy.base)
                elif copy.kind == 3:
                    lists.append(copy)
                    todo += [x for x, _ in self.chunks(copy)]
        bad = {x for x in children if all(y.kind == 3 for y in self.blobs.get(x, ()))}
        while stack:
            base = stack.pop()
            for copy in children.pop(base, ()):
                depth = self.good[base][1] + 1
                try:
                    need(depth < 256 and self.good[base][0].size >= 8, "depth or base")
                    data = inflate(self.payload(copy), copy.size, self.content(base))
                    need(B(data) == copy.digest, "digest")
                except Refused as error:
                    self.say("corrupt blob", f"blob:{copy.digest.hex()}", error.detail)
                    bad.add(copy.digest)
                    continue
                if copy.digest not in self.good:
                    self.good[copy.digest] = copy, depth
                    stack.append(copy.digest)
        while bad:  # what hangs on a blob that is missing or corrupt is not reported
            bad |= {x.digest for x in children.pop(bad.pop(), ())} - set(self.good)
        for copy in (x for rest in children.values() for x in rest):
            self.say("corrupt blob", f"blob:{copy.digest.hex()}", "bases that close")
        for copy in lists:
            self.prove_list(copy)

    def prove_list(self, copy: Blob) -> None:
        """blob.md: the whole and the slices of a chunk list, chunk by chunk."""
        parts, slices = chunk_list(self.payload(copy), copy.size)
        if not all(x in self.good for x, _ in parts):
            return
        whole, found, rest = blake3(), b"", b""
        try:
            for digest, size in parts:
                data = self.content(digest)
                need(len(data) == size, "size of a chunk")
                whole.update(data)
                rest += data if slices else b""
                while len(rest) >= MIB:
                    found, rest = found + B(rest[:MIB]), rest[MIB:]
            found += B(rest) if rest else b""
            need(whole.digest() == copy.digest and found == slices, "digest or slices")
        except Refused as error:
            self.say("corrupt blob", f"blob:{copy.digest.hex()}", error.detail)
        else:
            self.fine[copy.digest] = copy, H("slices", slices)

    def content(self, digest: bytes) -> bytes:
        """blob.md: the bytes of a blob in `good`: down to a whole one, up again."""
        steps: list[Blob] = []
        while digest not in self.cache:
            copy = self.good[digest][0]
            if copy.kind == 1:
                self.keep(digest, self.payload(copy))
            else:
                steps.append(copy)
                digest = copy.base
        data = self.cache[digest]
        for copy in reversed(steps):
            data = inflate(self.payload(copy), copy.size, data)
            self.keep(copy.digest, data)
        return data

    def keep(self, digest: bytes, data: bytes) -> None:
        """A cache of 64 MiB for bases."""
        self.cache[digest] = data
        self.cached += len(data)
        while len(self.cache) > 1 and self.cached > 64 * MIB:
            self.cached -= len(self.cache.popitem(last=False)[1])

    # ---- what tests and people ask for

    def blob(self, digest: bytes, limit: int = TOP) -> bytes:
        """The bytes of a blob that was proven; else `Refused` ("missing blob")."""
        if digest in self.good:
            return self.content(digest)
        need(digest in self.fine, digest.hex(), "missing blob")
        copy = self.fine[digest][0]
        need(copy.size <= limit, "size of an object")
        return b"".join(self.content(x) for x, _ in self.chunks(copy))

    def entries(self, segment: bytes) -> list[tuple[bytes, list[Any]]]:
        """Hashes and hashed forms of a living segment's log, inherited ones first."""
        return [(e.hash, e.form) for e in self.logs.get(segment, ())]

    def report(self) -> dict[str, Any]:
        """verdicts.md, checking.md: what `reference.py` prints."""
        found = [
            {
                "verdict": verdict,
                "severity": severity(verdict),
                "where": where,
                "detail": self.findings[where, verdict],
            }
            for where, verdict in sorted(self.findings)
        ]
        entries = {(e.segment, e.index) for log in self.logs.values() for e in log}
        frames = sum(len(f.kept) for f in self.used)
        covered = {
            "files": len(self.used),
            "frames": frames,
            "commits": len(self.commits),
            "segments": len(self.heads),
            "entries": len(entries),
            "blobs": len(self.good) + len(self.fine),
        }
        return {
            "ok": all(x["severity"] != "fault" for x in found),
            "seq": self.seq,
            "against": "self-consistent",
            "findings": found,
            "covered": covered,
        }


def check(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Checks a store; begins again if a file vanishes meanwhile (it may be in use)."""
    for _ in range(3):
        try:
            return Store(path).report()
        except FileNotFoundError:
            continue
    return Store(path).report()


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: reference.py STORE", file=sys.stderr)
        return 2
    try:
        report = check(sys.argv[1])
    except NoStore:
        report = {"ok": False, "against": "self-consistent", "seq": 0, "findings": []}
        print(json.dumps(report | {"covered": {}}))
        return 10
    except OSError as error:  # a disk that fails, a file that may not be read
        print(f"reference.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(report))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
