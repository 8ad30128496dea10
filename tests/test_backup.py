"""
A backup: a store by itself, of one commit, made beside whoever writes and packs.

Spec: spec/backup.md.
"""

from __future__ import annotations

import contextlib
import importlib
import random
import shutil
import threading
import time

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from clikit import Shop, call, damage
from corruption import said

import castore

from castore import (
    ConflictError,
    CorruptionError,
    LockedError,
    NewEntry,
    Reference,
    Store,
    UnsupportedError,
    limits,
)
from castore.backups import Backup, backup_in, is_backup, snapshot
from castore.backups.copying import Copier
from castore.backups.target import Target
from castore.cli.exits import Exit
from castore.engine import Engine
from castore.engine.creating import store_id
from castore.errors import CastoreError
from castore.gc import collect
from castore.packing import pack
from castore.storage import Files
from castore.verify import verify


members = importlib.import_module("castore.engine.members")
DICE = random.Random(3)


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with mock.patch.multiple(limits, SIDE_SIZE_MIN=2000, JOURNAL_SIZE=2500):
        yield


def grow(store: Store, count: int = 3) -> None:
    """Write some sessions, each with a large payload."""
    for _ in range(count):
        log = store.create_session()
        log.append([NewEntry("user", DICE.randbytes(500))])
        large = Reference("x", store.put(DICE.randbytes(3000)))
        log.append([NewEntry("tool", b"large", [large])])


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    """Return a store of several files."""
    with castore.open(folder / "store", create=True) as made:
        grow(made)
        yield made


#: For each log the body and the payloads of each entry.
Contents = dict[bytes, list[list[bytes]]]


def contents(store: Store) -> Contents:
    """Return every body and payload of every log."""
    found = {}
    for row in store.engine.refresh().known.segments():
        if row.id != store.id:
            log = store.segment(row.id)
            found[row.id] = [
                [body, *(store.get(ref.blob) for ref in log.references(entry))]
                for entry, body in log.read()
            ]
    return found


def is_within(some: Contents, more: Contents) -> bool:
    """Return whether *more* goes on from *some*."""
    return all(entries == more[log][: len(entries)] for log, entries in some.items())


def shown(target: Path) -> Contents:
    """Return the contents of a backup, which must be good."""
    report = verify(target)
    assert report.ok, report.findings
    with castore.open(target, read_only=True) as copy:
        return contents(copy)


def inodes(path: Path) -> set[int]:
    """Return the inodes of the files of frames of a store."""
    return {each.stat().st_ino for each in (path / "files").iterdir()}


# --- what it is ----------------------------------------------------------------


def test_all_is_there(store: Store, folder: Path) -> None:
    """A backup opens as a store and holds all that was committed."""
    done = backup_in(store.engine, folder / "copy")

    assert contents(store) == shown(folder / "copy")
    assert store.engine.view.position.seq == done.seq
    assert done.file_count == done.copied_count
    assert (set(), done.seq) == said(folder / "copy", "by both checkers")
    assert not inodes(folder / "copy") & inodes(folder / "store")


def test_a_backup_that_is_used_is_a_copy(store: Store, folder: Path) -> None:
    """Who goes on in a backup says so first, as in any copy of a store."""
    backup_in(store.engine, folder / "copy")
    with castore.open(folder / "copy") as copy:
        copy.create_session(key=("test", "mine"))
        view = copy.engine.refresh()
        row = view.known.find_segment(copy.id)
        assert row is not None
        kinds = [entry.kind for entry in view.logs.entries(row, 0, row.count)]

    assert "instance" == kinds[-1]
    assert verify(folder / "copy").ok


def test_only_what_is_new_is_copied(store: Store, folder: Path) -> None:
    """A later run copies new files, the newest journal, and the end of side packs."""
    grow(store, 20)
    first = backup_in(store.engine, folder / "copy")
    before = inodes(folder / "copy")
    grow(store, 1)
    later = backup_in(store.engine, folder / "copy")

    assert later.copied_size < first.copied_size // 3
    assert later.kept_count > first.file_count // 2
    assert len(before & inodes(folder / "copy")) >= later.kept_count
    assert contents(store) == shown(folder / "copy")


def test_nothing_new(store: Store, folder: Path) -> None:
    """Where nothing is new, nothing is copied."""
    first = backup_in(store.engine, folder / "copy")
    later = backup_in(store.engine, folder / "copy")

    wanted = Backup(first.seq, first.file_count, first.size, 0, 0, 0, 0, 0, 0)
    assert first.file_count == later.kept_count
    assert (wanted.seq, wanted.file_count, wanted.size) == (
        later.seq,
        later.file_count,
        later.size,
    )
    assert 0 == later.copied_count + later.copied_size + later.dropped_count


