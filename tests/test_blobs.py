"""
A blob reads back as it was put, wherever the store holds it.

Spec: spec/blob.md; spec/ordering.md, "Reading", "A bound".
"""

from __future__ import annotations

import io
import random

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

from blobkit import (
    MAKERS,
    SIZES,
    CountingFiles,
    Dribble,
    Shelf,
    all_contents,
    content,
    digests_of,
    dribble,
    grow_by_putting,
    grow_by_reading,
    in_process,
    numbered,
    open_counting,
    shelves,
)

import castore

from castore import BlobRef, NewEntry, Reference, Store, limits
from castore.digest import blob_digest, format_digest
from castore.engine.putting import put_parts
from castore.errors import FormatError, GoneError, NotFoundError
from castore.gc import collect
from castore.packing import pack
from castore.verify import verify


LARGE = 33_000_001  # chunks and slices
DEEP = 10  # budget from which a stream of some GB is put


@pytest.fixture(scope="module", params=MAKERS)
def shelf(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shelf]:
    """A store that holds blobs of all sizes in one of all ways."""
    root = tmp_path_factory.mktemp("blobs") / "store"
    yield from shelves(root, request.param)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    with castore.open(tmp_path / "store", create=True) as store:
        yield store


# --- wherever it is ----------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back(shelf: Shelf, size: int) -> None:
    """By reference, by name, as a file: the same bytes."""
    data = content(size)
    ref = shelf.ref(data)
    assert (blob_digest(data), size) == (ref.digest, ref.size)
    assert (ref.slices is not None) == (size >= limits.SLICED_SIZE_MIN)
    assert data == shelf.store.get(ref)
    assert data == shelf.store.get(str(ref))
    assert ref == shelf.store.resolve(str(ref))
    with shelf.store.open_blob(ref) as file:
        assert data == file.read()


@pytest.mark.parametrize("size", [size for size in SIZES if size % 2])
def test_bytes_that_shrink_come_back(shelf: Shelf, size: int) -> None:
    """The same for what is stored compressed."""
    data = content(size, random_bytes=False)
    assert data == shelf.store.get(shelf.ref(data))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_told_of_a_blob(shelf: Shelf, size: int) -> None:
    """It is there, with its size, in one record up to 8 MiB and in chunks above."""
    ref = shelf.ref(content(size))
    found = shelf.store.stat(ref)
    assert shelf.store.has(ref)
    assert shelf.store.has(str(ref))
    assert size == found.size
    in_chunks = size > limits.BLOB_RECORD_SIZE_MAX
    assert ("chunks" if in_chunks else "whole") == found.form


