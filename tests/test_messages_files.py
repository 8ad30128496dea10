"""
Files of message sessions written anew: bytes, rotation, and the real sessions.

Spec: spec/messages.md, "Files".
"""

from __future__ import annotations

import errno
import io
import json
import os

from pathlib import Path
from typing import Any

import pytest

import castore

from castore.errors import NotFoundError, StorageError
from castore.importer import find_segment, import_file, restore
from castore.messages import Clock, MessageFormatError, Transcript
from castore.messages.exporting import ROTATED_SIZE_MIN, write_file


SESSIONS = ("session-1775010047738.json", "session-1775011562247.json")
OTHERS = {
    "b234acb1eb8c486e80544ddc7e13e6d8.json": "missing version",
    "ledger.jsonl": "record at line 1: missing type",
}


def names(folder: Path) -> list[str]:
    """Return the names in *folder*."""
    return sorted(path.name for path in folder.iterdir())


# --- bytes -------------------------------------------------------------------


def test_lines_are_written_as_their_system_writes_them() -> None:
    """
    Meta, compaction, prompts, messages; names sorted, no space, a line end; the
    characters U+007F to U+009F escaped like those below a space.

    Statements: D1, D4, D5.
    """
    made = Transcript.new(session_id="s", clock=Clock(lambda: 7))
    made.push_user_text('a"\\\n\x1f\x7f\x85é\u2028/')
    made.record_compaction("so far", 4)
    forked = made.fork("b", session_id="t")

    fork = '"fork":{"branch_name":"b","parent_session_id":"s"},'
    assert forked.to_jsonl().decode() == (
        f'{{"created_at_ms":10,{fork}"session_id":"t","type":"session_meta",'
        '"updated_at_ms":10,"version":1}\n'
        '{"count":1,"removed_message_count":4,"summary":"so far","type":"compaction"}\n'
        '{"message":{"blocks":[{"text":"a\\"\\\\\\n\\u001f\\u007f\\u0085é\u2028/",'
        '"type":"text"}],"role":"user"},"type":"message"}\n'
    )
    document = json.loads(forked.to_json())
    assert sorted(document) == [
        "compaction",
        "created_at_ms",
        "fork",
        "messages",
        "session_id",
        "updated_at_ms",
        "version",
    ]
    assert Transcript.parse(forked.to_json()) == forked


def test_a_file_of_the_system_comes_out_as_it_was() -> None:
    """
    What was saved and then appended to, or written as a document: byte for byte.

    Statements: D1, D10.
    """
    made = Transcript.new()
    made.push_user_text("saved")
    saved = made.to_jsonl()
    made.push_prompt_entry("x")
    made.push_user_text("appended")
    appended = saved + made.to_jsonl().splitlines(keepends=True)[-1]

    assert Transcript.parse(saved).to_jsonl() == saved
    assert Transcript.parse(appended).to_jsonl() == appended
    assert Transcript.parse(made.to_json()).to_json() == made.to_json()


@pytest.mark.parametrize("name", SESSIONS)
def test_a_real_session_comes_out_as_it_was(
    data: Path, store: castore.Store, tmp_path: Path, name: str
) -> None:
    """
    Loaded, stored, reopened: equal, and the document byte for byte; as lines,
    saved and loaded: equal.

    Statements: D1, D2.
    """
    path = data / "claw-code" / name
    made = Transcript.load_from_path(path)
    made.store_in(store)
    found = Transcript.open(store, path.stem)
    found.save_to_path(tmp_path / "lines.jsonl")
    lines = Transcript.load_from_path(tmp_path / "lines.jsonl")

    assert made.skipped == ()
    assert found == made == lines == Transcript.parse(found.to_json())
    assert found.to_json(derived=False) == path.read_bytes()
    assert lines.to_jsonl() == (tmp_path / "lines.jsonl").read_bytes()


@pytest.mark.parametrize("name", OTHERS)
def test_what_its_system_refuses_comes_out_as_it_was(
    data: Path, store: castore.Store, name: str
) -> None:
    """
    Files beside the sessions that are none are refused with their fault; an
    import keeps them byte for byte.

    Statements: D7.
    """
    path = data / "claw-code" / name
    with pytest.raises(MessageFormatError, match=f"^{OTHERS[name]}$"):
        Transcript.load_from_path(path)
    import_file(store, path, now_ms=0)
    out = io.BytesIO()
    restore(store, find_segment(store, str(path)), out)

    assert out.getvalue() == path.read_bytes()
    assert Transcript.load_from_path(path, lenient=True).skipped


