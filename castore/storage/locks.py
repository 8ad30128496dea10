"""
Locks between processes and threads.

A flock belongs to the open file: one descriptor for each lock and process, and
a mutex for the threads that share it.

Spec: spec/ordering.md; spec/folder.md.
"""

from __future__ import annotations

import threading
import time

from collections.abc import Callable

from castore.errors import CastoreError, ClosedError, LockedError
from castore.storage.files import Files


_POLLS_S = (0.0002, 0.0005, 0.001, 0.002, 0.004)


def _nobody() -> str:
    return ""


class FileLock:
    """
    An exclusive lock of one file, for one process at a time and one thread in it.

    Not reentrant.

    Attributes:
        fd: Descriptor of the lock file, open for reading and writing; may be
            another one after each `acquire`.
    """

    def __init__(
        self, files: Files, name: str, held_by: Callable[[], str] = _nobody
    ) -> None:
        """
        Open the lock file *name*, which must exist.

        Args:
            files: Where it is.

            name: Its name.

            held_by: Asked for the holder when waiting ends without the lock.
        """
        self._files = files
        self._name = name
        self._held_by = held_by
        self._mutex = threading.Lock()
        self._closed = False
        self.fd = files.open(name, write=True)

    def acquire(self, timeout_s: float) -> None:
        """
        Take the lock, waiting up to *timeout_s* seconds.

        Short polls first; then a helper thread blocks in flock, so that the
        kernel wakes it in order and waits stay short under load.

        Raises:
            LockedError: Somebody else held it all that time.

            ClosedError: It was closed.
        """
        deadline = time.monotonic() + timeout_s
        if not self._mutex.acquire(timeout=max(0.0, timeout_s)):
            raise self._locked(timeout_s)
        try:
            if self._closed:
                raise ClosedError(what="the lock was closed")
            if not self._acquire_file(deadline):
                raise self._locked(timeout_s)
        except BaseException:
            self._mutex.release()
            raise

    def _acquire_file(self, deadline: float) -> bool:
        if self._files.lock(self.fd):
            return True
        for pause in _POLLS_S:
            if time.monotonic() + pause > deadline:
                return False
            time.sleep(pause)
            if self._files.lock(self.fd):
                return True
        waiter = _Waiter(self._files, self._name)
        fd = waiter.wait(deadline - time.monotonic())
        if fd is None:
            return False
        self._files.close(self.fd)
        self.fd = fd
        return True

    def _locked(self, timeout_s: float) -> LockedError:
        holder = self._held_by()
        what = f"locked for {timeout_s:g} s by {holder or 'another process'}; try later"
        return LockedError(what=what, holder=holder)

    def release(self) -> None:
        """Give the lock back."""
        if self._closed:
            return
        try:
            self._files.unlock(self.fd)
        finally:
            self._mutex.release()

    def close(self) -> None:
        """
        Close the descriptor, and with it give up the lock if it is held.

        Threads that wait for it are told. Others may use it: hold it meanwhile, or
        they go on with the number of a closed descriptor, which may be any file.
        So may who closes twice: the second time does nothing.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self._files.close(self.fd)
        finally:
            if self._mutex.locked():
                self._mutex.release()


class _Waiter:
    """
    One blocking flock in a thread of its own.

    It has a descriptor of its own: a lock that comes after waiting has ended is
    given back by closing it, and takes nothing from whoever holds the lock of
    this process by then.
    """

    def __init__(self, files: Files, name: str) -> None:
        self._files = files
        self._fd = files.open(name, write=True)
        self._guard = threading.Lock()
        self._done = threading.Event()
        self._given_up = False
        self._error: CastoreError | None = None

    def wait(self, timeout_s: float) -> int | None:
        """Return the descriptor that holds the lock, None if it was not had."""
        threading.Thread(target=self._run, daemon=True).start()
        waited = False
        try:
            self._done.wait(max(0.0, timeout_s))
            waited = True
        finally:
            with self._guard:
                had = self._done.is_set()
                self._given_up = not had
            if had and not waited:  # interrupted: nobody will use it
                self._files.close(self._fd)
        if not had:
            return None
        if self._error:
            self._files.close(self._fd)
            raise self._error
        return self._fd

    def _run(self) -> None:
        try:
            self._files.lock(self._fd, wait=True)
        except CastoreError as error:
            self._error = error
        with self._guard:
            if self._given_up:
                self._files.close(self._fd)
            else:
                self._done.set()
