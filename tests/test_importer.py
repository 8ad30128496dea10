"""
Import: what is new of a file goes in, once, where it belongs.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import castore

from castore.importer import (
    ImportedFile,
    facts_of,
    find_segment,
    import_file,
    import_paths,
    restore,
    taking,
)
from castore.importer.matching import COMMON_COUNT_MIN
from castore.limits import MIB


NOW = 1_800_000_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[castore.Store]:
    """Return a new store."""
    with castore.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a path for a transcript."""
    (tmp_path / "in").mkdir()
    return tmp_path / "in" / "log.jsonl"


def lines(count: int, *, first: int = 0, session: str | None = None) -> bytes:
    """Return *count* lines as agents write them, numbered from *first*."""
    records = [{"type": "user", "uuid": f"u{n}", "n": n} for n in range(first, count)]
    if session:
        records = [{**record, "sessionId": session} for record in records]
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def take(store: castore.Store, path: Path) -> ImportedFile:
    """Import *path*, check that it comes back and that importing again is free."""
    done = import_file(store, path, now_ms=NOW)
    out = io.BytesIO()
    size = restore(store, store.segment(done.segment_id), out)
    assert path.read_bytes() == out.getvalue()
    assert size == done.raw_bytes
    before = files_size(store)
    again = import_file(store, path, now_ms=NOW + 1)
    assert 0 == again.new_entries
    assert (done.segment_id, done.entries) == (again.segment_id, again.entries)
    assert (done.bad_lines, done.raw_bytes) == (again.bad_lines, again.raw_bytes)
    assert before == files_size(store)
    return done


def files_size(store: castore.Store) -> int:
    """Return the bytes of the store's files of frames."""
    return store.stats().stored_bytes


# --- real files --------------------------------------------------------------


FOLDERS = ("claude-code", "claw-code", "pi", "swe-agent", "runtime")


def test_real_files_come_back(store: castore.Store, data: Path) -> None:
    """Every byte of every real transcript is given back; a second import is free."""
    folders = [data / folder for folder in FOLDERS]
    done = list(import_paths(store, folders, now_ms=NOW))
    before = files_size(store)
    again = list(import_paths(store, folders, now_ms=NOW))

    assert 50 <= len(done)
    assert [file.segment_id for file in done] == [file.segment_id for file in again]
    assert {0} == {file.new_entries for file in again}
    assert before == files_size(store)
    for file in done:
        out = io.BytesIO()
        restore(store, find_segment(store, file.path), out)
        assert Path(file.path).read_bytes() == out.getvalue()


def test_real_formats_are_found(store: castore.Store, data: Path) -> None:
    """Each tool's files are taken for what they are, and nothing is lost in them."""
    done = list(import_paths(store, [data / name for name in FOLDERS[:4]], now_ms=NOW))
    formats: dict[str, set[str]] = {}
    for file in done:
        folder = Path(file.path).relative_to(data).parts[0]
        formats.setdefault(folder, set()).add(file.format)

    assert {
        "claude-code": {"claude-code"},
        "claw-code": {"claw-code", "claw-legacy", "claw-port"},
        "pi": {"pi"},
        "swe-agent": {"swe-agent"},
    } == formats
    assert 0 == sum(file.bad_lines for file in done)


def test_snapshots_are_one_session(store: castore.Store, data: Path) -> None:
    """Snapshots of a growing session become one fork tree; no line is kept twice."""
    done = list(import_paths(store, [data / "claude-code" / "2a55af89"], now_ms=NOW))
    segments = [store.segment(file.segment_id) for file in done]

    assert 8 == len(done)
    assert 1 == len({file.session_id for file in done})
    assert done[-1].entries == sum(file.new_entries for file in done)
    assert 7 == sum(segment.fork_index > 0 for segment in segments)
    # One start entry each; the store log has its own.
    assert store.stats().entries <= done[-1].entries + len(done) + 1


