"""Reader and checker of a castore store, written from the pages of this folder alone.
`python reference.py STORE` prints the report; exit 0: no fault, 1: a fault, 10: no store.
Each function names the page, or the step of checking.md, that it follows.
"""
from __future__ import annotations
import hashlib, json, mmap, re, stat, struct, sys, uuid
from collections import defaultdict, namedtuple
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
import cbor2, zstandard
from blake3 import blake3
MIB, TOP, JOURNAL, PACK, NONE, NIL = 1 << 20, 1 << 63, 1, 3, [0] * 5, type(None)
FRAME, MARK = struct.Struct(">4sBBHIIIQ"), struct.Struct(">8x16sQQ16sQ32s")
HEADER = struct.Struct(">8s4B16s16sQ16sQ32sQ32sQ")
BOOT = Path("/proc/sys/kernel/random/boot_id")  # where it is not, no mark is exact
MARKER = re.compile(rb'\{"castore": (\d+), "features": \{"all_must_know": (\[[^]]*\]), '
    rb'"reader_may_ignore": \[[^]]*\], "writer_must_know": \[[^]]*\]\}, '
    rb'"store": "([0-9a-f]{32})", "suite": "([ !#-\[\]-~]*)"\}\n')
# A stored blob or ref list: what it is, what it is made of, where its payload stands.
Blob = namedtuple("Blob", "digest size kind base parts file frame start length")
Entry = namedtuple("Entry", "segment index prev hash form start")  # form: the hashed form
class Refused(Exception): pass  # conventions.md: what a reader MUST refuse; its verdict
BAD = (Refused, cbor2.CBORDecodeError, zstandard.ZstdError)
def need(true: object, verdict: str = "malformed record") -> None:
    if not true: raise Refused(verdict)
def H(name: str, *parts: bytes) -> bytes:  # suite.md; without a name the hash of a blob
    context = "castore v1 2026-11 " + name if name else None
    return blake3(b"".join(parts), derive_key_context=context).digest()
def root(hashes: list[bytes], sha: bool) -> bytes:  # merkle.md
    def mix(name: str, tag: bytes, data: bytes) -> bytes:
        return hashlib.sha256(tag + data).digest() if sha else H(name, data)
    if len(hashes) == 1: return mix("leaf", b"\0", hashes[0])
    k = 1 << (len(hashes) - 1).bit_length() - 1
    return mix("node", b"\1", root(hashes[:k], sha) + root(hashes[k:], sha))
def place(segment: bytes, index: int | None = None) -> str:  # verdicts.md
    return f"segment:{segment.hex()}" + ("" if index is None else f"[{index}]")
# ---- encoding.md: a value has one encoding, so encoded again it gives the same bytes
TAGS = dict.fromkeys(range(1 << 16), lambda *_: None)  # ... which no tag does then
def record(data: bytes, shape: Any, depth: int = 4) -> Any:
    value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=depth)
    need(shape(value) and cbor2.dumps(value) == data)
    return value
# ---- Shapes: tests of a decoded value, put together as the tables of the pages are
integer = lambda low, high=TOP: lambda v: type(v) is int and low <= v < high
octets = lambda size: lambda v: type(v) is bytes and len(v) == size
text = lambda low, high: lambda v: type(v) is str and low <= len(v.encode()) <= high
either = lambda *shapes: lambda v: any(fits(v) for fits in shapes)
row = lambda *shapes: lambda v: (
    type(v) is list and len(v) == len(shapes) and all(fits(x) for fits, x in zip(shapes, v)))
