"""
Import of what is known: an unchanged file is not opened, a grown one not cut anew.
"""

from __future__ import annotations

import io
import os

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from agents import codex
from hypothesis import strategies as st

import castore

from castore.importer import ImportedFile, import_file, import_paths, restore
from castore.importer.matching import find_common
from castore.importer.source import open_source


NOW = 4_000_000_000_000  # long after every file of these tests
SQL_FLIP = "UPDATE remembered SET value = substr(value, 1, 9) || x'00'"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[castore.Store]:
    """Return a new store."""
    with castore.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a transcript of 40 lines."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "log.jsonl"
    path.write_bytes(lines(40))
    return path


def lines(stop: int, start: int = 0) -> bytes:
    """Return the lines ``[start, stop)``."""
    return b"".join(b'{"type":"user","n":%d}\n' % n for n in range(start, stop))


def take(store: castore.Store, path: Path, now_ms: int = NOW) -> ImportedFile:
    """Import *path* and check that it comes back."""
    done = import_file(store, path, now_ms=now_ms)
    out = io.BytesIO()
    restore(store, store.segment(done.segment_id), out)
    assert path.read_bytes() == out.getvalue()
    return done


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of what was opened to be imported."""
    told: list[str] = []
    real = open_source

    def watch(path: str, format: str | None) -> object:  # noqa: A002
        told.append(Path(path).name)
        return real(path, format)

    monkeypatch.setattr("castore.importer.taking.open_source", watch)
    return told


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows each time a file is compared with logs."""
    told: list[int] = []
    real = find_common

    def watch(*args: object) -> object:
        told.append(len(args))
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("castore.importer.taking.find_common", watch)
    return told


# --- unchanged ---------------------------------------------------------------


def test_an_unchanged_file_is_not_opened(
    store: castore.Store, path: Path, opened: list[str]
) -> None:
    """It is told as if it had been read, and nothing is written."""
    first = take(store, path)
    before = store.stats().stored_bytes
    again = [*import_paths(store, [path.parent], now_ms=NOW), take(store, path)]

    assert ["log.jsonl"] == opened
    assert [0, 0] == [file.new_entries for file in again]
    assert {first.segment_id} == {file.segment_id for file in again}
    assert [(40, 0, len(lines(40)))] * 2 == [
        (file.entries, file.bad_lines, file.raw_bytes) for file in again
    ]
    assert before == store.stats().stored_bytes


def test_the_next_process_knows(tmp_path: Path, path: Path, opened: list[str]) -> None:
    """What is remembered outlives the handle."""
    for _ in range(2):
        with castore.open(tmp_path / "store", create=True) as store:
            list(import_paths(store, [path.parent], now_ms=NOW))

    assert ["log.jsonl"] == opened


def rewrite(path: Path) -> None:
    """Change a byte; size and time of change stay as they were."""
    facts = path.stat()
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def replace(path: Path) -> None:
    """Put another file of the same size and time in its place."""
    facts = path.stat()
    other = path.with_name("other")
    other.write_bytes(path.read_bytes().replace(b"user", b"tool"))
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize(
    "change", [rewrite, replace, Path.touch, lambda path: path.write_bytes(b"")]
)
def test_a_changed_file_is_read(
    store: castore.Store, path: Path, opened: list[str], change: object
) -> None:
    """Size, inode or a time that differs is enough to look."""
    take(store, path)
    assert callable(change)
    change(path)
    take(store, path)

    assert 2 == len(opened)


