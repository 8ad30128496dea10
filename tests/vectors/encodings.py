"""
Vectors of spec/suite.md and spec/encoding.md.
"""

from __future__ import annotations

import struct

from typing import Any

from vectors.form import MALFORMED, Case, hexed

from castore.codec import encode_object, encode_record
from castore.digest import (
    CONTEXT_NAMES,
    blob_digest,
    format_digest,
    in_context,
    sha256,
)
from castore.limits import OBJECT_SIZE_MAX


def suite_cases() -> list[Case]:
    """Return each function on a few inputs, and spellings of a blob's name."""
    cases = []
    inputs = {"empty": b"", "abc": b"abc", "zero32": bytes(32)}
    inputs["251_values"] = bytes(range(251))
    for name, data in inputs.items():
        functions = {"B": blob_digest, "S": sha256}
        functions |= {f"H_{context}": in_context[context] for context in CONTEXT_NAMES}
        for function, call in functions.items():
            facts = {"function": function, "data": data}
            desc = f"{function} of {len(data)} bytes"
            cases.append(Case(f"{function}_{name}", desc, facts, value=call(data)))
    return cases + _name_cases()


def _name_cases() -> list[Case]:
    digest = blob_digest(b"abc")
    good = format_digest(digest)
    bad = {
        "upper_case": ("upper-case digits", good[:7] + good[7:].upper()),
        "no_prefix": ("without blake3:", good[7:]),
        "other_prefix": ("another function", "sha256:" + good[7:]),
        "upper_prefix": ("an upper-case prefix", "BLAKE3:" + good[7:]),
        "short": ("63 digits", good[:-1]),
        "long": ("65 digits", good + "0"),
        "newline": ("a line feed behind it", good + "\n"),
        "space": ("a space in it", good[:7] + " " + good[8:]),
        "other_digits": ("digits that are not ASCII", good[:-1] + "\u0663"),
    }
    cases = [Case("name", "a blob's name", {"blob_name": good}, value=digest)]
    for name, (desc, text) in bad.items():
        facts = {"blob_name": text}
        cases.append(Case(f"name_{name}", desc, facts, MALFORMED))
    return cases


def shown(value: Any) -> Any:
    """Return *value* with what JSON cannot tell apart as ``{type: ...}``."""
    if type(value) is bytes:
        return {"bytes": hexed(value)}
    if type(value) is float:
        return {"float": struct.pack(">d", value).hex()}
    if type(value) is dict:
        return {"map": [[key, shown(item)] for key, item in value.items()]}
    if type(value) is list:
        return [shown(item) for item in value]
    return value


# What is no encoding of any value, or a second one, in both profiles. Each value
# stands in an array of one, since a record is an array.
_BAD_ITEMS = {
    "indefinite_array": ("an array of indefinite length", "9fff"),
    "indefinite_bytes": ("a byte string of indefinite length", "5f4101ff"),
    "indefinite_text": ("a text string of indefinite length", "7f6161ff"),
    "break": ("a break where a value should be", "ff"),
    "tag_date": ("tag 0", "c06161"),
    "tag_bignum": ("2^64 as tag 2", "c249010000000000000000"),
    "tag_shared": ("tag 28, which builds cycles elsewhere", "d81c80"),
    "undefined": ("undefined", "f7"),
    "simple_0": ("simple value 0", "e0"),
    "simple_19": ("simple value 19", "f3"),
    "simple_255": ("simple value 255", "f8ff"),
    "simple_false_long": ("false in two bytes", "f814"),
    "reserved_info": ("additional information 28", "1c"),
    "integer_1_byte": ("23 with a byte of its own", "1817"),
    "integer_2_bytes": ("255 in two bytes", "1900ff"),
    "integer_4_bytes": ("65,535 in four bytes", "1a0000ffff"),
    "integer_8_bytes": ("2^32 - 1 in eight bytes", "1b00000000ffffffff"),
    "negative_1_byte": ("-24 with a byte of its own", "3817"),
    "negative_too_low": ("-2^63 - 1", "3b8000000000000000"),
    "bytes_long_length": (
        "a byte string with its length in a byte of its own",
        "580101",
    ),
    "text_long_length": ("text with its length in a byte of its own", "780161"),
    "array_long_length": ("an array with its count in a byte of its own", "9800"),
    "text_not_utf8": ("text that is not UTF-8", "61ff"),
    "text_surrogate": ("text with a lone surrogate", "63eda080"),
    "text_overlong": ("text with / in two bytes", "62c0af"),
}


def _bad_cases() -> list[Case]:
    cases = []
    for name, (desc, item) in _BAD_ITEMS.items():
        cases.append(Case(name, desc, {"data": bytes.fromhex("81" + item)}, MALFORMED))
    whole = {
        "empty": ("no bytes", b""),
        "trailing_byte": ("a byte behind the value", b"\x80\x00"),
        "trailing_value": ("a second value", b"\x80\x80"),
        "cut_in_array": ("an array of two that holds one", b"\x82\x01"),
        "cut_in_bytes": ("a byte string that ends early", b"\x81\x43\x01\x02"),
        "cut_in_integer": ("an integer that ends early", b"\x81\x19\x01"),
        "huge_array": ("an array of 2^64 - 1 that ends at once", b"\x9b" + b"\xff" * 8),
        "huge_bytes": ("2^63 bytes that end at once", b"\x81\x5b\x80" + bytes(7)),
    }
    for name, (desc, data) in whole.items():
        cases.append(Case(name, desc, {"data": data}, MALFORMED))
    return cases


