"""
Where bytes go: a file that appears whole or not at all, or standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from castore.cli.exits import CommandError, Exit


STDOUT = "-"
COPY_SIZE = 1 << 20  # bytes copied at once
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def check_output(options: argparse.Namespace, what: str) -> None:
    """
    Refuse ``--json`` where *what* goes to standard output already.

    Raises:
        CommandError: It does.
    """
    if options.json and options.output == STDOUT:
        refused = f"--json and the {what} cannot both go to standard output"
        raise CommandError(Exit.USAGE, f"{refused}; say -o FILE")


@contextlib.contextmanager
def target(name: str, *, force: bool = False) -> Iterator[BinaryIO]:
    """
    Open *name* to be written; ``-`` is standard output.

    A file is written beside its place under another name, synced, and put there
    when all went well: what stands under its name is never half of it.

    Args:
        name: Where.

        force: Replace a file that is there.

    Raises:
        CommandError: There is a file and *force* is not said.
    """
    if name == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if not force and os.path.lexists(name):
        raise _is_there(Path(name))
    path = Path(name)
    if not path.name:
        raise CommandError(Exit.USAGE, f"{name!r} names no file")
    part = path.with_name(f".{path.name}.{os.urandom(6).hex()}.part")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(part, flags, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(part, path, force=force)
        _sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _put_in_place(part: Path, path: Path, *, force: bool) -> None:
    if force:
        part.replace(path)
        return
    try:
        # Unlike a rename this never replaces what came there meanwhile.
        path.hardlink_to(part)
    except FileExistsError:
        raise _is_there(path) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        part.rename(path)


def _is_there(path: Path) -> CommandError:
    return CommandError(Exit.REFUSED, f"{path} is there already; --force replaces it")


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Counting:
    """A file to write to that tells how much went through."""

    def __init__(self, file: BinaryIO, told: Callable[[int], None]) -> None:
        self._file = file
        self._told = told
        self._done = 0

    def write(self, data: bytes) -> int:
        """Write *data*."""
        self._file.write(data)
        self._done += len(data)
        self._told(self._done)
        return len(data)
