"""
``maintain``: three parts in one run, none of which hides another; and the check
that takes a share of the files in each run.
"""

from __future__ import annotations

import contextlib
import os
import threading

from pathlib import Path

import pytest

from clikit import Shop, Terminal, damage

import castore

from castore.cli import main
from castore.errors import LockedError
from castore.limits import MIB
from castore.maintain import maintain
from castore.packing.rewrite import maintenance
from castore.sweeping import LEDGER, Sweep, sweep
from castore.verify import verify, verify_files


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a store with a transcript and some garbage."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript())
    shop("put", shop.write("data", os.urandom(500)), "--tag", "one")
    shop("tag", "--delete", "one")
    return shop


def many_files(path: Path, count: int, name: str = "n") -> castore.Store:
    """Return a store with *count* more closed journals, each with a session."""
    store = castore.open(path, create=True)
    for number in range(count):
        entry = castore.NewEntry("turn", os.urandom(2000))
        store.create_session(key=(name, str(number)), then=[entry])
        with store.engine.state.locked():
            store.engine.upkeep.close_journal()
    return store


def run(store: castore.Store, share: int, now_ms: int = 1) -> Sweep:
    """Check a share of the files."""
    return sweep(store.engine, share=share, now_ms=now_ms)


def seen_by(
    store: castore.Store, share: int, monkeypatch: pytest.MonkeyPatch
) -> set[bytes]:
    """Return the files that one run looks at."""
    from castore import verify as module

    seen = set()
    read = module._read_alone

    def watch(*args: object) -> object:
        seen.add(args[2])
        return read(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(module, "_read_alone", watch)
        run(store, share)
    return seen  # type: ignore[return-value]


# --- one run -----------------------------------------------------------------


def test_one_run_packs_collects_and_checks(shop: Shop) -> None:
    """What each part alone would do is done, and each tells what it did."""
    value = shop.do("maintain", "--grace", "0", "--verify-share", "1/1")

    assert value["pack"]["files_after"] >= 1
    assert 1 == value["gc"]["deleted_blob_count"]
    assert value["verify"]["ok"]
    assert value["verify"]["files"] == value["verify"]["files_total"]
    assert [] == value["failed"] == value["skipped"]
    assert 0 == shop("verify").code


def test_it_is_quiet_when_all_is_well(shop: Shop) -> None:
    """Cron hears nothing; a terminal gets one summary and sees how far it is."""
    result = shop("maintain")
    out, error = Terminal(), Terminal()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(["--store", str(shop.store), "maintain"])

    assert (0, b"", "") == (result.code, result.data, result.error)
    assert 0 == code
    assert "verified: " in out.getvalue()
    assert "maintaining, marking" in error.getvalue()


def test_defaults_are_safe(shop: Shop) -> None:
    """Nothing goes before its grace; the next run may take it."""
    value = shop.do("maintain")

    assert (0, 1) == (
        value["gc"]["deleted_blob_count"],
        value["gc"]["condemned_blob_count"],
    )


def test_what_wants_a_yes_is_reported(shop: Shop) -> None:
    """It exits 4 without asking, what can be done is done; --yes lets it go."""
    shop("rm", shop.root / "a.jsonl")
    refused = shop("--json", "maintain", "--grace", "0")

    assert 4 == refused.code
    assert ["gc"] == [part["part"] for part in refused.object["failed"]]
    assert "--yes" in refused.error
    assert refused.object["pack"]["seq"]
    assert refused.object["verify"]["ok"]
    assert shop.do("maintain", "--grace", "0", "--yes")["gc"]["deleted_blob_count"]


def test_damage_is_said_and_hides_nothing(shop: Shop) -> None:
    """Where packing fails for damage the check still says where that is."""
    damage(shop.store)
    result = shop("--json", "maintain", "--verify-share", "1/1")
    again = shop("maintain", "-q", "--verify-share", "1/1")

    assert 5 == result.code == again.code
    assert "pack" in {part["part"] for part in result.object["failed"]}
    assert not result.object["verify"]["ok"]
    assert result.object["verify"]["findings"]
    assert "fault: files/" in again.text


def test_another_maintainer_is_no_news(shop: Shop) -> None:
    """Somebody else is at it: exit 11, no word, nothing done."""
    with castore.open(shop.store) as store, maintenance(store.engine):
        result = shop("maintain")
        plain = shop("--json", "maintain")

    assert (11, b"", "") == (result.code, result.data, result.error)
    assert 11 == plain.object["error"]["code"]


def test_a_part_without_time_waits(shop: Shop) -> None:
    """What comes late is left to the next run, and that is said."""
    value = shop.do("maintain", "--max-duration", "0")

    assert value["pack"]
    assert ["gc", "verify"] == value["skipped"]
    assert value["gc"] is value["verify"] is None


def test_a_lock_that_comes_between_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another maintainer gets in after the first part; damage weighs more than that."""

    def locked(*_: object, **__: object) -> None:
        raise LockedError(what="busy", holder="")

    monkeypatch.setattr("castore.maintain.collect", locked)
    first = shop("--json", "maintain")
    damage(shop.store)
    second = shop("--json", "maintain", "--verify-share", "1/1")

    assert (11, 1) == (first.code, second.code)
    assert [{"part": "gc", "what": "busy"}] == first.object["failed"]
    assert first.object["pack"]["seq"]
    assert first.object["verify"]["ok"]
    assert not second.object["verify"]["ok"]


def test_it_runs_beside_a_writer(tmp_path: Path) -> None:
    """Who appends meanwhile, large payloads too, loses nothing and is no damage."""
    path = tmp_path / "store"
    many_files(path, 2).close()
    stop = threading.Event()
    written: list[bytes] = []

    def write() -> None:
        with castore.open(path) as store:
            log = store.create_session()
            while not stop.is_set():
                body = os.urandom(2000)
                kept = castore.Reference("checkpoint", store.put(os.urandom(2 * MIB)))
                log.append([castore.NewEntry("turn", body, [kept])])
                written.append(body)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        with castore.open(path) as store:
            runs = [
                maintain(store.engine, progress=lambda *_: None, grace_s=0, share=1)
                for _ in range(4)
            ]
    finally:
        stop.set()
        writer.join()

    assert [{}] * 4 == [done.errors for done in runs]
    assert all(done.sweep and done.sweep.report.ok for done in runs)
    with castore.open(path) as store:
        kinds = {entry.kind for log in _logs(store) for entry in log.entries()}
        bodies = [body for log in _logs(store) for _, body in log.read()]
    assert {"start", "turn"} == kinds
    assert set(written) <= set(bodies)
    assert verify(path).ok


def _logs(store: castore.Store) -> list[castore.Segment]:
    return [
        log
        for session in store.sessions()
        if session.id != store.id
        for log in session.segments()
    ]


# --- a share at a time -------------------------------------------------------


def test_every_file_is_checked_in_so_many_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After N runs of 1/N all files were looked at, each run at some of them."""
    with many_files(tmp_path / "store", 8) as store:
        runs = [seen_by(store, 3, monkeypatch) for _ in range(3)]
        count = len(store.engine.state.opened.headers())

    assert count == len(set().union(*runs))
    assert all(0 < len(files) < count for files in runs)


def test_new_files_wait_for_their_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many come between two runs, old ones are looked at in time."""
    with many_files(tmp_path / "store", 6) as store:
        old = {file.id for file in store.engine.state.opened.headers()}
        seen = seen_by(store, 2, monkeypatch)
        many_files(tmp_path / "store", 6, "new").close()
        seen |= seen_by(store, 2, monkeypatch)

    assert old <= seen


def test_a_ledger_that_is_no_ledger_is_none(tmp_path: Path) -> None:
    """It may be lost or damaged; then all files are as if nobody had looked."""
    with many_files(tmp_path / "store", 3) as store:
        path = tmp_path / "store" / LEDGER
        run(store, 3)
        for data in (b"", b"[]", b'{"x": 1}', b'{"00": null}', b"\xff"):
            path.write_bytes(data)

            assert run(store, 3).report.ok
        path.unlink()

        assert run(store, 3).report.ok
        assert path.exists()
    assert castore.open(tmp_path / "store").stats().sessions == 3


@pytest.mark.parametrize("kind", ["flip", "cut"])
def test_a_share_finds_what_is_wrong_in_its_files(tmp_path: Path, kind: str) -> None:
    """A bit that flipped, an end that is gone: a fault, told again in every run."""
    with many_files(tmp_path / "store", 3) as store:
        files = store.engine.state.opened.headers()
        files.sort(key=lambda file: file.header.number)
        name = files[2].name  # the store log stands in the first
    path = tmp_path / "store" / name
    data = path.read_bytes()
    flipped = data[:300] + bytes([data[300] ^ 1]) + data[301:]
    path.write_bytes(flipped if kind == "flip" else data[:-1])
    with castore.open(tmp_path / "store") as store:
        faults = [run(store, 1, now_ms=n).report.findings for n in (1, 2)]

    assert faults[0] == faults[1]
    assert "fault" in {finding.severity for finding in faults[0]}
    assert all(name in finding.where for finding in faults[0])


def test_a_file_that_is_gone_is_a_fault(tmp_path: Path) -> None:
    """What should be there and is not is found by looking for it."""
    with many_files(tmp_path / "store", 1) as store:
        engine = store.engine
        report = verify_files(engine.files, store.id, {b"g" * 16: 1000})

    assert ["missing pack"] == [finding.verdict for finding in report.findings]
    assert not report.ok


def test_a_header_that_is_wrong_is_a_fault(tmp_path: Path) -> None:
    """A file that calls itself another store's is none of this one."""
    with many_files(tmp_path / "store", 1) as store:
        file = store.engine.state.opened.headers()[0]
        report = verify_files(store.engine.files, b"o" * 16, {file.id: file.size()})

    assert not report.ok
    assert [f"{file.name}@0"] == [finding.where for finding in report.findings]
