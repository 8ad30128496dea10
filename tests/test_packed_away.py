"""
Whatever is packed away while somebody reads it: each answer is the one of before.

Whenever the reader opens a file, somebody else may just have replaced all files by
one: at each of its opens once, and at several in a row.

Spec: spec/ordering.md, "Reading", "Packing and deleting".
"""

from __future__ import annotations

import contextlib
import io
import itertools
import random

from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import attrs
import pytest

import castore

from castore import (
    GoneError,
    LockedError,
    NewEntry,
    NotFoundError,
    Reference,
    Store,
    limits,
)
from castore.catalog import SqliteCatalog
from castore.catalog.rows import Catalog
from castore.engine import Engine
from castore.engine.creating import store_id
from castore.engine.state import State
from castore.formats.frame import Record
from castore.gc import collect
from castore.importer import find_segment, import_paths, restore
from castore.packing import pack
from castore.packing.rewrite import close_journal, closed_files, maintenance, rewrite
from castore.reading import survey as surveys
from castore.report import gather
from castore.storage import Files
from castore.verify import verify


SMALL = {
    "JOURNAL_SIZE": 30_000,
    "OVERLAY_COMMIT_COUNT": 4,
    "SIDE_SIZE_MIN": 2000,
    "BLOCK_SIZE": 5000,
    "RUN_COUNT": 8,
}
DICE = random.Random(11)
LARGE = DICE.randbytes(3_000_000)
SMALLS = [DICE.randbytes(size) for size in (300, 900, 1500, 2500)]
VERSIONS = [b"%d" % number + SMALLS[3] for number in range(4)]
LINES = [
    b'{"type":"user","uuid":"%d","text":"%s"}\n' % (n, b"x" * n) for n in range(90)
]


