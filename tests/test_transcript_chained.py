"""
Lines of a hash-chained log: nothing is changed in them unnoticed.

Spec: spec/conversations.md, "Files".
"""

from __future__ import annotations

import io
import tracemalloc

import pytest

from conversationkit import LIFE, TIME, chained_file, message, segment_file, start

from castore.limits import MIB
from castore.transcript import Span, describe, detect, spans


OBJECTS = [start("session_start"), *LIFE]
FILE = chained_file(OBJECTS)
ID = "0190a1b2-c3d4-7e5f-8001-020304050607"
OTHER = "0190a1b2-c3d4-7e5f-8001-020304050608"


def cut(data: bytes, start_at: int = 0) -> list[Span]:
    """Return the spans of a chained log."""
    found = list(spans(io.BytesIO(data), "session-log", start=start_at))
    assert b"".join(data[one.start : one.stop] for one in found) == data[start_at:]
    return found


def test_whole_lines_are_called_what_they_are() -> None:
    """
    Lines whose hashes are right have the kind and the time that they tell.

    Statements: A8, A10.
    """
    assert [one.kind for one in cut(FILE)] == [one["kind"] for one in OBJECTS]
    assert [one.time_ms for one in cut(FILE)] == [one["ts"] for one in OBJECTS]
    assert not any(one.bad for one in cut(FILE))


@pytest.mark.parametrize("bit", [0x01, 0x20])
def test_every_flipped_bit_is_noticed(bit: int) -> None:
    """
    Whichever byte is changed, its line is not what it was: altered, broken or torn.

    Statements: A8, A10.
    """
    for at in range(len(FILE)):
        data = FILE[:at] + bytes([FILE[at] ^ bit]) + FILE[at + 1 :]
        bad = [one for one in cut(data) if one.bad or one.kind == "tail"]
        assert any(one.start <= at < one.stop for one in bad), at


def test_what_is_missing_or_moved_is_noticed() -> None:
    """
    A line that is gone, twice there, or before its place breaks the chain behind it,
    once; only a cut at the end is no break.

    Statements: A10.
    """
    lines = FILE.splitlines(keepends=True)
    for at in range(1, len(lines) - 1):
        gone = cut(b"".join(lines[:at] + lines[at + 1 :]))
        assert [n for n, one in enumerate(gone) if one.bad] == [at]
        twice = cut(b"".join(lines[: at + 1] + lines[at:]))
        assert [n for n, one in enumerate(twice) if one.bad] == [at + 1]
        moved = [*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]]
        assert any(one.bad for one in cut(b"".join(moved)))
        assert not any(one.bad for one in cut(b"".join(lines[:at])))


def test_a_file_can_be_cut_from_any_line() -> None:
    """From wherever a line begins, the rest is what it is in the whole."""
    altered = FILE.replace(b"nothing", b"something")
    for data in (FILE, altered):
        whole = cut(data)
        for at, one in enumerate(whole):
            assert cut(data, one.start) == whole[at:]


def test_behind_a_broken_line_the_chain_is_open() -> None:
    """What follows something that is no line is not blamed for it."""
    lines = FILE.splitlines(keepends=True)
    for other in (b"{}\n", b"x\n"):
        found = cut(b"".join([*lines[:2], other, *lines[3:]]))
        assert [n for n, one in enumerate(found) if one.bad] == [2]
    found = cut(b"".join([*lines[:2], b"\n", *lines[2:]]))
    assert not any(one.bad for one in found)


def test_long_lines_are_hashed_in_pieces() -> None:
    """A line of many MiB is checked without being held whole."""
    large = {
        "kind": "user_input",
        "ts": TIME,
        "item": message("user", "x" * (20 * MIB)),
    }
    data = io.BytesIO(chained_file([OBJECTS[0], large, OBJECTS[1]]))
    tracemalloc.start()
    kinds = [one.kind for one in spans(data, "session-log")]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert kinds == ["session_start", "user_input", "user_input"]
    assert peak < 8 * MIB
    data.getbuffer()[10 * MIB] ^= 1
    kinds = [one.kind for one in spans(data, "session-log")]
    assert kinds == ["session_start", "altered", "user_input"]


def test_what_such_files_say_of_themselves() -> None:
    """
    A chained log is named by its file, a segment's session by what it tells or its
    folder; where it comes from is told, and a fork is one.
    """
    forked = start("session_start", forked_from={"session_id": OTHER, "at_hash": "ab"})
    one = chained_file([forked])
    origin = {"segment_id": OTHER, "at_turn_index": 1}
    two = segment_file([start(session_id="own", compacted_from=origin)])
    trace = segment_file([{"ts": TIME, "turn": 1, "event": {"ping": {}}}])
    for data, path, name, told in (
        (one, f"r/{ID}.jsonl", "session-log", (ID, OTHER, "fork")),
        (two, f"r/{ID}/x.jsonl", "segment-log", ("own", OTHER, None)),
        (trace, f"r/{ID}/x.trace.jsonl", "trace-log", (ID, None, None)),
        (trace, f"r/{ID}.trace.jsonl", "trace-log", (ID, None, None)),
        (trace, "r/x.trace.jsonl", "trace-log", (None, None, None)),
    ):
        file = io.BytesIO(data)
        assert detect(file, path) == name
        found = describe(file, name, path)
        assert (found.session_id, found.parent, found.relation) == told
        assert found.started_ms == TIME
