"""
Many threads on one handle: each gets its own answer, and the store is exact.

Spec: spec/ordering.md, "Commit".
"""

from __future__ import annotations

import os
import random
import threading

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import castore

from castore import (
    CastoreError,
    ClosedError,
    ConflictError,
    NewEntry,
    NotFoundError,
    Reference,
    Segment,
    StorageError,
    Store,
    limits,
)
from castore.digest import blob_digest
from castore.engine import Engine
from castore.engine.change import Outcome
from castore.engine.creating import create_store, store_id
from castore.engine.state import State
from castore.gc import collect
from castore.packing import pack
from castore.packing.rewrite import close_journal
from castore.segment import ANY
from castore.storage import Files
from castore.verify import verify


THREAD_COUNT = 8


class GatedFiles(Files):
    """
    Files whose syncs are counted, and wait while the gate is closed.

    Attributes:
        syncs: How many there were.

        reached: Set when one has come to the gate.

        gate: What it waits for.

        fails: What it then raises.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.syncs = 0
        self.reached = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.fails: StorageError | None = None

    def sync(self, fd: int) -> None:
        """Sync, when that is allowed."""
        self.syncs += 1
        self.reached.set()
        assert self.gate.wait(60)
        if self.fails is not None:
            raise self.fails
        super().sync(fd)


@pytest.fixture
def files(tmp_path: Path) -> GatedFiles:
    """The files of a new store."""
    files = GatedFiles(tmp_path / "store")
    create_store(files)
    return files


@pytest.fixture
def store(files: GatedFiles) -> Iterator[Store]:
    """A store that is looked at when it was used."""
    with Store(Engine(files, store_id(files, writing=True))) as store:
        yield store
        files.gate.set()
    report = verify(files.root)
    assert report.ok, report.findings


def together(works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do all *works* at once in threads of their own; return what they return."""
    ready = threading.Barrier(len(works))

    def work(each: Callable[[], Any]) -> Any:
        ready.wait()
        return each()

    with ThreadPoolExecutor(len(works)) as pool:
        return [future.result() for future in [pool.submit(work, w) for w in works]]


def check_log(segment: Segment, bodies: Sequence[bytes]) -> None:
    """A log has exactly these *bodies* behind its start entry, in order."""
    found = list(segment.read())
    assert list(range(len(bodies) + 1)) == [entry.index for entry, _ in found]
    assert [*bodies] == [body for _, body in found[1:]]
    segment.prove(segment.count - 1).check()


# --- appends -----------------------------------------------------------------


def test_appends_to_segments_of_their_own(store: Store, budget: float) -> None:
    """Each thread's log has what that thread appended, in its order."""
    count = int(30 * max(1.0, budget))

    def work(seed: int) -> tuple[Segment, list[bytes]]:
        dice = random.Random(seed)
        segment = store.create_session()
        bodies: list[bytes] = []
        for _ in range(count):
            some = [dice.randbytes(dice.choice([0, 30, 3000])) for _ in range(2)]
            outcome = segment.append([NewEntry("tool", body) for body in some])
            assert (len(bodies) + 1, 2) == (outcome.first_index, outcome.count)
            bodies += some
        return segment, bodies

    done = together([partial(work, seed) for seed in range(THREAD_COUNT)])
    for segment, bodies in done:
        check_log(segment, bodies)


def test_appends_to_one_segment(store: Store, budget: float) -> None:
    """Threads that take any place get each one of their own; none is left out."""
    count = int(30 * max(1.0, budget))
    shared = store.create_session().id

    def work(seed: int) -> list[tuple[int, bytes]]:
        segment = store.segment(shared)
        placed = []
        for number in range(count):
            body = b"%d of %d" % (number, seed)
            outcome = segment.append([NewEntry("tool", body)], expect=ANY)
            placed.append((outcome.first_index, body))
        return placed

    done = together([partial(work, seed) for seed in range(THREAD_COUNT)])
    for placed in done:
        assert placed == sorted(placed)  # each saw its own before the next
    places = sorted(place for placed in done for place in placed)
    check_log(store.segment(shared), [body for _, body in places])


def test_appends_that_expect(store: Store) -> None:
    """Of those who expect one revision one wins; the others are told, typed."""
    segment = store.create_session()
    handles = [store.segment(segment.id) for _ in range(THREAD_COUNT)]

    def work(number: int) -> Outcome | ConflictError:
        try:
            return handles[number].append([NewEntry("tool", b"%d" % number)])
        except ConflictError as error:
            return error

    done = together([partial(work, at) for at in range(THREAD_COUNT)])
    won = [number for number, one in enumerate(done) if isinstance(one, Outcome)]
    lost = [one for one in done if isinstance(one, ConflictError)]
    assert (1, THREAD_COUNT - 1) == (len(won), len(lost))
    assert {("head", 1, 2)} == {(e.subject, e.expected, e.actual) for e in lost}
    check_log(store.segment(segment.id), [b"%d" % won[0]])