class WatchedFiles(Files):
    """
    Files of which somebody is told before one of frames is opened.

    Attributes:
        opening: Called then.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.opening: Callable[[], None] | None = None

    def open(self, name: str, *, write: bool = False) -> int:
        """Open *name*, perhaps after it has gone."""
        if self.opening is not None and name.startswith("files/"):
            self.opening()
        return super().open(name, write=write)


@attrs.define
class Scene:
    """A store, and a transcript that it holds the beginning of."""

    root: Path
    segment: bytes
    transcript: Path
    numbers: Iterator[int] = attrs.field(factory=itertools.count)


def scene(folder: Path) -> Scene:
    """Make a store of several files with each kind of record."""
    transcript = folder / "lines.jsonl"
    transcript.write_bytes(b"".join(LINES[:60]))
    with castore.open(folder / "store", create=True) as store:
        segment = store.create_session(body=b"begun")
        for data in SMALLS:
            ref = store.put(data, tag=f"small {len(data)}")
            segment.append([NewEntry("tool", data[:80], [Reference("x", ref)])])
            close_journal(store.engine)
        large = store.put(LARGE, tag="large")
        many = [Reference("x", store.put(b"%d" % number)) for number in range(300)]
        segment.append([NewEntry("tool", b"many", many)])
        segment.append([NewEntry("tool", b"large", [Reference("x", large)])])
        base = None
        for data in VERSIONS:
            base = store.put(data, like=base)
            segment.append([NewEntry("tool", data, [Reference("slot", base)])])
        close_journal(store.engine)
        segment.append([NewEntry("user", b"%d" % number) for number in range(40)])
        taken(store, transcript)
        return Scene(folder / "store", segment.id, transcript)


def taken(store: Store, *paths: Path) -> int:
    """Import the files at *paths*; return how many entries that appended."""
    done = import_paths(store, paths, now_ms=1_700_000_000_000)
    return sum(file.new_entries for file in done)


# --- what a reader does --------------------------------------------------------


def read_forwards(store: Store, made: Scene) -> Any:
    """Go over all entries."""
    return [entry.hash for entry in store.segment(made.segment).entries()]


def read_backwards(store: Store, made: Scene) -> Any:
    """Go over all entries, the newest first."""
    segment = store.segment(made.segment)
    return [entry.hash for entry in segment.entries(reverse=True)]


def read_bodies(store: Store, made: Scene) -> Any:
    """Go over all bodies."""
    return [body for _, body in store.segment(made.segment).read()]


def read_payloads(store: Store, made: Scene) -> Any:
    """Get all payloads, also those behind a list of references."""
    segment = store.segment(made.segment)
    return [
        store.get(ref.blob)
        for entry in segment.entries()
        for ref in segment.references(entry)
    ]


def read_ranges(store: Store, made: Scene) -> Any:
    """Read parts of what is large, and of what is not."""
    found = []
    for ref in store.tags().values():
        with store.open_blob(ref) as stream:
            stream.seek(ref.size // 2)
            found.append(stream.read(1000))
    return found


def ask_forms(store: Store, made: Scene) -> Any:
    """Ask how blobs are kept."""
    return [store.stat(ref).size for ref in store.tags().values()]


def prove(store: Store, made: Scene) -> Any:
    """Prove that entries are there, and that the log only grew."""
    segment = store.segment(made.segment)
    return [
        [segment.prove(index) for index in range(0, segment.count, 5)],
        segment.prove_consistency(7),
    ]


def tell(store: Store, made: Scene) -> Any:
    """Report."""
    found = gather(store, names=True)
    return [found.unreadable, [item.own_bytes for item in found.sessions]]


def check(store: Store, made: Scene) -> Any:
    """Verify."""
    return verify(store.engine.files).ok


def fork(store: Store, made: Scene) -> Any:
    """Fork at an index long past and at the end."""
    segment = store.segment(made.segment)
    return [len(segment.fork(at)) for at in (3, 20, segment.count)]


def put_versions(store: Store, made: Scene) -> Any:
    """Put what is like something there, name it, get it."""
    segment = store.create_session()
    for data in VERSIONS:
        version = b"%d" % next(made.numbers) + data
        ref = store.put(version, like=store.put(data))
        segment.append([NewEntry("tool", data, [Reference("slot", ref)])])
        assert version == store.get(ref)
    return segment.count


def put_large(store: Store, made: Scene) -> Any:
    """Put what is there in chunks, changed a little."""
    segment = store.create_session()
    old = store.resolve(store.tags()["large"])
    data = LARGE[:1_000_000] + b"%d" % next(made.numbers) + LARGE[1_000_000:]
    refs = [
        store.put(data, like=old),
        store.put(data[:-1]),
        store.engine.pool.put_stream(io.BytesIO(data[:-2])),
    ]
    named = [Reference("x", ref) for ref in refs]
    segment.append([NewEntry("tool", b"large", named)])
    return [
        store.get(ref) == data[: len(data) - number] for number, ref in enumerate(refs)
    ]


def put_chunks(store: Store, made: Scene) -> Any:
    """Name the chunks of what is there, each as a blob of its own."""
    segment = store.create_session()
    old = store.resolve(store.tags()["large"])
    chunks = store.engine.pool.listed(old.digest)
    parts = [store.put(store.get(castore.BlobRef(*chunk))) for chunk in chunks]
    whole = store.put(LARGE)
    named = [Reference("x", ref) for ref in [whole, *parts]]
    segment.append([NewEntry("tool", b"chunks", named)])
    return store.get(whole) == LARGE


def import_again(store: Store, made: Scene) -> Any:
    """Import what has not changed, and a file that begins like it."""
    other = made.root.parent / f"other {next(made.numbers)}.jsonl"
    other.write_bytes(b"".join(LINES[:50] + LINES[70:]))
    taken(store, made.transcript, other)
    out = io.BytesIO()
    restore(store, find_segment(store, str(other)), out)
    return out.getvalue() == other.read_bytes()


def import_grown(store: Store, made: Scene) -> Any:
    """Import what has grown."""
    with made.transcript.open("ab") as file:
        file.write(b'{"type":"user","uuid":"new %d"}\n' % next(made.numbers))
    taken(store, made.transcript)
    out = io.BytesIO()
    restore(store, find_segment(store, str(made.transcript)), out)
    return out.getvalue() == made.transcript.read_bytes()


READING = [
    *(read_forwards, read_backwards, read_bodies, read_payloads, read_ranges),
    *(ask_forms, prove, tell, check),
]
WRITING = [fork, put_versions, put_large, put_chunks, import_again, import_grown]


# --- what happens meanwhile ------------------------------------------------------


def repack(store: Store) -> None:
    """Put all that is there into one pack."""
    with maintenance(store.engine):
        close_journal(store.engine)
        rewrite(store.engine, closed_files(store.engine), level=1)


def scatter(store: Store) -> None:
    """Begin some new files."""
    for number in range(3):
        store.tag(f"scattered {number}", store.put(b"%d" % number))
        close_journal(store.engine)


def attempt(
    made: Scene,
    work: Callable[[Store, Scene], Any],
    turns: Container[int],
    *,
    read_only: bool,
    at_rest: bool = False,
) -> tuple[Any, int, int]:
    """
    Do *work* while all is packed before the opens numbered *turns*.

    The reader opens the store before or after the other one: if *at_rest*, nobody
    else has it open then.

    Returns:
        What *work* answered, how often it opened something, and how often somebody
        could pack.
    """
    files = WatchedFiles(made.root)
    store = store_id(files, writing=not read_only)
    counts = [0, 0]
    with contextlib.ExitStack() as steps:
        if at_rest:
            reader = Store(Engine(files, store, read_only=read_only))
        packer = steps.enter_context(castore.open(made.root, timeout_s=0))
        if not at_rest:
            reader = Store(Engine(files, store, read_only=read_only))
        steps.callback(reader.close)

        def turn() -> None:
            number, counts[0] = counts[0], counts[0] + 1
            if number in turns:
                try:
                    repack(packer)
                except LockedError:
                    return
                counts[1] += 1

        scatter(packer)
        files.opening = turn
        try:
            answer = work(reader, made)
        finally:
            files.opening = None
    return answer, *counts


def faults(
    folder: Path,
    work: Callable[[Store, Scene], Any],
    *,
    read_only: bool,
    at_rest: bool = False,
) -> list[str]:
    """Return what went wrong, by the open before which all was packed."""
    made = scene(folder)
    how = {"read_only": read_only, "at_rest": at_rest}
    expected, _, _ = attempt(made, work, (), **how)
    wrong = []
    packed_count = at = 0
    opened_count = 1
    while at < opened_count:
        for width in (1, 3):
            turns = range(at, at + width)
            try:
                answer, opened_count, packed = attempt(made, work, turns, **how)
            except castore.CastoreError as error:
                wrong.append(f"before open {at}: {error!r}")
            else:
                packed_count += packed
                if answer != expected:
                    wrong.append(f"before open {at}: another answer")
        at += 1
    if not wrong and not packed_count:
        wrong.append("nobody could pack")
    return wrong


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    small: Any = SMALL
    with mock.patch.multiple(limits, **small):
        yield


@pytest.mark.parametrize("work", READING + WRITING, ids=lambda work: work.__name__)
def test_packed_away(work: Callable[[Store, Scene], Any], folder: Path) -> None:
    """Who reads and writes notices nothing of files that are replaced meanwhile."""
    assert [] == faults(folder, work, read_only=False)


@pytest.mark.parametrize("work", READING, ids=lambda work: work.__name__)
@pytest.mark.parametrize("at_rest", [False, True], ids=["in use", "at rest"])
def test_packed_away_read_only(
    work: Callable[[Store, Scene], Any], folder: Path, *, at_rest: bool
) -> None:
    """Nor does who may not write, whether he came first or not."""
    assert [] == faults(folder, work, read_only=True, at_rest=at_rest)


# --- this finds what it is for ------------------------------------------------


@pytest.mark.parametrize("work", [read_bodies, read_ranges, import_again])
def test_one_look_is_too_few(work: Callable[[Store, Scene], Any], folder: Path) -> None:
    """Who takes the first look-up for the last word meets a file that is gone."""

    def newest(_: State, gone: NotFoundError) -> NoReturn:
        raise gone

    with mock.patch.object(State, "newest", newest):
        assert "no such file" in str(faults(folder, work, read_only=False))


def test_a_mark_older_than_the_files_is_found(folder: Path) -> None:
    """Who checks files against a mark from before they came finds faults."""
    with mock.patch.object(surveys, "_files_of", return_value=()):
        assert "another answer" in str(faults(folder, check, read_only=False))


def test_a_catalog_closed_too_early_is_found(folder: Path) -> None:
    """Who closes a catalog that somebody still reads cuts that one off."""
    use = State._use

    def closing(state: State, catalog: Catalog) -> None:
        if state._catalog is not catalog and isinstance(state._catalog, SqliteCatalog):
            state._catalog.close()
        use(state, catalog)

    with mock.patch.object(State, "_use", closing):
        assert "closed" in str(faults(folder, read_bodies, read_only=True))


@pytest.mark.parametrize("at", range(5))
def test_a_chain_that_is_turned_around(at: int, folder: Path) -> None:
    """
    Whoever is halfway along a chain of bases when packing turns it around, and so
    comes back to where it began, looks again.
    """
    with castore.open(folder / "store", create=True) as store:
        segment = store.create_session()
        data, ref = DICE.randbytes(5000), None
        for number in range(4):
            data = data[:100] + b"%d" % number + data[100:]
            ref = store.put(data, like=ref)
            refs = [Reference("state.a", ref)]
            segment.append([NewEntry("x", b"%d" % number, refs)])
    assert ref is not None
    with castore.open(folder / "store") as reader, castore.open(folder / "store") as it:
        find, numbers = reader.engine.view.blobs.find, itertools.count()

        def finding(digest: bytes) -> Record:
            if next(numbers) == at:
                assert pack(it.engine).seq is not None
            return find(digest)

        with mock.patch.object(reader.engine.view.blobs, "find", finding):
            assert data == reader.get(ref)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("read", ["entries", "backwards", "read"])
def test_deleted_while_it_is_read(read: str, read_only: bool, folder: Path) -> None:
    """A log that is deleted and collected before it is read on is gone, not damaged."""
    root = folder / "store"
    with castore.open(root, create=True) as store:
        segment = store.create_session()
        segment.append([NewEntry("x", SMALLS[2])])
    with (
        castore.open(root, read_only=read_only) as reader,
        castore.open(root) as other,
    ):
        log = reader.segment(segment.id)
        backwards = log.entries(reverse=True)
        lazy = {"entries": log.entries(), "backwards": backwards, "read": log.read()}
        other.segment(segment.id).delete()
        collect(other.engine, grace_s=0, yes=True)

        with pytest.raises(GoneError):
            list(lazy[read])