# --- growing and rewriting ---------------------------------------------------


def test_a_grown_file_goes_on(store: castore.Store, path: Path) -> None:
    """Of a file that has grown, only what is new is appended, where the rest is."""
    path.write_bytes(lines(5))
    first = take(store, path)
    path.write_bytes(lines(9))
    second = take(store, path)

    assert first.segment_id == second.segment_id
    assert (9, 4) == (second.entries, second.new_entries)


def test_a_tail_that_grows(store: castore.Store, path: Path) -> None:
    """An unterminated last line is kept, and does not count once the line went on."""
    text = lines(3)
    path.write_bytes(text[:-9])
    first = take(store, path)
    path.write_bytes(text[:-4])
    take(store, path)
    path.write_bytes(text + b"{")
    last = take(store, path)
    segment = store.segment(last.segment_id)

    assert first.segment_id == last.segment_id
    assert ["start", "user", "user", "tail", "tail", "user", "tail"] == [
        entry.kind for entry in segment.entries()
    ]


def test_a_tail_that_went(store: castore.Store, path: Path) -> None:
    """A file that lost its unterminated line is another file, given back as it is."""
    path.write_bytes(lines(40) + b"{")
    first = take(store, path)
    path.write_bytes(lines(40))
    second = take(store, path)

    assert first.segment_id != second.segment_id
    assert (40, 0) == (second.entries, second.new_entries)


@pytest.mark.parametrize("common", [0, COMMON_COUNT_MIN - 1, COMMON_COUNT_MIN, 50])
def test_a_rewritten_file(store: castore.Store, path: Path, common: int) -> None:
    """A rewritten file forks where it differs; what was there before stays."""
    path.write_bytes(lines(60))
    first = take(store, path)
    before = path.read_bytes()
    path.write_bytes(lines(common) + lines(80, first=70))
    second = take(store, path)
    inherited = common if common >= COMMON_COUNT_MIN else 0
    out = io.BytesIO()
    restore(store, store.segment(first.segment_id), out)

    assert first.segment_id != second.segment_id
    assert first.session_id == second.session_id
    assert common + 10 - inherited == second.new_entries
    assert (inherited > 0) == (store.segment(second.segment_id).fork_index > 0)
    assert before == out.getvalue()
    assert second.segment_id == find_segment(store, str(path)).id.hex()


def test_a_file_that_goes_back(store: castore.Store, path: Path) -> None:
    """The newest segment of a path is the file as it was imported last."""
    for text in (lines(40), lines(35), lines(40), b"", lines(40), lines(2)):
        path.write_bytes(text)
        take(store, path)
        out = io.BytesIO()
        restore(store, find_segment(store, str(path)), out)

        assert text == out.getvalue()


def test_a_copy_is_a_fork(store: castore.Store, path: Path) -> None:
    """The same file elsewhere costs one start entry."""
    path.write_bytes(lines(100))
    first = take(store, path)
    copy = path.with_name("copy.jsonl")
    copy.write_bytes(lines(100))
    before = files_size(store)
    second = take(store, copy)

    assert (100, 0) == (second.entries, second.new_entries)
    assert first.session_id == second.session_id
    assert first.segment_id != second.segment_id
    assert files_size(store) - before < 4096


@pytest.mark.parametrize("count", [1, 3, 31])
def test_a_log_that_began_small_is_found(
    store: castore.Store, path: Path, count: int
) -> None:
    """A log is found by what its file began with, however little that was."""
    path.write_bytes(lines(count))
    take(store, path)
    path.write_bytes(lines(200))
    take(store, path)
    copy = path.with_name("copy.jsonl")
    copy.write_bytes(lines(201))

    assert 1 == take(store, copy).new_entries


