"""
``restore --all`` and ``--to-origin``: files where they belong, and nowhere else.
"""

from __future__ import annotations

import os

from pathlib import Path

import pytest
import zstandard

from agents import codex, rollout_name
from clikit import Shop
from hypothesis import given, settings
from hypothesis import strategies as st

import castore

from castore.formats.entry import Reference
from castore.importer import (
    FileFacts,
    find_segment,
    give_back,
    import_file,
    imported_segments,
)
from castore.importer.placing import Top


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with three imported files, one of them rewritten since."""
    shop = Shop(tmp_path)
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/a.jsonl", "in/deep/b.jsonl"):
        shop("-q", "import", shop.transcript(name))
    shop("-q", "import", shop.write(f"in/{rollout_name(1)}", codex(1)))
    shop("-q", "import", shop.transcript("in/a.jsonl", 9))
    return shop


def content_below(folder: Path) -> dict[str, bytes]:
    """Return the files below *folder*."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_all_below_a_folder(shop: Shop) -> None:
    """Each path comes back as it was imported last, under its whole path."""
    before = content_below(shop.root / "in")
    facts = shop.do("restore", "--all", "-o", shop.root / "out")
    below = shop.root / "out" / str(shop.root / "in")[1:]

    assert before == content_below(below)
    assert {"written"} == {file["how"] for file in facts["files"]}
    assert 3 == len(facts["files"])


def test_again_changes_nothing(shop: Shop) -> None:
    """What is there and the same is left alone."""
    shop.do("restore", "--all", "-o", shop.root / "out")
    stamps = {p: p.stat().st_mtime_ns for p in (shop.root / "out").rglob("*")}
    facts = shop.do("restore", "--all", "-o", shop.root / "out")

    assert {"same"} == {file["how"] for file in facts["files"]}
    assert stamps == {p: p.stat().st_mtime_ns for p in (shop.root / "out").rglob("*")}


def test_to_origin(shop: Shop) -> None:
    """Files that went come back to their place, folders too."""
    before = content_below(shop.root / "in")
    for path in sorted((shop.root / "in").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (shop.root / "in").rmdir()
    facts = shop.do("restore", "--all", "--to-origin")

    assert before == content_below(shop.root / "in")
    assert all(file["path"] == file["output"] for file in facts["files"])


def test_one_to_origin(shop: Shop) -> None:
    """One segment goes back as well; its file is whole or not there."""
    path = shop.root / "in" / "deep" / "b.jsonl"
    before = path.read_bytes()
    path.unlink()
    shop.do("restore", path, "--to-origin")

    assert before == path.read_bytes()
    assert 0o600 == path.stat().st_mode & 0o777


def test_a_file_that_differs_stays(shop: Shop) -> None:
    """It is refused, told, and stops no other; ``--force`` replaces it."""
    path = shop.root / "in" / "a.jsonl"
    path.write_bytes(b"mine")
    (shop.root / "in" / "deep" / "b.jsonl").unlink()
    result = shop("restore", "--all", "--to-origin")

    assert 3 == result.code
    assert "--force" in result.error
    assert b"mine" == path.read_bytes()
    assert (shop.root / "in" / "deep" / "b.jsonl").exists()
    assert 4 == shop("restore", path, "--to-origin").code
    facts = shop.do("restore", path, "--to-origin", "--force")
    assert "replaced" == facts["files"][0]["how"]
    assert b"mine" != path.read_bytes()


def test_packed(shop: Shop) -> None:
    """With ``--zst`` what Codex wrote is packed, all else is plain."""
    shop.do("restore", "--all", "--zst", "-o", shop.root / "out")
    again = shop.do("restore", "--all", "--zst", "-o", shop.root / "out")
    found = content_below(shop.root / "out" / str(shop.root / "in")[1:])
    packed = found.pop(f"{rollout_name(1)}.zst")

    assert codex(1) == zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    assert {"a.jsonl", "deep/b.jsonl"} == set(found)
    assert {"same"} == {file["how"] for file in again["files"]}


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--all"],
        ["--all", "x", "-o", "y"],
        ["--all", "--to-origin", "-o", "y"],
        ["--json", "--all"],
    ],
)
def test_what_must_be_said(shop: Shop, options: list[str]) -> None:
    """What could mean two things is refused."""
    assert 2 == shop("restore", *options).code


