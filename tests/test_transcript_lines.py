"""
Line files cut into lines.
"""

from __future__ import annotations

import io
import json
import re
import tracemalloc

from collections import Counter
from pathlib import Path

import pytest

from hypothesis import given
from hypothesis import strategies as st

import castore.transcript.lines as under_test

from castore.transcript import LINE_FORMATS, Span, reading, spans
from castore.transcript.lines import LINE_SIZE


MIB = 1 << 20
KIND = re.compile(r"[a-z0-9._-]{1,64}")


def cut(data: bytes, *, start: int = 0) -> list[Span]:
    """Return the spans of a line file that holds *data*."""
    return list(spans(io.BytesIO(data), "jsonl", start=start))


def one(line: bytes) -> Span:
    """Return the span of a file's one *line*."""
    (span,) = cut(line)
    return span


def facts(line: bytes) -> tuple[str, int | None, str | None, bool]:
    """Return what the span of *line* says."""
    span = one(line)
    return span.kind, span.time_ms, span.native_id, span.bad


def check_law(found: list[Span], data: bytes, *, start: int = 0) -> None:
    """Check that *found* are *data* from *start*, and well formed."""
    assert data[start:] == b"".join(data[s.start : s.stop] for s in found)
    for span in found:
        assert span.start < span.stop
        assert KIND.fullmatch(span.kind)
        assert span.time_ms is None or 0 <= span.time_ms < 1 << 63
        assert span.native_id is None or len(span.native_id.encode()) <= 1024


RECORDS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["user", "message", "start", "日本", ""]) | st.text(),
        "message": st.fixed_dictionaries({"role": st.text()}) | st.none(),
        "uuid": st.text(),
        "timestamp": st.integers() | st.sampled_from(["2025-01-02T03:04:05Z"]),
        "x": st.recursive(st.text() | st.floats(), st.lists, max_leaves=5),
    },
)
LINES = (
    RECORDS.map(lambda record: json.dumps(record).encode())
    | st.binary(max_size=30)
    | st.sampled_from([b"", b" ", b"\r", b"\xef\xbb\xbf", b"\0\0\0", b"[]", b'{"a":'])
)
FILES = st.lists(
    st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b"\n\n", b""])), max_size=8
).map(lambda lines: b"".join(line + end for line, end in lines))


@given(FILES, st.sampled_from(LINE_FORMATS))
def test_spans_are_the_file(data: bytes, name: str) -> None:
    """Put together they are the file, and each ends where its line does."""
    found = list(spans(io.BytesIO(data), name))

    check_law(found, data)
    assert [line + b"\n" for line in data.split(b"\n")[:-1]] == [
        data[s.start : s.stop] for s in found if data[s.stop - 1 : s.stop] == b"\n"
    ]