def test_the_longest_beginning_wins(store: castore.Store, path: Path) -> None:
    """Of all logs that begin alike, the fork is of the one that goes furthest."""
    ends = [(40, 45), (50, 60), (50, 70), (55, 90), (35, 95)]
    for number, (common, end) in enumerate(ends):
        other = path.with_name(f"{number}.jsonl")
        other.write_bytes(lines(common) + lines(end + 10, first=end))
        take(store, other)
    path.write_bytes(lines(55) + lines(100, first=90) + b"{}\n")
    done = take(store, path)

    assert (66, 1) == (done.entries, done.new_entries)


# --- sessions ----------------------------------------------------------------


def test_one_session_for_one_native_id(store: castore.Store, path: Path) -> None:
    """Files of one session, without common lines, are segments of one session."""
    path.write_bytes(lines(4, session="s"))
    other = path.with_name("other.jsonl")
    other.write_bytes(lines(9, first=4, session="s"))
    first, second = take(store, path), take(store, other)
    session = store.session((first.format, "s"))

    assert session.id.hex() == first.session_id == second.session_id
    assert 2 == len(session.segments())


def test_a_subagent_is_in_its_parents_session(
    store: castore.Store, tmp_path: Path
) -> None:
    """A subagent's file is a segment of the session that it worked for."""
    name = "0f5bd7f2-6a8e-4b26-8f5e-1f6f2c9f0a11"
    main = tmp_path / f"{name}.jsonl"
    main.write_bytes(lines(3, session=name))
    agent = tmp_path / name / "subagents" / "agent-1.jsonl"
    agent.parent.mkdir(parents=True)
    record = {"type": "user", "isSidechain": True, "agentId": "1", "sessionId": name}
    agent.write_bytes(json.dumps(record).encode() + b"\n")
    below, above = take(store, agent), take(store, main)
    facts = facts_of(store, store.segment(below.segment_id))

    assert below.session_id == above.session_id
    assert facts
    assert ("subagent", name) == (facts.relation, facts.parent)
    assert above.segment_id == find_segment(store, name).id.hex()


def test_what_the_entries_say(store: castore.Store, path: Path) -> None:
    """Kind and time are the line's own; the import's clock stands in no time."""
    told = {"type": "assistant", "timestamp": "2026-01-02T03:04:05Z"}
    text = json.dumps(told).encode() + b"\n{}\n\nnot json\n"
    path.write_bytes(text)
    done = take(store, path)
    segment = store.segment(done.segment_id)
    start, *entries = segment.entries()
    facts = facts_of(store, segment)

    assert [("assistant", 1_767_323_045_000), ("line", None)] == [
        (entry.kind, entry.time_ms) for entry in entries[:2]
    ]
    assert ["blank", "broken"] == [entry.kind for entry in entries[2:]]
    assert (4, 1) == (done.entries, done.bad_lines)
    assert start.time_ms != NOW
    assert facts
    assert (str(path), len(text), NOW) == (facts.path, facts.size, facts.imported_ms)
    assert "import" == (start.start and start.start.cause)


# --- stops and others --------------------------------------------------------


