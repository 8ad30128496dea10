"""
``castore export`` and ``castore verify`` of a bundle.
"""

from __future__ import annotations

import json

from pathlib import Path

import pytest

from clikit import Shop

import castore

from castore.bundles import check_bundle


SECRET = b"nobody may read this"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a session of two segments, and one more session."""
    shop = Shop(tmp_path)
    with castore.open(shop.store, create=True) as store:
        log = store.create_session(key=("by", "hand"))
        for number in range(5):
            state = castore.Reference("tool.out", store.put(SECRET + b"%d" % number))
            log.append([castore.NewEntry("turn", b"body %d" % number, [state])])
        log.fork(3, then=[castore.NewEntry("turn", b"other")])
        store.create_session(then=[castore.NewEntry("turn", b"alone")])
    return shop


def entries_of(path: Path) -> dict[bytes, int]:
    """Return how many entries of each segment stand in a bundle."""
    checked = check_bundle(path)
    assert checked.report.ok
    assert checked.manifest is not None
    return {row.segment: row.stop - row.first for row in checked.manifest.rows}


def test_a_session_is_exported_whole(shop: Shop) -> None:
    """A session, by key or id, is all of its segments; a segment is one."""
    path = shop.root / "bundle"
    listed = shop.do("ls")["segments"]
    session = next(row for row in listed if row["session_key"] == "by:hand")

    for name in ("by:hand", session["session_id"]):
        done = shop.do("export", name, "-o", path, "--force")
        assert (2, 8) == (done["segments"], done["entries"])
        assert [2, 6] == sorted(entries_of(path).values())
    done = shop.do("export", listed[0]["segment_id"], "-o", path, "--force")
    assert (1, 2, path.stat().st_size) == (
        done["segments"],
        done["entries"],
        done["size"],
    )


def test_a_range_of_a_segment(shop: Shop) -> None:
    """A range is of one segment, and has its bounds in the log."""
    path = shop.root / "bundle"
    rows = shop.do("ls")["segments"]
    segment = next(row["segment_id"] for row in rows if row["entries"] == 6)

    shop.do("export", segment, "-o", path, "--range", "2:4")
    assert {bytes.fromhex(segment): 2} == entries_of(path)
    for arguments, code in (
        (("by:hand", "--range", "2:4"), 2),
        ((segment, segment, "--range", "2:4"), 2),
        ((segment, "--range", "2-4"), 2),
        ((segment, "--range", "4:70"), 2),
    ):
        assert code == shop("export", *arguments, "-o", path, "--force").code


def test_what_is_redacted_is_told(shop: Shop) -> None:
    """What is left out is told, verify explains it, and no byte of it is there."""
    path = shop.root / "bundle"

    done = shop.do("export", "by:hand", "-o", path, "--redact", "tool")
    said = shop("--json", "verify", path)

    assert (5, 0) == (done["redacted"], done["absent"])
    assert 0 == said.code
    verdicts = {item["verdict"] for item in said.object["explained"]}
    assert {f"withheld by bundle {done['bundle_id']}"} == verdicts
    assert SECRET.decode() not in json.dumps(said.object)
    assert (
        "left out: 5 payloads"
        in shop("export", "by:hand", "-o", path, "--redact", "tool.out", "--force").text
    )


def test_a_damaged_bundle(shop: Shop) -> None:
    """What is wrong with a bundle is said with its place, and the exit code is 1."""
    path = shop.root / "bundle"
    shop.do("export", "by:hand", "-o", path)
    assert 0 == shop("verify", path).code
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)

    said = shop("verify", path)

    assert 1 == said.code
    assert "fault: bundle@" in said.text
    assert "NOT OK: self-consistent" in said.text


def test_no_such_file(shop: Shop) -> None:
    """A file that is not there is no store and no bundle."""
    assert 10 == shop("verify", shop.root / "nothing").code


def test_a_bundle_is_taken_in(shop: Shop) -> None:
    """Import knows a bundle, makes the store, and says what became of segments."""
    path, other = shop.root / "bundle", shop.root / "other"
    shop.do("export", "by:hand", "-o", path, "--redact", "tool")

    taken = shop("--json", "--store", other, "import", path).object["bundles"]
    again = shop("--store", other, "import", path)

    (done,) = taken
    states = [segment["state"] for segment in done["segments"]]
    assert (["new", "new"], 8, 5) == (states, done["entries"], done["withheld"])
    assert "2 segments (2 same), 0 new entries" in again.text
    assert 0 == shop("verify", other).code
    assert 2 == len(shop.do("--store", other, "ls")["segments"])


def test_a_bundle_that_diverged(shop: Shop) -> None:
    """A conflict has its exit code; as a fork it is taken in, and named."""
    path, other = shop.root / "bundle", shop.root / "other"
    shop.do("export", "by:hand", "-o", path)
    shop("--store", other, "import", path)
    for folder, text in ((shop.store, b"one"), (other, b"two")):
        with castore.open(folder) as store:
            log = store.session(("by", "hand")).segments()[0]
            log.append([castore.NewEntry("turn", text)])
    shop.do("export", "by:hand", "-o", path, "--force")

    refused = shop("--store", other, "import", path)
    forked = shop("--store", other, "import", path, "--as-fork")

    assert 6 == refused.code
    assert "--as-fork" in refused.error
    assert 0 == forked.code
    assert "went on otherwise: fork" in forked.text


def test_what_import_refuses_of_bundles(shop: Shop) -> None:
    """A bundle goes with no transcript and no option of theirs; damage is failure."""
    path = shop.root / "bundle"
    shop.do("export", "by:hand", "-o", path)

    assert 2 == shop("import", path, shop.transcript()).code
    assert 2 == shop("import", path, "--watch").code
    assert 2 == shop("import", path, "--format", "jsonl").code
    assert 2 == shop("import", shop.transcript(), "--as-fork").code
    data = bytearray(path.read_bytes())
    data[-50] ^= 1
    path.write_bytes(data)
    refused = shop("import", path)
    assert 5 == refused.code
    assert "corrupt frame: bundle@" in refused.error


def test_push_and_pull(shop: Shop) -> None:
    """What another store lacks goes there, and comes from there; then nothing."""
    other = shop.root / "other"
    castore.open(other, create=True).close()

    pushed = shop.do("push", other, "by:hand")
    assert (2, 8) == (len(pushed["segments"]), pushed["entries"])
    assert "nothing to send" in shop("push", other).text
    with castore.open(other) as store:
        log = max(store.session(("by", "hand")).segments(), key=len)
        log.append([castore.NewEntry("turn", b"more")])
    pulled = shop.do("pull", other)
    assert (["grown"], 1) == (
        [segment["state"] for segment in pulled["segments"]],
        pulled["entries"],
    )
    assert pulled["size"] < pushed["size"]
    assert 0 == shop("verify").code
    assert 0 == shop("verify", other).code


def test_push_to_nothing_or_itself(shop: Shop) -> None:
    """There must be another store, that is no copy of this one."""
    assert 10 == shop("push", shop.root / "nothing").code
    assert 4 == shop("push", shop.store).code
    assert 10 == shop("pull", shop.root / "nothing").code
