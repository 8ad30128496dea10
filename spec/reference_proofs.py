"""Checks proof files and notes of castore, alone: written from the pages, no code of the package.

    reference_proofs.py PROOF [--data FILE] | NOTE --key KEY       (FILE: the bytes of a range)
Prints one JSON object; exit 0: it is as it says, if what it stands on is trusted; 1: refused.
Wants blake3, cbor2, and for signatures cryptography.
"""
import base64, hashlib, json, re, sys
from pathlib import Path
from typing import Any
import cbor2
from blake3 import blake3

MIB, TOP, SIZE_MAX, NOTE_MAX = 1 << 20, 1 << 63, 384 * 1024, 128 * 1024
Value = dict[str, Any]
class Refused(Exception): """What is read is refused; the text is the verdict."""
def need(true: object, verdict: str = "malformed record") -> None:
    if not true: raise Refused(verdict)
def right(true: object) -> None: need(true, "bad proof")
def H(name: str, *parts: bytes) -> bytes:  # suite.md; without a name the hash of a blob
    context = "castore v1 2026-11 " + name if name else None
    return blake3(b"".join(parts), derive_key_context=context).digest()
# ---- encoding.md: what a value gives when it is encoded again is what it was
TAGS = dict.fromkeys(range(1 << 16), lambda *_: None)
def record(data: Any, limit: int, shape: Any = lambda v: True, maps: bool = False) -> Any:
    need(type(data) is bytes and len(data) <= limit)
    try: value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=4)
    except (cbor2.CBORDecodeError, ValueError): raise Refused("malformed record") from None
    need((maps or (type(value) is list and flat(value, 4))) and shape(value))
    need(cbor2.dumps(value) == data)
    return value
def flat(value: Any, depth: int) -> bool:
    if type(value) is list: return depth > 0 and all(flat(x, depth - 1) for x in value)
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
ANY, NULL, RAW = lambda v: True, lambda v: v is None, lambda v: type(v) is bytes
UINT, COUNT, ID, HASH = integer(0), integer(1), octets(16), octets(32)
ROLE, KIND, PATH = text(0, 64), text(1, 64), some(HASH, 0, 128)
REF = either(row(ROLE, HASH, integer(0, 8 * MIB + 1), integer(0, 1), NULL),
             row(ROLE, HASH, integer(8 * MIB + 1), integer(0, 1), HASH))  # entry.md
LIST = row(text(0, 0), HASH, integer(1, 65537), integer(2, 3), NULL)
ORIGIN = either(NULL, row(ID, ID, UINT, HASH, HASH, either(NULL, integer(0, 2 * TOP))))
START = row(ID, ID, lambda v: v in ("new", "fork", "compaction", "import"), ORIGIN,
            either(NULL, row(KIND, text(1, 1024))))
PLAIN = [integer(1, 2), UINT, HASH, either(NULL, UINT), KIND, HASH, UINT,
         some(either(REF, LIST), 0, 256)]
ENTRY = lambda v: row(*PLAIN, START)(v) if v[4:5] == ["start"] else row(*PLAIN)(v)
HEAD = row(integer(1, 2), ID, ID, ID, UINT, integer(0, 1), COUNT, COUNT, HASH, HASH, COUNT, UINT)
NAMES = ("version", "store", "session", "segment", "fork", "state", "revision", "count", "root")
# ---- merkle.md: RFC 6962, 2.1.1 and 2.1.2, as they stand there, from the root down
class Tree:
    def __init__(self, log: Value) -> None: self.sha = log["segment"] == log["store"]
    def leaf(self, x: bytes) -> bytes:
        return hashlib.sha256(b"\0" + x).digest() if self.sha else H("leaf", x)
    def node(self, a: bytes, b: bytes) -> bytes:
        return hashlib.sha256(b"\1" + a + b).digest() if self.sha else H("node", a, b)
    def path(self, index: int, count: int, leaf: bytes, path: list[bytes]) -> bytes:
        right(bool(path) == (count > 1))
        if count == 1: return leaf
        k = 1 << (count - 1).bit_length() - 1
        if index < k: return self.node(self.path(index, k, leaf, path[:-1]), path[-1])
        return self.node(path[-1], self.path(index - k, count - k, leaf, path[:-1]))
    def grown(self, m: int, n: int, path: list[bytes], old: bytes, whole: int = 1) -> Any:
        if m == n: return right(len(path) == 1 - whole) or [*path, old][:1] * 2
        right(path)
        *rest, last, k = *path, 1 << (n - 1).bit_length() - 1
        if m > k: return [self.node(last, x) for x in self.grown(m - k, n - k, rest, old, 0)]
        first, second = self.grown(m, k, rest, old, whole)
        return [first, self.node(second, last)]  # the roots of the first m and of all n leaves