def test_appends_under_one_key(store: Store) -> None:
    """Threads that say the same under one key make one commit and all learn it."""
    segment = store.create_session()
    handles = [store.segment(segment.id) for _ in range(THREAD_COUNT)]
    once = [NewEntry("tool", b"once")]

    def work(number: int) -> Outcome:
        return handles[number].append(once, key="k")

    done = together([partial(work, at) for at in range(THREAD_COUNT)])
    assert {(1, 1)} == {(one.first_index, one.count) for one in done}
    assert 1 == [one.replayed for one in done].count(False)
    check_log(store.segment(segment.id), [b"once"])


def test_sessions_under_one_key(store: Store) -> None:
    """Of threads that begin a session with one key one does; the others are told."""

    def work() -> bytes | str:
        try:
            return store.create_session(key=("n", "one")).id
        except ConflictError as error:
            return error.subject

    done = together([work] * THREAD_COUNT)
    assert THREAD_COUNT - 1 == done.count("session")
    assert 1 == len(list(store.sessions()))


# --- groups ------------------------------------------------------------------


def behind_one(
    store: Store, files: GatedFiles, works: Sequence[Callable[[], Any]]
) -> list[Future[Any]]:
    """
    Start *works*, which commit once each, so that the first of them is in its sync
    until all others wait.
    """
    files.reached.clear()
    files.gate.clear()
    pool = ThreadPoolExecutor(len(works))
    futures = [pool.submit(works[0])]
    assert files.reached.wait(60)
    futures += [pool.submit(work) for work in works[1:]]
    queue = store.engine._committer._queue
    while len(queue) < len(works) - 1:
        queue = store.engine._committer._queue
        threading.Event().wait(0.001)
    files.syncs = 0
    files.gate.set()
    pool.shutdown()
    return futures


def test_commits_share_a_sync(store: Store, files: GatedFiles) -> None:
    """What waits while one syncs is written and synced at once."""
    segments = [store.create_session() for _ in range(THREAD_COUNT)]
    works = [
        lambda each=each: each.append([NewEntry("tool", each.id)]) for each in segments
    ]
    futures = behind_one(store, files, works)
    assert 1 == files.syncs
    seqs = [future.result().seq for future in futures]
    assert THREAD_COUNT == len(set(seqs)) == max(seqs) - min(seqs) + 1
    for segment in segments:
        check_log(segment, [segment.id])


def test_a_group_to_one_segment(store: Store, files: GatedFiles) -> None:
    """Commits of one group build on each other; who expects too little is refused."""
    shared = store.create_session()
    handles = [store.segment(shared.id) for _ in range(THREAD_COUNT)]

    def work(number: int) -> Outcome:
        # The first two expect the same, the last what nobody could know.
        wanted: Any = {0: 1, 1: 1, 7: 99}.get(number, ANY)
        body = NewEntry("tool", b"%d" % number)
        return handles[number].append([body], expect=wanted)

    works = [partial(work, at) for at in range(THREAD_COUNT)]
    futures = behind_one(store, files, works)
    assert 1 == files.syncs
    errors = [future.exception() for future in futures]
    assert [1, 7] == [number for number, error in enumerate(errors) if error]
    assert {ConflictError} == {type(error) for error in errors if error}
    places = sorted(
        (future.result().first_index, b"%d" % number)
        for number, future in enumerate(futures)
        if not errors[number]
    )
    check_log(shared, [body for _, body in places])


def test_a_group_whose_sync_fails(
    store: Store, files: GatedFiles, tmp_path: Path
) -> None:
    """Nobody of a group is answered if its sync fails, nor later on that handle."""
    segments = [store.create_session() for _ in range(THREAD_COUNT)]

    def work(number: int) -> Outcome:
        return segments[number].append([NewEntry("tool", b"doubtful")])

    files.fails = StorageError(what="syncing", errno=5, transient=False)
    works = [partial(work, at) for at in range(THREAD_COUNT)]
    futures = behind_one(store, files, works)
    errors = {type(future.exception()) for future in futures}
    assert {StorageError, ClosedError} == errors
    files.fails = None
    with pytest.raises(ClosedError):
        store.create_session()
    store.close()
    with castore.open(files.root) as again:
        for segment in segments:
            assert again.segment(segment.id).count in (1, 2)


# --- all at once -------------------------------------------------------------


