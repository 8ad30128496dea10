"""
Garbage collection: what goes, what stays, and when it refuses.
"""

import errno
import os
import time

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import castore

from castore import marking
from castore.catalog.rows import Facts
from castore.errors import (
    ClosedError,
    CorruptionError,
    GoneError,
    LimitError,
    LostError,
    StorageError,
)
from castore.gc import collect
from castore.packing import pack
from castore.packing.rewrite import close_journal
from castore.reading import digestset
from castore.reading.survey import survey
from castore.storage import Files
from castore.storage.files import storage_error


@pytest.fixture
def store(tmp_path: Path) -> Iterator[castore.Store]:
    """An empty store."""
    with castore.open(tmp_path / "store", create=True) as opened:
        yield opened


def entry(kind: str, size: int) -> castore.NewEntry:
    """Return an entry with a random body."""
    return castore.NewEntry(kind, os.urandom(size))


def faults(store: castore.Store) -> list[object]:
    """Return what a survey of the files alone finds wrong."""
    found = survey(store.engine.files, store=store.id)
    return [item for item in found.findings if item.severity == "fault"]


def test_nothing_needed_goes(store: castore.Store) -> None:
    """A collection of a store without garbage deletes nothing."""
    segment = store.create_session(then=[entry("a", 100), entry("b", 5000)])
    store.put(b"kept", tag="k")
    before = [body for _, body in segment.read()]

    report = collect(store.engine, grace_s=0)

    assert (0, 3) == (report.deleted_blob_count, report.root_count)
    assert before == [body for _, body in segment.read()]
    assert b"kept" == store.get(store.tags()["k"])


