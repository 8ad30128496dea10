"""
What an erasure takes, what it leaves, when it refuses, and what is said of it.

Spec: spec/erasing.md.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import threading

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from erasekit import MARK, canaries_in, canary, everything, files_of

import castore

from castore import limits
from castore.catalog import database
from castore.engine.putting import put_parts
from castore.engine.upkeep import Upkeep
from castore.erasing import Receipt, Target, Wish, erase_in, finish
from castore.erasing.scope import _Finder
from castore.errors import (
    ConflictError,
    GoneError,
    LockedError,
    NeededError,
    NotFoundError,
)
from castore.gc import collect
from castore.packing import pack
from castore.verify import verify


erasing = importlib.import_module("castore.erasing.erase")
patch = mock.patch.object


def root_of(store: castore.Store) -> Path:
    """Return the folder of *store*."""
    return store.engine.files.root


def entry(number: int, *refs: castore.BlobRef) -> castore.NewEntry:
    """Return an entry whose body is a canary."""
    named = [castore.Reference("out", ref) for ref in refs]
    return castore.NewEntry("turn", canary(number), named)


def check(store: castore.Store, *receipts: Receipt) -> None:
    """The store is whole but for what is explained; so is a catalog made anew."""
    explained = {f"erased by entry {receipt.entry}" for receipt in receipts}
    for _ in range(2):
        report = verify(root_of(store), jobs=1)
        assert (True, ()) == (report.ok, report.findings)
        assert explained == {item.verdict for item in report.explained}
        store.engine.rebuild()


# --- what goes ---------------------------------------------------------------


def test_a_payload_goes_and_says_so(store: castore.Store) -> None:
    """Its bytes are nowhere, its name is answered, the entry proves what it did."""
    ref, other = store.put(canary(1)), store.put(canary(2))
    log = store.create_session(then=[entry(3, ref, other)])
    proof = log.prove(1)

    receipt = castore.erase(store, ref, reason="asked for")

    assert {canary(2), canary(3)} == canaries_in(root_of(store))
    with pytest.raises(GoneError, match="erased by entry") as gone:
        store.get(ref)
    assert ("erased", receipt.entry) == (gone.value.how, gone.value.entry)
    assert canary(2) == store.get(other)
    assert proof == log.prove(1)
    assert (f"segment:{log.id.hex()}[1] out",) == receipt.erased[0].used_by
    assert ("done", 16) == (receipt.state, receipt.erased[0].size)
    check(store, receipt)


def test_an_entry_loses_body_and_payloads(store: castore.Store) -> None:
    """What other entries name too stays, and the receipt says who needs it."""
    shared, own = store.put(canary(1)), store.put(canary(2))
    log = store.create_session(then=[entry(3, shared, own), entry(4, shared)])

    receipt = castore.erase(store, (log, 1), reason="")

    assert {canary(1), canary(4)} == canaries_in(root_of(store))
    assert [str(shared)] == [kept.ref for kept in receipt.kept]
    assert (f"segment:{log.id.hex()}[2] out",) == receipt.kept[0].used_by
    assert 3 == log.count
    with pytest.raises(GoneError, match="erased"):
        list(log.read())
    check(store, receipt)


def test_an_inherited_entry_is_its_owners(store: castore.Store) -> None:
    """It is the same entry by the name of a fork."""
    log = store.create_session(then=[entry(1), entry(2)])
    fork = log.fork(2)

    receipt = castore.erase(store, (fork, 1), reason="")

    assert {canary(2)} == canaries_in(root_of(store))
    assert (f"segment:{fork.id.hex()}[1]",) == receipt.targets
    check(store, receipt)


def test_a_session_goes_whole(store: castore.Store) -> None:
    """Its segments go with their entries, in the commit that erases."""
    log = store.create_session(key=("by", "hand"), then=[entry(1)])
    fork = log.fork(then=[entry(2)])
    other = store.create_session(then=[entry(3)])
    session = store.session(("by", "hand"))
    start = store.engine.view.position.seq

    receipt = castore.erase(store, session, reason="")

    assert {canary(3)} == canaries_in(root_of(store))
    assert {log.id.hex(), fork.id.hex()} == set(receipt.segments)
    assert (start + 1, start + 1) == (receipt.seq, store.engine.view.position.seq)
    assert [other.session_id] == [each.id for each in store.sessions()]
    with pytest.raises(GoneError, match="deleted"):
        store.segment(log.id)
    check(store)


def test_a_sessions_key_goes_with_it(store: castore.Store) -> None:
    """It stands in entries, and in pages of the catalog also when its row is gone."""
    plain = (*database._PRAGMAS, "secure_delete = OFF")  # as some SQLites have it
    root = root_of(store).with_name("other")
    with (
        patch(database, "_PRAGMAS", plain),
        castore.open(root, create=True) as other,
    ):
        other.create_session(key=("by", MARK.hex()))
        session = other.session(("by", MARK.hex()))
        other.engine.upkeep.apply_all()
        castore.erase(other, session, reason="")

    assert not any(MARK.hex().encode() in data for data in everything(root))


def test_entries_stay_where_only_payloads_go(store: castore.Store) -> None:
    """All hashes, heads and proofs of the session are as they were."""
    log = store.create_session(key=("a", "b"), then=[entry(n) for n in range(9)])
    pack(store.engine)
    before = [log.prove(n) for n in range(log.count)], log.head

    session = store.session(("a", "b"))
    receipt = castore.erase(store, session, reason="", payloads_only=True)

    assert set() == canaries_in(root_of(store))
    assert before == ([log.prove(n) for n in range(log.count)], log.head)
    log.append([entry(20)])
    assert canary(20) == store.get(log.entry(-1).body)
    check(store, receipt)
    assert 0 == collect(store.engine, grace_s=0, yes=True).deleted_blob_count
    pack(store.engine)
    check(store, receipt)


def test_what_was_deleted_before_is_of_the_session_too(store: castore.Store) -> None:
    """A segment that was deleted, and that no collection took, goes as well."""
    log = store.create_session(then=[entry(1)])
    fork = log.fork(1, then=[entry(2)])
    fork.delete()

    castore.erase(store, store.session(log.session_id), reason="")

    assert set() == canaries_in(root_of(store))
    check(store)


def test_what_only_the_session_inherits_goes_with_it(store: castore.Store) -> None:
    """Entries of a deleted segment that nobody else inherits are nobody else's."""
    parent = store.create_session(then=[entry(1), entry(2)])
    fork = parent.fork(2, session=store.create_session().session_id)
    parent.delete()

    castore.erase(store, store.session(fork.session_id), reason="")

    assert set() == canaries_in(root_of(store))
    check(store)


