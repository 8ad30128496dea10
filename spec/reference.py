"""
Reader and checker of a castore store, written from the pages of this folder alone.

`python reference.py STORE` prints one JSON object; exit 0: no fault, 1: faults, 10: no
store. As a module: `check(path)`; `Store(path)` with `heads`, `entries()` and `blob()`.
Nothing is written. "Step n" is one of checking.md, which says what is left out here.
"""
# fmt: off
# ruff: noqa: D102, E401, E731, I001, N802, N818
from __future__ import annotations

import hashlib, json, mmap, re, stat, struct, sys
from collections import defaultdict, namedtuple
from collections.abc import Iterator
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path
from types import SimpleNamespace as Frame
from typing import Any
import cbor2, zstandard
from blake3 import blake3

MIB, TOP, JOURNAL, PACK = 1 << 20, 1 << 63, 1, 3
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
        pairs, odd = zip(level[::2], level[1::2], strict=False), level[len(level) & ~1 :]
        level = [mix("node", b"\1", a + b) for a, b in pairs] + odd
    return level[0]

TAGS = dict.fromkeys(range(1 << 16), lambda *_: None)  # never the same when encoded again

def record(data: bytes, depth: int = 4, limit: int = 4 * MIB) -> Any:
    """encoding.md: decode, encode again, compare; `fits` judges the types."""
    need(len(data) <= limit, "size of a record")
    try:
        value = cbor2.loads(data, semantic_decoders=TAGS, max_depth=depth)
    except cbor2.CBORDecodeError as error:
        raise Refused("malformed record", "not CBOR") from error
    need(cbor2.dumps(value) == data, "not the one encoding of its value")
    return value

SCALARS = {  # type, and the least and greatest number, or size in bytes
    "id": (bytes, 16, 16), "hash": (bytes, 32, 32), "bytes": (bytes, 0, TOP),
    "text": (str, 0, TOP), "empty": (str, 0, 0), "kind": (str, 1, 64), "role": (str, 0, 64),
    "name": (str, 1, 1024), "key": (str, 1, 512), "0": (int, 0, 0), "1": (int, 1, 1),
    "2": (int, 2, 2), "bit": (int, 0, 1), "file": (int, 2, 3), "byte": (int, 1, 255),
    "count": (int, 1, 65536), "size": (int, 0, 8 * MIB), "part": (int, 1, 8 * MIB),
    "large": (int, 8 * MIB + 1, TOP - 1), "u": (int, 0, TOP - 1), "p": (int, 1, TOP - 1),
    "turn": (int, 0, 2 * TOP - 1), "int": (int, -TOP, TOP - 1), "null": (type(None), 0, 0)}
ROWS = {  # arrays; | or; ? or null; * any number of these; + a flat array that repeats it
    "inner": "role hash size 0 null|role hash large 0 hash",
    "ref": "role hash size 0 null|role hash large 0 hash|empty hash count 2 null",
    "origin": "id id u hash hash turn?", "session": "kind name",
    "start": "id id kind origin? session?", "body": "hash u", "chunk": "hash part",
    "stored": "int? kind body ref*|int? kind u ref*", "keyed": "id key hash u u",
    "started": "int? kind body ref* start|int? kind u ref* start",
    "head": "1 id id id u 0 p p hash hash p u", "side": "id u hash", "chunks": "chunk+ bytes",
    "commit": "1 p hash u hash* keyed? side+", "listed": "id file u hash",
    "b1": "byte u", "b2": "byte u hash part hash byte", "b3": "byte u hash p",
    "b4": "byte u id u hash p bit", "b5": "byte u", "b6": "byte 0 head",
    "b7": "byte 0 commit", "b8": "byte u"}
BODIES = {  # storelog.md
    "start": {"created_by": "text"}, "packs": {"add": "listed*", "drop": "id*"},
    "tagged": {"name": "name"}, "untagged": {"name": "name"},
    "deleted": {"segment": "id", "session": "id", "head": "bytes"},
    "collected": {"run": "u", "blobs": "hash*"}, "instance": {"instance": "id"}}

def fits(v: Any, shape: str) -> bool:
    """Whether a value has a shape of the tables above."""
    name, rows = shape.rstrip("?*+"), ROWS.get(shape.rstrip("?*+"), "").split("|")
    if shape[-1] == "*" or (shape[-1] == "+" and type(v) is not list):
        return type(v) is list and all(fits(x, name) for x in v)
    if shape[-1] == "+":
        rows = [" ".join(rows * (len(v) // len(rows[0].split())))]
    elif name in SCALARS:
        kind, low, high = SCALARS[name]
        size = v if kind is int else len(v.encode() if kind is str else v)
    return v is None
