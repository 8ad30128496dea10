"""
Reader and checker of a castore store, written from the pages of this folder alone.

`python reference.py STORE` prints one JSON object; exit 0: no fault, 1: faults, 10: no
store. As a module: `check(path)`; `Store(path)` with `heads`, `entries()` and `blob()`.
Nothing is written. "Step n" is one of checking.md. Whatever is decoded from the files
is data: it is hashed, compared with a shape, and never believed for more than that.
"""
# fmt: off
# ruff: noqa: E401, E731, FBT, I001, N802, N818
from __future__ import annotations

import hashlib, json, mmap, re, stat, struct, sys
from collections import defaultdict, namedtuple
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace as Frame
from typing import Any
import cbor2, zstandard
from blake3 import blake3

MIB, TOP, JOURNAL, SIDE, PACK = 1 << 20, 1 << 63, 1, 2, 3
FRAME = struct.Struct(">4sBBHIIIQ")
HEADER = struct.Struct(">8s4B16s16sQ16sQ32s40xQ")
MARK = struct.Struct(">8s16sQQ16xQ32s")
MARKER = re.compile(  # castore.json
    rb'\{"castore": (\d+), "features": \{"all_must_know": \[([^]]*)\], "reader_may_ignore'
    rb'": \[[^]]*\], "writer_must_know": \[[^]]*\]\}, "store": "([0-9a-f]{32})", '
    rb'"suite": "([^"]*)"\}\n')
NAMES = re.compile("castore.json(.new)?|lock|files|maintenance|quarantine|catalog-.*")
# A copy of a blob, kept as record of kind 1, 2 or 3, and where its payload stands.
Blob = namedtuple("Blob", "digest size kind base file at end start length")
Entry = namedtuple("Entry", "segment index hash form where")  # form: the hashed form

class Refused(Exception):
    """conventions.md: a page says that a reader MUST refuse this; verdict, detail."""

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
    """merkle.md: the root over entry hashes; an odd last node moves up as it is."""
    def mix(name: str, tag: bytes, data: bytes) -> bytes:
        return hashlib.sha256(tag + data).digest() if sha else H(name, data)
    level = [mix("leaf", b"\0", x) for x in names]
    while len(level) > 1:
        odd = level[len(level) & ~1 :]
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [mix("node", b"\1", a + b) for a, b in pairs] + odd
    return level[0]

def place(segment: bytes, index: int | None = None) -> str:
    """verdicts.md: where a segment or entry is."""
    return f"segment:{segment.hex()}" + ("" if index is None else f"[{index}]")

# Tags are read as null: encoded again that is never the same.
TAGS = dict.fromkeys(range(1 << 16), lambda *_: None)

def record(data: bytes, depth: int = 4, limit: int = 4 * MIB) -> Any:
    """encoding.md: decode, encode again, compare; the shapes below judge the types."""
    need(len(data) <= limit, "size of a record")
    try:
        value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=depth)
    except cbor2.CBORDecodeError as error:
        raise Refused("malformed record", "not CBOR") from error
    need(cbor2.dumps(value) == data, "not the one encoding of its value")
    return value

# A shape: a range (integer), a size (bytes), a type, an array or map of shapes (keys in
# that order), a tuple of which one has to fit, a function.
RULES: dict[type, Callable[[Any, Any], Any]] = {
    range: lambda v, s: type(v) is int and v in s,
    int: lambda v, s: type(v) is bytes and len(v) == s,
    type: lambda v, s: type(v) is s,
    list: lambda v, s: type(v) is list and len(v) == len(s) and all(map(fits, v, s)),
    dict: lambda v, s: (type(v) is dict and [*v] == [*s]
                        and all(map(fits, v.values(), s.values()))),
    tuple: lambda v, s: any(fits(v, x) for x in s),
    type(lambda: 0): lambda v, s: s(v)}

def fits(value: Any, shape: Any) -> bool:
    """Whether a value has a shape."""
    return bool(RULES[type(shape)](value, shape))

def text(low: int, high: int = 64) -> Callable[[Any], bool]:
    """A shape: text of so many bytes."""
    return lambda v: type(v) is str and low <= len(v.encode()) <= high