def test_what_is_put_again_stays(store: castore.Store) -> None:
    """A later put is a new decision; collections and packs see nothing odd in it."""
    ref = store.put(canary(1), tag="t")
    castore.erase(store, ref, reason="")
    with pytest.raises(NotFoundError):
        store.untag("t")

    again = store.put(canary(1), tag="t")
    pack(store.engine)
    collect(store.engine, grace_s=0, yes=True)

    assert canary(1) == store.get(again)
    check(store)


def test_differences_to_it_are_stored_anew(store: castore.Store) -> None:
    """What is a difference to it, in a file without it, stays readable."""
    data = os.urandom(3000)
    base = store.put(data)
    store.create_session(then=[entry(1, base)])
    pack(store.engine)
    with mock.patch.multiple(limits, SLOT_SIZE_MIN=1 << 30):
        like = store.put(data + b"more", like=base)
        store.create_session(then=[entry(2, like)])
        receipt = castore.erase(store, base, reason="")

    assert data + b"more" == store.get(like)
    check(store, receipt)


def test_chunks_go_unless_others_have_them(store: castore.Store) -> None:
    """Of a large blob that goes, a chunk of another one stays."""
    parts = [canary(n) + os.urandom(500) for n in range(3)]
    first = put_parts(store.engine, parts[:2])
    second = put_parts(store.engine, parts[1:])
    store.create_session(then=[entry(5, first), entry(6, second)])

    receipt = castore.erase(store, first, reason="")

    assert {canary(n) for n in (1, 2, 5, 6)} == canaries_in(root_of(store))
    assert b"".join(parts[1:]) == store.get(second)
    check(store, receipt)


# --- when it refuses ---------------------------------------------------------


def test_what_others_need_is_refused_by_name(store: castore.Store) -> None:
    """A payload that two sessions name stays unless that is said."""
    ref = store.put(canary(1))
    store.create_session(then=[entry(2, ref)])
    store.create_session(then=[entry(3, ref)])
    seq = store.engine.refresh().position.seq

    with pytest.raises(NeededError, match="needed elsewhere") as refused:
        castore.erase(store, ref, reason="")

    assert 2 == len(refused.value.by)
    assert seq == store.engine.refresh().position.seq
    receipt = castore.erase(store, ref, reason="", shared=True)
    assert 2 == receipt.erased[0].used_count
    assert canary(1) not in canaries_in(root_of(store))
    check(store, receipt)


