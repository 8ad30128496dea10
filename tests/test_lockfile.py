"""
The lock file of a writer is decoded when it has changed, and then for certain.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from castore.engine.lockfile import LockText
from castore.formats.mark import LockFile, encode_lock
from castore.storage import Files


LOCK = LockFile(
    bytes(16), 1, 2, bytes(16), 300, bytes(32), 4, 5, 6, 7, 8, "host castore"
)
LATER = attrs.evolve(LOCK, end=400, seq=5)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A folder with an empty lock file."""
    made = Files(tmp_path)
    made.ensure("lock")
    return made


@pytest.fixture
def fd(files: Files) -> Iterator[int]:
    """The lock file, open."""
    number = files.open("lock", write=True)
    yield number
    files.close(number)


def test_what_was_written_is_not_decoded(files: Files, fd: int) -> None:
    """Who wrote the lock file last gets its own object back: nobody was here."""
    text = LockText(files)
    assert text.read(fd) is None

    text.write(fd, LOCK)
    assert text.read(fd) is LOCK


def test_what_others_write_is_seen(files: Files, fd: int) -> None:
    """What another process wrote is read; while it stands, it is one object."""
    text = LockText(files)
    text.write(fd, LOCK)
    LockText(files).write(fd, LATER)

    found = text.read(fd)
    assert found == LATER
    assert text.read(fd) is found


@pytest.mark.parametrize("at", [0, 100, 255])
def test_a_torn_text_is_not_remembered(files: Files, fd: int, at: int) -> None:
    """A lock file that says nothing is nothing, also if it said something before."""
    text = LockText(files)
    text.write(fd, LOCK)
    torn = bytearray(encode_lock(LATER))
    torn[at] ^= 1
    files.write(fd, bytes(torn), 0)
    assert text.read(fd) is None

    files.write(fd, encode_lock(LATER), 0)
    assert text.read(fd) == LATER