_INTEGERS = [0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32, 2**64 - 1]
_NEGATIVES = [-1, -24, -25, -256, -257, -65_536, -65_537, -(2**32), -(2**63)]


def record_cases() -> list[Case]:
    """Return the record profile."""
    good: dict[str, tuple[str, list[Any]]] = {
        "no_items": ("an empty array", []),
        "example": ("that of the page", [1, b"\1\2\3", "abc"]),
        "integers": ("integers around every width", _INTEGERS),
        "negatives": ("negative integers around every width", _NEGATIVES),
        "simple": ("null, true and false", [None, True, False]),
        "strings": ("empty strings, and one of 24 bytes", [b"", "", b"x" * 24]),
        "not_normalised": ("one letter in two forms stays two", ["\u00e9", "e\u0301"]),
        "zero_in_text": ("a zero in text", ["\0"]),
        "beyond_bmp": ("a character of four bytes", ["\U0001f600"]),
        "depth_4": ("four arrays deep", [[[[1]]]]),
        "count_24": ("an array of 24", [0] * 24),
    }
    cases = [
        Case(name, desc, {"data": encode_record(value)}, value=shown(value))
        for name, (desc, value) in good.items()
    ]
    bad = {
        "depth_5": ("five arrays deep", "8181818181 01"),
        "float": ("a float", "81fb3ff8000000000000"),
        "map": ("an empty map", "81a0"),
        "no_array": ("an integer, no array", "01"),
        "a_map": ("a map, no array", "a0"),
        "null": ("null, no array", "f6"),
    }
    for name, (desc, data) in bad.items():
        cases.append(Case(name, desc, {"data": bytes.fromhex(data)}, MALFORMED))
    return cases + _bad_cases()


def object_cases() -> list[Case]:
    """Return the object profile."""
    cases = [
        Case(name, desc, {"data": encode_object(value)}, value=shown(value))
        for name, (desc, value) in _objects().items()
    ]
    key = b"\xa1\x61\x61"  # a map of one pair, its key
    bad = {
        "key_twice": ("a key twice", bytes.fromhex("a2616101616102")),
        "key_twice_same": ("a pair twice", bytes.fromhex("a2616101616101")),
        "key_integer": ("a key that is an integer", bytes.fromhex("a10102")),
        "key_bytes": ("a key that is a byte string", bytes.fromhex("a1416102")),
        "key_null": ("a key that is null", bytes.fromhex("a1f602")),
        "key_not_utf8": ("a key that is not UTF-8", bytes.fromhex("a161ff02")),
        "key_long_length": (
            "a key with its length in a byte of its own",
            bytes.fromhex("a178016102"),
        ),
        "map_long_length": ("a map with its count in a byte", b"\xb8\0"),
        "map_indefinite": ("a map of indefinite length", b"\xbf\xff"),
        "map_cut": ("a map without its value", key),
        "float_16": ("1.5 in 16 bits", bytes.fromhex("f93e00")),
        "float_32": ("1.5 in 32 bits", bytes.fromhex("fa3fc00000")),
        "nan_16": ("the NaN in 16 bits", bytes.fromhex("f97e00")),
        "nan_payload": (
            "a NaN with another payload",
            b"\xfb\x7f\xf8" + bytes(5) + b"\1",
        ),
        "nan_signalling": ("a signalling NaN", b"\xfb\x7f\xf0" + bytes(5) + b"\1"),
        "nan_negative": ("a NaN with a sign", b"\xfb\xff\xf8" + bytes(6)),
        "infinity_16": ("infinity in 16 bits", bytes.fromhex("f97c00")),
        "depth_65_arrays": ("65 arrays deep", b"\x81" * 65 + b"\1"),
        "depth_65_maps": ("65 maps deep", key * 65 + b"\1"),
        "too_large": (
            "a byte string that ends one byte beyond 64 MiB",
            b"\x5a" + (OBJECT_SIZE_MAX - 4).to_bytes(4) + bytes(OBJECT_SIZE_MAX - 4),
        ),
    }
    for name, (desc, data) in bad.items():
        cases.append(Case(name, desc, {"data": data}, MALFORMED))
    return cases + _bad_cases()


def _objects() -> dict[str, tuple[str, Any]]:
    nan = struct.unpack(">d", bytes.fromhex("7ff8000000000000"))[0]
    deep: Any = 1
    for _ in range(32):
        deep = [{"a": deep}]
    return {
        "integer": ("an integer", 7),
        "null": ("null", None),
        "text": ("text", "text"),
        "no_pairs": ("an empty map", {}),
        "order": ("keys in the order given", {"b": 1, "a": [2, {"c": None}]}),
        "other_order": (
            "the same pairs, another value",
            {"a": [2, {"c": None}], "b": 1},
        ),
        "empty_key": ("an empty key", {"": b""}),
        "float": ("1.5 in 64 bits", 1.5),
        "float_whole": ("1.0 is not the integer 1", [1.0, 1]),
        "zeros": ("0.0 and -0.0", [0.0, -0.0]),
        "infinities": ("both infinities", [float("inf"), float("-inf")]),
        "nan": ("the one NaN", [nan]),
        "smallest": ("the smallest float above 0", 5e-324),
        "integers": ("integers around every width", _INTEGERS + _NEGATIVES),
        "depth_64": ("64 arrays and maps deep", deep),
    }