# ---- notes.md
def base(code: str) -> bytes:
    try: data = base64.b64decode(code, validate=True)
    except ValueError: raise Refused("malformed record") from None
    need(base64.b64encode(data).decode() == code)
    return data
def public(key: str) -> tuple[str, bytes, bytes]:  # name, id and bytes of a key
    need(found := re.fullmatch(r"([^\s+]+)\+([0-9a-f]{8})\+(.*)", key))
    name, number, data = found[1], bytes.fromhex(found[2]), base(found[3])
    need(hashlib.sha256(name.encode() + b"\n" + data).digest()[:4] == number)
    need(len(data) == 33 and data[0] == 1)
    return name, number, data[1:]
def signed(data: bytes, key: str | None) -> Value:  # what a note says; None: whoever signed it
    need(len(data) <= NOTE_MAX)
    try: said, blank, below = data.decode().rpartition("\n\n")
    except UnicodeDecodeError: raise Refused("malformed record") from None
    need(blank and below[-1:] == "\n" and all(x >= " " or x == "\n" for x in said + below))
    lines = [re.fullmatch(r"\u2014 ([^\s+]+) (\S+)", x) for x in below[:-1].split("\n")]
    need(len(lines) <= 100 and all(lines))
    found = [(line[1], base(line[2])) for line in lines]
    need(min(len(x) for _, x in found) > 4)
    if key is not None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
        name, number, raw = public(key)
        mine = [x[4:] for who, x in found if (who, x[:4]) == (name, number)]
        need(mine, "bad signature")
        try: [Ed25519PublicKey.from_public_bytes(raw).verify(x, f"{said}\n".encode()) for x in mine]
        except InvalidSignature: raise Refused("bad signature") from None
    need(text := re.fullmatch(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([^\n]+)(\n[^\n]+)*", said))
    need(int(text[2]) < TOP and HASH(base(text[3])))
    return {"origin": text[1], "count": int(text[2]), "root": base(text[3])}
# ---- proofs.md
def state(value: Any) -> Value:
    if type(value) is bytes:
        head = record(value, 256, lambda v: HEAD(v) and v[4] < v[7])
        return dict(zip(NAMES, head)) | {"head": H("head", value)}
    need(row(ID, ID, COUNT, HASH)(value))
    return dict(zip(("store", "segment", "count", "root"), value))
def stands(log: Value, data: bytes, path: list[bytes]) -> None:
    index, tree = record(data, 65535)[1], Tree(log)
    right(index < log["count"])
    right(tree.path(index, log["count"], tree.leaf(H("entry", data)), path) == log["root"])
def grows(count: int, root: bytes, log: Value, path: list[bytes]) -> None:
    right(0 < count <= log["count"])
    right(Tree(log).grown(count, log["count"], path, root) == [root, log["root"]])
def inclusion(x: list[Any]) -> Value:
    need(row(ANY, RAW, PATH)(x))
    log, item = state(x[0]), record(x[1], 65535, ENTRY)
    stands(log, x[1], x[2])
    return {"against": log, "index": item[1], "kind": item[4], "body": item[5]}
def consistency(x: list[Any]) -> Value:
    need(row(ANY, ANY, PATH)(x))
    first, second = state(x[0]), state(x[1])
    right((first["store"], first["segment"]) == (second["store"], second["segment"]))
    grows(first["count"], first["root"], second, x[2])
    return {"against": second, "first": first}
def origin(x: list[Any]) -> Value:
    need(row(RAW, RAW, PATH, PATH, ANY, PATH)(x) and (x[4] is not None or not x[5]))
    log, item = state(x[0]), record(x[1], 65535, ENTRY)
    need(item[4] == "start" and item[1] and item[8][:3] == [log["session"], log["segment"], "fork"])
    said, other = item[8][3], None if x[4] is None else state(x[4])
    need(said and (said[2], said[4]) == (item[1], item[2]))
    right(item[1] == log["fork"])
    stands(log, x[1], x[2])
    grows(said[2], said[3], log, x[3])
    if other:
        right((other["store"], other["segment"]) == (log["store"], said[1]))
        right(other.get("session", said[0]) == said[0])
        grows(said[2], said[3], other, x[5])
    says = "origin" if other else "shared prefix only"
    return {"against": log, "parent": other, "count": said[2], "says": says}
def range_(x: list[Any]) -> Value:
    need(row(ANY, RAW, PATH, either(NULL, RAW), UINT, UINT, UINT, RAW)(x))
    ref_list, number, start, stop, slices = x[3:]
    refs = record(x[1], 65535, ENTRY)[7]
    listed = ref_list is not None and record(ref_list, SIZE_MAX, some(REF, 1, 65536))
    found = inclusion(x[:3])
    right(not listed or ["", H("refs", ref_list), len(listed), 2, None] in refs)
    right(number < len(refs := listed or refs))
    _, digest, size, _, name = refs[number]
    right(name and len(slices) == -(-size // MIB) * 32 and H("slices", slices) == name)
    right(start < stop <= size and start % MIB == 0 and (stop % MIB == 0 or stop == size))
    return found | {"blob": digest, "start": start, "stop": stop, "slices": slices}
def seal(x: list[Any]) -> Value:
    need(row(ANY, RAW, PATH, RAW, UINT, RAW, PATH)(x))
    head, item = state(x[3]), record(x[1], 65535, ENTRY)
    body = record(x[5], MIB, lambda v: type(v) is dict and [*v] == ["heads", "count"], maps=True)
    need(HASH(body["heads"]) and UINT(body["count"]) and {x[0] for x in item[7]} <= {"heads"})
    log = inclusion(x[:3])["against"]
    right(log["segment"] == log["store"] == head["store"] and x[4] < body["count"])
    right(item[4:7] == ["sealed", H("", x[5]), len(x[5])])
    heads = Tree({"store": 0, "segment": 1})
    right(heads.path(x[4], body["count"], H("leaf", head["head"]), x[6]) == body["heads"])
    return {"against": log, "sealed": head}
def contradiction(x: list[Any]) -> Value:
    need(row(text(0, SIZE_MAX), RAW, RAW, HASH, PATH)(x) and public(x[0]))
    signed(x[1], None), signed(x[2], None)
    older, newer = signed(x[1], x[0]), signed(x[2], x[0])
    right(older["origin"] == newer["origin"] and x[3] != older["root"])
    grows(older["count"], x[3], newer | {"store": 0, "segment": 0}, x[4])
    return {"key": x[0], "counts": [older["count"], newer["count"]]}
KINDS = {"inclusion": inclusion, "consistency": consistency, "origin": origin, "range": range_,
         "seal": seal, "contradiction": contradiction}
def check(data: bytes) -> Value:  # what a proof file proves
    x = record(data, SIZE_MAX, lambda v: row(text(13, 13), UINT, text(0, SIZE_MAX))(v[:3]))
    need(x[0] == "castore proof")
    need(x[1] == 1 and x[2] in KINDS, "unsupported version")
    return {"proof": x[2]} | KINDS[x[2]](x[3:])
def in_range(found: Value, data: bytes) -> None:
    need(len(data) == found["stop"] - found["start"], "corrupt blob")
    digests = b"".join(H("", data[n : n + MIB]) for n in range(0, len(data), MIB))
    need(found["slices"][found["start"] // MIB * 32 :].startswith(digests), "corrupt blob")
def main(name: str, option: str = "", value: str = "") -> int:
    try:
        with Path(name).open("rb") as file: data = file.read(SIZE_MAX + 1)
        found = signed(data, value) if option == "--key" else check(data)
        if option == "--data": in_range(found, Path(value).read_bytes())
        found, code = {"ok": True} | found, 0
    except Refused as refused: found, code = {"ok": False, "verdict": str(refused)}, 1
    print(json.dumps(found, default=bytes.hex))
    return code
if __name__ == "__main__": sys.exit(main(*sys.argv[1:]))
