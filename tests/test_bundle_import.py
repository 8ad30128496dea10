"""
Bundles that a store takes in.
"""

from __future__ import annotations

import os
import random

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bundleattacks import ATTACKS
from bundlekit import new_log, ref, simple
from bundlescenes import with_fork
from corruption import reference as load_reference

import castore

from castore import merkle
from castore.bundles import (
    Imported,
    Redaction,
    Wish,
    check_bundle,
    export_bundle,
    import_bundle,
)
from castore.bundles.taking import Taker
from castore.codec import decode_object
from castore.erasing import erase
from castore.errors import (
    ConflictError,
    CorruptionError,
    GoneError,
    LimitError,
    LockedError,
    NotFoundError,
    StorageError,
)
from castore.formats import storelog
from castore.formats.entry import parse_start
from castore.formats.trees import SEGMENT_TREE
from castore.gc import collect
from castore.packing import pack
from castore.packing.rewrite import maintenance
from castore.verify import verify


MIB = 1 << 20


class Pair:
    """Two stores, and bundles that go from the first to the second."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bundle = root / "bundle"
        self.here = castore.open(root / "here", create=True)
        self.there = castore.open(root / "there", create=True)

    def send(self, *wishes: Wish, **how: object) -> Imported:
        """Take *wishes* over."""
        with self.bundle.open("wb") as file:
            export_bundle(self.here.engine, wishes, file, **how)  # type: ignore[arg-type]
        return import_bundle(self.there.engine, self.bundle)

    def same(self, segment: castore.Segment) -> castore.Segment:
        """Check that the other store has *segment*, entry by entry, and return it."""
        other = self.there.segment(segment.id)
        assert list(segment.read()) == list(other.read())
        assert (segment.head.root, segment.head.last) == (
            other.head.root,
            other.head.last,
        )
        assert segment.session_id == other.session_id
        for entry in segment.entries():
            for reference in segment.references(entry):
                assert self.here.get(reference.blob) == self.there.get(reference.blob)
        return other

    def check(self) -> None:
        """Check that the other store is whole, for all who look at one."""
        report = verify(self.there.engine.files.root)
        assert report.ok, report.findings
        before = self.there.engine.refresh().known.dump()
        self.there.engine.rebuild()
        assert before == self.there.engine.refresh().known.dump()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Two empty stores."""
    return Pair(tmp_path)


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The checker of stores that was written from the pages alone."""
    return load_reference()


def line(text: str, *payloads: castore.BlobRef) -> castore.NewEntry:
    """Return an entry."""
    refs = [castore.Reference("tool.out", each) for each in payloads]
    return castore.NewEntry("line", text.encode(), refs, 1_700_000_000_000)


def fill(store: castore.Store, count: int = 30) -> castore.Segment:
    """Return a segment with all sorts of payloads."""
    log = store.create_session(key=("tool", "one"), body=b"meta")
    sizes = {3: MIB + 1, 5: 9 * MIB}
    for number in range(count):
        data = bytes([number]) * sizes.get(number, 40)
        log.append([line(f"text {number}", store.put(data))])
    many = [store.put(b"item %d" % number) for number in range(300)]
    log.append([line("many", *many)])
    return log


def tell(store: castore.Store, kind: str) -> list[dict[str, Any]]:
    """Return the bodies of the store log's entries of that kind."""
    log = store.segment(store.id)
    return [decode_object(body) for entry, body in log.read() if entry.kind == kind]


# --- what is taken in --------------------------------------------------------


def test_a_log_stays_what_it_is(pair: Pair, reference: ModuleType) -> None:
    """Ids, entries, hashes, roots, payloads and the session's key are the same."""
    log = fill(pair.here)

    done = pair.send(Wish(log.id))
    other = pair.same(log)

    assert ["new"] == [segment.state for segment in done.segments]
    assert log.count == done.entries
    assert pair.there.session(("tool", "one")).id == log.session_id
    assert (1, pair.there.id) == (other.head.revision, other.head.store)
    assert (done.seq, other.head.seq) == (other.head.seq, done.seq)
    pair.check()
    assert reference.check(pair.there.engine.files.root)["ok"]


