"""
``gc`` and ``maintain`` as cron and people meet them: lists, plans, metrics, units.
"""

from __future__ import annotations

import importlib
import os
import re
import stat

from pathlib import Path
from unittest import mock

import pytest

from clikit import Shop

import castore

from castore import Reference
from castore.cli import systemd
from castore.cli.exits import Exit
from castore.cli.metrics import METRICS
from castore.digest import format_digest
from castore.errors import LockedError
from castore.packing.rewrite import close_journal, closed_files, maintenance, rewrite


metrics = importlib.import_module("castore.cli.metrics")


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a transcript and some garbage."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript())
    shop("put", shop.write("data", os.urandom(500)), "--tag", "one")
    shop("tag", "--delete", "one")
    return shop


def lose(shop: Shop) -> str:
    """Lose a payload that an entry needs; return its name."""
    with castore.open(shop.store) as store:
        ref = store.put(os.urandom(300))
        entry = castore.NewEntry("a", b"b", [Reference("x", ref)])
        store.create_session(then=[entry])
        with maintenance(store.engine):
            close_journal(store.engine)
            files = closed_files(store.engine)
            rewrite(store.engine, files, level=1, dead={ref.digest})
    return format_digest(ref.digest)


def samples(path: Path) -> dict[str, float]:
    """Return the values of a file of metrics, by name and own labels."""
    found = {}
    for line in path.read_text().splitlines():
        match = re.fullmatch(
            r'castore_(\w+)\{command="\w+",store="[^"]*"(.*)\} (\S+)', line
        )
        if match:
            found[match[1] + match[2]] = float(match[3])
        else:
            assert line.startswith(("# HELP castore_", "# TYPE castore_")), line
    return found


# --- what is lost -----------------------------------------------------------------


def test_the_list_is_the_file(shop: Shop) -> None:
    """What gc prints of losses is what it takes back; with comments, and once."""
    name = lose(shop)
    refused = shop("-q", "gc", "--grace", "0", "--yes")
    assert (Exit.REFUSED, [name]) == (refused.code, refused.lines)
    told = shop("--json", "gc").object["error"]
    assert [name] == told["lost"]
    file = shop.write("lost.txt", b"# looked for everywhere\n\n" + refused.data)

    value = shop.do("gc", "--grace", "0", "--yes", "--accept-lost", file)
    assert (1, 1) == (value["accepted_blob_count"], value["deleted_blob_count"])
    assert Exit.USAGE == shop("gc", "--accept-lost", file).code
    assert Exit.DONE == shop("gc").code


def test_a_list_of_something_else(shop: Shop) -> None:
    """A file that is no list of names is refused, with its line."""
    file = shop.write("lost.txt", b"blake3:" + b"0" * 64 + b"\nnonsense\n")
    result = shop("gc", "--accept-lost", file)

    assert Exit.USAGE == result.code
    assert "line 2" in result.error


# --- plans ------------------------------------------------------------------------


def test_a_plan_by_its_hash(shop: Shop) -> None:
    """A dry run prints what a run can be held to."""
    text = shop("gc", "--grace", "0", "--dry-run").text
    found = re.search("^plan: ([0-9a-f]{64})$", text, re.MULTILINE)
    assert found is not None
    assert Exit.USAGE == shop("gc", "--plan", "nonsense").code
    assert Exit.CONFLICT == shop("gc", "--grace", "0", "--plan", "0" * 64).code

    value = shop.do("gc", "--grace", "0", "--plan", found[1])
    assert (1, found[1]) == (value["deleted_blob_count"], value["plan"])


def test_bounds(shop: Shop) -> None:
    """What is left for a bound is told, with the reason."""
    text = shop("gc", "--grace", "0", "--yes", "--max-rewrite-bytes", "0").text

    assert "deleted: 0 blobs" in text
    assert "later: 1 blob, 500 B raw: more would be written anew" in text
    assert "deleted: 1 blob," in shop("gc", "--grace=0", "--max-duration=1h").text


# --- quiet ------------------------------------------------------------------------


def test_quiet(shop: Shop) -> None:
    """Who wants it quiet hears nothing while nothing needs him, nor of another run."""
    for arguments in (["gc"], ["gc", "--grace", "0"], ["maintain"]):
        done = shop("-q", *arguments)
        assert (Exit.DONE, b"", "") == (done.code, done.data, done.error)
    with castore.open(shop.store) as store, maintenance(store.engine):
        busy = shop("-q", "gc")
        assert (Exit.LOCKED, b"", "") == (busy.code, busy.data, busy.error)
        assert "locked" in shop("gc").error


