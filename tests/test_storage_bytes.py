"""
The file seam: bytes, syncs, errors and the machine.
"""

from __future__ import annotations

import errno
import os
import sys

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from castore.errors import (
    CorruptionError,
    NotFoundError,
    StorageError,
    UnsupportedError,
)
from castore.storage import Files
from castore.storage.files import storage_error


Patch = pytest.MonkeyPatch


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Return a seam on a folder of its own."""
    return Files(tmp_path)


@pytest.fixture
def fd(files: Files) -> Iterator[int]:
    """Return a descriptor of a new file ``file``."""
    made = files.create("file")
    yield made
    files.close(made)


def content(files: Files) -> bytes:
    """Return what that file holds, read without the seam."""
    return files.path("file").read_bytes()


def open_count() -> int:
    """Return how many descriptors this process has open."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - descriptors, not paths


@given(
    st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 60)), max_size=6),
    st.integers(0, 120),
    st.integers(0, 120),
)
def test_bytes_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    writes: list[tuple[bytes, int]],
    size: int,
    offset: int,
) -> None:
    """Whatever is written where is read there; a read ends where the file does."""
    files = Files(tmp_path_factory.mktemp("bytes"))
    fd = files.create("file")
    known = bytearray()
    for data, at in writes:
        files.write(fd, data, at)
        if data:
            known.extend(bytes(max(0, at - len(known))))
            known[at : at + len(data)] = data

    assert len(known) == files.size(fd)
    assert bytes(known[offset : offset + size]) == files.read_up_to(fd, size, offset)
    if offset + size <= len(known):
        assert bytes(known[offset : offset + size]) == files.read(fd, size, offset)
    files.close(fd)


def test_nothing_is_answered_in_part(files: Files, fd: int) -> None:
    """A read that the file cannot satisfy is ``truncated log``, never less bytes."""
    files.write(fd, b"12345", 0)
    for size, offset in ((6, 0), (1, 5), (3, 9)):
        with pytest.raises(CorruptionError) as caught:
            files.read(fd, size, offset)
        assert "truncated log" == caught.value.verdict

    assert b"" == files.read(fd, 0, 9)


def limited(call: Callable[..., Any], most: int) -> Callable[..., Any]:
    """Return pread or pwrite as it would be if it moved at most *most* bytes."""

    def moved(fd: int, what: Any, offset: int) -> Any:
        part = min(what, most) if isinstance(what, int) else what[:most]
        return call(fd, part, offset)

    return moved


@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_short_writes_go_on(
    files: Files, fd: int, monkeypatch: Patch, kind: Callable[[bytes], Any]
) -> None:
    """What the system writes in pieces is written whole."""
    monkeypatch.setattr(os, "pwrite", limited(os.pwrite, 3))
    files.write(fd, kind(b"0123456789"), 2)

    assert b"\0\x000123456789" == content(files)


def test_short_reads_go_on(files: Files, fd: int, monkeypatch: Patch) -> None:
    """What the system gives in pieces is read whole."""
    files.write(fd, b"0123456789", 0)
    monkeypatch.setattr(os, "pread", limited(os.pread, 3))

    assert b"123456789" == files.read(fd, 9, 1)
    assert b"789" == files.read_up_to(fd, 20, 7)


def test_a_write_of_nothing_is_an_error(
    files: Files, fd: int, monkeypatch: Patch
) -> None:
    """A system that writes no bytes any more does not keep the writer for ever."""
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(StorageError) as caught:
        files.write(fd, b"x", 0)

    assert errno.EIO == caught.value.errno


def test_truncate_cuts(files: Files, fd: int) -> None:
    """A file is cut to the size that is asked for."""
    files.write(fd, b"0123456789", 0)
    files.truncate(fd, 4)

    assert (4, b"0123") == (files.size(fd), content(files))


def test_identity_tells_files_apart(files: Files, fd: int) -> None:
    """A file has one identity for all its descriptors; a copy has another."""
    same, other = files.open("file"), files.create("other")

    assert files.identity(fd) == files.identity(same)
    assert files.identity(fd) != files.identity(other)
    files.close(same)
    files.close(other)


