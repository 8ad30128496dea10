"""
Whatever happens to the catalog: it is an index, and the store answers as before.
"""

from __future__ import annotations

import random
import shutil
import sqlite3

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from corruption import Bed, flip, is_error, make_store, ours

import castore

from castore.errors import CastoreError
from castore.formats.mark import decode_lock
from castore.packing import pack


#: Damages the catalog of a store that nobody has open.
Damage = Callable[["Recovery"], None]


def make(root: Path) -> None:
    """Make a store with long logs beside everything else, in packs and journals."""
    make_store(root)
    with castore.open(root) as store:
        segment = store.session(("tool", "one")).segments()[0]
        many = [castore.NewEntry("line", b"%d" % number) for number in range(600)]
        segment.append(many[:300], key="first")
        segment.fork(280, then=many[300:])
        gone = store.create_session(key=("tool", "gone"))
        gone.delete()
        pack(store.engine)
        segment.append(many[300:400], key="second")
        store.create_session(key=("tool", "two"), then=many[:3])


class Recovery:
    """
    A store whose catalog is damaged, and all files as they were before.

    Attributes:
        bed: What it answers while it is good.

        older: The files of its catalog as they were some commits ago: the main
            file with its log beside it, and after a checkpoint.

        other: Another store's catalog.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        make(root)
        self.older = {True: {}, False: {}}
        self._make_older()
        make_store(root.with_name("other"))
        self.other = next(root.with_name("other").glob("catalog-1-*.sqlite"))
        self.bed = Bed(root)
        self._files = self._read()

    def _make_older(self) -> None:
        with castore.open(self.root) as store:
            segment = store.session(("tool", "two")).segments()[0]
            segment.append([castore.NewEntry("line", b"older")])
            store.engine.upkeep.apply_all()
            for path in self.root.glob("catalog-1-*.sqlite*"):
                self.older[True][path.name] = path.read_bytes()
        name = self.catalog.name
        self.older[False][name] = self.catalog.read_bytes()
        with castore.open(self.root) as store:
            segment = store.session(("tool", "two")).segments()[0]
            segment.append([castore.NewEntry("line", b"newer")], key="newer")
            segment.fork(2)
            store.put(b"tagged later", tag="later")

    @property
    def catalog(self) -> Path:
        """The catalog's file."""
        lock = decode_lock((self.root / "lock").read_bytes())
        assert lock
        return self.root / f"catalog-1-{lock.catalog_generation}.sqlite"

    def edit(self, *statements: str) -> None:
        """Change rows of the catalog."""
        db = sqlite3.connect(self.catalog)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()

    def _read(self) -> dict[str, bytes]:
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes() for path in paths
        }

    def restore(self) -> None:
        """Make all files again what they were, on the same inodes."""
        for name in self._read().keys() - self._files.keys():
            (self.root / name).unlink()
        for name, data in self._files.items():
            path = self.root / name
            if not path.exists():
                path.touch()
            if path.read_bytes() != data:
                self.bed.write(name, data)

    def check(self, what: str, *, exact: bool = True) -> None:
        """
        Read, write, then rebuild: no wrong answer, nothing lost, no fork of a log.

        With *exact* nothing may fail either.
        """
        for read_only in (True, False):
            answers = self.bed.check_reads(what, read_only=read_only)
            failed = {
                name: str(answers[name]) for name in answers if is_error(answers[name])
            }
            assert not (exact and failed), (what, failed)
        self.append(what, exact=exact)
        assert not [item for item in ours(self.root)[0] if item[0] != "not covered"], (
            what
        )
        self.restore()

    def append(self, what: str, *, exact: bool) -> None:
        """Append to each log, which works or is refused; after a rebuild it works."""
        try:
            with castore.open(self.root) as store:
                for segment in self.bed.names[0]:
                    self._append(store, segment, what, exact=exact)
        except CastoreError:
            assert not exact, what
        if not exact:
            with castore.open(self.root) as store:
                store.engine.rebuild()
                for segment in self.bed.names[0]:
                    self._append(store, segment, what, exact=True)

    def _append(
        self, store: castore.Store, segment: bytes, what: str, *, exact: bool
    ) -> None:
        if segment == store.id:
            return
        before = self.bed.answers[f"{segment.hex()} read"]
        assert isinstance(before, list)
        try:
            log = store.segment(segment)
            log.append([castore.NewEntry("line", b"goes on")])
            now = list(log.read())
        except CastoreError:
            assert not exact, what
            return
        assert before == now[: len(before)], what
        assert b"goes on" == now[-1][1], what


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Recovery:
    """A store with everything; who damages its catalog takes that back."""
    return Recovery(tmp_path_factory.mktemp("catalogs") / "store")


@pytest.fixture
def recovery(made: Recovery) -> Iterator[Recovery]:
    """The store, as it was before."""
    yield made
    made.restore()


def test_undamaged(recovery: Recovery) -> None:
    """A good catalog passes what follows."""
    recovery.check("good")


