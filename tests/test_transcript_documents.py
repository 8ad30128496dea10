"""
Files that are one JSON document, cut into messages.
"""

from __future__ import annotations

import io
import json
import tracemalloc

from collections import Counter
from pathlib import Path

import pytest

from hypothesis import given
from hypothesis import strategies as st

from castore.transcript import DOCUMENT_FORMATS, Span, reading, spans


MIB = 1 << 20


def cut(data: bytes, name: str = "claw-legacy") -> list[Span]:
    """Return the spans of a document that holds *data*, and check the law."""
    found = list(spans(io.BytesIO(data), name))
    assert data == b"".join(data[s.start : s.stop] for s in found)
    assert all(s.start < s.stop for s in found)
    return found


def parts(data: bytes, name: str = "claw-legacy") -> list[tuple[str, bytes]]:
    """Return kind and bytes of each span."""
    return [(s.kind, data[s.start : s.stop]) for s in cut(data, name)]


VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "tool"]), "x": VALUES})
    | VALUES,
    max_size=5,
)
NAMES = st.sampled_from(["messages", "trajectory", "version", "x"])


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Return a document with lists of messages in any place."""
    value = draw(st.dictionaries(NAMES, MESSAGES | VALUES, max_size=4))
    text = json.dumps(value, indent=draw(st.sampled_from([None, 1])))
    mark = draw(st.sampled_from(["", "\ufeff"]))
    return (mark + text + draw(st.sampled_from(["", "\r\n", "!"]))).encode()


@given(documents() | st.binary(), st.sampled_from(sorted(DOCUMENT_FORMATS)))
def test_spans_are_the_file(data: bytes, name: str) -> None:
    """Put together they are the file, whatever it holds and however it is read."""
    found = cut(data, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHUNK_SIZE", 3)

        assert found == cut(data, name)


@given(MESSAGES, st.sampled_from([None, 1]))
def test_messages_are_cut_apart(messages: list[object], indent: int | None) -> None:
    """Each message is one span, behind the comma that belongs to it."""
    text = json.dumps({"version": 1, "messages": messages, "x": []}, indent=indent)
    if "NaN" in text or "Infinity" in text:
        return
    found = parts(text.encode())

    assert ("before", "after") == (found[0][0], found[-1][0])
    assert found[0][1].endswith(b"[")
    assert found[-1][1].lstrip().startswith(b"]")
    assert messages == [json.loads(part.lstrip(b", \n")) for _, part in found[1:-1]]


def test_an_appended_message_leaves_the_others() -> None:
    """A document written anew with one message more repeats the spans before it."""
    messages = [{"role": "user"}, {"role": "assistant"}]
    old = json.dumps({"messages": messages}).encode()
    new = json.dumps({"messages": [*messages, {"role": "tool"}]}).encode()

    assert parts(old)[:-1] == parts(new)[:-2]
    assert ("tool", b', {"role": "tool"}') == parts(new)[-2]


@pytest.mark.parametrize(
    ("data", "name", "kinds"),
    [
        ('{"version":1,"messages":[]}', "claw-legacy", "before after"),
        ('{"messages":[{"role":"user"},{"role":"after"}]}', "claw-legacy", None),
        ('{"messages":[1,[],"a",{}],"x":1}\n', "claw-legacy", None),
        ('{"session_id":"s","messages":["a","b"]}', "claw-port", None),
        ('{"trajectory":[{"action":"a"}],"info":{}}', "swe-agent", None),
        ('\ufeff{"messages":[1]}', "claw-port", "before message after"),
        ('{"messages":[1],"messages":[2]}', "claw-port", "before message after"),
        ('{"x":{"messages":[1]},"messages":[2]}', "claw-port", "before message after"),
        ('{"messages":1,"messages":[2]}', "claw-port", "before message after"),
        ('{"m\\u0065ssages":[2]}', "claw-port", "before message after"),
        ('{"messages":[1,2', "claw-port", "before message broken"),
        ('{"messages":[1,2]', "claw-port", "before message message broken"),
        ('{"messages":[1,2]}}', "claw-port", "before message message broken"),
        ('{"messages":[1,,2]}', "claw-port", "before message broken"),
        ('{"messages":[1,NaN]}', "claw-port", "before message broken"),
        ('{"messages":[1],"x":NaN}', "claw-port", "before message broken"),
        ('{"messages":[1]}', "swe-agent", "broken"),
        ('["messages",[1]]', "claw-port", "broken"),
        ("{}", "claw-port", "broken"),
        ("{", "claw-port", "broken"),
        (" \n", "claw-port", "broken"),
        ("\0\0", "claw-port", "broken"),
        ("", "claw-port", ""),
    ],
)
def test_kinds(data: str, name: str, kinds: str | None) -> None:
    """
    Roles where there are any; what cannot be cut is one bad span at the end.
    """
    expected = {
        '{"messages":[{"role":"user"},{"role":"after"}]}': "before user x-after after",
        '{"messages":[1,[],"a",{}],"x":1}\n': "before" + " message" * 4 + " after",
        '{"session_id":"s","messages":["a","b"]}': "before message message after",
        '{"trajectory":[{"action":"a"}],"info":{}}': "before step after",
    }
    found = cut(data.encode(), name)

    assert (expected[data] if kinds is None else kinds) == " ".join(
        span.kind for span in found
    )
    assert [span.kind == "broken" for span in found] == [span.bad for span in found]


def test_every_cut_of_a_document() -> None:
    """A document cut short anywhere keeps the messages that are whole."""
    data = b'\xef\xbb\xbf{"a": 1, "messages": [{"role": "user"} , "\xc3\xa9"], "b": {}}'
    whole = cut(data)
    for stop in range(1, len(data)):
        found = cut(data[:stop])

        assert [index == len(found) - 1 for index in range(len(found))] == [
            span.bad for span in found
        ]
        assert whole[: len(found) - 1] == found[:-1]


def test_times_and_names_of_messages() -> None:
    """A message's own time and name are taken as a line's are."""
    _, span, _ = cut(b'{"messages":[{"id":"i","timestamp":5,"role":"user"}]}')

    assert (5000, "i") == (span.time_ms, span.native_id)


def test_documents_are_cut_from_their_start() -> None:
    """There is no going on in a document: it is refused at once."""
    with pytest.raises(ValueError, match="from its start"):
        spans(io.BytesIO(b'{"messages":[]}'), "claw-legacy", start=1)


@pytest.mark.parametrize(
    ("before", "piece", "after", "count"),
    [
        (
            b'{"messages":[0',
            b',{"role":"u","blocks":["' + b"a" * 999 + b'"]}',
            b"]}",
            1,
        ),
        (b'{"messages":[{"blocks":["', b"a\\n" * 333, b'"]}]}', 0),
        (b'{"x":"', b"a" * 1000, b'","messages":[]}', 0),
        (b'{"messages":[],"x":"', b"a" * 1000, b'"', 0),
    ],
)
def test_memory_of_a_huge_document(
    tmp_path: Path, before: bytes, piece: bytes, after: bytes, count: int
) -> None:
    """A document of 30 MB takes less than 8 MiB, whatever is big in it."""
    path = tmp_path / "huge.json"
    repeats = 30 * MIB // len(piece)
    with path.open("wb") as file:
        file.writelines([before, *[piece] * repeats, after])

    tracemalloc.start()
    try:
        with path.open("rb") as file:
            found = sum(1 for _ in spans(file, "claw-legacy"))
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
    assert 2 + count * repeats <= found <= 3 + count * repeats


@pytest.mark.parametrize(
    ("pattern", "name", "kinds"),
    [
        ("claw-code/session-1775010047738.json", "claw-legacy", [2, 6, 6]),
        ("claw-code/session-1775011562247.json", "claw-legacy", [3, 10, 20]),
        ("claw-code/b*.json", "claw-port", [0, 0, 0]),
        ("swe-agent/*.traj", "swe-agent", [0, 0, 0]),
    ],
)
def test_real_documents(data: Path, pattern: str, name: str, kinds: list[int]) -> None:
    """Real sessions: users, assistants and tools counted, nothing bad."""
    (path,) = data.glob(pattern)
    content = path.read_bytes()
    found = cut(content, name)
    count = Counter(span.kind for span in found)
    array, kind = DOCUMENT_FORMATS[name]

    assert kinds == [count["user"], count["assistant"], count["tool"]]
    assert len(json.loads(content)[array]) == sum(kinds) + count[kind]
    assert not any(span.bad for span in found)