def small(patch: pytest.MonkeyPatch) -> None:
    """Let journals, overlays and side packs change often."""
    for name, value in {
        "JOURNAL_SIZE": 60_000,
        "OVERLAY_COMMIT_COUNT": 10,
        "APPLY_ROW_COUNT": 20,
        "PENDING_SIZE_MAX": 30_000,
        "SIDE_SIZE_MIN": 5000,
    }.items():
        patch.setattr(limits, name, value)


def test_everything_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, budget: float
) -> None:
    """Puts, appends, forks, reads, tags, packing and gc: exact for each thread."""
    small(monkeypatch)
    count = int(20 * max(1.0, budget))
    large = random.Random(1).randbytes(9_000_000)
    parent = store.create_session(then=[NewEntry("tool", b"%d" % n) for n in range(20)])

    def write(seed: int) -> tuple[Segment, list[bytes]]:
        dice = random.Random(seed)
        segment = parent.fork(1 + seed)
        bodies = [b"%d" % n for n in range(seed)] + [b""]
        for number in range(count):
            data = dice.randbytes(dice.choice([10, 2000, 9000]))
            near = store.put(data[:-1], like=store.put(data))
            body = b"%d" % number
            segment.append([NewEntry("tool", body, [Reference("x", near)])])
            assert data[:-1] == store.get(near)
            bodies.append(body)
        # All of them put the same large one, at the same time.
        ref = store.put(large)
        segment.append([NewEntry("tool", b"large", [Reference("x", ref)])])
        assert large == store.get(ref)
        return segment, [*bodies, b"large"]

    def look() -> None:
        for _ in range(count):
            for session in store.sessions():
                for segment in session.segments():
                    indices = [entry.index for entry in segment.entries()]
                    assert indices == list(range(len(indices)))

    def tidy() -> None:
        for number in range(4):
            store.put(b"%d" % number, tag="t")
            pack(store.engine, level=1)
            store.create_session(body=b"for nothing").delete()
            collect(store.engine, grace_s=0, yes=True, level=1)

    works = [partial(write, seed) for seed in range(THREAD_COUNT)]
    done = together([*works, look, look, tidy])
    for segment, bodies in done[:THREAD_COUNT]:
        check_log(segment, bodies)
        for entry in segment.entries():
            for ref in entry.refs:
                assert ref.blob.digest == blob_digest(store.get(ref.blob))


def test_the_same_large_blob_where_one_breaks(store: Store) -> None:
    """A stream that fails takes nothing from another that gives the same bytes."""
    data = random.Random(2).randbytes(20_000_000)
    halfway, broken = threading.Event(), threading.Event()

    class Breaking:
        def __init__(self) -> None:
            self.at = 0

        def read(self, size: int) -> bytes:
            if self.at > 18_000_000:
                halfway.set()
                assert broken.wait(60)
                raise ConnectionResetError
            self.at += size
            return data[self.at - size : self.at]

    def put_broken() -> None:
        with pytest.raises(ConnectionResetError):
            store.put(Breaking())  # type: ignore[arg-type]

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(put_broken)
        assert halfway.wait(60)
        ref = store.put(data)
        broken.set()
        future.result()
    store.tag("whole", ref)
    assert data == store.get(ref)


