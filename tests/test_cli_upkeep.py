"""
What ``gc`` and ``doctor`` do, on small stores.
"""

from __future__ import annotations

import contextlib
import io
import os

from pathlib import Path

import pytest

from clikit import Shop, Terminal

from castore.cli import main
from castore.formats.entry import Reference
from castore.store import open as open_store
from castore.writing import NewEntry


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with two transcripts."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript("a.jsonl", 5), shop.transcript("b.jsonl", 3))
    return shop


def test_gc_waits_and_then_deletes(shop: Shop) -> None:
    """Garbage is condemned first; without grace it goes at once; dry runs only tell."""
    shop("put", shop.write("data", os.urandom(500)), "--tag", "one")
    shop("tag", "--delete", "one")
    planned = shop.do("gc", "--grace", "0", "--dry-run")
    condemned = shop.do("gc")
    deleted = shop.do("gc", "--grace", "0")

    assert (1, True) == (planned["deleted_blob_count"], planned["dry_run"])
    assert (0, 1) == (
        condemned["deleted_blob_count"],
        condemned["condemned_blob_count"],
    )
    assert (1, 500) == (deleted["deleted_blob_count"], deleted["deleted_raw_bytes"])
    assert 0 == shop.do("gc", "--grace", "0")["deleted_blob_count"]
    assert 0 == shop("verify").code


def test_gc_asks_before_half_goes(shop: Shop) -> None:
    """More than half of the store goes only with --yes."""
    for name in ("a.jsonl", "b.jsonl"):
        shop("rm", shop.root / name)
    refused = shop("gc", "--grace", "0")

    assert 4 == refused.code
    assert "--yes" in refused.error
    assert 0 == shop("gc", "--grace", "0", "--yes").code


def test_gc_releases_old_checkpoints(shop: Shop) -> None:
    """Only the newest checkpoints stay where the caller says so."""
    shop("-q", "put", shop.write("data", os.urandom(10)))
    with open_store(shop.store) as store:
        log = store.create_session()
        for number in range(4):
            state = store.put(os.urandom(100 + number))
            log.append([NewEntry("turn", b"", [Reference("checkpoint", state)])])
    report = shop.do("gc", "--grace", "0", "--keep-checkpoints", "1")

    assert {"retained": 1, "deleted": 3} == report["by_role"]["checkpoint"]
    assert 0 == shop("verify").code


def test_gc_is_quiet_when_asked(shop: Shop) -> None:
    """Cron hears nothing of a collection that went well."""
    result = shop("gc", "-q")

    assert (0, b"", "") == (result.code, result.data, result.error)
    assert 2 <= len(shop("gc").lines)


def test_gc_says_what_it_is_doing(shop: Shop) -> None:
    """A terminal sees each step as it begins, and nothing of it is left."""
    shop("put", shop.write("data", os.urandom(500)), "--tag", "one")
    shop("tag", "--delete", "one")
    stream = Terminal()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(stream):
        code = main(["--store", str(shop.store), "gc", "--grace", "0"])
    shown = stream.getvalue().split("\r\x1b[K")
    steps = ["gc, marking", "gc, looking again, in the files", "gc, rewriting"]

    assert 0 == code
    assert steps == [line for line in shown if line in steps]
    assert "" == shown[-1]


def test_doctor_sees_a_catalog_that_is_not_there(shop: Shop) -> None:
    """A missing catalog is a problem with a next step; a good store has none."""
    good = shop.do("doctor", "--deep")
    for path in shop.store.glob("catalog-*"):
        path.unlink()
    bad = shop("--json", "doctor")

    assert "equal" == good["store"]["catalog"]
    assert good["store"]["locks_exclude"] is True
    assert [] == good["problems"]
    assert 1 == bad.code
    assert "missing" == bad.object["store"]["catalog"]
    assert "run castore rebuild" in bad.object["next_steps"]


def test_doctor_and_a_deleted_log_that_others_inherit(shop: Shop) -> None:
    """What stays of it in the index and what a rebuild makes of it are both right."""
    with open_store(shop.store) as store:
        log = store.create_session()
        for number in range(40):
            log.append([NewEntry("line", b"%d" % number)], key=f"{number}")
        log.fork(3)
        log.delete()
    before = shop.do("doctor", "--deep")
    shop("rebuild")
    after = shop.do("doctor", "--deep")

    assert ["equal"] * 2 == [each["store"]["catalog"] for each in (before, after)]


def test_doctor_without_a_store(tmp_path: Path) -> None:
    """Where there is no store doctor says what it sees of the rest, and exits 10."""
    result = Shop(tmp_path)("--json", "doctor")

    assert 10 == result.code
    assert result.object["store"] is None
    assert result.object["sqlite"]["version"]
