"""
A collection within bounds: what costs nothing goes first, the rest another time.

Spec: spec/ordering.md, "Packing and deleting", "A full disk".
"""

from __future__ import annotations

import errno
import importlib
import random
import time

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest

import castore

from castore import BlobRef, NewEntry, Reference, Store, gc, limits
from castore.collecting import parts
from castore.collecting.report import BYTES, GRACE, LATER, ROOM, TIME
from castore.errors import StorageError
from castore.gc import Bounds, collect
from castore.storage import Files
from castore.verify import verify


deleting = importlib.import_module("castore.collecting.deleting")
DICE = random.Random(9)
SIZE = 5000  # raw bytes of a payload, which do not compress


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with mock.patch.multiple(limits, SIDE_SIZE_MIN=2000):
        yield


@attrs.frozen
class Shelf:
    """
    Payloads of one file.

    Attributes:
        dead: What nothing needs.

        kept: What is tagged.
    """

    dead: tuple[BlobRef, ...]
    kept: tuple[BlobRef, ...]


def shelf(root: Path, dead: int, kept: int) -> Shelf:
    """Write a file of its own, with so many payloads that go and that stay."""
    with castore.open(root, create=True) as store:
        refs = [
            store.put(data, tag=data[:8].hex())
            for data in (DICE.randbytes(SIZE) for _ in range(dead + kept))
        ]
        names = {ref.digest: name for name, ref in store.tags().items()}
        for ref in refs[:dead]:
            store.untag(names[ref.digest])
    return Shelf(tuple(refs[:dead]), tuple(refs[dead:]))


@pytest.fixture
def root(folder: Path) -> Path:
    """Return where a store may be."""
    return folder / "store"


@pytest.fixture
def shelves(root: Path) -> list[Shelf]:
    """Return three files: one with nothing that lives, one with much, one with less."""
    return [shelf(root, 4, 0), shelf(root, 2, 4), shelf(root, 5, 1)]


def there(store: Store, one: Shelf) -> int:
    """Return how many of the dead payloads of a file are there."""
    assert all(store.get(ref) for ref in one.kept)
    return sum(store.has(ref) for ref in one.dead)


def test_what_costs_nothing_goes_first(root: Path, shelves: list[Shelf]) -> None:
    """Where nothing may be written anew, files without anything alive go."""
    with castore.open(root) as store:
        report = collect(store.engine, grace_s=0, yes=True, bounds=Bounds(None, 0))

        assert [0, 2, 5] == [there(store, one) for one in shelves]
        assert (1, 0) == (report.files_dropped, report.files_rewritten)
        assert 7 == report.later[BYTES].blob_count
        assert 7 * SIZE == report.later[BYTES].raw_bytes
        assert 0 == report.rewritten_bytes < report.freed_bytes
    assert verify(root).ok


def test_what_gives_most_goes_first(root: Path, shelves: list[Shelf]) -> None:
    """Of what must be rewritten, files with the most garbage for a byte go first."""
    with castore.open(root) as store:
        report = collect(
            store.engine, grace_s=0, yes=True, bounds=Bounds(None, SIZE * 2)
        )

        assert [0, 2, 0] == [there(store, one) for one in shelves]
        assert (1, 1) == (report.files_dropped, report.files_rewritten)
        assert 0 < report.rewritten_bytes < SIZE * 2
        assert 2 == report.later[BYTES].blob_count


def test_any_order_is_found(root: Path, shelves: list[Shelf]) -> None:
    """Who takes files as they come does not free most for what he writes."""

    def worst(part: parts.Part) -> tuple[bool, float]:
        return part.cost == 0, part.gain / (part.cost or 1)

    with (
        mock.patch.object(parts, "_worth", worst),
        mock.patch.object(deleting.time, "monotonic", return_value=1.0),
        castore.open(root) as store,
    ):
        collect(store.engine, grace_s=0, yes=True, bounds=Bounds(0))

        assert [4, 0, 5] == [there(store, one) for one in shelves]


def test_no_time(root: Path, shelves: list[Shelf]) -> None:
    """Each run does a part at least, the best first; some runs do all."""
    with castore.open(root) as store:
        left = []
        for _ in range(4):
            done = collect(store.engine, grace_s=0, yes=True, bounds=Bounds(0))
            left.append([there(store, one) for one in shelves])
            assert done.later[TIME].blob_count == sum(left[-1])

        assert [[0, 2, 5], [0, 2, 0], [0, 0, 0], [0, 0, 0]] == left
        assert dict.fromkeys(LATER, 0) == {
            reason: later.blob_count for reason, later in done.later.items()
        }
    assert verify(root).ok


def test_stopped_between_parts(root: Path, shelves: list[Shelf]) -> None:
    """A run that is killed leaves what it did; the next does the rest."""
    rewrite, count = deleting.rewrite, 0

    def some(*args: object, **options: object) -> object:
        nonlocal count
        count += 1
        if count == 2:
            raise KeyboardInterrupt
        return rewrite(*args, **options)

    with castore.open(root) as store:
        with (
            mock.patch.object(deleting, "rewrite", some),
            pytest.raises(KeyboardInterrupt),
        ):
            collect(store.engine, grace_s=0, yes=True, bounds=Bounds(None, 10**9))
        assert [0, 2, 5] == [there(store, one) for one in shelves]
    assert verify(root).ok
    with castore.open(root) as store:
        report = collect(store.engine, grace_s=0, yes=True)

        assert 7 == report.deleted_blob_count
        assert [0, 0, 0] == [there(store, one) for one in shelves]
    assert verify(root).ok


