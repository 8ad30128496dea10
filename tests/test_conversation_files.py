"""
Files of hash-chained logs and of segments: read, taken in, given back.

Spec: spec/conversations.md, "Files".
"""

from __future__ import annotations

import io

from collections.abc import Iterator
from pathlib import Path

import pytest

from conversationkit import (
    LIFE,
    SEGMENT,
    SESSION,
    TIME,
    Json,
    chained_file,
    message,
    segment_file,
    start,
)
from hypothesis import given
from hypothesis import strategies as st

import castore

from castore import FormatError, NotFoundError, Store
from castore.conversation.files import LogFile, read_log
from castore.conversation.state import collect_state
from castore.conversation.writer import SegmentWriter
from castore.digest import parse_digest
from castore.importer import ImportedFile, import_file, import_paths, restore
from castore.records.entries import ENTRIES
from castore.records.items import text_message


NOW = TIME + 10_000
CHAINED = chained_file([start("session_start"), *LIFE])
LINES = CHAINED.splitlines(keepends=True)
SINGLE: list[Json] = [
    start(),
    {"kind": "invoke", "ts": TIME, "trigger": "user_send"},
    {
        "kind": "user_input",
        "ts": TIME,
        "segments": [
            {"kind": "text", "content": "see "},
            {"kind": "file_ref", "path": "é.py"},
        ],
    },
    {
        "kind": "assistant_item",
        "ts": TIME,
        "item": message("assistant", "seen", "kind"),
    },
    {
        "kind": "system_item",
        "ts": TIME,
        "item": {"kind": "knowledge", "slug": "s", "body": "known"},
    },
    {"kind": "turn_end", "ts": TIME, "turn_count": 1},
    {"kind": "run_completed", "ts": TIME, "result": "finished", "interrupted": False},
]
# As the logs in between were written: grouped, and with logged items.
PLURAL: list[Json] = [
    start(),
    {
        "kind": "assistant_items",
        "ts": TIME,
        "items": [message("assistant", "seen", "kind")],
    },
    {
        "kind": "tool_results",
        "ts": TIME,
        "items": [{"kind": "tool_result", "call_id": "c", "summary": "s"}],
    },
    {
        "kind": "system_items",
        "ts": TIME,
        "items": [{"kind": "knowledge", "slug": "s", "body": "known"}],
    },
    {
        "kind": "hook_injected_items",
        "ts": TIME,
        "items": [message("system", "mind", "kind")],
    },
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return a new store."""
    with castore.open(tmp_path / "store", create=True) as opened:
        yield opened


def read(data: bytes, name: str = "x.jsonl", format: str | None = None) -> LogFile:  # noqa: A002
    """Return what a file of *data* holds."""
    return read_log(io.BytesIO(data), name, format)


def take(store: Store, path: Path, data: bytes) -> ImportedFile:
    """Import a file of *data*, and check that it comes back, byte for byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    done = import_file(store, path, now_ms=NOW)
    out = io.BytesIO()
    restore(store, store.segment(done.segment_id), out)
    assert out.getvalue() == data
    return done


# --- reading -----------------------------------------------------------------


def test_a_chained_log_is_read() -> None:
    """
    Each line is an entry, as its system folds it: history, turn, lock, usage, end;
    its head is the last line's hash, and every hash is right.

    Statements: A3, A4, A5, A7, A10, A11, A24.
    """
    log = read(CHAINED)
    objects = [start("session_start"), *LIFE]
    assert log.format == "session-log"
    assert list(log.entries) == [ENTRIES.decode(one) for one in objects]
    state = log.state
    assert [type(item).__name__ for item in state.history] == [
        "Message",
        "Message",
        "ToolCall",
        "ToolResult",
        "Message",
    ]
    assert (state.turn_count, state.locked_prefix_len) == (1, 2)
    assert len(state.usage_history) == 1
    assert not state.last_run_interrupted
    assert state.notes == ()
    last = CHAINED.splitlines()[-1]
    assert state.head_hash is not None
    assert state.head_hash.hex() == last[9:73].decode()
    two = read(chained_file(objects[:2])).state
    assert two.head_hash is not None
    assert two.head_hash.hex() == CHAINED.splitlines()[1][9:73].decode()


def test_chaining_is_deterministic() -> None:
    """
    The same entries give the same hashes; entries that differ in a text give
    different ones from there on.

    Statements: A8.
    """

    def hashes(objects: list[Json]) -> list[bytes]:
        data = chained_file(objects)
        assert read(data).state.notes == ()
        return [line[9:73] for line in data.splitlines()]

    objects = [start("session_start"), *LIFE]
    other = [*objects[:1], {**LIFE[0], "item": message("user", "lisp")}, *objects[2:]]
    assert hashes(objects) == hashes(objects)
    ours, theirs = hashes(objects), hashes(other)
    assert ours[0] == theirs[0]
    assert not set(ours[1:]) & set(theirs[1:])


@pytest.mark.parametrize(
    ("altered", "notes"),
    [
        (
            CHAINED.replace(b"nothing", b"something"),
            ["line 5: has another hash than it says"],
        ),
        (
            b"".join(LINES[:3] + LINES[4:]),
            ["line 4: does not follow the line before"],
        ),
        (
            CHAINED + chained_file([start("session_start")]),
            ["line 10: does not follow the line before"],
        ),
        (CHAINED.replace(b'{"hash":"', b'{"hash": "', 1), ["line 1: names no hash"]),
        (CHAINED.replace(b"null", b" null", 1), ["line 1: names no hash"]),
    ],
)
def test_what_was_altered_is_told(altered: bytes, notes: list[str]) -> None:
    """
    A line that is not what was hashed, or not where it was, is noted by its number,
    byte for byte: another spelling of the same JSON is another text. It is read
    all the same.

    Statements: A8, A10.
    """
    state = read(altered, format="session-log").state
    assert list(state.notes) == notes


@pytest.mark.parametrize("digits", ["", "0" * 63, "G" * 64, "A" * 64])
def test_a_hash_is_64_digits(digits: str) -> None:
    """
    A hash that is written and read is the same one; what is no hash names none.

    Statements: A9.
    """
    line = CHAINED.splitlines(keepends=True)[0]
    assert bytes.fromhex(line[9:73].decode()).hex() == line[9:73].decode()
    data = line.replace(line[9:73], digits.encode())
    assert list(read(data, format="session-log").state.notes) == [
        "line 1: names no hash"
    ]
    with pytest.raises(FormatError):
        parse_digest(f"blake3:{digits}")


def test_a_segment_is_read() -> None:
    """
    Each line is an entry with one item; the session and the count are told.

    Statements: B14, B15, B33.
    """
    log = read(segment_file(SINGLE))
    assert log.format == "segment-log"
    assert (log.state.session_id, log.state.entries_count) == (SESSION, len(SINGLE))
    assert [text_message("user", "see @é.py"), text_message("system", "known")] == [
        log.state.history[1],
        log.state.history[3],
    ]
    assert log.state == collect_state(log.entries)


def test_grouped_entries_of_segments_are_read() -> None:
    """The kinds of the logs in between are flattened, whichever form items have."""
    state = read(segment_file(PLURAL)).state
    assert [type(item).__name__ for item in state.history] == [
        "Message",
        "Message",
        "ToolResult",
        "Message",
        "Message",
    ]
    assert state.notes == ()


def test_blank_lines_count_for_numbers_only() -> None:
    """
    Blank lines are no entries; a line that is none fails with its number, counted
    from 1, blank ones included.

    Statements: A25, B33.
    """
    lines = segment_file(SINGLE).splitlines(keepends=True)
    data = b"".join([lines[0], b"\n", b" \t\n", *lines[1:]])
    assert read(data).state.entries_count == len(SINGLE)
    both_or_none = b'{"kind":"user_input","ts":1}\n'
    for bad in (
        both_or_none,
        b"{}\n",
        b"[1]\n",
        b"{\xff}\n",
        b'{"kind":"turn_end","ts":1}\n',
    ):
        with pytest.raises(FormatError, match="line 4"):
            read(b"".join([lines[0], b"\n", b"\n", bad, *lines[1:]]))


@pytest.mark.parametrize("tail", [b"\xc3", b'{"kind":"turn_end","ts"', b"x"])
def test_a_torn_tail_is_left_out(tail: bytes) -> None:
    """
    What no line end ends is not there: neither read nor counted, and noted. With a
    line end it is a line, and corrupt at its number.

    Statements: B28, B29, B33.
    """
    data = segment_file(SINGLE)
    state = read(data + tail).state
    assert state.entries_count == len(SINGLE)
    assert state.notes == (f"line {len(SINGLE) + 1}: torn, {len(tail)} bytes",)
    with pytest.raises(FormatError, match=f"line {len(SINGLE) + 1}: "):
        read(data + tail + b"\n")
    assert read(CHAINED + tail).state.notes == (f"line 10: torn, {len(tail)} bytes",)


@given(st.lists(st.sampled_from(LINES) | st.binary(max_size=9), max_size=6))
def test_whatever_a_file_holds(parts: list[bytes]) -> None:
    """Any bytes are read as a log or refused with the number of a line."""
    for name in ("session-log", "segment-log"):
        try:
            state = read(b"".join(parts), format=name).state
        except FormatError as error:
            assert str(error).startswith("line ")  # noqa: PT017
        else:
            assert state.entries_count <= len(b"".join(parts).split(b"\n"))


def test_a_whole_tail() -> None:
    """
    A hash-chained log wrote text and line end separately, so a last line that is
    whole counts there; in a segment the line end is what commits.

    Statements: A25, B28.
    """
    state = read(CHAINED[:-1]).state
    assert (state.entries_count, state.notes) == (9, ())
    state = read(segment_file(SINGLE)[:-1]).state
    assert (state.entries_count, len(state.notes)) == (len(SINGLE) - 1, 1)


def test_an_empty_file_has_no_head(store: Store, tmp_path: Path) -> None:
    """
    An empty file comes to nothing and has no head; one that is not there is not
    found; what is another agent's is refused.

    Statements: A25, A24.
    """
    state = read(b"", format="session-log").state
    assert (state.head_hash, state.entries_count) == (None, 0)
    with pytest.raises(NotFoundError):
        import_file(store, tmp_path / "missing.jsonl", now_ms=NOW)
    with pytest.raises(FormatError, match="no log"):
        read(b'{"type":"user"}\n')


# --- taking in ---------------------------------------------------------------


def test_an_imported_log_is_restored(store: Store, tmp_path: Path) -> None:
    """
    A file that was taken in comes back byte for byte, and the segment that holds it
    comes to what the file does, hashes checked; it goes on in a fork, whose history
    is shared, and is not appended to itself.

    Statements: A10, A24, B15.
    """
    for name, data in (
        (f"{SEGMENT}.jsonl", CHAINED),
        (f"{SESSION}/{SEGMENT}.jsonl", segment_file(SINGLE)),
        (f"{SESSION}/plural.jsonl", segment_file(PLURAL)),
    ):
        done = take(store, tmp_path / "in" / name, data)
        assert done.bad_lines == 0
        plain = read(data, name).state
        ids = bytes.fromhex(done.segment_id)
        writer, state = SegmentWriter.restore_by_segment(store, ids)
        assert state.history == plain.history
        assert state.user_segments == plain.user_segments
        assert (state.turn_count, state.notes) == (plain.turn_count, ())
        assert state.head_hash is not None
        assert state.entries_count == len(data.splitlines()) + 1
        with pytest.raises(FormatError, match="fork"):
            writer.save_turn_end(9)
        fork = writer.fork()
        fork.save_turn_end(9)
        assert fork.own_count == 2
        assert fork.state().history == plain.history
        assert fork.state().turn_count == 9


def test_an_altered_line_is_recorded(store: Store, tmp_path: Path) -> None:
    """
    A line whose hash is not right is taken in as it is, counted as bad, and its
    entry says that it was altered; a restore notes it.

    Statements: A8, A10.
    """
    data = CHAINED.replace(b"nothing", b"something")
    done = take(store, tmp_path / "in" / f"{SEGMENT}.jsonl", data)
    segment = store.segment(done.segment_id)
    assert done.bad_lines == 1
    assert [one.index for one in segment.entries() if one.kind == "altered"] == [5]
    _, state = SegmentWriter.restore_by_segment(store, segment.id)
    assert state.notes == ("line 5: has another hash than it says",)
    assert len(state.history) == 5


@pytest.mark.parametrize("torn", [0, 1, 40])
def test_a_log_that_grew(store: Store, tmp_path: Path, torn: int) -> None:
    """
    A log that grows, torn in between or not, is taken in where it was left; its
    chain is followed across the seam.

    Statements: A10, B28.
    """
    path = tmp_path / "in" / f"{SEGMENT}.jsonl"
    lines = CHAINED.splitlines(keepends=True)
    half = b"".join(lines[:5]) + lines[5][:torn]
    first = take(store, path, half)
    done = take(store, path, CHAINED)
    assert (done.segment_id, done.bad_lines) == (first.segment_id, 0)
    ids = bytes.fromhex(done.segment_id)
    _, state = SegmentWriter.restore_by_segment(store, ids)
    assert state.notes == ()
    assert state.history == read(CHAINED).state.history
    path.write_bytes(half)
    altered = half[: -torn or None] + b"".join(lines[6:])
    done = take(store, tmp_path / "in" / "cut.jsonl", altered)
    assert done.bad_lines == 1


def test_files_that_begin_alike_share_their_beginning(
    store: Store, tmp_path: Path
) -> None:
    """A file that goes on from another's lines is a fork, read to its own end."""
    turns = [{"kind": "turn_end", "ts": TIME, "turn_count": n} for n in range(60)]
    one = segment_file([start(), *turns])
    two = segment_file([start(), *turns[:50], *turns[:3]])
    take(store, tmp_path / "in" / SESSION / "a.jsonl", one)
    done = take(store, tmp_path / "in" / SESSION / "b.jsonl", two)
    assert store.segment(done.segment_id).fork_index == 52
    ids = bytes.fromhex(done.segment_id)
    _, state = SegmentWriter.restore_by_segment(store, ids)
    assert (state.turn_count, len(state.history)) == (2, 1)


def test_a_line_can_be_called_anything(store: Store, tmp_path: Path) -> None:
    """A line of a kind that castore has for itself is a line all the same."""
    odd = [{"kind": kind, "ts": TIME} for kind in ("snapshot", "start", "tail")]
    data = segment_file([*SINGLE, *odd])
    done = take(store, tmp_path / "in" / SESSION / "a.jsonl", data)
    ids = bytes.fromhex(done.segment_id)
    _, state = SegmentWriter.restore_by_segment(store, ids)
    assert state.history == read(data).state.history
    assert [note.partition(": ")[2] for note in state.notes] == ["unknown kind"] * 2


def test_traces_are_files_of_their_own(store: Store, tmp_path: Path) -> None:
    """
    A trace beside a segment's file is taken in as what it is, into the same session,
    and is no log.

    Statements: A24, B33.
    """
    folder = tmp_path / "in" / SESSION
    trace = segment_file(
        [
            {"ts": TIME, "turn": 1, "event": {"ping": {}}},
            {
                "ts": TIME,
                "turn": 1,
                "kind": {"lifecycle": {"label": "x"}},
            },
        ]
    )
    log = take(store, folder / f"{SEGMENT}.jsonl", segment_file(SINGLE))
    done = take(store, folder / f"{SEGMENT}.trace.jsonl", trace)
    assert (log.format, done.format) == ("segment-log", "trace-log")
    assert log.session_id == done.session_id
    assert store.session(("segment-log", SESSION)).id.hex() == log.session_id
    with pytest.raises(FormatError, match="no log"):
        SegmentWriter.restore_by_segment(store, bytes.fromhex(done.segment_id))


def test_a_folder_is_taken_in(store: Store, tmp_path: Path) -> None:
    """
    A root of both layouts is taken in as it lies: flat files, folders of sessions,
    names that are no ids, traces; each log's session is the one that it tells.

    Statements: B26, B33.
    """
    root = tmp_path / "in"
    forked = start(forked_from={"segment_id": SEGMENT, "at_turn_index": 1})
    files = {
        f"{SEGMENT}.jsonl": CHAINED,
        f"{SESSION}/{SEGMENT}.jsonl": segment_file(SINGLE),
        f"{SESSION}/other.jsonl": segment_file([forked]),
        "no-id/log.jsonl": segment_file([start(session_id="own")]),
        "notes.txt": b"no log",
    }
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    done = list(import_paths(store, [root], now_ms=NOW))
    assert [one.format for one in done].count("session-log") == 1
    assert [one.format for one in done].count("segment-log") == 3
    segments = store.session(("segment-log", SESSION)).segments()
    assert len(segments) == 2
    assert store.session(("segment-log", SEGMENT))
    assert store.session(("segment-log", "own"))
