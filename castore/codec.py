"""
Strict CBOR: the only caller of cbor2. One value, one encoding.

Two profiles. A *record* is an array of integers of 64 bits, byte and text
strings, null, true, false and arrays of these: everything that is hashed under
a context. An *object* is any value of the same and of floats and maps with text
keys: what `put_object` stores. The order of a map's keys is part of the value.
Text is stored as it came, never normalised.

By default cbor2 takes longer forms than needed, indefinite lengths, keys given
twice, and what follows the item; it compiles patterns and builds cycles where a
tag says so. A content address with two encodings is no address. So a decoder
here switches all of that off, looks at every type, and encodes an object again to
compare; of a record it looks at the fronts of all items in the bytes themselves.

No error names a key or shows a value. A path counts positions instead: ``[3]``
is the fourth item of an array, ``{3}`` the fourth pair of a map.

Spec: spec/encoding.md.
"""

from __future__ import annotations

import collections
import functools
import io
import itertools
import math
import struct

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import cbor2

from castore import limits
from castore.errors import FormatError, LimitError
from castore.shortest import look_at


INT_MIN = -(1 << 63)
INT_MAX = (1 << 64) - 1
_LEAVES = frozenset({bytes, str, bool, type(None)})
_ARRAYS = frozenset({list, tuple})
_RECORD_KINDS = _LEAVES | {int}
_TEXT = frozenset({str})
_NAN = bytes.fromhex("fb7ff8000000000000")
_SHORT_COUNT_MAX = 23  # items of an array whose front is one byte
_COUNTS = [cbor2.dumps(value) for value in range(256)]
_BYTES_FRONTS = [bytes((0x40 | n,)) for n in range(24)]
_BYTES_FRONTS += [bytes((0x58, n)) for n in range(24, 256)]
NULL = b"\xf6"  # null as it stands in a record


def encode_record(
    value: list[Any] | tuple[Any, ...], *, depth_max: int = limits.RECORD_DEPTH_MAX
) -> bytes:
    """
    Encode an array as a record. A tuple becomes an array.

    Raises:
        FormatError: *value* is no array, holds what a record cannot, or nests
            arrays deeper than *depth_max*. Names the path.
    """
    if not _is_record(value, depth_max):
        raise _fault(value, depth_max, name="record")
    try:
        return cbor2.dumps(value)
    except UnicodeEncodeError:
        raise _fault(value, depth_max, name="record") from None


def encode_known(value: list[Any]) -> bytes:
    """
    Encode an array whose parts are known to be a record's: decoded or encoded as
    one before, or made here. Nothing is looked at.
    """
    return cbor2.dumps(value)


def encode_items(encoded: Sequence[bytes]) -> bytes:
    """Encode an array of items that are *encoded* already."""
    return b"".join((_array_front(len(encoded)), *encoded))


def encode_count(value: int) -> bytes:
    """Encode an integer of ``[0, 2^64)`` as it stands in a record."""
    if value < 256:
        return _COUNTS[value]
    if value < 1 << 16:
        return b"\x19" + value.to_bytes(2)
    if value < 1 << 32:
        return b"\x1a" + value.to_bytes(4)
    return b"\x1b" + value.to_bytes(8)


def encode_bytes(value: bytes) -> bytes:
    """Encode a byte string of less than 256 bytes as it stands in a record."""
    return _BYTES_FRONTS[len(value)] + value


@functools.lru_cache(maxsize=1024)
def encode_text(value: str) -> bytes:
    """
    Encode a text as it stands in a record; for those that come again.

    Raises:
        FormatError: It has a lone surrogate.
    """
    try:
        return cbor2.dumps(value)
    except UnicodeEncodeError:
        raise FormatError("text with a lone surrogate") from None


def _array_front(count: int) -> bytes:
    """Return what stands before the items of an array of *count*, below 2^32."""
    if count <= _SHORT_COUNT_MAX:
        return bytes((0x80 | count,))
    size = 1 if count < 1 << 8 else 2 if count < 1 << 16 else 4
    return bytes((0x97 + size.bit_length(),)) + count.to_bytes(size)


