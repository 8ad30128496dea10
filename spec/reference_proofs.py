"""Checks proof files of castore, alone: written from the pages, sharing nothing with the package.

    reference_proofs.py PROOF [--data FILE]      a proof, and the bytes of a range

Prints one JSON object; exit 0: what it says is so, if what it stands on is trusted; 1: refused.
Wants blake3 and cbor2.
"""
from __future__ import annotations

import hashlib, json, sys
from pathlib import Path
from typing import Any

import cbor2
from blake3 import blake3

MIB, TOP, SIZE_MAX = 1 << 20, 1 << 63, 384 * 1024
Value = dict[str, Any]

class Refused(Exception):
    """What is read is refused; the text is the verdict."""

def need(true: object, verdict: str = "malformed record") -> None:
    if not true: raise Refused(verdict)

def H(name: str, *parts: bytes) -> bytes:  # suite.md; without a name the hash of a blob
    context = "castore v1 2026-11 " + name if name else None
    return blake3(b"".join(parts), derive_key_context=context).digest()
# ---- encoding.md, record profile: what it gives when encoded again is what it was
TAGS = dict.fromkeys(range(1 << 16), lambda *_: None)
def record(data: bytes, limit: int) -> list[Any]:
    need(len(data) <= limit)
    try:
        value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=4)
        need(type(value) is list and shallow(value, 4) and cbor2.dumps(value) == data)
    except (cbor2.CBORDecodeError, ValueError):
        raise Refused("malformed record") from None
    return value
def shallow(value: Any, depth: int) -> bool:
    if type(value) is list: return depth > 0 and all(shallow(x, depth - 1) for x in value)
    return value is None or type(value) in (bytes, str, bool) or (
        type(value) is int and -TOP <= value < 2 * TOP)
# ---- Shapes: tests of a decoded value
integer = lambda low, high=TOP: lambda v: type(v) is int and low <= v < high
octets = lambda size: lambda v: type(v) is bytes and len(v) == size
text = lambda low, high: lambda v: type(v) is str and low <= len(v.encode()) <= high
either = lambda *shapes: lambda v: any(fits(v) for fits in shapes)
row = lambda *shapes: lambda v: (
    type(v) is list and len(v) == len(shapes) and all(fits(x) for fits, x in zip(shapes, v)))
some = lambda shape, low, high: lambda v: (
    type(v) is list and low <= len(v) <= high and all(map(shape, v)))
NULL, RAW = lambda v: v is None, lambda v: type(v) is bytes
UINT, COUNT, ID, HASH = integer(0), integer(1), octets(16), octets(32)
ROLE, KIND, NAME, PATH = text(0, 64), text(1, 64), text(1, 1024), some(HASH, 0, 128)
REF = either(row(ROLE, HASH, integer(0, 8 * MIB + 1), integer(0, 1), NULL),
             row(ROLE, HASH, integer(8 * MIB + 1), integer(0, 1), HASH))
LIST = row(text(0, 0), HASH, integer(1, 65537), integer(2, 3), NULL)
ORIGIN = either(NULL, row(ID, ID, UINT, HASH, HASH, either(NULL, integer(0, 2 * TOP))))
START = row(ID, ID, lambda v: v in ("new", "fork", "compaction", "import"), ORIGIN,
            either(NULL, row(KIND, NAME)))
PLAIN = [integer(1, 2), UINT, HASH, either(NULL, UINT), KIND, HASH, UINT,
         some(either(REF, LIST), 0, 256)]
ENTRY = either(lambda v: row(*PLAIN)(v) and v[4] != "start",
               lambda v: row(*PLAIN, START)(v) and v[4] == "start")
HEAD = row(integer(1, 2), ID, ID, ID, UINT, integer(0, 1), COUNT, COUNT, HASH, HASH, COUNT, UINT)
# ---- merkle.md: RFC 6962, 2.1.1 and 2.1.2, as they stand there, from the root down
class Tree:
    def __init__(self, sha: bool) -> None:
        self.sha = sha
    def leaf(self, x: bytes) -> bytes:
        return hashlib.sha256(b"\0" + x).digest() if self.sha else H("leaf", x)
    def node(self, a: bytes, b: bytes) -> bytes:
        return hashlib.sha256(b"\1" + a + b).digest() if self.sha else H("node", a, b)
    def included(self, index: int, count: int, leaf: bytes, path: list[bytes]) -> bytes:
        """The root that the path leads to."""
        if count == 1:
            need(not path, "bad proof")
            return leaf
        need(path, "bad proof")
        k = 1 << (count - 1).bit_length() - 1
        if index < k: return self.node(self.included(index, k, leaf, path[:-1]), path[-1])
        return self.node(path[-1], self.included(index - k, count - k, leaf, path[:-1]))
    def grown(self, m: int, n: int, path: list[bytes], old: bytes, whole: bool = True) -> Any:
        """The roots of the first m and of all n leaves, from a path; old: the first of them."""
        if m == n:
            need(len(path) == (0 if whole else 1), "bad proof")
            return (old, old) if whole else (path[0], path[0])
        need(path, "bad proof")
        k = 1 << (n - 1).bit_length() - 1
        if m <= k:
            first, second = self.grown(m, k, path[:-1], old, whole)
            return first, self.node(second, path[-1])
        first, second = self.grown(m - k, n - k, path[:-1], old, False)
        return self.node(path[-1], first), self.node(path[-1], second)
