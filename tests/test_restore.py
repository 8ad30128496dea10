"""
Restore: the bytes that were imported, whatever they are; names of what was.
"""

from __future__ import annotations

import io
import json
import os

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from hypothesis import strategies as st

import castore

from castore.importer import (
    find_native,
    find_segment,
    import_file,
    import_paths,
    restore,
)
from castore.limits import MIB


@pytest.fixture
def store(tmp_path: Path) -> Iterator[castore.Store]:
    """Return a new store."""
    with castore.open(tmp_path / "store", create=True) as opened:
        yield opened


def lines(count: int) -> bytes:
    """Return *count* lines as agents write them."""
    return b"".join(b'{"type":"user","uuid":"u%d"}\n' % n for n in range(count))


def restored(store: castore.Store, segment: castore.Segment) -> bytes:
    """Return the file that was imported as *segment*."""
    out = io.BytesIO()
    size = restore(store, segment, out)
    assert size == len(out.getvalue())
    return out.getvalue()


def check_twice(store: castore.Store, path: Path) -> castore.Segment:
    """Import the file twice; check that it comes back and the second was free."""
    done = import_file(store, path, now_ms=1)
    before = store.stats()
    again = import_file(store, path, now_ms=2)
    segment = find_segment(store, str(path))

    assert path.read_bytes() == restored(store, segment)
    assert done.segment_id == again.segment_id == segment.id.hex()
    assert (done.entries, done.bad_lines) == (again.entries, again.bad_lines)
    assert (0, path.stat().st_size) == (again.new_entries, again.raw_bytes)
    assert before == store.stats()
    return segment


# --- whatever the file holds -------------------------------------------------


LEGACY = json.dumps(
    {"version": 1, "messages": [{"role": "user", "blocks": [n]} for n in range(40)]},
    indent=1,
).encode()

HOSTILE = {
    "empty": b"",
    "one-newline": b"\n",
    "no-final-newline": lines(3)[:-1],
    "torn-last-line": lines(3)[:-9],
    "torn-only-line": b'{"type": "us',
    "broken-lines": lines(2) + b'{"a": \n{]\nnot json\n"text"\n' + lines(2),
    "crlf": lines(3).replace(b"\n", b"\r\n"),
    "carriage-returns": lines(3).replace(b"\n", b"\r"),
    "byte-order-mark": b"\xef\xbb\xbf" + lines(2),
    "mark-in-the-middle": lines(2) + b"\xef\xbb\xbf" + lines(2),
    "bad-utf-8": lines(2) + b'{"type": "\xff\xfe"}\n' + b"\xc3",
    "lone-surrogate": b'{"type": "\\ud800", "sessionId": "\\udfff"}\n',
    "duplicate-keys": b'{"type": "a", "type": "b", "uuid": 1, "uuid": 2}\n',
    "zeros": lines(2) + b"\0" * 5000 + b"\n" + lines(2) + b"\0" * 100,
    "nesting": b"[" * 20_000 + b"\n" + b'{"a":' * 5000 + b"\n",
    "number": b'{"timestamp": 1e999, "n": ' + b"9" * 10_000 + b"}\n",
    "same-lines": b"{}\n" * 100 + b"{}",
    "reserved-kinds": b"".join(
        b'{"type":"%b"}\n' % kind for kind in (b"start", b"tail", b"broken", b"before")
    ),
    "document": LEGACY,
    "document-cut": LEGACY[:-40],
    "document-cut-behind-a-message": LEGACY[: LEGACY.rindex(b"}", 0, -4) + 1],
    "document-twice": LEGACY + b"\n" + LEGACY,
    "document-of-no-messages": b'{"version": 1, "messages": []}',
    "blank": b" \n\t\n\r\n   ",
    "random": bytes(range(256)) * 20,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_come_back(
    store: castore.Store, tmp_path: Path, name: str
) -> None:
    """Nothing that a file may hold is fatal, dropped or changed."""
    for suffix in ("jsonl", "json", "traj"):
        path = tmp_path / f"{name}.{suffix}"
        path.write_bytes(HOSTILE[name])
        check_twice(store, path)


@pytest.mark.parametrize("format", ["claude-code", "jsonl", "claw-legacy", "swe-agent"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_wrong_format_loses_nothing(
    store: castore.Store,
    tmp_path: Path,
    name: str,
    format: str,  # noqa: A002
) -> None:
    """A file taken for what it is not comes back all the same."""
    path = tmp_path / "log"
    path.write_bytes(HOSTILE[name])
    import_file(store, path, format=format, now_ms=1)

    assert HOSTILE[name] == restored(store, find_segment(store, str(path)))


def test_large_lines_come_back(store: castore.Store, tmp_path: Path) -> None:
    """Lines of some MiB, good or not, ended or not, come back."""
    large = os.urandom(MIB).hex().encode()
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        b'{"uuid": "a", "x": "' + large * 5 + b'"}\n' + large + b"\n" + b"{}\n" + large
    )
    segment = check_twice(store, path)
    entry = find_native(store, segment, "a")

    assert entry
    assert 1 == entry.index


def test_a_document_that_grows(store: castore.Store, tmp_path: Path) -> None:
    """A document is written anew each time; its messages are kept once."""
    path = tmp_path / "session.json"
    for count in (3, 40, 41, 60, 60, 50):
        messages = [{"role": "user", "blocks": [n]} for n in range(count)]
        path.write_text(json.dumps({"version": 1, "messages": messages}))
        done = import_file(store, path, now_ms=1)
        check_twice(store, path)

        assert count + 2 == done.entries
    # 3, then 40 and all that the others add: two that end, and one message each.
    assert 1 == len(list(store.sessions()))
    assert store.stats().entries < 140


LINE = st.one_of(
    st.sampled_from(
        [b"{}", b"", b" ", b'{"type":"user"}', b"\0", b"\xff", b'{"a"', b"]"]
    ),
    st.integers(0, 5).map(lambda n: b'{"type":"x","uuid":"%d"}' % n),
    st.binary(max_size=12),
)
TEXT = st.builds(
    lambda head, some, end, tail: lines(head) + end.join([*some, tail]),
    st.sampled_from([0, 0, 31, 32, 33]),
    st.lists(LINE, max_size=6),
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"{", b"{}"]),
)
CHANGE = st.one_of(
    st.tuples(st.just("append"), TEXT),
    st.tuples(st.just("rewrite"), TEXT),
    st.tuples(st.just("cut"), st.integers(0, 60)),
    st.tuples(st.just("copy"), st.integers(0, 2)),
)