@pytest.mark.parametrize("size", SIZES)
def test_ranges(shelf: Shelf, size: int) -> None:
    """Any range is that range, whatever the cuts; behind the end is nothing."""
    data = content(size)
    dice = random.Random(size)
    with shelf.store.open_blob(shelf.ref(data)) as file:
        edges = [0, 1, size // 2, size - 1, size, size + 1]
        edges += [limits.SLICE_SIZE * n + by for n in (1, 9, 31) for by in (-1, 0, 1)]
        for start in sorted({edge for edge in edges if edge >= 0}):
            length = dice.choice([1, 100, limits.SLICE_SIZE + 2])
            assert start == file.seek(start)
            assert data[start : start + length] == file.read(length)
        file.seek(-1 if size else 0, io.SEEK_END)
        assert data[-1:] == file.read()


def test_what_was_never_put(shelf: Shelf) -> None:
    """A name that nobody put is not there, whoever asks."""
    ref = BlobRef(blob_digest(b"never put"), 9)
    assert not shelf.store.has(ref)
    for ask in (shelf.store.get, shelf.store.stat, shelf.store.get_object):
        with pytest.raises(NotFoundError):
            ask(ref)
    with pytest.raises(NotFoundError):
        shelf.store.open_blob(str(ref))
    with pytest.raises(NotFoundError):
        shelf.store.open_blob(ref).read(1)
    for bad in ("", "blake3:", str(ref)[:-1], str(ref).upper()):
        with pytest.raises(FormatError):
            shelf.store.get(bad)


def test_a_reference_that_states_another_size(shelf: Shelf) -> None:
    """Nobody reads a range by a reference whose size is not the blob's."""
    for size in (100, LARGE):
        data = content(8 if size == 100 else size)
        good = shelf.ref(data)
        wrong = BlobRef(good.digest, good.size + 1, good.slices)
        with pytest.raises(castore.CorruptionError):
            shelf.store.open_blob(wrong).read(1)


@pytest.mark.parametrize("how", ["journal", "closed", "packed"])
def test_another_process_reads(how: str, tmp_path: Path) -> None:
    """What one process has committed, another reads, while the first lives."""
    for shelf in shelves(tmp_path / "store", how):
        refs = list(shelf.refs.values())
        found = in_process(digests_of, tmp_path / "store", refs)
        assert [ref.digest for ref in refs] == found


def test_a_range_does_not_cost_the_whole(tmp_path: Path) -> None:
    """Of a large blob only the frames are read in which the range is."""
    root = tmp_path / "store"
    for how in ("journal", "packed"):
        for shelf in shelves(tmp_path / how, how):
            root = tmp_path / how
            ref = shelf.ref(content(LARGE))
        for start in (0, LARGE // 2, LARGE - 10):
            store, files = open_counting(root)
            with store:
                check_range(store, files, ref, start)


def check_range(store: Store, files: CountingFiles, ref: BlobRef, start: int) -> None:
    """Read some bytes from *start* on; a frame or two, and the list, are read."""
    before = files.read_size
    found = store.engine.read_range(ref, start, start + 10)
    assert content(LARGE)[start : start + 10] == found
    assert files.read_size - before < LARGE // 2


# --- going in ----------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [None, 65_537, 1 << 30])
def test_streams_are_as_bytes(store: Store, size: int, step: int | None) -> None:
    """A stream has the name of its bytes, however it gives them."""
    data = content(size)
    stream: Any = io.BytesIO(data) if step is None else dribble(data, step)
    ref = store.put(stream)
    assert ref == store.put(data)
    store.tag("t", ref)
    assert data == store.get(ref)


def test_streams_by_single_bytes(store: Store) -> None:
    """A stream may give a byte at a time."""
    data = content(20_000)
    assert data == store.get(store.put(dribble(data, 1)))


def test_what_else_is_bytes(store: Store) -> None:
    """Whatever holds bytes can be put; what it holds later is its own affair."""
    data = bytearray(b"changed later")
    ref = store.put(data)
    data[0] = 0
    assert b"changed later" == store.get(ref)
    assert b"hne ae" == store.get(store.put(memoryview(b"changed later")[1::2]))
    for wrong in ("text", io.StringIO("text"), 5, None):
        with pytest.raises(TypeError):
            store.put(wrong)  # type: ignore[arg-type]


def test_a_stream_that_would_not_wait(store: Store) -> None:
    """A stream that has nothing *yet* has not ended: it is refused, not cut."""

    class Impatient(Dribble):
        def read(self, size: int = -1) -> bytes:
            data = super().read(size)
            return data or None  # type: ignore[return-value]

    for size in (10, LARGE):
        data = content(size)
        with pytest.raises(ValueError, match="wait"):
            store.put(cast("BinaryIO", Impatient(data, 1 << 20)))
        assert not store.has(format_digest(blob_digest(data)))


@pytest.mark.parametrize("reached", [0, 1, 8 << 20, (8 << 20) + 1, 20 << 20, LARGE])
def test_a_stream_that_breaks(reached: int, store: Store) -> None:
    """Nothing of it is there, then or with a later commit; its room is given back."""
    data = content(LARGE)
    segment = store.create_session()
    store.put(content(2 << 20), tag="the side pack is begun")
    before, size = store.stats(), store.engine.disk_size()
    with pytest.raises(ConnectionResetError):
        store.put(dribble(data, 100_000, reached))
    assert not store.has(format_digest(blob_digest(data)))
    assert size == store.engine.disk_size()
    segment.append([NewEntry("tool", b"")])
    store.put(content((2 << 20) + 1), tag="other")
    after = store.stats()
    assert before.blobs + 2 == after.blobs  # one, and the name of its tag
    assert data == store.get(store.put(dribble(data, 100_000), tag="again"))
    assert verify(store.engine.files.root).ok


def test_more_than_memory_holds(tmp_path: Path) -> None:
    """
    One commit of small bodies, together more than waits in memory: all come back,
    and the store takes the next.
    """
    size = 1 << 14
    count = limits.PENDING_SIZE_MAX // size + 50
    bodies = [random.Random(number).randbytes(size) for number in range(count)]
    with castore.open(tmp_path / "store", create=True) as store:
        log = store.create_session()
        log.append([castore.NewEntry("line", body) for body in bodies])
        log.append([castore.NewEntry("line", b"next")])

        assert [body for _, body in log.read(1)] == [*bodies, b"next"]


def test_put_again_costs_nothing(store: Store) -> None:
    """What waits already is not written again, as a retried append would."""
    for size in (2 << 20, LARGE):
        data = content(size)
        ref = store.put(data)
        used = store.engine.disk_size()
        assert ref == store.put(data) == store.put(io.BytesIO(data))
        # Of a large one the list is made anew.
        assert store.engine.disk_size() - used < size // 1000


@pytest.mark.parametrize("size", [200 << 20])
def test_memory_of_a_large_stream(size: int, tmp_path: Path, budget: float) -> None:
    """Putting and reading take the same memory whatever the size."""
    root = tmp_path / "store"
    block = random.Random(2).randbytes((1 << 20) - 8)
    if budget >= DEEP:
        size, block = 5 << 30, bytes((1 << 20) - 8)
    ref, growth = in_process(grow_by_putting, root, size, block)
    assert (numbered(size, block), size) == (ref.digest, ref.size)
    assert growth < 64 << 20
    digest, growth = in_process(grow_by_reading, root, ref)
    assert ref.digest == digest
    assert growth < limits.CACHE_SIZE + (64 << 20)
    with castore.open(root) as store:
        middle = size // 2
        at = (middle // (1 << 20)) << 20
        found = store.engine.read_range(ref, at, at + 8)
        assert (at >> 20).to_bytes(8, "big") == found


# --- differences -------------------------------------------------------------


def versions(count: int, size: int) -> list[bytes]:
    """Return versions of one content, each a little other than the one before."""
    dice = random.Random(size)
    found = [content(size)]
    for number in range(count - 1):
        at = dice.randrange(size)
        found.append(found[-1][:at] + b"<%d>" % number + found[-1][at:])
    return found


@pytest.mark.parametrize("size", [8, 9, 5000, 1 << 20, (8 << 20) - 1000])
@pytest.mark.parametrize("one_by_one", [True, False])
def test_differences_come_back(size: int, tmp_path: Path, *, one_by_one: bool) -> None:
    """What was put like another comes back, wherever it is held."""
    datas = versions(5 if size > 1 << 20 else 40, size)
    root = tmp_path / "store"
    with castore.open(root, create=True) as store:
        segment = store.create_session()
        refs: list[BlobRef] = []
        for data in datas:
            refs.append(store.put(data, like=refs[-1] if refs else None))
            if one_by_one:
                named = [Reference("checkpoint", refs[-1])]
                segment.append([NewEntry("state", b"", named)])
        if size >= 5000:
            assert "difference" == store.stat(refs[1]).form
        named = [Reference("checkpoint", ref) for ref in refs]
        assert datas == [store.get(ref) for ref in refs]
        segment.append([NewEntry("state", b"", named)])
        assert datas == [store.get(ref) for ref in refs]
    with castore.open(root, read_only=True) as store:
        assert datas == [store.get(ref) for ref in refs]
    with castore.open(root) as store:
        pack(store.engine)
        assert datas == [store.get(ref) for ref in refs]
        if size >= 5000:
            used = store.engine.disk_size()
            assert used < 2 * size + 20_000
    assert verify(root).ok


def test_bases_that_cannot_be(store: Store) -> None:
    """A base that is not there, too small, too large or itself: stored whole."""
    data = content(100_000)
    itself = BlobRef(blob_digest(data), len(data))
    unknown = BlobRef(blob_digest(b"never put"), 100_000)
    small, large = store.put(b"seven b"), store.put(content(LARGE))
    for number, like in enumerate((itself, unknown, small, large)):
        ref = store.put(b"%d" % number + data, like=like)
        assert b"%d" % number + data == store.get(ref)
        assert "whole" == store.stat(ref).form
    assert data == store.get(store.put(data, like=itself))


def test_a_difference_that_does_not_pay(store: Store) -> None:
    """What has nothing in common with its base is stored whole."""
    base = store.put(content(100_000))
    other = store.put(content(100_001), like=base)
    assert "whole" == store.stat(other).form


# --- objects and tags --------------------------------------------------------


OBJECTS: list[Any] = [
    *(None, True, 0, -1, 2**63, -(2**63), 1.5, -0.0, "", "é\U0001f600\x00", b"\x00"),
    *([], {}, {"": None, "b": 1, "a": [{"c": [b"x"]}]}, list(range(1000))),
    {"text": "x" * 9_000_000},
]


@pytest.mark.parametrize("number", range(len(OBJECTS)))
def test_objects_come_back(store: Store, number: int) -> None:
    """A value is what it was, the order of keys included."""
    value = OBJECTS[number]
    ref = store.put_object(value, tag="o")
    found = store.get_object(ref)
    assert value == found
    assert repr(value) == repr(found)
    assert ref == store.put_object(found)


def test_what_is_no_object(store: Store) -> None:
    """What has no encoding is refused, and nothing of it is put."""
    for value in (2**64, {1: 2}, {"a": {3}}, "\ud800", {"a": object()}, float):
        with pytest.raises(FormatError):
            store.put_object(value, tag="o")
    assert {} == store.tags()


def test_what_was_put_as_no_object(store: Store) -> None:
    """Bytes that are no object are not taken for one."""
    for data in (b"", b"\xff", b"\x18\x00", b"\x00\x00"):
        with pytest.raises(FormatError):
            store.get_object(store.put(data))


def test_tags(tmp_path: Path) -> None:
    """A tag keeps, moves and lets go; what it let go of comes back if put again."""
    root = tmp_path / "store"
    one, two = content(50_000), content(LARGE)
    with castore.open(root, create=True) as store:
        first, second = store.put(one, tag="é"), store.put(two, tag="other")
        assert {"é": first, "other": second} == store.tags()
        store.tag("é", str(second))
        with pytest.raises(NotFoundError):
            store.tag("é", BlobRef(blob_digest(b"never put"), 9))
        with pytest.raises(NotFoundError):
            store.untag("none")
        for name in ("", "x" * 1025):
            with pytest.raises(FormatError):
                store.tag(name, first)
    with castore.open(root) as store:
        assert {"é": second, "other": second} == store.tags()
        collect(store.engine, grace_s=0, yes=True)
        assert not store.has(first)
        with pytest.raises((NotFoundError, GoneError)):
            store.get(first)
        store.untag("é")
        assert two == store.get(second)
        store.untag("other")
        collect(store.engine, grace_s=0, yes=True)
        assert not store.has(second)
        with pytest.raises((NotFoundError, GoneError)):
            store.open_blob(second).read(1)
        for data, ref in ((one, first), (two, second)):
            assert ref == store.put(data, tag="back")
            assert data == store.get(ref)
    assert verify(root).ok


def test_contents_are_all_different() -> None:
    """The contents that these tests put are as many blobs."""
    datas = list(all_contents())
    assert len(datas) == len({blob_digest(data) for data in datas}) > len(SIZES)


# --- many, and parts of parts -------------------------------------------------


@pytest.mark.parametrize(("size", "count"), [(1_000_000, 40), (200, 100_000)])
def test_many_wait(store: Store, size: int, count: int) -> None:
    """However much is put before a commit, no frame gets too large for it."""
    dice = random.Random(size)
    refs = [store.put(dice.randbytes(size)) for _ in range(count)]
    dice = random.Random(size)

    assert all(dice.randbytes(size) == store.get(ref) for ref in refs)


@pytest.mark.parametrize("rest", [3_000, 3_000_000], ids=["small", "large"])
@pytest.mark.parametrize("committed", [True, False])
def test_a_part_that_is_stored_in_parts(
    store: Store, rest: int, *, committed: bool
) -> None:
    """What is kept as a chunk list is no chunk: its own chunks stand for it."""
    dice = random.Random(rest)
    inner = [dice.randbytes(40_000), dice.randbytes(50_000)]
    log = store.create_session()
    ref = put_parts(store.engine, inner)
    if committed:
        log.append([NewEntry("x", ref)])
    parts = [b"".join(inner), dice.randbytes(rest), b"".join(inner)]
    outer = put_parts(store.engine, parts)
    log.append([NewEntry("y", outer), NewEntry("x", ref)])

    assert b"".join(parts) == store.get(outer)
    assert b"".join(inner) == store.get(ref)


def test_a_part_that_others_store_in_parts_meanwhile(
    store: Store, tmp_path: Path
) -> None:
    """Then the commit refuses, and what is put again can be committed."""
    dice = random.Random(6)
    inner = [dice.randbytes(40_000), dice.randbytes(50_000)]
    parts = [b"".join(inner), dice.randbytes(3000)]
    log = store.create_session()
    outer = put_parts(store.engine, parts)
    with castore.open(tmp_path / "store") as other:
        other.create_session(then=[NewEntry("x", put_parts(other.engine, inner))])
    with pytest.raises(NotFoundError, match="put it"):
        log.append([NewEntry("y", outer)])
    again = put_parts(store.engine, parts)
    log.append([NewEntry("y", again)])

    assert outer == again
    assert b"".join(parts) == store.get(again)
