"""
Large strings in lines are stored once; where a line is cut changes nothing of it.

Spec: spec/blob.md, "Chunk list".
"""

from __future__ import annotations

import base64
import json
import random

from pathlib import Path

import pytest

from hypothesis import given
from hypothesis import strategies as st

import castore

from castore.importer import import_paths, restore
from castore.importer import strings as module
from castore.importer.strings import Strings
from castore.limits import BLOB_RECORD_SIZE_MAX, KIB
from castore.packing import pack
from castore.verify import verify


IMAGE = (
    "data:image/png;base64,"
    + base64.b64encode(random.Random(1).randbytes(90_000)).decode()
)


def size(path: Path) -> int:
    """Return the bytes of a store's journals and packs."""
    return sum(file.stat().st_size for file in (path / "files").iterdir())


# --- cutting -----------------------------------------------------------------

pieces = st.sampled_from([b'"', b"\\", b'\\"', b"\\\\", b"{", b"x" * 40, b"y" * 300])


@given(st.lists(pieces, max_size=60), st.integers(1, 90), st.data())
def test_any_line(parts: list[bytes], step: int, data: st.DataObject) -> None:
    """Whatever a line holds and however it comes, its parts together are the line."""
    line = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "AGAIN_SIZE", data.draw(st.sampled_from([8, 100])))
        patch.setattr(module, "_WAIT_SIZE", data.draw(st.sampled_from([50, 10**6])))
        strings = Strings()
        for _ in range(2):
            assert line == b"".join(strings.cut(line))
            some = [line[at : at + step] for at in range(0, len(line), step)]
            found = list(strings.cut_stream(some))
            assert line == b"".join(found)
            assert all(found)


def test_a_large_string_is_apart() -> None:
    """A large string is one part, whatever stands around it."""
    for before in ("", "x" * 777):
        line = json.dumps({"a": before, "image": IMAGE, "z": 1}).encode()

        assert IMAGE.encode() in Strings().cut(line)


def test_a_string_in_a_string() -> None:
    """JSON that stands in a string of a line is looked into."""
    inner = json.dumps([{"kind": "image", "url": IMAGE}])
    first, second = (
        Strings().cut(json.dumps({"number": number, "output": inner}).encode())
        for number in (1, 22_222)
    )
    shared = max(set(first) & set(second), key=len)

    assert IMAGE.encode() in shared


def test_a_smaller_string_is_apart_when_it_comes_again() -> None:
    """A string of some KiB stays in its line until it is met for the second time."""
    text = "z" * (module.AGAIN_SIZE + 1)
    line = json.dumps({"output": text}).encode()
    strings = Strings()

    assert [line] == strings.cut(line)
    assert text.encode() in strings.cut(line)
    assert [b"short"] == strings.cut(b"short")


def test_a_talk_of_short_strings_is_cut_when_it_comes_again() -> None:
    """A long line of short strings has its text in common with one that goes on."""
    rng = random.Random(4)
    talk = [rng.randbytes(500).hex() for _ in range(300)]
    strings = Strings()
    first, second, third = (
        strings.cut(json.dumps(talk[9 * number : 200 + 9 * number]).encode())
        for number in range(3)
    )
    shared = sum(len(part) for part in set(second) & set(third))

    assert 1 == len(first)
    assert shared > 0.7 * sum(map(len, third))