def test_a_bound_changes_no_grace(root: Path, shelves: list[Shelf]) -> None:
    """What is left for a bound stays condemned since when it was."""
    with castore.open(root) as store:
        first = collect(store.engine, grace_s=60, bounds=Bounds(None, 0))
        assert 11 == first.later[GRACE].blob_count == first.condemned_blob_count
        now = time.time_ns() + 61 * 10**9
        with mock.patch.object(time, "time_ns", return_value=now):
            second = collect(store.engine, grace_s=60, yes=True, bounds=Bounds(None, 0))
            third = collect(store.engine, grace_s=60, yes=True)

        assert (4, 7) == (second.deleted_blob_count, third.deleted_blob_count)
        assert second.next_ms is None


# --- no room --------------------------------------------------------------------


def no_room(root: Path) -> str:
    """Collect where the disk is full; return why that failed."""
    with castore.open(root) as store:
        with (
            mock.patch.object(Files, "free_size", return_value=0),
            pytest.raises(StorageError) as caught,
        ):
            collect(store.engine, grace_s=0, yes=True)
        assert caught.value.errno == errno.ENOSPC
        assert caught.value.transient
    return caught.value.what


def test_no_room(root: Path, shelves: list[Shelf]) -> None:
    """Without room nothing is rewritten, and what needs none goes."""
    assert "4 blobs went; no room to rewrite the files of 7 more" in no_room(root)
    assert verify(root).ok
    with castore.open(root) as store:
        assert [0, 2, 5] == [there(store, one) for one in shelves]
        report = collect(store.engine, grace_s=0, yes=True)

        assert 0 == report.later[ROOM].blob_count
        assert [0, 0, 0] == [there(store, one) for one in shelves]


def test_no_look_for_room_is_found(root: Path, shelves: list[Shelf]) -> None:
    """Who does not ask whether there is room begins to rewrite."""
    with (
        mock.patch.object(deleting._Deleter, "_has_room", return_value=True),
        pytest.raises(pytest.fail.Exception),
    ):
        no_room(root)


def crowded(root: Path) -> list[int]:
    """
    Collect with room for the second best part only; return what is left of each.
    """
    large, small = shelf(root, 18, 2), shelf(root, 2, 1)
    size = Files.size_of

    def used(files: Files) -> int:
        return sum(size(files, f"files/{name}") for name in files.list("files"))

    before = used(Files(root))

    def free(files: Files) -> int:
        return max(0, 7000 + before - used(files))

    with castore.open(root) as store:
        with mock.patch.object(Files, "free_size", free):
            collect(store.engine, grace_s=0, yes=True)
        return [there(store, one) for one in (large, small)]


def test_what_goes_makes_room(root: Path) -> None:
    """A file that could not be rewritten is, when another one has gone."""
    assert [0, 0] == crowded(root)


def test_one_look_for_room_is_found(root: Path) -> None:
    """Who looks for room only once leaves what there would have been room for."""
    has_room = deleting._Deleter._has_room
    known: dict[int, bool] = {}

    def first(self: object, size: int) -> bool:
        return bool(known.setdefault(size, has_room(self, size)))

    with (
        mock.patch.object(deleting._Deleter, "_has_room", first),
        pytest.raises(StorageError),
    ):
        crowded(root)


# --- chunks ----------------------------------------------------------------------


def torn_lists(root: Path) -> bool:
    """
    Collect within bounds where a list stands in one file and its chunks in another;
    return whether what stays can be had again, whole.
    """
    dice = random.Random(9)
    large = dice.randbytes(9_000_000)
    other = large[:4_000_000] + b"changed" + large[4_000_000:]
    with castore.open(root, create=True) as store:
        store.put(large, tag="large")
    with castore.open(root) as store:
        like = store.tags()["large"]
        store.put(other, like=like, tag="other")
        small = [store.put(dice.randbytes(1500)) for _ in range(400)]
        named = [Reference("x", ref) for ref in small]
        store.create_session(then=[NewEntry("a", b"stays beside it", named)])
    with castore.open(root) as store:
        refs = [store.tags()[name] for name in ("large", "other")]
        for name in ("large", "other"):
            store.untag(name)
        collect(store.engine, grace_s=0, yes=True, bounds=Bounds(None, 500_000))
        try:
            for ref, data in zip(refs, (large, other), strict=True):
                if store.has(ref):
                    store.tag("again", ref)
                    assert data == store.get(ref)
        except castore.CastoreError:
            return False
    return verify(root).ok


def test_a_list_keeps_its_chunks(root: Path) -> None:
    """What of a large payload stays, stays as a whole: it may come alive again."""
    assert torn_lists(root)


def test_chunks_that_go_alone_are_found(root: Path) -> None:
    """Who lets chunks go where their list stays leaves what is worth nothing."""

    def alone(engine: Any, _: object, marks: Any) -> object:
        return lambda name: gc._files_with(name, engine, marks)

    with mock.patch.object(gc, "_homes", alone):
        assert not torn_lists(root)