def test_what_the_store_dropped_goes(store: Store, folder: Path) -> None:
    """Files that were packed away go from the backup, once it has the packs."""
    before = backup_in(store.engine, folder / "copy").file_count
    pack(store.engine)
    done = backup_in(store.engine, folder / "copy")

    names = {each.name for each in (folder / "copy" / "files").iterdir()}
    assert names == {each.name for each in (folder / "store" / "files").iterdir()}
    assert 0 < done.dropped_count <= before
    assert contents(store) == shown(folder / "copy")


def test_a_side_pack_that_was_cut(store: Store, folder: Path) -> None:
    """Where a side pack's end was taken back and written anew, the copy is too."""
    engine = store.engine
    store.put(DICE.randbytes(4000))  # which no commit names yet
    backup_in(engine, folder / "copy")
    side = engine._side
    side.take_back([place for place in side._places if place.offset > 188][-1:])
    grow(store, 2)
    backup_in(engine, folder / "copy")

    assert contents(store) == shown(folder / "copy")


def test_a_reader_of_the_backup_goes_on(store: Store, folder: Path) -> None:
    """Who has a backup open while it is renewed finds everything, and what is new."""
    backup_in(store.engine, folder / "copy")
    with castore.open(folder / "copy", read_only=True) as reader:
        before = contents(reader)
        grow(store)
        pack(store.engine)
        backup_in(store.engine, folder / "copy")
        for log, entries in before.items():
            found = [body for _, body in reader.segment(log).read()]
            assert [parts[0] for parts in entries] == found
        assert contents(store) == contents(reader)


# --- links -----------------------------------------------------------------------


def test_linked(store: Store, folder: Path) -> None:
    """Closed files are the store's own, what is written on is not; all stays good."""
    done = backup_in(store.engine, folder / "copy", link=True)
    before = shown(folder / "copy")
    newest = store.engine.view.position.journal
    shared = inodes(folder / "copy") & inodes(folder / "store")
    grow(store)
    pack(store.engine)

    assert done.linked_count == len(shared) == done.file_count - 1
    assert (folder / "store" / "files" / f"{newest.hex()}.cas").exists() is False
    assert before == shown(folder / "copy")
    assert done.seq == verify(folder / "copy").seq


def test_copied_after_linked(store: Store, folder: Path) -> None:
    """Who asks for no links gets none, whatever earlier runs did."""
    backup_in(store.engine, folder / "copy", link=True)
    done = backup_in(store.engine, folder / "copy")

    assert not inodes(folder / "copy") & inodes(folder / "store")
    assert done.file_count - 1 == done.copied_count
    assert contents(store) == shown(folder / "copy")


# --- refused ---------------------------------------------------------------------


def refused(store: Store, target: Path, kind: type[CastoreError]) -> str:
    """Return why a backup to *target* is refused; nothing there changes."""
    before = {
        path: path.read_bytes()
        for path in target.rglob("*")
        if path.is_file() and path.name != "maintenance"
    }
    with pytest.raises(kind) as caught:
        backup_in(store.engine, target)
    assert all(data == path.read_bytes() for path, data in before.items())
    return str(caught.value)


def test_other_folders_are_refused(store: Store, folder: Path) -> None:
    """Nothing but a backup of this store, or an empty folder, is written to."""
    (folder / "full").mkdir()
    (folder / "full" / "file").write_text("mine")
    with castore.open(folder / "other", create=True) as other:
        backup_in(other.engine, folder / "theirs")
    cases = {
        "full": "neither empty",
        "other": "another store",
        "theirs": "another store",
        "store": "the store itself",
        "store/files": "within",
        ".": "around",
    }
    for name, what in cases.items():
        assert what in refused(store, folder / name, UnsupportedError)
    assert ["file"] == [path.name for path in (folder / "full").iterdir()]


def test_a_copy_by_hand_is_refused(store: Store, folder: Path) -> None:
    """A store with the same id that is no backup stays what it is."""
    shutil.copytree(folder / "store", folder / "copy")

    assert "a store by itself" in refused(store, folder / "copy", UnsupportedError)


def test_a_used_backup_is_refused(store: Store, folder: Path) -> None:
    """What was written to a backup is not written over."""
    backup_in(store.engine, folder / "copy")
    with castore.open(folder / "copy") as copy:
        copy.create_session()

    assert "used as one" in refused(store, folder / "copy", UnsupportedError)