def test_a_second_time_is_nothing(pair: Pair) -> None:
    """What is here already is not taken in again, and no commit is made."""
    log = fill(pair.here)
    seq = pair.send(Wish(log.id)).seq
    files = sorted((pair.root / "there" / "files").iterdir())

    again = pair.send(Wish(log.id))

    assert (None, 0, ["same"]) == (
        again.seq,
        again.blobs,
        [each.state for each in again.segments],
    )
    assert seq == pair.there.segment(log.id).head.seq
    assert files == sorted((pair.root / "there" / "files").iterdir())


def test_a_longer_log_goes_on(pair: Pair, reference: ModuleType) -> None:
    """Of a log that is here only what is new is added, within a record too."""
    log = fill(pair.here)
    pair.send(Wish(log.id, 0, 20))
    assert pair.there.segment(log.id).count == 20

    done = pair.send(Wish(log.id))
    other = pair.same(log)

    assert (["grown"], log.count - 20) == (
        [each.state for each in done.segments],
        done.entries,
    )
    assert other.head.revision == 2
    pair.check()
    assert reference.check(pair.there.engine.files.root)["ok"]
    other.append([line("and on")])
    assert other.prove(25).root == other.head.root


def test_a_part_fits_behind_what_is_here(pair: Pair) -> None:
    """A range is taken in where what is before it is here, and nowhere else."""
    log = fill(pair.here)

    with pytest.raises(ConflictError, match="what is before is not here"):
        pair.send(Wish(log.id, 10))
    pair.send(Wish(log.id, 0, 9))
    with pytest.raises(ConflictError, match="what is before is not here"):
        pair.send(Wish(log.id, 10))
    pair.send(Wish(log.id, 5, 12))
    pair.send(Wish(log.id, 12))

    pair.same(log)
    pair.check()


def test_forks_come_with_what_they_inherit(pair: Pair) -> None:
    """A fork of a fork is taken in with the beginnings that it needs."""
    log = fill(pair.here)
    fork = log.fork(20, then=[line("fork")])
    below = fork.fork(21, key=("tool", "two"), session=os.urandom(16))

    done = pair.send(Wish(below.id))

    assert ["new"] * 3 == [segment.state for segment in done.segments]
    assert pair.there.segment(log.id).count == 20
    pair.same(below)
    assert pair.there.session(("tool", "two")).id == below.session_id
    pair.send(Wish(log.id), Wish(fork.id))
    pair.same(log)
    pair.same(fork)
    pair.check()


def test_a_fork_of_what_is_here(pair: Pair) -> None:
    """A fork alone finds its parent here, if that is the same."""
    log = fill(pair.here)
    pair.send(Wish(log.id, 0, 25))
    fork = log.fork(20, then=[line("fork")])

    pair.send(Wish(fork.id, 20))

    pair.same(fork)
    pair.check()
    far = log.fork(30)
    with pytest.raises(ConflictError, match="what is before is not here"):
        pair.send(Wish(far.id, 30))


def test_a_deleted_parent_lives_again(pair: Pair) -> None:
    """What a fork inherits of a deleted segment is a segment where it is taken in."""
    log = fill(pair.here)
    fork = log.fork(20)
    pair.here.segment(log.id).delete()

    pair.send(Wish(fork.id))

    pair.same(fork)
    assert pair.there.segment(log.id).count == 20
    pair.check()


def test_who_reads_along_sees_it(pair: Pair) -> None:
    """Another handle, with a view of its own, reads what was taken in."""
    log = fill(pair.here)
    fork = log.fork(20)
    writer = castore.open(pair.root / "there")
    reader = castore.open(pair.root / "there", read_only=True)
    generation = writer.engine.state.seen.catalog_generation  # type: ignore[union-attr]

    pair.send(Wish(fork.id), Wish(log.id))

    for store in (writer, reader):
        for each in (log, fork):
            assert list(each.read()) == list(store.segment(each.id).read())
    assert writer.engine.state.seen is not None
    assert generation == writer.engine.state.seen.catalog_generation
    writer.segment(fork.id).append([line("by another")])
    pair.check()


