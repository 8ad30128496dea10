"""
The catalog is an index only: whatever happens to it, answers are those of the files.

Spec: spec/ordering.md, "The catalog".
"""

from __future__ import annotations

import random
import shutil

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import attrs
import pytest

from crash.campaign import check_goes_on
from crash.events import CatalogSaved
from crash.recording import Record
from crash.workloads import ALL, recorded
from crash.world import Intended, Seen, Settled, Shown, World, look

import castore

from castore.catalog.rows import Facts
from castore.engine import catalogs
from castore.engine.catalogs import catalog_name
from castore.errors import StorageError
from castore.formats import mark as mark_format
from castore.formats.mark import decode_lock, encode_lock
from castore.storage import Files


WORKLOADS = ["talk", "payloads", "journals", "handles", "packing"]


@attrs.frozen
class Made:
    """
    A store that was made, and closed.

    Attributes:
        root: Its folder.

        record: How it was made.

        seen: What it shows.
    """

    root: Path
    record: Record
    seen: Seen


@pytest.fixture(scope="module", params=WORKLOADS)
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    """A store; whoever wants to harm it copies it."""
    root = tmp_path_factory.mktemp("made") / "store"
    record = recorded(ALL[request.param], root, 1)
    world = World()
    for step in record.steps:
        if isinstance(step, Intended | Settled | Shown):
            world.apply(step)
    with castore.open(root, read_only=True) as store:
        seen = look(store)
    assert [] == list(world.faults(seen))
    return Made(root, record, seen)


@pytest.fixture
def root(made: Made, tmp_path: Path) -> Path:
    """
    A copy of the store, to be harmed.

    Its lock file is carried over to the copy: else its mark would be worth
    nothing, and so it would not show that the catalog alone is bad.
    """
    return copy(made.root, tmp_path / "copy")


def copy(source: Path, target: Path) -> Path:
    """Copy a store, its mark made good for the copy."""
    shutil.copytree(source, target)
    mark = decode_lock((target / "lock").read_bytes())
    assert mark is not None
    facts = (target / f"files/{mark.journal.hex()}.cas").stat()
    moved = attrs.evolve(mark, device=facts.st_dev, inode=facts.st_ino)
    (target / "lock").write_bytes(encode_lock(moved))
    return target


def catalog_of(root: Path) -> Path:
    """Return the one catalog of the store at *root*."""
    (found,) = root.glob("catalog-*.sqlite")
    return found


def dump(root: Path) -> Facts:
    """Return all rows of the catalog of the closed store at *root*."""
    with castore.open(root) as store:
        return store.engine.refresh().known.dump()


def check(root: Path, seen: Seen) -> None:
    """Opened in every way, the store at *root* shows *seen*; and it goes on."""
    with castore.open(root, read_only=True) as store:
        assert seen == look(store)
    with castore.open(root) as store:
        assert seen == look(store)
    check_goes_on(Files(root), seen)


def test_rebuilt_is_the_live_one(root: Path) -> None:
    """A catalog made from the files has the rows that commits made one by one."""
    live = dump(root)
    with castore.open(root) as store:
        store.engine.rebuild()

    rebuilt = dump(root)

    for field in attrs.fields(Facts):
        assert getattr(live, field.name) == getattr(rebuilt, field.name), field.name


# --- harm --------------------------------------------------------------------

Harm = Callable[[Path, random.Random], None]


def deleted(path: Path, rng: random.Random) -> None:
    """Nothing is left."""
    path.unlink()


def emptied(path: Path, rng: random.Random) -> None:
    """The file is there, without a byte."""
    path.write_bytes(b"")


def cut(path: Path, rng: random.Random) -> None:
    """The file ends somewhere."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data))])


def cut_at_a_page(path: Path, rng: random.Random) -> None:
    """The file ends between two of its pages."""
    data = path.read_bytes()
    path.write_bytes(data[: rng.randrange(len(data) // 4096) * 4096])


def noise(path: Path, rng: random.Random) -> None:
    """The file is noise."""
    path.write_bytes(rng.randbytes(path.stat().st_size))


def noise_behind_the_header(path: Path, rng: random.Random) -> None:
    """The file is noise behind the 100 bytes that say what it is."""
    data = path.read_bytes()
    path.write_bytes(data[:100] + rng.randbytes(len(data) - 100))


def zeros(path: Path, rng: random.Random) -> None:
    """The file is zeros."""
    path.write_bytes(bytes(path.stat().st_size))


def noise_beside(path: Path, rng: random.Random) -> None:
    """SQLite's files beside it are noise."""
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).write_bytes(rng.randbytes(40_000))


def text(path: Path, rng: random.Random) -> None:
    """Somebody's notes stand in its place."""
    path.write_text("remember the milk\n" * 300)


HARMS = [
    deleted,
    emptied,
    cut,
    cut_at_a_page,
    noise,
    noise_behind_the_header,
    zeros,
    noise_beside,
    text,
]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("seed", range(2))
def test_harmed(root: Path, made: Made, harm: Harm, seed: int) -> None:
    """A catalog that is harmed is made anew, and nobody sees a difference."""
    harm(catalog_of(root), random.Random(seed))

    check(root, made.seen)