def test_grace_takes_two_runs(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is found dead is condemned first, and goes after the grace."""
    store.put(os.urandom(3000), tag="t")
    ref = store.tags()["t"]
    store.untag("t")

    first = collect(store.engine, grace_s=3600, yes=True)
    early = collect(store.engine, grace_s=3600, yes=True)
    later = time.time_ns() + 3_700_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    last = collect(store.engine, grace_s=3600, yes=True)

    assert (1, 0) == (first.condemned_blob_count, first.deleted_blob_count)
    assert (1, 0) == (early.condemned_blob_count, early.deleted_blob_count)
    assert (0, 1) == (last.condemned_blob_count, last.deleted_blob_count)
    assert first.next_ms is not None
    assert not store.has(ref)
    assert [] == faults(store)


def test_dry_run_equals_run(store: castore.Store) -> None:
    """A dry run says what the run does, and changes nothing."""
    segment = store.create_session(then=[entry("a", 4000)])
    other = store.create_session(then=[entry("b", 9000)])
    other.delete()
    size = store.engine.disk_size()

    dry = collect(store.engine, grace_s=0, dry_run=True)
    unchanged = store.engine.disk_size()
    run = collect(store.engine, grace_s=0, yes=True)
    again = collect(store.engine, grace_s=0, yes=True)

    assert size == unchanged
    done = ("freed_bytes", "stored_bytes", "rewritten_bytes")
    files = ("files_kept", "files_rewritten", "files_dropped", "files_written")
    facts = {name: getattr(run, name) for name in (*done, *files)}
    assert attrs.evolve(dry, dry_run=False, **facts) == run
    assert 0 == again.deleted_blob_count
    assert 2 == len(list(segment.read()))


def test_deleted_segment_keeps_what_forks_inherit(store: castore.Store) -> None:
    """Entries of a deleted segment live as far as a fork inherits them."""
    segment = store.create_session(then=[entry("x", 2000) for _ in range(9)])
    fork = segment.fork(4)
    bodies = [body for _, body in fork.read()]
    segment.delete()

    report = collect(store.engine, grace_s=0, yes=True)

    assert 6 == report.deleted_blob_count
    assert bodies == [body for _, body in fork.read()]
    assert [] == faults(store)
    store.engine.rebuild()
    assert bodies == [body for _, body in fork.read()]


def test_checkpoints_of_old_turns_are_released(store: castore.Store) -> None:
    """The newest checkpoints of each log stay; the others are known to be gone."""
    segment = store.create_session()
    refs: list[castore.BlobRef] = []
    state = os.urandom(50_000)
    for turn in range(6):
        state = state[:100] + b"turn %d" % turn + state[100:]
        refs.append(store.put(state, like=refs[-1] if refs else None))
        manifest = castore.Reference("checkpoint.state", refs[-1])
        segment.append([castore.NewEntry("turn", b"%d" % turn, [manifest])])
    fork = segment.fork(4)

    report = collect(store.engine, grace_s=0, yes=True, keep_checkpoints=1)

    assert (2, 4) == attrs.astuple(report.by_role["checkpoint"])
    assert state == store.get(refs[5])
    assert len(store.get(refs[2])) == refs[2].size
    with pytest.raises(GoneError, match="collected"):
        store.get(refs[0])
    assert 5 == fork.count
    assert [] == faults(store)
    found = survey(store.engine.files, store=store.id)
    assert set(found.log.absent) == {refs[n].digest for n in (0, 1, 3, 4)}


def test_missing_blob_stops_everything(store: castore.Store) -> None:
    """What is lost and unexplained aborts the collection; nothing is deleted."""
    store.create_session(then=[entry("a", 3000)])
    store.put(os.urandom(2000), tag="t")
    store.untag("t")
    pack(store.engine)
    store.create_session(then=[entry("b", 3000)])
    known = store.engine.view.known
    victim = next(place for place in known.places() if place.size == 3000)
    facts = Facts(gone_places=[victim.digest])
    known.apply([facts], store.engine.view.position)

    with pytest.raises((LostError, CorruptionError)):
        collect(store.engine, grace_s=0)

    assert known.find_place(victim.digest) is None
    store.engine.rebuild()
    assert 3000 == len(store.get(castore.BlobRef(victim.digest, 3000)))


def test_a_lying_catalog_deletes_nothing(store: castore.Store) -> None:
    """A segment that the catalog forgot is found by the mark from the files."""
    segment = store.create_session(then=[entry("a", 3000)])
    bodies = [body for _, body in segment.read()]
    view = store.engine.view
    view.known.apply([Facts(gone_segments=[segment.id])], view.position)

    with pytest.raises(CorruptionError, match="catalog differs"):
        collect(store.engine, grace_s=0, yes=True)

    store.engine.rebuild()
    assert bodies == [body for _, body in store.segment(segment.id).read()]


def test_more_than_half_asks_first(store: castore.Store) -> None:
    """Deleting most of a store wants a yes."""
    for _ in range(9):
        store.create_session(then=[entry("a", 1000)]).delete()

    with pytest.raises(LimitError, match="yes"):
        collect(store.engine, grace_s=0)

    assert 9 <= collect(store.engine, grace_s=0, yes=True).deleted_blob_count


def test_side_packs_of_live_writers_are_left_alone(
    store: castore.Store, tmp_path: Path
) -> None:
    """What another process has put and not committed survives any collection."""
    with castore.open(tmp_path / "store") as other:
        segment = other.create_session()
        waiting = os.urandom(2_000_000)
        ref = other.put(waiting)
        other.put(os.urandom(2_000_000), tag="gone")
        other.untag("gone")

        held = collect(store.engine, grace_s=0, yes=True)
        pack(store.engine)
        segment.append([castore.NewEntry("x", ref)])

        assert 2 == held.held_blob_count
        assert waiting == store.get(ref)
    after = collect(store.engine, grace_s=0, yes=True)
    assert 1 <= after.deleted_blob_count
    assert waiting == store.get(ref)
    assert [] == faults(store)


def test_put_again_while_it_is_deleted(store: castore.Store, tmp_path: Path) -> None:
    """A blob put before its garbage copy was deleted is written anew."""
    data = os.urandom(7000)
    store.put(data, tag="t")
    store.untag("t")
    with castore.open(tmp_path / "store") as other:
        segment = other.create_session()
        ref = other.put(data)
        collect(store.engine, grace_s=0, yes=True)
        segment.append([castore.NewEntry("x", ref)])

        assert data == store.get(ref)
    assert [] == faults(store)


def test_unlisted_pack_is_garbage(store: castore.Store) -> None:
    """A pack that was written and never listed is removed, listed ones are not."""
    from castore.packing.writer import PackWriter

    segment = store.create_session(then=[entry("a", 3000)])
    pack(store.engine)
    writer = PackWriter(store.engine.state, 3)
    writer.write([[1, 3]], [b"abc"])
    (listing,) = writer.finish()
    name = f"files/{listing.file.hex()}.cas"
    assert store.engine.files.exists(name)

    collect(store.engine)

    assert not store.engine.files.exists(name)
    assert 2 == len(list(segment.read()))


@pytest.mark.parametrize("call", ["sync", "sync_folder"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_pack_that_cannot_be_synced(
    call: str, number: int, store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed sync of a pack ends the handle; for want of room, only the pack."""
    segment = store.create_session(then=[entry("a", 3000)])
    close_journal(store.engine)
    before = store.engine.files.list("files")

    def failing(*_: object) -> None:
        raise storage_error("syncing", OSError(number, ""))

    with monkeypatch.context() as patched:
        patched.setattr(Files, call, failing)
        with pytest.raises(StorageError):
            pack(store.engine)

    assert before == store.engine.files.list("files")
    if number == errno.ENOSPC:
        segment.append([entry("b", 3000)])
        pack(store.engine)
    else:
        with pytest.raises(ClosedError):
            segment.append([entry("b", 3000)])
        with pytest.raises(ClosedError):
            pack(store.engine)
    with castore.open(store.engine.files.root) as again:
        assert (3 if number == errno.ENOSPC else 2) == again.segment(segment.id).count
    assert [] == faults(store)


def test_packing_converges(store: castore.Store) -> None:
    """Packing a packed store does nothing."""
    store.create_session(then=[entry("a", 3000) for _ in range(50)])
    pack(store.engine)
    size = store.engine.disk_size()

    assert pack(store.engine).seq is None
    assert size == store.engine.disk_size()


def test_a_fork_at_the_end_of_a_deleted_log(tmp_path: Path) -> None:
    """Others can follow a fork at the last entry of a log that was deleted."""
    with castore.open(tmp_path / "store", create=True) as store:
        parent = store.create_session(then=[entry("a", 30)])
        child = parent.fork(2)
        parent.delete()
        with castore.open(tmp_path / "store") as other:
            assert 3 == other.segment(child.id).count
            grand = child.fork(2, then=[entry("b", 30)])

            assert 4 == len(list(other.segment(grand.id).read()))
        assert [] == faults(store)


def test_names_that_come_again_count_once(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A payload that many entries name is one, however often names are sorted."""
    monkeypatch.setattr(digestset, "_SIZE", 64)
    names = [store.put(b"%d" % number) for number in range(5)]
    refs = [castore.Reference("part", name) for name in names]
    segment = store.create_session()
    for number in range(40):
        segment.append([castore.NewEntry("x", b"body %d" % (number % 3), refs)])
    other = store.create_session(then=[castore.NewEntry("x", b"body 0", refs[:2])])
    other.append([castore.NewEntry("x", b"dead", [])])
    other.delete()

    marks = marking.mark(store.engine, None)

    assert marking.GroupMark(5, frozenset()) == marks.by_group["part"]
    assert 1 == sum(place.size == len(b"dead") for place in marks.dead.values())
    assert marks.live_count + len(marks.dead) == store.stats().blobs


def test_what_went_with_a_tag_is_not_counted_as_kept(store: castore.Store) -> None:
    """The entry of a tag goes on naming what it kept; gone is gone all the same."""
    store.put(b"tagged", tag="t")
    store.untag("t")

    runs = [collect(store.engine, grace_s=0, yes=True) for _ in range(2)]

    roles = [run.by_role for run in runs]
    assert [(0, 1), (0, 0)] == [
        (role.retained, role.deleted) for found in roles for role in found.values()
    ]
