"""
Reading without writing: everything is answered, and no byte of the folder changes.

Spec: spec/ordering.md, "Reading", "The catalog".
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import tempfile

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from corruption import Answers, make_store, names_in, read_all

import castore

from castore import ClosedError, NewEntry, NotFoundError, Store
from castore.gc import collect
from castore.packing import pack
from castore.packing.rewrite import close_journal


CONTEXT = multiprocessing.get_context("fork")  # what is imported stays readable
NOBODY = 65_534
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can look into."""
    made = Path(tempfile.mkdtemp(prefix="castore-"))
    made.chmod(0o755)
    yield made
    for path in [made, *made.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(made)


@attrs.frozen
class Known:
    """A store, what is in it, and what it answers."""

    root: Path
    names: tuple[list[bytes], list[bytes]]
    answers: Answers

    @classmethod
    def of(cls, root: Path) -> Known:
        """Ask the store at *root* as one who may write; on a copy, so as to read."""
        copy = root.with_name("copy")
        shutil.copytree(root, copy)
        names = names_in(copy)
        answers = read_all(copy, names, read_only=False)
        shutil.rmtree(copy)
        return cls(root, names, answers)

    def differences(self) -> list[str]:
        """Return what who only reads is answered otherwise."""
        found = read_all(self.root, self.names)
        return [name for name in self.answers if found[name] != self.answers[name]]


Snapshot = dict[str, tuple[int, int, int, bytes]]


def snapshot(root: Path) -> Snapshot:
    """Return all that a write would change: names, inodes, modes, times, bytes."""
    return {
        path.relative_to(root).as_posix(): (
            (facts := path.lstat()).st_ino,
            facts.st_mode,
            facts.st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in [root, *sorted(root.rglob("*"))]
    }


def without_shared_memory(taken: Snapshot) -> Snapshot:
    """Return *taken* but for where SQLite has its processes see each other."""
    return {name: facts for name, facts in taken.items() if not name.endswith("-shm")}


def protect(root: Path) -> None:
    """Take all permission to write away; let others read."""
    for path in [root, *root.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def unprivileged(work: Callable[[], Any]) -> Any:
    """
    Return what *work* returns in a process that may not write.

    For root nothing is forbidden, so it becomes nobody there; others are bound by
    the modes of the files.
    """
    receiving, sending = CONTEXT.Pipe(duplex=False)

    def run() -> None:
        if IS_ROOT:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            sending.send(work())
        except BaseException as error:  # reported by the parent
            sending.send(repr(error))
            raise

    process = CONTEXT.Process(target=run)
    process.start()
    sending.close()
    try:
        return receiving.recv()
    finally:
        process.join()
        receiving.close()


# --- states in which a store may be left -------------------------------------


def catalog_of(root: Path) -> Path:
    """Return the newest catalog."""
    return max(root.glob("catalog-*.sqlite"))


def at_rest(root: Path) -> None:
    """Closed in good order."""


def packed(root: Path) -> None:
    """Closed in good order, all in packs."""
    with castore.open(root) as store:
        pack(store.engine)


def no_catalog(root: Path) -> None:
    """The catalog is gone."""
    for path in root.glob("catalog-*"):
        path.unlink()


def noise(root: Path) -> None:
    """The catalog is anything."""
    catalog_of(root).write_bytes(random.Random(1).randbytes(50_000))


def cut(root: Path) -> None:
    """The catalog lacks its end."""
    path = catalog_of(root)
    path.write_bytes(path.read_bytes()[:-5000])


def empty(root: Path) -> None:
    """The catalog is an empty file."""
    catalog_of(root).write_bytes(b"")


def old(root: Path) -> None:
    """The catalog is one of before the last commits."""
    kept = catalog_of(root).read_bytes()
    with castore.open(root) as store:
        store.session(("tool", "one")).segments()[0].append([NewEntry("late")])
    catalog_of(root).write_bytes(kept)


def from_before_packing(root: Path) -> None:
    """The catalog is one of before files were replaced."""
    kept = catalog_of(root).read_bytes()
    packed(root)
    catalog_of(root).write_bytes(kept)


def killed(root: Path) -> None:
    """Its writer was killed: the catalog has a log beside it, behind the journal."""
    other = root.with_name("living")
    shutil.copytree(root, other)
    with castore.open(other) as store:
        segment = store.session(("tool", "one")).segments()[0]
        for number in range(5):
            segment.append([NewEntry("line", b"%d" % number)])
        store.engine.upkeep.apply_all()
        segment.append([NewEntry("line", b"last")])
        shutil.rmtree(root)
        shutil.copytree(other, root)
    shutil.rmtree(other)


def no_shared_memory(root: Path) -> None:
    """As that, copied without the file that only a living writer needs."""
    killed(root)
    for path in root.glob("catalog-*-shm"):
        path.unlink()


def torn(root: Path) -> None:
    """Behind the last frame stand some bytes of another."""
    path = max((root / "files").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    path.write_bytes(path.read_bytes() + b"csF1 and no more")


def no_lock_file(root: Path) -> None:
    """The lock file, and with it the mark, is gone."""
    (root / "lock").unlink()


def lock_file_of_noise(root: Path) -> None:
    """The lock file is anything."""
    (root / "lock").write_bytes(random.Random(2).randbytes(256))


STATES = [
    *(at_rest, packed, no_catalog, noise, cut, empty, old, from_before_packing),
    *(killed, no_shared_memory, torn, no_lock_file, lock_file_of_noise),
]


@pytest.mark.parametrize("leave", STATES, ids=[each.__name__ for each in STATES])
@pytest.mark.parametrize("allowed", [False, True], ids=["protected", "writable"])
def test_reading_changes_nothing(
    leave: Callable[[Path], None], folder: Path, *, allowed: bool
) -> None:
    """However a store was left: all is answered, with and without permission."""
    root = folder / "store"
    make_store(root)
    leave(root)
    known = Known.of(root)
    if not allowed:
        protect(root)
    before = snapshot(root)
    differences = known.differences if allowed else lambda: unprivileged(check)

    def check() -> list[str]:
        with pytest.raises(PermissionError):
            (root / "new").write_bytes(b"")
        return known.differences()

    assert [] == differences()
    assert before == snapshot(root)


@pytest.mark.parametrize("allowed", [False, True], ids=["protected", "writable"])
def test_reading_beside_a_writer(folder: Path, *, allowed: bool) -> None:
    """While somebody has the store open: the same, and up to the last commit."""
    root = folder / "store"
    make_store(root)
    with castore.open(root) as writer:
        segment = writer.session(("tool", "one")).segments()[0]
        for number in range(3):
            segment.append([NewEntry("line", b"%d" % number)])
            if number == 1:
                writer.engine.upkeep.apply_all()
            known = Known.of(root)
            if not allowed:
                protect(root)
            before = snapshot(root)
            differences = known.differences
            assert [] == (differences() if allowed else unprivileged(differences))
            after = snapshot(root)
            assert before.keys() == after.keys()
            assert without_shared_memory(before) == without_shared_memory(after)


def test_a_reader_does_not_wait(folder: Path) -> None:
    """Who only reads takes no lock, and none stands in the way."""
    root = folder / "store"
    make_store(root)
    known = Known.of(root)
    with castore.open(root) as writer, writer.engine.state.locked():
        assert [] == known.differences()


def test_a_reader_follows(folder: Path) -> None:
    """A handle that is open for reading sees each thing that writers then do."""
    root = folder / "store"
    make_store(root)
    with castore.open(root) as writer, castore.open(root, read_only=True) as reader:
        segment = writer.session(("tool", "one")).segments()[0]
        dice = random.Random(3)

        def append() -> None:
            ref = writer.put(dice.randbytes(3000))
            segment.append([NewEntry("line", b"more", [castore.Reference("x", ref)])])

        def begin() -> None:
            segment.fork(2).append([NewEntry("line", b"forked")])
            writer.create_session(body=b"short-lived").delete()

        steps: list[Callable[[], object]] = [
            append,
            begin,
            lambda: writer.put(dice.randbytes(2_000_000), tag="large"),
            lambda: close_journal(writer.engine),
            append,
            lambda: pack(writer.engine),
            append,
            lambda: writer.untag("large"),
            lambda: collect(writer.engine, grace_s=0, yes=True),
            append,
            writer.engine.rebuild,
            append,
        ]
        for step in steps:
            step()
            check_same(writer, reader)


def check_same(writer: Store, reader: Store) -> None:
    """Both handles answer the same."""
    assert writer.tags() == reader.tags()
    sessions = [session.id for session in writer.sessions()]
    assert sessions == [session.id for session in reader.sessions()]
    for session in writer.sessions():
        for segment in session.segments():
            assert list(segment.read()) == list(reader.segment(segment.id).read())
            for entry in segment.entries():
                for ref in segment.references(entry):
                    assert writer.get(ref.blob) == reader.get(ref.blob)
    counted = ("sessions", "segments", "entries", "blobs", "raw_bytes")
    mine, other = writer.stats(), reader.stats()
    assert [getattr(mine, name) for name in counted] == [
        getattr(other, name) for name in counted
    ]


def test_all_that_writes_is_refused(folder: Path) -> None:
    """Every call that would change something says that the handle may not."""
    root = folder / "store"
    make_store(root)
    before = snapshot(root)
    with castore.open(root, read_only=True) as store:
        segment = store.session(("tool", "one")).segments()[0]
        ref = store.tags()["kept"]
        line = [NewEntry("line", b"x")]
        calls: list[Callable[[], object]] = [
            lambda: store.put(b"x"),
            lambda: store.put(b"x", tag="t"),
            lambda: store.put_object({"a": 1}),
            lambda: store.tag("t", ref),
            lambda: store.untag("kept"),
            store.create_session,
            lambda: store.new_segment(segment.session_id),
            lambda: segment.append(line),
            lambda: segment.append([NewEntry("line", ref)]),
            segment.fork,
            segment.delete,
            store.engine.rebuild,
            lambda: pack(store.engine),
            lambda: collect(store.engine, grace_s=0, yes=True),
        ]
        for call in calls:
            with pytest.raises(ClosedError):
                call()
    assert before == snapshot(root)


def test_what_is_no_store_stays_none(folder: Path) -> None:
    """Opening for reading makes no store, whatever else is asked for."""
    (folder / "empty").mkdir()
    before = snapshot(folder)
    for name in ("empty", "absent"):
        for create in (False, True):
            with pytest.raises(NotFoundError):
                castore.open(folder / name, read_only=True, create=create)
    assert before == snapshot(folder)


def test_a_catalog_at_rest_is_opened_anew_once_others_write(folder: Path) -> None:
    """What SQLite was told never changes is not read any more once it may have."""
    root = folder / "store"
    with castore.open(root, create=True) as writer:
        segment = writer.create_session()
    reader = castore.open(root, read_only=True)
    before = reader.engine.state._catalog
    with castore.open(root) as writer:
        writer.segment(segment.id).append([NewEntry("tool", b"more")])
    assert 2 == reader.segment(segment.id).count
    assert before is not reader.engine.state._catalog
    reader.close()
