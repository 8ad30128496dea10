"""
A catalog that says anything but the truth leads gc to delete nothing that lives.

Rows are changed, left out and added as if they had been written so, with the
checksums of what they say now: no checksum finds it.

Spec: spec/ordering.md, "The catalog".
"""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import shutil
import sqlite3

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest

import castore

from castore import (
    CastoreError,
    CorruptionError,
    GoneError,
    NewEntry,
    Reference,
    Store,
    limits,
)
from castore.catalog import SqliteCatalog
from castore.catalog.rows import Facts
from castore.cli import main
from castore.engine import catalogs
from castore.gc import Report, collect
from castore.packing import pack
from castore.packing.rewrite import close_journal
from castore.verify import verify


TRY_COUNT = 2  # of each lie and work, for a budget of 1
HOURS_25_S = 25 * 3600


@attrs.define
class Living:
    """
    What a store must hold.

    Attributes:
        logs: Bodies and payloads of each living log.

        tags: What each tag keeps.
    """

    logs: dict[bytes, list[tuple[bytes, list[bytes | None]]]]
    tags: dict[str, bytes]


def living(store: Store) -> Living:
    """Return all that *store* shows."""
    logs = {
        segment.id: [
            (body, [_bytes_of(store, ref.blob) for ref in entry.refs])
            for entry, body in segment.read()
        ]
        for session in store.sessions()
        for segment in session.segments()
    }
    return Living(logs, {name: store.get(ref) for name, ref in store.tags().items()})


def _bytes_of(store: Store, ref: castore.BlobRef) -> bytes | None:
    """Return the bytes of *ref*, None where they were collected."""
    try:
        return store.get(ref)
    except GoneError:
        return None


def make(root: Path) -> Living:
    """Make a store with each kind of row, of what lives and of what does not."""
    dice = random.Random(8)
    with castore.open(root, create=True) as store:
        refs = [store.put(dice.randbytes(300)) for _ in range(4)]
        large = store.put(dice.randbytes(3000))
        named = [Reference("x", ref) for ref in refs]
        path = [Reference("path", store.put(b"path"))]
        first = store.create_session(
            key=("n", "a"),
            body=b"1",
            refs=path,
            then=[NewEntry("x", b"2", named[:2])],
        )
        first.append(
            [NewEntry("x", b"3", [*named[2:], Reference("x", large)])], key="k"
        )
        first.append([NewEntry("x", b"%d" % n) for n in range(20)])
        close_journal(store.engine)
        fork = first.fork(3, body=b"fork", refs=named[:1])
        fork.append([NewEntry("x", dice.randbytes(500), named[3:])])
        store.put(dice.randbytes(700), tag="t")
        doomed = store.create_session(key=("n", "b"), body=b"doomed")
        doomed.append([NewEntry("x", dice.randbytes(400), named[:1])])
        heir = doomed.fork(1, body=b"heir")
        heir.append([NewEntry("x", b"of a log that is deleted")])
        pack(store.engine, level=1)
        for number in range(2):
            like = store.put(dice.randbytes(800), tag="goes")
            data = store.get(like)
            store.put(data[:100] + b"%d" % number + data[100:], like=like, tag="goes")
        store.untag("goes")
        for number in range(3):
            state = [Reference("checkpoint.state", store.put(dice.randbytes(200)))]
            heir.append([NewEntry("x", b"%d" % number, state)])
        collect(store.engine, grace_s=0, yes=True, keep_checkpoints=1, level=1)
        doomed.delete()
        store.create_session(body=dice.randbytes(900)).delete()
        collect(store.engine, grace_s=HOURS_25_S)
        return living(store)


# --- lies -----------------------------------------------------------------------

#: Kinds of rows: all that a catalog knows of the files.
KINDS = (
    *("places", "runs", "segments", "nodes", "sessions"),
    *("keys", "tags", "deleted", "labels", "absences"),
)
HOWS = ("changed", "missing", "added")

#: Has facts say something that is not so, and says what.
Lie = Callable[[Facts, random.Random], str]


def lying(kind: str, how: str) -> Lie:
    """Return a lie about one row."""

    def lie(facts: Facts, rng: random.Random) -> str:
        rows = getattr(facts, kind)
        row, other = rng.choice(rows), rng.choice(rows)
        if how != "added":
            rows.remove(row)
        field = rng.choice(row._fields)
        if how != "missing":
            value = another(getattr(row, field), getattr(other, field), rng)
            rows.append(row._replace(**{field: value}))
        return f"{kind} {how}: {field}"

    return lie


