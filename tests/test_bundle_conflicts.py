"""
Bundles and stores that do not fit each other, or change while one is taken in.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bundlekit import (
    FORK,
    Bundle,
    entries_frame,
    fork_of,
    manifest_frame,
    new_log,
    numbered,
    simple,
)
from bundlescenes import with_fork

import castore

from castore.bundles import Wish, export_bundle, import_bundle
from castore.bundles.checking import Checked
from castore.bundles.groups import ENTRIES, Bounds, first_frame, frames
from castore.bundles.opening import BundleFile
from castore.bundles.taking import Taker
from castore.errors import ConflictError, CorruptionError, LimitError
from castore.formats.entry import Start, parse_start
from castore.packing.writer import PackWriter
from castore.segment import begin_segment
from castore.verify import verify


@pytest.fixture
def store(tmp_path: Path) -> castore.Store:
    """An empty store."""
    return castore.open(tmp_path / "store", create=True)


@pytest.fixture
def take(store: castore.Store, tmp_path: Path) -> Callable[[Bundle, bool], None]:
    """Take a bundle into the store."""

    def taken(bundle: Bundle, as_fork: bool = False) -> None:
        (tmp_path / "bundle").write_bytes(bundle.data())
        import_bundle(store.engine, tmp_path / "bundle", as_fork=as_fork)

    return taken


Take = Callable[..., None]


def line(text: str) -> castore.NewEntry:
    """Return an entry."""
    return castore.NewEntry("line", text.encode())


# --- what does not fit -------------------------------------------------------


def test_a_fork_of_a_parent_that_is_another_here(take: Take) -> None:
    """A fork whose parent has other entries here is refused."""
    take(simple(new_log(b"one", b"two"), b"{}", b"one", b"two"))
    fork = fork_of(new_log(b"xxx", b"two"), 2)

    with pytest.raises(ConflictError, match="its parent went on otherwise"):
        take(simple(fork, b"{}"))


def test_a_fork_of_what_becomes_a_fork(take: Take, store: castore.Store) -> None:
    """A fork of entries that become others here is refused with them."""
    take(simple(new_log(b"one", b"yyy"), b"{}", b"one", b"yyy"))
    _, _, bundle = with_fork(3)

    with pytest.raises(ConflictError, match="its parent went on otherwise"):
        take(bundle, as_fork=True)
    assert verify(store.engine.files.root).ok


def test_a_log_that_begins_otherwise(take: Take) -> None:
    """A fork here that is no fork in the bundle is refused as another."""
    take(with_fork()[2])
    log = new_log()
    log.segment = FORK
    other = Start(log.session, FORK, "new")
    log.stored, log.hashes = [], []
    log.add(b"{}", kind="start", start=other)

    for as_fork in (False, True):
        with pytest.raises(ConflictError, match="begins otherwise"):
            take(simple(log, b"{}"), as_fork=as_fork)


def test_a_fork_that_starts_otherwise(take: Take, store: castore.Store) -> None:
    """Another start entry at the fork index leaves nothing to fork from."""
    log, fork, bundle = with_fork()
    take(bundle)
    start = fork_of(log, 2).stored[0][4]
    fork.stored, fork.hashes = [], log.hashes[:2]
    fork.add(b"other", kind="start", start=parse_start(start))

    with pytest.raises(ConflictError, match="nothing of it is here"):
        take(simple(fork, b"other"), as_fork=True)
    assert verify(store.engine.files.root).ok


def test_a_range_behind_where_it_diverged(take: Take, store: castore.Store) -> None:
    """A part that begins behind the last common entry cannot become a fork."""
    take(simple(new_log(b"one", b"two", b"three"), b"{}", b"one", b"two", b"three"))
    other = new_log(b"xxx", b"two", b"three")
    run = other.run(2, 4, numbered(b"two", b"three"))
    first = manifest_frame([other.row(2, 4)], {})
    blobs = ([[1, 3], [1, 5]], [b"two", b"three"])

    with pytest.raises(ConflictError, match="nothing of it is here"):
        take(Bundle([first, entries_frame(run), blobs]), as_fork=True)
    assert verify(store.engine.files.root).ok


def test_no_room_is_said_before_anything_is_written(
    take: Take, store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that may not grow so much writes nothing of a bundle."""
    monkeypatch.setattr(store.engine, "_max_bytes", 1000)
    monkeypatch.setattr(PackWriter, "write_part", lambda *_: pytest.fail("written"))

    with pytest.raises(LimitError):
        take(with_fork()[2])


