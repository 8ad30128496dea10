"""
Reader and checker of a castore store, written from the pages of this folder alone.

`python reference.py STORE` prints one JSON object; exit 0: no fault, 1: faults, 10: no
store. As a module: `check(path)`; `Store(path)` with `heads`, `entries()` and `blob()`.
Nothing is written. "Step n" is one of checking.md. No formatter: it has to stay short.
"""
# fmt: off
# ruff: noqa: E731, FBT, I001, N802, N818
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
from types import SimpleNamespace as Frame
from typing import Any

import cbor2
from blake3 import blake3
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB, TOP, JOURNAL, SIDE, PACK = 1 << 20, 1 << 63, 1, 2, 3
FRAME = struct.Struct(">4sBBHIIIQ")
HEADER = struct.Struct(">8s4B16s16sQ16sQ32s40xQ")
MARK = struct.Struct(">8s16sQQ16sQ32s")
MARKER = re.compile(  # castore.json; what is in brackets must be known, suite too
    rb'\{"castore": (\d+), "features": \{"all_must_know": \[([^]]*)\], "reader_may_ignore'
    rb'": \[[^]]*\], "writer_must_know": \[[^]]*\]\}, "store": "([0-9a-f]{32})", '
    rb'"suite": "([^"]*)"\}\n')
KNOWN = re.compile("castore.json(.new)?|lock|files|maintenance|quarantine|catalog-.*")
# A copy of a blob, of record kind 1, 2 or 3; `at`, `end`: its frame; payload there.
Blob = namedtuple("Blob", "digest size kind base file at end start length")
Entry = namedtuple("Entry", "segment index hash form where")  # form: the hashed form

class Refused(Exception):
    """conventions.md: what a page says a reader MUST refuse; verdict and detail."""

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
        pairs = zip(level[::2], level[1::2], strict=False)
        odd = level[len(level) & ~1 :]
        level = [mix("node", b"\1", a + b) for a, b in pairs] + odd
    return level[0]

# Tags are read as null: encoded again that is never the same.
TAGS = dict.fromkeys(range(1 << 16), lambda *_: None)

def record(data: bytes, depth: int = 4, limit: int = 4 * MIB) -> Any:
    """encoding.md: decode, encode again, compare; `fits` judges the types."""
    need(len(data) <= limit, "size of a record")
    try:
        value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=depth)
    except cbor2.CBORDecodeError as error:
        raise Refused("malformed record", "not CBOR") from error
    need(cbor2.dumps(value) == data, "not the one encoding of its value")
    return value

# Shapes: a range of integers, a size of bytes, a type, a text, an array, a map with
# these keys, a tuple of which one has to fit, a function.
FITS: dict[type, Callable[[Any, Any], Any]] = {
    range: lambda v, s: type(v) is int and v in s,
    int: lambda v, s: type(v) is bytes and len(v) == s,
    type: lambda v, s: type(v) is s,
    str: lambda v, s: v == s,
    list: lambda v, s: type(v) is list and len(v) == len(s) and all(map(fits, v, s)),
    dict: lambda v, s: (type(v) is dict and [*v] == [*s]
                        and all(map(fits, v.values(), s.values()))),
    tuple: lambda v, s: any(fits(v, x) for x in s),
    type(lambda: 0): lambda v, s: s(v)}

def fits(value: Any, shape: Any) -> bool:
    """Whether a value has a shape."""
    return bool(FITS[type(shape)](value, shape))

def text(low: int, high: int = 64) -> Callable[[Any], bool]:
    """Text of so many bytes."""
    return lambda v: type(v) is str and low <= len(v.encode()) <= high