def flat(*shape: Any, low: int = 0, high: int = TOP) -> Callable[[Any], bool]:
    """A shape: an array that repeats a row, between low and high times."""
    return lambda v: (type(v) is list and low <= len(v) // len(shape) <= high
                      and fits(v, [*shape] * (len(v) // len(shape))))

ID, HASH, NULL, U, P = 16, 32, type(None), range(TOP), range(1, TOP)
ONE, SIZE, LARGE = range(1, 2), range(1, 8 * MIB + 1), range(8 * MIB + 1, TOP)
REF = ([text(0), HASH, range(8 * MIB + 1), range(1), NULL],  # entry.md
       [text(0), HASH, LARGE, range(1), HASH])
LIST_REF = [lambda v: v == "", HASH, range(1, 65537), range(2, 3), NULL]
ORIGIN = [ID, ID, U, HASH, HASH, (NULL, range(2 * TOP))]
START = [ID, ID, lambda v: v in ("new", "fork", "compaction", "import"), (NULL, ORIGIN),
         (NULL, [text(1), text(1, 1024)])]
STORED = [(NULL, int), text(1), (U, [HASH, U]), flat((*REF, LIST_REF), high=256)]
HEAD = [ONE, ID, ID, ID, U, range(1), P, P, HASH, HASH, P, U]  # head.md
COMMIT = [ONE, P, HASH, U, flat(HASH, low=1, high=1024),
          (NULL, [ID, text(1, 512), HASH, U, U]), flat(ID, U, HASH)]  # commit.md
RECORDS = {1: [], 2: [HASH, SIZE, HASH, range(1, 256)], 3: [HASH, P],  # frame.md
           4: [ID, U, HASH, P, range(2)], 5: [], 6: [HEAD], 7: [COMMIT], 8: []}
NAMED = {"name": text(1, 1024)}
BODIES = {  # storelog.md
    "start": {"created_by": str}, "tagged": NAMED, "untagged": NAMED,
    "packs": {"add": flat([ID, range(2, 4), U, HASH]), "drop": flat(ID)},
    "deleted": {"segment": ID, "session": ID, "head": bytes},
    "collected": {"run": U, "blobs": flat(HASH)}, "instance": {"instance": ID}}

def chunk_list(payload: bytes, size: int) -> tuple[list[bytes], bytes]:
    """blob.md: digests of the chunks, and the slices."""
    value = record(payload)
    need(fits(value, [flat(HASH, SIZE), bytes]), "shape of a chunk list")
    need(sum(value[0][1::2]) == size, "sizes of chunks")
    need(len(value[1]) == (-(-size // MIB) * 32 if size in LARGE else 0), "slices")
    return value[0][::2], value[1]

def inflate(data: bytes, size: int, base: bytes = b"") -> bytes:
    """frame.md, blob.md: one zstd frame of exactly `size` bytes; base is its prefix."""
    try:
        head = zstandard.get_frame_parameters(data)
        good = head.content_size == size and not head.dict_id
        need(good and head.window_size <= 1 << 27, "header of a zstd frame")
        prefix = zstandard.ZstdCompressionDict(base, zstandard.DICT_TYPE_RAWCONTENT)
        out = zstandard.ZstdDecompressor(prefix if base else None).decompress(
            data, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Refused("malformed record", "not a zstd frame") from error
    need(len(out) == size, "size of a zstd frame")
    return bytes(out)

def rebuild(d: list[Any], payload: bytes, bodies: list[Blob]) -> Iterator[Entry]:
    """frame.md, entry.md: the entries of an entries record, in their hashed form."""
    items, clock, prev = record(payload), 0, d[4]
    need(type(items) is list and len(items) == d[5], "count of entries")
    for index, item in enumerate(items, d[3]):
        start = type(item) is list and len(item) > 1 and item[1] == "start"
        need(fits(item, STORED + [START] * start), "shape of a stored entry")
        time, kind, body, refs = item[:4]
        clock += time or 0
        if type(body) is int:
            need(body < len(bodies), "number of a body")
            body = [bodies[body].digest, bodies[body].size]
        for _, segment, cause, origin, _ in item[4:]:
            forked = origin and (origin[2], origin[4]) == (index, prev)
            good = forked if index and cause == "fork" else not index and cause != "fork"
            need(good and segment == d[2], "start record against its place")
        now = None if time is None else clock
        form = cbor2.dumps([1, index, prev, now, kind, *body, refs, *item[4:]])
        need(len(form) < 65536 and clock in U and index in U, "size, time or index")
        prev = H("entry", form)
        yield Entry(d[2], index, prev, cbor2.loads(form), place(d[2], index))

def load(path: Path) -> Any:
    """folder.md: the bytes of a plain file; none of what is no plain file."""
    info = path.lstat()
    if not stat.S_ISREG(info.st_mode) or not info.st_size:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

@lru_cache(8)
def unpack(file: File, at: int, end: int) -> tuple[list[list[Any]], bytes]:
    """frame.md: the table of a frame, and its raw part."""
    data = file.data[at:end]
    _, codec, flags, count, t, r, c, _ = FRAME.unpack(data[:28])
    need(codec < 2 and not flags and (r if codec else r == c), "codec, flags or sizes")
    table, raw = record(data[28 : 28 + t]), data[28 + t : -32]
    need(type(table) is list and 0 < len(table) == count, "count of records")
    for d in table:
        need(type(d) is list and fits(d[:2], [range(1, 256), U]), "descriptor")
        need(not 8 < d[0] < 64, "reserved kind", "unsupported version")
        need(d[0] > 63 or fits(d[2:], RECORDS[d[0]]), "shape of a descriptor")
        need(d[1] == 0 or d[0] not in (6, 7), "head or commit with a payload")
    need(sum(d[1] for d in table) == r, "sizes of payloads")
    return table, inflate(raw, r) if codec else raw

class File:
    """file.md: a file, its whole frames, and the gaps before and between them."""
    def __init__(self, path: Path, store: bytes) -> None:
        self.id, self.where = bytes.fromhex(path.stem), "files/" + path.name
        self.data, self.gaps = load(path), list[int]()
        self.frames, self.kept = list[Frame](), list[Frame]()
        self.found, header = list[tuple[str, int, str]](), self.data[:156]
        self.hash, good = self.data[156:188], header[:8] == b"\x89castore"
        need(good and self.hash == H("file", header), "header", "corrupt frame")
        (_, version, suite, self.kind, _, owner, name, self.number, self.pred,
         self.pred_end, self.pred_hash, self.carried) = HEADER.unpack(header)
        need(version == suite == 1, "version or suite", "unsupported version")
        need((owner, name) == (store, self.id), "store or file id", "foreign record")
        need(0 < self.kind < 4 and self.carried >= 188, "fields of a header")
        self.walk(store)

    def whole(self, at: int) -> Frame | None:
        """Step 4: the whole frame at an offset."""
        head = self.data[at : at + 28]
        if at < 188 or len(head) < 28 or head[:4] != b"csF1":
            return None
        _, _, _, _, t, r, c, group = FRAME.unpack(head)
        end, tie = at + 60 + t + c, self.hash + at.to_bytes(8, "big")
        if t > 4 * MIB or r > 16 * MIB or c > 17 * MIB or end > len(self.data):
            return None
        data, before = self.data[at:end], self.data[at - 32 : at]
        name = H("frame", data[: 28 + t], H("stored", data[28 + t : -32]), tie, before)
        frame = Frame(at=at, end=end, hash=name, group=group, holds=[], fault=None)
        return frame if name == data[-32:] else None

    def walk(self, store: bytes) -> None:
        """Step 4: all whole frames, decoded, and where the gaps begin."""
        at, after = 188, None
        while 0 <= at < len(self.data):
            frame = self.whole(at)
            self.gaps += [] if frame else [at]
            while not frame and at >= 0:
                at = self.data.find(b"csF1", at + 1)
                frame = self.whole(at)
            if frame:
                self.frames.append(frame)
                at = frame.end
        for frame in reversed(self.frames):
            try:
                self.decode(frame, after, store)
            except Refused as error:
                frame.holds, frame.fault = [], error
            after = frame

    def decode(self, frame: Frame, after: Frame | None, store: bytes) -> None:
        """frame.md: `holds` gets (kind, key, name, value) of each record."""
        need(188 <= frame.group <= frame.at, "group start")
        table, raw = unpack(self, frame.at, frame.end)
        starts = accumulate((d[1] for d in table), initial=0)
        parts = sorted(zip(table, starts, strict=False), key=lambda x: x[0][0] == 4)
        for (kind, size, *d), at in parts:  # entries last, they need the blobs
            payload = raw[at : at + size]
            need(self.kind != SIDE or kind < 4 or kind > 63, "kind in a side pack")
            if kind < 4:
                name, whole, base = [*d, b""][:3] if d else (B(payload), size, b"")
                need(chunk_list(payload, whole) if kind == 3 else whole <= 8 * MIB, "size")
                blob = Blob(name, whole, kind, base, self, frame.at, frame.end, at, size)
                frame.holds.append((1, name, (self.id, frame.at, at), blob))
            elif kind == 4:
                source = after if d[4] else frame
                for e in rebuild(d, payload, source) if source and not source.fault else ():
                    frame.holds.append((4, (e.segment, e.index), e.hash, e))
            elif kind == 5:
                refs = record(payload)
                need(fits(refs, flat(REF, low=1, high=65536)), "ref list")
                frame.holds.append((5, H("refs", payload), 0, refs))
            elif kind == 6:
                need(d[0][1] == store, "head of another store", "foreign record")
                frame.holds.append((6, d[0][3], H("head", cbor2.dumps(d[0])), d[0]))
            elif kind == 7:
                frame.holds.append((7, d[0][1], H("commit", cbor2.dumps(d[0])), d[0]))
            elif kind == 8:
                need(fits(record(payload), flat(U)), "footer")

class Store:
    """Checks a whole store; then `heads`, `entries` and `blob` can be asked for."""
    def __init__(self, path: str | Path) -> None:
        self.path, self.seq, self.findings = Path(path), 0, dict[tuple[str, str], str]()
        self.files, self.refused = dict[bytes, File](), dict[bytes, Refused]()
        self.chain, self.used, self.dropped = list[File](), list[File](), set[bytes]()
        self.listed, self.collected = dict[bytes, list[Any]](), dict[bytes, int]()
        self.heads, self.deleted = dict[bytes, list[Any]](), dict[bytes, list[Any]]()
        self.logs, self.good = dict[bytes, list[Entry]](), dict[bytes, Blob]()
        self.recent = lru_cache(64)(self.make)  # bases of differences
        marker = MARKER.fullmatch(load(self.path / "castore.json")[:65536])
        if marker and marker.group(1, 2, 4) == (b"1", b"", b"blake3-256"):
            self.id = bytes.fromhex(marker[3].decode())
            self.open_files()
            self.find_chain()
            self.fold()
            self.find_files()
            self.check_heads()
            self.check_logs()
            self.check_blobs()
        else:
            bad = "unsupported version" if marker else "malformed record"
            self.say(bad, "castore.json")

    def say(self, verdict: str, where: str, detail: str = "") -> None:
        """verdicts.md: one finding."""
        self.findings.setdefault((where, verdict), detail)

    def open_files(self) -> None:
        """Steps 1 and 2: the mark, names, headers."""
        path, self.mark = self.path / "lock", (b"", 188, b"")
        lock = bytes(load(path)[:257]) if path.exists() else b""
        if lock[:8] == b"cslock01" and H("mark", lock[:240])[:16] == lock[240:]:
            _, name, device, inode, end, tag = MARK.unpack(lock[:96])
            file = self.path / f"files/{name.hex()}.cas"
            now = (file if file.exists() else path).stat()
            if now.st_dev == device and (now.st_ino == inode or not file.exists()):
                self.mark = name, end, tag
        else:
            self.say("not covered", "lock")
        for path in sorted([*self.path.iterdir(), *self.path.glob("files/*")]):
            name = path.relative_to(self.path).as_posix()
            if re.fullmatch(r"files/[0-9a-f]{32}\.cas", name) and load(path) is not None:
                try:
                    self.files[bytes.fromhex(path.stem)] = File(path, self.id)
                except Refused as error:
                    self.refused[bytes.fromhex(path.stem)] = error
            elif not NAMES.fullmatch(name):
                self.say("not covered", name)

    def find_chain(self) -> None:
        """Step 3, file.md: the newest journal in effect and its predecessors."""
        newest, end, tag, torn = None, 188, b"", True
        for f in sorted(self.files.values(), key=lambda f: (-f.number, f.id)):
            ends = {188, *(x.end for x in f.frames if x.end <= min(f.gaps, default=TOP))}
            behind = any(x.at >= f.carried for x in f.frames)
            if f.kind == JOURNAL and (f.carried in ends or behind or f.id == self.mark[0]):
                newest = f
                break
        f = newest
        _, end, tag = self.mark if f and f.id == self.mark[0] else (b"", 188, f and f.hash)
        while f:
            self.chain.append(f)
            self.settle(f, end, tag, torn)
            end, tag, torn, before = f.pred_end, f.pred_hash, False, self.files.get(f.pred)
            good = before and before.kind == JOURNAL and before.number < f.number
            f = before if good else None

    def settle(self, f: File, end: int, tag: bytes, torn: bool = False) -> None:
        """Steps 3 and 4: the frames that count, and what is to be said of a file."""
        f.kept = [x for x in f.frames if torn or x.end <= end]
        for gap in (x for x in f.gaps if torn or x < end):
            if torn and gap >= end and not any(x.group > gap for x in f.frames):
                f.kept = [x for x in f.kept if x.end <= gap]
                f.found.append(("torn tail", gap, ""))
                break
            f.found.append(("corrupt frame", gap, "not whole"))
        ends = {188: f.hash} | {x.end: x.hash for x in f.kept}
        if ends.get(end) != tag and not any(x[0] == "corrupt frame" for x in f.found):
            bad = "corrupt frame" if f.kind == PACK else "truncated log"
            f.found.append((bad, max(ends), f"no frame that is wanted ends at {end}"))
        f.found += [(x.fault.args[0], x.at, x.fault.args[1]) for x in f.kept if x.fault]

    def want(self, name: bytes, kind: int) -> File | None:
        """Steps 2 and 3: a file that is named: good, or reported unless it is dropped."""
        f, where = self.files.get(name), f"files/{name.hex()}.cas"
        if name in self.dropped or (f and f.kind == kind):
            return None if name in self.dropped else f
        if name in self.refused:
            self.say(self.refused[name].args[0], where + "@0", self.refused[name].args[1])
        else:
            self.say("missing pack", where)
        return None

    def use(self, name: bytes, kind: int, end: int, tag: bytes) -> None:
        """Step 3: a listed file, or a side pack that a commit names."""
        if f := self.want(name, kind):
            self.settle(f, end, tag)
            self.used.append(f)
            if kind == PACK and len(f.data) > end:
                f.found.append(("corrupt frame", end, "bytes behind the listed end"))

    def find_files(self) -> None:
        """Step 3: the files of the store, and what is to be said of them."""
        cut = [i for i, f in enumerate(self.chain) if f.id in self.dropped]
        self.used = self.chain[: cut[0]] if cut else self.chain[:]
        for f in self.used[-1:]:
            if f.number > 1:
                self.want(f.pred, JOURNAL)
        if any(self.mark[0]):
            self.want(self.mark[0], JOURNAL)
        for name, listed in self.listed.items():
            self.use(name, *listed)
        sides: dict[bytes, tuple[int, bytes]] = {}
        for c in (x[3] for f in self.used for y in f.kept for x in y.holds if x[0] == 7):
            for name, *end in zip(c[6][::3], c[6][1::3], c[6][2::3], strict=True):
                sides[name] = max(sides.get(name, (0, b"")), tuple(end))
        for name, (end, tag) in sides.items():
            if name not in self.listed:
                self.use(name, SIDE, end, tag)
        for f in self.used:
            for verdict, at, detail in f.found:
                self.say(verdict, f"{f.where}@{at}", detail)
        for name in {*self.files, *self.refused} - {f.id for f in self.used}:
            path = self.path / f"files/{name.hex()}.cas"
            if name in self.refused and load(path)[188:192] == b"csF1":
                self.want(name, 0)
            self.say("not covered", "files/" + path.name)
        if not self.used:
            self.say("missing pack", "files", "no journal in effect")
        self.index(frames := [x for f in self.used for x in f.kept], frames)

    def index(self, frames: list[Frame], chain: list[Frame]) -> None:
        """What stands in these frames, heads and commits only of a chain; good blobs."""
        self.known: dict[int, Any] = {kind: defaultdict(dict) for kind in (1, 4, 5, 6, 7)}
        heads = {id(x) for x in chain}
        for x in frames:
            for kind, key, name, value in x.holds:
                if kind < 6 or id(x) in heads:
                    self.known[kind][key][name] = value
        copies = [x for names in self.known[1].values() for x in names.values()]
        self.good = {x.digest: x for x in copies if x.kind == 1}
        self.slices: dict[bytes, bytes] = {}
        todo = [x for x in copies if x.kind > 1]
        for _ in range(256):  # the depth of differences is bounded
            ready = [x for x in todo if self.parts_good(x)]
            todo = [x for x in todo if not self.parts_good(x)]
            for x in ready:
                self.prove(x)
            if not ready: break