def test_it_lives_on(pair: Pair, reference: ModuleType) -> None:
    """What was taken in is packed, collected, appended to and proved like all else."""
    log = fill(pair.here)
    pair.send(Wish(log.id))
    other = pair.there.segment(log.id)
    other.append([line("more", pair.there.put(b"more"))])
    root = pair.there.engine.files.root

    pack(pair.there.engine)
    collect(pair.there.engine, grace_s=0, yes=True)

    assert other.count == log.count + 1
    assert list(log.read()) == list(pair.there.segment(log.id).read(0, log.count))
    assert (verify(root).ok, reference.check(root)["ok"]) == (True, True)
    other.delete()
    collect(pair.there.engine, grace_s=0, yes=True)
    collect(pair.there.engine, grace_s=0, yes=True)
    assert verify(root).ok


# --- heads and proofs --------------------------------------------------------


def test_the_old_head_stays_provable(pair: Pair) -> None:
    """The store log holds the old head, and a proof to it from what is here."""
    log = fill(pair.here)
    done = pair.send(Wish(log.id, 0, 13))

    (told,) = tell(pair.there, storelog.IMPORTED)
    ((segment, count, head, proof),) = told["segments"]

    assert (done.bundle, pair.here.id) == (told["bundle"], told["store"])
    assert (log.id, 13, log.head.encode()) == (segment, count, head)
    merkle.check_consistency(
        SEGMENT_TREE,
        [proof[at : at + 32] for at in range(0, len(proof), 32)],
        first=13,
        second=log.count,
        first_root=pair.there.segment(log.id).head.root,
        second_root=log.head.root,
    )


def test_what_was_withheld_is_explained(pair: Pair, reference: ModuleType) -> None:
    """A payload that was left out is gone for a reason, and may come later."""
    log = fill(pair.here)
    (first,) = log.entry(2).refs

    done = pair.send(Wish(log.id), redaction=Redaction({"tool"}))

    root = pair.there.engine.files.root
    index = pair.there.segment(pair.there.id).count - 1
    report = verify(root)
    assert (True, done.withheld) == (report.ok, len(report.explained))
    assert {f"withheld by bundle {index}"} == {f.verdict for f in report.explained}
    theirs = reference.check(root)
    assert theirs["ok"]
    assert len(theirs["findings"]) == done.withheld
    with pytest.raises(GoneError, match="withheld by bundle") as caught:
        pair.there.get(first.blob)
    assert ("withheld", index) == (caught.value.how, caught.value.entry)
    collect(pair.there.engine, grace_s=0, yes=True)
    pair.check()

    again = pair.send(Wish(log.id))
    assert (0, ["same"]) == (again.entries, [each.state for each in again.segments])
    assert again.seq is not None
    pair.same(log)
    assert () == verify(root).explained


def test_what_was_erased_here_stays_erased(pair: Pair) -> None:
    """A longer bundle brings no payload back that was erased here."""
    log = fill(pair.here)
    pair.send(Wish(log.id, 0, 20))
    (gone,) = log.entry(2).refs
    erase(pair.there, gone.blob, reason="asked")

    done = pair.send(Wish(log.id))  # in groups, the first of which is here

    assert log.count - 20 == done.entries
    with pytest.raises(GoneError):
        pair.there.get(gone.blob)
    pair.check()


def test_a_bundle_for_somebody_else(pair: Pair) -> None:
    """A bundle that counts on payloads that are not here is refused."""
    log = fill(pair.here)

    with pytest.raises(NotFoundError, match="the bundle leaves it out"):
        pair.send(Wish(log.id), has=lambda names: [names[0]])
    assert [] == list(pair.there.sessions())