# --- files -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "rotates"), [(262_143, False), (262_144, True), (262_154, True)]
)
def test_a_large_file_is_kept(tmp_path: Path, size: int, *, rotates: bool) -> None:
    """
    From 262,144 bytes on, the file that is there gets another name.

    Statements: D6, D8.
    """
    path = tmp_path / "made" / "s.x.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"x" * size)
    write_file(path, b"new", clock=Clock(lambda: 5))

    assert path.read_bytes() == b"new"
    kept = ["s.x.rot-6.jsonl"] if rotates else []
    assert names(path.parent) == sorted([path.name, *kept])
    for name in kept:
        assert (path.parent / name).read_bytes() == b"x" * size


def test_three_are_kept(tmp_path: Path) -> None:
    """
    Of those with other names the newest three stay; files of others stay.

    Statements: D6.
    """
    path = tmp_path / "s.jsonl"
    other = tmp_path / "t.rot-1.jsonl"
    other.write_bytes(b"")
    clock = Clock(lambda: 5)  # all in one millisecond
    for number in range(6):
        write_file(path, bytes([number]) * ROTATED_SIZE_MIN, clock=clock)
        os.utime(path, (number, number))
    write_file(path, b"end", clock=clock)

    kept = sorted(
        one.read_bytes()[0] for one in tmp_path.iterdir() if "s.rot-" in one.name
    )
    assert kept == [3, 4, 5]
    assert path.read_bytes() == b"end"
    assert other.exists()
    assert len(names(tmp_path)) == 5  # nothing else is left behind


def test_a_bare_name_is_in_this_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A file without a folder is written, kept and pruned like others.

    Statements: D6.
    """
    monkeypatch.chdir(tmp_path)
    for _ in range(6):
        write_file("s.jsonl", b"x" * ROTATED_SIZE_MIN)

    assert len(names(tmp_path)) == 4


def test_a_push_never_rotates(tmp_path: Path, store: castore.Store) -> None:
    """
    Only a file written whole rotates; a stored session writes no file at all.

    Statements: D9.
    """
    path = tmp_path / "s.jsonl"
    made = Transcript.create(store)
    made.push_user_text("x" * ROTATED_SIZE_MIN)
    made.save_to_path(path)
    before = path.read_bytes()
    made.push_user_text("more")
    made.compact()

    assert names(tmp_path) == ["s.jsonl"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("number", [errno.EPERM, errno.EXDEV])
def test_without_links_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where a file cannot have two names, the old one is copied first."""

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "s.jsonl"
    path.write_bytes(b"x" * ROTATED_SIZE_MIN)
    os.utime(path, (1, 1))
    (tmp_path / "s.rot-6.jsonl").write_bytes(b"taken")
    monkeypatch.setattr(os, "link", refuse)
    write_file(path, b"new", clock=Clock(lambda: 5))

    assert path.read_bytes() == b"new"
    assert (tmp_path / "s.rot-6.jsonl").read_bytes() == b"taken"
    assert (tmp_path / "s.rot-7.jsonl").stat().st_size == ROTATED_SIZE_MIN
    assert (tmp_path / "s.rot-7.jsonl").stat().st_mtime == 1


def test_there_is_a_file_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails on the way leaves the old file where it was, and no litter."""
    path = tmp_path / "s.jsonl"
    path.write_bytes(b"x" * ROTATED_SIZE_MIN)

    def fail(self: Path, target: Path) -> None:
        assert path.stat().st_size == ROTATED_SIZE_MIN
        assert self.read_bytes() == b"new"
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fail)
        with pytest.raises(StorageError) as caught:
            write_file(path, b"new")

    assert (caught.value.errno, caught.value.transient) == (errno.ENOSPC, True)
    assert path.stat().st_size == ROTATED_SIZE_MIN
    assert all("tmp" not in name for name in names(tmp_path))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """No file is not found; a folder cannot be read."""
    with pytest.raises(NotFoundError):
        Transcript.load_from_path(tmp_path / "none.jsonl")
    with pytest.raises(StorageError):
        Transcript.load_from_path(tmp_path)
