"""
Locks between processes and threads.

What another process would do is done by a child that knows nothing of castore,
or by a lock of its own in another thread: a flock belongs to the open file.
"""

from __future__ import annotations

import os
import threading
import time

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lock_holder import held, is_free

from castore.errors import LockedError, StorageError, UnsupportedError
from castore.storage import FileLock, Files


LONG_S = 60.0  # seconds; never waited for in full unless something is broken
SHORT_S = 0.05


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return a seam on a folder with a lock file."""
    made = Files(tmp_path)
    made.close(made.create("lock"))
    return made


@pytest.fixture
def lock(files: Files) -> Iterator[FileLock]:
    """Return a lock that nobody holds."""
    made = FileLock(files, "lock", lambda: "pid 7")
    yield made
    made.close()


def waiters() -> list[threading.Thread]:
    """Return the threads that wait for a lock."""
    return [item for item in threading.enumerate() if "_run" in item.name]


def open_count() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - descriptors, not paths


# --- FileLock ----------------------------------------------------------------


def test_a_lock_is_had_and_given_back(files: Files, lock: FileLock) -> None:
    """While it is held nobody else has it; then anybody may."""
    for _ in range(2):
        lock.acquire(SHORT_S)
        assert not is_free(files)
        lock.release()
        assert is_free(files)


def test_a_lock_needs_its_file(files: Files) -> None:
    """The lock file is made with the store, not by who wants the lock."""
    with pytest.raises(Exception, match="no such file"):
        FileLock(files, "absent")


def test_close_gives_the_lock_up(files: Files) -> None:
    """A lock that is closed while it is held is free."""
    made = FileLock(files, "lock")
    made.acquire(SHORT_S)
    made.close()

    assert is_free(files)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, 0.0003, SHORT_S])
def test_waiting_ends(files: Files, lock: FileLock, timeout_s: float) -> None:
    """Who does not get the lock in time is told who has it, and holds nothing."""
    with held(files) as holder:
        with pytest.raises(LockedError, match="pid 7") as caught:
            lock.acquire(timeout_s)
        assert "pid 7" == caught.value.holder
        holder.let_go()
    lock.acquire(LONG_S)
    lock.release()


def test_nobody_may_be_known(files: Files) -> None:
    """Where the holder is not known the text speaks of another process."""
    made = FileLock(files, "lock")
    with held(files), pytest.raises(LockedError, match="another process") as caught:
        made.acquire(0)

    assert "" == caught.value.holder
    made.close()


def test_a_lock_comes_when_its_holder_lets_go(files: Files, lock: FileLock) -> None:
    """Who waits in the kernel gets the lock from another process."""
    with held(files) as holder:
        threading.Timer(0.1, holder.let_go).start()
        lock.acquire(LONG_S)
        assert not is_free(files)
        lock.release()

    assert is_free(files)


def test_a_killed_holder_holds_nothing(files: Files, lock: FileLock) -> None:
    """A process that is killed gives its lock back by that."""
    with held(files) as holder:
        threading.Timer(0.1, holder.kill).start()
        lock.acquire(LONG_S)
        lock.release()


def test_a_late_lock_is_given_back(files: Files, lock: FileLock) -> None:
    """
    A lock that comes after waiting has ended is given back at once; no thread
    and no descriptor is left of it.
    """
    before = open_count()
    with held(files) as holder:
        for _ in range(3):
            with pytest.raises(LockedError):
                lock.acquire(SHORT_S)
        late = waiters()
        assert 3 == len(late)
        holder.let_go()
        for thread in late:
            thread.join(LONG_S)

    assert [] == waiters()
    assert before == open_count()
    assert is_free(files)


def test_a_late_lock_takes_nothing_from_the_holder(
    files: Files, lock: FileLock
) -> None:
    """What a late waiter gives back is its own: a lock of this process stays."""
    with held(files) as holder:
        with pytest.raises(LockedError):
            lock.acquire(SHORT_S)
        (late,) = waiters()
        holder.let_go()
        lock.acquire(LONG_S)
        if late.is_alive():
            assert not is_free(files)
        lock.release()
        late.join(LONG_S)
        lock.acquire(LONG_S)
        assert not is_free(files)
        lock.release()


def test_an_interrupted_wait_holds_nothing(
    files: Files, lock: FileLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control-C while waiting leaves no lock behind, now or later."""
    before = open_count()
    wait = threading.Event.wait

    def interrupt(self: threading.Event, timeout: float | None = None) -> bool:
        if timeout is not None and timeout > LONG_S / 2:
            raise KeyboardInterrupt
        return wait(self, timeout)

    with held(files) as holder:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Event, "wait", interrupt)
            with pytest.raises(KeyboardInterrupt):
                lock.acquire(LONG_S)
        late = waiters()
        holder.let_go()
        for thread in late:
            thread.join(LONG_S)

    assert before == open_count()
    assert is_free(files)
    lock.acquire(SHORT_S)
    lock.release()