flat = lambda *shapes: lambda v: type(v) is list and row(*shapes * (len(v) // len(shapes)))(v)
keys = lambda **s: lambda v: type(v) is dict and [*v] == [*s] and all(s[k](v[k]) for k in v)
NULL, RAW = lambda v: v is None, lambda v: type(v) is bytes
ANY = lambda v: all(map(ANY, v)) if type(v) is list else type(v) in (int, bytes, str, bool, NIL)
ZERO, ONE, BIT, TWO, UINT, COUNT = map(integer, (0, 1, 0, 2, 0, 1), (1, 2, 2, 3, TOP, TOP))
SMALL, PART, LARGE = integer(0, 8 * MIB + 1), integer(1, 8 * MIB + 1), integer(8 * MIB + 1)
ID, HASH, KIND, ROLE, NAME = octets(16), octets(32), text(1, 64), text(0, 64), text(1, 1024)
REF = either(row(ROLE, HASH, SMALL, ZERO, NULL), row(ROLE, HASH, LARGE, ZERO, HASH))  # entry.md
LIST = row(text(0, 0), HASH, integer(1, 65537), TWO, NULL)
ORIGIN = either(NULL, row(ID, ID, UINT, HASH, HASH, either(NULL, integer(0, 2 * TOP))))
KEY = either(NULL, row(KIND, NAME))
STORED = [either(NULL, integer(-TOP)), KIND, either(UINT, row(HASH, UINT)), flat(either(REF, LIST))]
START = row(ID, ID, lambda v: v in ("new", "fork", "compaction", "import"), ORIGIN, KEY)
HEAD_ROW = row(ONE, ID, ID, ID, UINT, ZERO, COUNT, COUNT, HASH, HASH, COUNT, UINT)
HEAD = lambda v: HEAD_ROW(v) and v[4] < v[7]
COMMIT = row(ONE, COUNT, HASH, UINT, lambda v: flat(HASH)(v) and 0 < len(v) <= 1024,
             either(NULL, row(ID, text(1, 512), HASH, UINT, UINT)), flat(ID, UINT, HASH))
RECORDS = {1: row(SMALL), 2: row(UINT, HASH, PART, HASH, integer(1, 256)),  # frame.md
           3: row(UINT, HASH, COUNT), 4: row(UINT, ID, UINT, HASH, COUNT, BIT), 5: row(UINT),
           6: row(ZERO, HEAD), 7: row(ZERO, COMMIT), 8: row(UINT)}
BODIES = {"start": keys(created_by=text(0, TOP)), "instance": keys(instance=ID),  # storelog.md
          "tagged": keys(name=NAME), "untagged": keys(name=NAME),
          "packs": keys(add=flat(row(ID, integer(2, 4), UINT, HASH)), drop=flat(ID)),
          "collected": keys(run=integer(-TOP, 2 * TOP), blobs=flat(HASH)),
          **dict.fromkeys(("erased", "lost"), keys(reason=text(0, 1024), blobs=flat(HASH))),
          "deleted": keys(segment=ID, session=ID, head=RAW, key=KEY),
          "policy": keys(session=either(NULL, ID), group=either(NULL, ROLE),
                         newest=either(NULL, UINT), days=either(NULL, UINT)),
          "sealed": keys(heads=HASH, count=UINT), "recovered": keys(count=UINT, root=HASH),
          **dict.fromkeys(("pinned", "unpinned"), keys(segment=ID, index=UINT)),
          "withheld": keys(bundle=ID, blobs=flat(HASH)), "imported": keys(
              bundle=ID, store=ID, segments=flat(row(ID, COUNT, either(NULL, RAW), RAW)))}
def inflate(data: bytes, size: int, base: bytes | None = None) -> bytes:  # frame.md, blob.md
    head = zstandard.get_frame_parameters(data)
    need(0 < head.content_size == size and head.window_size <= 1 << 27 and not head.dict_id)
    need(base is None or len(base) >= 8)
    prefix = base and zstandard.ZstdCompressionDict(base, zstandard.DICT_TYPE_RAWCONTENT)
    return zstandard.ZstdDecompressor(prefix).decompress(data, allow_extra_data=False)
def rebuild(d: list[Any], payload: bytes, bodies: list[Blob]) -> Any:  # frame.md, stored entries
    (segment, first, prev, count, _), clock = d, 0
    need(len(items := record(payload, flat(either(row(*STORED), row(*STORED, START))))) == count)
    for index, (time, kind, body, refs, *start) in enumerate(items, first):
        need((kind == "start") == len(start) and len(refs) <= 256)
        need(type(body) is list or body < len(bodies))
        body, clock = body if type(body) is list else bodies[body][:2], clock + (time or 0)
        form = [1, index, prev, clock if type(time) is int else None, kind, *body, refs, *start]
        data = cbor2.dumps(form)
        need(len(data) < 65536 and UINT(clock) and UINT(index))
        yield Entry(segment, index, prev, H("entry", data), form, start[0] if start else None)
        prev = H("entry", data)
@lru_cache(8)
def unpack(file: File, at: int, end: int) -> tuple[list[list[Any]], bytes]:  # frame.md
    data = file.data[at:end]
    _, codec, flags, count, t, r, c, group = FRAME.unpack_from(data)
    need(codec < 2 and not flags and (codec or r == c) and 188 <= group <= at)
    table, stored = record(data[28 : 28 + t], flat(ANY)), data[28 + t : -32]
    for d in table:
        need(type(d) is list and row(integer(1, 256), UINT)(d[:2]))
        need(not 8 < d[0] < 64, "unsupported version")
        need(d[0] > 63 or RECORDS[d[0]](d[1:]))
    need(0 < len(table) == count and sum(d[1] for d in table) == r)
    return table, inflate(stored, r) if codec else stored
def load(path: Path) -> Any:  # folder.md: the bytes of a plain file; of anything else none
    if not stat.S_ISREG(path.lstat().st_mode) or not path.stat().st_size: return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

class File:  # file.md; steps 2 and 4: header, all whole frames, where gaps before them begin
    def __init__(self, path: Path, store: bytes) -> None:
        self.id, self.where, self.data = bytes.fromhex(path.stem), f"files/{path.name}", load(path)
        self.kind, self.frames, self.gaps, self.at, self.end = 0, [], [], 0, 188
        header, self.hash, self.fault = self.data[:156], self.data[156:188], "corrupt frame"
        if header[:8] != b"\x89castore" or self.hash != H("file", header): return
        (_, version, suite, kind, _, owner, name, self.number, self.pred, self.pred_end,
         self.pred_hash, self.seq, _, self.carried) = HEADER.unpack(header)
        numbers = self.number, self.pred_end, self.seq, self.carried - 188
        self.fault = "" if 0 < kind < 4 and all(map(UINT, numbers)) else "malformed record"
        self.fault = self.fault if (owner, name) == (store, self.id) else "foreign record"
        self.fault = self.fault if version == suite == 1 else "unsupported version"
        self.kind, at, end = 0 if self.fault else kind, 188, 188
        while self.kind and 0 <= at < len(self.data):
            if frame := self.whole(at):
                self.frames.append(frame)
                at = end = frame.end
            else:
                self.gaps += [at] * (at == end)
                at = self.data.find(b"csF1", at + 1)
        near = {frame.at: frame for frame in self.frames}
        for frame in reversed(self.frames):  # entries may need the blobs of the frame behind
            try: self.decode(frame, near.get(frame.end), store)
            except BAD as e:
                frame.fault = str(e) if type(e) is Refused else "malformed record"
                frame.holds = []
    def whole(self, at: int) -> Any:  # frame.md: the whole frame at an offset
        if self.data[at : at + 4] != b"csF1" or at + 28 > len(self.data): return None
        _, _, _, _, t, r, c, group = FRAME.unpack(self.data[at : at + 28])
        end, tie = at + 60 + t + c, self.hash + at.to_bytes(8, "big")
        if t > 4 * MIB or r > 16 * MIB or c > 17 * MIB or end > len(self.data): return None
        data, before = self.data[at:end], self.data[at - 32 : at]
        name = H("frame", data[: 28 + t], H("stored", data[28 + t : -32]), tie, before)
        frame = SimpleNamespace(at=at, end=end, hash=name, group=group, holds=[], fault="")
        return frame if name == data[-32:] else None
    def decode(self, frame: Any, after: Any, store: bytes) -> None:  # frame.md, file.md
        table, raw = unpack(self, frame.at, frame.end)
        starts, heads, listed = accumulate((d[1] for d in table), initial=0), [], []
        for (kind, size, *d), at in sorted(zip(table, starts), key=lambda x: x[0][0] == 4):
            payload = raw[at : at + size]  # entries come last: they need blobs
            if kind in (1, 2, 3, 5):
                digest, whole, base = (*d, None)[:3] if d else (H("", payload), size, None)
                parts = []
                if kind == 5:
                    digest, parts = H("refs", payload), record(payload, flat(REF))
                    need(0 < (whole := len(parts)) <= 65536)
                if kind == 3:
                    chunks, slices = record(payload, row(flat(HASH, PART), RAW))
                    parts, count = [*zip(chunks[::2], chunks[1::2])], -(-whole // MIB)
                    need(sum(chunks[1::2]) == whole and len(slices) == 32 * LARGE(whole) * count)
                blob = Blob(digest, whole, kind, base, parts, self, frame, at, size)
                frame.holds.append((1, digest, (self.id, frame.at, at), blob))
            if kind == 4:
                need(self.kind != JOURNAL or not d[4])
                source = after if d[4] else frame
                if source and not source.fault:  # else they cannot be read
                    bodies = [x[3] for x in source.holds if x[0] == 1 and x[3].kind == 1]
                    for e in rebuild(d, payload, bodies):
                        frame.holds.append((4, (e.segment, e.index), e.hash, e))
            if kind == 6:
                need(d[0][1] == store, "foreign record")
                heads.append(H("head", cbor2.dumps(d[0])))
                frame.holds.append((6, d[0][3], heads[-1], d[0]))
            if kind == 7:
                listed += d[0][4]
                frame.holds.append((7, d[0][1], H("commit", cbor2.dumps(d[0])), d[0]))
        need(self.kind != JOURNAL or (heads == listed and [d[0] for d in table].count(7) < 2))

class Store:  # checking.md: checks a store; then `heads`, `logs` and `blob` can be asked for
    def __init__(self, path: str | Path) -> None:
        self.path, self.seq, self.findings = Path(path), 0, set[tuple[str, str]]()
        self.heads, self.logs, self.good, self.recent = {}, {}, {}, lru_cache(8)(self.blob)
        self.listed, self.dropped, self.deleted, self.absent = {}, set[bytes](), {}, {}
        marker = MARKER.fullmatch(load(self.path / "castore.json")[:65536])
        if not marker or marker.group(1, 2, 4) != (b"1", b"[]", b"blake3-256"):
            return self.say("unsupported version" if marker else "malformed record", "castore.json")
        self.id, names = bytes.fromhex(marker[3].decode()), "[0-9a-f]" * 32 + ".cas"
        self.lock = bytes(load(self.path / "lock")[:257]) if (self.path / "lock").exists() else b""
        files = [File(x, self.id) for x in sorted((self.path / "files").glob(names))]
        self.files, others = {f.id: f for f in files}, [f for f in files if f.kind != JOURNAL]
        self.find_files()  # only the chain of journals: nothing is listed yet
        self.index(self.counted)
        head = self.newest_head(self.id)
        self.index(self.counted + [x for f in others for x in f.frames])
        log = self.read_log(head) if head else []
        self.findings.clear()  # what there is to find will be found again
        self.fold(log)
        if not head: self.say("wrong head", place(self.id))  # nothing is known to be listed
        self.find_files()
        self.index(self.counted)
        for step in self.check_commits, self.check_logs, self.check_blobs: step()
    def say(self, verdict: str, where: str) -> None: self.findings.add((where, verdict))
    def read_mark(self) -> tuple[bytes, int, bytes, bool]:  # folder.md: and whether it is exact
        none, lock = (b"", 188, b"", False), self.lock  # it was read before the files
        if lock[:8] != b"cslock01" or H("mark", lock[:240])[:16] != lock[240:]:
            return self.say("not covered", "lock") or none
        name, device, inode, boot, *end = MARK.unpack(lock[:96])
        there = (file := self.path / f"files/{name.hex()}.cas").is_file() and not file.is_symlink()
        now = (file if there else self.path).stat()
        if now.st_dev != device or (there and now.st_ino != inode): return none
        return name, *end, BOOT.exists() and uuid.UUID(BOOT.read_text().strip()).bytes == boot

    def find_files(self) -> None:  # step 3: the files of the store
        self.used, self.counted, journals, (name, end, tag, is_exact) = [], [], [], self.read_mark()
        for f in (f for f in self.files.values() if f.kind == JOURNAL):
            front = [x.end for x in [f, *f.frames] if x.end <= min(f.gaps, default=TOP)]
            if f.carried in front or f.id == name or any(x.at >= f.carried for x in f.frames):
                journals.append(f)  # it is in effect
        journals.sort(key=lambda f: (-f.number, f.id))
        for a, b in pairwise(journals):
            if a.number == b.number: self.say("fork evidence", b.where)
        f = self.newest = journals[0] if journals else self.say("missing pack", "files")
        claim = (end, tag, not is_exact) if f and f.id == name else (188, f and f.hash, True)
        f = f and self.require(f.id, *claim)
        while f and f.number > 1:
            f = self.require(f.pred, f.pred_end, f.pred_hash)
        if name: self.require(name, end, tag, stop=188)
        for name, claim in self.listed.items():
            self.require(name, *claim)
        flats = [x[6] for y in self.counted for kind, _, _, x in y.holds if kind == 7]
        sides = {x[i : i + 3] for x in map(tuple, flats) for i in range(0, len(x), 3)}
        for side in sorted(sides, reverse=True):  # of each file the largest end first
            self.require(*side)
        for f in self.files.values():
            if not f.kind and f.data[188:192] == b"csF1": self.require(f.id, 0, b"")
            if f not in self.used and (f.where + "@0", f.fault) not in self.findings:
                self.say("not covered", f.where)
    def require(self, name: bytes, end: int, tag: bytes, torn: Any = False, stop: int = TOP) -> Any:
        """Step 4: a file in which a frame with hash `tag` must end at `end`. Where it is named
        first it is decided what counts of it: all up to there (or `stop`), or all not torn."""
        f, where = self.files.get(name), f"files/{name.hex()}.cas"
        if name in self.dropped and f is not self.newest: return None
        if not f or f.fault:
            return self.say(f.fault, where + "@0") if f else self.say("missing pack", where)
        if is_first := f not in self.used:
            f.kept, f.is_clean = [x for x in f.frames if torn or x.end <= min(end, stop)], True
            for gap in (x for x in f.gaps if torn or x < min(end, stop)):
                if torn and gap >= end and not any(x.group > gap for x in f.frames):
                    f.kept = [x for x in f.kept if x.end <= gap]
                    self.say("torn tail", f"{where}@{gap}")
                    break
                f.is_clean = bool(self.say("corrupt frame", f"{where}@{gap}"))
            f.ends = {x.end: x.hash for x in [f, *f.kept]}
            for x in f.kept:
                if x.fault: self.say(x.fault, f"{where}@{x.at}")
            self.used.append(f)
            self.counted += f.kept
        met = f.ends.get(end) == tag
        if f.is_clean and not met: self.say("truncated log", f"{where}@{max(f.ends)}")
        if met and f.kind == PACK and len(f.data) > end: self.say("corrupt frame", f"{where}@{end}")
        return f if is_first else None

    def index(self, frames: list[Any]) -> None:  # what stands in these; which blobs are good
        self.known: Any = {kind: defaultdict(dict) for kind in (1, 4, 6, 7)}
        for kind, key, name, value in (y for x in frames for y in x.holds):
            self.known[kind][key][name] = value
        blobs = [x for copies in self.known[1].values() for x in copies.values()]
        self.good, waiting = {x.digest: x for x in blobs if x.kind in (1, 5)}, defaultdict(list)
        for x in blobs: waiting[x.base].append(x)
        todo = [(digest, 0) for digest in self.good]
        while todo:
            base, depth = todo.pop()
            for x in waiting.pop(base, ()) if depth < 255 else ():
                if self.proves(x) and self.good.setdefault(x.digest, x) is x:
                    todo.append((x.digest, depth + 1))
        for x in (x for x in blobs if x.kind == 3):
            if all(self.good.get(y, x).kind < 3 for y, _ in x.parts) and self.proves(x):
                self.good.setdefault(x.digest, x)
    def pieces(self, x: Blob) -> Any:  # blob.md: the bytes of a blob, if what it needs is good
        data = unpack(x.file, x.frame.at, x.frame.end)[1][x.start : x.start + x.length]
        if x.kind < 3: yield inflate(data, x.size, self.recent(x.base)) if x.base else data
        for digest, size in x.parts:
            need(self.good[digest].size == size)
            yield self.recent(digest)
    def proves(self, x: Blob) -> bool:  # blob.md: whether it gives the blob that it stands for
        whole = blake3()
        try:
            for data in self.pieces(x): whole.update(data)
            need(whole.digest() == x.digest)
        except BAD: return bool(self.say("corrupt blob", f"blob:{x.digest.hex()}"))
        return True
    def blob(self, digest: bytes) -> bytes:  # KeyError: none was found to be good
        return b"".join(self.pieces(self.good[digest]))
    def fold(self, log: list[Entry]) -> None:  # storelog.md: as far as it can be read
        for e in (e for e in log if e.form[4] in BODIES and e.form[5] in self.good):
            try:
                need(self.good[e.form[5]].size <= 64 * MIB)
                body = record(self.blob(e.form[5]), BODIES[e.form[4]], 64)
                roles = [x[0] for x in e.form[7]]
                wanted = {"tagged": ["tag"], "sealed": ["heads"] * len(roles)}
                need(roles == wanted.get(e.form[4], roles))
                if e.form[4] == "deleted":
                    head, ids = record(body["head"], HEAD), [body["session"], body["segment"]]
                    need(head[1:4] == [self.id, *ids] and head[3] != self.id)
                    self.deleted[head[3]] = {H("head", body["head"]): head}
                self.dropped |= {*body.get("drop", ())}
                self.listed |= {x[0]: x[2:] for x in body.get("add", ())}
                how = {"erased": "erased by entry", "lost": "lost, accepted by entry",
                       "withheld": "withheld by bundle"}
                how = how.get(e.form[4], "collected by run") + f" {body.get('run', e.index)}"
                self.absent |= dict.fromkeys(body.get("blobs", ()), how)
            except BAD: self.say("malformed record", place(e.segment, e.index))
    def newest_head(self, segment: bytes) -> Any:  # step 6, head.md
        final, where = self.deleted.get(segment, {}), place(segment)
        heads = self.known[6].get(segment, {}) | final
        order = sorted(heads, key=lambda name: (-heads[name][6], name))
        for new, old in pairwise(heads[name] for name in order):
            if new[6] == old[6]: self.say("fork evidence", where)
            elif new[7] < old[7] or new[10] <= old[10]: self.say("wrong head", where)
        if final and order[0] not in final: self.say("fork evidence", where)
        commits = self.known[7].get(heads[order[0]][10], {}).values() if order else ()
        if commits and all(order[0] not in c[4] for c in commits): self.say("wrong head", where)
        return heads[order[0]] if order else None
    def check_commits(self) -> None:  # step 5, commit.md
        before = {H("genesis", self.id): None}
        for seq, commits in sorted(self.known[7].items()):
            if len(commits) > 1: self.say("fork evidence", f"seq:{seq}")
            if seq != self.seq + 1 or any(c[2] not in before for c in commits.values()):
                self.say("broken link", f"seq:{self.seq + 1}")
            before, self.seq = commits, seq
    def read_log(self, head: list[Any]) -> list[Entry]:  # step 7: each entry names the one before
        log, owner, index, name = [], head[3], head[7], head[9]
        fault = "wrong head", place(owner)
        while index > (low := self.heads.get(owner, NONE)[4]):
            if options := self.known[4].get((owner, index - 1)):
                e = options.get(name) or min(options.items())[1]
                if name not in (None, e.hash): self.say(*fault)
                log.append(e)
                index, name, fault = e.index, e.prev, ("broken link", place(owner, e.index))
                if 0 < index == low and e.start and e.start[3]: owner = e.start[3][1]
            else:
                there = [i + 1 for s, i in self.known[4] if s == owner and i < index]
                index, name = max([low, *there]), None
                self.say("truncated log", place(owner, index))
        if name not in (None, H("genesis", self.heads.get(owner, head)[2], owner)): self.say(*fault)
        return log[::-1]
    def check_logs(self) -> None:  # step 7
        segments, owners = {*self.known[6], *self.deleted, *(x for x, _ in self.known[4])}, {}
        self.heads = {s: head for s in segments if (head := self.newest_head(s))}
        for s in segments - {*self.heads}: self.say("unproven absence", place(s))
        living = {s: head for s, head in self.heads.items() if s not in self.deleted}
        for segment, head in sorted(living.items(), key=lambda x: x[1][2]):  # by session
            log = self.logs[segment] = self.read_log(head)
            names, links = [e.hash for e in log], [e.prev for e in log[1:]]
            is_whole = len(log) == head[7] and names[:-1] == links
            if is_whole and root(names, segment == self.id) != head[8]:
                self.say("root mismatch", place(segment))
            for e in (e for e in log if e.segment == segment):
                good, where = bool(e.start) == (e.index == head[4]), place(segment, e.index)
                if e.start:
                    session, name, cause, origin, key = e.start
                    good &= (session, name, cause == "fork") == (head[2], segment, e.index > 0)
                    good &= not e.index or (bool(origin) and origin[2:5:2] == [e.index, e.prev])
                    if good and e.index and is_whole and root(names[: e.index], False) != origin[3]:
                        self.say("root mismatch", where)
                    if key and owners.setdefault(tuple(key), session) != session:
                        self.say("fork evidence", place(segment))
                if not good: self.say("malformed record", where)
        self.heads = living
    def check_blobs(self) -> None:  # step 8: what entries name is there, or it is said why not
        for e in {e.hash: e for log in self.logs.values() for e in log}.values():
            refs = [["", *e.form[5:7], 0, None], *e.form[7]]
            for _, digest, size, flags, _ in refs:  # grows by what ref lists name
                if (x := self.good.get(digest)) and (x.size, x.kind == 5) == (size, flags == 2):
                    refs += x.parts if flags else []
                else:
                    self.say(self.absent.get(digest, "missing blob"), f"blob:{digest.hex()}")

def check(path: str | Path) -> dict[str, Any]:
    store = Store(path)  # FileNotFoundError: no store; or a file went, then begin again
    mild = dict.fromkeys(("torn tail", "not covered"), "notice")
    said = [{"verdict": bad, "where": where,
             "severity": mild.get(bad, "explained" if " by " in bad else "fault")}
            for where, bad in sorted(store.findings)]
    return {"ok": all(x["severity"] != "fault" for x in said), "seq": store.seq,
            "against": "self-consistent", "findings": said, "covered": {}}

if __name__ == "__main__":
    there = Path(sys.argv[1], "castore.json").exists()
    print(json.dumps(report := check(sys.argv[1]) if there else {"ok": False, "findings": []}))
    sys.exit(not report["ok"] if there else 10)
