"""
A collection that is held to a plan, and one that is told what is lost.

Spec: spec/storelog.md, "What is not there"; spec/suite.md.
"""

from __future__ import annotations

import os

from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

import castore

from castore import BlobRef, Reference, Store, gc
from castore.catalog.rows import Facts
from castore.collecting import accepting
from castore.digest import format_digest, in_context
from castore.engine.members import store_log
from castore.errors import (
    ConflictError,
    CorruptionError,
    FormatError,
    LostError,
)
from castore.formats.storelog import LOST
from castore.gc import Report, collect
from castore.packing.rewrite import close_journal, closed_files, maintenance, rewrite
from castore.verify import verify


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """Return a store with something in it."""
    with castore.open(folder / "store", create=True) as made:
        made.create_session(key=("test", "kept"))
        yield made


def garbage(store: Store, count: int) -> list[BlobRef]:
    """Put payloads that nothing needs."""
    names = [f"garbage {number}" for number in range(count)]
    refs = [store.put(os.urandom(500), tag=name) for name in names]
    for name in names:
        store.untag(name)
    return refs


def run(store: Store, plan: str) -> Report:
    """Collect what is in a plan."""
    return collect(store.engine, grace_s=0, yes=True, plan=bytes.fromhex(plan))


def planned(store: Store) -> str:
    """Return the hash of what would go."""
    return collect(store.engine, grace_s=0, dry_run=True).plan


def there(store: Store, refs: list[BlobRef]) -> list[bool]:
    """Return which of *refs* are there."""
    return [store.has(ref) for ref in refs]


# --- plans -----------------------------------------------------------------------


def test_a_plan_is_a_hash_of_names(store: Store) -> None:
    """Anybody can compute it: the names in order, under a context of its own."""
    names = sorted(ref.digest for ref in garbage(store, 3))

    assert in_context["plan"](*names).hex() == planned(store)


def test_a_plan_is_done(store: Store) -> None:
    """Where nothing changed, all of it goes."""
    refs = garbage(store, 3)
    plan = planned(store)
    report = run(store, plan)

    assert (3, plan, 0) == (
        report.deleted_blob_count,
        report.plan,
        report.resurrected_blob_count,
    )
    assert [False] * 3 == there(store, refs)


def test_what_came_alive_stays(store: Store) -> None:
    """What is needed again is counted, and the rest goes."""
    refs = garbage(store, 3)
    plan = planned(store)
    store.tag("again", refs[1])
    report = run(store, plan)

    assert (2, 1) == (report.deleted_blob_count, report.resurrected_blob_count)
    assert [False, True, False] == there(store, refs)


def new_garbage_stays(store: Store) -> bool:
    """Return whether what became garbage after a plan stays with it."""
    refs = garbage(store, 2)
    plan = planned(store)
    more = garbage(store, 1)
    report = run(store, plan)
    assert [False] * 2 == there(store, refs)
    return (2, 1) == (report.deleted_blob_count, report.later["plan"].blob_count) and (
        there(store, more) == [True]
    )


def test_nothing_outside_of_a_plan_goes(store: Store) -> None:
    """What is dead since, a later run may take."""
    assert new_garbage_stays(store)
    assert 1 == collect(store.engine, grace_s=0, yes=True).deleted_blob_count


def test_a_plan_that_holds_nobody_is_found(store: Store) -> None:
    """Who takes all that is due deletes what nobody was shown."""
    with mock.patch.object(gc, "recall_plan", lambda engine, plan, due: set(due)):
        assert not new_garbage_stays(store)


def test_an_unknown_plan_is_refused(store: Store) -> None:
    """A plan that was never made, or that the catalog has forgotten, is none."""
    refs = garbage(store, 1)
    with pytest.raises(ConflictError, match="not known any more"):
        run(store, "00" * 32)
    plan = planned(store)
    store.engine.rebuild()
    more = garbage(store, 1)
    with pytest.raises(ConflictError, match="not known any more"):
        run(store, plan)
    assert [True, True] == there(store, [*refs, *more])


