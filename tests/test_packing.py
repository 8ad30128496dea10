"""
Packing: versions turned around, packs that grow, work in parts.

Spec: spec/ordering.md, "Packing and deleting"; spec/blob.md.
"""

from __future__ import annotations

import random

from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest

from hypothesis import given, settings
from hypothesis import strategies as st

import castore

from castore import limits
from castore.catalog import SqliteCatalog
from castore.engine import upkeep
from castore.errors import StorageError
from castore.formats import file as file_format
from castore.formats import frame as frame_format
from castore.gc import collect
from castore.packing import pack, rewrite
from castore.packing.pack import choose
from castore.packing.rewrite import closed_files
from castore.packing.slots import Slots
from castore.storage import Files
from castore.verify import verify


SIZE = 6000


def version(rng: random.Random, before: bytes) -> bytes:
    """Return *before* with a few bytes changed, or with some put in."""
    at = rng.randrange(len(before) - 20)
    return before[:at] + rng.randbytes(8) + before[at + rng.randrange(12) :]


def descriptors(store: castore.Store) -> dict[bytes, list[object]]:
    """Return the descriptor of what each blob is read from."""
    known = store.engine.refresh().known
    return {
        place.digest: store.engine.view.frames.get(place.file, place.offset).table[
            place.record
        ]
        for place in known.places()
    }


def real_depths(store: castore.Store) -> dict[bytes, int]:
    """Return how many differences it takes to read each blob, followed one by one."""
    found = descriptors(store)
    depths = {}
    for digest in found:
        at, depth = digest, 0
        while found[at][0] == frame_format.DIFFERENCE:
            at, depth = found[at][4], depth + 1  # type: ignore[assignment]
            assert depth <= limits.DIFFERENCE_DEPTH_MAX
        depths[digest] = depth
    return depths


# --- the plan ----------------------------------------------------------------

hangs = st.dictionaries(st.integers(0, 30), st.integers(0, 9))
edges = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60)


@given(
    edges, st.integers(2, 12), st.dictionaries(st.integers(0, 30), st.integers(0, 9))
)
def test_plan(
    joins: list[tuple[int, int]], every: int, heights: dict[int, int]
) -> None:
    """
    Each version comes once, behind its base; the newest of those that hang together
    is whole; no chain, with what hangs on it, reaches the limit.
    """
    slots = Slots()
    names = [bytes([number]) for number in range(31)]
    for number, name in enumerate(names):
        slots.add(name, (number, 0))
    group = {name: {name} for name in names}
    for one, other in joins:
        slots.join(names[one], names[other])
        both = group[names[one]] | group[names[other]]
        for name in both:
            group[name] = both
    with mock.patch.object(limits, "DIFFERENCE_TURNED_EVERY", every):
        steps = list(slots.plan(lambda name: heights.get(name[0], 0)))

    assert sorted(names) == sorted(step.digest for step in steps)
    depths: dict[bytes, int] = {}
    for digest, base in steps:
        depths[digest] = 0 if base is None else depths[base] + 1
        if depths[digest]:
            assert depths[digest] + heights.get(digest[0], 0) < every
        assert base is None or base in group[digest]
    for members_of in group.values():
        assert 0 == depths[max(members_of)]


# --- in a store --------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> castore.Store:
    """Return a new store."""
    return castore.open(tmp_path / "store", create=True)


def test_newest_is_whole(store: castore.Store) -> None:
    """After packing the newest version of a slot is whole, the older ones are not."""
    rng = random.Random(1)
    log = store.create_session()
    data, like, refs = rng.randbytes(SIZE), None, []
    for _ in range(50):
        data = version(rng, data)
        like = store.put(data, like=like)
        refs.append(like)
        log.append([castore.NewEntry("turn", b"", [castore.Reference("state", like)])])
    pack(store.engine)
    kinds = [descriptors(store)[ref.digest][0] for ref in refs]

    assert [frame_format.DIFFERENCE] * 49 + [frame_format.BLOB] == kinds
    # Each one against its successor: it is one step further to each older one.
    assert list(range(49, -1, -1)) == [real_depths(store)[r.digest] for r in refs]
    assert data == store.get(refs[-1])


def lived(store: castore.Store, packed_every: int) -> list[castore.BlobRef]:
    """Name 12 versions, packed now and then, beside a pack too large to go in."""
    rng = random.Random(2)
    log = store.create_session(then=[castore.NewEntry("x", rng.randbytes(90_000))])
    data = rng.randbytes(SIZE)
    refs: list[castore.BlobRef] = []
    for number in range(1, 13):
        data = version(rng, data)
        refs.append(store.put(data, like=refs[-1] if refs else None))
        named = [castore.Reference("state", refs[-1])]
        log.append([castore.NewEntry("turn", b"", named)])
        if number % packed_every == 0:
            pack(store.engine)
    return refs


def test_newest_turns_with_its_successor(store: castore.Store) -> None:
    """What was the newest at one packing is a difference once a later one is whole."""
    with mock.patch.object(limits, "DIFFERENCE_WHOLE_EVERY", 2):
        refs = lived(store, 3)

    assert list(range(11, -1, -1)) == [real_depths(store)[r.digest] for r in refs]
    assert verify(store.engine.files.root).ok


