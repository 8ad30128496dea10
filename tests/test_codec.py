"""
The codec takes one encoding of each value and refuses every other.
"""

from __future__ import annotations

import json
import math
import struct
import tracemalloc

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pytest

from hypothesis import example, given
from hypothesis import strategies as st

from castore import codec, limits
from castore.errors import FormatError, LimitError


SIZE_MAX = limits.ENTRY_SIZE_MAX

integers = st.integers(codec.INT_MIN, codec.INT_MAX)
leaves = st.none() | st.booleans() | integers | st.binary() | st.text()
records = st.lists(
    leaves | st.lists(leaves | st.lists(leaves | st.lists(leaves))), max_size=10
)
objects = st.recursive(
    leaves | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
anything = st.recursive(
    leaves
    | st.floats()
    | st.integers()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from([b"x", bytearray(b"x"), {1}, 1j, cbor2.undefined, object]),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers() | st.binary(), inner)
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Whether two values are of the same types and bits, order included."""
    if isinstance(left, float) and isinstance(right, float):
        return bits(left) == bits(right)
    if isinstance(left, dict) and isinstance(right, dict):
        return same(list(left), list(right)) and same(
            [*left.values()], [*right.values()]
        )
    if isinstance(left, list) and isinstance(right, list):
        pairs = zip(left, right, strict=False)
        return len(left) == len(right) and all(same(a, b) for a, b in pairs)
    return type(left) is type(right) and bool(left == right)


def bits(value: float) -> bytes:
    """Return the 64 bits of *value*, all NaNs alike."""
    return struct.pack(">d", math.nan if math.isnan(value) else value)


def decode_record(data: bytes) -> list[Any]:
    """Decode a record of any legal size."""
    return codec.decode_record(data, size_max=SIZE_MAX)


PROFILES: list[tuple[Callable[[Any], bytes], Callable[[bytes], object]]] = [
    (codec.encode_record, decode_record),
    (codec.encode_object, codec.decode_object),
]


@given(records)
def test_record_round_trip(value: list[Any]) -> None:
    """A record comes back with its types, and its encoding is plain CBOR."""
    data = codec.encode_record(value)

    assert same(value, codec.decode_record(data, size_max=len(data)))
    assert same(value, codec.decode_record(memoryview(data), size_max=len(data)))
    assert cbor2.dumps(value) == data


@given(objects)
@example([math.nan, math.inf, -math.inf, -0.0, 5e-324, {"": {}}])
@example("x" * 65535 + "\U0001f600" * 65536)
@example(struct.unpack(">d", bytes.fromhex("fff8000000000001"))[0])
def test_object_round_trip(value: object) -> None:
    """An object comes back with its types, its order of keys and its floats."""
    data = codec.encode_object(value)

    assert same(value, codec.decode_object(data))
    assert same(value, codec.decode_object(memoryview(data)))


@given(anything)
def test_encode_raises_format_error_only(value: object) -> None:
    """What cannot be encoded is a FormatError; what can comes back."""
    for encode, decode in PROFILES:
        try:
            data = encode(value)
        except FormatError:
            continue
        assert encode(decode(data)) == data


@given(st.binary(max_size=60))
@example(b"")
@example(bytes.fromhex("d81c81d81d00"))
def test_any_bytes_have_one_meaning_or_none(data: bytes) -> None:
    """Bytes are refused with a FormatError or are what encoding gives again."""
    for encode, decode in PROFILES:
        try:
            value = decode(data)
        except FormatError:
            continue
        assert encode(value) == data


@given(records, st.data())
def test_a_changed_record_is_another_value(
    value: list[Any], data: st.DataObject
) -> None:
    """No two encodings decode to one value, whatever byte is changed."""
    encoded = bytearray(codec.encode_record(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode_record(bytes(encoded))
    except FormatError:
        return
    assert not same(value, other)


def test_tuples_are_arrays() -> None:
    """A tuple encodes like the list of its items."""
    assert codec.encode_record([1, [2, b"3"]]) == codec.encode_record((1, (2, b"3")))
    assert codec.encode_object({"a": [1]}) == codec.encode_object({"a": (1,)})


@pytest.mark.parametrize("count", [0, 1, 21, 22, 253, 254, 65_533, 65_534])
def test_items_that_are_encoded_already(count: int) -> None:
    """An array whose items were encoded before has the same bytes."""
    items = list(range(count))
    encoded = [cbor2.dumps(item) for item in items]

    assert codec.encode_record(items) == codec.encode_items(encoded)


@given(st.integers(0, codec.INT_MAX), st.text(), st.binary(max_size=255))
@example(2**8, "", bytes(23))
@example(2**16 - 1, "", bytes(24))
@example(2**16, "", bytes(255))
@example(2**32 - 1, "", b"")
@example(2**32, "", b"")
def test_items_encoded_one_by_one(count: int, text: str, data: bytes) -> None:
    """An item by itself has the bytes that it has in an array."""
    items = [codec.encode_count(count), codec.encode_text(text)]
    items += [codec.encode_bytes(data), codec.NULL]

    assert codec.encode_record([count, text, data, None])[1:] == b"".join(items)


def test_text_is_never_normalised() -> None:
    """Text that is not NFC is another value than its NFC form."""
    assert codec.encode_record(["e\u0301"]) != codec.encode_record(["\xe9"])
    assert decode_record(codec.encode_record(["e\u0301"])) == ["e\u0301"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([], "80"),
        ([0, 23, 24, 255, 256], "850017181818ff190100"),
        (
            [65535, 65536, 2**32 - 1, 2**32],
            "8419ffff1a000100001affffffff1b0000000100000000",
        ),
        ([2**64 - 1, -25], "821bffffffffffffffff3818"),
        ([-(2**63)], "813b7fffffffffffffff"),
        ([None, True, False], "83f6f5f4"),
        ([b"", b"ab", "", "a\xfc"], "8440426162606361c3bc"),
        ([[[[1]]]], "8181818101"),
    ],
)
def test_record_bytes(value: list[Any], expected: str) -> None:
    """A record is CBOR in its shortest form."""
    assert codec.encode_record(value).hex() == expected
    assert same(value, decode_record(bytes.fromhex(expected)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": 2}, "a2616201616102"),
        ({"a": 2, "b": 1}, "a2616102616201"),
        (1.0, "fb3ff0000000000000"),
        (-0.0, "fb8000000000000000"),
        (math.nan, "fb7ff8000000000000"),
        (math.inf, "fb7ff0000000000000"),
        (-math.inf, "fbfff0000000000000"),
        (None, "f6"),
        ("x", "6178"),
        ({}, "a0"),
    ],
)
def test_object_bytes(value: object, expected: str) -> None:
    """Keys keep their order, floats have 64 bits, there is one NaN."""
    assert codec.encode_object(value).hex() == expected
    assert same(value, codec.decode_object(bytes.fromhex(expected)))


NEVER = {
    "cut short": "81 8200 8141 8161 811b00",
    "bytes behind it": "8000 8080 810000",
    "integer not in shortest form": "811800 811817 811900ff 811a0000ffff 813800"
    " 811b00000000ffffffff",
    "size not in shortest form": "980100 81580161 81780161 81b801616100",
    "indefinite": "9f00ff 815f4161ff 817f6161ff 81bf616100ff 81ff",
    "reserved": "811c 81fc 811f",
    "beyond 64 bits": "81c249010000000000000000 81c349010000000000000000"
    " 813b8000000000000000 813bffffffffffffffff",
    "small bignum": "81c24100 81c24103",
    "undefined": "81f7",
    "simple value": "81e0 81f3 81f820 81f8ff 81f814",
    "tag": "81c074323031332d30332d32315432303a30343a30305a d9d9f780 81d87b00"
    " 81d8236128 81d9010280 d81c81d81d00 81c48200",
    "not UTF-8": "8162c328 8163eda080 8162c080",
    "narrow float": "81f93c00 81fa3f800000 81f97e00 81f97c00",
    "other NaN": "81fb7ff8000000000001 81fbfff8000000000000 81fb7ff0000000000001",
    "key twice": "81a2616100616101 81a261610078016101",
    "key that is no text": "81a10000 81a1416100 81a18000 81a1f600",
}


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bytes.fromhex(data), id=f"{what} {data}")
        for what, cases in NEVER.items()
        for data in cases.split()
    ],
)
def test_refused_by_both(data: bytes) -> None:
    """A second form, a type without a place or bytes too many are refused."""
    with pytest.raises(FormatError):
        decode_record(data)
    with pytest.raises(FormatError):
        codec.decode_object(data)


def test_only_objects() -> None:
    """A record is an array and holds neither floats nor maps."""
    for data in map(codec.encode_object, (1.0, math.nan, {}, [{}], 0, None)):
        with pytest.raises(FormatError):
            decode_record(data)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (None, "array"),
        ("text", "array"),
        ({}, "array"),
        ([1, 1.5], r"\[1\]: float"),
        ([[], [{}]], r"\[1\]\[0\]: dict"),
        ([2**64], r"\[0\]: an integer"),
        ([-(2**63) - 1], r"\[0\]: an integer"),
        (["a", ["\ud800"]], r"\[1\]\[0\]: text with a lone surrogate"),
        ([bytearray()], r"\[0\]: bytearray"),
        ([memoryview(b"")], r"\[0\]: memoryview"),
        ([[[[[]]]]], "too deep"),
    ],
)
def test_encode_record_names_the_path(value: Any, where: str) -> None:
    """A value that no record may hold is refused with its path."""
    with pytest.raises(FormatError, match=where):
        codec.encode_record(value)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": 0, "b": [0, 2**64]}, r"object\{1\}\[1\]: an integer beyond"),
        ({"a": {"b": "\udfff"}}, r"object\{0\}\{0\}: text with a lone"),
        ({"a": 0, "\ud800": 1}, r"object\{1\}: a key that is no text"),
        ([{1: 2}], r"object\[0\]\{0\}: a key that is no text"),
        ({"a": {1}}, r"object\{0\}: set"),
        (object(), "object: object"),
        ([True, cbor2.undefined], r"object\[1\]: "),
        ([math.nan, "\ud800"], r"object\[1\]: text"),
    ],
)
def test_encode_object_names_the_path(value: object, where: str) -> None:
    """A value that no object may hold is refused with its path."""
    with pytest.raises(FormatError, match=where):
        codec.encode_object(value)


def test_errors_show_no_contents() -> None:
    """No message and no chained error holds a key or a value."""
    inputs = [{"secret": {1}}, {"secret": "secret\ud800"}, {"secret\ud800": 0}]
    twice = b"\xa2" + 2 * b"\x66secret\x00"
    calls: list[tuple[Callable[[Any], object], object]]
    calls = [(codec.encode_object, value) for value in inputs]
    calls += [(codec.decode_object, twice), (decode_record, twice)]
    for call, value in calls:
        with pytest.raises(FormatError) as caught:
            call(value)
        assert "secret" not in str(caught.value)
        assert "secret" not in str(caught.value.__cause__)
        assert caught.value.__suppress_context__ or not caught.value.__context__


@pytest.mark.parametrize(
    ("data", "where"), [("82001801", "at offset 2"), ("80f6f6", "2 more behind it")]
)
def test_decode_says_where(data: str, where: str) -> None:
    """The first byte that differs is named, or how many follow the item."""
    with pytest.raises(FormatError, match=where):
        decode_record(bytes.fromhex(data))


AROUND = [(b"", b""), (b"\x00", b"\x80"), (b"\x41x", b"\x18\x80")]


@pytest.mark.parametrize(("before", "after"), AROUND)
@pytest.mark.parametrize("kind", [0x40, 0x60])
@pytest.mark.parametrize("size", [0, 23, 24, 31, 32, 33, 255, 256, 65_535, 65_536])
def test_strings_of_any_size(size: int, kind: int, before: bytes, after: bytes) -> None:
    """A string has one front, whatever its size and whatever stands around it."""
    content = (b"\x80" if kind == 0x40 else b"x") * size
    fronts = [bytes((kind | size,))] if size < 24 else []
    for step, most in enumerate((255, 65_535, (1 << 32) - 1)):
        if size <= most:
            fronts.append(bytes((kind | 24 + step,)) + size.to_bytes(1 << step))
    array = bytes((0x81 + bool(before) + bool(after),))
    right, *wrong = (b"".join((array, before, each, content, after)) for each in fronts)

    assert right == codec.encode_record(codec.decode_record(right, size_max=1 << 20))
    for data in wrong:
        with pytest.raises(FormatError):
            codec.decode_record(data, size_max=1 << 20)


def nested(depth: int) -> list[Any]:
    """Return *depth* arrays inside one another."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def test_depth_of_records() -> None:
    """A record nests as deep as allowed, in both directions, and no deeper."""
    deepest, deeper = nested(limits.RECORD_DEPTH_MAX), b"\x81" * 4 + b"\x80"

    assert decode_record(codec.encode_record(deepest)) == deepest
    with pytest.raises(FormatError):
        decode_record(deeper)
    with pytest.raises(FormatError):
        codec.encode_record([deepest])
    for deep in (b"\x82\x01" + deeper[1:], b"\x82" + deeper[1:] + b"\x00"):
        with pytest.raises(FormatError):
            decode_record(deep)
    data = codec.encode_record([deepest], depth_max=5)
    assert codec.decode_record(data, size_max=9, depth_max=5) == [deepest]
    with pytest.raises(FormatError):
        codec.decode_record(b"\x81\x80", size_max=9, depth_max=1)


def test_depth_of_objects() -> None:
    """Arrays and maps count alike, and a cycle is only a nesting too deep."""
    deepest = {"": nested(limits.OBJECT_DEPTH_MAX - 1)}
    cycle: list[Any] = []
    cycle += [cycle, cycle]

    assert codec.decode_object(codec.encode_object(deepest)) == deepest
    for value in ([deepest], {"": deepest}, cycle, nested(100_000)):
        with pytest.raises(FormatError, match="too deep"):
            codec.encode_object(value)
    with pytest.raises(FormatError):
        codec.decode_object(b"\x81" * 64 + b"\x80")


@pytest.mark.parametrize("head", [b"\x81", b"\xa1", b"\xa1\x61a", b"\xc1", b"\xd8\x1c"])
def test_depth_bombs(head: bytes) -> None:
    """A million levels are refused, not walked."""
    with pytest.raises(FormatError):
        codec.decode_object(head * 1_000_000)


@pytest.mark.parametrize("size", [1 << 40, (1 << 64) - 1])
@pytest.mark.parametrize("head", [b"\x5b", b"\x7b", b"\x9b", b"\xbb"])
def test_length_bombs(head: bytes, size: int) -> None:
    """A length that is only declared takes no memory."""
    tracemalloc.start()
    with pytest.raises(FormatError):
        codec.decode_object(head + size.to_bytes(8, "big"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < limits.MIB


def test_size_is_looked_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above its size a record or object is refused, undecoded."""
    monkeypatch.setattr(limits, "OBJECT_SIZE_MAX", 7)

    assert codec.decode_record(b"\x81\x45hello", size_max=7) == [b"hello"]
    assert codec.decode_object(b"\x81\x45hello") == [b"hello"]
    assert codec.encode_object([b"hello"]) == b"\x81\x45hello"
    with pytest.raises(FormatError, match="of 7 bytes, at most 6 are read"):
        codec.decode_record(b"\x81\x45hello", size_max=6)
    with pytest.raises(FormatError, match="of 8 bytes, at most 7 are read"):
        codec.decode_object(b"\xff" * 8)
    with pytest.raises(LimitError) as caught:
        codec.encode_object([b"hello!"])
    assert caught.value.limit == 7


def test_real_lines(data: Path) -> None:
    """Every line of real sessions is an object that comes back as it was."""
    count = 0
    for path in sorted(data.glob("runtime/*.jsonl"))[:5]:
        for line in path.read_bytes().splitlines():
            value = json.loads(line)
            assert same(value, codec.decode_object(codec.encode_object(value)))
            count += 1
    assert count


@pytest.mark.parametrize("bits", [0, 4, 5, 8, 16, 32, 63, 64])
def test_counts_are_encoded_as_in_records(bits: int) -> None:
    """A count alone has the bytes that it has in a record."""
    for value in ((1 << bits) - 1, min(1 << bits, codec.INT_MAX), 23, 24):
        assert codec.encode_record([value]) == b"\x81" + codec.encode_count(value)