def decode_record(
    data: bytes | memoryview,
    *,
    size_max: int,
    depth_max: int = limits.RECORD_DEPTH_MAX,
) -> list[Any]:
    """
    Decode a record; arrays come as lists.

    Args:
        data: The record and nothing behind it.

        size_max: Most bytes to look at. A value can take some 70 times the
            memory of its bytes (empty arrays do), never more.

        depth_max: Most arrays inside one another, the record itself counted.

    Raises:
        FormatError: *data* is anything but what `encode_record` returns.
    """
    value, size = _load(data, size_max, depth_max, name="record")
    data = bytes(data)
    is_good, has_empty = look_at(data)
    # An empty array is the one level more that cbor2 lets pass.
    is_deep = has_empty and _is_deeper(value, depth_max)
    if not is_good or is_deep or size < len(data) or type(value) is not list:
        if not _is_record(value, depth_max):
            raise _fault(value, depth_max, name="record")
        _refuse_second_encoding(cbor2.dumps(value), data, name="record")
    record: list[Any] = value
    return record


def _is_deeper(value: object, depth_max: int) -> bool:
    """Whether lists stand more than *depth_max* deep in one another."""
    level = [value] if type(value) is list else []
    while level and depth_max:
        depth_max -= 1
        items = list(itertools.chain.from_iterable(level))
        kinds = list(map(type, items))
        count = kinds.count(list)
        if count < len(items):  # most have few arrays in them, or nothing else
            at, level = -1, []
            for _ in range(count):
                at = kinds.index(list, at + 1)
                level.append(items[at])
        else:
            level = items
    return bool(level)


def encode_object(value: object) -> bytes:
    """
    Encode any value of the object profile. A tuple becomes an array.

    Floats take 64 bits; every NaN becomes the one NaN, ``-0.0`` stays. Keys of
    a map keep their order, so that equal dicts may have different encodings.

    Raises:
        FormatError: *value* holds what an object cannot (a type, an integer
            beyond 64 bits, text that is no UTF-8, a key that is no text), or
            nests deeper than `limits.OBJECT_DEPTH_MAX`. Names the path.

        LimitError: The encoding has more than `limits.OBJECT_SIZE_MAX` bytes.
    """
    encoded = _dump_object(value)
    if len(encoded) > limits.OBJECT_SIZE_MAX:
        raise LimitError(
            f"an object of {len(encoded)} bytes, more than an object may have",
            limit=limits.OBJECT_SIZE_MAX,
        )
    return encoded


def decode_object(data: bytes | memoryview) -> Any:
    """
    Decode an object; arrays come as lists, maps as dicts in the given order.

    Raises:
        FormatError: *data* is anything but what `encode_object` returns.
    """
    depth_max = limits.OBJECT_DEPTH_MAX
    value, _ = _load(data, limits.OBJECT_SIZE_MAX, depth_max, name="object")
    encoded = _dump_object(value)
    if encoded != data:
        _refuse_second_encoding(encoded, data, name="object")
    return value


class _NoTags(dict[int, Any]):
    """Decoders of tags. Looking for one is the error: no tag has a place."""

    def __missing__(self, tag: int) -> NoReturn:
        raise FormatError(f"tag {tag}")


_NO_TAGS = _NoTags()


def _load(
    data: bytes | memoryview, size_max: int, depth_max: int, *, name: str
) -> tuple[Any, int]:
    """Return the first item of *data* and its size."""
    # What is raised here holds none of cbor2's words, which quote the keys.
    if len(data) > size_max:
        raise FormatError(f"{name} of {len(data)} bytes, at most {size_max} are read")
    stream = io.BytesIO(data)
    try:
        value = cbor2.load(
            stream,
            allow_duplicate_keys=False,
            allow_indefinite=False,
            max_depth=depth_max,
            semantic_decoders=_NO_TAGS,
        )
        return value, stream.tell()  # what it read too much, it gave back
    except cbor2.CBORDecodeEOF:
        raise FormatError(f"{name} of {len(data)} bytes ends too early") from None
    except cbor2.CBORDecodeError:
        raise FormatError(
            f"{name} of {len(data)} bytes: malformed, or with a tag, an indefinite"
            f" length, a key given twice or more than {depth_max} levels"
        ) from None


