# fmt: off
# ruff: noqa: E401, E731, I001, PLE0101
"""
Reader and checker of a castore store, written from the pages of this folder alone.
`python reference.py STORE` prints the report; exit 0: no fault, 1: fault, 10: no store.
"""
from __future__ import annotations
import hashlib, json, mmap, re, stat, struct, sys, uuid
from collections import defaultdict, namedtuple
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace as Frame
from typing import Any
import cbor2, zstandard
from blake3 import blake3
MIB, TOP, JOURNAL, PACK, LIM = 1 << 20, 1 << 63, 1, 3, (8 << 20) + 1
FRAME = struct.Struct(">4sBBHIIIQ")
HEADER = struct.Struct(">8s4B16s16sQ16sQ32s40xQ")
MARK = struct.Struct(">8x16sQQ16sQ32s")
BOOT = Path("/proc/sys/kernel/random/boot_id")
FORM = re.compile(rb'\{"castore": (\d+), "features": \{"all_must_know": (\[[^]]*\]), '
                  rb'"reader_may_ignore": \[[^]]*\], "writer_must_know": \[[^]]*\]\}, '
                  rb'"store": "([0-9a-f]{32})", "suite": "([^"]*)"\}\n')  # castore.json
TAGS = dict.fromkeys(range(1 << 16), lambda *_: None)  # not the same when encoded again
# A copy of a blob, kept as record of kind 1, 2 or 3; what else it needs; its payload.
Blob = namedtuple("Blob", "digest size kind needs file at end start length")
Entry = namedtuple("Entry", "segment index hash form")  # form: the hashed form
class Refused(Exception):
    """conventions.md: what a page says a reader MUST refuse; the verdict."""
BAD = (Refused, cbor2.CBORDecodeError, zstandard.ZstdError)
def need(true: object, verdict: str = "malformed record") -> None:
    """conventions.md: what is refused is not believed."""
    if not true:
        raise Refused(verdict)
def H(name: str, *parts: bytes) -> bytes:
    """suite.md: a hash with a context, or that of a blob, which has none."""
    context = "castore v1 2026-11 " + name if name else None
    return blake3(b"".join(parts), derive_key_context=context).digest()
def root(names: list[bytes], sha: bool) -> bytes:
    """merkle.md: the root over entry hashes."""
    def mix(name: str, tag: bytes, data: bytes) -> bytes:
        return hashlib.sha256(tag + data).digest() if sha else H(name, data)
    if len(names) == 1:
        return mix("leaf", b"\0", names[0])
    k = 1 << (len(names) - 1).bit_length() - 1
    return mix("node", b"\1", root(names[:k], sha) + root(names[k:], sha))
def place(segment: bytes, index: int | None = None) -> str:
    """verdicts.md: where a segment or entry is."""
    return f"segment:{segment.hex()}" + ("" if index is None else f"[{index}]")
def record(data: bytes, depth: int = 4, limit: int = 4 * MIB) -> Any:
    """encoding.md: decode, encode again, compare; the shapes below judge the types."""
    need(len(data) <= limit)
    value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=depth)
    need(cbor2.dumps(value) == data)
    return value
# Shapes of records: tests of a decoded value (entry.md, head.md, commit.md, frame.md).
num = lambda low, high=TOP: lambda v: type(v) is int and low <= v < high
octets = lambda size: lambda v: type(v) is bytes and len(v) == size
text = lambda low, high=64: lambda v: type(v) is str and low <= len(v.encode()) <= high
either = lambda *s: lambda v: any(test(v) for test in s)
row = lambda *s: lambda v: (type(v) is list and len(v) == len(s)
                            and all(test(x) for test, x in zip(s, v, strict=True)))
