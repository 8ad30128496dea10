"""
Import of many files: what is looked for, and what one bad file does to others.
"""

from __future__ import annotations

import os

from collections.abc import Iterator
from pathlib import Path

import pytest

import castore

from castore.importer import import_file, import_paths


LINE = b'{"type": "user"}\n'


@pytest.fixture
def store(tmp_path: Path) -> Iterator[castore.Store]:
    """Return a new store."""
    with castore.open(tmp_path / "store", create=True) as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of transcripts and of other things."""
    root = tmp_path / "in"
    (root / "b" / ".hidden").mkdir(parents=True)
    (root / "a.jsonl").write_bytes(LINE)
    (root / "b" / "c.jsonl").write_bytes(LINE)
    (root / "b" / ".hidden" / "d.jsonl").write_bytes(LINE)
    (root / "e.traj").write_bytes(b'{"trajectory": []}')
    (root / "f.json").write_bytes(b'{"version": 1, "messages": [{"blocks": []}]}')
    (root / "g.json").write_bytes(b'{"name": "no transcript"}')
    (root / "h.txt").write_bytes(LINE)
    (root / "i.jsonl").symlink_to(root / "a.jsonl")
    (root / "j").symlink_to(root / "b")
    (root / "k.jsonl").mkdir()
    return root


def names(done: list[castore.importer.ImportedFile], root: Path) -> list[str]:
    """Return the paths of *done* below *root*."""
    return [str(Path(file.path).relative_to(root)) for file in done]


def test_what_is_found_in_a_folder(store: castore.Store, folder: Path) -> None:
    """Transcripts of all folders below are taken in order; links are left alone."""
    done = list(import_paths(store, [folder], now_ms=1))

    assert [
        "a.jsonl",
        "e.traj",
        "f.json",
        "b/c.jsonl",
        "b/.hidden/d.jsonl",
    ] == names(done, folder)
    assert ["jsonl", "swe-agent", "claw-legacy"] == [file.format for file in done[:3]]


def test_what_is_named_is_taken(store: castore.Store, folder: Path) -> None:
    """A named file is imported whatever it is called, a link as what it leads to."""
    done = list(
        import_paths(
            store, [folder / n for n in ("h.txt", "g.json", "i.jsonl")], now_ms=1
        )
    )

    assert ["h.txt", "g.json", "i.jsonl"] == names(done, folder)
    assert {"jsonl"} == {file.format for file in done}


def test_the_same_file_twice(store: castore.Store, folder: Path) -> None:
    """A file that comes twice, by whatever spelling of its path, is taken in once."""
    plain = folder / "a.jsonl"
    same = [str(plain), f"{folder}/b/../a.jsonl", os.path.relpath(plain)]
    done = list(import_paths(store, same, now_ms=1))

    assert [1, 0, 0] == [file.new_entries for file in done]
    assert 1 == len({file.segment_id for file in done})


def test_one_bad_file_stops_no_other(store: castore.Store, folder: Path) -> None:
    """What cannot be taken in is told with its error, and the others go on."""
    os.mkfifo(folder / "pipe.jsonl")
    paths = [folder / "none.jsonl", folder / "pipe.jsonl", folder / "a.jsonl"]
    told: list[tuple[str, type]] = []
    done = list(
        import_paths(
            store,
            paths,
            now_ms=1,
            failed=lambda path, error: told.append((Path(path).name, type(error))),
        )
    )

    assert ["a.jsonl"] == names(done, folder)
    assert [
        ("none.jsonl", castore.NotFoundError),
        ("pipe.jsonl", castore.FormatError),
    ] == told
    with pytest.raises(castore.NotFoundError):
        list(import_paths(store, paths, now_ms=1))


def test_a_closed_store_stops_all(tmp_path: Path, folder: Path) -> None:
    """What will hit every file is raised at once."""
    store = castore.open(tmp_path / "store", create=True)
    store.close()
    with pytest.raises(castore.ClosedError):
        list(import_paths(store, [folder], now_ms=1, failed=lambda *_: None))


def test_an_unknown_format_is_refused(store: castore.Store, folder: Path) -> None:
    """A format that does not exist is the caller's mistake, and nothing is stored."""
    with pytest.raises(ValueError, match="format"):
        import_file(store, folder / "a.jsonl", format="tape", now_ms=1)
    assert [] == list(store.sessions())


def test_names_that_are_no_text(store: castore.Store, tmp_path: Path) -> None:
    """A path may be any bytes, of any length that the system takes."""
    folder = tmp_path / ("long" * 50) / ("longer" * 40) / ("longest" * 30)
    folder = folder / ("x" * 250) / ("y" * 250)
    folder.mkdir(parents=True)
    odd = os.fsencode(folder) + b"/\xff.jsonl"
    path = os.fsdecode(odd)
    try:
        Path(path).write_bytes(LINE)
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    first = import_file(store, path, now_ms=1)
    second = import_file(store, path, now_ms=1)

    assert (1, 0) == (first.new_entries, second.new_entries)
    assert path == first.path


def test_progress_is_told(store: castore.Store, folder: Path) -> None:
    """Progress comes after each commit, in bytes of the file."""
    path = folder / "a.jsonl"
    path.write_bytes(LINE * 2500)
    told: list[tuple[str, int, int]] = []
    import_file(store, path, now_ms=1, progress=lambda *facts: told.append(facts))
    size = path.stat().st_size

    assert [(str(path), size * part // 5, size) for part in (2, 4, 5)] == told


def test_a_store_that_may_not_grow(tmp_path: Path, folder: Path) -> None:
    """A full store refuses a file with its limit; what was there stays."""
    castore.open(tmp_path / "store", create=True).close()
    with castore.open(tmp_path / "store", max_bytes=10_000) as store:
        import_file(store, folder / "a.jsonl", now_ms=1)
        (folder / "a.jsonl").write_bytes(LINE + os.urandom(20_000) + b"\n")
        with pytest.raises(castore.LimitError):
            import_file(store, folder / "a.jsonl", now_ms=1)

        assert 1 == len(list(store.sessions()))


def test_a_fork_in_another_session(store: castore.Store, folder: Path) -> None:
    """A file that names another session shares the beginning and not the session."""
    begin = b"".join(b'{"n": %d}\n' % n for n in range(40))
    done = []
    for name in (b"one", b"two"):
        path = folder / f"{name.decode()}.jsonl"
        path.write_bytes(begin + b'{"session_id": "%b"}\n' % name)
        done.append(import_file(store, path, now_ms=1))
    second = store.segment(done[1].segment_id)

    assert [41, 1] == [file.new_entries for file in done]
    assert 41 == second.fork_index
    assert store.session(("jsonl", "one")).id.hex() == done[0].session_id
    assert store.session(("jsonl", "two")).id == second.session_id