def test_an_unfinished_backup_of_another_store(store: Store, folder: Path) -> None:
    """What was left of a first run for another store is not taken for one's own."""
    with castore.open(folder / "other", create=True) as other:
        with (
            mock.patch.object(Target, "show", side_effect=KeyboardInterrupt),
            pytest.raises(KeyboardInterrupt),
        ):
            backup_in(other.engine, folder / "copy")
        assert "another store" in refused(store, folder / "copy", UnsupportedError)
        backup_in(other.engine, folder / "copy")

        assert contents(other) == shown(folder / "copy")


def test_an_older_state_is_refused(store: Store, folder: Path) -> None:
    """A store that was put back does not replace what was copied after that."""
    shutil.copytree(folder / "store", folder / "old")
    grow(store, 1)
    backup_in(store.engine, folder / "copy")
    with castore.open(folder / "old", read_only=True) as old:
        assert "rolled back" in refused(old, folder / "copy", CorruptionError)


def test_another_copy_is_refused(store: Store, folder: Path) -> None:
    """Of two copies that both went on, neither replaces the other."""
    shutil.copytree(folder / "store", folder / "twin")
    backup_in(store.engine, folder / "copy")
    with castore.open(folder / "twin") as twin:
        grow(twin)
        assert "fork evidence" in refused(twin, folder / "copy", CorruptionError)


def test_another_journal_is_refused(store: Store, folder: Path) -> None:
    """A journal that goes another way than the copied one is no continuation."""
    grow(store, 1)
    path = folder / "copy"
    backup_in(store.engine, path)
    grow(store, 1)
    with mock.patch.object(snapshot, "store_log") as told:
        # As if a disk had been put back and nobody could tell.
        told.return_value = mock.Mock(instance=b"", dropped=set())
        state = Target(Files(path), store.id).state
        assert state is not None
        text = (path / "backup.json").read_text()
        wrong = text.replace(state.frame.hex(), "00" * 32)
        (path / "backup.json").write_text(wrong)
        assert "fork evidence" in refused(store, path, CorruptionError)


def test_two_at_once(store: Store, folder: Path) -> None:
    """A second run waits a little and then leaves the first alone."""
    begin = Target.begin

    def twice(target: Target, source: Files) -> None:
        with pytest.raises(LockedError):
            backup_in(store.engine, folder / "copy")
        begin(target, source)

    with mock.patch.object(Target, "begin", twice):
        backup_in(store.engine, folder / "copy")
    assert contents(store) == shown(folder / "copy")


def test_a_damaged_store_is_not_copied(folder: Path) -> None:
    """Damage is found on the way, and the backup stays as it was."""
    with castore.open(folder / "store", create=True) as store:
        backup_in(store.engine, folder / "copy")
        before = shown(folder / "copy")
        grow(store)
    damage(folder / "store")
    with castore.open(folder / "store", read_only=True) as store:
        assert "corrupt frame" in refused(store, folder / "copy", CorruptionError)
    assert before == shown(folder / "copy")


def test_damage_is_looked_for(folder: Path) -> None:
    """Who copies bytes as they come makes a backup of the damage."""

    def blindly(copier: Copier, fd: int, taken: snapshot.Taken, start: int) -> int:
        data = taken.file.read_up_to(taken.stop - start, start)
        copier._files.write(fd, data, start)
        return taken.stop

    with (
        mock.patch.object(Copier, "_copy_frames", blindly),
        pytest.raises(pytest.fail.Exception),
    ):
        test_a_damaged_store_is_not_copied(folder)


# --- beside others ---------------------------------------------------------------


class WatchedFiles(Files):
    """Files of which somebody is told before one of frames is opened or linked."""

    opening: Callable[[], None] | None = None

    def open(self, name: str, *, write: bool = False) -> int:
        """Open *name*, perhaps after it has gone."""
        if self.opening is not None and name.startswith("files/"):
            self.opening()
        return super().open(name, write=write)

    def identity(self, fd: int) -> tuple[int, int]:
        """Return what the file is, perhaps after it has gone."""
        if self.opening is not None:
            self.opening()
        return super().identity(fd)


def repack(writer: Store) -> None:
    """Have all files replaced; something is added, and something goes."""
    writer.put(DICE.randbytes(3000), tag="goes")
    writer.untag("goes")
    pack(writer.engine)
    collect(writer.engine, grace_s=0, yes=True)
    grow(writer, 1)


#: What another process does: all is replaced, or it goes on into new journals.
MEANWHILE: list[Callable[[Store], None]] = [repack, grow]