def flat(*shape: Any) -> Callable[[Any], bool]:
    """An array that repeats a shape."""
    return lambda v: type(v) is list and fits(v, [*shape] * -(-len(v) // len(shape)))

ID, HASH, NULL, U, P = 16, 32, type(None), range(TOP), range(1, TOP)
ONE, SMALL = range(1, 2), range(8 * MIB + 1)
PLAIN: Any = (NULL, bool, bytes, str, range(-TOP, 2 * TOP), lambda v: flat(PLAIN)(v))
REF = [text(0), HASH, U, (range(1), range(2, 3)), (NULL, HASH)]
ORIGIN = [ID, ID, U, HASH, HASH, (NULL, range(2 * TOP))]
START = [ID, ID, ("new", "fork", "compaction", "import"), (NULL, ORIGIN),
         (NULL, [text(1), text(1, 1024)])]
STORED = [(NULL, int), text(1), (U, [HASH, U]), flat(REF)]
HEAD = [ONE, ID, ID, ID, U, range(1), P, P, HASH, HASH, P, U]
COMMIT = [ONE, P, HASH, U, flat(HASH), (NULL, [ID, text(1, 512), HASH, U, U]),
          flat(ID, U, HASH)]
RECORDS = {1: [], 2: [HASH, SMALL, HASH, range(1, 256)], 3: [HASH, P],
           4: [ID, U, HASH, P, range(2)], 5: [], 6: [HEAD], 7: [COMMIT], 8: []}
LISTED = flat([ID, range(2, 4), U, HASH])
BODIES = {  # storelog.md
    "start": {"created_by": str}, "packs": {"add": LISTED, "drop": flat(ID)},
    "tagged": {"name": text(1, 1024)}, "untagged": {"name": text(1, 1024)},
    "deleted": {"segment": ID, "session": ID, "head": bytes},
    "collected": {"run": U, "blobs": flat(HASH)}, "instance": {"instance": ID}}

def check_refs(refs: list[Any], low: int, high: int, flags: tuple[int, ...]) -> None:
    """entry.md: references of an entry or of a ref list."""
    need(fits(refs, flat(REF)) and low <= len(refs) <= high, "references")
    for role, _, size, flag, slices in refs:
        sliced = (slices is not None) == (size > 8 * MIB)
        listed = role == "" and 1 <= size <= 65536 and slices is None
        need(flag in flags and (listed if flag else sliced), "a reference")

def chunk_list(payload: bytes, size: int) -> tuple[list[bytes], bytes]:
    """blob.md: digests of the chunks, and slices."""
    value = record(payload)
    need(fits(value, [flat(HASH, range(1, 8 * MIB + 1)), bytes]), "chunk list")
    need(sum(value[0][1::2]) == size, "sizes of chunks")
    need(len(value[1]) == (-(-size // MIB) * 32 if size > 8 * MIB else 0), "slices")
    return value[0][::2], value[1]

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
        raise Refused("malformed record", "not a zstd frame") from error
    need(stream.eof and not stream.unused_data and len(out) == size, "zstd frame")
    return out

def rebuild(d: list[Any], payload: bytes, bodies: list[Blob]) -> Iterable[Entry]:
    """frame.md, entry.md: the hashed forms of an entries record."""
    items, clock, prev = record(payload), 0, d[4]
    need(type(items) is list and len(items) == d[5], "count of entries")
    for index, item in enumerate(items, d[3]):
        kind = item[1] if type(item) is list and len(item) > 1 else None
        need(fits(item, STORED + [START] * (kind == "start")), "a stored entry")
        (time, _, body, refs), starts = item[:4], item[4:]
        check_refs(refs, 0, 256, (0, 2))
        clock += time or 0
        if type(body) is int:
            need(body < len(bodies), "number of a body")
            body = [bodies[body].digest, bodies[body].size]
        for _, segment, cause, origin, _ in starts:
            fork = origin and origin[2] == index and origin[4] == prev
            good = fork if cause == "fork" and index else index == 0 and cause != "fork"
            need(good and segment == d[2], "start record against its place")
        form = [1, index, prev, None if time is None else clock, kind, *body, refs, *starts]
        data = cbor2.dumps(form)
        need(len(data) < 65536 and clock in U and index in U, "size, time or index")
        prev = H("entry", data)
        yield Entry(d[2], index, prev, form, f"segment:{d[2].hex()}[{index}]")

@lru_cache(8)
def unpack(f: File, at: int, end: int) -> tuple[list[list[Any]], bytes]:
    """frame.md: the table of a frame and its raw part."""
    data = f.data[at:end]
    _, codec, flags, count, t, r, c, _ = FRAME.unpack(data[:28])
    need(codec < 2 and not flags and (r if codec else r == c), "codec, flags or sizes")
    table = record(data[28 : 28 + t])
    need(type(table) is list and 0 < len(table) == count, "count of records")
    for d in table:
        need(fits(d[:2] if type(d) is list else d, [range(1, 256), U]), "descriptor")
        need(not 8 < d[0] < 64, "reserved kind", "unsupported version")
        old = d[0] not in (6, 7) or (len(d) > 2 and d[2] and d[2][0] == 1)
        need(old, "version of a head or commit", "unsupported version")
        shape = RECORDS.get(d[0], [PLAIN] * (len(d) - 2))
        need(fits(d[2:], shape) and (d[1] == 0 or d[0] not in (6, 7)), "descriptor")
    need(sum(d[1] for d in table) == r, "sizes of payloads")
    raw = data[28 + t : -32]
    return table, inflate(raw, r) if codec else raw

class File:
    """file.md: a file, its whole frames, the gaps before and between them."""
    def __init__(self, path: Path, store: bytes) -> None:
        self.id, self.where, self.data = bytes.fromhex(path.stem), "files/" + path.name, load(path)
