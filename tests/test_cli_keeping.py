"""
``castore policy``, ``pin``, ``unpin``, ``explain``: what is kept, and why.
"""

from __future__ import annotations

import os

from pathlib import Path
from typing import Any

import pytest

from clikit import Shop

import castore

from castore import limits
from castore.digest import blob_digest, format_digest
from castore.formats.storelog import ALL


SECRET = b"nobody may read this"


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a session of five checkpoints, a fork, and a large blob."""
    shop = Shop(tmp_path)
    with castore.open(shop.store, create=True) as store:
        log = store.create_session(key=("by", "hand"))
        for number in range(5):
            ref = store.put(SECRET + b"%d" % number + os.urandom(100))
            state = castore.Reference("checkpoint.state", ref)
            log.append([castore.NewEntry("turn", SECRET * 2 + b"%d" % number, [state])])
        log.fork(3, key=("a", "fork"), session=os.urandom(16))
        store.put(os.urandom(limits.BLOB_RECORD_SIZE_MAX + 1), tag="large")
    return shop


def ref_of(shop: Shop, entry: str) -> str:
    """Return the reference of the first payload of an entry."""
    return str(shop.do("show", entry)["refs"][0]["ref"])


def blob_of(shop: Shop, *args: object) -> dict[str, Any]:
    """Return what is explained of the one payload asked for."""
    (found,) = shop.do("explain", *args)["blobs"]
    return dict(found)


def test_policies_come_and_go(shop: Shop) -> None:
    """A policy is set, listed, replaced and taken away, of a session or of all."""
    session = shop.do("show", "by:hand@0") and shop.do("ls")["segments"][-1]
    assert [] == shop.do("policy")["policies"]

    shop.do(
        "policy", "--group", "checkpoint", "--keep-newest", "3", "--keep-days", "30"
    )
    shop.do("policy", "--bodies", "--keep-days", "7")
    shop.do("policy", "--group", "checkpoint", "--keep-all", "by:hand")

    assert [
        (None, None, None, 7, False),
        (None, "checkpoint", 3, 30, False),
        (session["session_id"], "checkpoint", ALL, None, True),
    ] == [tuple(row.values()) for row in shop.do("policy")["policies"]]
    lines = shop("policy").lines
    assert ["last 7 days", "newest 3 or last 30 days", "all"] == [
        line.split("  ")[-1] for line in lines
    ]
    assert 1 == len(shop.do("policy", "--bodies")["policies"])
    assert 2 == len(shop.do("policy", "a:fork")["policies"])
    gone = shop.do("policy", "--clear", "--group", "checkpoint", session["session_id"])
    assert [ALL] == [row["newest"] for row in gone["policies"]]
    assert 2 == len(shop.do("policy")["policies"])


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--keep-newest", "3"], 2),
        (["--clear"], 2),
        (["--group", "a", "--bodies"], 2),
        (["--group", "a", "--keep-newest", "3", "--keep-all"], 2),
        (["--group", "a", "--keep-all", "--clear"], 2),
        (["--group", "a.b", "--keep-newest", "3"], 2),
        (["--group", "a", "--keep-newest", "-3"], 2),
        (["--group", "a", "--keep-newest", "3", "nobody"], 5),
        (["--group", "a", "--clear"], 5),
    ],
)
def test_policies_that_are_refused(shop: Shop, arguments: list[str], code: int) -> None:
    """What is unclear or cannot hold is refused, and nothing is set."""
    assert code == shop("policy", *arguments).code
    assert [] == shop.do("policy")["policies"]


def test_pins_come_and_go(shop: Shop) -> None:
    """An entry is pinned by any log that has it, and listed by its owner."""
    owner = shop.do("ls")["segments"][-1]["segment_id"]

    assert [f"{owner}@2"] == shop("pin", "a:fork@2").lines
    assert [f"{owner}@2"] == shop("pin").lines
    assert [{"segment_id": owner, "index": 5}] == shop.do("pin", "by:hand[-1]")["pins"]
    assert 2 == len(shop.do("pin")["pins"])
    assert [{"segment_id": owner, "index": 5}] == shop.do("unpin", f"{owner}@5")["pins"]
    assert [f"{owner}@2"] == shop("unpin", "a:fork@2").lines
    assert [] == shop.do("pin")["pins"]
    assert [2, 5, 5] == [
        shop(*words).code
        for words in (["pin", "nonsense"], ["pin", "by:hand@9"], ["unpin", "by:hand@1"])
    ]


def test_why_something_is_kept(shop: Shop) -> None:
    """Each way of being kept is told: by which entry, in which log, by which rule."""
    refs = {at: ref_of(shop, f"by:hand@{at}") for at in range(1, 6)}
    shop.do("policy", "--group", "checkpoint", "--keep-newest", "1")
    shop.do("policy", "--group", "checkpoint", "--keep-days", "9", "a:fork")
    shop.do("pin", "by:hand@1")
    shop.do("tag", "a tag", refs[4])

    found = {at: blob_of(shop, refs[at]) for at in refs}

    assert ["kept"] * 2 + ["unneeded", "kept", "kept"] == [
        each["state"] for each in found.values()
    ]
    assert ["pinned", "days", None, None, "newest"] == [
        each["kept"][0]["by"] if each["kept"] else None for each in found.values()
    ]
    assert ["a tag"] == found[4]["tags"]
    assert [1, 1] == [found[at]["released_count"] for at in (3, 4)]
    segment = shop.do("show", "by:hand@0")["segment_id"]
    text = shop("explain", refs[5]).text
    assert f"kept by {segment}@5 as 'checkpoint.state': newest 1" in text
    assert "kept by the tag 'a tag'" in shop("explain", "a tag").text
    assert (
        "no policy"
        == blob_of(shop, format_digest(blob_digest(SECRET * 2 + b"0")))["kept"][0]["by"]
    )


def test_why_something_is_gone(shop: Shop) -> None:
    """What was condemned says when it goes; what went, by which run."""
    ref = ref_of(shop, "by:hand@4")
    shop.do("policy", "--group", "checkpoint", "--keep-newest", "1")
    shop.do("gc", "--yes")
    waiting = blob_of(shop, ref, "--grace", "48h")
    text = shop("explain", ref).text

    assert "condemned" == waiting["state"]
    assert 48 * 3600 * 1000 == waiting["goes_ms"] - waiting["condemned_ms"]
    assert "condemned since" in text
    assert "released by" in text

    run = shop.do("gc", "--yes", "--grace", "0")
    gone = blob_of(shop, ref)
    assert 3 == run["deleted_blob_count"]
    assert ("absent", None) == (gone["state"], gone["size"])
    assert gone["absence"].startswith("collected by run")
    assert gone["absence"] in shop("explain", ref).text
    nowhere = "blake3:" + "0" * 64
    assert "unknown" == blob_of(shop, nowhere)["state"]
    assert 5 == shop("explain", "no tag").code


def test_parts_are_kept_by_what_they_are_parts_of(shop: Shop) -> None:
    """A chunk is explained by the payload whose chunk it is."""
    large = shop.do("tag")["tags"][0]["ref"]
    with castore.open(shop.store) as store:
        chunks = store.engine.pool.listed(store.resolve(large).digest)
        part = format_digest(chunks[0][0])

    found = blob_of(shop, part)

    assert ("kept", [large]) == (found["state"], found["chunk_of"])
    shop.do("tag", "--delete", "large")
    assert ("unneeded", []) == tuple(
        blob_of(shop, part)[key] for key in ("state", "chunk_of")
    )


def test_what_a_live_process_holds_is_said(shop: Shop) -> None:
    """Garbage in a file that somebody writes stays until that ends."""
    with castore.open(shop.store) as other:
        ref = other.put(os.urandom(2_000_000), tag="gone")
        other.untag("gone")
        held = blob_of(shop, str(ref))
        text = shop("explain", str(ref)).text
    after = blob_of(shop, str(ref))

    assert [("unneeded", True), ("unneeded", False)] == [
        (found["state"], found["is_held"]) for found in (held, after)
    ]
    assert "a live process writes" in text


def test_entries_are_explained(shop: Shop) -> None:
    """Of an entry it is told who has it, and why its body and payloads are there."""
    shop.do("pin", "by:hand@2")
    shop.do("policy", "--bodies", "--keep-newest", "0")
    value = shop.do("explain", "by:hand@2")
    start = shop.do("explain", "by:hand@0")

    assert (True, False, 2) == (
        value["entry"]["is_pinned"],
        value["entry"]["is_start"],
        len(value["entry"]["logs"]),
    )
    assert [(None, "pinned"), ("checkpoint.state", "no policy")] == [
        (blob["role"], blob["kept"][0]["by"]) for blob in value["blobs"]
    ]
    assert start["entry"]["is_start"]
    assert "start" == start["blobs"][0]["kept"][0]["by"]
    other = shop.do("explain", "by:hand@3")["blobs"][0]
    assert ("unneeded", 1) == (other["state"], other["released_count"])


def test_no_content_is_told(shop: Shop) -> None:
    """Names are told, never what is in a payload or body."""
    shop.do("policy", "--group", "checkpoint", "--keep-newest", "1")
    for target in ("by:hand@1", ref_of(shop, "by:hand@2"), "large"):
        for words in (["explain", target], ["--json", "explain", target]):
            assert SECRET not in shop(*words).data