def test_a_session_whose_first_segment_comes_later(
    tmp_path: Path, store: castore.Store
) -> None:
    """A session's key comes with its first segment, also after other segments."""
    source = castore.open(tmp_path / "source", create=True)
    first = source.create_session(key=("tool", "one"))
    second = source.new_segment(first.session_id)

    for segment in (second, first):
        with (tmp_path / "b").open("wb") as file:
            export_bundle(source.engine, [Wish(segment.id)], file)
        import_bundle(store.engine, tmp_path / "b")

    assert first.session_id == store.session(("tool", "one")).id
    before = store.engine.refresh().known.dump()
    store.engine.rebuild()
    assert before == store.engine.refresh().known.dump()


# --- what changes meanwhile --------------------------------------------------


def meanwhile(monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Have something done when a bundle is copied and not committed yet."""
    take = Taker.take

    def taken(taker: Taker, checked: Checked, file: BundleFile) -> None:
        take(taker, checked, file)
        do()

    monkeypatch.setattr(Taker, "take", taken)


def test_a_segment_that_begins_meanwhile(
    take: Take, store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that came to be here meanwhile is not written over."""
    log, _, bundle = with_fork()

    def begin() -> object:
        return begin_segment(store.engine, session=log.session, segment=log.segment)

    meanwhile(monkeypatch, begin)

    with pytest.raises(ConflictError):
        take(bundle)
    assert 1 == store.segment(log.segment).count
    assert verify(store.engine.files.root).ok


def test_a_segment_that_goes_on_meanwhile(
    take: Take, store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that went on here meanwhile is not cut back."""
    take(simple(new_log(b"one"), b"{}", b"one"))
    log, _, bundle = with_fork()
    segment = store.segment(log.segment)
    meanwhile(monkeypatch, lambda: segment.append([line("here")]))

    with pytest.raises(ConflictError):
        take(bundle)
    bodies = [body for _, body in store.segment(log.segment).read()]
    assert [b"{}", b"one", b"here"] == bodies
    assert verify(store.engine.files.root).ok


def test_a_file_that_is_cut_meanwhile(
    tmp_path: Path, store: castore.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle that lost its last group once it was checked is refused."""
    source = castore.open(tmp_path / "source", create=True)
    log = source.create_session()
    for number in range(2):
        refs = [castore.Reference("x", source.put(bytes([number]) * (5 << 20)))]
        log.append([castore.NewEntry("line", b"%d" % number, refs)])
    path = tmp_path / "b"
    with path.open("wb") as file:
        export_bundle(source.engine, [Wish(log.id)], file)
    bundle = BundleFile(path)
    first, _ = first_frame(bundle)
    found = frames(bundle, first.end, Bounds(bundle.size()))
    starts = [frame.offset for sort, frame in found if sort == ENTRIES]
    assert len(starts) > 1
    take = Taker.take

    def cut(taker: Taker, checked: Checked, file: BundleFile) -> None:
        with path.open("r+b") as opened:
            opened.truncate(starts[-1])
        take(taker, checked, file)

    monkeypatch.setattr(Taker, "take", cut)

    with pytest.raises(CorruptionError, match="changed while it was read"):
        import_bundle(store.engine, path)
    assert [] == list(store.sessions())
    assert verify(store.engine.files.root).ok
