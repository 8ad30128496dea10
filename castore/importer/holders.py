"""
Whether any process has a file open, as far as this system tells.

Linux tells in two ways. A *write lease* is given only for a file that nobody
else has open, whoever they are, and while it is held an open waits; not every
file system has leases, and only the file's owner gets one. ``/proc`` lists what
processes have open and mapped; those of other users are hidden, and those
outside of this container. Elsewhere nothing can be told.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys

from collections import Counter
from pathlib import Path
from typing import Self

import attrs


_PROC = Path("/proc")
_TAKEN = (errno.EAGAIN, errno.EBUSY)


class Lease:
    """
    Tells that nobody else has a file open, until the file is closed.

    Attributes:
        is_known: Whether this system could tell.

        is_held: Whether nobody has.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.is_known = sys.platform == "linux"
        self.is_held = False
        if sys.platform != "linux":
            return
        try:
            # Whoever opens the file makes the kernel send a signal; this one is
            # ignored by default, where the usual one ends the process.
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError as error:
            self.is_known = error.errno in _TAKEN
        else:
            self.is_held = True

    def is_unbroken(self) -> bool:
        """Return whether it is held and nobody has tried to open the file since."""
        if sys.platform != "linux" or not self.is_held:
            return False
        return fcntl.fcntl(self._fd, fcntl.F_GETLEASE) == fcntl.F_WRLCK


@attrs.frozen
class Holders:
    """
    What processes have open, at one moment.

    Attributes:
        files: (device, inode) of each open file, how often.

        mapped: Inodes of mapped files; their devices are told differently.

        complete: Whether every process could be looked at.
    """

    files: Counter[tuple[int, int]]
    mapped: frozenset[int]
    complete: bool

    @classmethod
    def look(cls) -> Self:
        """Look at all processes that can be seen; some 0.1 ms for each."""
        files: Counter[tuple[int, int]] = Counter()
        mapped: set[int] = set()
        numbers = [name for name in _names(_PROC) or () if name.isdecimal()]
        # The first process always is; where it is hidden, so are others.
        complete = "1" in numbers
        for number in numbers:
            complete = _look_at(_PROC / number, files, mapped) and complete
        return cls(files, frozenset(mapped), complete)

    def has(self, facts: os.stat_result, *, own: int) -> bool:
        """Return whether the file is open more than *own* times, or mapped."""
        count = self.files[facts.st_dev, facts.st_ino]
        return count > own or facts.st_ino in self.mapped


def _names(folder: Path) -> list[str] | None:
    try:
        return os.listdir(folder)  # noqa: PTH208 - hot
    except OSError:
        return None


def _look_at(process: Path, files: Counter[tuple[int, int]], mapped: set[int]) -> bool:
    """Add what *process* has open; return whether all of that could be seen."""
    numbers = _names(process / "fd")
    if numbers is None:
        return not process.exists()
    complete = True
    for number in numbers:
        try:
            facts = (process / "fd" / number).stat()
        except FileNotFoundError:
            continue  # closed again by now
        except OSError:
            complete = False
        else:
            files[facts.st_dev, facts.st_ino] += 1
    try:
        with (process / "maps").open("rb") as maps:
            mapped.update(int(line.split(None, 5)[4]) for line in maps)
    except OSError:
        return not process.exists()
    return complete