def test_a_forgotten_plan_that_is_found_again(store: Store) -> None:
    """Where the same would go, its hash tells that it is the plan."""
    garbage(store, 2)
    plan = planned(store)
    store.engine.rebuild()

    assert 2 == run(store, plan).deleted_blob_count


def another_difference(store: Store) -> None:
    """Ask for a plan of which something is dead, but not to go now."""
    garbage(store, 2)
    plan = planned(store)
    collect(store.engine, grace_s=10**6)  # condemned from now on
    collect(
        store.engine,
        grace_s=10**6,
        yes=True,
        plan=bytes.fromhex(plan),
    )


def test_another_difference_is_refused(store: Store) -> None:
    """A plan that is not due any more for another reason is refused as a whole."""
    with pytest.raises(ConflictError, match="not due any more"):
        another_difference(store)


def test_a_plan_that_nobody_compares_is_found(store: Store) -> None:
    """Who does not compare goes on with a part of a plan."""
    with mock.patch.object(gc, "check_plan"):
        another_difference(store)


def test_a_plan_that_was_stopped_goes_on(store: Store) -> None:
    """What of a plan has gone is no difference."""
    refs = garbage(store, 2)
    plan = planned(store)
    with (
        mock.patch.object(gc._Run, "_condemn", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        run(store, plan)
    assert [False] * 2 == there(store, refs)

    assert 0 == run(store, plan).deleted_blob_count


# --- lost ------------------------------------------------------------------------


def lose(store: Store, count: int) -> list[bytes]:
    """Lose payloads that entries need: the files do not have them any more."""
    refs = [store.put(os.urandom(300)) for _ in range(count)]
    named = [Reference("x", ref) for ref in refs]
    store.create_session().append([castore.NewEntry("a", b"b", named)])
    names = {ref.digest for ref in refs}
    with maintenance(store.engine):
        close_journal(store.engine)
        rewrite(store.engine, closed_files(store.engine), level=1, dead=names)
    return sorted(names)


def accepted(store: Store, names: list[bytes]) -> Report:
    """Accept that *names* are lost."""
    return collect(store.engine, grace_s=0, yes=True, accept_lost=names)


def said(store: Store) -> set[bytes]:
    """Return what the store log says is lost."""
    absent = store_log(store.engine.refresh(), store.id).absent
    return {name for name, absence in absent.items() if absence.how == LOST}


def test_losses_are_listed(store: Store) -> None:
    """Nothing goes where something is lost; the error has all names."""
    refs = garbage(store, 1)
    names = lose(store, 12)
    with pytest.raises(LostError) as caught:
        collect(store.engine, grace_s=0, yes=True)

    assert tuple(map(format_digest, names)) == caught.value.names
    assert [True] == there(store, refs)


def test_accepted(store: Store) -> None:
    """Said once in the store log, a loss is explained, and nothing stops at it."""
    garbage(store, 1)
    names = lose(store, 2)
    report = accepted(store, names)

    assert (1, 2, 2) == (
        report.deleted_blob_count,
        report.accepted_blob_count,
        report.missing_blob_count,
    )
    assert set(names) == said(store)
    found = verify(store.engine.files.root)
    assert found.ok
    lost = [each for each in found.explained if "lost, accepted" in each.verdict]
    assert [f"blob:{name.hex()}" for name in names] == [each.where for each in lost]
    again = collect(store.engine, grace_s=0)
    assert (0, 2) == (again.accepted_blob_count, again.missing_blob_count)


def test_accepted_by_a_dry_run(store: Store) -> None:
    """A dry run shows what would be, and says nothing."""
    refs, names = garbage(store, 1), lose(store, 1)
    report = collect(store.engine, grace_s=0, dry_run=True, accept_lost=names)

    assert 1 == report.accepted_blob_count == report.deleted_blob_count
    assert set() == said(store)
    assert [True] == there(store, refs)


def test_nothing_else_can_be_accepted(store: Store) -> None:
    """What is there, explained, or needed by nobody is no loss; nothing is done."""
    refs, names = garbage(store, 1), lose(store, 1)
    kept = store.put(b"kept", tag="kept")
    for other in (refs[0].digest, kept.digest, bytes(32)):
        with pytest.raises(FormatError, match="nothing was done"):
            accepted(store, [*names, other])
    assert (set(), [True]) == (said(store), there(store, refs))
    accepted(store, names)
    with pytest.raises(FormatError, match="nothing was done"):
        accepted(store, names)


def test_all_or_nothing(store: Store) -> None:
    """Who accepts a part of what is lost gets the rest as an error; nothing is said."""
    names = lose(store, 3)
    with pytest.raises(LostError) as caught:
        accepted(store, names[1:])

    assert (format_digest(names[0]),) == caught.value.names
    assert set() == said(store)


def forgotten(store: Store) -> None:
    """Accept as lost what only the catalog does not know."""
    ref = store.put(os.urandom(300), tag="kept")
    store.engine.upkeep.apply_all()
    catalog = store.engine.state.catalog
    assert catalog is not None
    catalog.apply([Facts(gone_places=[ref.digest])], store.engine.view.position)
    with pytest.raises(CorruptionError, match="seemed lost and are there"):
        accepted(store, [ref.digest])
    assert set() == said(store)


def test_what_the_catalog_forgot_is_not_lost(store: Store) -> None:
    """Before anything is called lost, the files are asked."""
    forgotten(store)


def test_a_catalog_that_is_believed_is_found(store: Store) -> None:
    """Who does not look into the files calls lost what is there."""
    with (
        mock.patch.object(accepting, "named_by_files", return_value=(set(), {})),
        pytest.raises(pytest.fail.Exception),
    ):
        forgotten(store)


def test_something_comes_alive_meanwhile(store: Store) -> None:
    """A collection that begins anew has said what is lost, and says it once."""
    garbage(store, 1)
    names = lose(store, 1)
    check, count = gc._check_agreement, 0

    def once(*args: object) -> None:
        nonlocal count
        count += 1
        if count == 1:
            raise ConflictError(what="", subject="blob", expected=0, actual=1)
        check(*args)  # type: ignore[arg-type]

    with mock.patch.object(gc, "_check_agreement", once):
        report = accepted(store, names)

    assert (1, 1) == (report.accepted_blob_count, report.deleted_blob_count)
    assert set(names) == said(store)


# --- the report ------------------------------------------------------------------


def test_each_blob_is_counted_once(store: Store) -> None:
    """What is kept is kept for one reason, what is examined is kept or dead."""
    garbage(store, 2)
    store.put(os.urandom(100), tag="tagged")
    store.put(os.urandom(9_000_000), tag="chunks")
    log = store.create_session(body=b"start")
    named = [Reference(f"x.{n}", store.put(b"%d" % n)) for n in range(300)]
    log.append([castore.NewEntry("a", b"", named)])
    report = collect(store.engine, grace_s=10**6)

    assert {
        "payloads": 300,
        "tags": 2,
        "lists": 1,
    }.items() <= report.retained_by.items()
    assert all(report.retained_by.values())
    assert report.retained_blob_count == sum(report.retained_by.values())
    assert report.examined_blob_count == report.retained_blob_count + 2
    assert 2 == report.later["grace"].blob_count


def test_condemned_and_needed_again(store: Store) -> None:
    """What was condemned and came alive is told once."""
    refs = garbage(store, 2)
    collect(store.engine, grace_s=10**6)
    store.tag("again", refs[0])
    report = collect(store.engine, grace_s=10**6)

    assert (1, 1) == (report.resurrected_blob_count, report.condemned_blob_count)
    assert 0 == collect(store.engine, grace_s=10**6).resurrected_blob_count