@given(FILES)
def test_sizes_of_reads_and_lines_make_no_difference(data: bytes) -> None:
    """Lines cut in bounded memory are those cut at once, all facts included."""
    expected = cut(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(under_test, "LINE_SIZE", 9)
        patch.setattr(under_test, "READ_SIZE", 4)
        patch.setattr(reading, "CHUNK_SIZE", 3)

        assert expected == cut(data)


@given(FILES)
def test_going_on_from_any_line(data: bytes) -> None:
    """Spans from a line's start are those of the whole from there."""
    whole = cut(data)
    for index, span in enumerate(whole):
        found = cut(data, start=span.start)

        check_law(found, data, start=span.start)
        if index:  # a mark counts at the start of the file only
            assert whole[index:] == found


def test_going_on_after_growth() -> None:
    """What is a tail today is a line tomorrow, cut from the same offset."""
    old = b'{"type":"user"}\n{"type":"us'
    tail = cut(old)[-1]

    assert ("tail", True) == (tail.kind, tail.bad)
    new = old + b'er"}\n'
    assert cut(new) == [*cut(old)[:-1], *cut(new, start=tail.start)]
    assert [] == cut(new, start=len(new))


@pytest.mark.parametrize("start", [-1, 1, 4, 5, 100])
def test_only_lines_begin(start: int) -> None:
    """To start inside of a line or behind the end is refused at once."""
    with pytest.raises(ValueError, match="no line begins"):
        spans(io.BytesIO(b"{}\n{}"), "jsonl", start=start)


def test_unknown_formats() -> None:
    """A format that is none of the known is refused at once."""
    with pytest.raises(ValueError, match="no such"):
        spans(io.BytesIO(), "yaml")


@pytest.mark.parametrize(
    ("line", "kind", "bad"),
    [
        (b"{}\n", "line", False),
        (b"\n", "blank", False),
        (b"\r\n", "blank", False),
        (b" \t\r\n", "blank", False),
        (b"\xef\xbb\xbf\n", "blank", False),
        (b'\xef\xbb\xbf{"type":"user"}\r\n', "user", False),
        (b' {"type":"user"} \r\n', "user", False),
        (b'{"type":"user"}', "tail", False),
        (b'{"type":"us', "tail", True),
        (b" ", "tail", False),
        (b"\0\0\0", "tail", True),
        (b"\0\0\0\n", "broken", True),
        (b'{"type":"us\n', "broken", True),
        (b'{"type":"user"}{}\n', "broken", True),
        (b'{"type":"us\xff"}\n', "broken", True),
        (b'{"x":"\xed\xa0\x80"}\n', "broken", True),
        (b'{"x":"a\tb"}\n', "broken", True),
        (b'{"x":NaN}\n', "broken", True),
        (b'{"x":-Infinity}\n', "broken", True),
        (b'{"x":01}\n', "broken", True),
        (b"[1]\n", "broken", True),
        (b"1\n", "broken", True),
        (b"null\n", "broken", True),
        (b"\xff\xfe{\0}\0\n", "broken", True),
        (b'{"x":"\\ud800"}\n', "line", False),
        (b'{"type":"a","type":"b"}\n', "b", False),
        (b'{"x":' + b"9" * 10_000 + b"}\n", "line", False),
        (b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "line", False),
        (b"[" * 100_000 + b"\n", "broken", True),
    ],
)
def test_hostile_lines(line: bytes, kind: str, *, bad: bool) -> None:
    """Nothing is fatal and nothing is lost; what is no JSON object is bad."""
    assert (kind, bad) == facts(line)[::3]
    check_law([one(line)], line)


def test_a_mark_within_a_file_is_broken() -> None:
    """A byte order mark belongs to the start of a file and nowhere else."""
    found = cut(b"{}\n\xef\xbb\xbf{}\n")

    assert [False, True] == [span.bad for span in found]


UUID = "0cf3db51-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("record", "kind", "native_id"),
    [
        ({"type": "user", "message": {"role": "u"}, "uuid": UUID}, "user", UUID),
        ({"type": "assistant", "message": {"id": "m"}}, "assistant", None),
        ({"type": "file-history-snapshot"}, "file-history-snapshot", None),
        ({"type": "message", "message": {"role": "toolResult"}}, "tool-result", None),
        ({"type": "message", "id": "a1", "message": {"role": "user"}}, "user", "a1"),
        ({"type": "message", "message": {"role": "tool", "id": "b"}}, "tool", "b"),
        ({"type": "message", "role": "user"}, "user", None),
        ({"type": "message", "message": []}, "message", None),
        ({"type": "session_meta", "session_id": "s"}, "session_meta", None),
        ({"type": "thinking_level_change"}, "thinking_level_change", None),
        ({"ts": "x", "event": "goal_started", "message": "m"}, "goal_started", None),
        ({"role": "user", "content": "c"}, "user", None),
        ({"type": 5, "id": 5}, "line", None),
        ({"type": "", "id": ""}, "line", None),
        ({"type": "日本"}, "line", None),
        ({"type": "\ud800x"}, "x", None),
        ({"type": "--Tool Use!"}, "tool-use", None),
        ({"type": "a" * 99}, "a" * 64, None),
        ({"type": "a" * 5000}, "line", None),
        ({"type": "user", "id": "\ud800"}, "user", None),
        ({"type": "user", "id": "é" * 513}, "user", None),
        ({"type": "user", "id": "é" * 512}, "user", "é" * 512),
        *(
            ({"type": kind}, f"x-{kind.lower()}", None)
            for kind in ("start", "tail", "blank", "Broken", "before", "after")
        ),
    ],
)
def test_kinds_and_names(
    record: dict[str, object], kind: str, native_id: str | None
) -> None:
    """
    A kind is the record's own word, safe to print and never a reserved one; a
    name is the record's own and storable, or none.
    """
    found = one(json.dumps(record).encode() + b"\n")

    assert (kind, native_id, False) == (found.kind, found.native_id, found.bad)


