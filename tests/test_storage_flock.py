"""
The flock of an open file, as `Files` gives it.
"""

from __future__ import annotations

import errno
import fcntl
import signal

from pathlib import Path
from typing import Any

import pytest

from castore.errors import StorageError, UnsupportedError
from castore.storage import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return a seam on a folder with a lock file."""
    made = Files(tmp_path)
    made.ensure("lock")
    return made


def test_one_open_file_holds_the_lock(files: Files) -> None:
    """A flock belongs to the open file: another one does not get it meanwhile."""
    first, second = files.open("lock", write=True), files.open("lock", write=True)

    assert [True, True, False] == [files.lock(fd) for fd in (first, first, second)]
    files.unlock(first)
    assert files.lock(second)
    files.close(second)
    assert files.lock(first)
    files.close(first)


def test_shared_locks_are_for_many(files: Files) -> None:
    """Who shares a lock keeps out only who wants it alone."""
    one, two, alone = (files.open("lock", write=True) for _ in range(3))

    assert files.lock(one, exclusive=False)
    assert files.lock(two, exclusive=False)
    assert not files.lock(alone)
    files.close(one)
    assert not files.lock(alone)
    files.close(two)
    assert files.lock(alone)
    files.close(alone)


def test_file_systems_without_locks_are_refused(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a flock does nothing there is no store; other failures are typed."""
    fd = files.open("lock", write=True)
    for number, kind in (
        (errno.ENOLCK, UnsupportedError),
        (errno.EOPNOTSUPP, UnsupportedError),
        (errno.EIO, StorageError),
    ):

        def fail(*_: Any, number: int = number) -> None:
            raise OSError(number, "x")

        with monkeypatch.context() as patch:
            patch.setattr(fcntl, "flock", fail)
            with pytest.raises(kind):
                files.lock(fd)
    files.close(fd)


def test_signals_do_not_end_a_wait(files: Files) -> None:
    """A wait for a lock goes on after a signal (EINTR) until the lock is had."""
    mine, theirs = files.open("lock", write=True), files.open("lock", write=True)
    assert files.lock(theirs)
    seen = 0

    def on_signal(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 3:
            files.unlock(theirs)

    before = signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    try:
        assert files.lock(mine, wait=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen >= 3
    files.close(mine)
    files.close(theirs)