# --- the whole file ----------------------------------------------------------


def deleted(recovery: Recovery) -> None:
    """There is no catalog."""
    recovery.catalog.unlink()


def empty(recovery: Recovery) -> None:
    """It is an empty file."""
    recovery.catalog.write_bytes(b"")


def noise(recovery: Recovery) -> None:
    """It is noise."""
    size = recovery.catalog.stat().st_size
    recovery.catalog.write_bytes(random.Random(1).randbytes(size))


def zeros(recovery: Recovery) -> None:
    """It is zeros."""
    recovery.catalog.write_bytes(bytes(recovery.catalog.stat().st_size))


def noise_behind_the_header(recovery: Recovery) -> None:
    """All but its first page is noise."""
    data = recovery.catalog.read_bytes()
    rest = random.Random(1).randbytes(len(data) - 4096)
    recovery.catalog.write_bytes(data[:4096] + rest)


def older(recovery: Recovery) -> None:
    """It is its own copy of some commits ago."""
    for name, data in recovery.older[False].items():
        (recovery.root / name).write_bytes(data)


def older_with_log(recovery: Recovery) -> None:
    """It is its own copy of some commits ago, with the log beside it."""
    assert any(name.endswith("-wal") for name in recovery.older[True])
    for name, data in recovery.older[True].items():
        (recovery.root / name).write_bytes(data)


def older_without_its_log(recovery: Recovery) -> None:
    """It is an older copy whose log was deleted."""
    older_with_log(recovery)
    for path in recovery.root.glob("catalog-1-*-*"):
        path.unlink()


def older_log_beside_it(recovery: Recovery) -> None:
    """The log of an older copy is beside it."""
    for name, data in recovery.older[True].items():
        if name.endswith("-wal"):
            (recovery.root / name).write_bytes(data)


def another_store(recovery: Recovery) -> None:
    """It is another store's."""
    shutil.copy(recovery.other, recovery.catalog)


def a_folder(recovery: Recovery) -> None:
    """It is a database of something else."""
    recovery.catalog.unlink()
    db = sqlite3.connect(recovery.catalog)
    db.execute("CREATE TABLE meta (version INTEGER)")
    db.commit()
    db.close()


def schema_version(recovery: Recovery) -> None:
    """Its tables have another version."""
    recovery.edit("UPDATE meta SET version = version + 1")


def no_rows(recovery: Recovery) -> None:
    """It is one that nothing was applied to."""
    recovery.edit(
        "UPDATE meta SET journal = NULL, stop = NULL, frame = NULL, seq = NULL",
        *[f"DELETE FROM {table}" for table in ("place", "run", "segment", "session")],
    )


def all_generations_gone(recovery: Recovery) -> None:
    """Nothing of any catalog is there, and no reserve."""
    for path in recovery.root.glob("catalog-*"):
        path.unlink()


WHOLE: list[Damage] = [
    deleted,
    empty,
    noise,
    zeros,
    older,
    older_with_log,
    older_without_its_log,
    older_log_beside_it,
    another_store,
    a_folder,
    schema_version,
    no_rows,
    all_generations_gone,
]


@pytest.mark.parametrize("damage", WHOLE)
def test_whole_catalogs(recovery: Recovery, damage: Damage) -> None:
    """A catalog that is none, or of another time or store, is made up or made anew."""
    damage(recovery)
    recovery.check(damage.__name__)


def test_cut_catalogs(recovery: Recovery, budget: float) -> None:
    """A catalog that was cut is made anew."""
    data = recovery.catalog.read_bytes()
    dice = random.Random(1)
    pages = [dice.randrange(len(data) // 4096) * 4096 for _ in range(round(3 * budget))]
    sizes = [dice.randrange(len(data)) for _ in range(round(3 * budget))]
    for size in [1, 4096, len(data) - 1, *pages, *sizes]:
        recovery.catalog.write_bytes(data[:size])
        recovery.check(f"cut at {size}")


def test_noise_in_pages(recovery: Recovery, budget: float) -> None:
    """A page of noise or of zeros gives typed errors, and no wrong answer."""
    data = recovery.catalog.read_bytes()
    dice = random.Random(2)
    for at in range(4096, len(data), 4096):
        if dice.random() < 0.25 * budget:
            page = dice.choice([bytes(4096), dice.randbytes(4096)])
            recovery.catalog.write_bytes(data[:at] + page + data[at + 4096 :])
            recovery.check(f"page at {at}", exact=False)


def test_flipped_bits(recovery: Recovery, budget: float) -> None:
    """A flipped bit gives typed errors, and no wrong answer."""
    data = recovery.catalog.read_bytes()
    dice = random.Random(3)
    for _ in range(round(20 * budget)):
        bit = dice.randrange(8 * len(data))
        recovery.catalog.write_bytes(flip(data, bit))
        recovery.check(f"bit {bit}", exact=False)