def test_the_end_of_an_endless_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far into a line no string is looked for, so that its chunks fit one list."""
    monkeypatch.setattr(module, "LOOK_SIZE", 1 << 20)
    part = random.Random(7).randbytes(5000).hex().encode()
    line = [b'["' + part + b'","' + IMAGE.encode() + b'"]'] * 100
    found = list(Strings().cut_stream(line))
    alone = sum(part == IMAGE.encode() for part in found)

    assert b"".join(line) == b"".join(found)
    assert 5 < alone < 10
    assert len(found) < 100


def test_a_string_too_large_to_wait_for() -> None:
    """No part is above what one record holds, and the rest is cut as before."""
    huge = "q" * (3 * BLOB_RECORD_SIZE_MAX)
    line = json.dumps({"huge": huge, "image": IMAGE}).encode()
    some = [line[at : at + 999_983] for at in range(0, len(line), 999_983)]
    found = list(Strings().cut_stream(some))

    assert line == b"".join(found)
    assert max(map(len, found)) <= BLOB_RECORD_SIZE_MAX
    assert IMAGE.encode() in found


# --- stored ------------------------------------------------------------------


def test_an_image_is_stored_once(tmp_path: Path) -> None:
    """
    A history that repeats an image a hundred times takes the room of one; every
    byte comes back, before and after packing, and the checker agrees.
    """
    path = tmp_path / "talk.jsonl"
    lines = [
        json.dumps({"number": number, "items": [f"text {number}", IMAGE]})
        for number in range(100)
    ]
    lines.append(json.dumps({"history": [IMAGE] * 20 + ["x" * 300]}))
    path.write_text("\n".join(lines) + "\n")
    with castore.open(tmp_path / "store", create=True) as store:
        (done,) = import_paths(store, [path], now_ms=0)
        assert size(tmp_path / "store") < 2 * len(IMAGE)
        for _ in range(2):
            out = tmp_path / "out"
            with out.open("wb") as file:
                restore(store, store.segment(done.segment_id), file)
            assert path.read_bytes() == out.read_bytes()
            pack(store.engine)
        (again,) = import_paths(store, [path], now_ms=1)
        assert 0 == again.new_entries

    assert size(tmp_path / "store") < 1.1 * len(IMAGE)
    assert verify(tmp_path / "store").ok


def test_a_line_in_parts_survives_gc_of_its_parts(tmp_path: Path) -> None:
    """What a waiting line shares with garbage is there when the line is committed."""
    from castore.engine.putting import put_parts
    from castore.gc import collect

    parts = [b"a" * KIB, IMAGE.encode(), b"b" * KIB]
    with castore.open(tmp_path / "store", create=True) as store:
        store.put(parts[1], tag="t")
        waiting = put_parts(store.engine, parts)
        store.untag("t")
        with castore.open(tmp_path / "store") as other:
            collect(other.engine, grace_s=0, yes=True)
        log = store.create_session(then=[castore.NewEntry("x", waiting)])

        assert b"".join(parts) == store.get(waiting)
        assert 2 == log.count
    assert verify(tmp_path / "store").ok


def test_a_line_that_is_cut_otherwise_the_second_time(tmp_path: Path) -> None:
    """Of a line that one commit has twice, each time cut otherwise, all is stored."""
    text = random.Random(2).randbytes(module.AGAIN_SIZE).hex()
    line = json.dumps({"output": text, "image": IMAGE}).encode() + b"\n"
    path = tmp_path / "twice.jsonl"
    path.write_bytes(line + line)
    with castore.open(tmp_path / "store", create=True) as store:
        (done,) = import_paths(store, [path], now_ms=0)
        out = tmp_path / "out"
        with out.open("wb") as file:
            restore(store, store.segment(done.segment_id), file)

    strings = Strings()
    assert strings.cut(line) != strings.cut(line)
    assert line + line == out.read_bytes()
    assert verify(tmp_path / "store").ok


def test_a_talk_that_goes_on_is_stored_once(tmp_path: Path) -> None:
    """
    Compactions that repeat images and many short texts cost what is new in each,
    and some bytes for each part; also before packing.
    """
    rng = random.Random(8)
    talk = [rng.randbytes(400).hex() for _ in range(600)]
    lines = [
        json.dumps({"history": [IMAGE] * 3 + talk[at : at + 200]})
        for at in range(0, 360, 9)
    ]
    path = tmp_path / "talk.jsonl"
    path.write_text("\n".join(lines) + "\n")
    with castore.open(tmp_path / "store", create=True) as store:
        (done,) = import_paths(store, [path], now_ms=0)
        assert size(tmp_path / "store") < 0.75 * (len(IMAGE) + 3 * 600 * 400)
        out = tmp_path / "out"
        with out.open("wb") as file:
            restore(store, store.segment(done.segment_id), file)
        assert path.read_bytes() == out.read_bytes()
        pack(store.engine)
        assert size(tmp_path / "store") < 0.75 * len(IMAGE) + 1.3 * 600 * 400
    assert verify(tmp_path / "store").ok


# --- large blobs that are alike ----------------------------------------------


def test_large_versions_differ_by_their_changes(tmp_path: Path) -> None:
    """A large blob like another costs about what was changed, not what it holds."""
    rng = random.Random(3)
    data = bytearray(rng.randbytes(9 * 1024 * KIB))
    with castore.open(tmp_path / "store", create=True) as store:
        log = store.create_session()
        like, versions = None, []
        for _ in range(4):
            like = store.put(bytes(data), like=like)
            versions.append((like, bytes(data)))
            named = castore.Reference("snapshot", like)
            log.append([castore.NewEntry("x", b"", [named])])
            for _ in range(5):
                at = rng.randrange(len(data) - 40)
                data[at : at + rng.randrange(30)] = rng.randbytes(10)
        first = len(versions[0][1])

        assert size(tmp_path / "store") < first * 1.01
        pack(store.engine)
        for ref, held in versions:
            assert held == store.get(ref)
            assert held[5_000_000:5_000_100] == store.engine.view.blobs.read_range(
                ref, 5_000_000, 5_000_100
            )
    assert verify(tmp_path / "store").ok