@hypothesis.given(changes=st.lists(CHANGE, min_size=1, max_size=6))
@hypothesis.settings(deadline=None)
def test_files_that_change(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, bytes | int]]
) -> None:
    """However files grow, shrink, change or are copied: the last import comes back."""
    folder = tmp_path_factory.mktemp("changing")
    paths = [folder / f"{number}.jsonl" for number in range(3)]
    texts = dict.fromkeys(paths, b"")
    here = paths[0]
    with castore.open(folder / "store", create=True) as store:
        for what, value in changes:
            if isinstance(value, bytes):
                texts[here] = value if what == "rewrite" else texts[here] + value
            elif what == "cut":
                texts[here] = texts[here][: max(0, len(texts[here]) - value)]
            else:
                texts[paths[value]], here = texts[here], paths[value]
            here.write_bytes(texts[here])
            check_twice(store, here)
        for path in paths:
            if path.exists():
                assert texts[path] == restored(store, find_segment(store, str(path)))


# --- what is no import -------------------------------------------------------


def test_restore_of_what_was_no_file(store: castore.Store) -> None:
    """A segment that no import made is not given out as a file."""
    segment = store.create_session(body=b"x", then=[castore.NewEntry("user", b"{}\n")])
    out = io.BytesIO()

    with pytest.raises(castore.FormatError):
        restore(store, segment, out)
    assert b"" == out.getvalue()


# --- names -------------------------------------------------------------------


@pytest.fixture
def several(store: castore.Store, tmp_path: Path) -> list[str]:
    """Return the segment ids of two files and of the one both became later."""
    ids = []
    for name in ("one", "two"):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b'{"session_id": "%b", "n": 1}\n' % name.encode())
        ids.append(import_file(store, path, now_ms=1).segment_id)
    (tmp_path / "two.jsonl").write_bytes(b'{"session_id": "two", "n": 2}\n')
    ids.append(import_file(store, tmp_path / "two.jsonl", now_ms=1).segment_id)
    return ids


def test_names_of_a_segment(
    store: castore.Store, tmp_path: Path, several: list[str]
) -> None:
    """An id, its beginning, a session key, its text, or the path find a segment."""
    one, old, two = several
    names = {
        one: [one, "jsonl:one", "one", str(tmp_path / "one.jsonl"), one[:31]],
        two: [two, "jsonl:two", "two", f"{tmp_path}/x/../two.jsonl"],
        old: [old],
    }

    for segment, some in names.items():
        assert {segment} == {find_segment(store, name).id.hex() for name in some}


def test_names_that_mean_several(store: castore.Store, several: list[str]) -> None:
    """A name that could mean several segments is a conflict that lists them."""
    store.create_session(key=("other", "one"))
    for name in (several[0][:1], "one"):
        with pytest.raises(castore.ConflictError) as caught:
            find_segment(store, name)

        assert several[0] in str(caught.value.actual)


@pytest.mark.parametrize("name", ["", "x", "ff" * 16, "jsonl:", ":", "\udcff", "a:\0"])
def test_names_of_nothing(store: castore.Store, several: list[str], name: str) -> None:
    """What names nothing is not found, whatever it is."""
    with pytest.raises(castore.NotFoundError):
        find_segment(store, name)


def test_deleted_segments_are_not_found(
    store: castore.Store, tmp_path: Path, several: list[str]
) -> None:
    """A deleted segment has no names, and its file can be imported again."""
    store.segment(several[0]).delete()
    path = tmp_path / "one.jsonl"

    for name in ("one", "jsonl:one", str(path)):
        with pytest.raises(castore.NotFoundError):
            find_segment(store, name)
    check_twice(store, path)


def test_native_names(store: castore.Store, data: Path) -> None:
    """Every record that names itself is found by its name, in lines and documents."""
    folders = [data / "claude-code" / "2a55af89" / "00.jsonl", data / "pi"]
    for done in import_paths(store, folders, now_ms=1):
        segment = store.segment(done.segment_id)
        with Path(done.path).open("rb") as file:
            records = [json.loads(line) for line in file]
        named = [record for record in records if record.keys() & {"uuid", "id"}]
        for record in named[:: len(named) // 4 + 1]:
            name = record.get("uuid") or record.get("id")
            found = find_native(store, segment, name)

            assert found
            assert record == json.loads(store.get(found.body))
        assert find_native(store, segment, "no such name") is None


def test_native_names_with_escapes(store: castore.Store, tmp_path: Path) -> None:
    """A name counts as what it says, however the line spells it."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"id": "a"}\n{"id": "\\u0062"}\n{"id": "c\\/d"}\n{"id": "e"}')
    segment = check_twice(store, path)

    found = [find_native(store, segment, name) for name in ("a", "b", "c/d", "e", "f")]
    assert [1, 2, 3, 4, None] == [entry and entry.index for entry in found]
