"""
The catalog in a SQLite file.
"""

from __future__ import annotations

import errno
import random
import sqlite3
import stat

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.catalog import CatalogTests
from conformance.catalog_rows import (
    apply,
    full,
    place,
    position_at,
    run,
    segment,
)

from castore.catalog import Facts, SqliteCatalog, database, schema
from castore.catalog.rows import SessionRow, TagRow
from castore.errors import (
    CastoreError,
    ClosedError,
    NotFoundError,
    StorageError,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the catalog is; a name that is no URI."""
    return tmp_path / "cata?log#1 é%41.sqlite"


@pytest.fixture
def catalog(path: Path) -> Iterator[SqliteCatalog]:
    """Return an empty catalog in a new file."""
    with SqliteCatalog.create(path) as catalog:
        yield catalog


class TestSqliteCatalog(CatalogTests):
    """What every catalog promises."""


def listing(path: Path) -> dict[str, bytes]:
    """Return the files beside *path* and what is in them."""
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


# --- files -------------------------------------------------------------------


def test_a_catalog_is_private(path: Path, catalog: SqliteCatalog) -> None:
    """Nobody else may read a catalog or what SQLite keeps beside it."""
    apply(catalog, full())

    modes = {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert {0o600} == modes
    assert 3 == len(listing(path))


def test_create_refuses_what_exists(path: Path) -> None:
    """A file that is there is not touched, a catalog or not."""
    path.write_bytes(b"mine")
    with pytest.raises(StorageError) as caught:
        SqliteCatalog.create(path)

    assert (errno.EEXIST, b"mine") == (caught.value.errno, path.read_bytes())


def test_create_leaves_nothing_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog that cannot be made whole is not there."""

    def refuse(_: object) -> None:
        raise sqlite3.OperationalError("no more")

    monkeypatch.setattr(schema, "create_tables", refuse)
    with pytest.raises(CastoreError):
        SqliteCatalog.create(path)

    assert {} == listing(path)


def test_create_takes_nothing_from_an_older_file(path: Path) -> None:
    """What an older catalog of that name left beside it is not read."""
    with SqliteCatalog.create(path) as catalog:
        apply(catalog, full())
        left = listing(path)
    path.unlink()
    for name, data in left.items():
        if name != path.name:
            (path.parent / name).write_bytes(data)
    with SqliteCatalog.create(path) as catalog:
        assert Facts() == catalog.dump()


def test_open_finds_what_was_applied(path: Path) -> None:
    """A catalog is what it was when it is opened again."""
    with SqliteCatalog.create(path) as catalog:
        position = apply(catalog, full())
    with SqliteCatalog.open(path) as catalog:
        assert (full(), position) == (catalog.dump(), catalog.position())


@pytest.mark.parametrize("how", [{}, {"read_only": True}, {"immutable": True}])
def test_open_makes_no_catalog(path: Path, how: dict[str, bool]) -> None:
    """Where there is no catalog, there is none after opening it."""
    with pytest.raises(NotFoundError):
        SqliteCatalog.open(path, **how)

    assert {} == listing(path)


def test_a_reader_beside_a_writer(path: Path, catalog: SqliteCatalog) -> None:
    """A reader sees what was applied, changes nothing and makes no file."""
    apply(catalog, full())
    before = {name for name in listing(path) if not name.endswith("-shm")}
    with SqliteCatalog.open(path, read_only=True) as reader:
        assert full() == reader.dump()
        apply(catalog, Facts(untags=["t", "u"]))
        assert [] == reader.tags()
        with pytest.raises(StorageError) as caught:
            apply(reader, full())
    assert errno.EROFS == caught.value.errno
    assert before == {name for name in listing(path) if not name.endswith("-shm")}


def test_a_reader_of_a_catalog_at_rest(path: Path) -> None:
    """A catalog at rest is read as immutable, which leaves every byte alone."""
    with SqliteCatalog.create(path) as catalog:
        apply(catalog, full())
        assert not SqliteCatalog.is_at_rest(path)
        with pytest.raises(StorageError, match="in use") as caught:
            SqliteCatalog.open(path, immutable=True)
        assert caught.value.transient
    before = listing(path)
    assert SqliteCatalog.is_at_rest(path)
    with pytest.raises(StorageError, match="at rest"):
        SqliteCatalog.open(path, read_only=True)
    with SqliteCatalog.open(path, immutable=True) as reader:
        assert full() == reader.dump()
        assert before == listing(path)

    assert before == listing(path)


def test_a_reader_of_what_a_killed_writer_left(path: Path) -> None:
    """What was applied before a kill is read, without making a file."""
    with SqliteCatalog.create(path) as catalog:
        apply(catalog, full())
        left = listing(path)
    for name, data in left.items():
        (path.parent / name).write_bytes(data)
    with SqliteCatalog.open(path, read_only=True) as reader:
        assert full() == reader.dump()

    assert set(left) == set(listing(path))


def test_checkpoints(path: Path, catalog: SqliteCatalog) -> None:
    """The WAL grows until it is moved, and only a truncation makes it small."""
    apply(catalog, full())
    size = catalog.wal_size()
    apply(catalog, *[Facts(places=[place(bytes([each]))]) for each in range(200)])
    assert catalog.wal_size() > size > 0

    size = catalog.wal_size()
    assert catalog.checkpoint("PASSIVE")
    assert size == catalog.wal_size()
    assert catalog.checkpoint("TRUNCATE")
    assert 0 == catalog.wal_size()
    path.with_name("copy").write_bytes(path.read_bytes())
    with SqliteCatalog.open(path.with_name("copy"), immutable=True) as copy:
        assert catalog.dump() == copy.dump()


def test_no_checkpoint_is_made_unasked(path: Path, catalog: SqliteCatalog) -> None:
    """However long the WAL, the main file is written by `checkpoint` only."""
    before = path.read_bytes()
    for name in "abc":
        big = [TagRow(f"{name}{each}", b"", 1, bytes(1 << 16)) for each in range(40)]
        apply(catalog, Facts(tags=big))

    assert catalog.wal_size() > 3 * 40 << 16
    assert before == path.read_bytes()


def test_a_checkpoint_beside_a_reader(path: Path, catalog: SqliteCatalog) -> None:
    """A reader in a transaction holds a checkpoint up; it says so and harms none."""
    apply(catalog, full())
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM place").fetchall()
    apply(catalog, Facts(places=[place(b"z")]))
    assert not catalog.checkpoint("PASSIVE")
    other.execute("COMMIT")
    other.close()

    assert catalog.checkpoint("PASSIVE")


def test_iterators_hold_no_transaction(catalog: SqliteCatalog) -> None:
    """While somebody stops in the middle of an iteration, all can be checkpointed."""
    ids = [each.to_bytes(2, "big") for each in range(1200)]
    apply(
        catalog,
        Facts(
            places=[place(each) for each in ids],
            segments=[segment(each) for each in ids],
            sessions=[SessionRow(each, None, None) for each in ids],
        ),
    )
    iterators = [catalog.places(), catalog.segments(), catalog.sessions()]
    for each in iterators:
        next(each)
    apply(catalog, Facts(places=[place(b"z")]))

    assert catalog.checkpoint("TRUNCATE")
    assert [1200, 1199, 1199] == [len(list(each)) for each in iterators]


def test_one_row_of_each_kind_is_small(path: Path) -> None:
    """
    An entry and its body take up to 350 bytes in commits of one entry, and a
    further place up to 120.
    """
    rng = random.Random(1)
    count = 5000
    with SqliteCatalog.create(path) as catalog:
        for index in range(count):
            one = Facts(
                places=[place(rng.randbytes(32), bytes(16), offset=1000 * index)],
                runs=[run(index // 50, 1, bytes(16), segment=bytes([index % 50]) * 16)],
            )
            catalog.apply([one] if index else [one, full()], position_at(index))
            if catalog.wal_size() > 8 << 20:
                catalog.checkpoint("TRUNCATE")
        catalog.checkpoint("TRUNCATE")
        size = path.stat().st_size
        more = [place(rng.randbytes(32), bytes(16), offset=9) for _ in range(count)]
        apply(catalog, Facts(places=more))
        catalog.checkpoint("TRUNCATE")

        assert size / count < 350
        assert (path.stat().st_size - size) / count < 120


@pytest.mark.parametrize(
    "query",
    [
        f"{schema.PLACE} WHERE p.digest = ?",
        schema.RUNS_TOUCHING,
        f"{schema.SEGMENT} AND id = ?",
        f"{schema.SEGMENT} AND no = ?",
        f"{schema.SEGMENT} AND parent = ? ORDER BY id",
        f"{schema.SEGMENT} AND session = ? ORDER BY id",
        f"{schema.SESSION} WHERE id = ?",
        f"{schema.SESSION} WHERE namespace = ? AND text = ?",
        schema.NODE_AT,
        f"{schema.KEY} WHERE s.id = ? AND k.text = ?",
        f"{schema.TAG} WHERE name = ?",
        f"{schema.DELETED} WHERE segment = ?",
        schema.LABELLED,
    ],
)
def test_every_lookup_has_an_index(path: Path, query: str) -> None:
    """Nothing that is looked up is searched for from one end to the other."""
    SqliteCatalog.create(path).close()
    db = sqlite3.connect(path)
    values = [b""] * query.count("?")
    plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    db.close()

    assert [] == [step for step in plan if step.startswith("SCAN")]


# --- writing -----------------------------------------------------------------


def test_a_second_writer_waits_its_turn(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not get SQLite's lock in time is told so and has written nothing."""
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.01)
    with SqliteCatalog.create(path) as catalog:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError) as caught:
            apply(catalog, full())
        other.execute("ROLLBACK")
        other.close()
        assert (errno.EBUSY, True) == (caught.value.errno, caught.value.transient)
        assert Facts() == catalog.dump()

        apply(catalog, full())
        assert full() == catalog.dump()


def test_a_full_disk(path: Path, catalog: SqliteCatalog) -> None:
    """Where there is no room, nothing of the facts is there; later there may be."""
    before = apply(catalog, full())
    with catalog._db.using() as db:
        (pages,) = db.execute("PRAGMA page_count").fetchall()[0]
        db.execute(f"PRAGMA max_page_count = {pages}")
    many = Facts(places=[place(each.to_bytes(4, "big")) for each in range(5000)])
    with pytest.raises(StorageError) as caught:
        apply(catalog, Facts(untags=["t"]), many)
    assert (errno.ENOSPC, True) == (caught.value.errno, caught.value.transient)
    assert (full(), before) == (catalog.dump(), catalog.position())

    with catalog._db.using() as db:
        db.execute("PRAGMA max_page_count = 100000")
    apply(catalog, many)
    assert 5002 == catalog.counts().blob_count


def test_a_closed_catalog(catalog: SqliteCatalog) -> None:
    """Used after `close`, a catalog says so; it may be closed again."""
    places = catalog.places()
    catalog.close()
    catalog.close()
    for call in (
        catalog.position,
        catalog.dump,
        lambda: apply(catalog, full()),
        lambda: catalog.checkpoint("PASSIVE"),
        lambda: next(places),
    ):
        with pytest.raises(ClosedError):
            call()