# --- links and other traps ---------------------------------------------------


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("where", ["in/a.jsonl", "in/deep", "in"])
def test_links_lead_nowhere(shop: Shop, where: str, force: bool) -> None:
    """A link on the way or at the end is never followed; the last is replaced."""
    outside = shop.root / "outside"
    outside.mkdir()
    (outside / "target").write_bytes(b"target")
    top = shop.root / "out"
    link = top / str(shop.root)[1:] / where
    link.parent.mkdir(parents=True)
    link.symlink_to(outside / "target" if where.endswith("l") else outside)
    options = ["--force"] if force else []
    result = shop("restore", "--all", "-o", top, *options)

    assert {"target": b"target"} == content_below(outside)
    assert (0 if force and where == "in/a.jsonl" else 3) == result.code or (
        where == "in" and result.code == 4
    )


def test_a_folder_in_the_way(shop: Shop) -> None:
    """A folder is never replaced."""
    path = shop.root / "in" / "a.jsonl"
    path.unlink()
    path.mkdir()

    assert 4 == shop("restore", path, "--to-origin", "--force").code
    assert path.is_dir()


def put_path(store: castore.Store, path: bytes) -> castore.Segment:
    """Begin a segment that says that it was imported from *path*."""
    facts = FileFacts(path="/x", format="jsonl", size=3, imported_ms=1)
    return store.create_session(
        body=facts.encode(),
        refs=[Reference("path", store.put(path))],
        cause="import",
        then=[castore.NewEntry("line", b"{}\n")],
    )


@settings(deadline=None, max_examples=30)
@given(
    st.lists(
        st.sampled_from([b"..", b".", b"", b"a", b"b\0c", b"link", b"\xff"]), max_size=4
    ).map(b"/".join)
)
def test_hostile_paths(tmp_path_factory: pytest.TempPathFactory, path: bytes) -> None:
    """Whatever a store says, nothing is written outside of the folder."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "top").mkdir()
    (root / "outside").mkdir()
    (root / "top" / "link").symlink_to(root / "outside")
    with castore.open(root / "store", create=True) as store:
        segment = put_path(store, path)
        try:
            give_back(store, segment, str(root / "top"), force=True)
        except castore.CastoreError:
            made = False
        else:
            made = True

    assert {"top", "outside", "store"} == {item.name for item in root.iterdir()}
    assert [] == list((root / "outside").iterdir())
    assert made == any(item.is_file() for item in (root / "top").rglob("*"))


def test_a_stopped_import_gives_nothing(tmp_path: Path) -> None:
    """Half a file is never put in place, and nothing is left of it."""
    with castore.open(tmp_path / "store", create=True) as store:
        facts = FileFacts(path="/x", format="jsonl", size=99, imported_ms=1)
        segment = store.create_session(
            body=facts.encode(),
            refs=[Reference("path", store.put(b"/a/b"))],
            then=[castore.NewEntry("line", b"{}\n")],
        )
        with pytest.raises(castore.NotFoundError):
            give_back(store, segment, str(tmp_path / "out"))

    assert {} == content_below(tmp_path / "out")


def test_what_comes_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    """A file that appears while the content is written stays."""
    with Top(str(tmp_path)) as top:

        def fill(out: object) -> int:
            (tmp_path / "a").write_bytes(b"mine")
            return 0

        with pytest.raises(castore.ConflictError):
            top.put(b"a", fill, force=False)

    assert {"a": b"mine"} == content_below(tmp_path)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """A path comes back to the byte."""
    odd = tmp_path / os.fsdecode(b"\xff.jsonl")
    try:
        odd.write_bytes(b"{}\n")
    except OSError:
        pytest.skip("this file system wants names in UTF-8")
    with castore.open(tmp_path / "store", create=True) as store:
        import_file(store, odd, now_ms=1)
        odd.unlink()
        done = give_back(store, find_segment(store, str(odd)), "/")

        assert [done.segment_id] == [s.id.hex() for s in imported_segments(store)]
    assert b"{}\n" == odd.read_bytes()