def test_nothing_becomes_whole(store: castore.Store) -> None:
    """
    What is new and stored against what stays where it is stays so: no packing makes
    a store larger by one more whole version, however often it is done.
    """
    refs = lived(store, 1)
    depths = real_depths(store)
    once = store.stats().stored_bytes
    again = [item.file for item in closed_files(store.engine)]
    rewrite(store.engine, closed_files(store.engine))

    assert list(range(12)) == [depths[ref.digest] for ref in refs]
    # Rewritten with what they hang on, they turn around.
    assert list(range(11, -1, -1)) == [real_depths(store)[r.digest] for r in refs]
    assert len(again) > 1
    assert once - store.stats().stored_bytes < SIZE


def test_versions_without_a_hint(store: castore.Store) -> None:
    """A role that a log names again and again is a slot, whether `like` was said."""
    rng = random.Random(3)
    log = store.create_session()
    data, refs = rng.randbytes(SIZE), []
    for _ in range(5):
        data = version(rng, data)
        refs.append(store.put(data))
        log.append([castore.NewEntry("t", b"", [castore.Reference("s", refs[-1])])])
    pack(store.engine)

    assert [4, 3, 2, 1, 0] == [real_depths(store)[ref.digest] for ref in refs]


def test_unlike_versions_stay_whole(store: castore.Store) -> None:
    """A difference is never worse than a whole frame."""
    rng = random.Random(4)
    log = store.create_session()
    for _ in range(5):
        ref = store.put(rng.randbytes(SIZE))
        log.append([castore.NewEntry("t", b"", [castore.Reference("s", ref)])])
    pack(store.engine)

    assert {0} == set(real_depths(store).values())


#: What each slot holds, with its bytes, after each entry of a log.
History = list[dict[str, tuple[bytes, castore.BlobRef]]]


def live(
    store: castore.Store, rng: random.Random
) -> list[tuple[castore.Segment, History]]:
    """Let agents live in *store*; return their logs and what each holds."""
    begun: list[tuple[castore.Segment, History]] = [(store.create_session(), [{}])]
    for step in range(30):
        log, history = rng.choice(begun)
        if rng.random() < 0.2:
            count = rng.randint(1, log.count)
            log = log.fork(count)
            history = [*history[:count], history[count - 1]]
            begun.append((log, history))
        slot = rng.choice(["state", "file.a", "file.b"])
        data, like = history[-1].get(slot, (rng.randbytes(SIZE), None))
        data = version(rng, data)
        ref = store.put(data, like=like if rng.random() < 0.8 else None)
        named = [castore.Reference(slot, ref)]
        log.append([castore.NewEntry("turn", b"%d" % step, named)])
        history.append({**history[-1], slot: (data, ref)})
        if rng.random() < 0.1:
            store.tag("kept", ref)
        if rng.random() < 0.1:
            pack(store.engine)
        if rng.random() < 0.1 and len(begun) > 1:
            begun.pop(rng.randrange(len(begun)))[0].delete()
        if rng.random() < 0.1:
            collect(store.engine, grace_s=0, yes=True)
    return begun


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([3, 8, 192]), st.sampled_from([2, 32]))
def test_any_life(
    tmp_path_factory: pytest.TempPathFactory, seed: int, turned: int, whole: int
) -> None:
    """
    Whatever is forked, deleted, tagged, packed and collected in whatever order:
    every payload comes back, no chain is too long, the files alone are right.
    """
    path = tmp_path_factory.mktemp("life") / "store"
    with (
        mock.patch.object(limits, "DIFFERENCE_TURNED_EVERY", turned),
        mock.patch.object(limits, "DIFFERENCE_WHOLE_EVERY", whole),
        castore.open(path, create=True) as store,
    ):
        found = live(store, random.Random(seed))
        pack(store.engine)
        real_depths(store)
        for _, history in found:
            for state in history:
                for data, ref in state.values():
                    assert data == store.get(ref)
    report = verify(path)

    assert report.ok, report.findings
    with castore.open(path) as store:
        store.engine.rebuild()
        real_depths(store)


# --- in parts ----------------------------------------------------------------


@attrs.frozen
class _File:
    kind: int
    length: int
    number: int = 0

    @property
    def header(self) -> _File:
        return self

    def size(self) -> int:
        return self.length


@attrs.frozen
class _Input:
    file: _File


def chosen(*files: _File) -> list[list[_File]]:
    """Return which of *files* would be rewritten together."""
    inputs: Any = [_Input(file) for file in files]
    found: Any = choose(inputs)
    return [[item.file for item in part] for part in found]


def test_small_packs_grow() -> None:
    """
    Packs go in from the smallest on, as long as each is at most twice as large as
    all that goes in before it; without anything new nothing goes in.
    """
    packs = [_File(file_format.PACK, size) for size in (10, 25, 200, 20)]
    new = [_File(file_format.JOURNAL, 10, number) for number in (3, 2)]

    assert [] == chosen(*packs)
    (part,) = chosen(*packs, *new)
    assert [10, 10, 10, 20, 25] == [file.length for file in part]


