"""Checker of a castore bundle, written from the pages of this folder alone.
`python reference_bundle.py FILE` prints the report; exit 0: no fault. Needs `reference.py`.
"""
from __future__ import annotations
import cbor2, json, stat, sys
from itertools import accumulate
from pathlib import Path
from typing import Any
from reference import (
    BAD, FRAME, HASH, HEAD, HEADER, ID, MIB, NULL, ONE, PART, RAW, REF, UINT, Entry, File, H,
    Refused, blake3, either, flat, need, place, rebuild, record, row, unpack)

HASHES = lambda v: RAW(v) and len(v) % 32 == 0
ROW = row(ONE, ID, ID, either(NULL, ID), UINT, UINT, UINT, HASHES, either(NULL, RAW), HASHES)
SORTS = {4: 1, 1: 2, 3: 2, 5: 3}  # of a frame, by kind of record: entries, blobs, lists
def split(data: bytes) -> list[bytes]: return [data[i : i + 32] for i in range(0, len(data), 32)]
def push(peaks: list[bytes], count: int, entry: bytes) -> None:  # merkle.md
    name = H("leaf", entry)
    while count & 1: name, count = H("node", peaks.pop(), name), count >> 1
    peaks.append(name)
def bag(peaks: list[bytes]) -> bytes:
    return H("node", peaks[0], bag(peaks[1:])) if peaks[1:] else [*peaks, H("empty")][0]
def climb(m: int, n: int, old: bytes, proof: list[bytes], whole: bool = True) -> Any:
    """RFC 6962, 2.1.2, from its end: the roots of m and of n leaves that a proof leads to."""
    last = proof.pop() if proof and not (m == n and whole) else b""
    if m == n: return (old, old) if whole else (last, last)
    k = 1 << (n - 1).bit_length() - 1
    if m > k: return tuple(H("node", last, x) for x in climb(m - k, n - k, old, proof, False))
    first, second = climb(m, k, old, proof, whole)
    return first, H("node", second, last)