class Flawed(Files):
    """Files whose blocking lock fails, or is had, whatever anybody holds."""

    answer: Callable[[], bool]

    def lock(self, fd: int, *, exclusive: bool = True, wait: bool = False) -> bool:
        """Ask `answer` for a blocking lock; refuse others."""
        return self.answer() if wait else False


def test_an_interrupt_beside_the_lock_gives_it_back(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that came just before Control-C is closed with its descriptor."""
    flawed = Flawed(files.root)
    flawed.answer = lambda: True
    made = FileLock(flawed, "lock")
    before = open_count()
    wait = threading.Event.wait

    def interrupt(self: threading.Event, timeout: float | None = None) -> bool:
        wait(self, timeout)
        if timeout is not None and timeout > LONG_S / 2:
            raise KeyboardInterrupt
        return True

    with monkeypatch.context() as patch:
        patch.setattr(threading.Event, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            made.acquire(LONG_S)

    assert before == open_count()
    made.close()


def test_a_failing_wait_is_an_error(files: Files) -> None:
    """What goes wrong in the waiting thread is raised by who waits."""

    def fail() -> bool:
        raise UnsupportedError(what="no locks here")

    flawed = Flawed(files.root)
    flawed.answer = fail
    made = FileLock(flawed, "lock")
    before = open_count()
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="no locks here"):
            made.acquire(LONG_S)

    assert before == open_count()
    made.close()


def test_a_failed_release_leaves_the_threads_free(
    files: Files, lock: FileLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the system refuses to unlock, other threads are not kept waiting for ever."""

    def fail(fd: int) -> None:
        raise StorageError(what="unlocking", errno=5, transient=False)

    with monkeypatch.context() as patch:
        patch.setattr(files, "unlock", fail)
        lock.acquire(SHORT_S)
        with pytest.raises(StorageError):
            lock.release()
    lock.acquire(SHORT_S)
    lock.release()


# --- threads -----------------------------------------------------------------


def test_threads_of_a_process_take_turns(lock: FileLock) -> None:
    """Who waits for another thread of the process is told so in time."""
    lock.acquire(SHORT_S)
    caught: list[LockedError] = []

    def work() -> None:
        with pytest.raises(LockedError) as found:
            lock.acquire(SHORT_S)
        caught.append(found.value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    lock.release()

    assert 1 == len(caught)
    lock.acquire(SHORT_S)
    lock.release()


@pytest.mark.parametrize("count", [1, 4], ids=["one lock", "a lock each"])
def test_one_at_a_time(files: Files, count: int) -> None:
    """Of threads that share a lock, or have one each, one is inside at a time."""
    made = [FileLock(files, "lock") for _ in range(count)]
    inside = 0
    most = 0
    done = 0

    def work(number: int) -> None:
        nonlocal inside, most, done
        mine = made[number % count]
        for _ in range(25):
            mine.acquire(LONG_S)
            inside += 1
            time.sleep(0)  # lets others run
            most = max(most, inside)
            done += 1
            inside -= 1
            mine.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (1, 100) == (most, done)
    for item in made:
        item.close()