def test_who_looks_late_takes_nothing_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A thread that read the mark, and then nothing for long, does not bring the view
    of its handle back to it: others read and build on that.
    """
    segment = store.create_session(then=[NewEntry("tool", b"early")])
    paused, go_on = threading.Event(), threading.Event()
    slow: list[int] = []
    worth = State._worth

    def judge(state: State, *args: Any) -> Any:
        if threading.get_ident() in slow:
            slow.clear()
            paused.set()
            assert go_on.wait(60)
        return worth(state, *args)

    monkeypatch.setattr(State, "_worth", judge)

    def look() -> int:
        slow.append(threading.get_ident())
        return store.engine.refresh().position.seq

    with castore.open(store.engine.files.root) as other:
        refs = [other.put(b"0", tag="0")]  # there is something to look at
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        assert paused.wait(60)
        for number in range(1, 4):
            refs.append(store.put(b"%d" % number, tag=str(number)))
            segment.append([NewEntry("tool", b"%d" % number)])
            close_journal(store.engine)
            pack(store.engine, level=1)
        seq = store.engine.refresh().position.seq
        go_on.set()
        assert seq == looking.result()
    assert seq == store.engine.view.position.seq
    for number, ref in enumerate(refs):
        assert b"%d" % number == store.engine.view.blobs.read(ref.digest)
    check_log(segment, [b"early", b"1", b"2", b"3"])


def test_nobody_moves_the_view_of_who_holds_the_lock(store: Store) -> None:
    """From the look at the mark to the write behind it the view stands still."""
    state = store.engine.state
    with ThreadPoolExecutor(1) as pool, state.locked():
        assert not pool.submit(state.guard.acquire, blocking=False).result()


# --- the end -----------------------------------------------------------------


def test_closing_under_use(store: Store, files: GatedFiles) -> None:
    """Who works on a handle that is closed gets an answer, or is told; both hold."""
    segments = [store.create_session() for _ in range(THREAD_COUNT)]
    begun = threading.Barrier(THREAD_COUNT + 1)

    def work(number: int) -> int:
        count = 1
        begun.wait()
        while True:
            try:
                segments[number].append([NewEntry("tool", bytes(2000))])
            except (ClosedError, NotFoundError):
                return count
            count += 1

    with ThreadPoolExecutor(THREAD_COUNT) as pool:
        futures = [pool.submit(work, number) for number in range(THREAD_COUNT)]
        begun.wait()
        while files.syncs < 50:
            threading.Event().wait(0.001)
        store.close()
        counts = [future.result() for future in futures]
    with castore.open(files.root) as again:
        assert counts == [again.segment(segment.id).count for segment in segments]


def test_no_number_of_a_closed_file_is_used(store: Store, files: GatedFiles) -> None:
    """
    A commit that is being written while another thread closes the store is made,
    and one that waits is not; neither goes to whatever file comes next.
    """
    segment, other = store.create_session(), store.create_session()
    files.reached.clear()
    files.gate.clear()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(segment.append, [NewEntry("tool", b"made")])
        assert files.reached.wait(60)
        second = pool.submit(other.append, [NewEntry("tool", b"not made")])
        while not store.engine._committer._queue:
            threading.Event().wait(0.001)
        closing = pool.submit(store.engine.state.close)
        while not store.engine.state._closed:
            threading.Event().wait(0.001)
        files.gate.set()
        assert first.result().count == 1
        with pytest.raises(ClosedError):
            second.result()
        closing.result()
    with castore.open(files.root) as again:
        assert [2, 1] == [again.segment(each.id).count for each in (segment, other)]


def test_a_waiter_for_a_lock_that_is_closed(tmp_path: Path) -> None:
    """Who waits for the lock of a handle that is closed meanwhile gets no lock."""
    root = tmp_path / "store"
    store = castore.open(root, create=True)
    state = store.engine.state
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with state.locked():
            entered.set()
            assert leave.wait(60)

    def wait() -> type[CastoreError] | None:
        try:
            with state.locked():
                return None
        except CastoreError as error:
            return type(error)

    with ThreadPoolExecutor(3) as pool:
        holding = pool.submit(hold)
        assert entered.wait(60)
        waiting = pool.submit(wait)
        closing = pool.submit(store.engine.state.close)
        while not state._closed:
            threading.Event().wait(0.001)
        assert not closing.done()
        leave.set()
        holding.result()
        closing.result()
        assert ClosedError is waiting.result()


def test_a_child_process_lets_go(store: Store) -> None:
    """A forked child closes what it got, although its parent holds the lock."""
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with store.engine.state.locked():
            entered.set()
            assert leave.wait(60)

    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(hold)
        assert entered.wait(60)
        child = os.fork()
        if not child:
            try:
                store.create_session()
            except castore.ForkedStoreError:
                os._exit(7)
            finally:
                os._exit(1)
        leave.set()
        holding.result()
    assert 7 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# --- these tests find what they are for --------------------------------------


def test_a_lock_that_does_not_wait_is_found(tmp_path: Path) -> None:
    """Without the look behind the wait, a closed handle would go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "check_usable", lambda _: None)
        for number in range(100):  # the waiter may come too late to wait
            (folder := tmp_path / str(number)).mkdir()
            try:
                test_a_waiter_for_a_lock_that_is_closed(folder)
            except AssertionError:
                return
    pytest.fail("the planted bug was not found")


def test_closed_before_a_fork(tmp_path: Path) -> None:
    """
    A store that was closed closes nothing in a forked child: what its descriptors'
    numbers stand for by then is somebody else's.
    """
    store = castore.open(tmp_path / "store", create=True)
    number = store.engine.state.lock_file.fd
    store.close()
    others: list[int] = []
    while not others or others[-1] < number:
        others.append(os.open(tmp_path, os.O_RDONLY))
    child = os.fork()
    if not child:
        try:
            for fd in others:
                os.fstat(fd)
        except OSError:
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    for fd in others:
        os.close(fd)

    assert 0 == os.waitstatus_to_exitcode(status)
    assert store.engine.state.is_poisoned is False
