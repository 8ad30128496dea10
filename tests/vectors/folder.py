"""
Vectors of spec/folder.md: ``castore.json`` and the lock file.
"""

from __future__ import annotations

import json

from typing import Any

import attrs

from vectors.form import (
    FILE,
    MALFORMED,
    NOT_COVERED,
    STORE,
    TIME_MS,
    UNSUPPORTED,
    Case,
    hexed,
)

from castore.digest import in_context
from castore.formats.mark import LockFile, encode_lock
from castore.formats.marker import SIZE_MAX, encode_marker


BOOT = bytes.fromhex("2f1c6a3e7b9d4e5f80a1b2c3d4e5f607")
LOCK = LockFile(
    FILE, 65_024, 131_075, BOOT, 4096, bytes([0x5D]) * 32, 7, 1, 2, 4711, TIME_MS,
    "host.example castore",
)  # fmt: skip
CLASSES = ("all_must_know", "reader_may_ignore", "writer_must_know")


def castore_json_cases() -> list[Case]:
    """Return markers, read by readers and by writers."""
    cases = [
        Case(
            f"marker_{who}",
            f"as written, read by a {who}",
            _facts(_marker(), who),
            value=STORE,
        )
        for who in ("reader", "writer")
    ]
    ignorable = _marker(reader_may_ignore=["a", "b-2.c"])
    for_writers = _marker(writer_must_know=["dense"])
    cases += [
        Case(
            "may_ignore",
            "features that any may ignore",
            _facts(ignorable, "writer"),
            value=STORE,
        ),
        Case(
            "writer_feature_read",
            "a writers' feature, read by a reader",
            _facts(for_writers),
            value=STORE,
        ),
        Case(
            "writer_feature",
            "a writers' feature, read by a writer",
            _facts(for_writers, "writer"),
            UNSUPPORTED,
        ),
        Case(
            "must_know",
            "a feature that all must know",
            _facts(_marker(all_must_know=["dense"])),
            UNSUPPORTED,
        ),
        Case("version_2", "format version 2", _facts(_form(castore=2)), UNSUPPORTED),
        Case("version_0", "format version 0", _facts(_form(castore=0)), UNSUPPORTED),
        Case("suite", "another suite", _facts(_form(suite="sha-256")), UNSUPPORTED),
    ]
    for name, (desc, text) in (_bad_forms() | _bad_values()).items():
        cases.append(Case(name, desc, _facts(text), MALFORMED))
    for name, (desc, data) in _bad_bytes().items():
        given = {"data": data, "writing": False}
        cases.append(Case(name, desc, given, MALFORMED))
    return cases


def _marker(**features: list[Any]) -> str:
    return _form(features={name: features.get(name, []) for name in CLASSES})


def _form(**changes: object) -> str:
    known = {"castore": 1, "features": {name: [] for name in CLASSES}}
    facts = known | {"store": STORE.hex(), "suite": "blake3-256"} | changes
    return json.dumps(facts, sort_keys=True) + "\n"


def _facts(text: str, who: str = "reader") -> dict[str, Any]:
    return {"text": text, "writing": who == "writer"}


def _bad_forms() -> dict[str, tuple[str, str]]:
    good = encode_marker(STORE).decode()
    return {
        "empty": ("no bytes", ""),
        "no_newline": ("no line feed at the end", good[:-1]),
        "two_newlines": ("two line feeds at the end", good + "\n"),
        "carriage_return": ("a carriage return", good[:-1] + "\r\n"),
        "space_less": ("no space behind a colon", good.replace(": 1", ":1")),
        "space_more": ("two spaces behind a colon", good.replace(": 1", ":  1")),
        "order": ("keys in another order", _reordered(good)),
        "key_twice": ("a key twice", good.replace("{", '{"castore": 1, ', 1)),
        "escaped": ("a letter escaped", good.replace("blake3", "bl\\u0061ke3")),
        "cut": ("a brace too few", good[:-2] + "\n"),
        "array": ("an array", "[]\n"),
        "number": ("a number", "1\n"),
        "null": ("null", "null\n"),
    }


def _reordered(good: str) -> str:
    facts = json.loads(good)
    return json.dumps(dict(reversed(facts.items()))) + "\n"