def beside(
    folder: Path,
    at: int,
    meanwhile: Callable[[Store], None],
    *,
    link: bool,
    read_only: bool,
) -> int:
    """
    Make a backup while somebody else does something before its open number *at*;
    return how many opens there were.
    """
    made = castore.open(folder / "store", create=True)
    count = 0
    with made as writer, contextlib.ExitStack() as steps:
        grow(writer)
        backup_in(writer.engine, folder / "copy")
        grow(writer)
        files = WatchedFiles(folder / "store")
        engine = Engine(files, store_id(files, writing=False), read_only=read_only)
        steps.callback(engine.close)
        before = contents(writer)

        def turn() -> None:
            nonlocal count
            number, count = count, count + 1
            if number == at:
                opening, files.opening = files.opening, None
                meanwhile(writer)
                files.opening = opening

        files.opening = turn
        backup_in(engine, folder / "copy", link=link)
        files.opening = None
        found = shown(folder / "copy")
        assert is_within(before, found)
        assert is_within(found, contents(writer))
    shutil.rmtree(folder)
    return count


def go_beside(
    folder: Path,
    meanwhile: Callable[[Store], None] = repack,
    *,
    link: bool = False,
    read_only: bool = True,
) -> int:
    """Have that happen before each open once; return how many there were."""
    at = 0
    how = {"link": link, "read_only": read_only}
    while at < beside(folder / str(at), at, meanwhile, **how):
        at += 1
    return at


@pytest.mark.parametrize("meanwhile", MEANWHILE, ids=lambda step: step.__name__)
@pytest.mark.parametrize("read_only", [False, True], ids=["writing", "reading"])
@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
def test_something_happens_meanwhile(
    folder: Path, meanwhile: Callable[[Store], None], *, link: bool, read_only: bool
) -> None:
    """What goes while it is copied is in the backup; what comes, as a whole or not."""
    assert go_beside(folder, meanwhile, link=link, read_only=read_only) > 6


def test_files_taken_one_after_another_are_found(folder: Path) -> None:
    """Who looks once, and opens files when it is their turn, misses some."""
    with (
        mock.patch.object(snapshot, "_TRIES", 1),
        pytest.raises((CastoreError, AssertionError)),
    ):
        go_beside(folder)


def test_a_catalog_that_is_ahead_is_found(folder: Path) -> None:
    """Who takes the files that the catalog knows by now has a half of what came."""
    with (
        mock.patch.object(members, "_is_side", return_value=True),
        pytest.raises((CastoreError, AssertionError)),
    ):
        go_beside(folder, grow)


def test_generations_that_nobody_compares_are_found(folder: Path) -> None:
    """Who does not look whether files went meanwhile has some of each state."""
    with (
        mock.patch.object(snapshot, "_generation", return_value=1),
        pytest.raises((CastoreError, AssertionError)),
    ):
        go_beside(folder)


def test_beside_writers_and_maintenance(folder: Path) -> None:
    """Each of many backups beside a writer, pack and gc is a state that there was."""
    done = threading.Event()
    with castore.open(folder / "store", create=True) as store:
        grow(store)
        work: list[Callable[[Store], object]] = [
            lambda store: grow(store, 1),
            lambda store: pack(store.engine),
            lambda store: collect(store.engine, grace_s=0, yes=True),
        ]

        def repeat(step: Callable[[Store], object]) -> None:
            with castore.open(folder / "store") as own:
                while not done.is_set():
                    with contextlib.suppress(LockedError, ConflictError):
                        step(own)
                    time.sleep(0.01)

        threads = [threading.Thread(target=repeat, args=(step,)) for step in work]
        for thread in threads:
            thread.start()
        try:
            seqs = []
            for number in range(8):
                before = contents(store)
                done_one = backup_in(
                    store.engine, folder / "copy", link=number % 2 == 1
                )
                assert is_within(before, shown(folder / "copy"))
                seqs.append(done_one.seq)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        backup_in(store.engine, folder / "copy")

        assert seqs == sorted(seqs)
        assert contents(store) == shown(folder / "copy")


# --- the command -----------------------------------------------------------------


def test_by_the_package(store: Store, folder: Path) -> None:
    """Who has a store needs no more than its name."""
    done = castore.backup(store, folder / "copy", link=True)

    assert 0 < done.linked_count
    assert contents(store) == shown(folder / "copy")


def test_the_command(tmp_path: Path) -> None:
    """It says what it did, refuses with its own code, and nothing spoils a backup."""
    shop = Shop(tmp_path)
    shop("-q", "import", shop.transcript())
    copy = tmp_path / "copy"
    assert "backup at commit" in shop("backup", copy).text
    for command in ("ls", "stats", "verify"):
        assert Exit.DONE == call("--store", copy, command).code
    assert is_backup(Files(copy))
    assert 0 == shop.do("backup", copy)["copied_count"]
    assert ("", "") == (
        shop("-q", "backup", copy).text,
        shop("-q", "backup", copy).error,
    )
    assert Exit.REFUSED == shop("backup", tmp_path).code