def another(value: Any, other: Any, rng: random.Random) -> Any:
    """Return something else of the type of *value*, often *other*."""
    if value != other and rng.random() < 0.5:
        return other
    match value:
        case bytes():
            flipped = bytearray(value or b"x")
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
            return bytes(flipped)
        case int():
            return abs(value + rng.choice([-1, 1]))
        case str():
            return value + "x"
        case _:
            return bytes(32) if other is None else other


def tell(root: Path, lie: Lie, rng: random.Random, condemned: set[bytes]) -> str:
    """Have the catalog in *root* lie; *condemned* was so long ago, all if empty."""
    (path,) = root.glob("catalog-1-*.sqlite")
    with SqliteCatalog.open(path) as catalog:
        facts, position = catalog.dump(), catalog.position()
    assert position is not None
    names = condemned or {place.digest for place in facts.places}
    told = lie(facts, rng)
    path.unlink()
    with SqliteCatalog.create(path) as catalog:
        catalog.apply([facts], position)
        catalog.condemn(dict.fromkeys(names, 0))
        catalog.checkpoint("TRUNCATE")
    return told


# --- what becomes of them -------------------------------------------------------

Work = Callable[[Store], Report | None]


def at_once(store: Store) -> Report:
    """Collect, without a grace."""
    return collect(store.engine, grace_s=0, yes=True, level=1)


def after_grace(store: Store) -> Report:
    """Collect what was condemned long ago."""
    return collect(store.engine, grace_s=HOURS_25_S, yes=True, level=1)


def packing(store: Store) -> None:
    """Pack."""
    close_journal(store.engine)
    pack(store.engine, level=1)


@attrs.frozen
class Outcome:
    """
    What became of a store whose catalog lied.

    Attributes:
        told: The lie.

        lost: What is not there as it was.

        is_met: Whether the work ended with a typed error, or a new catalog.

        is_seen: Whether a diagnosis found that the catalog differs.

        report: Of the work.
    """

    told: str
    lost: str
    is_met: bool
    is_seen: bool
    report: Report | None


@attrs.define
class Trials:
    """A store that is copied, lied about, and worked on."""

    folder: Path
    found: Living
    condemned: set[bytes]

    def attempt(
        self, lie: Lie, work: Work, seed: str = "", *, all_condemned: bool = False
    ) -> Outcome:
        """Have the catalog lie, do *work*, look what is there without it."""
        root = self.folder / "copy"
        shutil.copytree(self.folder / "store", root)
        castore.open(root).close()  # from here on it is no copy
        try:
            rng = random.Random(seed)
            told = tell(root, lie, rng, set() if all_condemned else self.condemned)
            with contextlib.redirect_stdout(io.StringIO()):
                is_seen = main(["-q", "--store", str(root), "doctor", "--deep"]) != 0
            report, is_met = _done(root, work)
            lost = self._lost(root)
        finally:
            shutil.rmtree(root)
        return Outcome(told, lost, is_met, is_seen, report)

    def _lost(self, root: Path) -> str:
        for path in root.glob("catalog-1-*"):
            path.unlink()
        try:
            with castore.open(root) as store:
                found = living(store)
        except CastoreError as error:
            return repr(error)
        report = verify(root)
        return "" if found == self.found and report.ok else "it is not what it was"


def _done(root: Path, work: Work) -> tuple[Report | None, bool]:
    """Do *work*; return what it reports, and whether it met the lie."""
    rebuild = catalogs.rebuild_catalog
    rebuilt = mock.Mock(side_effect=rebuild)
    try:
        with (
            mock.patch.object(catalogs, "rebuild_catalog", rebuilt),
            castore.open(root) as store,
        ):
            report = work(store)
    except CastoreError:
        return None, True
    return report, rebuilt.called


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trials]:
    """Return a store with rows of all kinds to lie about."""
    folder = tmp_path_factory.mktemp("trials")
    with mock.patch.multiple(limits, SIDE_SIZE_MIN=2000, RESERVE_SIZE=1000):
        found = make(folder / "store")
        with castore.open(folder / "store") as store:
            condemned = set(store.engine.upkeep.condemned())
        yield Trials(folder, found, condemned)


def nothing(_facts: Facts, _rng: random.Random) -> str:
    """Tell the truth."""
    return ""


def name_of(value: str | Work) -> str:
    """Return a name for a parameter."""
    return value if isinstance(value, str) else value.__name__


WORKS = (at_once, after_grace, packing)

