"""
What each command does, on small stores.
"""

from __future__ import annotations

import os

from pathlib import Path

import pytest

from clikit import Shop, call

from castore.store import open as open_store
from castore.writing import NewEntry


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with two transcripts."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript("a.jsonl", 5), shop.transcript("b.jsonl", 3))
    return shop


def segment_of(shop: Shop, name: str) -> str:
    """Return the id of the segment imported from *name*."""
    rows = shop.do("ls")["segments"]
    return str(next(row["segment_id"] for row in rows if row["path"].endswith(name)))


# --- the store ---------------------------------------------------------------


def test_init_makes_a_store_and_says_so(tmp_path: Path) -> None:
    """A store that is made is announced; one that is there stays as it is."""
    shop = Shop(tmp_path)
    first = shop("init")
    made = shop.do("init")

    assert 0 == first.code
    assert f"castore: made a store at {shop.store}\n" == first.error
    assert made["made"] is False


def test_import_makes_a_store_and_says_so(tmp_path: Path) -> None:
    """The first import needs nothing before it."""
    shop = Shop(tmp_path)
    result = shop("import", shop.transcript())

    assert 0 == result.code
    assert f"castore: made a store at {shop.store}\n" == result.error


def test_the_environment_names_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CASTORE_STORE is the store where no option names one."""
    monkeypatch.setenv("CASTORE_STORE", str(tmp_path / "named"))

    assert 0 == call("init").code
    assert (tmp_path / "named" / "castore.json").exists()
    assert 10 == call("ls", "--store", tmp_path / "other").code


@pytest.mark.parametrize("folder", ["data", ""])
def test_the_data_folder_is_the_last_resort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    """XDG_DATA_HOME counts if it is absolute; else it is below the home folder."""
    monkeypatch.delenv("CASTORE_STORE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv(
        "XDG_DATA_HOME", str(tmp_path / folder) if folder else "relative"
    )
    wanted = tmp_path / (folder or ".local/share") / "castore"

    assert str(wanted) == call("--json", "init").object["path"]


def test_options_may_stand_before_and_behind_the_command(shop: Shop) -> None:
    """The store and the form of the output are options of every command."""
    before = call("--store", shop.store, "--json", "stats")
    behind = call("stats", "--json", "--store", shop.store)

    assert before.object == behind.object


def test_stats_counts(shop: Shop) -> None:
    """Sessions, segments and raw bytes are those of what was imported."""
    facts = shop.do("stats")
    size = sum((shop.root / name).stat().st_size for name in ("a.jsonl", "b.jsonl"))

    assert (2, 2) == (facts["sessions"], facts["segments"])
    assert size <= facts["raw_bytes"]
    assert facts["stored_bytes"] <= facts["disk_bytes"]


def test_pack_once(shop: Shop) -> None:
    """Packing twice finds nothing to do the second time."""
    first, second = shop.do("pack", "--level", "3"), shop.do("pack")

    assert first["seq"] is not None
    assert second["seq"] is None
    assert "nothing to pack" == shop("pack").lines[0]


def test_rebuild_makes_a_new_catalog(shop: Shop) -> None:
    """The catalog can go; what is listed stays the same."""
    before = shop("ls").text
    for path in shop.store.glob("catalog-*"):
        path.unlink()
    facts = shop.do("rebuild")

    assert 2 == facts["segments"]
    assert before == shop("ls").text


def test_reading_writes_nothing(shop: Shop) -> None:
    """Commands that read leave every byte as it is."""

    def content() -> dict[str, bytes]:
        files = (path for path in shop.store.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in files}

    segment = segment_of(shop, "a.jsonl")
    before = content()
    for args in (["ls"], ["log", segment], ["stats"], ["verify"], ["doctor"], ["tag"]):
        assert 0 == shop(*args).code

    assert before == content()


# --- transcripts -------------------------------------------------------------


def test_restore_gives_every_byte_back(shop: Shop) -> None:
    """To a file and to standard output, under each name that a segment has."""
    path = shop.transcript("c.jsonl", 4, [b"\xff\0 broken\r\n", b"torn"])
    row = shop.do("import", path)["files"][0]
    shop("restore", path, "-o", shop.root / "copy")

    assert path.read_bytes() == (shop.root / "copy").read_bytes()
    for name in (path, row["segment_id"], row["segment_id"][:31]):
        assert path.read_bytes() == shop("restore", name).data


def test_import_tells_what_is_new(shop: Shop) -> None:
    """The same file again adds nothing; a grown one what it has grown by."""
    again = shop.do("import", shop.root / "a.jsonl")["files"][0]
    grown = shop.do("import", shop.transcript("a.jsonl", 9))["files"][0]

    assert (5, 0) == (again["entries"], again["new_entries"])
    assert (9, 4) == (grown["entries"], grown["new_entries"])
    assert again["segment_id"] == grown["segment_id"]


def test_import_counts_bad_lines(shop: Shop) -> None:
    """Broken lines are kept and counted, in text and in JSON."""
    path = shop.transcript("c.jsonl", 4, [b"no json\n"])
    result = shop("import", path)

    assert "1 bad line kept as they are" in result.lines[0]
    assert 1 == shop.do("import", path)["files"][0]["bad_lines"]


def test_import_goes_on_behind_a_file_that_fails(shop: Shop) -> None:
    """What can be taken in is; what cannot is named."""
    result = shop("--json", "import", shop.root / "none", shop.transcript("c.jsonl"))

    assert 3 == result.code
    assert 1 == len(result.object["files"])
    assert [str(shop.root / "none")] == [row["path"] for row in result.object["failed"]]


def test_restore_never_replaces_unasked(shop: Shop) -> None:
    """A file that is there stays unless --force is said; nothing is left beside it."""
    path = shop.write("copy", b"mine")
    refused = shop("restore", shop.root / "a.jsonl", "-o", path)
    kept = path.read_bytes()
    forced = shop("restore", shop.root / "a.jsonl", "-o", path, "--force")

    assert (4, b"mine", 0) == (refused.code, kept, forced.code)
    assert (shop.root / "a.jsonl").read_bytes() == path.read_bytes()
    assert [] == list(shop.root.glob(".*"))


def test_restore_of_what_was_no_file(shop: Shop) -> None:
    """A segment that was not imported is refused, and no file appears."""
    with open_store(shop.store) as store:
        log = store.create_session(key=("by", "hand"))
    result = shop("restore", log.id.hex(), "-o", shop.root / "copy")

    assert 2 == result.code
    assert not (shop.root / "copy").exists()
    assert [] == list(shop.root.glob(".*"))


# --- payloads ----------------------------------------------------------------


def test_put_and_get(shop: Shop) -> None:
    """What was put comes back from a file and from standard input, by every name."""
    ref = shop("put", shop.write("data", b"payload")).lines[0]
    other = shop("put", "-", "--tag", "mine", given=b"other").lines[0]

    assert b"payload" == shop("get", ref).data
    assert b"other" == shop("get", "mine").data == shop("get", other).data
    assert {ref: ref, "mine": other} == {
        row["name"]: row["ref"] for row in shop.do("tag")["tags"]
    }


def test_put_of_something_similar(shop: Shop) -> None:
    """A difference is stored where the caller names what it is similar to."""
    data = os.urandom(60_000)
    first = shop("put", shop.write("one", data)).lines[0]
    before = shop.do("stats")["stored_bytes"]
    second = shop("put", shop.write("two", data + b"more"), "--like", first).lines[0]

    assert data + b"more" == shop("get", second).data
    assert 10_000 > shop.do("stats")["stored_bytes"] - before


def test_get_of_a_large_payload(shop: Shop) -> None:
    """A payload of many chunks comes back whole, into a file and as a stream."""
    data = os.urandom(1 << 20) * 9
    ref = shop("put", shop.write("large", data)).lines[0]
    shop("get", ref, "-o", shop.root / "copy")

    assert data == (shop.root / "copy").read_bytes()
    assert data == shop("get", ref).data


def test_tags_come_and_go(shop: Shop) -> None:
    """A tag is set, listed and let go of."""
    ref = shop("put", shop.write("data", b"payload"), "--tag", "one").lines[0]
    shop.do("tag", "two", "one")
    gone = shop.do("tag", "--delete", "one")["tags"]

    assert [("one", ref)] == [(row["name"], row["ref"]) for row in gone]
    assert ["two"] == [row["name"] for row in shop.do("tag")["tags"]]


# --- logs --------------------------------------------------------------------


def test_ls_lists_the_newest_commit_first(shop: Shop) -> None:
    """Segments stand in the order of their newest commits."""
    shop("import", shop.transcript("a.jsonl", 6))
    paths = [Path(row["path"]).name for row in shop.do("ls")["segments"]]

    assert ["a.jsonl", "b.jsonl"] == paths
    assert 1 == len(shop("ls", "--limit", "1").lines)


def test_ls_names_each_segment(shop: Shop) -> None:
    """By its file's path, else its session's key, else not; all by their ids."""
    with open_store(shop.store) as store:
        keyed = store.create_session(key=("tool", "one"))
        keyed.append([NewEntry("line", b"1"), NewEntry("line", b"2")])
        made = [store.create_session(), keyed, keyed.fork(2)]
        heads = [segment.head for segment in made]
        made[0].delete()
        deleted = store.create_session(key=("tool", "gone"))
        deleted.append([NewEntry("line")])
        heir = deleted.fork(2)
        deleted.delete()  # and goes on below its heir
    rows = {row["segment_id"]: row for row in shop.do("ls")["segments"]}

    assert 5 == len(rows) == len(shop("ls").lines)
    assert {made[0].id.hex(), deleted.id.hex()}.isdisjoint(rows)
    assert rows[heir.id.hex()]["session_key"] == "tool:gone"
    for segment, head in zip(made[1:], heads[1:], strict=True):
        fork = bool(head.fork_index)
        assert rows[segment.id.hex()] == {
            "segment_id": segment.id.hex(),
            "session_id": keyed.session_id.hex(),
            "session_key": "tool:one",
            "path": None,
            "format": None,
            "fork_of": keyed.id.hex() if fork else None,
            "fork_index": head.fork_index,
            "entries": head.count,
            "revision": head.revision,
            "seq": head.seq,
            "time_ms": head.time_ms,
        }
    line = next(each for each in shop("ls").lines if made[2].id.hex() in each)
    assert line.endswith("3 entries  tool:one  fork at 2")


def test_log_lists_entries_and_no_contents(shop: Shop) -> None:
    """Index, time, kind and size of each entry; nothing of what it holds."""
    result = shop("log", shop.root / "a.jsonl")

    assert 6 == len(result.lines)
    assert ["2", "2026-01-02", "03:04:01Z"] == result.lines[2].split()[:3]
    assert "line 1 of" not in result.text


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], [0, 1, 2, 3, 4, 5]),
        (["--reverse"], [5, 4, 3, 2, 1, 0]),
        (["--limit", "2"], [0, 1]),
        (["--kind", "assistant"], [2, 4]),
        (["--kind", "assistant", "--kind", "start"], [0, 2, 4]),
        (["--since", "2026-01-02T03:04:02Z", "--kind", "user"], [3, 5]),
        (["--until", "2026-01-02T03:04:01", "--kind", "user"], [1]),
        (["--since", "2026-01-03"], []),
        (["--id", "a.jsonl-3"], [4]),
    ],
)
def test_log_selects(shop: Shop, options: list[str], wanted: list[int]) -> None:
    """Kind, time, native id, order and number of the entries can be chosen."""
    rows = shop.do("log", shop.root / "a.jsonl", *options)["entries"]

    assert wanted == [row["index"] for row in rows]


def test_show_an_entry(shop: Shop) -> None:
    """The facts of an entry, by index from either end, and its bytes when asked."""
    segment = segment_of(shop, "a.jsonl")
    last = (shop.root / "a.jsonl").read_bytes().splitlines(keepends=True)[-1]
    facts = shop.do("show", f"{segment}[-1]")

    assert (5, len(last)) == (facts["index"], facts["size"])
    assert last == shop("show", f"{segment}[5]", "--body").data
    assert 0 == shop("show", f"{segment}[5]", "--body", "-o", shop.root / "body").code
    assert last == (shop.root / "body").read_bytes()
    assert shop.do("show", f"{segment}[4]")["hash"] == facts["prev"]
    assert "line 4" not in shop("show", f"{segment}[5]").text


def test_fork_and_rm(shop: Shop) -> None:
    """A fork inherits entries and outlives its parent."""
    segment = segment_of(shop, "a.jsonl")
    made = shop.do("fork", segment, "--at", 3)
    gone = shop.do("rm", segment)

    assert (segment, 3) == (made["fork_of"], made["fork_index"])
    assert 6 == gone["entries"]
    assert [0, 1, 2, 3] == [
        row["index"] for row in shop.do("log", made["segment_id"])["entries"]
    ]
    assert segment not in [row["segment_id"] for row in shop.do("ls")["segments"]]


def test_names_from_outside_do_not_move_the_cursor(shop: Shop) -> None:
    """Control characters in names come out as escapes."""
    name = "red\x1b[31m\nfile.jsonl"
    shop("import", shop.transcript(name))
    shop("put", shop.write("data", b"x"), "--tag", "a\x07b")
    text = shop("ls").text + shop("tag").text

    assert "\x1b" not in text
    assert "\x07" not in text
    assert r"red\x1b[31m\nfile.jsonl" in text