def test_a_file_touched_just_before(
    store: castore.Store, path: Path, opened: list[str]
) -> None:
    """Within the tick of a slow clock another change could go unseen."""
    for _ in range(2):
        take(store, path, path.stat().st_mtime_ns // 1_000_000 + 1999)

    assert 2 == len(opened)


def test_a_file_that_grows_meanwhile(store: castore.Store, path: Path) -> None:
    """What changed while it was read is not remembered, and read again."""
    path.write_bytes(lines(1500))

    def grow(*_: object) -> None:
        with path.open("ab") as file:
            file.write(b"{}\n")

    import_file(store, path, now_ms=NOW, progress=grow)
    again = take(store, path)

    assert again.entries == path.read_bytes().count(b"\n")


def forget_by_rebuild(store: castore.Store) -> None:
    """Make the catalog anew."""
    store.engine.rebuild()


def forget_by_damage(store: castore.Store) -> None:
    """Damage what is remembered."""
    catalog = store.engine.state.catalog
    assert catalog is not None
    with catalog._db.using("BEGIN IMMEDIATE") as db:
        db.execute(SQL_FLIP)


def forget_by_version(store: castore.Store) -> None:
    """Let another version have written it."""
    catalog = store.engine.state.catalog
    assert catalog is not None
    rows = catalog._db.fetch("SELECT name FROM remembered")
    assert rows
    catalog.remember({name: b"\x81\x01" for (name,) in rows})


def forget_by_append(store: castore.Store) -> None:
    """Let somebody append to the log."""
    for session in store.sessions():
        store.segment(session.segments()[0].id).append([castore.NewEntry("x", b"")])


def forget_by_delete(store: castore.Store) -> None:
    """Delete the log."""
    for session in store.sessions():
        store.segment(session.segments()[0].id).delete()


@pytest.mark.parametrize(
    "forget",
    [
        forget_by_rebuild,
        forget_by_damage,
        forget_by_version,
        forget_by_append,
        forget_by_delete,
    ],
)
def test_what_is_forgotten_is_read(
    store: castore.Store, path: Path, opened: list[str], forget: object
) -> None:
    """Without what is remembered, or with another log, the file is read again."""
    take(store, path)
    assert callable(forget)
    forget(store)
    take(store, path)

    assert 2 == len(opened)


def test_another_format_is_another_import(
    store: castore.Store, path: Path, opened: list[str]
) -> None:
    """What the caller says of the format counts."""
    import_file(store, path, now_ms=NOW)
    import_file(store, path, format="claude-code", now_ms=NOW)
    import_file(store, path, format="claude-code", now_ms=NOW)

    assert 2 == len(opened)


# --- grown -------------------------------------------------------------------


@pytest.mark.parametrize("before", [lines(40), lines(40) + b"{", b"{", b""])
@pytest.mark.parametrize("more", [b'"a":1}\n', b'"a":1}\n{', b"", b"\n", b"{}\n" * 9])
def test_a_grown_file_is_not_cut_anew(
    store: castore.Store, path: Path, compared: list[int], before: bytes, more: bytes
) -> None:
    """Its beginning is hashed and compared with no log; a tail may have gone on."""
    path.write_bytes(before)
    first = take(store, path)
    compared.clear()
    path.write_bytes(before + more)
    second = take(store, path)
    fresh = castore.open(path.parent / "other", create=True)
    wanted = import_file(fresh, path, now_ms=NOW)
    fresh.close()

    assert [] == compared
    assert (wanted.entries, wanted.bad_lines) == (second.entries, second.bad_lines)
    if b"\n" in before:
        assert first.segment_id == second.segment_id


def test_a_rewritten_file_that_grew(
    store: castore.Store, path: Path, compared: list[int]
) -> None:
    """A beginning that hashes to something else is compared line by line."""
    first = take(store, path)
    path.write_bytes(lines(39) + lines(60, 50))
    second = take(store, path)

    assert compared
    assert first.segment_id != second.segment_id
    assert (40, 10) == (
        store.segment(second.segment_id).fork_index,
        second.new_entries,
    )


def test_grown_twice_and_packed(store: castore.Store, tmp_path: Path) -> None:
    """Of a packed file, the content counts."""
    import zstandard

    path = tmp_path / "a.jsonl.zst"
    new = []
    for turns in (2, 3, 3):
        content = codex(1, turns).rpartition(b'{"timestamp"')[0]
        path.write_bytes(zstandard.compress(content))
        new.append(import_file(store, path, now_ms=NOW).new_entries)

    assert [True, True, False] == [count > 0 for count in new]


TEXT = st.lists(
    st.sampled_from([b"{}\n", b'{"a":1}\n', b"\n", b"{", b"}\n", b"\0"]), max_size=40
).map(b"".join)
STEP = st.tuples(st.sampled_from(["append", "rewrite", "again", "cut"]), TEXT)


@hypothesis.given(st.lists(STEP, min_size=1, max_size=6))
@hypothesis.settings(deadline=None)
def test_knowing_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bytes]]
) -> None:
    """However a file changes, what is said of it is what a first reading says."""
    folder = tmp_path_factory.mktemp("changing")
    path = folder / "a.jsonl"
    text = lines(33)
    with (
        castore.open(folder / "known", create=True) as known,
        castore.open(folder / "other", create=True) as other,
    ):
        for what, more in steps:
            text = {
                "append": text + more,
                "rewrite": more,
                "again": text,
                "cut": text[: -len(more) or None],
            }[what]
            path.write_bytes(text)
            done = take(known, path)
            wanted = import_file(other, path, now_ms=0)

            assert (wanted.entries, wanted.bad_lines, wanted.raw_bytes) == (
                done.entries,
                done.bad_lines,
                done.raw_bytes,
            )
            assert wanted.new_entries == done.new_entries