#: Lies by which something that lives is lost. Each has a test of its own below.
HARMFUL = {
    *itertools.product(["places"], ["changed", "added"], WORKS),
    *itertools.product(["places", "segments"], ["missing"], [after_grace, packing]),
    *itertools.product(["segments"], ["changed", "added"], [after_grace, packing]),
    *itertools.product(["tags"], ["changed", "missing"], WORKS[:2]),
}
HARMLESS = [
    each for each in itertools.product(KINDS, HOWS, WORKS) if each not in HARMFUL
]


@pytest.mark.parametrize("work", WORKS, ids=lambda it: it.__name__)
def test_without_a_lie(work: Work, trials: Trials) -> None:
    """Where the catalog tells the truth nothing is met, and what is dead goes."""
    outcome = trials.attempt(nothing, work)

    assert ("", False, False) == (outcome.lost, outcome.is_met, outcome.is_seen)
    assert outcome.report is None or outcome.report.deleted_blob_count


@pytest.mark.parametrize(("kind", "how", "work"), HARMLESS, ids=name_of)
def test_what_lives_stays(
    kind: str, how: str, work: Work, trials: Trials, budget: float
) -> None:
    """
    Whatever the catalog says of what, nothing that lives goes, and somebody says
    that it is not so: gc, who opens the store and makes a new one, or a diagnosis.
    """
    for number in range(max(1, round(TRY_COUNT * budget))):
        outcome = trials.attempt(
            lying(kind, how),
            work,
            f"{kind} {how} {number}",
            all_condemned=bool(number % 2),
        )
        assert not outcome.lost, outcome
        assert outcome.is_met or outcome.is_seen, outcome


@pytest.mark.parametrize("value", ["x", 0.5, b"y", -5])
def test_a_condemned_row_that_nobody_wrote(value: object, folder: Path) -> None:
    """What cannot be a time is damage, and deletes nothing."""
    with castore.open(folder / "store", create=True) as store:
        ref = store.put(b"dead" * 99, tag="t")
        store.untag("t")
        collect(store.engine, grace_s=HOURS_25_S, yes=True)
    (path,) = (folder / "store").glob("catalog-1-*.sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE condemned SET at_ms = ?", (value,))
        db.commit()
    with castore.open(folder / "store") as store:
        with pytest.raises(CorruptionError, match="catalog"):
            collect(store.engine, grace_s=HOURS_25_S, yes=True)
        assert b"dead" * 99 == store.get(ref)


# --- what is not so yet ---------------------------------------------------------


def without(kind: str, at: int) -> Lie:
    """Return a lie that leaves out row *at*, counted round."""

    def lie(facts: Facts, _: random.Random) -> str:
        rows = getattr(facts, kind)
        return f"without {rows.pop(at % len(rows))}"

    return lie


def next_record(at: int) -> Lie:
    """Return a lie by which place *at* is that of the next record of its frame."""

    def lie(facts: Facts, _: random.Random) -> str:
        row = facts.places[at % len(facts.places)]
        facts.places.remove(row)
        facts.places.append(row._replace(record=row.record + 1))
        return f"{row} stands in the next record"

    return lie


@pytest.mark.parametrize("work", WORKS, ids=lambda it: it.__name__)
def test_a_place_of_another_record(work: Work, trials: Trials) -> None:
    """
    A rewrite carries what stands where the catalog says, and drops the file: where
    that is another record, the blob is lost.
    """
    outcomes = [trials.attempt(next_record(at), work) for at in range(0, 40, 4)]

    assert [] == [outcome.told for outcome in outcomes if outcome.lost]


def test_a_place_that_is_missing(trials: Trials) -> None:
    """A rewrite drops the file of a blob of which the catalog knows nothing."""
    outcomes = [trials.attempt(without("places", at), packing) for at in range(4)]

    assert [] == [outcome.told for outcome in outcomes if outcome.lost]


@pytest.mark.parametrize("work", [after_grace, packing], ids=lambda it: it.__name__)
def test_a_segment_that_is_missing(work: Work, trials: Trials) -> None:
    """A rewrite drops the entries of a log of which the catalog knows nothing."""
    outcomes = [trials.attempt(without("segments", at), work) for at in range(5)]

    assert [] == [outcome.told for outcome in outcomes if outcome.lost]


@pytest.mark.parametrize("work", [at_once], ids=lambda it: it.__name__)
def test_a_tag_that_is_missing(work: Work, trials: Trials) -> None:
    """What a tag keeps goes where the catalog knows nothing of the tag."""
    assert not trials.attempt(without("tags", 0), work).lost
