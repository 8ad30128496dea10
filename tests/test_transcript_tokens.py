"""
The bounded JSON tokenizer: it takes what JSON is, however it is cut into chunks.
"""

from __future__ import annotations

import json

from collections.abc import Iterator
from typing import NoReturn

import pytest

from hypothesis import given
from hypothesis import strategies as st

import castore.transcript.tokens as under_test

from castore.errors import FormatError
from castore.transcript.records import (
    KEPT,
    Record,
    kind_of,
    native_id_of,
    parse_record,
    scan_record,
    time_of,
)
from castore.transcript.tokens import TEXT_SIZE_MAX, Token, tokens


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["\ud800", "\U0001f600", '"\\/\b\f\n\r\t\x00', "1" * 50])
)
NAMES = st.text(max_size=5) | st.sampled_from(sorted(KEPT))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)
FIELDS = {
    "type": st.sampled_from(["message", "user", "Tool Result"]) | VALUES,
    "message": st.dictionaries(st.sampled_from(["role", "id", "x"]), VALUES),
    "timestamp": st.sampled_from(["2025-01-02T03:04:05.678Z", 1e9, 10**12]) | VALUES,
}
RECORDS = st.fixed_dictionaries({}, optional=FIELDS).flatmap(
    lambda fields: st.dictionaries(NAMES, VALUES).map(lambda more: more | fields)
)


@st.composite
def texts(draw: st.DrawFn, values: st.SearchStrategy[object] = VALUES) -> bytes:
    """Return JSON written in one of many ways."""
    text = json.dumps(
        draw(values),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 1])),
        separators=draw(st.sampled_from([(",", ":"), (" ,\r\n", "\t: ")])),
    )
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return JSON with some bytes replaced, removed or put in."""
    data = draw(texts())
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(0, len(data)))
        stop = draw(st.integers(start, min(len(data), start + 3)))
        piece = draw(st.sampled_from(list(b'{}[],:"\\u1.eE-+tfn \n\x00\x1f\x80\xff')))
        data = data[:start] + bytes([piece]) * draw(st.integers(0, 2)) + data[stop:]
    return data


def refuse(constant: str) -> NoReturn:
    """Take NaN for what it is: not JSON."""
    raise ValueError(constant)


def is_json(data: bytes) -> bool:
    """Whether the standard library takes *data*, NaN and the like apart."""
    try:
        json.loads(data.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """Yield *data* in chunks of *size* bytes."""
    for at in range(0, len(data), size):
        yield data[at : at + size]


def take(data: bytes, *, shallow: int = 99, size: int = 1 << 20) -> list[Token] | None:
    """Return the tokens of *data*, None if it is not JSON."""
    try:
        return list(tokens(pieces(data, size), shallow=shallow))
    except FormatError:
        return None


@given(damaged(), st.integers(1, 9), st.integers(0, 3))
def test_takes_what_json_is(data: bytes, size: int, shallow: int) -> None:
    """
    What the standard library refuses is refused, the rest taken, wherever it is
    cut; white space alone is no value and no error.
    """
    expected = is_json(data) or not data.strip(b" \t\n\r")

    assert expected == (take(data, size=size) is not None)
    assert expected == (take(data, shallow=shallow) is not None)


@given(texts(), st.integers(1, 9), st.integers(0, 4))
def test_chunks_and_skipping_make_no_difference(
    data: bytes, size: int, shallow: int
) -> None:
    """
    The tokens handed on are those of the levels asked for, however the input
    comes and whatever was stepped over at once.
    """
    whole = take(data)
    if whole is None:  # a lone surrogate that was not escaped
        return

    assert [t for t in whole if t.depth <= shallow] == take(data, shallow=shallow)
    assert whole == take(data, size=size)


@given(texts())
def test_tokens_stand_where_they_say(data: bytes) -> None:
    """A token's text is the input before its stop."""
    for token in take(data) or []:
        text = (token.text or token.name.encode()) if data else b""

        assert text == data[token.stop - len(text) : token.stop]


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("size", [7, 1 << 20])
@pytest.mark.parametrize("number", [True, False])
def test_long_texts_are_not_kept(extra: int, size: int, *, number: bool) -> None:
    """A key or scalar above TEXT_SIZE_MAX bytes is a token without its text."""
    count = TEXT_SIZE_MAX + extra
    text = b"1" * count if number else b'"' + b"a" * (count - 2) + b'"'
    found = take(b"[" + text + b"]", size=size)

    assert found is not None
    assert (None if extra else text) == found[1].text


def test_what_came_before_an_error_is_good() -> None:
    """Tokens are handed on up to the first byte that is not JSON or not UTF-8."""
    for bad in (b"!", b'"\xff"', b'"\xe2\x82"'):
        stream = tokens([b"[1, 2, " + bad], shallow=1)

        assert ["[", "value", "value"] == [next(stream).name for _ in range(3)]
        with pytest.raises(FormatError):
            next(stream)


def test_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deeper nesting than DEPTH_MAX and longer numbers than the bound are refused."""
    monkeypatch.setattr(under_test, "DEPTH_MAX", 20)
    monkeypatch.setattr(under_test, "NUMBER_SIZE_MAX", 20)

    assert take(b"[" * 20 + b"]" * 20) is not None
    assert take(b"[" * 21 + b"]" * 21) is None
    assert take(b"1" * 20, size=1) is not None
    assert take(b"1" * 22, size=1) is None


def facts(record: Record | None) -> object:
    """Return all that is ever asked of *record*."""
    if record is None:
        return None
    return kind_of(record), time_of(record), native_id_of(record)


@given(texts(RECORDS), st.integers(1, 9))
def test_sketch_and_json_agree(data: bytes, size: int) -> None:
    """A record scanned in chunks says the same as one that `json` parsed."""
    assert facts(parse_record(data)) == facts(scan_record(pieces(data, size)))


@pytest.mark.parametrize(
    "text",
    [
        '{"type": "a", "type": "b"}',
        '{"type": "message", "message": {"role": "a"}, "message": {"role": "b"}}',
        '{"type": "message", "message": {"role": "a"}, "message": 1}',
        '{"message": {"id": "a", "id": "b"}, "type": "message"}',
        '{"t\\u0079pe": "user", "uuid": "\\ud800"}',
        '{"type": "user", "id": "\\ud83d\\ude00"}',
        '{"type": "%s"}' % ("x" * 1025),
        '{"type": "%s"}' % ("\\ud83d\\ude00" * 1024 + "a"),
        '{"type": "%s"}' % ("\\ud83d\\ude00" * 1024),
        '{"type": "%s"}' % ("a" * TEXT_SIZE_MAX),
        '{"timestamp": 1%s}' % ("0" * 5000),
        '{"timestamp": 1.%s}' % ("0" * TEXT_SIZE_MAX),
        '{"timestamp": 1e999, "ts": 5}',
        '{"timestamp": NaN}',
        '{"x": ' + "[" * 5000 + "]" * 5000 + "}",
        "[{}]",
        '"text"',
        "null",
        "",
    ],
)
def test_sketch_and_json_agree_on_traps(text: str) -> None:
    """Doubled keys, escapes, huge texts and numbers, deep nesting: one answer."""
    data = text.encode()

    assert facts(parse_record(data)) == facts(scan_record([data]))
    assert facts(parse_record(data)) == facts(scan_record(pieces(data, 3)))
