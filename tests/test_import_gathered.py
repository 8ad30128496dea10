"""
Import of many small files: one commit begins many, and nothing else is different.
"""

from __future__ import annotations

import io
import json
import random

from pathlib import Path
from typing import Any

import pytest

import castore

from castore.importer import (
    ImportedFile,
    facts_of,
    gathering,
    import_file,
    import_paths,
    restore,
)
from castore.importer.remembering import Memory
from castore.store import Store
from castore.verify import verify


NOW = 4_000_000_000_000


def write_some(folder: Path, seed: int, count: int = 150) -> None:
    """Write files that share sessions, contents and beginnings, some of them large."""
    rng = random.Random(seed)
    folder.mkdir()
    for number in range(count):
        size = rng.choice([0, 1, 2, 5, 31, 32, 33, 60])
        session = rng.choice([None, None, f"s{rng.randrange(20)}", f"t{number}"])
        names: dict[str, Any] = {"sessionId": session} if session else {}
        if rng.random() < 0.2:
            names |= {"isSidechain": True, "agentId": f"a{number}"}
        same = rng.random() < 0.5
        records = [
            {"type": "user", "n": line if same else number * 1000 + line, **names}
            for line in range(size)
        ]
        text = "".join(json.dumps(record) + "\n" for record in records)
        (folder / f"{number:03}.jsonl").write_text(text + rng.choice(["", "{"]))


def shape(store: Store, done: list[ImportedFile]) -> list[tuple[object, ...]]:
    """Return what an import made of files, without what chance gives."""
    sessions: dict[str, int] = {}
    segments: dict[str, int] = {}
    found: list[tuple[object, ...]] = []
    for file in done:
        segment = store.segment(file.segment_id)
        facts = facts_of(store, segment)
        assert facts
        key = store.session(segment.session_id).key
        found.append(
            (
                sessions.setdefault(file.session_id, len(sessions)),
                segments.setdefault(file.segment_id, len(segments)),
                (file.path, file.format, file.entries, file.bad_lines),
                (file.raw_bytes, file.new_entries, segment.fork_index, key),
                (facts.native_session, facts.parent, facts.relation, facts.size),
            )
        )
    return found


def all_come_back(store: Store, done: list[ImportedFile]) -> bool:
    """Whether each file is given back."""
    for file in done:
        out = io.BytesIO()
        restore(store, store.segment(file.segment_id), out)
        if Path(file.path).read_bytes() != out.getvalue():
            return False
    return True


@pytest.mark.parametrize("seed", range(4))
def test_as_one_by_one(tmp_path: Path, seed: int) -> None:
    """Gathered or not: the same sessions, segments, forks and entries, in order."""
    write_some(tmp_path / "in", seed)
    paths = sorted((tmp_path / "in").iterdir())
    twice = [*paths, *paths[:9]]
    with (
        castore.open(tmp_path / "one", create=True) as one,
        castore.open(tmp_path / "two", create=True) as two,
    ):
        wanted = [import_file(one, path, now_ms=1) for path in twice]
        done = list(import_paths(two, twice, now_ms=1))

        assert shape(one, wanted) == shape(two, done)
        assert all_come_back(two, done)
        assert one.stats().entries == two.stats().entries
    assert verify(tmp_path / "two").ok


def test_few_commits(tmp_path: Path) -> None:
    """A hundred files take a few commits, and are remembered as any other."""
    (tmp_path / "in").mkdir()
    for number in range(100):
        text = f'{{"type":"user","sessionId":"{number}"}}\n'
        (tmp_path / "in" / f"{number}.jsonl").write_text(text)
    with castore.open(tmp_path / "store", create=True) as store:
        before = store.engine.view.position.seq
        first = list(import_paths(store, [tmp_path / "in"], now_ms=NOW))
        assert store.engine.view.position.seq - before <= 3
        known = [Memory(store).unchanged(f.path, None) for f in first]

        assert 100 == len(first) == sum(found is not None for found in known)


def test_others_take_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the common commit fails, each file is taken in by itself."""
    write_some(tmp_path / "in", 7, 40)
    with (
        castore.open(tmp_path / "store", create=True) as store,
        castore.open(tmp_path / "store") as other,
    ):
        real = gathering.Gathering._commit

        def late(self: gathering.Gathering) -> None:
            waiting = list(self._waiting)
            for item in waiting[:3]:
                import_file(other, item.result.path, now_ms=1)
            real(self)

        monkeypatch.setattr(gathering.Gathering, "_commit", late)
        done = list(import_paths(store, [tmp_path / "in"], now_ms=1))

        assert 40 == len(done)
        assert all_come_back(store, done)
        assert len(done) == len({file.segment_id for file in done})
    assert verify(tmp_path / "store").ok


def test_no_room_for_all(tmp_path: Path) -> None:
    """What does not fit fails by itself; what does is taken in."""
    (tmp_path / "in").mkdir()
    rng = random.Random(1)
    for number in range(20):
        size = 60_000 if number == 11 else 50
        text = f'{{"x":"{rng.randbytes(size).hex()}"}}\n'
        (tmp_path / "in" / f"{number:02}.jsonl").write_text(text)
    failed: list[str] = []
    with castore.open(tmp_path / "store", create=True, max_bytes=50_000) as store:
        done = list(
            import_paths(
                store,
                [tmp_path / "in"],
                now_ms=1,
                failed=lambda path, _: failed.append(Path(path).name),
            )
        )

        assert ["11.jsonl"] == failed
        assert 19 == len(done)
        assert all_come_back(store, done)