def test_the_holder_is_named(shop: Shop) -> None:
    """Who maintains the store is told of by process and command, as long as he does."""
    path = shop.store / "maintenance"
    with castore.open(shop.store) as store, castore.open(shop.store) as other:
        with (
            maintenance(store.engine),
            pytest.raises(LockedError) as caught,
            maintenance(other.engine, 0.01),
        ):
            pass
        assert f"pid {os.getpid()} (" in caught.value.holder
        assert caught.value.holder in str(caught.value)
    assert b"" == path.read_bytes()


# --- metrics ----------------------------------------------------------------------


@pytest.mark.parametrize("command", ["gc", "maintain"])
def test_metrics(shop: Shop, command: str) -> None:
    """What a run came to stands in a file that a collector can read."""
    path = shop.root / "castore.prom"
    value = shop.do(command, "--grace", "0", "--yes", "--prometheus", path)
    report = value["gc"] if command == "maintain" else value
    found = samples(path)

    assert report["deleted_blob_count"] == found["gc_deleted_blobs"] == 1
    assert report["stored_bytes"] == found["store_bytes"]
    assert 0 == found['gc_later_blobs,reason="grace"'] == found["maintenance_exit_code"]
    assert stat.S_IMODE(path.stat().st_mode) & stat.S_IRUSR
    text = path.read_text()
    for name in re.findall("^# HELP castore_([a-z_]+) (.*)$", text, re.MULTILINE):
        assert METRICS[name[0]] == name[1]
        assert 1 == text.count(f"# TYPE castore_{name[0]} gauge")
    assert ("verify_faults" in found) == (command == "maintain")


def test_metrics_of_a_failure(shop: Shop) -> None:
    """A run that fails is told of too, and when the last good one ended."""
    path = shop.root / "castore.prom"
    shop.do("gc", "--dry-run", "--prometheus", path)
    assert not path.exists()  # nothing was done
    shop.do("gc", "--prometheus", path)
    before = samples(path)["maintenance_success_timestamp_seconds"]
    lose(shop)
    with mock.patch("time.time", return_value=before + 100):
        assert Exit.REFUSED == shop("gc", "--prometheus", path).code
    found = samples(path)

    assert Exit.REFUSED == found["maintenance_exit_code"]
    assert before == found["maintenance_success_timestamp_seconds"]
    assert before + 100 == found["maintenance_run_timestamp_seconds"]


def test_metrics_are_written_at_once(shop: Shop) -> None:
    """Who reads the file meanwhile, or after a failure, finds the one before."""
    path = shop.root / "castore.prom"
    shop.do("gc", "--prometheus", path)
    before = path.read_bytes()
    seen = []

    def full(_: int) -> None:
        seen.append(path.read_bytes())
        raise OSError(28, "No space left on device")

    with mock.patch.object(metrics.os, "fsync", full):
        assert Exit.FAILED == shop("gc", "--prometheus", path).code
    assert [before] == seen
    assert before == path.read_bytes()
    assert not list(shop.root.glob(".castore.prom*"))


def test_names_of_stores_are_escaped(tmp_path: Path) -> None:
    """Whatever the store's folder is called, a label stays a label."""
    shop = Shop(tmp_path / 'a "b" \\c')
    shop.root.mkdir()
    shop("init")
    path = shop.root / "castore.prom"
    shop.do("gc", "--prometheus", path)

    assert r'a \"b\" \\c/store"} 0' in path.read_text()


def test_metrics_are_documented(shop: Shop) -> None:
    """``castore help metrics`` tells each, and no other is written."""
    text = shop("help", "metrics").text
    path = shop.root / "castore.prom"
    shop.do("maintain", "--prometheus", path)

    assert all(f"castore_{name}\n" in text for name in METRICS)
    written = {name.partition(",")[0] for name in samples(path)}
    assert written <= METRICS.keys()


# --- units ------------------------------------------------------------------------


def test_units(shop: Shop) -> None:
    """A service and a timer, with what was said; and nothing is done."""
    before = sorted(shop.store.rglob("*"))
    text = shop(
        *("gc", "--print-systemd", "--grace", "2d", "--keep-checkpoints", "3"),
        *("--prometheus", "x.prom", "--max-rewrite-bytes", "1G"),
    ).text

    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    assert (
        f"--store {shop.store} gc --quiet --grace=172800s --keep-checkpoints=3" in line
    )
    assert f"--prometheus={Path.cwd() / 'x.prom'}" in line
    for part in ("[Service]", "[Timer]", "Type=oneshot", "Persistent=yes"):
        assert part in text
    assert before == sorted(shop.store.rglob("*"))
    assert Exit.USAGE == shop("--json", "gc", "--print-systemd").code


def test_what_units_run_is_quoted() -> None:
    """Systemd reads each argument as it was meant."""
    text = systemd.units("gc", "x", ["--store", 'a b%c$d"e', "", "plain"])

    assert '"a b%%c$$d\\"e" "" plain\n' in text
