"""
``erase``: what is named, what is refused, the receipt, going on where it stopped.

Spec: spec/erasing.md.
"""

from __future__ import annotations

import importlib
import json

from pathlib import Path
from unittest import mock

import pytest

from clikit import Shop
from erasekit import canaries_in, canary

from castore.store import open as open_store
from castore.writing import NewEntry


rewriting = importlib.import_module("castore.packing.rewrite")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a transcript, a session by hand, and a tagged payload."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript("a.jsonl", 5))
    shop("put", "-", "--tag", "kept", given=canary(1))
    with open_store(shop.store) as store:
        then = [NewEntry("turn", canary(2)), NewEntry("turn", canary(3))]
        store.create_session(key=("by", "hand"), then=then)
    return shop


def erase(shop: Shop, *args: object) -> list[object]:
    """Return a command line that erases, with its receipt in ``receipt``."""
    return ["erase", *args, "--reason", "asked", "--receipt", shop.root / "receipt"]


@pytest.mark.parametrize(
    ("name", "left"),
    [("kept", {2, 3}), ("by:hand@1", {1, 3}), ("by:hand@-1", {1, 2}), ("by:hand", {1})],
)
def test_each_way_to_name_something(shop: Shop, name: str, left: set[int]) -> None:
    """A tag, an entry, a session; and the receipt says what is printed."""
    value = shop.do(*erase(shop, name))

    assert {canary(number) for number in left} == canaries_in(shop.store)
    assert value == json.loads((shop.root / "receipt").read_bytes())
    assert "done" == value["state"]
    assert 0 == shop("verify").code


def test_ids_references_and_paths_name_it_too(shop: Shop) -> None:
    """Ids as ls says them, a reference, and the path of an import."""
    row = next(row for row in shop.do("ls")["segments"] if row["path"])
    ref = shop.do("tag")["tags"][0]["ref"]
    names = (row["session_id"], row["segment_id"], row["path"], ref)

    found = [shop.do("erase", name, "--dry-run")["targets"] for name in names]

    session = [f"session:{row['session_id']}"]
    assert [session, session, session, [ref]] == found


def test_an_erased_transcript_is_not_restored(shop: Shop) -> None:
    """What lacks a line is no file any more, and it is said why."""
    shop(*erase(shop, f"{shop.root / 'a.jsonl'}@2"))

    result = shop("restore", shop.root / "a.jsonl", "-o", shop.root / "copy")

    assert 5 == result.code
    assert "erased by entry" in result.error
    assert not (shop.root / "copy").exists()
    assert 0 == shop("ls").code
    assert 0 == shop("gc", "--grace", "0").code


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["erase", "kept"], 2),
        (["erase", "kept", "--reason", "r"], 2),
        (["erase", "kept", "--reason", "r", "--receipt", "-"], 2),
        (["erase", "kept", "--reason", "r" * 1025, "--receipt", "none/r"], 4),
        (["erase", "nothing", "--dry-run"], 5),
        (["erase", "by:han", "--dry-run"], 5),
        (["erase", "by:hand@9", "--dry-run"], 5),
        (["erase", "blake3:" + "0" * 64, "--dry-run"], 5),
        (["erase", "blake3:", "--dry-run"], 2),
    ],
)
def test_what_is_refused(shop: Shop, args: list[str], code: int) -> None:
    """Wrong command lines and names change nothing; no part of a name is enough."""
    assert code == shop(*args).code
    assert {canary(n) for n in (1, 2, 3)} == canaries_in(shop.store)


def test_what_others_need_is_refused(shop: Shop) -> None:
    """Exit code 4, and nothing was changed or written."""
    with open_store(shop.store) as store:
        kept = store.tags()["kept"]
        store.create_session(then=[NewEntry("turn", kept)])

    refused = shop(*erase(shop, "kept"))

    assert 4 == refused.code
    assert "tag:kept" in refused.error
    assert not (shop.root / "receipt").exists()
    assert 0 == shop(*erase(shop, "kept", "--shared")).code


def test_a_file_that_is_there_is_not_replaced(shop: Shop) -> None:
    """Neither a file of somebody, nor the receipt of an erasure that is done."""
    shop.write("receipt", b"{}")
    assert 4 == shop(*erase(shop, "kept")).code
    assert {canary(n) for n in (1, 2, 3)} == canaries_in(shop.store)
    (shop.root / "receipt").unlink()
    assert 0 == shop(*erase(shop, "kept")).code
    assert 4 == shop(*erase(shop, "by:hand")).code


@pytest.mark.parametrize("step", ["publish", "drop"])
def test_the_same_command_goes_on(shop: Shop, step: str) -> None:
    """Stopped before or behind its commit: the same command ends it."""
    line = erase(shop, "by:hand")
    stop = mock.patch.object(rewriting, step, side_effect=KeyboardInterrupt)
    with stop:
        assert 130 == shop(*line).code
    begun = json.loads((shop.root / "receipt").read_bytes())
    other = shop(*erase(shop, "kept"))

    done = shop.do(*line)

    assert ("begun", None) == (begun["state"], begun["entry"])
    assert 4 == other.code  # the file is another erasure's
    assert ("done", begun["erased"]) == (done["state"], done["erased"])
    assert {canary(1)} == canaries_in(shop.store)
    assert 0 == shop("verify").code


def test_what_went_is_said(shop: Shop) -> None:
    """Text for people: what went, what stays and why, what is not reached."""
    with open_store(shop.store) as store:
        kept = store.tags()["kept"]
        session = store.session(("by", "hand")).latest
        session.append([NewEntry("turn", kept)])

    text = shop(*erase(shop, "by:hand")).text

    assert "erased: 3 payloads" in text  # one is empty
    assert "deleted: 1 segment" in text
    assert f"kept: {kept}, needed by tag:kept" in text
    assert "--shared" in text
    assert "not reached: copies of the store, backups" in text