def test_syncs_reach_the_system(files: Files, fd: int, monkeypatch: Patch) -> None:
    """A file's bytes and a folder's names are handed to the medium, each by a sync."""
    synced: list[str] = []
    for name in ("fsync", "fdatasync"):
        if hasattr(os, name):
            monkeypatch.setattr(os, name, lambda given, name=name: synced.append(name))
    files.sync(fd)
    files.sync_folder("")

    assert "fsync" == synced[-1]
    assert 1 <= len(synced) <= 2


def test_sync_folder_keeps_nothing_open(files: Files, monkeypatch: Patch) -> None:
    """A folder that cannot be synced is an error, and its descriptor is closed."""
    before = open_count()
    monkeypatch.setattr(os, "fsync", fail_with(OSError(errno.EIO, "x")))
    with pytest.raises(StorageError):
        files.sync_folder("")

    assert before == open_count()


# --- errors ------------------------------------------------------------------


def fail_with(error: Exception) -> Callable[..., Any]:
    """Return a call that fails."""

    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def storage_failure(number: int) -> StorageError:
    """Return the typed error for *number*."""
    return storage_error("writing", OSError(number, "x"))


CALLS: list[tuple[str, Callable[[Files, int], object]]] = [
    ("pwrite", lambda files, fd: files.write(fd, b"x", 0)),
    ("pread", lambda files, fd: files.read_up_to(fd, 1, 0)),
    ("ftruncate", lambda files, fd: files.truncate(fd, 0)),
    ("link", lambda files, fd: files.link("file", "new")),
    ("listdir", lambda files, fd: files.list("")),
    ("lstat", lambda files, fd: files.size_of("file")),
    ("fsync", lambda files, fd: files.sync_folder("")),
    ("close", lambda files, fd: files.close(fd)),
]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES])
@pytest.mark.parametrize(("name", "call"), CALLS, ids=[name for name, _ in CALLS])
def test_failures_are_typed(
    files: Files,
    fd: int,
    monkeypatch: Patch,
    name: str,
    call: Callable[[Files, int], object],
    number: int,
) -> None:
    """What the system refuses is `StorageError` with its number and what was done."""
    with monkeypatch.context() as patch:
        if name == "lstat":
            patch.setattr(Path, "lstat", fail_with(OSError(number, "x")))
        patch.setattr(os, name, fail_with(OSError(number, "x")))
        with pytest.raises(StorageError) as caught:
            call(files, fd)

    assert number == caught.value.errno
    assert (number == errno.ENOSPC) == caught.value.transient
    assert os.strerror(number) in str(caught.value)


def test_a_full_disk_says_what_to_do() -> None:
    """No space is worth another try; the text says so. Errors may have no number."""
    assert "make room" in storage_failure(errno.ENOSPC).what
    assert "make room" in storage_failure(errno.EDQUOT).what
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EINTR, errno.EAGAIN):
        assert storage_failure(number).transient
    unknown = storage_error("reading", OSError("x"))
    assert (0, False) == (unknown.errno, unknown.transient)
    assert "reading: failed" == unknown.what


def test_a_closed_descriptor_is_an_error(files: Files) -> None:
    """Every call on a descriptor that is closed is `StorageError`."""
    fd = files.create("file")
    files.close(fd)
    calls: list[Callable[[], object]] = [
        lambda: files.read(fd, 1, 0),
        lambda: files.write(fd, b"x", 0),
        lambda: files.sync(fd),
        lambda: files.size(fd),
        lambda: files.identity(fd),
        lambda: files.truncate(fd, 0),
        lambda: files.lock(fd),
        lambda: files.unlock(fd),
        lambda: files.close(fd),
    ]
    for call in calls:
        with pytest.raises(StorageError) as caught:
            call()
        assert errno.EBADF == caught.value.errno


# --- the machine -------------------------------------------------------------


def test_the_boot_id_stays_until_the_next_boot(files: Files) -> None:
    """The boot id is 16 bytes, the same for all who ask."""
    assert 16 == len(files.boot_id())
    assert files.boot_id() == Files(files.root).boot_id()


def test_free_space_is_known(files: Files, monkeypatch: Patch) -> None:
    """A writer can ask for room before it writes; a failure is typed."""
    assert files.free_size() > 0
    with pytest.raises(NotFoundError):
        Files(files.root / "absent").free_size()


def test_other_systems_are_refused(files: Files, monkeypatch: Patch) -> None:
    """Where castore does not know how durable bytes are, it keeps no store."""
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(UnsupportedError, match="win32"):
        files.boot_id()