def test_journals_in_parts_and_in_order() -> None:
    """New files go in parts of about one size; older journals before younger ones."""
    new = [_File(file_format.JOURNAL, 60, number) for number in (4, 2, 1, 3)]
    with mock.patch.object(limits, "PACKING_SIZE", 100):
        parts = chosen(*new)

    assert [[1, 2], [3, 4]] == [[file.number for file in part] for part in parts]


def test_a_pack_for_each_frame(store: castore.Store) -> None:
    """A pack that is full is closed once, whatever follows or does not."""
    log = store.create_session()
    log.append([castore.NewEntry("x", b"body")])
    with mock.patch.object(limits, "PACK_SIZE", 1):
        pack(store.engine)

    assert [b"", b"body"] == [body for _, body in log.read()]
    assert verify(store.engine.files.root).ok


def test_out_of_time(store: castore.Store) -> None:
    """Out of time, packing ends behind a whole part and says what it left."""
    rng = random.Random(5)
    log = store.create_session()
    bodies = []
    for _ in range(4):
        bodies.append(rng.randbytes(3000))
        log.append([castore.NewEntry("x", bodies[-1])])
        with store.engine.state.locked():
            store.engine.upkeep.close_journal()
    with mock.patch.object(limits, "PACKING_SIZE", 1):
        first = pack(store.engine, max_duration_s=0)
        assert (1, 3) == (first.files_before, first.left_count)
        second = pack(store.engine)

    assert 0 == second.left_count
    assert bodies == [body for _, body in log.read(1)]
    assert verify(store.engine.files.root).ok


def test_a_mark_torn_while_the_journal_is_closed(store: castore.Store) -> None:
    """
    The journal that a recovery makes behind an empty one is not taken for garbage.
    """
    log = store.create_session(then=[castore.NewEntry("x", b"1" * 3000)])
    write = Files.write
    torn = iter([True])

    def tearing(self: Files, fd: int, data: bytes | memoryview, offset: int) -> None:
        if fd == store.engine.state.lock_file.fd and next(torn, False):
            write(self, fd, bytes(data)[:100] + bytes(50), offset)
            raise StorageError(what="it fails", errno=5, transient=False)
        write(self, fd, data, offset)

    with mock.patch.object(Files, "write", tearing), pytest.raises(StorageError):
        pack(store.engine)
    store.close()
    with castore.open(store.engine.files.root) as again:
        pack(again.engine)
        again.segment(log.id).append([castore.NewEntry("x", b"2")])

        assert 3 == again.segment(log.id).count
    assert verify(store.engine.files.root).ok


def test_entries_with_many_references_are_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No frame of entries grows beyond what a frame may hold, whatever they name."""
    monkeypatch.setattr(limits, "BLOCK_SIZE", 1 << 15)
    monkeypatch.setattr(limits, "FRAME_RAW_SIZE_MAX", 1 << 16)
    monkeypatch.setattr(limits, "RUN_REF_COUNT", 256)
    with castore.open(tmp_path / "store", create=True) as store:
        segment = store.create_session()
        names = [store.put(b"%d" % number) for number in range(200)]
        refs = [castore.Reference("x", name) for name in names]
        for number in range(60):
            segment.append([castore.NewEntry("y", b"body %d" % number, refs)])
        pack(store.engine)
        pack(store.engine)

        entries = list(segment.entries(1))
        assert [names] * 60 == [[ref.blob for ref in entry.refs] for entry in entries]
    assert verify(tmp_path / "store").ok


@pytest.mark.parametrize("failing", [None, 0, 2])
def test_places_move_in_slices(
    store: castore.Store, monkeypatch: pytest.MonkeyPatch, failing: int | None
) -> None:
    """
    Where the catalog fails in the midst of what a packing moved, the packing counts
    all the same, and everything is found, here and by others.
    """
    log = store.create_session()
    bodies = [b"body %d" % number for number in range(40)]
    log.append([castore.NewEntry("e", body) for body in bodies])
    apply, slices = SqliteCatalog.apply, []

    def applying(self: SqliteCatalog, facts: Any, position: Any) -> None:
        if len(facts) == 1 and facts[0].places and not facts[0].segments:
            slices.append(len(facts[0].places))
            if len(slices) - 1 == failing:
                raise StorageError(what="no room", errno=28, transient=True)
        apply(self, facts, position)

    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "_MOVED_COUNT", 7)
        patched.setattr(SqliteCatalog, "apply", applying)
        done = pack(store.engine)

    assert done.seq is not None
    assert max(slices) == 7
    assert (len(slices) > 5) == (failing is None)
    assert bodies == [body for _, body in log.read()][-40:]
    with castore.open(store.engine.files.root) as other:
        found = other.segment(log.id).read()
        assert bodies == [body for _, body in found][-40:]
    assert verify(store.engine.files.root).ok
    dump = store.engine.view.known.dump()
    store.engine.rebuild()
    assert dump.places == store.engine.view.known.dump().places