@pytest.mark.parametrize(
    ("record", "time_ms"),
    [
        ({"timestamp": "1970-01-01T00:00:00Z"}, 0),
        ({"timestamp": "2025-12-09T00:53:29.825Z"}, 1765241609825),
        ({"timestamp": "2025-12-09T01:53:29.825999+01:00"}, 1765241609825),
        ({"ts": "2025-12-09 00:53:29,825123456-0000"}, 1765241609825),
        ({"timestamp": "9999-12-31T23:59:59.999Z"}, 253402300799999),
        ({"timestamp": 1765241609825}, 1765241609825),
        ({"timestamp": 1765241609}, 1765241609000),
        ({"timestamp": 1765241609.825}, 1765241609825),
        ({"created_at_ms": 7}, 7),
        ({"timestamp_ms": 1765241609825}, 1765241609825),
        ({"timestamp": "nonsense", "created_at": 5}, 5000),
        ({"timestamp": "2025-12-09T00:53:29"}, None),
        ({"timestamp": "2025-02-31T00:00:00Z"}, None),
        ({"timestamp": "2025-12-09T24:00:00Z"}, None),
        ({"timestamp": "2025-12-09T00:00:60Z"}, None),
        ({"timestamp": "2025-12-09T00:00:00+99:99"}, None),
        ({"timestamp": "1969-12-31T23:59:59Z"}, None),
        ({"timestamp": "0001-01-01T00:00:00+23:00"}, None),
        ({"timestamp": "9999-12-31T23:59:59-23:00"}, None),
        ({"timestamp": "٢٠٢٥-12-09T00:00:00Z"}, None),
        ({"timestamp": True}, None),
        ({"timestamp": -1}, None),
        ({"timestamp": -0.5}, None),
        ({"timestamp": 1e300}, None),
        ({"timestamp": 10**30}, None),
        ({"timestamp": 1 << 63}, None),
        ({"timestamp": ["2025-12-09T00:53:29Z"]}, None),
        ({"message": {"timestamp": 5}}, None),
        ({}, None),
    ],
)
def test_times(record: dict[str, object], time_ms: int | None) -> None:
    """A time is what the record tells, to the ms, or none: no guess, no clock."""
    assert time_ms == one(json.dumps(record).encode() + b"\n").time_ms


@pytest.mark.parametrize("end", [b"\n", b"", b"!\n", b"\xff\n"])
@pytest.mark.parametrize("size", range(LINE_SIZE - 2, LINE_SIZE + 3))
def test_both_ways_agree_at_the_size_between(size: int, end: bytes) -> None:
    """A line says the same whether it was short enough for `json` or not."""
    head = b'{"type":"message","timestamp":5,"message":{"role":"user","x":"'
    tail = b'"},"id":"i"}'
    line = head + b"a" * (size - len(head + tail + end)) + tail + end

    assert size == len(line)
    good = ("user" if end else "tail", 5000, "i", False)
    assert facts(line) == (good if len(end) < 2 else ("broken", None, None, True))


BLOCK = json.dumps([{"type": "text", "text": 'a "b"\n' * 5000}] * 3).encode()