# ---- proofs.md
def state(value: Any) -> Value:
    """A head or a point."""
    if type(value) is bytes:
        head = record(value, 256)
        need(HEAD(head) and head[4] < head[7])
        names = ("version", "store", "session", "segment", "fork", "state", "revision",
                 "count", "root", "last", "seq", "time")
        return dict(zip(names, head))
    need(row(ID, ID, COUNT, HASH)(value))
    return dict(zip(("store", "segment", "count", "root"), value))
def tree(log: Value) -> Tree:
    return Tree(sha=log["segment"] == log["store"])
def entry(data: Any) -> list[Any]:
    need(RAW(data))
    value = record(data, 65535)
    need(ENTRY(value))
    return value
def stands(log: Value, index: int, data: bytes, path: list[bytes]) -> None:
    need(index < log["count"], "bad proof")
    leaf = tree(log).leaf(H("entry", data))
    need(tree(log).included(index, log["count"], leaf, path) == log["root"], "bad proof")
def grows(count: int, root: bytes, log: Value, path: list[bytes]) -> None:
    need(0 < count <= log["count"], "bad proof")
    found = tree(log).grown(count, log["count"], path, root)
    need(found == (root, log["root"]), "bad proof")
def inclusion(fields: list[Any]) -> Value:
    need(row(lambda v: True, RAW, PATH)(fields))
    log, item = state(fields[0]), entry(fields[1])
    stands(log, item[1], fields[1], fields[2])
    return {"against": log, "index": item[1], "kind": item[4], "body": item[5]}
def consistency(fields: list[Any]) -> Value:
    need(row(lambda v: True, lambda v: True, PATH)(fields))
    first, second = state(fields[0]), state(fields[1])
    need(all(first[x] == second[x] for x in ("store", "segment")), "bad proof")
    grows(first["count"], first["root"], second, fields[2])
    return {"against": second, "first": first}
def origin(fields: list[Any]) -> Value:
    need(row(RAW, RAW, PATH, PATH, lambda v: True, PATH)(fields))
    log, item, parent = state(fields[0]), entry(fields[1]), fields[4]
    need(item[4] == "start" and item[1] and (parent is not None or not fields[5]))
    said = item[8][3]
    need(item[8][:3] == [log["session"], log["segment"], "fork"])
    need(said and (said[2], said[4]) == (item[1], item[2]))
    other = None if parent is None else state(parent)
    need(item[1] == log["fork"], "bad proof")
    stands(log, item[1], fields[1], fields[2])
    grows(said[2], said[3], log, fields[3])
    if other:
        need((other["store"], other["segment"]) == (log["store"], said[1]), "bad proof")
        need(other.get("session", said[0]) == said[0], "bad proof")
        grows(said[2], said[3], other, fields[5])
    return {"against": log, "parent": other, "count": said[2],
            "says": "origin" if other else "shared prefix only"}
def range_(fields: list[Any]) -> Value:
    need(row(lambda v: True, RAW, PATH, either(NULL, RAW), UINT, UINT, UINT, RAW)(fields))
    named, number, start, stop, slices = fields[3:]
    refs = entry(fields[1])[7]
    listed = None if named is None else record(named, SIZE_MAX)
    need(listed is None or some(REF, 1, 65536)(listed))
    found = inclusion(fields[:3])
    if listed is not None:
        need(["", H("refs", named), len(listed), 2, None] in refs, "bad proof")
        refs = listed
    need(number < len(refs), "bad proof")
    _, digest, size, _, name = refs[number]
    need(name and len(slices) == -(-size // MIB) * 32 and H("slices", slices) == name, "bad proof")
    need(start < stop <= size and start % MIB == 0, "bad proof")
    need(stop % MIB == 0 or stop == size, "bad proof")
    return found | {"blob": digest, "start": start, "stop": stop, "slices": slices}
def in_range(found: Value, data: bytes) -> None:
    need(len(data) == found["stop"] - found["start"], "corrupt blob")
    for at in range(0, len(data), MIB):
        number = (found["start"] + at) // MIB
        wanted = found["slices"][32 * number : 32 * number + 32]
        need(H("", data[at : at + MIB]) == wanted, "corrupt blob")
KINDS = {"inclusion": inclusion, "consistency": consistency, "origin": origin, "range": range_}
def check(data: bytes) -> Value:
    """What a proof file proves; raises Refused."""
    value = record(data, SIZE_MAX)
    need(len(value) >= 3 and row(text(13, 13), UINT, text(0, SIZE_MAX))(value[:3]))
    need(value[0] == "castore proof")
    need(value[1] == 1 and value[2] in KINDS, "unsupported version")
    return {"proof": value[2]} | KINDS[value[2]](value[3:])
def main(arguments: list[str]) -> int:
    try:
        with Path(arguments[0]).open("rb") as file: found = check(file.read(SIZE_MAX + 1))
        if arguments[1:]: in_range(found, Path(arguments[2]).read_bytes())
    except Refused as refused:
        print(json.dumps({"ok": False, "verdict": str(refused)}))
        return 1
    print(json.dumps({"ok": True} | found, default=bytes.hex))
    return 0

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