def test_a_killed_import_is_gone_on_with(tmp_path: Path, path: Path) -> None:
    """After kill -9 in the middle the next import adds what is missing."""
    path.write_bytes(lines(3500))
    script = (
        "import castore, os, sys\n"
        "from castore.importer import import_file\n"
        "store = castore.open(sys.argv[1], create=True)\n"
        "def kill(path, done, size):\n"
        "    if done * 2 > size: os.kill(os.getpid(), 9)\n"
        "import_file(store, sys.argv[2], now_ms=1, progress=kill)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "store"), str(path)]
    killed = subprocess.run(
        command, check=False, env={**os.environ, "PYTHONPATH": ROOT}
    )
    with castore.open(tmp_path / "store") as store:
        left = find_segment(store, str(path))
        with pytest.raises(castore.NotFoundError):
            restore(store, left, io.BytesIO())
        done = take(store, path)

        assert -signal.SIGKILL == killed.returncode
        assert left.id.hex() == done.segment_id
        assert 0 < done.new_entries < 3500 == done.entries


ROOT = str(Path(castore.__file__).parents[1])


def test_another_importer_at_the_same_time(
    store: castore.Store, tmp_path: Path, path: Path
) -> None:
    """Who finds that another one appended goes on from there."""
    path.write_bytes(lines(3500))
    with castore.open(tmp_path / "store") as other:
        told: list[int] = []

        def interfere(_: str, done: int, __: int) -> None:
            if not told:
                import_file(other, path, now_ms=NOW)
            told.append(done)

        done = import_file(store, path, now_ms=NOW, progress=interfere)

    assert (3500, 1000) == (done.entries, done.new_entries)
    assert 1 == len(list(store.sessions()))
    take(store, path)


# --- large lines -------------------------------------------------------------


def into_nothing(store: castore.Store, path: Path) -> None:
    """A file nobody knows, without a session of its own."""
    path.write_bytes(lines(50))


def into_a_session(store: castore.Store, path: Path) -> None:
    """A file of a session that is there."""
    other = path.with_name("other.jsonl")
    other.write_bytes(lines(5, session="s"))
    take(store, other)
    path.write_bytes(lines(70, first=60, session="s"))


def into_a_fork(store: castore.Store, path: Path) -> None:
    """A file that begins as another one."""
    other = path.with_name("other.jsonl")
    other.write_bytes(lines(50))
    take(store, other)
    path.write_bytes(lines(60))


def rewritten(store: castore.Store, path: Path) -> None:
    """A file that was imported before, and is another one now."""
    path.write_bytes(lines(50))
    take(store, path)
    path.write_bytes(lines(40) + lines(45, first=90))


@pytest.mark.parametrize(
    "begin", [into_nothing, into_a_session, into_a_fork, rewritten]
)
def test_two_importers_begin_at_once(
    begin: Callable[[castore.Store, Path], None],
    store: castore.Store,
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever comes second goes on where the first is: one segment for one path."""
    begin(store, path)
    before = {segment.id for each in store.sessions() for segment in each.segments()}
    make = taking._Taker._start
    found: list[Any] = []

    def start(taker: Any, *args: Any) -> dict[str, Any]:
        made = make(taker, *args)
        if not found:  # another one does it all, just before this one commits
            found.append(None)
            with castore.open(tmp_path / "store") as other:
                found[0] = import_file(other, path, now_ms=NOW)
        return made

    monkeypatch.setattr(taking._Taker, "_start", start)
    second = import_file(store, path, now_ms=NOW)
    [first] = found
    assert (first.segment_id, 0) == (second.segment_id, second.new_entries)
    after = {segment.id for each in store.sessions() for segment in each.segments()}
    assert {bytes.fromhex(first.segment_id)} == after - before


def test_a_huge_line_in_bounded_memory(store: castore.Store, path: Path) -> None:
    """A line of 30 MB is neither parsed nor held as a whole."""
    with path.open("wb") as file:
        file.write(b'{"type": "user", "text": "')
        for _ in range(30):
            file.write(os.urandom(MIB // 2).hex().encode())
        file.write(b'"}\n' + lines(2))
    tracemalloc.start()
    done = import_file(store, path, now_ms=NOW)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert ["start", "user", "user", "user"] == [
        entry.kind for entry in store.segment(done.segment_id).entries()
    ]
    assert peak < 64 * MIB
    take(store, path)


def test_a_huge_line_that_is_there(store: castore.Store, path: Path) -> None:
    """A large line that the store has already is not written again."""
    large = b'{"x": "' + os.urandom(MIB).hex().encode() + b'"}\n'
    path.write_bytes(large)
    take(store, path)
    before = files_size(store)
    path.write_bytes(b"{}\n" + large)
    done = take(store, path)

    assert 2 == done.new_entries
    assert files_size(store) - before < 8192