def test_what_a_tag_keeps_stays(store: castore.Store) -> None:
    """A tag needs its payload as an entry does; with *shared* it goes along."""
    ref = store.put(canary(1), tag="kept")
    log = store.create_session(then=[entry(2, ref)])

    kept = castore.erase(store, (log, 1), reason="")
    assert ("tag:kept",) == kept.kept[0].used_by
    with pytest.raises(NeededError, match="tag:kept"):
        castore.erase(store, (log, 1), reason="")
    receipt = castore.erase(store, (log, 1), reason="", shared=True)

    assert ("kept",) == receipt.untagged
    assert ({}, set()) == (store.tags(), canaries_in(root_of(store)))
    check(store, kept, receipt)


def test_forks_of_others_are_named(store: castore.Store) -> None:
    """It refuses, or they go too, or entries stay."""
    log = store.create_session(then=[entry(1)])
    fork = log.fork(session=store.create_session().session_id, then=[entry(2)])
    session = store.session(log.session_id)

    with pytest.raises(NeededError, match="inherit") as refused:
        castore.erase(store, session, reason="")
    assert (f"segment:{fork.id.hex()}",) == refused.value.by
    planned = castore.erase(store, session, reason="", with_forks=True, dry_run=True)
    assert (fork.id.hex(),) == planned.forks
    half = castore.erase(store, session, reason="", payloads_only=True)
    assert (fork.id.hex(),) == half.forks
    assert {canary(2)} == canaries_in(root_of(store))
    assert 4 == fork.count
    check(store, half)
    castore.erase(store, session, reason="", with_forks=True)

    assert set() == canaries_in(root_of(store))
    assert 1 == len(list(store.sessions()))
    check(store)


def test_the_store_logs_own_bodies_stay(store: castore.Store) -> None:
    """Nobody can take away what the store says of itself."""
    own = store.segment(store.id)
    with pytest.raises(NeededError, match="needed elsewhere"):
        castore.erase(store, own.entry(0).body, reason="", shared=True)
    with pytest.raises(NotFoundError):
        erase_in(store.engine, Wish((Target("session", store.id),)), reason="")


def test_a_part_of_another_payload_stays(store: castore.Store) -> None:
    """A chunk goes with what it is a part of, never alone, whatever is wished."""
    parts = [canary(1), canary(2)]
    ref = put_parts(store.engine, parts)
    store.create_session(then=[entry(3, ref, store.put(canary(1)))])

    with pytest.raises(NeededError, match="blob:"):
        castore.erase(store, store.put(canary(1)), reason="", shared=True)

    assert b"".join(parts) == store.get(ref)


def test_a_dry_run_changes_nothing(store: castore.Store) -> None:
    """It says what would go."""
    log = store.create_session(then=[entry(1)])
    files = sorted((root_of(store) / "files").iterdir())

    planned = castore.erase(store, (log, 1), reason="", dry_run=True)

    assert ("planned", 1, None) == (planned.state, len(planned.erased), planned.entry)
    assert files == sorted((root_of(store) / "files").iterdir())
    assert {canary(1)} == canaries_in(root_of(store))


def test_nothing_there_is_not_erased(store: castore.Store) -> None:
    """A name that never was, and an entry that is not there, are errors."""
    ghost = castore.BlobRef(bytes(32), 3)
    with pytest.raises(NotFoundError, match="nothing was erased"):
        castore.erase(store, ghost, reason="")
    with pytest.raises(NotFoundError):
        erase_in(store.engine, Wish((Target("entry", bytes(16), 3),)), reason="")


# --- beside others -----------------------------------------------------------


@pytest.fixture
def sides() -> Iterator[None]:
    """Payloads go to side packs."""
    with mock.patch.multiple(limits, SIDE_SIZE_MIN=10):
        yield