# --- what is refused ---------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_attacks_leave_nothing(name: str, tmp_path: Path) -> None:
    """A bundle at fault is refused with its verdict, and nothing of it stays."""
    data, wanted = ATTACKS[name]()
    store = castore.open(tmp_path / "store", create=True)
    (tmp_path / "bundle").write_bytes(data)
    files = sorted((tmp_path / "store" / "files").iterdir())

    with pytest.raises(CorruptionError) as caught:
        import_bundle(store.engine, tmp_path / "bundle")

    assert (caught.value.verdict, caught.value.where) in wanted
    assert files == sorted((tmp_path / "store" / "files").iterdir())
    assert store.segment(store.id).count == 1


def test_what_diverged_is_refused_or_forked(pair: Pair, reference: ModuleType) -> None:
    """A log that went on otherwise here is refused, or becomes a fork where it did."""
    log = fill(pair.here)
    pair.send(Wish(log.id))
    pair.there.segment(log.id).append([line("here")])
    log.append([line("there", pair.here.put(b"their payload")), line("and more")])
    before = pair.there.segment(log.id).head

    with pytest.raises(ConflictError, match="--as-fork") as caught:
        pair.send(Wish(log.id))
    assert caught.value.subject == "segment"
    done = import_bundle(pair.there.engine, pair.bundle, as_fork=True)

    (taken,) = done.segments
    assert ("forked", 2) == (taken.state, taken.entries)
    assert taken.fork is not None
    fork = pair.there.segment(taken.fork)
    assert (log.count - 2, log.count + 1) == (fork.fork_index, fork.count)
    bodies = [body for _, body in fork.read(fork.fork_index + 1)]
    assert [b"there", b"and more"] == bodies
    assert b"their payload" == pair.there.get(fork.entry(-2).refs[0].blob)
    assert before == pair.there.segment(log.id).head
    pair.check()
    assert reference.check(pair.there.engine.files.root)["ok"]


def test_nothing_in_common_is_no_fork(tmp_path: Path) -> None:
    """Another log under the same id is refused, as a fork too."""
    store = castore.open(tmp_path / "store", create=True)
    (tmp_path / "bundle").write_bytes(simple(new_log(b"one"), b"{}", b"one").data())
    import_bundle(store.engine, tmp_path / "bundle")
    other = new_log()
    other.stored, other.hashes = [], []
    start = new_log().stored[0][4]
    other.add(b"other", kind="start", start=parse_start(start))
    (tmp_path / "bundle").write_bytes(simple(other, b"other").data())

    for as_fork in (False, True):
        with pytest.raises(ConflictError):
            import_bundle(store.engine, tmp_path / "bundle", as_fork=as_fork)
    assert verify(tmp_path / "store").ok


def test_a_session_key_that_is_taken(pair: Pair) -> None:
    """A session whose key another one has here is refused."""
    log = fill(pair.here)
    pair.there.create_session(key=("tool", "one"))

    with pytest.raises(ConflictError, match="session key"):
        pair.send(Wish(log.id))

    assert 1 == len(list(pair.there.sessions()))
    pair.check()


def test_what_was_deleted_here(pair: Pair) -> None:
    """A segment that was deleted here is not taken in."""
    log = fill(pair.here)
    pair.send(Wish(log.id))
    pair.there.segment(log.id).delete()

    with pytest.raises(GoneError, match="deleted here"):
        pair.send(Wish(log.id))


def test_one_fault_takes_all_with_it(pair: Pair) -> None:
    """Of two sessions in a bundle none is taken in if one cannot be."""
    one, other = fill(pair.here), pair.here.create_session(key=("b", "b"))
    pair.there.create_session(key=("b", "b"))

    with pytest.raises(ConflictError):
        pair.send(Wish(one.id), Wish(other.id))

    with pytest.raises(NotFoundError):
        pair.there.segment(one.id)


def test_a_store_that_may_not_grow(pair: Pair) -> None:
    """A bundle that is too much for the store is refused before it is written."""
    log = fill(pair.here)
    pair.there.close()
    pair.there = castore.open(pair.root / "there", max_bytes=5_000)

    with pytest.raises(LimitError):
        pair.send(Wish(log.id))


