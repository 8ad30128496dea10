"""
What becomes of a catalog whose file was damaged.
"""

from __future__ import annotations

import random
import sqlite3

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.catalog_rows import FILE, apply, full, key, place, run
from hypothesis import given
from hypothesis import strategies as st

from castore.catalog import Catalog, Facts, SqliteCatalog
from castore.catalog.rows import Node, SessionRow
from castore.catalog.schema import checksum
from castore.errors import CastoreError, CorruptionError, StorageError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the catalog is."""
    return tmp_path / "catalog"


def everything(catalog: Catalog) -> dict[str, Callable[[], object]]:
    """Return all that can be asked, about rows that `stored` wrote."""
    digest = bytes([7]) * 32
    return {
        "position": catalog.position,
        "find_place": lambda: catalog.find_place(digest),
        "find_run": lambda: catalog.find_run(b"s", 20),
        "runs": lambda: catalog.runs(b"s", 3, 99),
        "find_segment": lambda: catalog.find_segment(b"s"),
        "segments": lambda: list(catalog.segments()),
        "listing": lambda: list(catalog.listing()),
        "children": lambda: catalog.children(b"s"),
        "segments_of": lambda: catalog.segments_of(b"x"),
        "find_session": lambda: catalog.find_session(b"y"),
        "find_session_by_key": lambda: catalog.find_session_by_key("a", "1"),
        "sessions": lambda: list(catalog.sessions()),
        "find_nodes": lambda: catalog.find_nodes([(b"s", 8, 0), (b"s", 8, 1)]),
        "find_key": lambda: catalog.find_key(b"s", "k"),
        "find_tag": lambda: catalog.find_tag("t"),
        "tags": catalog.tags,
        "find_deleted": lambda: catalog.find_deleted(b"v"),
        "labelled": lambda: catalog.labelled(b"a"),
        "find_absence": lambda: catalog.find_absence(b"c"),
        "places": lambda: list(catalog.places()),
        "counts": catalog.counts,
        "dump": catalog.dump,
    }


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the file of a catalog with rows of each kind, on several pages."""
    path = tmp_path_factory.mktemp("stored") / "c"
    with SqliteCatalog.create(path) as catalog:
        ids = [bytes([index]) * 32 for index in range(200)]
        many = Facts(
            places=[place(each) for each in ids],
            runs=[run(index, 1) for index in range(99)],
            nodes=[Node(b"s", 8, index, each) for index, each in enumerate(ids)],
            keys=[key(b"s", each.hex()) for each in ids[:50]],
        )
        apply(catalog, full(), many)
    return path.read_bytes()


def outcomes(path: Path, writes: Facts) -> dict[str, object]:
    """
    Return what each call to the catalog in *path* gives or raises, `apply` last.

    Whatever is neither an answer nor one of two errors goes to the caller.
    """
    found: dict[str, object] = {}
    try:
        with SqliteCatalog.open(path) as catalog:
            for name, call in everything(catalog).items():
                try:
                    found[name] = call()
                except (CorruptionError, StorageError) as error:
                    found[name] = error
            try:
                apply(catalog, writes)
            except (CorruptionError, StorageError) as error:
                found["apply"] = error
    except (CorruptionError, StorageError) as error:
        found["open"] = error
    return found


def is_refused(found: dict[str, object]) -> bool:
    """Whether the catalog was refused when it was opened."""
    return isinstance(found.get("open"), CorruptionError)


def test_an_undamaged_file_is_fine(path: Path, stored: bytes) -> None:
    """The calls that the tests of damage make are answered where there is none."""
    path.write_bytes(stored)
    found = outcomes(path, full())

    assert [] == [each for each in found.values() if isinstance(each, CastoreError)]
    assert len(found) == 22
    assert all(found.values())