flat = lambda *s: lambda v: type(v) is list and row(*s * (len(v) // len(s)))(v)
U, P, ID, HASH, NULL = num(0), num(1), octets(16), octets(32), lambda v: v is None
ZERO, ONE, BIG, SMALL, PART = num(0, 1), num(1, 2), num(LIM), num(0, LIM), num(1, LIM)
REF = either(row(text(0), HASH, SMALL, ZERO, NULL), row(text(0), HASH, BIG, ZERO, HASH))
ORIGIN = either(NULL, row(ID, ID, U, HASH, HASH, either(NULL, num(0, 2 * TOP))))
CAUSE = lambda v: v in ("new", "fork", "compaction", "import")
START = row(ID, ID, CAUSE, ORIGIN, either(NULL, row(text(1), text(1, 1024))))
STORED = [either(NULL, num(-TOP)), text(1), either(U, row(HASH, U)),
          flat(either(REF, row(text(0, 0), HASH, num(1, 65537), num(2, 3), NULL)))]
HEAD = row(ONE, ID, ID, ID, U, ZERO, P, P, HASH, HASH, P, U)
KEY = either(NULL, row(ID, text(1, 512), HASH, U, U))
COMMIT = row(ONE, P, HASH, U, flat(HASH), KEY, flat(ID, U, HASH))
RECORDS = {1: row(SMALL), 2: row(U, HASH, PART, HASH, num(1, 256)), 3: row(U, HASH, P),
           4: row(U, ID, U, HASH, P, num(0, 2)), 5: row(U), 6: row(ZERO, HEAD),
           7: row(ZERO, COMMIT), 8: row(U)}
PACKS = row(flat(row(ID, num(2, 4), U, HASH)), flat(ID))  # storelog.md
def inflate(data: bytes, size: int, base: bytes = b"") -> bytes:
    """frame.md, blob.md: one zstd frame of exactly `size` bytes; base is its prefix."""
    head = zstandard.get_frame_parameters(data)
    need(0 < head.content_size == size and head.window_size <= 1 << 27)
    prefix = zstandard.ZstdCompressionDict(base, zstandard.DICT_TYPE_RAWCONTENT)
    reader = zstandard.ZstdDecompressor(prefix if base else None)
    return reader.decompress(data, allow_extra_data=False)
def rebuild(d: list[Any], payload: bytes, bodies: list[Blob]) -> list[Entry]:
    """frame.md, entry.md: the entries of an entries record, in their hashed form."""
    items, clock, out, (segment, first, prev, count, _) = record(payload), 0, [], d
    need(type(items) is list and len(items) == count)
    for index, item in enumerate(items, first):
        is_start = type(item) is list and item[1:2] == ["start"]
        need(row(*STORED, *[START] * is_start)(item))
        (time, kind, body, refs, *start), clock = item, clock + (item[0] or 0)
        if type(body) is int:
            need(body < len(bodies))
            body = [bodies[body].digest, bodies[body].size]
        time = None if time is None else clock
        form = cbor2.dumps([1, index, prev, time, kind, *body, refs, *start])
        need(len(form) < 65536 and len(refs) <= 256 and U(clock) and U(index))
        need(not is_start or (start[0][1] == segment and (not index or start[0][3])))
        prev = H("entry", form)
        out.append(Entry(segment, index, prev, cbor2.loads(form)))
    return out
@lru_cache(8)
def unpack(file: File, at: int, end: int) -> tuple[list[list[Any]], bytes]:
    """frame.md: the table of a frame, and its raw part."""
    data = file.data[at:end]
    _, codec, flags, count, t, r, c, group = FRAME.unpack(data[:28])
    need(codec < 2 and not flags and (r if codec else r == c) and 188 <= group <= at)
    table, stored = record(data[28 : 28 + t]), data[28 + t : -32]
    need(type(table) is list and 0 < len(table) == count)
    for d in table:
        need(type(d) is list and row(num(1, 256), U)(d[:2]))
        need(not 8 < d[0] < 64, "unsupported version")
        need(d[0] > 63 or RECORDS[d[0]](d[1:]))
    need(sum(d[1] for d in table) == r)
    return table, inflate(stored, r) if codec else stored
def load(path: Path) -> Any:
    """folder.md: the bytes of a plain file; none of what is no plain file."""
    if not stat.S_ISREG(path.lstat().st_mode) or not path.stat().st_size:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

class File:
    """Steps 2 and 4, file.md: a file, its whole frames, the gaps before and between."""
    def __init__(self, path: Path, store: bytes) -> None:
        self.id, self.data, self.kind = bytes.fromhex(path.stem), load(path), 0
        self.gaps, self.frames, self.fault = list[int](), list[Frame](), "corrupt frame"
        self.hash, header = self.data[156:188], self.data[:156]
        if header[:8] != b"\x89castore" or self.hash != H("file", header):
            return
        (_, version, suite, kind, _, owner, name, self.number, self.pred, self.pred_end,
         self.pred_hash, self.carried) = HEADER.unpack(header)
        fault = "" if 0 < kind < 4 and self.carried >= 188 else "malformed record"
        fault = fault if (owner, name) == (store, self.id) else "foreign record"
        self.fault = fault if version == suite == 1 else "unsupported version"
        self.kind, at, end = 0 if self.fault else kind, 188, 188
        while self.kind and 0 <= at < len(self.data):
            if frame := self.whole(at):
                self.frames.append(frame)
                at = end = frame.end
            else:
                self.gaps += [at] * (at == end)
                at = self.data.find(b"csF1", at + 1)
        near = {x.at: x for x in self.frames}
        for frame in reversed(self.frames):
            try:
                self.decode(frame, near.get(frame.end), store)
            except BAD as e:
                frame.fault = str(e) if isinstance(e, Refused) else "malformed record"
                frame.holds = []
    def whole(self, at: int) -> Frame | None:
        """Step 4: the whole frame at an offset."""
        if self.data[at : at + 4] != b"csF1" or at + 28 > len(self.data):
            return None
        _, _, _, _, t, r, c, group = FRAME.unpack(self.data[at : at + 28])
        end, tie = at + 60 + t + c, self.hash + at.to_bytes(8, "big")
        if t > 4 * MIB or r > 16 * MIB or c > 17 * MIB or end > len(self.data):
            return None
        data, before = self.data[at:end], self.data[at - 32 : at]
        name = H("frame", data[: 28 + t], H("stored", data[28 + t : -32]), tie, before)
        frame = Frame(at=at, end=end, hash=name, group=group, holds=[], fault="")
        return frame if name == data[-32:] else None
    def decode(self, frame: Frame, after: Frame | None, store: bytes) -> None:
        """frame.md: `holds` gets (kind, key, name, value) of each record."""
        table, raw = unpack(self, frame.at, frame.end)
        starts, add = accumulate((d[1] for d in table), initial=0), frame.holds.append
        parts = sorted(zip(table, starts, strict=False), key=lambda x: x[0][0] == 4)
        for (kind, size, *d), at in parts:  # entries last, they need the blobs
            payload = raw[at : at + size]
            if kind < 4:
                name, whole, *needs = d[:3] if d else (H("", payload), size)
                if kind == 3:
                    chunks, slices = record(payload), -(-whole // MIB) * BIG(whole)
                    need(row(flat(HASH, PART), octets(32 * slices))(chunks))
                    need(sum(chunks[0][1::2]) == whole)
                    needs = chunks[0][::2]
                where = self, frame.at, frame.end, at, size
                add((1, name, where, Blob(name, whole, kind, (*needs,), *where)))
            elif kind == 4 and (body := after if d[4] else frame) and not body.fault:
                bodies = [x[3] for x in body.holds if x[0] == 1 and x[3].kind == 1]
                for e in rebuild(d, payload, bodies):
                    add((4, (d[0], e.index), e.hash, e))
            elif kind == 5:
                refs = record(payload)
                need(flat(REF)(refs) and 0 < len(refs) <= 65536)
                add((5, H("refs", payload), 0, refs))
            elif kind in (6, 7):
                need(kind == 7 or d[0][1] == store, "foreign record")
                name = H("head" if kind == 6 else "commit", cbor2.dumps(d[0]))
                add((kind, d[0][3 if kind == 6 else 1], name, d[0]))

class Store:
    """Checks a whole store; then `heads`, `entries` and `blob` can be asked for."""
    def __init__(self, path: str | Path) -> None:
        self.path, self.seq, self.findings = Path(path), 0, set[tuple[str, str]]()
        self.used, self.counted, self.recent = [], [], lru_cache(64)(self.make)
        self.heads, self.logs, self.listed, self.good = {}, {}, {}, {}
        self.deleted, self.dropped, self.collected = set[bytes](), {b""}, {}
        marker = FORM.fullmatch(load(self.path / "castore.json")[:65536])
        if not marker or marker.group(1, 2, 4) != (b"1", b"[]", b"blake3-256"):
            bad = "unsupported version" if marker else "malformed record"
            return self.say(bad, "castore.json")
        self.id, names = bytes.fromhex(marker[3].decode()), "[0-9a-f]" * 32 + ".cas"
        fs = [File(x, self.id) for x in (self.path / "files").glob(names)]
        self.files = {f.id: f for f in fs}
        self.find_files()  # only the chain of journals: nothing is listed yet
        chain = [x for y in self.counted for x in y.holds if x[:2] == (6, self.id)]
        head = max((x[3] for x in chain), key=lambda x: x[6], default=None)
        packs = [f for f in fs if f.kind == PACK]
        self.index(self.counted + [x for f in packs for x in f.frames])
        log = self.read_log(head) if head else []
        self.findings.clear()  # what there is to find will be found again
        self.fold(log)
        if not head:  # which packs are listed is not known
            self.say("wrong head", place(self.id))
            self.listed = {f.id: (len(f.data), [f, *f.frames][-1].hash) for f in packs}
        self.find_files()
        self.index(self.counted)
        self.check_logs()
    def say(self, verdict: str, where: str) -> None:
        """verdicts.md: one finding."""
        self.findings.add((where, verdict))
    def find_files(self) -> None:
        """Step 3: the files of the store."""
        path, mark, self.used, self.counted = self.path / "lock", (b"", 0, b""), [], []
        lock = bytes(load(path)[:257]) if path.exists() else b""
        if lock[:8] == b"cslock01" and H("mark", lock[:240])[:16] == lock[240:]:
            name, device, inode, boot, *end = MARK.unpack(lock[:96])  # folder.md
            file = self.path / f"files/{name.hex()}.cas"
            now = (file if file.exists() else path).stat()
            if now.st_dev == device and (now.st_ino == inode or not file.exists()):
                booted = BOOT.exists() and uuid.UUID(BOOT.read_text().strip()).bytes
                mark = name, *end, booted != boot
        else:
            self.say("not covered", "lock")
        journals = [f for f in self.files.values() if f.kind == JOURNAL and (
            f.id == mark[0] or any(x.at >= f.carried for x in f.frames) or f.carried in
            [188, *(x.end for x in f.frames if x.end <= min(f.gaps, default=TOP))])]
        f = max(journals, key=lambda f: (f.number, f.id), default=None)
        f = f and self.require(*{mark[0]: mark}.get(f.id, (f.id, 188, f.hash, True)))
        while f and f.number > 1:
            f = self.require(f.pred, f.pred_end, f.pred_hash)
        self.require(*mark[:3])
        for name, end in self.listed.items():
            self.require(name, *end)
        flats = [x[6] for y in self.counted for kind, _, _, x in y.holds if kind == 7]
        sides = {x[i : i + 3] for x in map(tuple, flats) for i in range(0, len(x), 3)}
        for side in sorted(sides, reverse=True):  # its largest end first
            self.require(*side)
        for f in self.files.values():
            if not f.kind and f.data[188:192] == b"csF1":
                self.require(f.id, 0, b"")
            at = f"files/{f.id.hex()}.cas"
            if f not in self.used and (at + "@0", f.fault) not in self.findings:
                self.say("not covered", at)
        if not journals and all(f.kind for f in self.files.values()):
            self.say("missing pack", "files")
    def require(self, name: bytes, end: int, tag: bytes, torn: bool = False) -> Any:
        """Steps 3, 4: a file that something names, up to an end, and what is wrong."""
        f, at = self.files.get(name), f"files/{name.hex()}.cas"
        if name in self.dropped or f in self.used:
            return None
        if not f or not f.kind:
            return self.say(f.fault, at + "@0") if f else self.say("missing pack", at)
        kept, clean = [x for x in f.frames if torn or x.end <= end], True
        for gap in (x for x in f.gaps if torn or x < end or f.kind == PACK):
            if torn and gap >= end and not any(x.group > gap for x in f.frames):
                kept = [x for x in kept if x.end <= gap]
                self.say("torn tail", f"{at}@{gap}")
                break
            clean = bool(self.say("corrupt frame", f"{at}@{gap}"))
        ends = {188: f.hash} | {x.end: x.hash for x in kept}
        if clean and ends.get(end) != tag:
            bad = "corrupt frame" if f.kind == PACK else "truncated log"
            self.say(bad, f"{at}@{max(ends)}")
        for x in (x for x in kept if x.fault):
            self.say(x.fault, f"{at}@{x.at}")
        self.used.append(f)
        self.counted += kept
        return f
    def index(self, frames: list[Frame]) -> None:
        """Step 8: what stands in these frames, and which blobs are `good`."""
        self.known: Any = {kind: defaultdict(dict) for kind in (1, 4, 5, 6, 7)}
        for kind, key, name, value in (y for x in frames for y in x.holds):
            self.known[kind][key][name] = value
        rest = [x for names in self.known[1].values() for x in names.values()]
        self.good = {x.digest: x for x in rest if x.kind == 1}
        for k in [2] * 255 + [3]:  # differences of depth 1, 2, ...; chunk lists
            ready = [x for x in rest if x.kind == k and {*x.needs} <= self.good.keys()]
            rest = [x for x in rest if x.kind != k or {*x.needs} - self.good.keys()]
            for x in ready:
                try:
                    need(H("", self.make(x)) == x.digest)
                    self.good.setdefault(x.digest, x)
                except BAD:
                    self.say("corrupt blob", f"blob:{x.digest.hex()}")
    def make(self, x: Blob) -> bytes:
        """blob.md: the bytes of a blob from one copy, if what that needs is good."""
        data = unpack(x.file, x.at, x.end)[1][x.start : x.start + x.length]
        if x.kind == 2:
            return inflate(data, x.size, self.recent(self.good[x.needs[0]]))
        return data if x.kind == 1 else b"".join(map(self.blob, x.needs))
    def blob(self, digest: bytes) -> bytes:
        """blob.md: the bytes of a blob; KeyError if none was found to be good."""
        return self.make(self.good[digest])
    def entries(self, segment: bytes) -> list[tuple[bytes, list[Any]]]:
        """entry.md: hashes and hashed forms of a log, inherited entries first."""
        return [(e.hash, e.form) for e in self.logs[segment]]
    def fold(self, log: list[Entry]) -> None:
        """storelog.md: what the store log says, as far as it can be read."""
        kinds = "packs", "collected", "deleted"
        for e in (e for e in log if e.form[4] in kinds and e.form[5] in self.good):
            try:
                match e.form[4], record(self.blob(e.form[5]), 64, 64 * MIB):
                    case "packs", {"add": add, "drop": drop} if PACKS([add, drop]):
                        self.dropped |= {*drop}
                        self.listed |= {x[0]: x[2:] for x in add}
                    case "collected", {"run": run, "blobs": blobs} if flat(HASH)(blobs):
                        self.collected |= dict.fromkeys(blobs, run)
                    case "deleted", {"segment": segment} if ID(segment):
                        self.deleted |= {segment} - {self.id}
                    case _:
                        need(None)
            except BAD:
                self.say("malformed record", place(e.segment, e.index))
    def newest_head(self, segment: bytes) -> Any:
        """Step 6: the head of the highest revision, if there is one."""
        heads = self.known[6].get(segment, {})
        name = min(heads, key=lambda x: (-heads[x][6], x), default=None)
        if len({x[6] for x in heads.values()}) < len(heads):
            self.say("fork evidence", place(segment))
        commits = self.known[7].get(heads[name][10], {}).values() if name else []
        if commits and not any(name in c[4] for c in commits):
            self.say("wrong head", place(segment))
        return heads.get(name)
    def read_log(self, head: list[Any]) -> list[Entry]:
        """Step 7: a log, found from its end to its start."""
        log, owner, low, index, name = list[Entry](), head[3], head[4], head[7], head[9]
        bad = "wrong head", place(owner)
        while index > low:
            if options := self.known[4].get((owner, index - 1)):
                e = options.get(name) or min(options.items())[1]
                if name not in (None, e.hash):
                    self.say(*bad)
                log.append(e)
                index, name = e.form[1:3]
                bad = "broken link", place(owner, index)
                if e.form[8:] and index:
                    owner = e.form[8][3][1]
                    low = self.heads.get(owner, [0] * 5)[4]
            else:
                there = [i + 1 for s, i in self.known[4] if s == owner and i < index]
                index, name = max([low, *there]), None
                self.say("truncated log", place(owner, index))
        if name not in (None, H("genesis", head[2], owner)):
            self.say(*bad)
        return log[::-1]
    def check_logs(self) -> None:
        """Steps 5 to 8: commits, heads, logs, and that what entries name is there."""
        before = [H("genesis", self.id)]
        for seq, commits in sorted(self.known[7].items()):
            if len(commits) > 1:
                self.say("fork evidence", f"seq:{seq}")
            if seq != self.seq + 1 or any(c[2] not in before for c in commits.values()):
                self.say("broken link", f"seq:{self.seq + 1}")
            before, self.seq = [*commits], seq
        segments = {*self.known[6], *(x for x, _ in self.known[4])} - self.deleted
        self.heads = {s: head for s in segments if (head := self.newest_head(s))}
        for s in segments - {*self.heads, self.id}:
            self.say("unproven absence", place(s))
        for segment, head in self.heads.items():
            log = self.logs[segment] = self.read_log(head)
            names, links = [e.hash for e in log], [e.form[2] for e in log[1:]]
            whole = len(log) == head[7] and names[:-1] == links
            if whole and root(names, segment == self.id) != head[8]:
                self.say("root mismatch", place(segment))
        for e in {e.hash: e for log in self.logs.values() for e in log}.values():
            rs = [y for x in e.form[7] for y in self.known[5].get(x[1], {}).get(0, [x])]
            for digest, size in [e.form[5:7], *(x[1:3] for x in rs)]:
                if digest not in self.good or self.good[digest].size != size:
                    run = self.collected.get(digest)
                    bad = "missing blob" if run is None else f"collected by run {run}"
                    self.say(bad, f"blob:{digest.hex()}")
def check(path: str | Path) -> dict[str, Any]:
    """checking.md: the report; FileNotFoundError: no store, or begin again."""
    mild = {"torn tail": "notice", "not covered": "notice", "collected": "explained"}
    store = Store(path)
    said = [{"verdict": x, "where": y, "severity": mild.get(x.split(" by")[0], "fault")}
            for y, x in sorted(store.findings)]
    return {"ok": all(x["severity"] != "fault" for x in said), "seq": store.seq,
            "against": "self-consistent", "findings": said,
            "covered": {"files": len(store.used), "frames": len(store.counted)}}
if __name__ == "__main__":
    there = Path(sys.argv[1], "castore.json").exists()
    report = check(sys.argv[1]) if there else {"ok": False}
    print(json.dumps(report))
    sys.exit(not report["ok"] if there else 10)