def test_a_side_pack_in_use_is_refused(store: castore.Store, sides: None) -> None:
    """Who holds a file that has to go is named, and nothing was changed."""
    with castore.open(root_of(store)) as other:
        ref = other.put(canary(1) + bytes(50))
        other.create_session(then=[entry(2, ref)])
        before = {path: path.read_bytes() for path in files_of(root_of(store))}

        # Linux tells who holds a flock.
        holder = f"process {os.getpid()}" if sys.platform == "linux" else ""
        with pytest.raises(LockedError, match=holder or "another process") as held:
            castore.erase(store, ref, reason="", timeout_s=0)

        assert holder == held.value.holder
        assert before == {path: path.read_bytes() for path in files_of(root_of(store))}
        timer = threading.Timer(0.3, other.close)
        timer.start()
        receipt = castore.erase(store, ref, reason="", timeout_s=30)
        timer.join()

    assert {canary(2)} == canaries_in(root_of(store))
    check(store, receipt)


def test_its_own_side_pack_goes_with_it(store: castore.Store, sides: None) -> None:
    """A handle lets go of its own side pack, unless something waits in it."""
    ref = store.put(canary(1) + bytes(50))
    log = store.create_session(then=[entry(2, ref)])
    waiting = store.put(canary(3) + bytes(50))

    with pytest.raises(LockedError, match="wait for a commit"):
        castore.erase(store, ref, reason="", timeout_s=0)
    log.append([entry(4, waiting)])
    receipt = castore.erase(store, ref, reason="")
    later = store.put(canary(5) + bytes(50), tag="later")

    assert {canary(n) for n in (2, 3, 4, 5)} == canaries_in(root_of(store))
    assert canary(5) + bytes(50) == store.get(later)
    check(store, receipt)


def test_void_copies_go_too(store: castore.Store, sides: None) -> None:
    """What was written and never committed may be the same bytes."""
    data = canary(1) + bytes(50)
    with castore.open(root_of(store)) as other:
        other.put(canary(2) + bytes(50), tag="kept")
        other.put(data)  # behind what the commit names
    ref = store.put(data)
    store.create_session(
        then=[castore.NewEntry("a", b"", [castore.Reference("", ref)])]
    )

    receipt = castore.erase(store, ref, reason="")

    assert {canary(2)} == canaries_in(root_of(store))
    check(store, receipt)


def test_what_recovery_put_aside_goes(store: castore.Store) -> None:
    """Nobody can say what torn bytes are: all of them go."""
    ref = store.put(canary(1), tag="t")
    torn = root_of(store) / "quarantine/0-188"
    torn.parent.mkdir()
    headless = root_of(store) / "files" / f"{'0' * 32}.cas"
    making = root_of(store) / "files" / f"{'1' * 32}.cas"
    for path in (torn, headless):
        path.write_bytes(bytes(512) + canary(1))
    files = store.engine.files
    fd = files.create(f"files/{making.name}")
    assert files.lock(fd)  # somebody is about to write its header

    receipt = castore.erase(store, ref, reason="")
    files.close(fd)

    assert (False, False, True) == (torn.exists(), headless.exists(), making.exists())
    assert "quarantine/0-188" in receipt.removed
    assert set() == canaries_in(root_of(store))


def test_who_names_it_meanwhile_is_asked_again(store: castore.Store) -> None:
    """A commit between the look and the erasure is seen, and begins it again."""
    ref = store.put(canary(1))
    log = store.create_session(then=[entry(2, ref)])
    found = erasing.survey
    times = []

    def surveying(*args: Any, **options: Any) -> Any:
        made = found(*args, **options)
        times.append(1)
        if len(times) == 1:
            log.append([entry(3, ref)])
        return made

    with patch(erasing, "survey", surveying):
        receipt = castore.erase(store, ref, reason="")
    assert (2, 2) == (len(times), receipt.erased[0].used_count)
    check(store, receipt)

    def always(*args: Any, **options: Any) -> Any:
        made = found(*args, **options)
        store.segment(log.id).append([entry(len(times))])
        times.append(1)
        return made

    with patch(erasing, "survey", always), pytest.raises(ConflictError, match="moved"):
        castore.erase(store, store.session(log.session_id), reason="")
    assert 0 < store.segment(log.id).count


# --- stopped -----------------------------------------------------------------


class Stopped(Exception):  # noqa: N818 - a process that ends
    """It ends here."""