def test_nobody_maintains_meanwhile(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While somebody packs or collects no bundle is taken in."""
    monkeypatch.setattr("castore.bundles.importing._TIMEOUT_S", 0.05)
    log = fill(pair.here)

    with maintenance(pair.there.engine), pytest.raises(LockedError):
        pair.send(Wish(log.id))


def test_a_file_that_changes_meanwhile(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that is another one once it was checked is refused."""
    log = fill(pair.here)
    other = pair.here.create_session(then=[line("other")])
    with pair.bundle.open("wb") as file:
        export_bundle(pair.here.engine, [Wish(other.id)], file)
    data = pair.bundle.read_bytes()
    take = Taker.take

    def changed(taker: Taker, checked: object, file: object) -> None:
        with pair.bundle.open("r+b") as opened:
            opened.write(data)
            opened.truncate()
        take(taker, checked, file)  # type: ignore[arg-type]

    monkeypatch.setattr(Taker, "take", changed)

    with pytest.raises(CorruptionError):
        pair.send(Wish(log.id))
    assert [] == list(pair.there.sessions())
    assert verify(pair.there.engine.files.root).ok


def test_stopped_anywhere_it_is_garbage(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its commit nothing counts, and the next maintenance removes it."""
    log = fill(pair.here)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("finish", "write_part"):
        with monkeypatch.context() as patch:
            patch.setattr(f"castore.packing.writer.PackWriter.{name}", stop)
            patch.setattr("castore.packing.writer.PackWriter.abandon", lambda _: None)
            with pytest.raises(KeyboardInterrupt):
                pair.send(Wish(log.id))
        pair.there.close()
        pair.there = castore.open(pair.root / "there")
        assert [] == list(pair.there.sessions())
        assert verify(pair.there.engine.files.root).ok
    pair.there.tag("x", pair.there.put(b"x"))
    pack(pair.there.engine)

    names = {path.name for path in (pair.root / "there" / "files").iterdir()}
    report = verify(pair.there.engine.files.root)
    assert len(names) == report.covered["files"]
    pair.send(Wish(log.id))
    pair.same(log)


def test_a_full_disk(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room nothing is left, and it can be tried again."""
    log = fill(pair.here)
    files = sorted((pair.root / "there" / "files").iterdir())

    def full(*_: object) -> None:
        raise StorageError(what="full", errno=28, transient=True)

    with monkeypatch.context() as patch:
        patch.setattr(pair.there.engine.files, "sync", full)
        with pytest.raises(StorageError):
            pair.send(Wish(log.id))
    assert files == sorted((pair.root / "there" / "files").iterdir())
    pair.send(Wish(log.id))
    pair.same(log)


def test_trees_of_segments_by_chance(tmp_path: Path) -> None:
    """Stores that exchange parts of trees by chance have the same logs in the end."""
    dice = random.Random(9)
    for number in range(6):
        (tmp_path / f"{number}").mkdir()
        pair = Pair(tmp_path / f"{number}")
        logs = [fill(pair.here, 5)]
        for _ in range(12):
            log = pair.here.segment(dice.choice(logs).id)
            log.append([line(f"{dice.random()}", pair.here.put(dice.randbytes(20)))])
            if dice.random() < 0.4:
                logs.append(log.fork(dice.randrange(1, log.count + 1)))
            if dice.random() < 0.5:
                pair.send(Wish(dice.choice(logs).id))
        pair.send(*(Wish(log.id) for log in logs))
        for log in logs:
            pair.same(pair.here.segment(log.id))
        pair.check()


def test_bundles_made_by_hand(tmp_path: Path) -> None:
    """A bundle that no writer of this version would make is taken in all the same."""
    store = castore.open(tmp_path / "store", create=True)
    _, fork, bundle = with_fork()
    (tmp_path / "bundle").write_bytes(bundle.data())

    import_bundle(store.engine, tmp_path / "bundle")

    assert fork.head().root == store.segment(fork.segment).head.root
    log = new_log(b"one")
    log.add(b"", ref(b"x"))
    assert check_bundle(tmp_path / "bundle").report.ok
    assert verify(tmp_path / "store").ok
