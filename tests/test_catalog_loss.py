"""
Whatever happens to the catalog's file: it is an index, and the store answers as
before.
"""

from __future__ import annotations

import random
import shutil
import sqlite3

from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from corruption import flip
from recovery import Recovery

import castore

from castore.catalog.rows import Facts
from castore.engine.view import View


#: Damages the catalog of a store that nobody has open.
Damage = Callable[[Recovery], None]


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


def another_database(recovery: Recovery) -> None:
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
        "DELETE FROM place",
        "DELETE FROM run",
        "DELETE FROM segment",
        "DELETE FROM session",
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
    another_database,
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


# --- a rebuilt catalog equals the live one -----------------------------------


def rows(store: castore.Store) -> Facts:
    """Return all rows, without what only a live catalog keeps of deleted segments."""
    facts = store.engine.refresh().known.dump()
    void = {row.id for row in facts.segments if not row.peaks}
    nodes = [row for row in facts.nodes if row.segment not in void]
    runs = [row for row in facts.runs if row.segment not in void]
    return attrs.evolve(facts, nodes=nodes, runs=runs)


def test_rebuilt_equals_live(recovery: Recovery) -> None:
    """A rebuild gives the rows that commits, packs and deletions have led to."""
    with castore.open(recovery.root) as store:
        live = rows(store)
        store.engine.rebuild()
        rebuilt = rows(store)
    for field in attrs.fields(Facts):
        assert getattr(live, field.name) == getattr(rebuilt, field.name), field.name
    assert live.nodes
    assert live.keys
    assert live.deleted
    assert live.tags


def test_rebuilt_in_memory_equals_live(recovery: Recovery) -> None:
    """Who may not write, and finds no catalog, knows the same."""
    with castore.open(recovery.root) as store:
        live = rows(store)
    for path in recovery.root.glob("catalog-1-*"):
        path.unlink()
    with castore.open(recovery.root, read_only=True) as store:
        assert live == rows(store)
    assert not list(recovery.root.glob("catalog-1-*"))


@pytest.mark.parametrize("lost", [False, True])
def test_keys_of_a_deleted_log(tmp_path: Path, lost: bool) -> None:
    """
    A commit key goes with its segment, also where others inherit from that, and
    whether the catalog was made anew or not.
    """
    path = tmp_path / "store"
    with castore.open(path, create=True) as store:
        log = store.create_session()
        log.fork(1)
        log.append([castore.NewEntry("user", b"a")], key="once")
    with castore.open(path) as store, castore.open(path) as other:
        late = store.segment(log.id)
        other.segment(log.id).delete()
        if lost:
            other.engine.rebuild()
        with pytest.raises(castore.GoneError):
            late.append([castore.NewEntry("user", b"a")], key="once")


def test_planted_no_place_on_the_chain(
    recovery: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that believes a catalog's position is found by these tests."""
    monkeypatch.setattr(View, "catch_up", lambda *_: None)
    older(recovery)
    with pytest.raises(AssertionError):
        recovery.check("older")