class Bundle:  # checks a bundle
    def __init__(self, path: str) -> None:
        self.findings, self.rows, self.at = set[tuple[str, str]](), [], 0
        if not stat.S_ISREG(Path(path).lstat().st_mode): raise OSError("no plain file")
        self.data = Path(path).read_bytes()
        try: self.check()
        except BAD as e:
            bad = str(e) if type(e) is Refused else "malformed record"
            if bad: self.findings.add((f"bundle@{self.at}", bad))
    def say(self, verdict: str, where: str) -> None:
        self.findings.add((where, verdict))
        need(len(self.findings) - len(self.named) < 1000, "")  # bounds: enough
    def spend(self, of_blobs: bool, size: int) -> None:  # bounds
        self.left[of_blobs] -= size
        need(min(self.left) >= 0)
    def next_frame(self, at: int) -> list[tuple[list[Any], bytes]]:  # step 2; frame.md
        self.at, (*_, t, r, c, _) = at, FRAME.unpack(self.data[at : at + 28].ljust(28))
        need(max(48 * t, r, c) <= 12 * MIB and (x := File.whole(self, at)), "corrupt frame")
        table, self.raw = unpack(self, at, x.end)
        self.end, starts = x.end, accumulate((d[1] for d in table), initial=0)
        return [(d, self.raw[i : i + d[1]]) for d, i in zip(table, starts)]
    def check(self) -> None:
        header, self.hash, size = self.data[:156], self.data[156:188], len(self.data)  # step 1
        need(header[:8] == b"\x89castore" and self.hash == H("file", header), "corrupt frame")
        _, version, suite, kind, _, self.store, self.id, *rest = HEADER.unpack(header)
        need(version == suite == 1, "unsupported version")
        need(kind == 4 and all(map(UINT, (rest[0], rest[2], rest[4], rest[6] - 188))))
        self.left, last, waiting, at = [16 * MIB + 100 * size, 256 * MIB + 1000 * size], 0, [], 0
        self.read_manifest(self.next_frame(188))
        self.blobs, self.lists, self.named, self.fresh, self.wants = {}, {}, set(), {}, []
        self.next_row(0)
        while self.end < size:
            far, frame = any(d[6] for d, _ in waiting), self.next_frame(self.end)
            need(len(sorts := {SORTS.get(d[0], 0) for d, _ in frame}) == 1 and (sort := max(sorts)))
            need(len(self.raw) <= (0, 2, 4, 12)[sort] * MIB)
            need(sort > 1 or max(d[1] for d, _ in frame) <= MIB // 4)
            need(sort > 1 or sum(d[5] for d, _ in frame) <= 16384)
            need((last or sort == 1) and (last, sort) != (3, 2) and (sort == 2 or not far))
            self.spend(sort == 2, len(self.raw))
            self.take_entries(waiting, self.take_blobs(frame) if sort == 2 else [], at)
            if sort == 1: self.end_group()
            if sort == 3: self.take_lists(frame)
            last, waiting, at = sort, frame if sort == 1 else [], self.at
        need(not any(d[6] for d, _ in waiting))
        self.take_entries(waiting, [], at)
        self.end_group()
        for r in self.rows[self.number :]:  # step 8
            self.say("truncated log", place(r[2], max(r[5], self.index)))
            self.index = 0
        self.at = 188
        need(self.named == {*self.withheld})
    def read_manifest(self, frame: list[Any]) -> None:  # step 3
        kinds, table, rows = [d[0] for d, _ in frame], [d for d, _ in frame], []
        count, size = kinds.count(64), len(self.data)
        need(0 < count < 1024 and kinds[count:] in ([], [65]) and {*map(len, table)} == {2})
        need(H("bundle", cbor2.dumps(table), self.raw)[:16] == self.id)
        for d, payload in frame[:count]:
            need(d[1] <= 16384)
            _, *ids, parent, fork, first, stop, peaks, head, proof = r = record(payload, ROW)
            need(fork <= first < stop and (parent is None) == (fork == 0) and ids[1] != self.store)
            need(len(peaks) == 32 * first.bit_count() and (head is not None or not proof))
            if head is not None:
                r[8] = head = record(head[:1024], HEAD)
                need(head[1:5] == [self.store, *ids, fork] and head[7] >= stop + (proof != b""))
            rows.append(r)
        all_ids = {r[2]: number for number, r in enumerate(rows)}
        need(sum(r[6] - r[5] for r in rows) <= 65536 + size and len(all_ids) == count)
        self.asked, self.roots = {(r[3], r[5]) for r in rows if r[4] == r[5]}, {}
        need(all(all_ids.get(r[3], -1) < all_ids[r[2]] for r in rows))
        need(all(r[8] or (r[2], r[6]) in self.asked for r in rows))
        raw = frame[-1][1] if count < len(kinds) else b""
        units = [raw[i : i + 33] for i in range(0, len(raw), 33)]
        self.withheld = {unit[:32] for unit in units}
        need(len(self.withheld) == len(units) <= size / 32 and (units or not kinds[count:]))
        need(all(len(u) == 33 and u[32] < 5 for u in units) and units == sorted(units))
        self.rows = rows
    def next_row(self, number: int) -> None:
        self.number = number
        if number < len(self.rows):
            _, *ids, _, _, self.index, _, peaks, _, _ = self.rows[number]
            self.peaks, self.prev = split(peaks), None if self.index else H("genesis", *ids)
            self.roots[ids[1], self.index] = bag(self.peaks)
    def take_entries(self, frame: list[Any], bodies: list[Any], at: int) -> None:  # step 4
        now, self.at = self.at, at
        for (_, _, *d), payload in frame:
            segment, first, _, count, far = d
            need(r := dict(enumerate(self.rows)).get(self.number))
            need((segment, first) == (r[2], self.index) and first + count <= r[6])
            run = list(rebuild(d, payload, bodies if far else []))
            if self.prev not in (None, run[0].prev): self.say("broken link", place(segment, first))
            for e in run:
                if e.start or e.index == r[4]: self.judge_start(e, r)
                push(self.peaks, e.index, e.hash)
                self.index, self.prev = e.index + 1, e.hash
                if (spot := (segment, self.index)) in self.asked: self.roots[spot] = bag(self.peaks)
                self.wants += [(*e.form[5:7], 0, None), *(x[1:] for x in e.form[7])]
            if self.index == r[6]: self.judge(r[2], r[6], r[8], split(r[9]), bag(self.peaks))
        self.at = now
    def judge_start(self, e: Entry, r: list[Any]) -> None:
        session, segment, cause, origin, _ = e.start or [None] * 5
        good = (session, segment, e.index, cause == "fork") == (*r[1:3], r[4], e.index > 0)
        if e.index: good &= bool(origin) and origin[1:5] == [r[3], e.index, origin[3], e.prev]
        theirs = self.roots.get((r[3], e.index))
        if not good: self.say("malformed record", place(r[2], e.index))
        elif e.index and not theirs: self.say("origin not covered", place(r[2]))
        if good and e.index and {theirs or origin[3], bag(split(r[7]))} != {origin[3]}:
            self.say("root mismatch", place(r[2], e.index))
    def judge(self, segment: bytes, stop: int, head: Any, proof: Any, root: bytes) -> None:  # 7
        if head and head[7] == stop:
            if self.prev != head[9]: self.say("wrong head", place(segment))
            if root != head[8]: self.say("root mismatch", place(segment))
        elif head and (climb(stop, head[7], root, proof) != (root, head[8]) or proof):
            self.say("bad proof", place(segment))
        self.next_row(self.number + 1)
    def add(self, name: bytes) -> None:  # step 5
        need(name not in self.blobs and name not in self.lists and name not in self.withheld)
        self.fresh[name] = self.at
    def take_blobs(self, frame: list[Any]) -> list[Any]:
        for (kind, size, *d), payload in frame:
            name, whole = d or (H("", payload), size)
            self.add(name)
            slices = self.check_chunks(name, whole, payload) if kind == 3 else b""
            self.blobs[name] = whole, H("slices", slices) if slices else None, kind == 1 and payload
        return [(H("", payload), d[1]) for d, payload in frame if d[0] == 1]
    def check_chunks(self, name: bytes, whole: int, payload: bytes) -> bytes:
        self.spend(True, whole)
        count, is_there, hasher = -(-whole // MIB), True, blake3()
        need(count > 1 and len(payload) <= 71 * (count + 1))
        chunks, slices = record(payload, row(flat(HASH, PART), RAW))
        need(chunks[1::2] == [MIB] * (count - 1) + [whole - MIB * (count - 1)])
        need(slices == b"".join(chunks[::2]) * (whole > 8 * MIB))
        for chunk, size in zip(chunks[::2], chunks[1::2]):
            self.fresh.pop(chunk, None)
            found, _, data = self.blobs.get(chunk, (0, None, False))
            if data is False or found != size:
                is_there = bool(self.say("missing blob", f"blob:{chunk.hex()}"))
            else: hasher.update(data)
        if is_there and hasher.digest() != name: self.say("corrupt blob", f"blob:{name.hex()}")
        return slices
    def take_lists(self, frame: list[Any]) -> None:
        for _, payload in frame:
            self.add(name := H("refs", payload))
            need(0 < len(refs := record(payload, flat(REF))) <= 65536)
            for x in refs: self.want(*x[1:])
            self.lists[name] = len(refs)
    def want(self, name: bytes, size: int, flags: int, slices: bytes | None) -> Any:  # step 6
        self.fresh.pop(name, None)
        found, own, _ = self.blobs.get(name, (None, None, None))
        if flags or name not in self.withheld:
            is_there = self.lists.get(name) == size if flags else (
                found == size and slices in (None, own))
            return is_there or self.say("missing blob", f"blob:{name.hex()}")
        self.named.add(name)
        self.say(f"withheld by bundle {self.id.hex()}", f"blob:{name.hex()}")
    def end_group(self) -> None:
        for x in self.wants: self.want(*x)
        self.wants, self.at = [], min(self.fresh.values(), default=self.at)
        need(not self.fresh)
def check(path: str) -> dict[str, Any]:  # checking.md, step 9
    bundle, mild = Bundle(path), {"origin not covered": "notice"}
    said = [{"verdict": bad, "where": where,
             "severity": mild.get(bad, "explained" if " by " in bad else "fault")}
            for where, bad in sorted(bundle.findings)]
    return {"ok": all(x["severity"] != "fault" for x in said),
            "seq": max((r[8][10] for r in bundle.rows if r[8]), default=0),
            "against": "self-consistent", "findings": said, "covered": {}}
if __name__ == "__main__":
    print(json.dumps(report := check(sys.argv[1])))
    sys.exit(not report["ok"])