@pytest.mark.parametrize("where", ["before", "behind"])
def test_a_stopped_erasure_goes_on_from_its_receipt(
    where: str, store: castore.Store
) -> None:
    """Stopped before its commit it is none; behind that it counts, and is finished."""
    log = store.create_session(key=("a", "b"), then=[entry(1)])
    rewriting = importlib.import_module("castore.packing.rewrite")
    step = "publish" if where == "before" else "drop"
    begun: list[Receipt] = []

    with patch(rewriting, step, side_effect=Stopped), pytest.raises(Stopped):
        castore.erase(store, store.session(("a", "b")), reason="r", begun=begun.append)
    assert {canary(1)} == canaries_in(root_of(store))
    again = Receipt.from_json(json.loads(json.dumps(begun[0].to_json())))
    receipt = finish(store.engine, again)

    if where == "before":
        assert receipt is None
        pack(store.engine)  # and what was written in vain goes
        assert canary(1) == store.get(log.entry(1).body)
    else:
        assert receipt is not None
        assert ("done", begun[0].erased) == (receipt.state, receipt.erased)
        assert store.engine.view.position.seq == receipt.seq
        assert set() == canaries_in(root_of(store))
    check(store)


def test_the_next_maintenance_removes_what_is_left(store: castore.Store) -> None:
    """An erasure that counts is as good as done with the next pack."""
    ref = store.put(canary(1), tag="t")
    rewriting = importlib.import_module("castore.packing.rewrite")
    with patch(rewriting, "drop", side_effect=Stopped), pytest.raises(Stopped):
        castore.erase(store, ref, reason="")
    with pytest.raises(GoneError, match="erased"):
        store.get(ref)

    pack(store.engine)

    assert set() == canaries_in(root_of(store))
    again = castore.erase(store, ref, reason="")
    assert ("done", 1) == (again.state, len(again.erased))


def test_a_dropped_side_pack_is_removed(store: castore.Store, sides: None) -> None:
    """Commit records name a side pack for good: that is no reason to keep it."""
    with castore.open(root_of(store)) as other:
        ref = other.put(canary(1) + bytes(50), tag="t")
    rewriting = importlib.import_module("castore.packing.rewrite")
    with patch(rewriting, "drop", side_effect=Stopped), pytest.raises(Stopped):
        castore.erase(store, ref, reason="")
    assert {canary(1)} == canaries_in(root_of(store))

    collect(store.engine, grace_s=0)

    assert set() == canaries_in(root_of(store))


def test_a_catalog_in_use_is_waited_for(store: castore.Store) -> None:
    """Old files that a reader of the catalog may still need are not forgotten."""
    ref = store.put(canary(1), tag="t")
    with (
        patch(type(store.engine.upkeep), "sync_catalog", lambda _: False),
        pytest.raises(LockedError, match="the erasure counts"),
    ):
        castore.erase(store, ref, reason="", timeout_s=0)

    assert "done" == castore.erase(store, ref, reason="").state
    assert set() == canaries_in(root_of(store))


# --- planted bugs ------------------------------------------------------------


def only_copies(found: Any, scope: Any) -> Any:
    """Files with differences to what goes are left alone."""
    found.records.bases = {}
    return files_with(found, scope)


files_with = erasing.files_with
GUARDS = [
    (erasing, "files_with", only_copies, test_differences_to_it_are_stored_anew),
    (erasing, "void_files", lambda *_: set(), test_void_copies_go_too),
    (erasing, "torn", lambda *_: [], test_what_recovery_put_aside_goes),
    (
        erasing,
        "_check_unchanged",
        lambda *_: None,
        test_who_names_it_meanwhile_is_asked_again,
    ),
    (Upkeep, "compact_catalog", lambda *_: None, test_a_sessions_key_goes_with_it),
    (_Finder, "_keep_parts", lambda *_: None, test_a_part_of_another_payload_stays),
    (
        _Finder,
        "_left_over",
        lambda *_: set(),
        test_what_only_the_session_inherits_goes_with_it,
    ),
    (_Finder, "_is_needed", lambda *_: False, test_what_others_need_is_refused_by_name),
]


@pytest.mark.parametrize(
    ("where", "name", "bug", "test"), GUARDS, ids=lambda it: getattr(it, "__name__", "")
)
def test_planted_bug_is_found(
    where: Any,
    name: str,
    bug: Callable[..., Any],
    test: Callable[..., None],
    store: castore.Store,
    request: pytest.FixtureRequest,
) -> None:
    """Without a guard, the test that it is for fails."""
    wanted = inspect.signature(test).parameters
    given = {each: request.getfixturevalue(each) for each in wanted}
    found = (AssertionError, castore.CastoreError, pytest.fail.Exception)
    with patch(where, name, bug), pytest.raises(found):
        test(**given)