@pytest.mark.parametrize(
    ("before", "piece", "after", "kind"),
    [
        (b'{"type":"user","x":"', b"a" * MIB, b'"}\n', "user"),
        (b'{"type":"user","x":"', b"\\n\\u00e9" * (MIB // 8), b'"}\n', "user"),
        (b'{"x":[', BLOCK + b",", b'0],"type":"user"}\n', "user"),
        (b'{"type":"user","x":"', b"a" * MIB, b"\n", "broken"),
        (b"", b" " * MIB, b"\n", "blank"),
        (b"[" * 100_000, b" " * MIB, b"\n", "broken"),
        (b"", b"1" * MIB, b"\n", "broken"),
        (b"", b"\0" * MIB, b"", "tail"),
    ],
)
def test_memory_of_a_huge_line(
    tmp_path: Path, before: bytes, piece: bytes, after: bytes, kind: str
) -> None:
    """A line of 30 MB takes less than 8 MiB, whatever it holds."""
    count = 30 * MIB // len(piece)
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.writelines([before, *[piece] * count, after])

    with path.open("rb") as file:
        tracemalloc.start()
        try:
            (span,) = spans(file, "jsonl")
            assert tracemalloc.get_traced_memory()[1] < 8 * MIB
        finally:
            tracemalloc.stop()
    assert (kind, path.stat().st_size) == (span.kind, span.stop)


def test_reading_between_spans() -> None:
    """Whoever takes the spans may read their bytes from the same file."""
    line = b'{"type":"user","x":"' + b"a" * LINE_SIZE + b'"}\n'
    data = b"{}\n" + line + b"{}\n{"
    file = io.BytesIO(data)
    back = b""
    for span in spans(file, "jsonl"):
        file.seek(span.start)
        back += file.read(span.stop - span.start)

    assert data == back


def real(data: Path, pattern: str) -> list[tuple[bytes, list[Span]]]:
    """Return the bytes and spans of real files, and check the law for them."""
    files = sorted(data.glob(pattern))
    assert files
    result = []
    for path in files:
        content = path.read_bytes()
        found = cut(content)
        check_law(found, content)
        result.append((content, found))
    return result


def test_real_claude_code(data: Path) -> None:
    """Two real sessions: every line good, named and timed but the snapshots."""
    files = real(data, "claude-code/*/*.jsonl")
    found = [span for _, part in files for span in part]
    kinds = Counter(span.kind for span in found)

    assert (23, 8287, 0) == (len(files), len(found), sum(s.bad for s in found))
    assert 15 == kinds["tail"]  # one for each slice of 0cf3db51
    assert {"assistant", "user", "progress", "system"} < kinds.keys()
    unnamed = Counter(s.kind for s in found if s.native_id is None)
    assert {"file-history-snapshot", "queue-operation", "summary", "tail"} >= set(
        unnamed
    )


def test_real_pi(data: Path) -> None:
    """A real session: 990 messages by role, and four other kinds."""
    ((_, found),) = real(data, "pi/*.jsonl")

    assert {
        "assistant": 484,
        "bash-execution": 3,
        "compaction": 2,
        "model_change": 5,
        "session": 1,
        "thinking_level_change": 5,
        "tool-result": 448,
        "user": 55,
    } == Counter(span.kind for span in found)
    assert all(span.time_ms for span in found)


def test_real_ledger(data: Path) -> None:
    """A real ledger: its events are the kinds."""
    ((_, found),) = real(data, "claw-code/*.jsonl")
    kinds = Counter(span.kind for span in found)

    assert (25, 12, 11) == (
        len(found),
        kinds["goal_completed"],
        kinds["goal_started"],
    )
    assert all(span.time_ms for span in found)


def test_any_real_file_as_lines(data: Path) -> None:
    """Commits, and documents that are no line files at all, come back whole."""
    files = real(data, "runtime/*.jsonl")

    assert {"line"} == {span.kind for _, found in files for span in found}
    real(data, "*/*.json")
    real(data, "swe-agent/*")