def _is_record(value: object, depth: int) -> bool:
    """
    Whether *value* is an array of the record profile, of *depth* levels at most.

    Goes level by level, not array by array: a table or a run of entries has
    thousands of small ones.
    """
    if type(value) not in _ARRAYS:
        return False
    arrays: list[Any] = [value]
    by_kind: dict[type, list[Any]] = collections.defaultdict(list)
    while arrays:
        if not depth:
            return False
        depth -= 1
        for array in arrays:
            for item in array:
                by_kind[type(item)].append(item)
        arrays = by_kind.pop(list, [])
        if tuple in by_kind:
            arrays += by_kind.pop(tuple)
    numbers = by_kind.get(int, ())
    is_small = not numbers or (min(numbers) >= INT_MIN and max(numbers) <= INT_MAX)
    return is_small and by_kind.keys() <= _RECORD_KINDS


def _is_object(items: Iterable[Any], depth: int, odd: list[float]) -> bool:
    """
    Whether all of *items* are of the object profile.

    Args:
        items: Values; for each container the walk goes one level down.

        depth: Levels left.

        odd: Takes the floats that are not finite: cbor2 gives them 16 bits.
    """
    for item in items:
        kind = type(item)
        if kind in _LEAVES:
            continue
        if kind is int:
            if not INT_MIN <= item <= INT_MAX:
                return False
        elif kind in _ARRAYS:
            if not depth or not _is_object(item, depth - 1, odd):
                return False
        elif kind is float:
            if not math.isfinite(item):
                odd.append(item)
        elif kind is dict:
            if not depth or not _TEXT.issuperset(map(type, item)):
                return False
            if not _is_object(item.values(), depth - 1, odd):
                return False
        else:
            return False
    return True


def _dump_object(value: object) -> bytes:
    odd: list[float] = []
    if not _is_object((value,), limits.OBJECT_DEPTH_MAX, odd):
        raise _fault(value, limits.OBJECT_DEPTH_MAX, name="object")
    try:
        # With encoders of ours cbor2 takes twice the time, so only if needed.
        return cbor2.dumps(value, encoders=_WIDE if odd else None)
    except UnicodeEncodeError:
        raise _fault(value, limits.OBJECT_DEPTH_MAX, name="object") from None


def _encode_float(encoder: cbor2.CBOREncoder, value: float) -> None:
    encoder.write(_NAN if math.isnan(value) else b"\xfb" + struct.pack(">d", value))


_WIDE: dict[type, Callable[[cbor2.CBOREncoder, Any], None]] = {float: _encode_float}


def _refuse_second_encoding(
    encoded: bytes, data: bytes | memoryview, *, name: str
) -> NoReturn:
    pairs = enumerate(zip(encoded, data, strict=False))
    offset = next((at for at, (ours, theirs) in pairs if ours != theirs), None)
    if offset is None:
        extra = len(data) - len(encoded)
        raise FormatError(f"{name} of {len(encoded)} bytes, {extra} more behind it")
    raise FormatError(f"{name} is not in its only encoding at offset {offset}")


def _fault(value: object, depth: int, *, name: str) -> FormatError:
    """Return the error for what a profile or cbor2 refused, with its path."""
    if name == "record" and type(value) not in (list, tuple):
        return FormatError(f"a record is an array, not {type(value).__name__}")
    what = next(_faults(value, name, depth, with_maps=name == "object"))
    return FormatError(what)


def _faults(item: Any, path: str, depth: int, *, with_maps: bool) -> Iterator[str]:
    kind = type(item)
    if kind is int:
        if not INT_MIN <= item <= INT_MAX:
            yield f"{path}: an integer beyond 64 bits"
    elif kind is str:
        if not _is_unicode(item):
            yield f"{path}: text with a lone surrogate"
    elif kind is not list and kind is not tuple and not (with_maps and kind is dict):
        if kind not in _LEAVES and not (with_maps and kind is float):
            yield f"{path}: {kind.__name__} has no place here"
    elif not depth:
        yield f"{path}: nested too deep"
    elif kind is dict:
        for index, (key, inner) in enumerate(item.items()):
            where = f"{path}{{{index}}}"
            if type(key) is not str or not _is_unicode(key):
                yield f"{where}: a key that is no text"
            yield from _faults(inner, where, depth - 1, with_maps=True)
    else:
        for index, inner in enumerate(item):
            where = f"{path}[{index}]"
            yield from _faults(inner, where, depth - 1, with_maps=with_maps)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