def test_older(made: Made, tmp_path: Path, budget: float) -> None:
    """An older state of the catalog is brought up to date, or made anew."""
    saved = [step.files for step in made.record.steps if isinstance(step, CatalogSaved)]
    step = max(1, int(len(saved) / (12 * budget)))
    for number, files in enumerate(saved[::step]):
        root = copy(made.root, tmp_path / str(number))
        for path in root.glob("catalog-*.sqlite*"):
            path.unlink()
        for name, data in files.items():
            (root / name).write_bytes(data)

        check(root, made.seen)


@pytest.mark.parametrize("generation", ["same", "newer"])
def test_of_another_store(made: Made, tmp_path: Path, generation: str) -> None:
    """The catalog of another store, however new, answers nothing here."""
    other = tmp_path / "other"
    recorded(ALL["talk"], other, 2)
    root = copy(made.root, tmp_path / "copy")
    path = catalog_of(root)
    path.unlink()
    if generation == "newer":
        mark = decode_lock((root / "lock").read_bytes())
        assert mark is not None
        path = root / catalog_name(mark.catalog_generation + 1)
    shutil.copy(catalog_of(other), path)

    check(root, made.seen)


def test_generation_that_is_gone(root: Path, made: Made) -> None:
    """The lock file names a generation that no file has."""
    mark = decode_lock((root / "lock").read_bytes())
    assert mark is not None
    moved = attrs.evolve(mark, catalog_generation=mark.catalog_generation + 7)
    (root / "lock").write_bytes(encode_lock(moved))

    check(root, made.seen)


def test_rebuilt_beside_a_writer(root: Path, made: Made) -> None:
    """Who has the store open when another makes the catalog anew goes on."""
    with castore.open(root) as first, castore.open(root) as second:
        begun = first.create_session(body=b"first")
        second.engine.rebuild()
        begun.append([castore.NewEntry("more", b"1")])
        second.segment(begun.id).append([castore.NewEntry("more", b"2")])
        first.engine.rebuild()
        second.segment(begun.id).append([castore.NewEntry("more", b"3")])

        assert [b"first", b"1", b"2", b"3"] == [body for _, body in begun.read()]
        assert look(first) == look(second)


def test_folder_in_its_place(root: Path, made: Made) -> None:
    """What cannot be replaced without deleting somebody's files is refused."""
    path = catalog_of(root)
    path.unlink()
    path.mkdir()
    (path / "mine").write_text("mine")

    with pytest.raises(StorageError):
        castore.open(root)
    with castore.open(root, read_only=True) as store:
        assert made.seen == look(store)
    assert (path / "mine").exists()


def test_mark_read_while_it_is_written(root: Path, made: Made) -> None:
    """A mark that was read half new and half old is no reason to read all files."""
    read = Files.read_up_to
    torn = iter([True, True])

    def reading(self: Files, fd: int, size: int, offset: int) -> bytes:
        data = read(self, fd, size, offset)
        if len(data) == mark_format.SIZE and next(torn, False):
            return data[:100] + bytes(len(data) - 100)
        return data

    with (
        mock.patch.object(Files, "read_up_to", reading),
        mock.patch.object(catalogs, "rebuilt_in_memory", None),
        castore.open(root, read_only=True) as store,
    ):
        assert made.seen == look(store)


# --- flips -------------------------------------------------------------------


def _flips(data: bytes, rng: random.Random, count: int) -> Iterator[bytes]:
    for _ in range(count):
        at = rng.randrange(len(data) * 8)
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        yield bytes(flipped)


def test_flipped(made: Made, tmp_path: Path, budget: float) -> None:
    """
    With a flipped bit in the catalog no wrong byte is returned.

    SQLite does not see most of them, and an index may then miss a row: what is
    asked for by its name may be refused, with an error of ours. What is returned
    is right, since it is hashed.
    """
    root = copy(made.root, tmp_path / "copy")
    lock = (root / "lock").read_bytes()
    path = catalog_of(root)
    name, data = path.name, path.read_bytes()
    for flipped in _flips(data, random.Random(3), int(60 * budget)):
        for each in root.glob("catalog-*.sqlite*"):
            each.unlink()
        (root / "lock").write_bytes(lock)
        (root / name).write_bytes(flipped)
        with castore.open(root, read_only=True) as store:
            _check_what_is_returned(store, made.seen)


def _check_what_is_returned(store: castore.Store, seen: Seen) -> None:
    for segment, items in seen.logs.items():
        try:
            opened = store.segment(segment)
            found = [(entry.kind, body) for entry, body in opened.read()]
        except castore.CastoreError:
            continue
        wanted = [(kind, digest) for kind, digest, _ in items]
        digests = [(kind, castore.digest.blob_digest(body)) for kind, body in found]
        assert wanted[: len(digests)] == digests


def test_catalogs_module_names_what_it_finds(root: Path) -> None:
    """The name of a catalog is made in one place."""
    mark = decode_lock((root / "lock").read_bytes())
    assert mark is not None

    assert catalog_of(root).name == catalogs.catalog_name(mark.catalog_generation)
