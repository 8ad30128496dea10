"""
Rows of a catalog that are wrong: nobody builds on them, nobody gets wrong bytes.
"""

from __future__ import annotations

import sqlite3

from collections.abc import Iterator

import pytest

from corruption import Equal, flip, is_error, ours
from recovery import Recovery

import castore

from castore.catalog import SqliteCatalog
from castore.catalog.rows import SegmentRow
from castore.catalog.schema import summed
from castore.engine import building
from castore.errors import CorruptionError
from castore.reading import blobs


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Recovery:
    """A store with everything; who damages its catalog takes that back."""
    return Recovery(tmp_path_factory.mktemp("catalogs") / "store")


@pytest.fixture
def recovery(made: Recovery) -> Iterator[Recovery]:
    """The store, as it was before."""
    yield made
    made.restore()


@pytest.fixture
def fresh(recovery: Recovery, monkeypatch: pytest.MonkeyPatch) -> Recovery:
    """The store, as a process that has written none of it finds it."""
    monkeypatch.setattr(building, "_built", {})
    return recovery


def older_row(recovery: Recovery) -> tuple[SegmentRow, SegmentRow]:
    """Return the row of a segment in the older catalog, and as it is now."""
    now = recovery.row("two")
    path = recovery.root / "older"
    path.write_bytes(recovery.older[False][recovery.catalog.name])
    with SqliteCatalog.open(path, read_only=True, immutable=True) as catalog:
        before = catalog.find_segment(now.id)
    path.unlink()
    assert before
    assert before.count < now.count
    return before, now


def set_row(recovery: Recovery, row: SegmentRow) -> None:
    """Let the catalog hold *row*, with a checksum that fits."""
    db = sqlite3.connect(recovery.catalog)
    db.execute(
        "UPDATE segment SET fork_index = ?, count = ?, revision = ?, seq = ?,"
        " time_ms = ?, label_count = ?, head = ?, peaks = ?, state_sum = ?,"
        " checksum = ? WHERE id = ?",
        (*summed(row)[3:], row.id),
    )
    db.commit()
    db.close()


def refused(recovery: Recovery, segment: bytes) -> bool:
    """Return whether an append says that the catalog is wrong, and how to go on."""
    with castore.open(recovery.root) as store:
        try:
            store.segment(segment).append([castore.NewEntry("line", b"x")])
        except CorruptionError as caught:
            error = caught
        else:
            return False
        assert ("catalog differs", "catalog") == (error.verdict, error.where)
        assert "rebuild" in error.what
        store.engine.rebuild()
        store.segment(segment).append([castore.NewEntry("line", b"x")])
    assert {verdict for verdict, _ in ours(recovery.root)[0]} <= {"not covered"}
    return True


def test_older_row(fresh: Recovery) -> None:
    """Nothing is appended behind an older head: that would fork the log."""
    before, _ = older_row(fresh)
    set_row(fresh, before)

    assert refused(fresh, before.id)


@pytest.mark.parametrize(
    "field", ["count", "revision", "seq", "time_ms", "head", "peaks"]
)
def test_row_in_parts(fresh: Recovery, field: str) -> None:
    """Nothing is appended where a part of a row is another state's."""
    before, now = older_row(fresh)
    set_row(fresh, now._replace(**{field: getattr(before, field)}))

    assert refused(fresh, now.id)


@pytest.mark.parametrize("bit", range(0, 256, 37))
def test_flipped_peaks(fresh: Recovery, bit: int) -> None:
    """Nothing is appended where a bit of the peaks is flipped."""
    now = fresh.row("two")
    set_row(fresh, now._replace(peaks=flip(now.peaks, bit)))

    assert refused(fresh, now.id)


def test_flipped_rows(recovery: Recovery, budget: float) -> None:
    """
    A flipped bit in what commits are built on gives typed errors: a head, its
    peaks, a node, a tag, a session, the position.
    """
    row = recovery.row("two")
    data = recovery.catalog.read_bytes()
    db = sqlite3.connect(recovery.catalog)
    found = [row.head, row.peaks, row.session]
    for query in (
        "SELECT hash FROM node LIMIT 1",
        "SELECT digest FROM tag LIMIT 1",
        'SELECT "commit" FROM meta',
        "SELECT frame FROM meta",
    ):
        found += [value for (value,) in db.execute(query).fetchall()]
    db.close()
    step = max(1, round(200 / budget))
    for value in found:
        for at in range(data.index(value) * 8 + 3, 8 * len(data), step):
            if at >= 8 * (data.index(value) + len(value)):
                break
            recovery.catalog.write_bytes(flip(data, at))
            recovery.check(f"bit {at}", exact=False)


def test_other_places(recovery: Recovery) -> None:
    """A place that leads to another blob never gives its bytes."""
    names = recovery.bed.names[1]
    recovery.edit(
        "CREATE TABLE other AS SELECT * FROM place",
        """UPDATE place SET (file, offset, record, size) = (
            SELECT file, offset, record, size FROM other
            WHERE other.digest > place.digest ORDER BY other.digest LIMIT 1)
            WHERE digest < (SELECT max(digest) FROM other)""",
        "DROP TABLE other",
    )
    answers = recovery.bed.check_reads("places moved on")
    wrong = [name for name in answers if is_error(answers[name])]

    assert 2 * (len(names) - 1) <= len(wrong)
    recovery.check("places moved on", exact=False)


@pytest.mark.parametrize("size", ["size + 1", "size - 1", "0", "1000000"])
def test_other_sizes(recovery: Recovery, size: str) -> None:
    """A size that is wrong gives no bytes too few, and no tag that is wrong."""
    recovery.edit(f"UPDATE place SET size = {size} WHERE size > 0")  # noqa: S608
    recovery.bed.check_reads(size)
    with castore.open(recovery.root) as store:
        digest = store.tags()["kept"].digest
        with pytest.raises(CorruptionError):
            store.tag("by name", f"blake3:{digest.hex()}")
    recovery.check(size, exact=False)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE run SET record = record + 1",
        "UPDATE run SET first = first + 1 WHERE count > 50",
        "UPDATE run SET offset = (SELECT max(offset) FROM run)",
        "DELETE FROM run WHERE count > 50",
    ],
)
def test_other_runs(recovery: Recovery, change: str) -> None:
    """A run that leads elsewhere never gives other entries."""
    recovery.edit(change)
    answers = recovery.bed.check_reads(change)

    assert any(map(is_error, answers.values()))
    recovery.check(change, exact=False)


# --- these tests find what they are for --------------------------------------


def test_planted_no_check_of_rows(
    fresh: Recovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that believes every row forks the log, and is found."""
    monkeypatch.setattr(building, "_check_row", lambda *_: None)
    before, _ = older_row(fresh)
    set_row(fresh, before)
    assert not refused(fresh, before.id)

    assert "fork evidence" in {verdict for verdict, _ in ours(fresh.root)[0]}


def test_planted_no_digest(recovery: Recovery, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that believes every place is found."""
    monkeypatch.setattr(blobs, "blob_digest", lambda data: Equal())
    with pytest.raises(AssertionError):
        test_other_places(recovery)