def _bad_values() -> dict[str, tuple[str, str]]:
    good = STORE.hex()
    without = json.loads(_form())
    del without["suite"]
    features = json.loads(_form())["features"]
    return {
        "key_less": ("without a suite", json.dumps(without, sort_keys=True) + "\n"),
        "key_more": ("a key too many", _form(zone="eu")),
        "version_true": ("true as version", _form(castore=True)),
        "version_text": ("text as version", _form(castore="1")),
        "version_float": ("1.0 as version", _form(castore=1.0)),
        "suite_number": ("a number as suite", _form(suite=1)),
        "store_short": ("31 digits", _form(store=good[:-1])),
        "store_long": ("34 digits", _form(store=good + "00")),
        "store_upper": ("upper-case digits", _form(store=good.upper())),
        "store_letters": ("digits that are none", _form(store="g" * 32)),
        "store_number": ("a number as store id", _form(store=1)),
        "features_list": ("features as a list", _form(features=[])),
        "features_less": ("a class too few", _form(features=_less(features))),
        "features_more": ("a class too many", _form(features=features | {"z": []})),
        "features_text": ("text as list", _form(features=features | {CLASSES[1]: "a"})),
        "features_order": ("names not in order", _marker(reader_may_ignore=["b", "a"])),
        "features_twice": ("a name twice", _marker(reader_may_ignore=["a", "a"])),
        "feature_empty": ("an empty name", _marker(reader_may_ignore=[""])),
        "feature_space": ("a space in a name", _marker(reader_may_ignore=["a b"])),
        "feature_wide": (
            "a letter beyond ASCII",
            _marker(reader_may_ignore=["\u00e9"]),
        ),
        "feature_number": ("a number as name", _marker(reader_may_ignore=[1])),
    }


def _less(features: dict[str, Any]) -> dict[str, Any]:
    return {name: features[name] for name in CLASSES[:2]}


def _bad_bytes() -> dict[str, tuple[str, Any]]:
    good = encode_marker(STORE)
    deep = 20_000
    return {
        "nested": ("arrays 20,000 deep", [[deep, "5b"], [deep, "5d"], "0a"]),
        "features_nested": (
            "features 20,000 arrays deep",
            [
                b'{"castore": 1, "features": '.hex(),
                [deep, "5b"],
                [deep, "5d"],
                f', "store": "{STORE.hex()}", "suite": "blake3-256"}}\n'.encode().hex(),
            ],
        ),
        "byte_order_mark": ("a byte order mark", b"\xef\xbb\xbf" + good),
        "utf_16": ("UTF-16", good.decode().encode("utf-16-be")),
        "not_utf8": ("bytes that are not UTF-8", good.replace(b"blake3", b"bl\xffke3")),
        "too_large": (
            "65,537 bytes, otherwise as it must be",
            hexed(_padded(SIZE_MAX + 1)),
        ),
    }


def _padded(size: int) -> bytes:
    """Return a marker of *size* bytes, with one long feature that may be ignored."""
    excess = size - len(_marker(reader_may_ignore=["z"]))
    return _marker(reader_may_ignore=["z" * (excess + 1)]).encode()


# --- lock --------------------------------------------------------------------

_OFFSETS = {
    "magic": 0,
    "journal": 8,
    "device": 24,
    "inode": 32,
    "boot": 40,
    "end": 56,
    "frame": 64,
    "seq": 96,
    "catalog_generation": 104,
    "gc_generation": 112,
    "pid": 120,
    "since": 124,
    "holder": 132,
    "padding": 239,
    "checksum": 255,
}


def lock_cases() -> list[Case]:
    """Return lock files that say something, and some that do not."""
    most = 2**64 - 1
    largest = LockFile(
        FILE, most, most, BOOT, most, LOCK.frame, most, most, most, 2**32 - 1, most, "h"
    )
    nobody = LockFile(bytes(16), 0, 0, bytes(16), 0, bytes(32), 0)
    wide = attrs.evolve(LOCK, holder="\u00e9" * 54)
    good = {
        "lock": ("a mark and its holder", LOCK),
        "nobody": ("zeros", nobody),
        "largest": ("the most of every number", largest),
        "holder_108": ("108 bytes of holder", wide),
    }
    cases = [
        Case(name, desc, {"data": encode_lock(lock)}, value=lock)
        for name, (desc, lock) in good.items()
    ]
    whole = encode_lock(LOCK)
    bad = {
        "empty": ("no bytes", b""),
        "short": ("255 bytes", whole[:-1]),
        "long": ("257 bytes", whole + b"\0"),
        "magic": ("another magic", _forged(b"cslock02")),
    }
    for name, at in _OFFSETS.items():
        bad[f"flip_{name}"] = (f"a flipped bit in byte {at}", _flipped(at))
    for name, (desc, data) in bad.items():
        cases.append(Case(name, desc, {"data": data}, NOT_COVERED))
    return cases


def _flipped(at: int) -> bytes:
    data = bytearray(encode_lock(LOCK))
    data[at] ^= 1
    return bytes(data)


def _forged(magic: bytes) -> bytes:
    body = magic + encode_lock(LOCK)[8:240]
    return body + in_context["mark"](body)[:16]