@pytest.mark.parametrize("how", [{}, {"immutable": True}])
@pytest.mark.parametrize(
    "data", [b"", b"\0", b"SQLite format 3\0", b"x" * 5000, bytes(8192)]
)
def test_no_catalog_at_all(path: Path, data: bytes, how: dict[str, bool]) -> None:
    """A file that is no catalog is refused and stays as it is."""
    path.write_bytes(data)
    with pytest.raises(CorruptionError) as caught:
        SqliteCatalog.open(path, **how)

    assert ("catalog differs", "catalog") == (caught.value.verdict, caught.value.where)
    assert data == path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE tag",
        "CREATE TABLE more (x)",
        "DROP INDEX segment_by_seq",
        "UPDATE meta SET version = 99",
        "DELETE FROM meta",
        "INSERT INTO meta SELECT * FROM meta",
        "CREATE TRIGGER t AFTER INSERT ON tag BEGIN DELETE FROM place; END",
        "PRAGMA journal_mode = DELETE",
    ],
)
def test_another_version_is_refused(path: Path, stored: bytes, change: str) -> None:
    """A catalog whose tables are not to the letter those of this version goes."""
    path.write_bytes(stored)
    db = sqlite3.connect(path)
    db.execute(change)
    db.commit()
    db.close()

    assert is_refused(outcomes(path, full()))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE segment SET revision = revision + 1",
        "UPDATE segment SET label_count = 'text'",
        "UPDATE segment SET state_sum = state_sum + 1",
        "UPDATE place SET offset = 'text'",
        "UPDATE place SET size = -1",
        "UPDATE place SET size = 0.5",
        "UPDATE place SET file = 99",
        "UPDATE run SET file = 99",
        "UPDATE run SET segment = 99",
        "UPDATE segment SET head = 'text'",
        "UPDATE segment SET session = NULL",
        "UPDATE segment SET count = fork_index - 1",
        "UPDATE segment SET id = 3 WHERE no = 1",
        "UPDATE node SET hash = 8",
        "UPDATE session SET text = x'00' WHERE text NOT NULL",
        "UPDATE session SET text = CAST(x'ff' AS TEXT) WHERE text NOT NULL",
        "UPDATE keys SET content = 'text'",
        "UPDATE tag SET digest = 'text'",
        "UPDATE deleted SET entry = x'00'",
        "UPDATE label SET segment = segment + 99",
        "UPDATE absence SET number = 'x'",
        "UPDATE absence SET how = 'x'",
        "UPDATE meta SET seq = 'x'",
        "UPDATE meta SET frame = NULL",
    ],
)
def test_a_value_of_another_type_is_damage(
    path: Path, stored: bytes, change: str
) -> None:
    """What nobody can have written is never given to a caller."""
    path.write_bytes(stored)
    db = sqlite3.connect(path)
    db.execute(change)
    db.commit()
    db.close()
    found = outcomes(path, Facts())
    bad = {name for name, each in found.items() if isinstance(each, CorruptionError)}

    assert bad
    assert "open" not in bad
    assert bad & {"dump", "position", "counts"}


def test_rows_out_of_order_end_an_iteration(path: Path) -> None:
    """A tree whose keys do not rise cannot make an iteration go on for ever."""
    total = checksum((b"\0", None, None))
    the_same = f"SELECT x'00', NULL, NULL, {total} WHERE ? NOT NULL LIMIT ?"
    with (
        SqliteCatalog.create(path) as catalog,
        pytest.raises(CorruptionError, match="out of order"),
    ):
        list(catalog._pages(SessionRow, the_same))


def test_a_cut_file(path: Path, stored: bytes) -> None:
    """A file that was cut anywhere is refused."""
    rng = random.Random(1)
    sizes = {*range(0, len(stored), 4096), *rng.sample(range(len(stored)), 30)}
    for size in sorted(sizes):
        path.write_bytes(stored[:size])
        assert is_refused(outcomes(path, full())), size


@given(st.data())
def test_noise(
    tmp_path_factory: pytest.TempPathFactory, stored: bytes, data: st.DataObject
) -> None:
    """Noise in a file gives answers or typed errors, and nothing else."""
    path = tmp_path_factory.mktemp("noise") / "c"
    start = data.draw(st.integers(0, len(stored) - 1))
    noise = data.draw(st.binary(min_size=1, max_size=64)) * data.draw(
        st.sampled_from([1, 64])
    )
    path.write_bytes(stored[:start] + noise + stored[start + len(noise) :])
    found = outcomes(path, full())

    assert "dump" in found or "open" in found


def test_flipped_bits(path: Path, stored: bytes, budget: float) -> None:
    """A flipped bit gives answers or typed errors, and nothing else."""
    rng = random.Random(1)
    # Headers and tables' definitions, where a flip goes furthest, and anywhere.
    bits = [rng.randrange(8 * 4096) for _ in range(round(100 * budget))]
    bits += [rng.randrange(8 * len(stored)) for _ in range(round(200 * budget))]
    refused = 0
    for bit in bits:
        flipped = bytearray(stored)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = outcomes(path, Facts(places=[place(b"new")], drop_files=[FILE]))
        refused += any(isinstance(each, CorruptionError) for each in found.values())

    assert refused > len(bits) // 8
